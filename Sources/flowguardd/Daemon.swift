import Control
import FlowDensity
import Foundation
import Hummingbird
import Ingest
import Logging
import ServiceLifecycle
import Settings
import Store
import Streams
import Synchronization
import UnixSignals

/// What the daemon as a whole tells about itself.
final class DaemonStatus: Sendable {
    private struct Content {
        var configuration: FlowguardConfiguration
        var reloadProblem: String?
        var restartProblem: String?
        var reloadsFailed: Int64 = 0
        var reloads: Int64 = 0
    }

    let startedAt = ContinuousClock.now
    let blasCore: String
    private let content: Mutex<Content>

    init(_ configuration: FlowguardConfiguration, blasCore: String) {
        content = Mutex(Content(configuration: configuration))
        self.blasCore = blasCore
    }

    /// The configuration that runs.
    var configuration: FlowguardConfiguration { content.withLock(\.configuration) }
    var uptimeSecs: Double { (ContinuousClock.now - startedAt).inSeconds }
    var reloads: (done: Int64, failed: Int64) {
        content.withLock { ($0.reloads, $0.reloadsFailed) }
    }
    /// Whether the newest reload was taken over.
    var isReloadGood: Bool { content.withLock { $0.reloadProblem == nil } }
    /// What a person should know about the configuration.
    var warnings: [String] {
        content.withLock { [$0.reloadProblem, $0.restartProblem].compactMap(\.self) }
    }

    func reloaded(_ configuration: FlowguardConfiguration, needsRestart: [String]) {
        content.withLock {
            $0.configuration = configuration
            $0.reloads += 1
            $0.reloadProblem = nil
            $0.restartProblem =
                needsRestart.isEmpty
                ? nil
                : "a new \(needsRestart.joined(separator: ", ")) takes effect at the next start"
        }
    }

    func reloadFailed(_ reason: String) {
        content.withLock {
            $0.reloads += 1
            $0.reloadsFailed += 1
            $0.reloadProblem = "the configuration was not taken over: \(reason)"
        }
    }
}

/// The daemon: everything put together, from the configuration to the end of the last worker.
struct Daemon {
    let configuration: FlowguardConfiguration
    let logger: Logger

    /// The longest a stop takes.
    private static let shutdownLimit = Duration.seconds(4)

    /// Runs until SIGTERM or SIGINT.
    func run() async throws {
        let directory = try StateDirectory(path: configuration.stateDirectory)
        try prepareControlSocket()
        let store: StateStore
        do {
            store = try StateStore(path: directory.storePath)
        } catch {
            throw DaemonError.store(error)
        }
        Self.tellOfSpools(leftBy: configuration.streams, in: directory, store, logger)
        let core = BLASCore.prepare()
        let anomalyLog = try AnomalyLogWriter(
            path: configuration.log.anomalies, positionPath: directory.logPositionPath,
            store: store, logger: logger)
        let pool = StreamPool(
            configuration.streams,
            environment: WorkerEnvironment(
                store: store, directory: directory, fitTurns: FitTurns(), logger: logger,
                activated: ActivatedSockets(environment: ProcessInfo.processInfo.environment),
                announce: { anomalyLog.wake(newestID: $0) }),
            anomalyLog: anomalyLog)
        let status = DaemonStatus(configuration, blasCore: core)
        let control = ControlServer(
            pool: pool, status: status, store: store, directory: directory,
            anomalyLog: anomalyLog, logger: logger)
        let readiness = Readiness(count: configuration.http == nil ? 1 : 2)
        var services: [any Service] = [pool]
        services.append(control.unixApplication(configuration.controlSocketPath, readiness))
        if let http = configuration.http {
            services.append(control.tcpApplication(http, readiness))
        }
        let notifier = SystemdNotifier()
        let supervisor = Supervisor(
            pool: pool, status: status, anomalyLog: anomalyLog, readiness: readiness,
            notifier: notifier, logger: logger
        ) {
            Self.tellOfSpools(leftBy: $0, in: directory, store, logger)
        }
        services.append(supervisor)
        logger.info(
            "starting",
            metadata: [
                "version": "\(ControlServer.version)", "configuration": "\(configuration.path)",
                "state_directory": "\(configuration.stateDirectory)", "blas_core": "\(core)",
                "streams": "\(configuration.streams.count)",
            ])
        var groupConfiguration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: quietLogger)
        groupConfiguration.maximumGracefulShutdownDuration = Self.shutdownLimit
        do {
            try await ServiceGroup(configuration: groupConfiguration).run()
        } catch let error as DaemonError {
            throw error
        } catch {
            throw DaemonError.listen(
                address: configuration.http.map { "\($0.host):\($0.port)" }
                    ?? configuration.controlSocketPath, reason: "\(error)")
        }
        unlink(configuration.controlSocketPath)
        do {
            try store.close()
        } catch {
            logger.warning(
                "the store's newest content is still in its -wal file: copy the two together",
                metadata: ["error": "\(error)"])
        }
        logger.info("stopped")
    }

    /// Logs what waits on disk for streams that are not read any more.
    static func tellOfSpools(
        leftBy streams: [StreamConfiguration], in directory: StateDirectory, _ store: StateStore,
        _ logger: Logger
    ) {
        do {
            for spool in try directory.leftSpools(of: streams, store: store, removesEmpty: true) {
                logger.warning(
                    "lines wait for a stream that is not configured",
                    metadata: [
                        "stream": "\(spool.stream)", "path": "\(spool.path)",
                        "bytes": "\(spool.bytes)",
                    ])
            }
        } catch {
            logger.warning("spools not looked at", metadata: ["error": "\(error)"])
        }
    }

    private var quietLogger: Logger {
        var logger = logger
        logger.logLevel = max(logger.logLevel, .warning)
        return logger
    }

    /// Makes room for the control socket: a stale one goes, a live one is an error.
    private func prepareControlSocket() throws(DaemonError) {
        let path = configuration.controlSocketPath
        do {
            try StateDirectory.makeFolder(configuration.runtimeDirectory)
        } catch {
            throw .state(error)
        }
        do throws(IngestError) {
            try UnixSocket.makeWay(path, .stream)
        } catch {
            switch error {
            case .socketInUse: throw .socketInUse(path: path)
            case .socketPathOccupied: throw .notASocket(path: path)
            case .cannotListen(_, let code):
                throw .listen(address: path, reason: String(cString: strerror(code)))
            default: throw .listen(address: path, reason: "\(error)")
            }
        }
    }
}

