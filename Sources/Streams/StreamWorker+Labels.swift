import Detection
import Foundation
import Logging
import Store

/// What a label brought about.
package struct LabelOutcome: Sendable {
    /// The anomaly, with its label.
    package var row: AnomalyRow
    /// Anomalies of its episode, and those among them that are like it.
    package var episodeAnomalies: Int
    package var likeInEpisode: Int
    /// Which anomalies are its like, in words.
    package var like: String
}

extension StreamWorker {
    /// False alarms of a stream that are remembered.
    static let mostFalseAlarms = 1_000
    /// Anomalies of an episode that are looked at.
    private static let mostOfEpisode = 10_000

    /// Reads what people have said of the stream's anomalies.
    func loadLabels() throws {
        let labelled = try environment.store.labelledAnomalies(stream: name)
        falseAlarms = labelled.filter { $0.label?.label == .falseAlarm }.map { FalseAlarm($0) }
        let confirmed = labelled.count - falseAlarms.count
        let count = falseAlarms.count
        board.update {
            $0.falseAlarmCount = count
            $0.confirmedCount = confirmed
        }
    }

    /// Labels an anomaly, or with `nil` takes its label away; it holds from the next batch on.
    package func label(
        anomaly id: Int64, _ label: AnomalyLabel?, note: String?
    ) throws -> LabelOutcome {
        guard !board.isStopping else { throw RequestError.stopping(stream: name) }
        guard let row = try environment.store.anomaly(id: id), row.stream == name else {
            throw RequestError.unknownAnomaly(id: id)
        }
        if let label {
            if label == .falseAlarm, row.label?.label != .falseAlarm,
                falseAlarms.count >= Self.mostFalseAlarms
            {
                throw RequestError.tooManyLabels(stream: name, limit: Self.mostFalseAlarms)
            }
            try environment.store.setLabel(
                anomaly: id, LabelRow(label: label, note: note, labelledAt: currentTime()))
        } else if try !environment.store.removeLabel(anomaly: id) {
            throw RequestError.notLabelled(id: id)
        }
        try loadLabels()
        logger.notice(
            "anomaly labelled",
            metadata: ["anomaly": "\(id)", "label": "\(label?.rawValue ?? "none")"])
        let measure = FalseAlarm(row)
        let episode = try anomalies(ofEpisode: row.anomaly.episode)
        return LabelOutcome(
            row: try environment.store.anomaly(id: id) ?? row, episodeAnomalies: episode.count,
            likeInEpisode: episode.count { measure.isLike($0) }, like: measure.description)
    }

    private func anomalies(ofEpisode episode: Int64?) throws -> [AnomalyRow] {
        guard let episode else { return [] }
        return try environment.store.anomalies(
            stream: name, episode: episode, limit: Self.mostOfEpisode)
    }

    /// What the labels change about the next fit, in running numbers of records.
    ///
    /// - Returns: Records of episodes that were confirmed, which stay out; and records of false alarms, which enter: their
    ///   whole episode once all of its anomalies are labelled so, or are like one that is.
    func labelledRecords() throws -> (confirmed: RecordRanges, readmitted: RecordRanges) {
        let labelled = try environment.store.labelledAnomalies(stream: name)
        var confirmed: RecordRanges = []
        var readmitted: RecordRanges = []
        for (episode, rows) in Dictionary(grouping: labelled, by: \.anomaly.episode) {
            // Numbers of a window that other features had say nothing of this one's.
            let all = try anomalies(ofEpisode: episode).filter {
                $0.anomaly.model > state.formerModelID
            }
            let numbers = all.compactMap(\.anomaly.recordNumber)
            guard let first = numbers.min(), let last = numbers.max() else { continue }
            if rows.contains(where: { $0.label?.label == .confirmed }) {
                confirmed = confirmed.union([first..<(last + 1)])
            }
            let measures = rows.filter { $0.label?.label == .falseAlarm }.map { FalseAlarm($0) }
            guard !measures.isEmpty else { continue }
            let like = all.filter { row in measures.contains { $0.isLike(row) } }
            readmitted = readmitted.union(
                like.count == all.count
                    ? [first..<(last + 1)]
                    : like.compactMap { $0.anomaly.recordNumber.map { $0..<($0 + 1) } })
        }
        return (confirmed, readmitted.subtracting(confirmed))
    }
}
