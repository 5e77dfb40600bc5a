import Dispatch
import Synchronization

/// A descriptor that is read to its end: standard input, a pipe, a file.
///
/// What gzip or zstd has compressed is unpacked on the way.
/// What has arrived is delivered at once; what arrives faster than it is asked for comes in full
/// batches. Memory does not grow with the input. The descriptor stays the caller's, and open.
public final class DescriptorSource: LineSource {
    /// The name given.
    public let name: String

    private let readBytes: Int
    private let pipe: NamedPipe?
    private let input: Int
    private let queue: DispatchQueue
    private let state: Mutex<State>
    private let isStopped = Atomic(false)
    /// Apart from the state, which is taken while the source waits.
    private let holdsLines = Atomic(false)

    /// A named pipe that does not block.
    ///
    /// It is asked for its end, which it does not tell if its last writer had left before it was opened. Until something was
    /// read, an end tells of no writer: the first one is waited for, unless it will come elsewhere.
    struct NamedPipe: Sendable {
        /// What its path leads to.
        enum Place {
            case here
            /// Nothing, or no pipe.
            case gone
            /// Another pipe.
            case replaced
        }

        /// How long nothing has come when the pipe is left for another one.
        var leaveAfter: Duration
        var place: @Sendable () -> Place
    }

    private struct State {
        var bytes: InputBytes
        var framer: LineFramer
        var chunk: [UInt8]
        var isDone = false
        /// Since when nothing has come though another pipe has the path.
        var quietSince: ContinuousClock.Instant?
        /// Whether a pipe is left though it has writers.
        var isLeft = false
        /// Why no more can be read; what was read before is given first.
        var failure: IngestError?
    }

    /// Reads a descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: An open descriptor, blocking or not.
    ///   - name: The input's name in messages, such as `standard input`.
    ///   - format: How its lines are read.
    ///   - limits: How much goes into a batch.
    ///   - input: The number of the input.
    public convenience init(
        descriptor: Int32, name: String, format: FormatOptions, limits: BatchLimits = .init(),
        input: Int = 1
    ) {
        self.init(
            InputBytes(descriptor: descriptor, name: name), name: name, format: format,
            limits: limits, input: input)
    }

    /// Reads a descriptor on where another source has stopped, if one has.
    ///
    /// - Parameter neededColumns: The columns that a header must have, as far as they are known: a first line without any is
    ///   a record.
    public convenience init(
        descriptor: Int32, name: String, format: FormatOptions, after inputs: HeldInputs,
        neededColumns: Set<String>? = nil
    ) {
        guard let held = inputs.take(name) else {
            self.init(
                InputBytes(descriptor: descriptor, name: name), name: name, format: format,
                limits: .init(), writer: Writer(neededColumns: neededColumns))
            return
        }
        self.init(held, name: name, format: format, limits: .init())
    }

    /// Goes on with an input.
    convenience init(
        _ held: HeldInput, name: String, format: FormatOptions, limits: BatchLimits,
        pipe: NamedPipe? = nil
    ) {
        let framer = held.framer.handedOver(to: format, limits: limits, input: held.number)
        self.init(held.bytes, name: name, framer: framer, limits, held.number, pipe)
    }

    /// A program that may have left out the header: what it sends instead is a record.
    struct Writer {
        /// The columns that a header must have, if they are known.
        var neededColumns: Set<String>?
    }

    /// Reads bytes of which some may have been looked at.
    convenience init(
        _ bytes: InputBytes, name: String, format: FormatOptions, limits: BatchLimits,
        input: Int = 1, pipe: NamedPipe? = nil, writer: Writer? = nil
    ) {
        let framer = LineFramer(
            format: format, limits: limits, input: input, name: name,
            neededColumns: writer?.neededColumns, mayLackHeader: writer != nil)
        self.init(bytes, name: name, framer: framer, limits, input, pipe)
    }

