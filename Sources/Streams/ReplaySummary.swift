import Control
import Detection
import Foundation
import Ingest
import Settings
import Store

/// A replay in numbers; also the JSON document that is printed of it.
package struct ReplaySummary: Codable, Sendable {
    /// What became of the lines.
    package struct Records: Codable, Sendable {
        package var total: Int64
        package var scored: Int64
        /// Of these, those that had waited for the first model, and may be among what it learned from.
        package var scoredAfterwards: Int64
        /// Lines that are no records.
        package var faults: [FaultCount]
        /// Long rows that are in no record; `nil` where each line is a record.
        package var points: PointsMessage?
    }

    /// The fits that there were.
    package struct Fits: Codable, Sendable {
        package var accepted: Int
        package var rejected: Int
        package var failed: Int
        /// All of them, oldest first; by the clock of the records.
        package var all: [OfKey<FitMessage>]
    }

    /// Anomalies close together, which a person is told about once.
    package struct Episode: Codable, Sendable {
        /// The key that it is of, if any.
        package var key: String?
        /// Its number in the stream, or among those of the key.
        package var sequence: Int64
        package var startedAt: Date
        package var lastAnomalyAt: Date
        package var isEnded: Bool
        package var anomalyCount: Int
        /// The least p-value in it.
        package var peakPValue: Double
        package var peakAt: Date
        package var topFeatures: [String]
        /// Whether an anomaly of it lies in a labelled window; `nil` without labels.
        package var isLabelled: Bool?
    }

    /// What a person would have been told.
    package struct Alarms: Codable, Sendable {
        package struct Day: Codable, Sendable {
            package var date: String
            package var episodes: Int
        }

        package var episodes: Int
        package var perDay: Double?
        /// The day, in UTC, on which most episodes began.
        package var worstDay: Day?
    }

    /// One key of a stream that has some.
    package struct Key: Codable, Sendable {
        package var key: String
        package var records: Int64
        package var anomalies: Int64
        package var episodes: Int
        /// When its own first model began to serve; `nil`: that of the stream judged it to the end.
        package var ownModelAt: Date?
    }

    package var stream: String
    package var files: [String]
    package var features: [String]
    package var timeColumn: String?
    /// The earliest and the latest time of a record.
    package var from: Date?
    package var to: Date?
    /// The usual rate of the records, or the one assumed where they have no time; `nil` while it is not known.
    package var recordsPerDay: Double?
    /// Days of records that were scored, by that rate.
    package var scoredDays: Double?
    package var records: Records
    package var fits: Fits
    package var alarms: Alarms
    package var asked: AlarmRate
    /// Anomalies among the scored records.
    package var measured: MeasuredAlarms?
    /// Anomalies that were no alarm, by what kept them from it, the greatest number first.
    package var suppressed: [SuppressedCount]
    package var thresholds: [OfKey<ThresholdMessage>]
    package var episodes: [Episode]
    /// The keys, by name; `nil` for a stream without.
    package var keys: [Key]?
    package var labels: ReplayLabels?

    /// Sums a replay up.
    package init(_ history: ReplayHistory, of request: Replay.Request) {
        let rows = history.records
        stream = request.stream.name
        files = history.inputNames
        features = history.schema?.features ?? []
        timeColumn = history.schema?.time
        let times = rows.map(\.time)
        from = times.min().map(Date.init(timeIntervalSince1970:))
        to = times.max().map(Date.init(timeIntervalSince1970:))
        let rate = timeColumn == nil ? request.recordsPerDay : RecordRate.perDay(times: times)
        recordsPerDay = rate > 0 ? rate : nil
        let scored = history.counters.scored
        let days = rate > 0 ? Double(scored) / rate : 0
        scoredDays = rate > 0 ? days : nil
        records = Records(
            total: history.counters.records, scored: scored,
            scoredAfterwards: Int64(rows.count { $0.judgement?.hadWaited == true }),
            faults: history.counters.faultCounts,
            points: history.points.map { PointsMessage($0) })
        func count(_ state: String) -> Int { history.fits.count { $0.state == state } }
        fits = Fits(
            accepted: count("accepted"), rejected: count("rejected"), failed: count("failed"),
            all: history.fits)
        alarms = Alarms(
            episodes: history.episodes.count,
            perDay: days > 0 ? Double(history.episodes.count) / days : nil,
            worstDay: Self.worstDay(history.episodes))
        asked = history.asked
        if scored > 0 {
            let share = Double(history.counters.anomalies) / Double(scored)
            measured = MeasuredAlarms(
                perDay: rate > 0 ? share * rate : nil, share: share, records: scored)
        }
        suppressed = history.counters.suppressedCounts
        thresholds = history.thresholds
        if request.label != nil { labels = ReplayLabels(rows, recordsPerDay: rate) }
        keys = history.keys.map { Self.summaries(of: $0, in: history) }
        episodes = Self.episodes(
            history, trueOnes: request.label.map { _ in ReplayLabels.trueEpisodes(rows) })
    }

    private static func episodes(
        _ history: ReplayHistory, trueOnes: Set<OfKey<Int64>>?
    ) -> [Episode] {
        var peaks: [OfKey<Int64>: Double] = [:]
        for record in history.records {
            guard let judgement = record.judgement, let episode = record.episode else { continue }
            peaks[episode] = min(peaks[episode] ?? 1, judgement.pValue)
        }
        return history.episodes.map { episode in
            let id = OfKey(key: episode.key, episode.sequence)
            return Episode(
                key: episode.key, sequence: episode.sequence, startedAt: episode.startedAt,
                lastAnomalyAt: episode.lastAnomalyAt, isEnded: episode.isEnded,
                anomalyCount: episode.anomalyCount, peakPValue: peaks[id] ?? 1,
                peakAt: episode.peakAt, topFeatures: episode.topFeatures,
                isLabelled: trueOnes?.contains(id))
        }
    }

    private static func summaries(of rows: [KeyRow], in history: ReplayHistory) -> [Key] {
        let episodes = Dictionary(grouping: history.episodes, by: \.key)
        let fits = Dictionary(grouping: history.fits, by: \.key)
        return rows.compactMap { row in
            guard let key = KeyedName.split(row.name).key else { return nil }
            return Key(
                key: key, records: row.recordsTotal, anomalies: row.anomaliesTotal,
                episodes: episodes[key]?.count ?? 0,
                ownModelAt: fits[key]?.first { $0.state == "accepted" }?.queuedAt)
        }
    }

    private static func worstDay(_ episodes: [OfKey<EpisodeMessage>]) -> Alarms.Day? {
        var counts: [Int: Int] = [:]
        for episode in episodes {
            let seconds = episode.startedAt.timeIntervalSince1970
            counts[Int((seconds / 86_400).rounded(.down)), default: 0] += 1
        }
        guard let worst = counts.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) else {
            return nil
        }
        let date = Date(timeIntervalSince1970: Double(worst.key) * 86_400)
        return Alarms.Day(
            date: date.formatted(.iso8601.year().month().day()), episodes: worst.value)
    }
}
