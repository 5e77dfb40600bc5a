import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// A Unix stream socket that many clients write lines to.
///
/// Each client is an input of its own: a CSV client sends its header first. Lines wait, up to a
/// limit for each client, until `next()` takes them, one client after the other; a client that is
/// ahead of the consumer is not read from until its lines are taken. When a client leaves, its
/// last line needs no line feed.
public final class SocketSource: LineSource {
    /// The path of the socket.
    public let name: String

    private let mode: UInt16
    private let group: any EventLoopGroup
    private let hub: SocketHub
    private let listener = Mutex<Listener?>(nil)

    private struct Listener {
        var channel: any Channel
        var inode: UInt64?
    }

    /// The longest path that fits into an address.
    public static let pathLimit = 107

    /// A socket that is not listened on yet.
    ///
    /// - Parameters:
    ///   - path: Where the socket is made, at most `pathLimit` bytes.
    ///   - format: How lines are read.
    ///   - maxConnections: How many clients are served at once; others are closed and counted.
    ///   - mode: The permissions of the socket. The default is 0660.
    ///   - limits: How much goes into a batch.
    ///   - group: The event loops that serve the clients.
    public init(
        path: String, format: FormatOptions, maxConnections: Int = 64, mode: UInt16 = 0o660,
        limits: BatchLimits = .init(),
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) {
        name = path
        self.mode = mode
        self.group = group
        hub = SocketHub(format: format, limits: limits, maxConnections: maxConnections)
    }

    /// Makes the socket and listens on it.
    ///
    /// A socket that nobody listens on any more is replaced.
    public func start() async throws(IngestError) {
        try Self.makeWay(name)
        let socket = try Self.bind(name, mode: mode)
        let hub = hub
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 128)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptRestHandler())
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SocketClientHandler(hub: hub))
                }
            }
        do {
            let channel = try await bootstrap.withBoundSocket(socket).get()
            let inode = Descriptor.status(path: name, followsLinks: false)?.inode
            listener.withLock { $0 = Listener(channel: channel, inode: inode) }
        } catch {
            throw .cannotListen(path: name, errno: (error as? IOError)?.errnoCode ?? EIO)
        }
    }

    /// Waits for lines of any client.
    ///
    /// After `stop()`, gives the complete lines that had arrived, and then `nil`.
    public func next() async throws(IngestError) -> LineBatch? {
        await hub.next()
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
            let status = Descriptor.status(path: name, followsLinks: false)
            if status?.kind == S_IFSOCK, status?.inode == listener.inode { unlink(name) }
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
        hub.isCaughtUp
    }
}

// MARK: - Making the socket

extension SocketSource {
    private static let kind = Int32(
        SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)

    /// Removes a socket that nobody listens on; throws if the path is in other use.
    private static func makeWay(_ path: String) throws(IngestError) {
        guard path.utf8.count <= pathLimit else {
            throw .socketPathTooLong(path: path, bytes: path.utf8.count, limit: pathLimit)
        }
        guard let found = Descriptor.status(path: path, followsLinks: false) else { return }
        guard found.kind == S_IFSOCK else {
            throw .socketPathOccupied(path: path, found: found.kindText)
        }
        // Without waiting: a listener whose queue is full answers that it is busy, so it is there.
        let probe = socket(AF_UNIX, Self.kind, 0)
        guard probe >= 0 else { throw .cannotListen(path: path, errno: errno) }
        defer { close(probe) }
        guard withAddress(path, { connect(probe, $0, $1) }) != 0, errno != EAGAIN else {
            throw .socketInUse(path: path)
        }
        guard errno == ECONNREFUSED, unlink(path) == 0 || errno == ENOENT else {
            throw .cannotListen(path: path, errno: errno)
        }
    }

    /// A bound socket, which is never open to more than `mode` says.
    private static func bind(_ path: String, mode: UInt16) throws(IngestError) -> Int32 {
        let number = socket(AF_UNIX, kind, 0)
        guard number >= 0 else { throw .cannotListen(path: path, errno: errno) }
        // Linux makes the file with the mode of the descriptor, less the umask; chmod then gives
        // back what the umask took.
        guard fchmod(number, mode_t(mode)) == 0,
            withAddress(path, { Glibc.bind(number, $0, $1) }) == 0,
            chmod(path, mode_t(mode)) == 0
        else {
            let reason = errno
            close(number)
            throw .cannotListen(path: path, errno: reason)
        }
        return number
    }

    private static func withAddress<Result>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}

/// Lets a listener rest for a while when a client cannot be accepted, for want of descriptors.
///
/// The client waits in the kernel's queue and keeps the listener readable, so that its event loop
/// would turn in circles. NIO's `AcceptBackoffHandler` delays reads that are asked for; after an
/// error none is, since the one before is still pending.
private final class AcceptRestHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private static let rest = TimeAmount.seconds(1)

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is IOError else { return context.fireErrorCaught(error) }
        let channel = context.channel
        setReading(false, on: channel)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.rest) {
            self.setReading(true, on: channel)
        }
    }

    private func setReading(_ isReading: Bool, on channel: any Channel) {
        channel.setOption(.autoRead, value: isReading).whenFailure { _ in
            // The listener is closed already: there is nothing left to accept.
        }
    }
}