/// Counts the listeners that are open.
final class Readiness: Sendable {
    private let missing: Mutex<Int>

    init(count: Int) { missing = Mutex(count) }

    func arrive() { missing.withLock { $0 -= 1 } }
    var isComplete: Bool { missing.withLock { $0 <= 0 } }
}

/// Speaks with systemd, and reads the configuration again at SIGHUP.
struct Supervisor: Service {
    let pool: StreamPool
    let status: DaemonStatus
    let anomalyLog: AnomalyLogWriter
    let readiness: Readiness
    let notifier: SystemdNotifier
    let logger: Logger
    /// Called with the streams of another configuration, once those before have ended.
    let didReload: @Sendable ([StreamConfiguration]) -> Void

    /// A worker that is busy for so long without progress is stuck.
    private static let stallLimit = Duration.seconds(120)

    func run() async throws {
        let hangups = await UnixSignalsSequence(trapping: .sighup)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await announce() }
            group.addTask { await watch() }
            group.addTask {
                for await _ in hangups.cancelOnGracefulShutdown() { await reload() }
            }
            try? await gracefulShutdown()
            // This service is the first that hears of the stop.
            pool.beginStop()
            notifier.stopping()
            logger.info("stopping")
            group.cancelAll()
        }
    }

    /// READY once all sockets listen.
    private func announce() async {
        while !readiness.isComplete {
            try? await Task.sleep(for: .milliseconds(10))
            if Task.isCancelled { return }
        }
        await pool.waitUntilStarted()
        if Task.isCancelled { return }
        notifier.ready(summary)
        logger.info("ready", metadata: ["summary": "\(summary)"])
    }

    /// Tells systemd that the workers progress, or are idle.
    private func watch() async {
        let interval = notifier.watchdogInterval ?? .seconds(10)
        while !Task.isCancelled {
            let stuck = pool.workers.filter { $0.board.stalledFor > Self.stallLimit }
            if stuck.isEmpty {
                notifier.watchdog()
                notifier.status(summary)
            } else {
                logger.critical(
                    "stream does not progress",
                    metadata: ["streams": "\(stuck.map(\.name).joined(separator: ","))"])
            }
            try? await Task.sleep(for: min(interval, .seconds(10)))
        }
    }

    private var summary: String {
        let phases = pool.workers.map(\.board.phase)
        let watching = phases.count { $0 == .watching }
        let failing = phases.count { $0 == .failing }
        return "\(phases.count) streams: \(watching) watched"
            + (failing > 0 ? ", \(failing) failing" : "")
    }

    /// Reads the configuration again; when anything is wrong with it, the running one stays.
    private func reload() async {
        notifier.reloading()
        defer { notifier.ready(summary) }
        let running = status.configuration
        do {
            try await anomalyLog.reopen(path: running.log.anomalies)
        } catch {
            logger.error("anomaly log not opened", metadata: ["error": "\(error)"])
        }
        let new: FlowguardConfiguration
        do {
            new = try FlowguardConfiguration(path: running.path)
        } catch {
            status.reloadFailed(error.description)
            logger.error("reload failed", metadata: ["error": "\(error)"])
            return
        }
        if new.log.anomalies != running.log.anomalies {
            do {
                try await anomalyLog.reopen(path: new.log.anomalies)
            } catch {
                status.reloadFailed("\(error)")
                logger.error("reload failed", metadata: ["error": "\(error)"])
                try? await anomalyLog.reopen(path: running.log.anomalies)
                return
            }
        }
        await pool.apply(new.streams)
        didReload(new.streams)
        var needsRestart: [String] = []
        if new.stateDirectory != running.stateDirectory { needsRestart.append("state_directory") }
        if new.runtimeDirectory != running.runtimeDirectory {
            needsRestart.append("runtime_directory")
        }
        if new.http != running.http { needsRestart.append("http.listen") }
        var kept = new
        kept.stateDirectory = running.stateDirectory
        kept.runtimeDirectory = running.runtimeDirectory
        kept.http = running.http
        status.reloaded(kept, needsRestart: needsRestart)
        logger.notice("configuration reloaded", metadata: ["streams": "\(new.streams.count)"])
    }
}
