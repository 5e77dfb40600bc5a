import Foundation
import GRDB
import Store
import TestSupport

/// Rows that the tests store; times are whole milliseconds, as the store keeps them.
enum Example {
    static let stream = "pump-7"
    static let time = 1_763_936_645.12

    static func model(id: Int64 = 0, state: ModelState = .retired) -> ModelRow {
        ModelRow(
            id: id, stream: stream, state: state, reason: "kept for the test", family: "realnvp",
            fittedAt: time, recordCount: 2_000, parameterCount: 31_234,
            heldOutLogLikelihood: -3.25, metrics: #"{"steps":400}"#,
            file: "models/pump-7/\(id).safetensors", fileBytes: 140_000)
    }

    static func threshold(logLikelihood: Double = -18.2, at time: Double = time) -> ThresholdRow {
        ThresholdRow(
            stream: stream, model: 0, kind: .calibrated, logLikelihood: logLikelihood,
            upperLogLikelihood: 9.5, probability: 1e-4, validFrom: time, reason: "2 a day")
    }

    static func activation(_ model: ModelActivation.Choice, at time: Double = time)
        -> ModelActivation
    {
        ModelActivation(model: model, reason: "first model", threshold: threshold(at: time))
    }

    static func anomaly(model: Int64, offset: Int64 = 104_233, episode: Int64? = 88)
        -> NewAnomaly
    {
        NewAnomaly(
            detectedAt: time, recordTime: 1_583_756_076, source: "/var/log/pump-7.csv",
            sourceOffset: offset, logLikelihood: -41.72, threshold: -18.2, pValue: 3.1e-7,
            tail: "low", reasonCode: "improbable", model: model, episode: episode,
            reasons: [
                ReasonRow(
                    name: "pressure", value: .number(9.1), expected: .number(4.3),
                    contribution: 19.4),
                ReasonRow(
                    name: "flow \"in\"", value: .number(1.0 / 3.0), expected: .number(0.3),
                    contribution: 0),
            ], summary: "pressure 9.1 where 4.3 was expected (19.4 nats)")
    }

    static func episode(_ sequence: Int64 = 88, count: Int = 1, isEnded: Bool = false)
        -> EpisodeRow
    {
        EpisodeRow(
            sequence: sequence, startedAt: time, lastAnomalyAt: time + 60, isEnded: isEnded,
            peakAt: time + 30, peakLogLikelihood: -52.5, anomalyCount: count,
            topFeatures: ["pressure", "flow \"in\""])
    }

    static func checkpoint(offset: Int64 = 104_300) -> CheckpointRow {
        CheckpointRow(
            takenAt: time,
            position: SourcePosition(
                path: "/var/log/pump-7.csv", device: .max - 1, inode: 42, prefixHash: "9f",
                prefixLength: 1_024, offset: offset, lineNumber: 1_001),
            windowTotal: 1_000, recordsTotal: 1_000, anomaliesTotal: 1, faultsTotal: 3,
            state: [0, 1, 0xFF])
    }

    /// A commit that touches every table that a commit can touch.
    static func commit(_ model: ModelActivation.Choice, id: Int64) -> StreamCommit {
        StreamCommit(
            stream: stream, activation: activation(model), episodes: [episode()],
            anomalies: [anomaly(model: id), anomaly(model: id, offset: 104_266)],
            checkpoint: checkpoint())
    }
}

/// A store in a folder of its own, and the file as an outsider sees it.
struct StoreFolder {
    let folder: TemporaryDirectory
    var path: String { folder.file("flowguard.sqlite") }

    init() throws {
        folder = try TemporaryDirectory()
    }

    /// A store with the example's stream.
    func open(pageLimit: Int? = nil) throws -> StateStore {
        let store = try StateStore(path: path, at: Example.time, pageLimit: pageLimit)
        try store.registerStream(Example.stream, at: Example.time)
        return store
    }

    /// Another program's connection.
    func outside<Value>(_ body: (Database) throws -> Value) throws -> Value {
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        return try queue.writeWithoutTransaction(body)
    }

    /// Every row of every table, as text.
    func contents() throws -> [String] {
        try outside { database in
            let tables = try String.fetchAll(
                database,
                sql: """
                    SELECT name FROM sqlite_master WHERE type = 'table'
                    AND name NOT LIKE 'sqlite_%' AND name <> 'countdown' ORDER BY name
                    """)
            return try tables.flatMap { table in
                try Row.fetchAll(database, sql: "SELECT * FROM \(table)").map {
                    "\(table) \($0)"
                }
            }
        }
    }
}
