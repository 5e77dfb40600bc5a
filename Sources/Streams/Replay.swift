import Control
import Detection
import FlowDensity
import Foundation
import Ingest
import Settings
import Store
import Synchronization

/// Takes a stream through its history as the daemon would have done, with the daemon's own worker: records are scored, the
/// budget becomes thresholds, and fits begin where they would have begun, by a clock that goes from record to record.
///
/// The state lies in a temporary folder of its own; no other state, log or socket is touched.
package final class Replay: Sendable {
    /// What is to be replayed.
    package struct Request: Sendable {
        /// The stream; its source is not opened.
        package var stream: StreamConfiguration
        /// The history in order; `-` is standard input.
        package var files: [String]
        /// The column that says which records are known anomalies; never a feature.
        package var label: String?
        /// The rate of records that have no time.
        package var recordsPerDay: Double
        /// Splits the fits; the outcome does not depend on it.
        package var parallel: ParallelFor

        package init(
            stream: StreamConfiguration, files: [String], label: String? = nil,
            recordsPerDay: Double = 86_400, parallel: ParallelFor = .serial
        ) {
            self.stream = stream
            self.files = files
            self.label = label
            self.recordsPerDay = recordsPerDay
            self.parallel = parallel
        }
    }

    /// How far it is.
    package struct Progress: Sendable {
        package var records: Int64
        /// The share of the input that was read; `nil` where its size is not known.
        package var fraction: Double?
        /// The number of the fit that runs, and its done share.
        package var fit: (id: Int64, fraction: Double)?
    }

    private let request: Request
    private let source: FileSequence
    private let board: Mutex<(board: StreamBoard?, isStopped: Bool)> = Mutex((nil, false))

    /// Opens the files.
    ///
    /// - Throws: `ReplayError`, and `IngestError` of a file that cannot be opened.
    package init(_ request: Request) throws {
        var request = request
        if let label = request.label {
            guard request.stream.longRows == nil else {
                throw ReplayError.labelOfLongRows(column: label)
            }
            if request.stream.features?.contains(label) == true {
                throw ReplayError.labelInUse(column: label, use: "features")
            }
            if request.stream.timeColumn == label {
                throw ReplayError.labelInUse(column: label, use: "time")
            }
            request.stream.exclude.append(label)
        }
        source = try FileSequence(request.files, format: request.stream.format)
        // Whatever feeds the stream when it is watched, here it is files: what is wrong with one ends the replay.
        request.stream.source = .file(source.name)
        self.request = request
    }

    /// How far it is.
    package var progress: Progress {
        let snapshot = board.withLock { $0.board?.snapshot }
        let fit = snapshot?.fit.flatMap { $0.state.isEnded ? nil : $0 }
        return Progress(
            records: snapshot?.counters.records ?? 0, fraction: source.fraction,
            fit: fit.map { ($0.id, $0.progress?.fraction ?? 0) })
    }

    /// Ends `run()` soon.
    package func stop() {
        source.stop()
        board.withLock {
            $0.isStopped = true
            $0.board?.stop()
        }
    }

    /// Replays all of it; call it once.
    ///
    /// - Throws: `ReplayError`, and what is wrong with the input as `IngestError`.
    package func run() async throws -> ReplayHistory {
        let folder = try TemporaryFolder(prefix: "flowguard-replay")
        defer { folder.remove() }
        do {
            let history = try await run(in: folder.path)
            guard !board.withLock(\.isStopped) else { throw ReplayError.stopped }
            return history
        } catch  where board.withLock(\.isStopped) {
            throw ReplayError.stopped
        } catch let error as StateError {
            throw ReplayError.state(error)
        } catch let error as StoreError {
            throw ReplayError.store(error)
        }
    }

    private func run(in folder: String) async throws -> ReplayHistory {
        let directory = try StateDirectory(path: folder)
        let store = try StateStore(path: directory.storePath)
        let clock = RecordedClock(recordsPerDay: request.recordsPerDay)
        let records = ReplayedRecords()
        let worker = StreamWorker(
            request.stream,
            environment: WorkerEnvironment(
                store: store, directory: directory, clock: clock,
                replay: ReplayEnvironment(
                    parallel: request.parallel, observe: { records.judge($0) })))
        let isStopped = board.withLock {
            $0.board = worker.board
            return $0.isStopped
        }
        if isStopped { worker.board.stop() }
        let labels = request.label.map { LabelColumn(name: $0, format: request.stream.format) }
        try await worker.replay(source, clock: clock, labels: labels, into: records)
        if let label = request.label, !worker.board.isStopping,
            !records.all.contains(where: { $0.label != nil })
        {
            throw ReplayError.noLabels(column: label)
        }
        let snapshot = worker.board.snapshot
        let names = try [worker.name] + store.keys(stream: worker.name).map(\.name).sorted()
        func all<Message>(
            at time: (Message) -> Date, _ read: (String) throws -> [Message]
        ) rethrows -> [OfKey<Message>] {
            let found = try names.flatMap { name in
                try read(name).reversed().map { OfKey(key: KeyedName.split(name).key, $0) }
            }
            return found.enumerated().sorted {
                (time($0.element.content), $0.offset) < (time($1.element.content), $1.offset)
            }.map(\.element)
        }
        let history = ReplayHistory(
            records: records.all, inputNames: records.inputNames, schema: snapshot.schema,
            counters: snapshot.counters, points: snapshot.pointCounts,
            fits: try all(at: \.queuedAt) {
                try store.fits(stream: $0, limit: .max).map { FitMessage($0) }
            },
            thresholds: try all(at: \.validFrom) {
                try store.thresholds(stream: $0, limit: .max).map { ThresholdMessage($0) }
            },
            episodes: try all(at: \.startedAt) {
                try store.episodes(stream: $0, limit: .max).map { EpisodeMessage($0) }
            },
            keys: request.stream.key == nil ? nil : try store.keys(stream: worker.name),
            asked: snapshot.asked(by: request.stream))
        try? store.close()
        return history
    }
}