    private init(
        _ bytes: InputBytes, name: String, framer: LineFramer, _ limits: BatchLimits,
        _ input: Int, _ pipe: NamedPipe?
    ) {
        self.name = name
        self.input = input
        self.pipe = pipe
        readBytes = limits.readBytes
        queue = DispatchQueue(label: "flowguard.ingest.descriptor")
        state = Mutex(
            State(
                bytes: bytes, framer: framer,
                chunk: [UInt8](repeating: 0, count: max(readBytes, 64 << 10))))
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

    /// How many bytes were read from the descriptor, compressed as they are.
    public var offset: Int64 { state.withLock { $0.bytes.offset } }

    /// Ends the source: it reads nothing more, and `next()` gives the complete lines that are held before `nil`.
    public func stop() {
        isStopped.store(true, ordering: .relaxed)
    }

    /// Leaves the input where it was stopped, unless it has ended.
    public func handOver(to inputs: HeldInputs) {
        if let rest = rest(keeping: nil) { inputs.keep(rest, of: name) }
    }

    func rest(keeping descriptor: Descriptor?) -> HeldInput? {
        state.withLock { state in
            // Packed bytes that are damaged stay so: whoever goes on begins with what comes next.
            state.isDone || state.failure != nil
                ? nil
                : HeldInput(
                    bytes: state.bytes, framer: state.framer, descriptor: descriptor, number: input)
        }
    }

    /// Whether no complete line that was read waits to be delivered.
    public func isCaughtUp() -> Bool {
        !holdsLines.load(ordering: .relaxed)
    }

    private func read(_ state: inout State) throws(IngestError) -> LineBatch? {
        while !state.isDone {
            let isFull = state.framer.hasCompleteLine && state.framer.pendingCount >= readBytes
            let hasLine = state.framer.hasCompleteLine
            let isAtEnd = state.bytes.isAtEnd || state.isLeft
            if !isAtEnd, !isFull, state.failure == nil, !isStopped.load(ordering: .relaxed) {
                do throws(IngestError) {
                    if try readMore(&state, waitsFor: hasLine ? 0 : 100) { continue }
                } catch {
                    state.failure = error
                }
            }
            if isStopped.load(ordering: .relaxed), !state.framer.hasCompleteLine { return nil }
            if let batch = state.framer.takeBatch(atEnd: isAtEnd) {
                state.isDone = batch.isLast
                holdsLines.store(state.framer.hasCompleteLine, ordering: .relaxed)
                return batch
            }
            if let failure = state.failure, !state.framer.hasCompleteLine { throw failure }
        }
        return nil
    }

    /// Reads what comes within some milliseconds; `false` if nothing does.
    private func readMore(
        _ state: inout State, waitsFor milliseconds: Int32
    ) throws(IngestError) -> Bool {
        guard
            try state.bytes.wait(atMost: milliseconds)
                || (milliseconds > 0 && asksForEnd(after: state.bytes))
        else { return false }
        let before = state.bytes.offset
        try readOnce(&state)
        if state.bytes.offset > before {
            state.quietSince = nil
        } else if !state.bytes.isAtEnd {
            leaveQuietPipe(&state)
        }
        return true
    }

    private func asksForEnd(after bytes: InputBytes) -> Bool {
        pipe.map { bytes.offset > 0 || $0.place() != .here } ?? false
    }

    /// Leaves a pipe of which nothing comes, once another one has had its path for long enough.
    private func leaveQuietPipe(_ state: inout State) {
        guard let pipe, pipe.place() == .replaced else {
            state.quietSince = nil
            return
        }
        let since = state.quietSince ?? .now
        state.quietSince = since
        state.isLeft = .now - since >= pipe.leaveAfter
    }

    private func readOnce(_ state: inout State) throws(IngestError) {
        var chunk: [UInt8] = []
        swap(&chunk, &state.chunk)
        defer { swap(&chunk, &state.chunk) }
        let result = chunk.withUnsafeMutableBytes { room in
            Result { () throws(IngestError) in try state.bytes.read(into: room) }
        }
        let count = try result.get()
        chunk.withUnsafeBytes { state.framer.append(.init(rebasing: $0[..<count])) }
        holdsLines.store(state.framer.hasCompleteLine, ordering: .relaxed)
    }
}
