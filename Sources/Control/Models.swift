import Foundation

/// A fitted model of a stream.
public struct ModelMessage: Sendable, Hashable, Codable {
    /// The model's number.
    public var id: Int64
    /// The stream.
    public var stream: String
    /// `serving`, `retired` or `rejected`.
    public var state: String
    /// Why it has this state, as a sentence.
    public var reason: String
    /// The flow's family.
    public var family: String
    /// When its fit ended.
    public var fittedAt: Date
    /// When it began to serve last.
    public var activatedAt: Date?
    /// When it ceased to serve last.
    public var retiredAt: Date?
    /// Records that it was fitted on.
    public var recordCount: Int
    /// Learned numbers in it.
    public var parameterCount: Int
    /// Mean log-likelihood of held-out records, in nats per record.
    public var heldOutLogLikelihood: Double
    /// The model file; `nil` once it was pruned.
    public var file: String?
    /// Size of the model file.
    public var fileBytes: Int

    /// Makes a message.
    public init(
        id: Int64, stream: String, state: String, reason: String, family: String, fittedAt: Date,
        activatedAt: Date? = nil, retiredAt: Date? = nil, recordCount: Int, parameterCount: Int,
        heldOutLogLikelihood: Double, file: String?, fileBytes: Int
    ) {
        self.id = id
        self.stream = stream
        self.state = state
        self.reason = reason
        self.family = family
        self.fittedAt = fittedAt
        self.activatedAt = activatedAt
        self.retiredAt = retiredAt
        self.recordCount = recordCount
        self.parameterCount = parameterCount
        self.heldOutLogLikelihood = heldOutLogLikelihood
        self.file = file
        self.fileBytes = fileBytes
    }
}

/// The models of a stream: the answer to `GET /v1/streams/{name}/models`.
public struct ModelList: Sendable, Hashable, Codable {
    /// The stream.
    public var stream: String
    /// Its models, newest first.
    public var models: [ModelMessage]

    /// Makes a list.
    public init(stream: String, models: [ModelMessage]) {
        self.stream = stream
        self.models = models
    }
}

/// Where normal ends for a stream, and since when.
public struct ThresholdMessage: Sendable, Hashable, Codable {
    /// The model whose log-likelihoods it cuts.
    public var model: Int64
    /// `calibrated` or `manual`.
    public var kind: String
    /// Records below are anomalies; in nats.
    public var logLikelihood: Double
    /// Records above are anomalies too, in nats; `nil`: the upper tail is not judged.
    public var upperLogLikelihood: Double?
    /// The share of normal records expected outside.
    public var probability: Double
    /// Since when it holds.
    public var validFrom: Date
    /// Until when it held; `nil`: it holds.
    public var validTo: Date?
    /// Why it was set, as a sentence.
    public var reason: String

    /// Makes a message.
    public init(
        model: Int64, kind: String, logLikelihood: Double, upperLogLikelihood: Double?,
        probability: Double, validFrom: Date, validTo: Date? = nil, reason: String
    ) {
        self.model = model
        self.kind = kind
        self.logLikelihood = logLikelihood
        self.upperLogLikelihood = upperLogLikelihood
        self.probability = probability
        self.validFrom = validFrom
        self.validTo = validTo
        self.reason = reason
    }
}

/// The thresholds of a stream: the answer to GET and PUT of `…/threshold`.
public struct ThresholdReport: Sendable, Hashable, Codable {
    /// The stream.
    public var stream: String
    /// The one that holds; `nil` before the first model.
    public var current: ThresholdMessage?
    /// The false alarms that are asked for.
    public var asked: AlarmRate
    /// The alarms that there are.
    public var measured: MeasuredAlarms?
    /// Earlier ones, newest first.
    public var earlier: [ThresholdMessage]

    /// Makes a report.
    public init(
        stream: String, current: ThresholdMessage?, asked: AlarmRate, measured: MeasuredAlarms?,
        earlier: [ThresholdMessage]
    ) {
        self.stream = stream
        self.current = current
        self.asked = asked
        self.measured = measured
        self.earlier = earlier
    }
}

/// A change of a threshold, the body of `PUT …/threshold`: an object with one key.
public enum ThresholdUpdate: Sendable, Hashable, Codable {
    /// `{"log_likelihood": -18.2}`: exactly this, by hand.
    case logLikelihood(Double)
    /// `{"false_alarm_probability": 1e-4}`: calibrated for this share of normal records.
    case falseAlarmProbability(Double)
    /// `{"false_alarms_per_day": 2}`: calibrated for so many a day at the measured rate.
    case falseAlarmsPerDay(Double)
    /// `{"reset": true}`: back to what the configuration asks for.
    case reset

    /// As in the configuration file.
    private static let mostAlarmsPerDay = 1_000_000.0
    private static let leastProbability = 1e-12

    /// The cause of a decoding error whose description is for people, and not the decoder's own.
    public struct Refusal: Error {}

    private enum Key: String, CodingKey, CaseIterable {
        case logLikelihood
        case falseAlarmProbability
        case falseAlarmsPerDay
        case reset
    }

    /// Any key at all, so that one too many is seen.
    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Reads the one key; the number must be in its range.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        guard try decoder.container(keyedBy: AnyKey.self).allKeys.count == 1,
            let key = container.allKeys.first
        else {
            throw Self.refused(
                "expected one of log_likelihood, false_alarm_probability, false_alarms_per_day, "
                    + "reset", decoder)
        }
        switch key {
        case .logLikelihood:
            self = .logLikelihood(try container.decode(Double.self, forKey: key))
        case .falseAlarmProbability:
            self = .falseAlarmProbability(try container.decode(Double.self, forKey: key))
        case .falseAlarmsPerDay:
            self = .falseAlarmsPerDay(try container.decode(Double.self, forKey: key))
        case .reset:
            self = .reset
            guard try container.decode(Bool.self, forKey: key) else {
                throw Self.refused("reset: expected true, found false", decoder)
            }
        }
        if let problem { throw Self.refused(problem, decoder) }
    }

    private static func refused(_ problem: String, _ decoder: any Decoder) -> DecodingError {
        .dataCorrupted(
            .init(
                codingPath: decoder.codingPath, debugDescription: problem,
                underlyingError: Refusal()))
    }

    /// Writes the one key.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        switch self {
        case .logLikelihood(let value): try container.encode(value, forKey: .logLikelihood)
        case .falseAlarmProbability(let value):
            try container.encode(value, forKey: .falseAlarmProbability)
        case .falseAlarmsPerDay(let value):
            try container.encode(value, forKey: .falseAlarmsPerDay)
        case .reset: try container.encode(true, forKey: .reset)
        }
    }

    /// What is wrong with the number: rule and what was found; `nil`: nothing.
    public var problem: String? {
        switch self {
        case .logLikelihood(let value):
            return value.isFinite ? nil : "log_likelihood: expected a finite number"
        case .falseAlarmProbability(let value):
            guard value > 0, value <= 0.1 else {
                return
                    "false_alarm_probability: expected a number above 0 and up to 0.1, found \(value)"
            }
            return value >= Self.leastProbability
                ? nil
                : "false_alarm_probability: expected at least \(Self.leastProbability), "
                    + "found \(value)"
        case .falseAlarmsPerDay(let value):
            guard value > 0 else {
                return "false_alarms_per_day: expected a number above 0, found \(value)"
            }
            return value <= Self.mostAlarmsPerDay
                ? nil : "false_alarms_per_day: expected at most 1000000, found \(value)"
        case .reset:
            return nil
        }
    }
}
