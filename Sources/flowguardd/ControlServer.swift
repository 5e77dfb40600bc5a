import Control
import Detection
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Ingest
import Logging
import NIOCore
import ServiceLifecycle
import Settings
import Store
import Streams
import Synchronization

/// The control API over the Unix socket, and its reading half over TCP.
struct ControlServer: Sendable {
    static let version = FlowguardVersion.current
    let pool: StreamPool
    let status: DaemonStatus
    let store: StateStore
    let directory: StateDirectory
    let anomalyLog: AnomalyLogWriter
    let logger: Logger
    let followers = Places(64)
    let readers = Places(32)
    let scores = Places(maximumScores)

    /// The whole API on the Unix socket.
    func unixApplication(_ path: String, _ readiness: Readiness) -> some Service {
        Application(
            router: router(isReadOnly: false), server: Self.listener,
            configuration: configuration(.unixDomainSocket(path: path)),
            onServerRunning: { _ in
                // The socket was made with the mask of the process; the group may use it, others may not.
                chmod(path, 0o660)
                readiness.arrive()
            }, logger: quietLogger)
    }

    /// The reading half on TCP.
    func tcpApplication(_ http: HTTPConfiguration, _ readiness: Readiness) -> some Service {
        let logger = logger
        return Application(
            router: router(isReadOnly: true), server: Self.listener,
            configuration: configuration(.hostname(http.host, port: http.port)),
            onServerRunning: { channel in
                logger.info(
                    "listening",
                    metadata: [
                        "http.host": "\(http.host)",
                        "http.port": "\(channel.localAddress?.port ?? http.port)",
                    ])
                readiness.arrive()
            }, logger: quietLogger)
    }

    /// Connections on which nothing is asked are closed, before the first request the sooner, and those whose reply is not read; a reply that goes on is neither.
    private static let listener = HTTPServerBuilder.http1(
        configuration: .init(
            additionalChannelHandlers: [StalledClientHandler()], idleTimeout: .seconds(60)))

    private func configuration(_ address: BindAddress) -> ApplicationConfiguration {
        ApplicationConfiguration(
            address: address, serverName: "flowguardd",
            availableConnectionsDelegate: ControlConnections())
    }

    /// The listeners' own chatter is of no use to people.
    private var quietLogger: Logger {
        var logger = logger
        logger.logLevel = max(logger.logLevel, .error)
        return logger
    }

    private func router(isReadOnly: Bool) -> Router<ControlContext> {
        let router = ControlRouter()
        addReadingRoutes(router)
        if !isReadOnly {
            addChangingRoutes(router)
            addLabelRoutes(router)
        }
        return router.complete()
    }

    // MARK: Reading

    private func addReadingRoutes(_ router: ControlRouter) {
        router.get("/healthz") { _, _ in health() }
        router.get("/metrics") { _, _ in
            HTTPReply.bytes(
                Array(Metrics.text(pool.workers, status: status, log: anomalyLog).utf8),
                type: "text/plain; version=0.0.4")
        }
        router.get("/v1/status") { _, _ in try await offload { try HTTPReply.json(report()) } }
        router.get("/v1/anomalies") { request, _ in
            try await anomalies(of: nil, request)
        }
        router.get("/v1/anomalies/:id") { _, context in
            let id = try number(context, "id")
            return try await offload {
                guard let row = try store.anomaly(id: id) else {
                    throw HTTPFailure(
                        .notFound, "there is no anomaly \(id)",
                        hint: "flowguardctl tail shows those there are")
                }
                return HTTPReply.bytes(
                    AnomalyMessage(row).line + [UInt8(ascii: "\n")], type: "application/json")
            }
        }
        let streams = router.group("/v1/streams")
        streams.get(":name") { _, context in
            let worker = try await worker(context)
            return try await offload {
                try HTTPReply.json(
                    StatusMessages.detail(
                        of: worker, store: store,
                        quarantine: directory.quarantinePath(worker.name)))
            }
        }
        streams.get(":name/anomalies") { request, context in
            try await anomalies(of: worker(context), request)
        }
        streams.get(":name/keys") { _, context in
            let worker = try await worker(context)
            return try await offload {
                try HTTPReply.json(StatusMessages.keys(of: worker, store: store))
            }
        }
        streams.get(":name/threshold") { _, context in
            let worker = try await worker(context)
            return try await offload {
                try HTTPReply.json(StatusMessages.thresholds(of: worker, store: store))
            }
        }
        streams.get(":name/models") { _, context in
            let name = try await worker(context).name
            return try await offload {
                try HTTPReply.json(
                    ModelList(
                        stream: name, models: store.models(stream: name).map { ModelMessage($0) }))
            }
        }
        streams.get(":name/models/:id") { _, context in
            let (worker, id) = try await (worker(context), number(context, "id"))
            return try await offload {
                try HTTPReply.json(ModelMessage(model(id, of: worker)))
            }
        }
    }

