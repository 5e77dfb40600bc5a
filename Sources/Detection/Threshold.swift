/// The side of the calibrated scores that a record fell out of.
public enum Tail: String, Sendable, Hashable, Codable, CaseIterable {
    /// Less likely than normal records are.
    case low
    /// More likely than normal records are.
    case high
}

/// Where normal ends: a record is an anomaly below one log-likelihood or above another.
public struct Threshold: Sendable, Hashable, Codable {
    /// Who set it.
    public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
        /// By calibration, for a false-alarm probability.
        case calibrated
        /// By hand.
        case manual
    }

    /// Who set it.
    public var kind: Kind
    /// A record with a lower log-likelihood is an anomaly; in nats, data units.
    public var logLikelihood: Double
    /// A record with a higher log-likelihood is one too; `nil`: the upper tail is not judged.
    public var upperLogLikelihood: Double?
    /// The share of normal records expected outside.
    public var probability: Double

    /// Makes a threshold.
    public init(
        kind: Kind, logLikelihood: Double, upperLogLikelihood: Double?, probability: Double
    ) {
        self.kind = kind
        self.logLikelihood = logLikelihood
        self.upperLogLikelihood = upperLogLikelihood
        self.probability = probability
    }

    /// The tail that this log-likelihood lies in, or `nil` when it is normal.
    public func tail(of value: Double) -> Tail? {
        if value < logLikelihood { return .low }
        if let upperLogLikelihood, value > upperLogLikelihood { return .high }
        return nil
    }
}

/// How many false alarms a person can bear.
public enum AlarmBudget: Sendable, Hashable, Codable {
    /// So many a day; turned into a probability by the measured rate of records.
    case perDay(Double)
    /// This share of the normal records.
    case probability(Double)

    /// The largest probability that a budget becomes.
    public static let largestProbability = 0.1
    /// The smallest one: p-values as small as this are a guess of the tail, and none of a sample.
    public static let leastProbability = 1e-12

    /// The false-alarm probability of a record.
    ///
    /// - Parameter recordsPerDay: The measured rate; not positive while it is unknown, which is taken as one a second.
    public func probability(recordsPerDay: Double) -> Double {
        switch self {
        case .probability(let value):
            return min(max(value, Self.leastProbability), Self.largestProbability)
        case .perDay(let count):
            let rate = recordsPerDay > 0 ? recordsPerDay : 86_400
            return min(max(count / rate, Self.leastProbability), Self.largestProbability)
        }
    }
}
