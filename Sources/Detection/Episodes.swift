/// Groups the anomalies of a stream: consecutive ones are one episode, told once at its start and once at its end.
public struct EpisodeTracker: Sendable, Hashable, Codable {
    /// Anomalies of a stream with no more than the cooldown between each and the next, or no normal record.
    public struct Episode: Sendable, Hashable, Codable {
        /// Counts the stream's episodes, from 1.
        public var sequence: Int64
        /// Time of the first anomaly, in epoch seconds.
        public var startedAt: Double
        /// Time of the newest anomaly, in epoch seconds.
        public var lastAt: Double
        /// Time of the least likely record, in epoch seconds.
        public var peakAt: Double
        /// The log-likelihood furthest beyond its threshold, in nats.
        public var peakLogLikelihood: Double
        /// How far beyond the threshold the peak lies, in nats.
        public var peakExcess: Double
        /// How many anomalies it holds.
        public var anomalyCount: Int
        /// Contribution of each feature summed over the anomalies, in nats.
        public var contributions: [String: Double]

        /// The features that contributed most, at most three, greatest first.
        public var topFeatures: [String] {
            contributions.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
                .prefix(3).filter { $0.value > 0 }.map(\.key)
        }
    }

    /// What an observed record means for the stream's episodes.
    public enum Event: Sendable, Hashable {
        /// An anomaly after a quiet time: alert now.
        case started(Episode)
        /// One more anomaly of the open episode.
        case extended(Episode)
        /// The cooldown has passed, and with it a normal record: give the all-clear.
        case ended(Episode)
    }

    /// Records may be so much out of order, in seconds.
    private static let disorderSecs = 3_600.0
    /// Anomalies of neighbouring records that are further apart are two faults, in seconds.
    private static let longestSecs = 86_400.0

    /// The quiet time that ends an episode, in seconds.
    public var cooldownSecs: Double
    /// The episode that has not ended, if any.
    public private(set) var open: Episode?
    /// The number of the newest episode; 0 before the first.
    public private(set) var lastSequence: Int64 = 0
    /// Whether a normal record has come since the newest anomaly; `nil` in a state of an earlier build.
    private var isQuiet: Bool?

    /// Starts without an episode.
    public init(cooldownSecs: Double) {
        self.cooldownSecs = cooldownSecs
    }

    /// Whether an anomaly of this time would belong to the open episode.
    ///
    /// Where records come less often than the cooldown, those in a row belong together.
    ///
    /// - Parameter time: In epoch seconds.
    public func isOpen(at time: Double) -> Bool {
        isOpen(at: time, within: isQuiet == false ? Self.longestSecs : 0)
    }

    private func isOpen(at time: Double, within secs: Double) -> Bool {
        guard let open else { return false }
        return time - open.lastAt <= max(cooldownSecs, secs)
            && open.lastAt - time <= max(cooldownSecs, Self.disorderSecs)
    }

    /// Takes a record in; call it for every record, in order.
    ///
    /// - Parameters:
    ///   - time: The record's time in epoch seconds. A step back of up to an hour, or the cooldown if that is longer, is
    ///     disorder; a longer one says that an anomaly was dated wrong, and ends the episode.
    ///   - verdict: The verdict, or `nil` for a normal record.
    /// - Returns: None for a normal record in quiet times; an ended episode comes before a started one.
    public mutating func observe(time: Double, verdict: Verdict?) -> [Event] {
        var events: [Event] = []
        let belongs = verdict == nil ? isOpen(at: time, within: 0) : isOpen(at: time)
        if let episode = open, !belongs {
            events.append(.ended(episode))
            open = nil
        }
        isQuiet = verdict == nil
        guard let verdict else { return events }
        let excess = abs(verdict.logLikelihood - verdict.threshold)
        var isNew = false
        var episode: Episode
        if let current = open {
            episode = current
        } else {
            isNew = true
            lastSequence += 1
            episode = Episode(
                sequence: lastSequence, startedAt: time, lastAt: time, peakAt: time,
                peakLogLikelihood: verdict.logLikelihood, peakExcess: excess, anomalyCount: 0,
                contributions: [:])
        }
        episode.anomalyCount += 1
        episode.lastAt = max(episode.lastAt, time)
        if excess > episode.peakExcess {
            episode.peakExcess = excess
            episode.peakAt = time
            episode.peakLogLikelihood = verdict.logLikelihood
        }
        for feature in verdict.features where feature.contribution > 0 {
            episode.contributions[feature.name, default: 0] += feature.contribution
        }
        open = episode
        events.append(isNew ? .started(episode) : .extended(episode))
        return events
    }
}
