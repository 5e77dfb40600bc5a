import Foundation
import GRDB

/// What a person says of an anomaly.
public enum AnomalyLabel: String, Sendable, Hashable, Codable, CaseIterable {
    /// Nothing was wrong: it and its like are no alarm any more.
    case falseAlarm = "false-alarm"
    /// Something was wrong.
    case confirmed = "true"
}

/// A row of `labels`.
public struct LabelRow: Sendable, Hashable, Codable {
    /// What was said.
    public var label: AnomalyLabel
    /// In the person's own words.
    public var note: String?
    /// When it was said, in epoch seconds.
    public var labelledAt: Double

    /// Makes a row.
    public init(label: AnomalyLabel, note: String?, labelledAt: Double) {
        self.label = label
        self.note = note
        self.labelledAt = labelledAt
    }
}

extension StateStore {
    /// Labels an anomaly, instead of what was said of it before.
    ///
    /// - Throws: `unknownRow` when there is no such anomaly.
    public func setLabel(anomaly id: Int64, _ row: LabelRow) throws(StoreError) {
        try write("label") { database in
            let exists = try Int.fetchOne(
                database, sql: "SELECT 1 FROM anomalies WHERE id = ?", arguments: [id])
            guard exists != nil else {
                throw StoreError.unknownRow(path: path, table: "anomalies", id: id)
            }
            try database.execute(
                sql: """
                    INSERT OR REPLACE INTO labels (anomaly, label, note, labelled_at_utc)
                    VALUES (?, ?, ?, ?)
                    """,
                arguments: [id, row.label.rawValue, row.note, UTCTime.text(row.labelledAt)])
        }
    }

    /// Takes an anomaly's label away.
    ///
    /// - Returns: Whether it had one.
    public func removeLabel(anomaly id: Int64) throws(StoreError) -> Bool {
        try write("remove label") { database in
            try database.execute(sql: "DELETE FROM labels WHERE anomaly = ?", arguments: [id])
            return database.changesCount > 0
        }
    }

    /// The labelled anomalies of a stream, oldest first.
    public func labelledAnomalies(stream: String) throws(StoreError) -> [AnomalyRow] {
        try read("labelled anomalies") { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT anomalies.*, labels.label, labels.note, labels.labelled_at_utc
                    FROM labels JOIN anomalies ON anomalies.id = labels.anomaly
                    WHERE stream = ? ORDER BY id
                    """, arguments: [stream]
            ).map(AnomalyRow.init(row:))
        }
    }

    /// The anomalies of an episode, oldest first.
    ///
    /// - Parameter limit: How many at most.
    public func anomalies(
        stream: String, episode: Int64, limit: Int
    ) throws(StoreError) -> [AnomalyRow] {
        try read("anomalies of an episode") { database in
            try Row.fetchAll(
                database,
                sql: Self.anomalySelection
                    + " WHERE stream = ? AND episode = ? ORDER BY id LIMIT ?",
                arguments: [stream, episode, max(0, limit)]
            ).map(AnomalyRow.init(row:))
        }
    }

    /// Anomalies with what was said of them, and whether they are the first of their episodes.
    static let anomalySelection = """
        SELECT anomalies.*, labels.label, labels.note, labels.labelled_at_utc,
            episode IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM anomalies AS earlier
                WHERE earlier.stream = anomalies.stream AND earlier.episode = anomalies.episode
                    AND earlier.id < anomalies.id
            ) AS begins_episode
        FROM anomalies LEFT JOIN labels ON labels.anomaly = anomalies.id
        """
}

extension LabelRow {
    /// `nil`: the row has none.
    init?(row: Row) throws {
        guard let text: String = row["label"] else { return nil }
        guard let label = AnomalyLabel(rawValue: text) else {
            throw DatabaseError(message: "column label: found '\(text)'")
        }
        self.init(label: label, note: row["note"], labelledAt: try row.time("labelled_at_utc"))
    }
}