/// What came of a replay.
package struct ReplayHistory: Sendable {
    /// Every record, in the order of reading.
    package var records: [ReplayedRecord]
    /// The files, by the numbers that the records name them with.
    package var inputNames: [String]
    package var schema: Schema?
    package var counters: WorkerState.Counters
    /// What became of long rows that are in no record; `nil` where each line is a record.
    package var points: PointCounts?
    /// Oldest first.
    package var fits: [OfKey<FitMessage>]
    /// Oldest first.
    package var thresholds: [OfKey<ThresholdMessage>]
    /// Oldest first.
    package var episodes: [OfKey<EpisodeMessage>]
    /// The keys that had records; `nil` for a stream without.
    package var keys: [KeyRow]?
    /// The budget, at the end.
    package var asked: AlarmRate
}

/// Why a replay cannot be made.
package enum ReplayError: Error, CustomStringConvertible {
    /// The label column has another part in the configuration.
    case labelInUse(column: String, use: String)
    /// Several rows make a record, and each could have another label.
    case labelOfLongRows(column: String)
    /// No record has a label.
    case noLabels(column: String)
    /// The temporary folder cannot be made.
    case folder(path: String, code: Int32)
    case state(StateError)
    case store(StoreError)
    /// `stop()` was called.
    case stopped

    package var description: String {
        switch self {
        case .labelInUse(let column, let use):
            return "label column '\(column)': expected a column that the model does not see, "
                + "found it under \(use) in the configuration"
        case .labelOfLongRows(let column):
            return "label column '\(column)': expected records of a line each, found long rows"
        case .noLabels(let column):
            return "label column '\(column)': expected a label in some record, found none"
        case .folder(let path, let code):
            return "\(path): make folder: \(String(cString: strerror(code)))"
        case .state(let error): return error.description
        case .store(let error): return error.description
        case .stopped: return "the replay was stopped"
        }
    }

    /// What to do about it.
    package var hint: String? {
        switch self {
        case .labelInUse: return "name another column with --label, or take it out there"
        case .labelOfLongRows: return "leave --label out, or replay wide records"
        case .noLabels: return "name another column with --label"
        case .folder: return "name a folder that can be written with $TMPDIR"
        case .state(let error): return error.hint
        case .store(let error): return error.hint
        case .stopped: return nil
        }
    }
}

/// A folder for as long as it is needed.
private struct TemporaryFolder {
    let path: String

    /// - Throws: `ReplayError.folder`.
    init(prefix: String) throws(ReplayError) {
        let base = FileManager.default.temporaryDirectory.path
        var template = Array("\(base)/\(prefix)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw .folder(path: base, code: errno) }
        path = template.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { String(cString: $0) } ?? base
        }
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
