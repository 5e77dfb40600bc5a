import Foundation
import GRDB

/// How a fit ended.
public struct FitOutcome: Sendable, Hashable {
    /// An ended state.
    public var state: FitState
    /// When, in epoch seconds.
    public var endedAt: Double
    /// Records that it read.
    public var recordCount: Int?
    /// The model that came of it.
    public var model: Int64?
    /// Mean log-likelihood of held-out records, in nats per record.
    public var heldOutLogLikelihood: Double?
    /// How it ended, as a sentence.
    public var message: String

    /// Makes an outcome.
    public init(
        state: FitState, endedAt: Double, recordCount: Int? = nil, model: Int64? = nil,
        heldOutLogLikelihood: Double? = nil, message: String
    ) {
        self.state = state
        self.endedAt = endedAt
        self.recordCount = recordCount
        self.model = model
        self.heldOutLogLikelihood = heldOutLogLikelihood
        self.message = message
    }
}

extension StateStore {
    /// Notes a fit that waits or runs.
    ///
    /// - Returns: Its number.
    public func beginFit(_ fit: FitRow) throws(StoreError) -> Int64 {
        try write("begin fit") { database in
            try requireStream(fit.stream, in: database)
            try database.execute(
                sql: """
                    INSERT INTO fits (stream, state, trigger, queued_at_utc, started_at_utc,
                        ended_at_utc, record_count, model, held_out_log_likelihood_nats, message)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    fit.stream, fit.state.rawValue, fit.trigger, UTCTime.text(fit.queuedAt),
                    fit.startedAt.map(UTCTime.text), fit.endedAt.map(UTCTime.text),
                    fit.recordCount, fit.model, fit.heldOutLogLikelihood?.storable, fit.message,
                ])
            return database.lastInsertedRowID
        }
    }

    /// Notes that a fit that waited now runs.
    ///
    /// - Parameter time: Now, in epoch seconds.
    public func startFit(id: Int64, at time: Double) throws(StoreError) {
        try write("start fit") { database in
            try database.execute(
                sql: "UPDATE fits SET state = 'running', started_at_utc = ? WHERE id = ?",
                arguments: [UTCTime.text(time), id])
            guard database.changesCount == 1 else {
                throw StoreError.unknownRow(path: path, table: "fits", id: id)
            }
        }
    }

    /// Notes how a fit ended.
    public func finishFit(id: Int64, _ outcome: FitOutcome) throws(StoreError) {
        try write("finish fit") { database in
            try database.execute(
                sql: """
                    UPDATE fits SET state = ?, ended_at_utc = ?, record_count = ?, model = ?,
                        held_out_log_likelihood_nats = ?, message = ?
                    WHERE id = ?
                    """,
                arguments: [
                    outcome.state.rawValue, UTCTime.text(outcome.endedAt), outcome.recordCount,
                    outcome.model, outcome.heldOutLogLikelihood?.storable, outcome.message, id,
                ])
            guard database.changesCount == 1 else {
                throw StoreError.unknownRow(path: path, table: "fits", id: id)
            }
        }
    }

    /// The stream's fits, newest first.
    public func fits(stream: String, limit: Int) throws(StoreError) -> [FitRow] {
        try read("fits") { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM fits WHERE stream = ? ORDER BY id DESC LIMIT ?",
                arguments: [stream, max(0, limit)]
            ).map(FitRow.init(row:))
        }
    }
}

extension FitRow {
    fileprivate init(row: Row) throws {
        self.init(
            id: row["id"], stream: row["stream"], state: try row.word("state"),
            trigger: row["trigger"], queuedAt: try row.time("queued_at_utc"),
            startedAt: try row.optionalTime("started_at_utc"),
            endedAt: try row.optionalTime("ended_at_utc"), recordCount: row["record_count"],
            model: row["model"], heldOutLogLikelihood: row["held_out_log_likelihood_nats"],
            message: row["message"])
    }
}
