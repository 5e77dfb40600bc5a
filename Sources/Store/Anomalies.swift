import Foundation
import GRDB

extension StateStore {
    /// Anomalies that come after a number, oldest first.
    ///
    /// - Parameters:
    ///   - stream: Of this stream; `nil`: of all.
    ///   - withKeys: Also those of the stream's keys.
    ///   - id: The greatest number that the caller has; 0 for none.
    ///   - limit: How many at most.
    public func anomalies(
        stream: String? = nil, withKeys: Bool = false, after id: Int64, limit: Int
    ) throws(StoreError) -> [AnomalyRow] {
        try read("anomalies") { database in
            try Row.fetchAll(
                database,
                sql: stream == nil
                    ? Self.anomalySelection + " WHERE id > :id ORDER BY id LIMIT :limit"
                    : Self.anomalySelection
                        + " WHERE id > :id AND \(Self.isOfStream(withKeys)) ORDER BY id LIMIT :limit",
                arguments: Self.arguments(stream, ["id": id, "limit": max(0, limit)])
            ).map(AnomalyRow.init(row:))
        }
    }

    /// The newest anomalies, oldest of them first.
    ///
    /// - Parameter withKeys: Also those of the stream's keys.
    public func latestAnomalies(
        stream: String? = nil, withKeys: Bool = false, count: Int
    ) throws(StoreError) -> [AnomalyRow] {
        try read("latest anomalies") { database in
            try Row.fetchAll(
                database,
                sql: stream == nil
                    ? Self.anomalySelection + " ORDER BY id DESC LIMIT :limit"
                    : Self.anomalySelection
                        + " WHERE \(Self.isOfStream(withKeys)) ORDER BY id DESC LIMIT :limit",
                arguments: Self.arguments(stream, ["limit": max(0, count)])
            ).reversed().map(AnomalyRow.init(row:))
        }
    }

    /// The anomaly of this number.
    public func anomaly(id: Int64) throws(StoreError) -> AnomalyRow? {
        try read("anomaly") { database in
            try Row.fetchOne(
                database, sql: Self.anomalySelection + " WHERE id = ?", arguments: [id]
            ).map(AnomalyRow.init(row:))
        }
    }

    /// The greatest number of an anomaly; 0 when there is none.
    public func newestAnomalyID() throws(StoreError) -> Int64 {
        try read("newest anomaly") { database in
            try Int64.fetchOne(database, sql: "SELECT max(id) FROM anomalies") ?? 0
        }
    }

    /// How many anomalies were found.
    ///
    /// - Parameters:
    ///   - withKeys: Also those of the stream's keys.
    ///   - since: From this instant on, in epoch seconds; `nil`: ever.
    public func anomalyCount(
        stream: String? = nil, withKeys: Bool = false, since: Double? = nil
    ) throws(StoreError) -> Int {
        try read("anomaly count") { database in
            var conditions: [String] = []
            var arguments: StatementArguments = [:]
            if let stream {
                conditions.append(
                    withKeys
                        ? """
                        stream IN (SELECT name FROM streams WHERE name = :stream
                            OR \(Self.isKey("name")))
                        """ : "stream = :stream")
                _ = arguments.append(contentsOf: ["stream": stream])
            }
            if let since {
                conditions.append("detected_at_utc >= :since")
                _ = arguments.append(contentsOf: ["since": UTCTime.text(since)])
            }
            let filter =
                conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
            return try Int.fetchOne(
                database, sql: "SELECT count(*) FROM anomalies" + filter, arguments: arguments)
                ?? 0
        }
    }

    /// The stream's episodes, newest first.
    public func episodes(stream: String, limit: Int) throws(StoreError) -> [EpisodeRow] {
        try read("episodes") { database in
            try Row.fetchAll(
                database,
                sql: "SELECT * FROM episodes WHERE stream = ? ORDER BY sequence DESC LIMIT ?",
                arguments: [stream, max(0, limit)]
            ).map(EpisodeRow.init(row:))
        }
    }

    /// Whether a row is of the stream; the plus has SQLite go through the numbers, whose order is asked for.
    private static func isOfStream(_ withKeys: Bool) -> String {
        withKeys ? "(+stream = :stream OR \(isKey("+stream")))" : "stream = :stream"
    }

    /// Whether the name in a column is that of a key of the stream: `STREAM/KEY` lies between `STREAM/` and `STREAM0`.
    static func isKey(_ column: String) -> String {
        "(\(column) > :stream || '/' AND \(column) < :stream || '0')"
    }

    private static func arguments(
        _ stream: String?, _ others: StatementArguments
    ) -> StatementArguments {
        guard let stream else { return others }
        return others + ["stream": stream]
    }
}

extension AnomalyRow {
    /// A row with the columns of its label.
    init(row: Row) throws {
        self.init(
            id: row["id"], stream: row["stream"],
            anomaly: NewAnomaly(
                detectedAt: try row.time("detected_at_utc"),
                recordTime: try row.optionalTime("record_time"), source: row["source"],
                sourceOffset: row["source_offset"], logLikelihood: row["log_likelihood"],
                threshold: row["threshold"], pValue: row["p_value"], tail: row["tail"],
                reasonCode: row["reason_code"], model: row["model"], episode: row["episode"],
                reasons: try JSONText.decode([ReasonRow].self, from: row["reasons"]),
                summary: row["summary"], recordNumber: row["record_number"]),
            beginsEpisode: row["begins_episode"] as Bool? ?? false,
            label: try LabelRow(row: row))
    }
}

extension EpisodeRow {
    fileprivate init(row: Row) throws {
        self.init(
            sequence: row["sequence"], startedAt: try row.time("started_at_utc"),
            lastAnomalyAt: try row.time("last_anomaly_at_utc"), isEnded: row["is_ended"],
            peakAt: try row.time("peak_at_utc"),
            peakLogLikelihood: row["peak_log_likelihood_nats"],
            anomalyCount: row["anomaly_count"],
            topFeatures: try JSONText.decode([String].self, from: row["top_features"]))
    }
}
