import Dispatch
import Glibc
import Synchronization

/// A Unix datagram socket: each datagram holds one line or several, and ends the last one.
///
/// All senders are one input, so CSV needs named columns. What is not taken yet waits in the kernel's queue; when that is
/// full, senders wait.
public final class DatagramSource: LineSource {
    /// The longest datagram that is taken whole.
    public static let maximumBytes = 4 << 20

    /// The path of the socket.
    public let name: String

    private let mode: UInt16
    private let activated: Int32?
    private let limits: BatchLimits
    private let queue = DispatchQueue(label: "flowguard.ingest.datagram")
    private let state: Mutex<State>
    private let isStopped = Atomic(false)
    /// Datagrams that are taken at once, whatever they hold.
    private static let mostDatagrams = 4_096
    /// Apart from the state, which is taken while the source waits.
    private let holdsLines = Atomic(false)

    private struct State {
        var socket: Descriptor?
        var inode: UInt64?
        var framer: LineFramer
        var buffer: [UInt8] = []
    }

    /// A socket that is not bound yet.
    ///
    /// - Parameters:
    ///   - path: Where the socket is made, at most `SocketSource.pathLimit` bytes.
    ///   - format: How lines are read.
    ///   - mode: The permissions of the socket. The default is 0660.
    ///   - limits: How much goes into a batch.
    ///   - activated: The socket, if it is bound already; it stays the caller's.
    public init(
        path: String, format: FormatOptions, mode: UInt16 = 0o660, limits: BatchLimits = .init(),
        activated: Int32? = nil
    ) {
        name = path
        self.mode = mode
        self.limits = limits
        self.activated = activated
        state = Mutex(
            State(framer: LineFramer(format: format, limits: limits, input: 1, name: path)))
    }

    /// Makes the socket; one that nobody uses any more is replaced.
    public func start() throws(IngestError) {
        let socket: Descriptor
        if let activated {
            socket = try Descriptor.duplicate(activated, name: name)
        } else {
            socket = .owning(try UnixSocket.bind(name, .datagram, mode: mode))
        }
        state.withLock { state in
            state.socket = socket
            state.inode = activated == nil ? UnixSocket.inode(name) : nil
            state.buffer = [UInt8](repeating: 0, count: Self.maximumBytes)
        }
    }

    /// Waits for the next datagrams.
    public func next() async throws(IngestError) -> LineBatch? {
        let result = await withCheckedContinuation { continuation in
            queue.async { [self] in
                continuation.resume(
                    returning: state.withLock { state in
                        Result { () throws(IngestError) in try read(&state) }
                    })
            }
        }
        return try result.get()
    }

    /// Ends the source and removes the socket; `next()` gives what was received before `nil`.
    public func stop() {
        isStopped.store(true, ordering: .relaxed)
    }

    /// Whether nothing that was received is left to deliver.
    public func isCaughtUp() -> Bool { !holdsLines.load(ordering: .relaxed) }

    private func read(_ state: inout State) throws(IngestError) -> LineBatch? {
        while let socket = state.socket {
            let isLastLook = isStopped.load(ordering: .relaxed)
            // What lies in the kernel's queue was sent: it is taken before the end, once. Of a socket that others keep open,
            // the kernel keeps it for the next process.
            if !isLastLook || activated == nil {
                try receive(from: socket, waiting: isLastLook ? 0 : 100, into: &state)
            }
            if isLastLook {
                state.socket = nil
                UnixSocket.remove(name, inode: state.inode)
            }
            if let batch = held(&state) { return batch }
        }
        return held(&state)
    }

    private func held(_ state: inout State) -> LineBatch? {
        let batch = state.framer.takeBatch()
        holdsLines.store(state.framer.hasCompleteLine, ordering: .relaxed)
        return batch
    }

    /// Receives until there is enough for a batch, or nothing is left.
    private func receive(
        from socket: Descriptor, waiting milliseconds: Int32, into state: inout State
    ) throws(IngestError) {
        var request = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
        let wait = state.framer.hasCompleteLine ? 0 : milliseconds
        guard poll(&request, 1, wait) >= 0 || errno == EINTR else {
            throw .cannotRead(input: name, errno: errno)
        }
        let enough = min(limits.bytes, 64 * limits.lines)
        for _ in 0..<Self.mostDatagrams where state.framer.pendingCount < enough {
            let count = state.buffer.withUnsafeMutableBytes { buffer in
                retrying { recv(socket.number, buffer.baseAddress, buffer.count, 0) }
            }
            guard count >= 0 else {
                if errno == EAGAIN { return }
                throw .cannotRead(input: name, errno: errno)
            }
            guard count > 0 else { continue }
            state.buffer.withUnsafeBytes {
                state.framer.append(UnsafeRawBufferPointer(rebasing: $0[..<count]))
                guard $0[count - 1] != 0x0A else { return }
                withUnsafeBytes(of: UInt8(0x0A)) { state.framer.append($0) }
            }
        }
    }
}
