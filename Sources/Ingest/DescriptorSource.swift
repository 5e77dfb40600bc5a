import Dispatch
import Glibc
import Synchronization

/// A descriptor that is read to its end: standard input, a pipe, a file.
///
/// What has arrived is delivered at once; what arrives faster than it is asked for comes in full
/// batches. Memory does not grow with the input. The descriptor stays the caller's, and open.
public final class DescriptorSource: LineSource {
    /// The name given.
    public let name: String

    private let descriptor: Int32
    private let readBytes: Int
    private let queue: DispatchQueue
    private let state: Mutex<State>
    private let isStopped = Atomic(false)
    /// Apart from the state, which is taken while the source waits.
    private let holdsLines = Atomic(false)

    private struct State {
        var framer: LineFramer
        var chunk: [UInt8]
        var isAtEnd = false
        var isDone = false
    }

    /// Reads a descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: An open descriptor, blocking or not.
    ///   - name: The input's name in messages, such as `standard input`.
    ///   - format: How its lines are read.
    ///   - limits: How much goes into a batch.
    ///   - input: The number of the input.
    public init(
        descriptor: Int32, name: String, format: FormatOptions, limits: BatchLimits = .init(),
        input: Int = 1
    ) {
        self.descriptor = descriptor
        self.name = name
        readBytes = min(limits.bytes, 64 * limits.lines)
        queue = DispatchQueue(label: "flowguard.ingest.descriptor")
        let framer = LineFramer(format: format, limits: limits, input: input, name: name)
        state = Mutex(
            State(framer: framer, chunk: [UInt8](repeating: 0, count: max(readBytes, 64 << 10))))
    }

    /// Waits for the next lines; the last batch `isLast`, and `nil` follows.
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

    /// Ends the source: it reads nothing more, and `next()` gives the complete lines that are held before `nil`.
    public func stop() {
        isStopped.store(true, ordering: .relaxed)
    }

    /// Whether no complete line that was read waits to be delivered.
    public func isCaughtUp() -> Bool {
        !holdsLines.load(ordering: .relaxed)
    }

    private func read(_ state: inout State) throws(IngestError) -> LineBatch? {
        while !state.isDone {
            let isFull = state.framer.hasCompleteLine && state.framer.pendingCount >= readBytes
            let hasLine = state.framer.hasCompleteLine
            if !state.isAtEnd, !isFull, try waitForInput(atMost: hasLine ? 0 : 100) {
                try readOnce(&state)
                continue
            }
            if isStopped.load(ordering: .relaxed), !state.framer.hasCompleteLine { return nil }
            if let batch = state.framer.takeBatch(atEnd: state.isAtEnd) {
                state.isDone = batch.isLast
                holdsLines.store(state.framer.hasCompleteLine, ordering: .relaxed)
                return batch
            }
        }
        return nil
    }

    /// Whether there is something to read within a time, in milliseconds, or the end.
    private func waitForInput(atMost milliseconds: Int32) throws(IngestError) -> Bool {
        guard !isStopped.load(ordering: .relaxed) else { return false }
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let count = poll(&request, 1, milliseconds)
        if count < 0, errno != EINTR { throw .cannotRead(input: name, errno: errno) }
        return count > 0
    }

    private func readOnce(_ state: inout State) throws(IngestError) {
        let count = state.chunk.withUnsafeMutableBytes { chunk in
            retrying { Glibc.read(descriptor, chunk.baseAddress, chunk.count) }
        }
        if count < 0 {
            guard errno == EAGAIN else { throw .cannotRead(input: name, errno: errno) }
        } else if count == 0 {
            state.isAtEnd = true
        } else {
            state.chunk.withUnsafeBytes { state.framer.append(.init(rebasing: $0[..<count])) }
            holdsLines.store(state.framer.hasCompleteLine, ordering: .relaxed)
        }
    }
}
