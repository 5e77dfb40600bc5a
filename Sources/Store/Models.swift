import Foundation
import GRDB

extension StateStore {
    /// Takes a model number out of the sequence, so that the model's file can be named before its row is there.
    public func reserveModelID(stream: String) throws(StoreError) -> Int64 {
        try write("reserve model number") { database in
            try requireStream(stream, in: database)
            let id = try insert(
                ModelRow(
                    stream: stream, state: .rejected, reason: "", family: "", fittedAt: 0,
                    recordCount: 0, parameterCount: 0, heldOutLogLikelihood: 0, file: nil),
                in: database)
            try database.execute(sql: "DELETE FROM models WHERE id = ?", arguments: [id])
            return id
        }
    }

    /// Stores a model that does not serve, for instance one that the fit gate rejected.
    ///
    /// - Returns: Its number: the row's, or a new one where that is 0.
    public func insertModel(_ model: ModelRow) throws(StoreError) -> Int64 {
        try write("insert model") { database in
            try requireStream(model.stream, in: database)
            return try insert(model, in: database)
        }
    }

    /// The stream's models, newest first.
    public func models(stream: String) throws(StoreError) -> [ModelRow] {
        try read("models") { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM models WHERE stream = ? ORDER BY id DESC",
                arguments: [stream]
            ).map(ModelRow.init(row:))
        }
    }

    /// The model of this number.
    public func model(id: Int64) throws(StoreError) -> ModelRow? {
        try read("model") { database in
            try Row.fetchOne(
                database, sql: "SELECT * FROM models WHERE id = ?", arguments: [id]
            ).map(ModelRow.init(row:))
        }
    }

    /// The model that scores the stream, if any.
    public func servingModel(stream: String) throws(StoreError) -> ModelRow? {
        try read("serving model") { database in
            try Row.fetchOne(
                database,
                sql: "SELECT * FROM models WHERE stream = ? AND state = 'serving'",
                arguments: [stream]
            ).map(ModelRow.init(row:))
        }
    }

    /// Takes a model out of service, and its threshold with it, or says anew why it is out.
    ///
    /// `commit` puts one into service, with its threshold.
    ///
    /// - Parameter time: Now, in epoch seconds.
    public func setModelState(
        id: Int64, state: ModelState, reason: String, at time: Double
    ) throws(StoreError) {
        try write("set model state") { database in
            try database.execute(
                sql: """
                    UPDATE models SET reason = ?2, state = ?3,
                        retired_at_utc = CASE WHEN state = 'serving' AND ?3 <> 'serving'
                            THEN ?4 ELSE retired_at_utc END
                    WHERE id = ?1
                    """,
                arguments: [id, reason, state.rawValue, UTCTime.text(time)])
            guard database.changesCount == 1 else {
                throw StoreError.unknownRow(path: path, table: "models", id: id)
            }
            guard state != .serving else { return }
            try database.execute(
                sql: """
                    UPDATE thresholds SET valid_to_utc = ? WHERE model = ? AND valid_to_utc IS NULL
                    """, arguments: [UTCTime.text(time), id])
        }
    }

    /// Forgets the files of all but the newest models that do not serve; their rows stay, since anomalies name them.
    ///
    /// - Parameter keeping: How many that do not serve keep their files.
    /// - Returns: The files that nothing names any more, for the caller to remove.
    public func pruneModels(stream: String, keeping: Int) throws(StoreError) -> [String] {
        try write("prune models") { database in
            let rows = try Row.fetchAll(
                database,
                sql: """
                    SELECT id, file FROM models
                    WHERE stream = ? AND state <> 'serving' AND file IS NOT NULL
                    ORDER BY id DESC LIMIT -1 OFFSET ?
                    """,
                arguments: [stream, max(0, keeping)])
            for row in rows {
                let id: Int64 = row["id"]
                try database.execute(
                    sql: "UPDATE models SET file = NULL, file_bytes = 0 WHERE id = ?",
                    arguments: [id])
            }
            return rows.map { $0["file"] }
        }
    }

    /// The threshold that holds for the stream, if any.
    public func currentThreshold(stream: String) throws(StoreError) -> ThresholdRow? {
        try read("current threshold") { database in
            try Row.fetchOne(
                database,
                sql: "SELECT * FROM thresholds WHERE stream = ? AND valid_to_utc IS NULL",
                arguments: [stream]
            ).map(ThresholdRow.init(row:))
        }
    }

    /// The stream's thresholds, newest first.
    public func thresholds(stream: String, limit: Int) throws(StoreError) -> [ThresholdRow] {
        try read("thresholds") { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM thresholds WHERE stream = ? ORDER BY id DESC LIMIT ?",
                arguments: [stream, max(0, limit)]
            ).map(ThresholdRow.init(row:))
        }
    }

    /// Puts a threshold in the place of the one that holds, which ends when the new one begins.
    func replaceThreshold(_ threshold: ThresholdRow, in database: Database) throws {
        let from = UTCTime.text(threshold.validFrom)
        try database.execute(
            sql: "UPDATE thresholds SET valid_to_utc = ? WHERE stream = ? AND valid_to_utc IS NULL",
            arguments: [from, threshold.stream])
        try database.execute(
            sql: """
                INSERT INTO thresholds (stream, model, kind, log_likelihood,
                    upper_log_likelihood, probability, valid_from_utc, valid_to_utc, reason)
                VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)
                """,
            arguments: [
                threshold.stream, threshold.model, threshold.kind.rawValue,
                threshold.logLikelihood.storable, threshold.upperLogLikelihood?.storable,
                threshold.probability.storable, from, threshold.reason,
            ])
    }

    func insert(_ model: ModelRow, in database: Database) throws -> Int64 {
        try database.execute(
            sql: """
                INSERT INTO models (id, stream, state, reason, family, fitted_at_utc,
                    activated_at_utc, retired_at_utc, record_count, parameter_count,
                    held_out_log_likelihood_nats, metrics, file, file_bytes)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                model.id == 0 ? nil : model.id, model.stream, model.state.rawValue, model.reason,
                model.family, UTCTime.text(model.fittedAt),
                model.activatedAt.map(UTCTime.text), model.retiredAt.map(UTCTime.text),
                model.recordCount, model.parameterCount, model.heldOutLogLikelihood.storable,
                model.metrics, model.file, model.fileBytes,
            ])
        return database.lastInsertedRowID
    }
}

extension ModelRow {
    fileprivate init(row: Row) throws {
        self.init(
            id: row["id"], stream: row["stream"], state: try row.word("state"),
            reason: row["reason"], family: row["family"],
            fittedAt: try row.time("fitted_at_utc"),
            activatedAt: try row.optionalTime("activated_at_utc"),
            retiredAt: try row.optionalTime("retired_at_utc"),
            recordCount: row["record_count"], parameterCount: row["parameter_count"],
            heldOutLogLikelihood: row["held_out_log_likelihood_nats"], metrics: row["metrics"],
            file: row["file"], fileBytes: row["file_bytes"])
    }
}

extension ThresholdRow {
    fileprivate init(row: Row) throws {
        self.init(
            id: row["id"], stream: row["stream"], model: row["model"],
            kind: try row.word("kind"), logLikelihood: row["log_likelihood"],
            upperLogLikelihood: row["upper_log_likelihood"], probability: row["probability"],
            validFrom: try row.time("valid_from_utc"),
            validTo: try row.optionalTime("valid_to_utc"), reason: row["reason"])
    }
}
