import Glibc
import NIOCore
import Synchronization

/// Where the clients of a socket leave their bytes, and the consumer takes lines.
final class SocketHub: Sendable {
    /// From how many bytes of complete lines on a client is not read any further.
    static let pauseBytes = 1 << 20

    private let format: FormatOptions
    private let limits: BatchLimits
    private let maxConnections: Int
    private let state = Mutex(State())

    private struct Client {
        var framer: LineFramer
        let channel: any Channel
        var isPaused = false
        var hasEnded = false
        var hasDelivered = false
    }

    private struct State {
        /// Clients that are connected, or gone with lines that are not taken yet.
        var clients: [Int: Client] = [:]
        /// Clients with something to take, the longest waiting first.
        var ready: [Int] = []
        var waiter: CheckedContinuation<Void, Never>?
        var isStopped = false
        var refusedCount = 0
        var nextID = 1

        mutating func markReady(_ id: Int) -> CheckedContinuation<Void, Never>? {
            if !ready.contains(id) { ready.append(id) }
            return takeWaiter()
        }

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }
    }

    init(format: FormatOptions, limits: BatchLimits, maxConnections: Int) {
        self.format = format
        self.limits = limits
        self.maxConnections = maxConnections
    }

    var connectionCount: Int {
        state.withLock { state in
            state.isStopped ? 0 : state.clients.values.count { !$0.hasEnded }
        }
    }

    var refusedCount: Int {
        state.withLock { $0.refusedCount }
    }

    var isCaughtUp: Bool {
        state.withLock { $0.ready.isEmpty }
    }

    // MARK: The event loops' side

    /// Takes in a client; `nil` if there are too many.
    func join(_ channel: any Channel) -> Int? {
        state.withLock { state in
            guard !state.isStopped else { return nil }
            guard state.clients.count < maxConnections else {
                state.refusedCount += 1
                return nil
            }
            let id = state.nextID
            state.nextID += 1
            let framer = LineFramer(
                format: format, limits: limits, input: id, name: "client \(id)")
            state.clients[id] = Client(framer: framer, channel: channel)
            return id
        }
    }

    /// Adds the user that a client runs as to its name.
    func identify(_ id: Int, user: UInt32) {
        state.withLock { $0.clients[id]?.framer.name = "client \(id) (uid \(user))" }
    }

    /// Takes in bytes of a client.
    ///
    /// - Returns: Whether the client is not to be read any further for now.
    func receive(_ bytes: UnsafeRawBufferPointer, from id: Int) -> Bool {
        let (shouldPause, waiter) = state.withLock { state in
            if !state.isStopped { state.clients[id]?.framer.append(bytes) }
            guard !state.isStopped, let client = state.clients[id], client.framer.hasCompleteLine
            else {
                return (false, nil as CheckedContinuation<Void, Never>?)
            }
            let shouldPause = !client.isPaused && client.framer.pendingCount >= Self.pauseBytes
            if shouldPause { state.clients[id]?.isPaused = true }
            return (shouldPause, state.markReady(id))
        }
        waiter?.resume()
        return shouldPause
    }

    /// Notes that a client is gone.
    func leave(_ id: Int) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.isStopped else { return nil }
            state.clients[id]?.hasEnded = true
            return state.markReady(id)
        }?.resume()
    }

    // MARK: The consumer's side

    private enum Taken {
        case batch(LineBatch, resuming: (any Channel)?)
        case nothing
        case stopped
    }

    func next() async -> LineBatch? {
        while true {
            // What was held when the source was stopped is given whatever became of the task.
            if Task.isCancelled, !state.withLock({ $0.isStopped }) { return nil }
            switch state.withLock({ Self.take(from: &$0) }) {
            case .stopped:
                return nil
            case .batch(let batch, let channel):
                channel?.setOption(.autoRead, value: true).whenFailure { _ in
                    // The client is gone already: there is nothing left to read.
                }
                return batch
            case .nothing:
                await waitForLines()
            }
        }
    }

    private static func take(from state: inout State) -> Taken {
        while !state.ready.isEmpty {
            let id = state.ready.removeFirst()
            guard var client = state.clients[id] else { continue }
            let batch = client.framer.takeBatch(atEnd: client.hasEnded)
            if client.framer.hasCompleteLine || (client.hasEnded && batch?.isLast == false) {
                state.ready.append(id)
            }
            var resumed: (any Channel)?
            // Without a complete line nothing would be taken any more: it takes reading to get one.
            if client.isPaused, !state.isStopped,
                !client.framer.hasCompleteLine || client.framer.pendingCount < pauseBytes / 2
            {
                client.isPaused = false
                resumed = client.channel
            }
            let isWorthTelling =
                client.hasDelivered || batch?.lines.isEmpty == false || batch?.header != nil
            client.hasDelivered = isWorthTelling
            state.clients[id] = batch?.isLast == true ? nil : client
            if let batch, isWorthTelling { return .batch(batch, resuming: resumed) }
        }
        guard state.isStopped else { return .nothing }
        state.clients = [:]
        return .stopped
    }

    private func waitForLines() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    if !state.ready.isEmpty || state.isStopped || Task.isCancelled { return true }
                    state.waiter = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.takeWaiter() }?.resume()
        }
    }

    /// Closes every client and wakes the consumer, which may take the complete lines held.
    ///
    /// A line whose client was not done with it is dropped: cut short, it could pass for another.
    func stop() {
        let (waiter, channels) = state.withLock { state in
            state.isStopped = true
            let channels = state.clients.values.map(\.channel)
            return (state.takeWaiter(), channels)
        }
        waiter?.resume()
        for channel in channels { channel.close(promise: nil) }
    }
}

/// Moves the bytes of one client to the hub.
final class SocketClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// The kernel's `struct ucred`, which Glibc's module leaves out.
    private struct PeerCredentials: Sendable {
        var process: Int32 = 0
        var user: UInt32 = 0
        var group: UInt32 = 0
    }

    private let hub: SocketHub
    private var id: Int?

    init(hub: SocketHub) {
        self.hub = hub
    }

    func channelActive(context: ChannelHandlerContext) {
        guard let id = hub.join(context.channel) else {
            context.close(promise: nil)
            return
        }
        self.id = id
        guard let provider = context.channel as? any SocketOptionProvider else { return }
        let credentials: EventLoopFuture<PeerCredentials> = provider.unsafeGetSocketOption(
            level: .socket, name: .init(rawValue: SO_PEERCRED))
        credentials.whenSuccess { [hub] in hub.identify(id, user: $0.user) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let id else { return }
        let buffer = unwrapInboundIn(data)
        let shouldPause = buffer.withUnsafeReadableBytes { hub.receive($0, from: id) }
        if shouldPause {
            context.channel.setOption(.autoRead, value: false).whenFailure { _ in
                // The client is gone already: there is nothing left to read.
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let id { hub.leave(id) }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
