import Dispatch
import Synchronization

/// What happens to lines that clients send faster than they are taken.
public enum OverflowPolicy: Sendable, Hashable {
    /// Clients wait.
    case block
    /// The lines that have waited longest are dropped, and counted.
    case dropOldest
    /// Lines go to files in a folder, up to so many bytes; then clients wait.
    case spill(folder: String, limit: Int64, resume: SpoolPosition?)
}

/// Takes lines from the clients of a socket when these are held up, so that they may go on.
///
/// What was taken is older than what the hub still holds, so the consumer gets it first.
final class SocketOverflow: Sendable {
    private let hub: SocketHub
    /// `nil` where the oldest lines are dropped.
    private let spool: Spool?
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "flowguard.ingest.overflow")

    fileprivate struct State {
        /// Batches that were taken and are neither spooled nor given: at most one with lines.
        var carried: [LineBatch] = []
        var droppedLines: Int64 = 0
        var problem: IngestError?
    }

    init(hub: SocketHub, spool: Spool?) {
        self.hub = hub
        self.spool = spool
    }

    /// How many lines were dropped.
    var droppedLineCount: Int64 { state.withLock { $0.droppedLines } }

    /// How many bytes wait on disk.
    var spooledByteCount: Int64 { spool?.byteCount ?? 0 }

    /// Why lines cannot be spooled now.
    var problem: IngestError? { state.withLock { $0.problem } }

    /// Relieves the clients until the source is stopped.
    func run() async {
        while !hub.isStopped {
            await hub.waitForOverflow()
            if hub.isStopped { return }
            await withCheckedContinuation { continuation in
                queue.async { [self] in
                    relieve()
                    continuation.resume()
                }
            }
            // Without room, or with a disk that takes nothing, clients wait as without a spool.
            if hub.isOverfull { try? await Task.sleep(for: .milliseconds(50)) }
        }
    }

    /// Takes lines until no client is held up any more.
    private func relieve() {
        state.withLock { state in
            while hub.isOverfull {
                if let spool {
                    guard spool.hasRoom else { break }
                    if state.carried.isEmpty, case .batch(let batch) = hub.take(withHeader: true) {
                        state.carried = [batch]
                    }
                    guard state.keep(in: spool) else { break }
                } else {
                    guard case .batch(let batch) = hub.take(withHeader: true) else { break }
                    state.drop(batch)
                }
            }
        }
        hub.wakeConsumer()
    }

    /// The oldest lines there are.
    func take() throws(IngestError) -> SocketHub.Taken {
        try state.withLock { state in
            Result { () throws(IngestError) in
                if let batch = try spool?.next() { return .batch(batch) }
                if !state.carried.isEmpty { return .batch(state.carried.removeFirst()) }
                // A header that went to the spool or was dropped is needed by what follows.
                return hub.take(withHeader: true)
            }
        }.get()
    }

    /// Puts what is held into the spool, when the daemon has no time left to commit it.
    ///
    /// - Parameter underway: A batch that was taken and not committed.
    /// - Returns: How many lines could not be kept.
    func keepRest(_ underway: LineBatch?) -> Int {
        state.withLock { state in
            // What came from the spool is still in it.
            let held = ([underway].compactMap(\.self) + state.carried).filter { $0.spool == nil }
            state.carried = []
            var lost = held.reduce(0) { $0 + lines(notKept: $1) }
            while case .batch(let batch) = hub.take(withHeader: true) {
                lost += lines(notKept: batch)
            }
            return lost
        }
    }

    private func lines(notKept batch: LineBatch) -> Int {
        if let spool, (try? spool.append(batch)) != nil { return 0 }
        return batch.lines.count
    }

    func didCommit(_ batch: LineBatch) {
        if let position = batch.spool { spool?.release(before: position) }
    }
}

extension SocketOverflow.State {
    fileprivate mutating func drop(_ batch: LineBatch) {
        droppedLines += Int64(batch.lines.count)
        guard batch.isLast else { return }
        // The consumer is to hear of the client's end all the same.
        var end = batch
        end.lines = []
        carried.append(end)
    }

    /// Appends what is carried; `false` if there is nothing, or the disk refuses it.
    fileprivate mutating func keep(in spool: Spool) -> Bool {
        guard let batch = carried.first else { return false }
        do throws(IngestError) {
            try spool.append(batch)
        } catch {
            problem = error
            return false
        }
        problem = nil
        carried.removeFirst()
        return true
    }
}
