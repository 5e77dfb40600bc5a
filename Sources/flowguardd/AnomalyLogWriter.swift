import Control
import Foundation
import Logging
import Settings
import Store
import Streams
import Synchronization

extension AnomalyMessage {
    init(_ row: AnomalyRow) {
        let anomaly = row.anomaly
        let (stream, key) = KeyedName.split(row.stream)
        self.init(
            id: row.id, time: Date(timeIntervalSince1970: anomaly.detectedAt), stream: stream,
            key: key, recordTime: anomaly.recordTime.map(Date.init(timeIntervalSince1970:)),
            logLikelihood: anomaly.logLikelihood, threshold: anomaly.threshold,
            pValue: anomaly.pValue, tail: anomaly.tail, reasonCode: anomaly.reasonCode,
            episode: anomaly.episode, beginsEpisode: row.beginsEpisode ? true : nil,
            model: anomaly.model, source: anomaly.source, offset: anomaly.sourceOffset,
            features: anomaly.reasons.map {
                Feature(
                    name: $0.name, value: Value($0.value), expected: Value($0.expected),
                    contribution: $0.contribution)
            }, summary: anomaly.summary, label: row.label?.label.rawValue, note: row.label?.note)
    }
}

extension AnomalyMessage.Value {
    fileprivate init(_ value: ReasonValue) {
        switch value {
        case .number(let number): self = .number(number)
        case .text(let text): self = .text(text)
        case .missing: self = .missing
        }
    }
}

/// Copies anomalies from the store into the log, in the order of their numbers.
///
/// All streams go through this one writer: numbers are given inside the store's transactions, one after the other, so that
/// reading on from the last number never skips one. A full disk under the log stops neither the streams nor the store; the log
/// catches up when there is room.
actor AnomalyLogWriter {
    private let log: AnomalyLog
    private let store: StateStore
    private let logger: Logger
    private let thread = WorkerThread(name: "anomaly-log")
    private nonisolated let newest: Mutex<Int64>
    private nonisolated let problem = Mutex<String?>(nil)
    /// What was found at the start.
    nonisolated let warning: String?
    private nonisolated let wakeups: AsyncStream<Void>
    private nonisolated let wakeup: AsyncStream<Void>.Continuation

    /// Rows that are copied at once.
    private static let pageRows = 500

    nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    /// Opens the log and completes it from the store.
    ///
    /// A log that cannot be opened or written is a problem that `run()` waits out, as it does later.
    ///
    /// - Throws: When the store cannot be read.
    init(path: String, positionPath: String, store: StateStore, logger: Logger) throws {
        self.store = store
        self.logger = logger
        let greatest = try store.newestAnomalyID()
        newest = Mutex(greatest)
        let log = AnomalyLog(path: path, positionPath: positionPath, greatestID: greatest)
        self.log = log
        warning = log.idBeyondStore.map {
            "the anomaly log goes up to anomaly \($0) and the store up to \(greatest): the store has lost its "
                + "newest anomalies, or is another one; files are read again from where the store is"
        }
        if let warning { logger.warning("\(warning)") }
        (wakeups, wakeup) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        do {
            try log.reopen()
            while try Self.copyPage(from: store, to: log) {}
        } catch let error as StateError {
            problem.withLock { $0 = error.description }
            logger.error("anomaly log not written", metadata: ["error": "\(error)"])
            wakeup.yield()
        }
    }

    /// The number of the newest anomaly, for those who wait for the next.
    nonisolated var newestID: Int64 { newest.withLock { $0 } }

    /// What keeps the log from being written, or `nil`.
    nonisolated var currentProblem: String? { problem.withLock { $0 } }

    /// Says that there are new anomalies in the store.
    nonisolated func wake(newestID id: Int64) {
        newest.withLock { $0 = max($0, id) }
        wakeup.yield()
    }

    /// Copies until `finish()`.
    func run() async {
        for await _ in wakeups {
            while !copyAll() {
                try? await Task.sleep(for: .seconds(1))
                if Task.isCancelled { return }
            }
        }
        _ = copyAll()
    }

    /// Ends `run()` once everything is copied, or cannot be.
    nonisolated func finish() { wakeup.finish() }

    /// Opens the file anew, after a rotation, or at another path.
    func reopen(path: String) throws {
        defer { wakeup.yield() }
        try log.reopen(path: path)
    }

    private func copyAll() -> Bool {
        do {
            // With nothing to write it must be known to be well too.
            if !log.isOpen { try log.reopen() }
            while try Self.copyPage(from: store, to: log) {}
            problem.withLock { $0 = nil }
            return true
        } catch {
            let text = "\(error)"
            let isNew = problem.withLock { problem in
                defer { problem = text }
                return problem != text
            }
            if isNew { logger.error("anomaly log not written", metadata: ["error": "\(text)"]) }
            return false
        }
    }

    /// Copies a page; `false` when there was nothing left.
    private static func copyPage(from store: StateStore, to log: AnomalyLog) throws -> Bool {
        let rows = try store.anomalies(stream: nil, after: log.lastID, limit: pageRows)
        guard !rows.isEmpty else { return false }
        try log.append(
            rows.map { AnomalyLog.Line(id: $0.id, bytes: AnomalyMessage($0).line) })
        return rows.count == pageRows
    }
}
