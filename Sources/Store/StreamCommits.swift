import Foundation
import GRDB

extension StateStore {
    /// Makes a stream known; again is harmless.
    ///
    /// - Parameter time: Now, in epoch seconds.
    public func registerStream(_ name: String, at time: Double) throws(StoreError) {
        try write("register stream") { database in
            try register(name, at: time, in: database)
        }
    }

    private func register(_ name: String, at time: Double, in database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO streams (name, first_seen_utc) VALUES (?, ?)
                ON CONFLICT (name) DO NOTHING
                """,
            arguments: [name, UTCTime.text(time)])
    }

    /// The names of all streams that were ever registered, sorted.
    public func streams() throws(StoreError) -> [String] {
        try read("streams") { database in
            try String.fetchAll(database, sql: "SELECT name FROM streams ORDER BY name")
        }
    }

    /// What the store knows of the keys of a stream, by name.
    public func keys(stream: String) throws(StoreError) -> [KeyRow] {
        try read("keys") { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT streams.name, taken_at_utc, records_total, anomalies_total, models.id
                    FROM streams JOIN checkpoints ON checkpoints.stream = streams.name
                    LEFT JOIN models ON models.stream = streams.name AND models.state = 'serving'
                    WHERE \(Self.isKey("streams.name"))
                    ORDER BY streams.name
                    """, arguments: ["stream": stream]
            ).map { row in
                KeyRow(
                    name: row["name"], lastSeenAt: try row.time("taken_at_utc"),
                    recordsTotal: row["records_total"], anomaliesTotal: row["anomalies_total"],
                    model: row["id"])
            }
        }
    }

    /// How many keys of a stream have a serving model of their own.
    public func modelledKeyCount(stream: String) throws(StoreError) -> Int {
        try read("modelled keys") { database in
            try Int.fetchOne(
                database,
                sql: """
                    SELECT count(*) FROM models WHERE state = 'serving' AND \(Self.isKey("stream"))
                    """, arguments: ["stream": stream]) ?? 0
        }
    }

    /// Stores a batch's outcome in one transaction: all of it, or nothing.
    ///
    /// - Returns: The anomalies' numbers, in their order.
    public func commit(_ commit: StreamCommit) throws(StoreError) -> [Int64] {
        try self.commit([commit])[0]
    }

    /// Stores what belongs to a stream and its keys in one transaction: all of it, or nothing.
    ///
    /// Anomalies are numbered in the order of their records in the source, whichever key they are of. What other streams give at the
    /// same time is in the same transaction.
    ///
    /// - Returns: The numbers of the anomalies of each, in their order.
    public func commit(_ commits: [StreamCommit]) throws(StoreError) -> [[Int64]] {
        try self.commits.commit(commits) { (group) throws(StoreError) in
            try write("commit") { database in
                try group.map { try store($0, in: database) }
            }
        }
    }

    private func store(_ commits: [StreamCommit], in database: Database) throws -> [[Int64]] {
        for commit in commits { try storeChoices(commit, in: database) }
        var found = commits.enumerated().flatMap { place, commit in
            commit.anomalies.map { (place: place, anomaly: $0) }
        }
        if commits.count > 1 { found.sort { $0.anomaly.sourceOffset < $1.anomaly.sourceOffset } }
        var ids = [[Int64]](repeating: [], count: commits.count)
        for (place, anomaly) in found {
            try insert(anomaly, stream: commits[place].stream, in: database)
            ids[place].append(database.lastInsertedRowID)
        }
        for commit in commits {
            if let checkpoint = commit.checkpoint {
                try replace(checkpoint, stream: commit.stream, in: database)
            }
            if let file = commit.file {
                try replace(file, stream: commit.stream, in: database)
            }
        }
        return ids
    }

    /// What the anomalies refer to: the stream, its model and threshold, and their episodes.
    private func storeChoices(_ commit: StreamCommit, in database: Database) throws {
        if commit.isNew, let checkpoint = commit.checkpoint {
            try register(commit.stream, at: checkpoint.takenAt, in: database)
        }
        try requireStream(commit.stream, in: database)
        if let activation = commit.activation {
            try activate(activation, stream: commit.stream, in: database)
        }
        if var threshold = commit.threshold {
            threshold.stream = commit.stream
            try replaceThreshold(threshold, in: database)
        }
        for episode in commit.episodes {
            try upsert(episode, stream: commit.stream, in: database)
        }
    }

    /// Where the stream goes on; `nil` before its first commit.
    public func checkpoint(stream: String) throws(StoreError) -> CheckpointRow? {
        try read("checkpoint") { database in
            try Row.fetchOne(
                database, sql: "SELECT * FROM checkpoints WHERE stream = ?", arguments: [stream]
            ).map(CheckpointRow.init(row:))
        }
    }

    /// Where the stream goes on in each file that it was read from, the one that was committed last at the end.
    public func sourceFiles(stream: String) throws(StoreError) -> [SourcePosition] {
        try read("source files") { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM source_files WHERE stream = ? ORDER BY rowid",
                arguments: [stream]
            ).map { SourcePosition(row: $0, path: $0["source"]) }
        }
    }

    /// So many files of a stream are remembered; then those that were committed longest ago are forgotten.
    public static let sourceFileLimit = 10_000

    /// A new row each time, so that row numbers are in the order of the commits.
    private func replace(
        _ file: SourcePosition, stream: String, in database: Database
    ) throws {
        let identity = [Int64(bitPattern: file.device), Int64(bitPattern: file.inode)]
        let isKnown = try Int.fetchOne(
            try database.cachedStatement(
                sql: "SELECT 1 FROM source_files WHERE stream = ? AND device = ? AND inode = ?"),
            arguments: [stream, identity[0], identity[1]])
        let statement = try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO source_files (stream, source, device, inode, prefix_hash,
                    prefix_length_bytes, source_offset, line_number, source_modified_ns)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        try statement.execute(arguments: [
            stream, file.path, identity[0], identity[1], file.prefixHash, file.prefixLength,
            file.offset, file.lineNumber, file.modifiedAt,
        ])
        guard isKnown == nil else { return }
        try database.execute(
            sql: """
                DELETE FROM source_files WHERE stream = ? AND rowid <= (
                    SELECT rowid FROM source_files WHERE stream = ?
                    ORDER BY rowid DESC LIMIT 1 OFFSET ?)
                """,
            arguments: [stream, stream, Self.sourceFileLimit])
    }

    func requireStream(_ name: String, in database: Database) throws {
        let statement = try database.cachedStatement(sql: "SELECT 1 FROM streams WHERE name = ?")
        guard try Int.fetchOne(statement, arguments: [name]) != nil else {
            throw StoreError.unknownStream(path: path, stream: name)
        }
    }

    private func activate(
        _ activation: ModelActivation, stream: String, in database: Database
    ) throws {
        let time = UTCTime.text(activation.threshold.validFrom)
        let chosen: Int64?
        if case .existing(let id) = activation.model { chosen = id } else { chosen = nil }
        try database.execute(
            sql: """
                UPDATE models SET state = 'retired', retired_at_utc = ?, reason = 'replaced'
                WHERE stream = ? AND state = 'serving' AND id IS NOT ?
                """,
            arguments: [time, stream, chosen])
        var threshold = activation.threshold
        switch activation.model {
        case .existing(let id):
            threshold.model = id
            try database.execute(
                sql: """
                    UPDATE models SET state = 'serving', activated_at_utc = ?,
                        retired_at_utc = NULL, reason = ?
                    WHERE id = ? AND stream = ?
                    """,
                arguments: [time, activation.reason, id, stream])
            guard database.changesCount == 1 else {
                throw StoreError.unknownRow(path: path, table: "models", id: id)
            }
        case .new(var model):
            model.stream = stream
            model.state = .serving
            model.reason = activation.reason
            model.activatedAt = activation.threshold.validFrom
            threshold.model = try insert(model, in: database)
        }
        threshold.stream = stream
        try replaceThreshold(threshold, in: database)
    }

    private func upsert(
        _ episode: EpisodeRow, stream: String, in database: Database
    ) throws {
        let statement = try database.cachedStatement(
            sql: """
                INSERT INTO episodes (stream, sequence, started_at_utc, last_anomaly_at_utc,
                    is_ended, peak_at_utc, peak_log_likelihood_nats, anomaly_count, top_features)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (stream, sequence) DO UPDATE SET
                    started_at_utc = excluded.started_at_utc,
                    last_anomaly_at_utc = excluded.last_anomaly_at_utc,
                    is_ended = excluded.is_ended,
                    peak_at_utc = excluded.peak_at_utc,
                    peak_log_likelihood_nats = excluded.peak_log_likelihood_nats,
                    anomaly_count = excluded.anomaly_count,
                    top_features = excluded.top_features
                """)
        try statement.execute(arguments: [
            stream, episode.sequence, UTCTime.text(episode.startedAt),
            UTCTime.text(episode.lastAnomalyAt), episode.isEnded, UTCTime.text(episode.peakAt),
            episode.peakLogLikelihood.storable, episode.anomalyCount,
            try JSONText.encode(episode.topFeatures),
        ])
    }

    private func insert(
        _ anomaly: NewAnomaly, stream: String, in database: Database
    ) throws {
        let statement = try database.cachedStatement(
            sql: """
                INSERT INTO anomalies (stream, detected_at_utc, record_time, source,
                    source_offset, log_likelihood, threshold, p_value, tail, reason_code, model,
                    episode, reasons, summary, record_number)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        let reasons = anomaly.reasons.map {
            ReasonRow(
                name: $0.name, value: $0.value.storable, expected: $0.expected.storable,
                contribution: $0.contribution.storable)
        }
        try statement.execute(arguments: [
            stream, UTCTime.text(anomaly.detectedAt), anomaly.recordTime.map(UTCTime.text),
            anomaly.source, anomaly.sourceOffset, anomaly.logLikelihood.storable,
            anomaly.threshold.storable, anomaly.pValue.storable, anomaly.tail,
            anomaly.reasonCode, anomaly.model, anomaly.episode, try JSONText.encode(reasons),
            anomaly.summary, anomaly.recordNumber,
        ])
    }

    private func replace(
        _ checkpoint: CheckpointRow, stream: String, in database: Database
    ) throws {
        let statement = try database.cachedStatement(
            sql: """
                INSERT OR REPLACE INTO checkpoints (stream, taken_at_utc, source, device, inode,
                    prefix_hash, prefix_length_bytes, source_offset, line_number,
                    window_total_records, records_total, anomalies_total, faults_total, state,
                    source_modified_ns)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        let position = checkpoint.position
        try statement.execute(arguments: [
            stream, UTCTime.text(checkpoint.takenAt), position?.path,
            position.map { Int64(bitPattern: $0.device) },
            position.map { Int64(bitPattern: $0.inode) }, position?.prefixHash,
            position?.prefixLength, position?.offset, position?.lineNumber,
            checkpoint.windowTotal, checkpoint.recordsTotal, checkpoint.anomaliesTotal,
            checkpoint.faultsTotal, Data(checkpoint.state), position?.modifiedAt,
        ])
    }
}

