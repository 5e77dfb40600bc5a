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
    private let neededColumns: @Sendable () -> Set<String>?
    /// Whether clients number their lines and hear what is committed.
    let acknowledges: Bool
    let state: Mutex<State>

    struct Client {
        var framer: LineFramer
        let channel: any Channel
        var isPaused = false
        var hasEnded = false
        var hasDelivered = false
        /// The bytes before the end of the first line, as long as that may be a greeting.
        var greeting: [UInt8]?
        /// The name that the client goes by, over all its connections.
        var name: String?
        /// The number of the next line that is taken.
        var nextSequence: Int64 = 1
    }

    struct State {
        /// Clients that are connected, or gone with lines that are not taken yet.
        var clients: [Int: Client] = [:]
        /// Clients with something to take, the longest waiting first.
        var ready: [Int] = []
        var waiter: CheckedContinuation<Void, Never>?
        /// Whether lines were taken to where the consumer has to look anew.
        var hasMoved = false
        /// Who is told when a client is held up.
        var overflowWaiter: CheckedContinuation<Void, Never>?
        var isStopped = false
        var refusedCount = 0
        var nextID = 1
        /// Where acknowledgements go; a client may have ended and still listen.
        var listeners: [Int: Listener] = [:]
        /// The header of the input that was taken from last.
        var lastHeader: [UInt8]?
        /// The greatest committed number of each named client.
        var committed: ClientNumbers

        mutating func markReady(_ id: Int) -> CheckedContinuation<Void, Never>? {
            if !ready.contains(id) { ready.append(id) }
            return takeWaiter()
        }

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }

        mutating func takeOverflowWaiter() -> CheckedContinuation<Void, Never>? {
            defer { overflowWaiter = nil }
            return overflowWaiter
        }

        var isOverfull: Bool { clients.values.contains { $0.isPaused } }

        /// Connections, also those whose client has sent all and waits for acknowledgements, and lines of clients that are gone.
        var placesTaken: Int { clients.count + listeners.keys.count { clients[$0] == nil } }
    }

    /// The side of a connection that acknowledgements are written to.
    struct Listener {
        let channel: any Channel
        /// The newest number that was not written yet.
        var waiting: Int64?
        /// The number of the client's last line, once that is taken: its acknowledgement ends the connection.
        var end: Int64?
    }

    init(
        format: FormatOptions, limits: BatchLimits, maxConnections: Int, acknowledges: Bool,
        committed: ClientNumbers, neededColumns: @escaping @Sendable () -> Set<String>?
    ) {
        self.format = format
        self.limits = limits
        self.maxConnections = maxConnections
        self.acknowledges = acknowledges
        self.neededColumns = neededColumns
        state = Mutex(State(committed: committed))
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

    var isStopped: Bool {
        state.withLock { $0.isStopped }
    }

    /// Whether a client is held up.
    var isOverfull: Bool {
        state.withLock { $0.isOverfull }
    }

    // MARK: The event loops' side

    /// Takes in a client; `nil` if there are too many.
    func join(_ channel: any Channel) -> Int? {
        let needed = neededColumns()
        return state.withLock { state in
            guard !state.isStopped else { return nil }
            guard state.placesTaken < maxConnections else {
                state.refusedCount += 1
                return nil
            }
            let id = state.nextID
            state.nextID += 1
            let framer = LineFramer(
                format: format, limits: limits, input: id, name: "client \(id)",
                neededColumns: needed, mayLackHeader: true)
            state.clients[id] = Client(
                framer: framer, channel: channel, greeting: acknowledges ? [] : nil)
            if acknowledges { state.listeners[id] = Listener(channel: channel) }
            return id
        }
    }

    /// Adds the user that a client runs as to its name.
    func identify(_ id: Int, user: UInt32) {
        state.withLock { $0.clients[id]?.framer.name = "client \(id) (uid \(user))" }
    }

    /// What is to be done after bytes of a client.
    enum Reception {
        case goOn
        /// It is not read any further for now.
        case pause
        /// It is told what is wrong with its greeting, and closed.
        case refuse(ClientGreeting.Problem)
    }

    /// Takes in bytes of a client.
    func receive(_ bytes: UnsafeRawBufferPointer, from id: Int) -> Reception {
        let (reception, waiters) = state.withLock {
            state -> (Reception, [CheckedContinuation<Void, Never>?]) in
            guard !state.isStopped else { return (.goOn, []) }
            do throws(ClientGreeting.Problem) {
                if let greeting = try state.clients[id]?.takeIn(bytes) {
                    state.listeners[id]?.waiting = state.committed.committed(greeting.hello) ?? 0
                }
            } catch {
                (state.clients[id], state.listeners[id]) = (nil, nil)
                return (.refuse(error), [])
            }
            guard let client = state.clients[id], client.framer.hasCompleteLine else {
                return (.goOn, [])
            }
            let shouldPause = !client.isPaused && client.framer.pendingCount >= Self.pauseBytes
            if shouldPause { state.clients[id]?.isPaused = true }
            return (
                shouldPause ? .pause : .goOn,
                [state.markReady(id), shouldPause ? state.takeOverflowWaiter() : nil]
            )
        }
        for waiter in waiters { waiter?.resume() }
        return reception
    }

    /// Notes that a client sends nothing more.
    ///
    /// - Parameter isGone: Whether it hears nothing more either.
    func leave(_ id: Int, isGone: Bool = true) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            if isGone { state.listeners[id] = nil }
            guard !state.isStopped else { return nil }
            // A line that was cut off is sent again by whoever waits for its acknowledgement.
            if acknowledges { state.clients[id]?.dropCutLine() }
            state.clients[id]?.hasEnded = true
            return state.markReady(id)
        }?.resume()
    }

    // MARK: The consumer's side

    /// What there is to take.
    enum Taken {
        case batch(LineBatch)
        case nothing
        case stopped
    }

    /// Takes lines of the client that has waited longest, without waiting.
    ///
    /// - Parameter withHeader: Whether a batch names its header though an earlier one did.
    func take(withHeader: Bool = false) -> Taken {
        let taken = state.withLock { state in
            var resumed: [any Channel] = []
            var done: [any Channel] = []
            let batch = take(from: &state, resuming: &resumed, closing: &done)
            let header = withHeader ? batch.flatMap { _ in state.lastHeader } : nil
            return (batch, header, resumed, done, state.isStopped)
        }
        for channel in taken.2 {
            channel.setOption(.autoRead, value: true).whenFailure { _ in
                // The client is gone already: there is nothing left to read.
            }
        }
        for channel in taken.3 { channel.close(promise: nil) }
        guard var batch = taken.0 else { return taken.4 ? .stopped : .nothing }
        batch.header = batch.header ?? taken.1
        return .batch(batch)
    }

    private func take(
        from state: inout State, resuming resumed: inout [any Channel],
        closing done: inout [any Channel]
    ) -> LineBatch? {
        while !state.ready.isEmpty {
            let id = state.ready.removeFirst()
            guard var client = state.clients[id] else { continue }
            var batch = client.framer.takeBatch(atEnd: client.hasEnded)
            if client.framer.hasCompleteLine || (client.hasEnded && batch?.isLast == false) {
                state.ready.append(id)
            }
            // Without a complete line nothing would be taken any more: it takes reading to get one.
            if client.isPaused, !state.isStopped,
                !client.framer.hasCompleteLine || client.framer.pendingCount < Self.pauseBytes / 2
            {
                client.isPaused = false
                resumed.append(client.channel)
            }
            if acknowledges, let count = batch?.lines.count {
                batch?.numbering = LineBatch.Numbering(
                    client: client.name, first: client.nextSequence)
                client.nextSequence += Int64(count)
            }
            let isWorthTelling =
                client.hasDelivered || batch?.lines.isEmpty == false || batch?.header != nil
            client.hasDelivered = isWorthTelling
            state.lastHeader = client.framer.header
            state.clients[id] = batch?.isLast == true ? nil : client
            if batch?.isLast == true {
                if isWorthTelling {
                    state.listeners[id]?.end = client.nextSequence - 1
                } else if let listener = state.listeners.removeValue(forKey: id) {
                    done.append(listener.channel)
                }
            }
            if let batch, isWorthTelling { return batch }
        }
        if state.isStopped { state.clients = [:] }
        return nil
    }

    /// Waits until there is something to take, or the source is stopped.
    func waitForLines() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    if !state.ready.isEmpty || state.isStopped || Task.isCancelled { return true }
                    if state.hasMoved {
                        state.hasMoved = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.takeWaiter() }?.resume()
        }
    }

    /// Lets the consumer look anew: lines of the hub lie elsewhere now.
    func wakeConsumer() {
        state.withLock { state in
            state.hasMoved = state.waiter == nil
            return state.takeWaiter()
        }?.resume()
    }

    /// Waits until a client is held up, or the source is stopped.
    func waitForOverflow() async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if state.isOverfull || state.isStopped { return true }
                state.overflowWaiter = continuation
                return false
            }
            if isReady { continuation.resume() }
        }
    }

    /// Stops reading and wakes the consumer, which may take the complete lines held.
    ///
    /// A line whose client was not done with it is dropped: cut short, it could pass for another. Clients that listen for
    /// acknowledgements are closed by `close()`, once what was taken of them is committed.
    func stop() {
        let (waiters, channels) = state.withLock { state in
            state.isStopped = true
            let channels = state.clients.values.map(\.channel)
            return ([state.takeWaiter(), state.takeOverflowWaiter()], channels)
        }
        for waiter in waiters { waiter?.resume() }
        for channel in channels {
            if acknowledges {
                channel.setOption(.autoRead, value: false).whenFailure { _ in
                    // The client is gone already: there is nothing left to read.
                }
            } else {
                channel.close(promise: nil)
            }
        }
    }

    /// Closes the clients that still listen, once they were told what is committed.
    func close() {
        for (id, listener) in state.withLock({ $0.listeners }) {
            listener.channel.eventLoop.execute { [self] in
                writeWaiting(to: id)
                state.withLock { $0.listeners[id] = nil }
                listener.channel.close(promise: nil)
            }
        }
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
        let reception = buffer.withUnsafeReadableBytes { hub.receive($0, from: id) }
        if hub.acknowledges { hub.writeWaiting(to: id) }
        switch reception {
        case .goOn: break
        case .pause:
            context.channel.setOption(.autoRead, value: false).whenFailure { _ in
                // The client is gone already: there is nothing left to read.
            }
        case .refuse(let problem):
            context.channel.writeAndFlush(ByteBuffer(string: problem.answer), promise: nil)
            context.channel.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let id { hub.leave(id) }
        context.fireChannelInactive()
    }

    /// A client that has sent all it has, and waits for the acknowledgement of it.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed, let id { hub.leave(id, isGone: false) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if let id, context.channel.isWritable { hub.writeWaiting(to: id) }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
