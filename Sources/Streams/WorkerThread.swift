import Foundation
import Synchronization

/// A thread of its own for an actor that blocks: on the store, on a file, on a long computation.
///
/// The control API and the other streams run on other threads, so that a slow disk under one stream delays nobody else.
/// The thread ends when the executor is released.
package final class WorkerThread: SerialExecutor {
    private final class Queue: Sendable {
        private struct State {
            var jobs: [UnownedJob] = []
            var isClosed = false
        }

        private let state = Mutex(State())
        private let signal = DispatchSemaphore(value: 0)

        func push(_ job: UnownedJob) {
            state.withLock { $0.jobs.append(job) }
            signal.signal()
        }

        func close() {
            state.withLock { $0.isClosed = true }
            signal.signal()
        }

        /// The next job; `nil` once closed and empty.
        func pop() -> UnownedJob? {
            while true {
                signal.wait()
                let next: UnownedJob?? = state.withLock { state in
                    if !state.jobs.isEmpty { return .some(state.jobs.removeFirst()) }
                    return state.isClosed ? .some(nil) : .none
                }
                if let next { return next }
            }
        }
    }

    private let queue = Queue()

    /// Starts the thread under this name.
    package init(name: String) {
        let queue = queue
        let executor = UnownedReference()
        let thread = Thread {
            while let job = queue.pop() {
                guard let owner = executor.value else { return }
                job.runSynchronously(on: UnownedSerialExecutor(ordinary: owner))
            }
        }
        executor.set(self)
        thread.name = name
        thread.start()
    }

    deinit { queue.close() }

    package func enqueue(_ job: consuming ExecutorJob) {
        queue.push(UnownedJob(job))
    }

    /// The executor as its own thread sees it; a job keeps its actor, and so this executor, alive.
    private final class UnownedReference: Sendable {
        private let reference = Mutex<Weak>(Weak())

        private struct Weak: Sendable {
            weak var value: WorkerThread?
        }

        var value: WorkerThread? { reference.withLock(\.value) }

        func set(_ value: WorkerThread) { reference.withLock { $0.value = value } }
    }
}

extension Thread {
    /// Runs a long computation on a thread of its own, at the lowest priority, and waits for it without blocking.
    ///
    /// On Linux `setpriority` with 0 sets the calling thread alone.
    static func runInBackground<Result: Sendable>(
        name: String, _ body: @escaping @Sendable () -> Result
    ) async -> Result {
        await withCheckedContinuation { continuation in
            let thread = Thread {
                _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
                continuation.resume(returning: body())
            }
            thread.name = name
            thread.stackSize = 8 << 20
            thread.start()
        }
    }
}
