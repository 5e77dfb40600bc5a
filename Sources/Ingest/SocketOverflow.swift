import Dispatch
import Glibc
import Synchronization

/// What happens to lines that clients send faster than they are taken.
public enum OverflowPolicy: Sendable, Hashable {
    /// Clients wait.
    case block
    /// The lines that have waited longest are dropped, and counted.
    case dropOldest
    /// Lines go to files in the spool's folder, up to so many bytes; then clients wait.
    case spill(limit: Int64)
}

/// Where lines of a socket wait on disk, or have waited under another policy.
public struct SpoolPlace: Sendable, Hashable {
    /// The folder of the segments; it is made when lines are spilled.
    public var folder: String
    /// What was committed last.
    public var resume: SpoolPosition?

    /// A place.
    public init(folder: String, resume: SpoolPosition?) {
        self.folder = folder
        self.resume = resume
    }
}

/// Takes lines from the clients of a socket when these are held up, so that they may go on, and gives what lies in the
/// spool.
///
/// What was taken is older than what the hub still holds, so the consumer gets it first.
final class SocketOverflow: Sendable {
    private let hub: SocketHub
    private let policy: OverflowPolicy
    private let spool: Spool?
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "flowguard.ingest.overflow")
    /// Apart from the state, which is taken while the disk is written to.
    private let droppedLines = Atomic<Int64>(0)
    private let failure = Mutex<IngestError?>(nil)
    /// Whether the consumer waits for the state.
    private let isAsked = Atomic(false)

    private struct State {
        /// Batches that were taken and are neither spooled nor given: at most one with lines.
        var carried: [LineBatch] = []
    }

    /// - Precondition: Who spills has a spool.
    init(hub: SocketHub, policy: OverflowPolicy, spool: Spool?) {
        self.hub = hub
        self.policy = policy
        self.spool = spool
    }

    /// How many lines were dropped.
    var droppedLineCount: Int64 { droppedLines.load(ordering: .relaxed) }

    /// How many bytes wait on disk.
    var spooledByteCount: Int64 { spool?.byteCount ?? 0 }

    /// What was spooled and is not given.
    var losses: SpoolLosses { spool?.losses ?? SpoolLosses() }

    /// Why lines cannot be spooled now.
    var problem: IngestError? { failure.withLock { $0 } }

    /// Relieves the clients until the source is stopped.
    func run() async {
        guard policy != .block else { return }
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

    /// Takes lines until no client is held up any more; between two batches, the consumer goes first.
    private func relieve() {
        while hub.isOverfull, !hub.isStopped {
            while isAsked.load(ordering: .acquiring) { sched_yield() }
            guard state.withLock({ relieveOnce(&$0) }) else { break }
        }
        hub.wakeConsumer()
    }

    /// Takes one batch; `false` if nothing can be taken now.
    private func relieveOnce(_ state: inout State) -> Bool {
        guard case .spill = policy, let spool else {
            guard case .batch(let batch) = hub.take(withHeader: true) else { return false }
            droppedLines.add(Int64(batch.lines.count), ordering: .relaxed)
            // The consumer is to hear of the client's end all the same.
            if batch.isLast {
                state.carried.append(
                    LineBatch(
                        bytes: [], lines: [], input: batch.input, inputName: batch.inputName,
                        isLast: true))
            }
            return true
        }
        guard spool.hasRoom else { return false }
        if state.carried.isEmpty, case .batch(let batch) = hub.take(withHeader: true) {
            state.carried = [batch]
        }
        guard let batch = state.carried.first else { return false }
        do throws(IngestError) {
            try spool.append(batch)
        } catch {
            failure.withLock { $0 = error }
            return false
        }
        failure.withLock { $0 = nil }
        state.carried.removeFirst()
        return true
    }

    /// The oldest lines there are.
    func take() throws(IngestError) -> SocketHub.Taken {
        isAsked.store(true, ordering: .releasing)
        defer { isAsked.store(false, ordering: .releasing) }
        return try state.withLock { state in
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
            var lost = 0
            // What came from the spool is still in it; what is there now came after what did not.
            if let underway, underway.spool == nil {
                lost += lines(of: underway, notKeptBy: Spool.prepend)
            }
            for batch in state.carried { lost += lines(of: batch, notKeptBy: Spool.append) }
            state.carried = []
            while case .batch(let batch) = hub.take(withHeader: true) {
                lost += lines(of: batch, notKeptBy: Spool.append)
            }
            return lost
        }
    }

    private func lines(
        of batch: LineBatch, notKeptBy keep: (Spool) -> (LineBatch) throws(IngestError) -> Void
    ) -> Int {
        if case .spill = policy, let spool, (try? keep(spool)(batch)) != nil { return 0 }
        return batch.lines.count
    }

    func didCommit(_ batch: LineBatch) {
        if let position = batch.spool { spool?.release(before: position) }
    }
}
