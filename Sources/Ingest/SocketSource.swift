import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// A Unix stream socket that many clients write lines to.
///
/// Each client is an input of its own: a CSV client sends its header first. Lines wait, up to a
/// limit for each client, until `next()` takes them, one client after the other; a client that is
/// ahead of the consumer is not read from until its lines are taken, unless an `OverflowPolicy`
/// says otherwise. When a client leaves, its last line needs no line feed.
///
/// A source that acknowledges tells each client, by `{"ok":SEQUENCE}` lines, up to which of its lines
/// everything is committed. A client may give itself a name and say where its numbers go on, by
/// `{"hello":"NAME","next":SEQUENCE}` as its first line: it is answered by the greatest number of that name that is
/// committed. Lines without a line feed do not count there.
public final class SocketSource: LineSource {
    /// How the clients of a socket are served.
    public struct Options: Sendable {
        /// How many clients are served at once; others are closed and counted.
        public var maxConnections = 64
        /// The permissions of the socket.
        public var mode: UInt16 = 0o660
        /// Whether clients hear what is committed.
        public var acknowledges = false
        /// The greatest number that is committed of each named client.
        public var committed = ClientNumbers()
        /// What happens when clients are ahead of the consumer.
        public var overflow = OverflowPolicy.block
        /// Where lines wait on disk; what lies there is given first, also under a policy that adds nothing to it.
        public var spool: SpoolPlace?
        /// The columns that a header must have, as far as they are known: a first line without any is a record.
        public var neededColumns: @Sendable () -> Set<String>? = { nil }
        /// A socket that listens already, and stays the caller's.
        public var activated: Int32?

        /// The defaults.
        public init() {}
    }

    /// The path of the socket.
    public let name: String

    private let options: Options
    private let group: any EventLoopGroup
    private let hub: SocketHub
    private let listener = Mutex<Listener?>(nil)
    private let overflow = Mutex<SocketOverflow?>(nil)
    /// Whether clients wait because the process has too few descriptors left.
    private let isShort = SharedFlag()

    private struct Listener {
        var channel: any Channel
        var inode: UInt64?
    }

    /// The longest path that fits into an address.
    public static let pathLimit = UnixSocket.pathLimit

    /// A socket that is not listened on yet.
    ///
    /// - Parameters:
    ///   - path: Where the socket is made, at most `pathLimit` bytes.
    ///   - format: How lines are read.
    ///   - options: How clients are served.
    ///   - limits: How much goes into a batch.
    ///   - group: The event loops that serve the clients.
    public init(
        path: String, format: FormatOptions, options: Options = Options(),
        limits: BatchLimits = .init(),
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) {
        name = path
        self.options = options
        self.group = group
        hub = SocketHub(
            format: format, limits: limits, maxConnections: options.maxConnections,
            acknowledges: options.acknowledges, committed: options.committed,
            neededColumns: options.neededColumns)
    }

    /// Makes the socket and listens on it.
    ///
    /// A socket that nobody listens on any more is replaced.
    public func start() async throws(IngestError) {
        try openOverflow()
        try await listen()
        // Not before: a source that does not listen is not stopped either.
        if let overflow = overflow.withLock(\.self) { Task { await overflow.run() } }
    }