    private func health() -> Response {
        let stuck = pool.workers.filter { $0.board.stalledFor > .seconds(120) }.map(\.name)
        return stuck.isEmpty
            ? HTTPReply.bytes(Array("ok\n".utf8), type: "text/plain")
            : HTTPReply.bytes(
                Array("no progress: \(stuck.joined(separator: ", "))\n".utf8), type: "text/plain",
                status: .serviceUnavailable)
    }

    private func report() throws -> StatusReport {
        var warnings = status.warnings
        if let warning = anomalyLog.warning { warnings.append(warning) }
        if let problem = anomalyLog.currentProblem { warnings.append("anomaly log: \(problem)") }
        warnings += try directory.leftSpools(of: pool.workers.map(\.configuration), store: store)
            .map(\.description)
        warnings += directory.damagedSpoolWarnings()
        return StatusReport(
            pid: getpid(), uptimeSecs: (status.uptimeSecs * 10).rounded() / 10, time: Date(),
            configuration: status.configuration.path, stateDirectory: directory.path,
            blasCore: status.blasCore, warnings: warnings,
            streams: try pool.workers.map {
                try StatusMessages.status(
                    of: $0, store: store, quarantine: directory.quarantinePath($0.name))
            })
    }

    /// A model of a stream; a key may be judged by that of its stream, so it has that one too.
    func model(_ id: Int64, of worker: StreamWorker) throws -> ModelRow {
        let names = [worker.name, KeyedName.split(worker.name).stream]
        guard let row = try store.model(id: id), names.contains(row.stream) else {
            throw RequestError.unknownModel(id: id, stream: worker.name)
        }
        return row
    }

    // MARK: Parameters

    /// The stream that the path names, or the key of a stream.
    func worker(_ context: ControlContext) async throws -> StreamWorker {
        let text = context.parameters.get("name") ?? ""
        guard let name = text.removingPercentEncoding else {
            throw HTTPFailure(
                .badRequest,
                "name: expected UTF-8 with percent signs before hexadecimal digits, found "
                    + "'\(text.prefix(80))'")
        }
        if let worker = try await pool.worker(named: name) { return worker }
        let (stream, key) = KeyedName.split(name)
        if let key, pool.workers.contains(where: { $0.name == stream }) {
            throw HTTPFailure(
                .notFound, "stream '\(stream)' has no key '\(key)'",
                hint: "flowguardctl keys \(stream) shows those there are")
        }
        let names = pool.workers.map(\.name).joined(separator: ", ")
        throw HTTPFailure(
            .notFound, "there is no stream '\(name)'", hint: "the streams are: \(names)")
    }

    /// A number in the path.
    func number(_ context: ControlContext, _ name: String) throws -> Int64 {
        let text = context.parameters.get(name) ?? ""
        guard let value = Int64(text), value > 0 else {
            throw HTTPFailure(
                .badRequest, "\(name): expected a number above 0, found '\(text.prefix(40))'")
        }
        return value
    }
}

/// How many connections each listener has: so many that the database keeps its descriptors.
private struct ControlConnections: AvailableConnectionsDelegate {
    private static let maximum = 128
    private var count = 0

    mutating func connectionOpened() { count += 1 }
    mutating func connectionClosed() { count -= 1 }

    /// The end of another one is what makes a listener ask again.
    func isAcceptingNewConnections() -> Bool {
        count == 0 || (count < Self.maximum && DescriptorReserve.control.hasRoom)
    }
}

/// A bounded number of places for replies that last, so that they cannot use up all connections or all memory.
final class Places: Sendable {
    /// One place; it is given back when nobody holds it any more, whatever became of the reply.
    final class Place: Sendable {
        private let places: Places
        private let isLeft = Mutex(false)

        fileprivate init(_ places: Places) { self.places = places }

        deinit { leave() }

        /// Gives the place back before that.
        func leave() {
            let wasLeft = isLeft.withLock { isLeft in
                defer { isLeft = true }
                return isLeft
            }
            if !wasLeft { places.count.withLock { $0 -= 1 } }
        }
    }

    private let limit: Int
    private let count = Mutex(0)

    init(_ limit: Int) { self.limit = limit }

    /// A place; `nil` when all are taken.
    func enter() -> Place? {
        let isFree = count.withLock { count in
            guard count < limit else { return false }
            count += 1
            return true
        }
        return isFree ? Place(self) : nil
    }
}
