import Foundation
import Ingest
import Logging
import ServiceLifecycle
import Settings
import Store
import Streams
import Synchronization

/// The workers of all streams: starts them, changes them at a reload, and stops them.
actor StreamPool: Service {
    private let environment: WorkerEnvironment
    private let anomalyLog: AnomalyLogWriter
    private var tasks: [String: Task<Void, Never>] = [:]
    private nonisolated let isStopping = Mutex(false)
    /// How long a stop waits for a store that another program has locked.
    private static let storeLimit = Duration.seconds(3)
    /// For readers that must not wait: the workers in the order of the configuration.
    private nonisolated let current = Mutex<[StreamWorker]>([])

    init(
        _ streams: [StreamConfiguration], environment: WorkerEnvironment,
        anomalyLog: AnomalyLogWriter
    ) {
        self.environment = environment
        self.anomalyLog = anomalyLog
        current.withLock { workers in
            workers = streams.map { StreamWorker($0, environment: environment) }
        }
    }

    /// The workers in the order of the configuration.
    nonisolated var workers: [StreamWorker] { current.withLock { $0 } }

    /// The worker of a stream, or of one of its keys where the name is `STREAM/KEY`; `nil` where there is none.
    nonisolated func worker(named name: String) async throws -> StreamWorker? {
        let (stream, key) = KeyedName.split(name)
        let worker = workers.first { $0.name == stream }
        guard let key else { return worker }
        return try await worker?.worker(ofKnownKey: key)
    }

    /// Runs the workers until the service is to stop; then each commits what it has and ends.
    func run() async throws {
        let logRun = Task { await anomalyLog.run() }
        for worker in workers { start(worker) }
        try? await gracefulShutdown()
        beginStop()
        for task in tasks.values { await task.value }
        anomalyLog.finish()
        // A log that cannot be written must not hold up the stop: the next start completes it.
        let limit = Task {
            try? await Task.sleep(for: .seconds(1))
            logRun.cancel()
        }
        await logRun.value
        limit.cancel()
    }

    /// Asks all workers to end; `run` then waits for them.
    ///
    /// Services end one after the other, the listeners before the pool. The workers need not wait for that.
    nonisolated func beginStop() {
        isStopping.withLock { $0 = true }
        environment.store.endWaiting(in: Self.storeLimit)
        for worker in workers { worker.board.stop() }
    }

    /// Waits until every worker has tried to open its source once.
    nonisolated func waitUntilStarted() async {
        while !workers.allSatisfy(\.board.hasStarted) {
            try? await Task.sleep(for: .milliseconds(10))
            if Task.isCancelled { return }
        }
    }

    /// Takes over another list of streams: what is the same runs on, what is changed begins anew where it was.
    func apply(_ streams: [StreamConfiguration]) async {
        guard !isStopping.withLock(\.self) else { return }
        let old = workers
        let kept = old.filter { streams.contains($0.configuration) }
        for worker in old where !kept.contains(where: { $0 === worker }) {
            worker.board.stop(isReload: true)
            await tasks.removeValue(forKey: worker.name)?.value
        }
        let new = streams.map { stream in
            kept.first { $0.configuration == stream }
                ?? StreamWorker(
                    stream, environment: environment, after: old.first { $0.name == stream.name })
        }
        current.withLock { $0 = new }
        environment.inputs.forget(except: streams.map(\.source.path))
        for worker in new where tasks[worker.name] == nil { start(worker) }
    }

    private func start(_ worker: StreamWorker) {
        guard !isStopping.withLock(\.self) else { return }
        tasks[worker.name] = Task { await worker.run() }
    }
}