    private func listen() async throws(IngestError) {
        let socket: Int32
        if let activated = options.activated {
            socket = fcntl(activated, F_DUPFD_CLOEXEC, 0)
            guard socket >= 0 else { throw .cannotListen(path: name, errno: errno) }
        } else {
            socket = try UnixSocket.bind(name, .stream, mode: options.mode)
        }
        let (hub, isShort) = (hub, isShort)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 128)
            // After each client it is asked whether there is room for another.
            .serverChannelOption(.maxMessagesPerRead, value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        AcceptRestHandler(isResting: isShort))
                }
            }
            .childChannelOption(.allowRemoteHalfClosure, value: options.acknowledges)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SocketClientHandler(hub: hub))
                }
            }
        do {
            let channel = try await bootstrap.withBoundSocket(socket).get()
            let inode = options.activated == nil ? UnixSocket.inode(name) : nil
            listener.withLock { $0 = Listener(channel: channel, inode: inode) }
        } catch {
            throw .cannotListen(path: name, errno: (error as? IOError)?.errnoCode ?? EIO)
        }
    }

    /// Waits for lines of any client.
    ///
    /// After `stop()`, gives the complete lines that had arrived, and then `nil`.
    public func next() async throws(IngestError) -> LineBatch? {
        let overflow = overflow.withLock(\.self)
        while true {
            // What was held when the source was stopped is given whatever became of the task.
            if Task.isCancelled, !hub.isStopped { return nil }
            switch try overflow?.take() ?? hub.take() {
            case .batch(let batch):
                return batch
            case .nothing:
                await hub.waitForLines()
            case .stopped:
                hub.close()
                return nil
            }
        }
    }

    /// Says that a batch is committed: to its client, if it listens, and to the spool.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {
        overflow.withLock(\.self)?.didCommit(batch)
        if options.acknowledges { hub.acknowledge(batch) }
    }

    /// Keeps what clients have sent and nobody has time to commit: in the spool, or with clients that send it again.
    ///
    /// The source must be stopped.
    ///
    /// - Parameter underway: A batch that was given and not committed.
    /// - Returns: How many lines are lost.
    public func keepRest(_ underway: LineBatch?) -> Int {
        defer { hub.close() }
        if options.acknowledges { return 0 }
        if let overflow = overflow.withLock(\.self) { return overflow.keepRest(underway) }
        var lost = underway?.lines.count ?? 0
        while case .batch(let batch) = hub.take() { lost += batch.lines.count }
        return lost
    }

    private func openOverflow() throws(IngestError) {
        var limit: Int64?
        if case .spill(let bytes) = options.overflow { limit = bytes }
        var spool: Spool?
        if let place = options.spool, limit != nil || Spool.isLeft(in: place.folder) {
            spool = try Spool(
                folder: place.folder, limit: limit ?? 0, resume: place.resume,
                isRepeated: options.acknowledges)
        }
        precondition(limit == nil || spool != nil, "who spills says where")
        guard spool != nil || options.overflow != .block else { return }
        let opened = SocketOverflow(hub: hub, policy: options.overflow, spool: spool)
        overflow.withLock { $0 = opened }
    }

    /// Ends the source: closes every client, and removes the socket.
    ///
    /// Nothing more is read; `next()` still gives the complete lines that are held.
    public func stop() {
        let listener = listener.withLock { listener in
            defer { listener = nil }
            return listener
        }
        if let listener {
            listener.channel.close(promise: nil)
            UnixSocket.remove(name, inode: listener.inode)
        }
        hub.stop()
    }

    /// How many clients are connected.
    public func connectionCount() -> Int {
        hub.connectionCount
    }

    /// How many clients were turned away because `maxConnections` were there.
    public func refusedConnectionCount() -> Int {
        hub.refusedCount
    }

    /// Whether every complete line that arrived is delivered.
    public func isCaughtUp() -> Bool {
        hub.isCaughtUp && spooledByteCount() == 0
    }

    /// How many lines were dropped because the consumer was behind.
    public func droppedLineCount() -> Int64 {
        overflow.withLock(\.self)?.droppedLineCount ?? 0
    }

    /// How many bytes wait in the spool.
    public func spooledByteCount() -> Int64 {
        overflow.withLock(\.self)?.spooledByteCount ?? 0
    }

    /// What was in the spool and was not given.
    public func spoolLosses() -> SpoolLosses {
        overflow.withLock(\.self)?.losses ?? SpoolLosses()
    }

    /// Why the spool takes no lines now, or no client is let in.
    public func problem() -> IngestError? {
        overflow.withLock(\.self)?.problem
            ?? (isShort.isSet ? .tooFewDescriptors(path: name) : nil)
    }
}

/// A flag that event loops set and others read.
private final class SharedFlag: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool {
        get { flag.load(ordering: .relaxed) }
        set { flag.store(newValue, ordering: .relaxed) }
    }
}

/// Lets a listener rest while the process has too few descriptors left, so that clients wait in the kernel's queue.
///
/// Such a client keeps the listener readable, so that its event loop would turn in circles. NIO's
/// `AcceptBackoffHandler` delays reads that are asked for; after an error none is, since the one before is still pending.
private final class AcceptRestHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private static let rest = TimeAmount.milliseconds(500)
    private let isResting: SharedFlag

    init(isResting: SharedFlag) {
        self.isResting = isResting
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.fireChannelRead(data)
        if !DescriptorReserve.clients.hasRoom { rest(context.channel) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is IOError else { return context.fireErrorCaught(error) }
        rest(context.channel)
    }

    private func rest(_ channel: any Channel) {
        isResting.isSet = true
        setReading(false, on: channel)
        channel.eventLoop.assumeIsolated().scheduleTask(in: Self.rest) {
            guard channel.isActive else { return }
            guard DescriptorReserve.clients.hasRoom else { return self.rest(channel) }
            self.isResting.isSet = false
            self.setReading(true, on: channel)
        }
    }

    private func setReading(_ isReading: Bool, on channel: any Channel) {
        channel.setOption(.autoRead, value: isReading).whenFailure { _ in
            // The listener is closed already: there is nothing left to accept.
        }
    }
}