extension SourcePosition {
    fileprivate init(row: Row, path: String) {
        let device: Int64 = row["device"]
        let inode: Int64 = row["inode"]
        self.init(
            path: path, device: UInt64(bitPattern: device), inode: UInt64(bitPattern: inode),
            prefixHash: row["prefix_hash"], prefixLength: row["prefix_length_bytes"],
            offset: row["source_offset"], lineNumber: row["line_number"],
            modifiedAt: row["source_modified_ns"])
    }
}

extension CheckpointRow {
    fileprivate init(row: Row) throws {
        var position: SourcePosition?
        if let source: String = row["source"] {
            position = SourcePosition(row: row, path: source)
        }
        let state: Data = row["state"]
        self.init(
            takenAt: try row.time("taken_at_utc"), position: position,
            windowTotal: row["window_total_records"], recordsTotal: row["records_total"],
            anomaliesTotal: row["anomalies_total"], faultsTotal: row["faults_total"],
            state: [UInt8](state))
    }
}

/// Lists in a column, as JSON that a person can read.
enum JSONText {
    static func encode(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func decode<Value: Decodable>(_ type: Value.Type, from text: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }
}

extension Row {
    /// Epoch seconds of an instant column.
    func time(_ column: String) throws -> Double {
        let text: String = self[column]
        guard let time = UTCTime.time(text) else {
            throw DatabaseError(
                message: "column \(column): expected an instant in UTC, found '\(text)'")
        }
        return time
    }

    /// Epoch seconds of an instant column that may be empty.
    func optionalTime(_ column: String) throws -> Double? {
        hasNull(atColumn: column) ? nil : try time(column)
    }

    private func hasNull(atColumn column: String) -> Bool {
        let value: DatabaseValue = self[column]
        return value.isNull
    }

    /// The case that a text column names.
    func word<Word: RawRepresentable<String>>(_ column: String) throws -> Word {
        let text: String = self[column]
        guard let word = Word(rawValue: text) else {
            throw DatabaseError(message: "column \(column): found '\(text)'")
        }
        return word
    }
}
