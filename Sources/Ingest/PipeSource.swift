import Glibc
import Synchronization

/// A named pipe that writers come to and leave.
///
/// What is written from the first writer's coming to the last one's leaving is an input of its own: CSV begins with a
/// header each time, and the last line needs no line feed. Lines of writers that are there at once are mixed, each whole if it
/// is written by one call of at most 4,096 bytes.
///
/// A pipe that systemd holds open for reading and writing has no last writer: all that comes is one input.
///
/// A pipe that another one has taken the place of is read until its last writer has left or nothing has come for `leaveAfter`,
/// and then the other one: a writer that stays and is silent would keep those of the new pipe waiting for ever.
public final class PipeSource: LineSource {
    /// How long nothing has come when a pipe is left for another one.
    public static let leaveAfter = Duration.seconds(5)

    /// The path of the pipe.
    public let name: String

    private let format: FormatOptions
    private let limits: BatchLimits
    private let mode: UInt16
    private let activated: Int32?
    private let leaveAfter: Duration
    private let neededColumns: @Sendable () -> Set<String>?
    private let state = Mutex(State())

    private struct State {
        var descriptor: Descriptor?
        var source: DescriptorSource?
        var hasDelivered = false
        var inputs = 0
        var isStopped = false
    }

    /// A pipe that is not open yet.
    ///
    /// - Parameters:
    ///   - path: Where the pipe is, or is made.
    ///   - format: How lines are read.
    ///   - mode: The permissions of a pipe that is made.
    ///   - limits: How much goes into a batch.
    ///   - activated: The pipe, if it is open already; it stays the caller's.
    ///   - leaveAfter: How long nothing has come when the pipe is left for another one that has its path.
    ///   - neededColumns: The columns that a header must have, as far as they are known: a first line without any is a record.
    public init(
        path: String, format: FormatOptions, mode: UInt16 = 0o660, limits: BatchLimits = .init(),
        activated: Int32? = nil, leaveAfter: Duration = PipeSource.leaveAfter,
        neededColumns: @escaping @Sendable () -> Set<String>? = { nil }
    ) {
        name = path
        self.format = format
        self.limits = limits
        self.mode = mode
        self.activated = activated
        self.leaveAfter = leaveAfter
        self.neededColumns = neededColumns
    }

    /// Opens the pipe, and makes it where there is none.
    ///
    /// - Parameter inputs: What another source has left: it is gone on with.
    /// - Throws: `notAPipe`, `cannotWrite` or `cannotOpen`.
    public func start(after inputs: HeldInputs = HeldInputs()) throws(IngestError) {
        let held = inputs.take(name)
        try state.withLock { state in
            Result { () throws(IngestError) in
                guard let held, let descriptor = held.descriptor else { return try open(&state) }
                state.descriptor = descriptor
                state.inputs = held.number
                state.hasDelivered = held.framer.lineNumber > 0
                state.source = DescriptorSource(
                    held, name: "\(name) (\(held.number))", format: format, limits: limits,
                    pipe: pipe(descriptor))
            }
        }.get()
    }

    /// Leaves the pipe open, so that its writer may go on.
    public func handOver(to inputs: HeldInputs) {
        state.withLock { state in
            // Between two writers too: the next one may be there already.
            if state.source == nil { try? open(&state) }
            if let rest = state.source?.rest(keeping: state.descriptor) {
                inputs.keep(rest, of: name)
            }
        }
    }

    private func open(_ state: inout State) throws(IngestError) {
        let descriptor: Descriptor
        if let activated {
            descriptor = try Descriptor.duplicate(activated, name: name)
        } else {
            if mkfifo(name, mode_t(mode)) == 0 {
                // What the umask took.
                chmod(name, mode_t(mode))
            } else if errno != EEXIST {
                throw .cannotWrite(path: name, errno: errno)
            }
            guard let opened = try Descriptor.open(name) else {
                throw .cannotOpen(path: name, errno: ENOENT)
            }
            descriptor = opened
            let status = try descriptor.status(name: name)
            guard status.kind == S_IFIFO else {
                throw .notAPipe(path: name, found: status.kindText)
            }
        }
        state.inputs += 1
        // The one before is closed only now: a pipe that is open nowhere forgets what the next writer has written.
        state.descriptor = descriptor
        state.source = DescriptorSource(
            InputBytes(descriptor: descriptor.number, name: "\(name) (\(state.inputs))"),
            name: "\(name) (\(state.inputs))", format: format, limits: limits,
            input: state.inputs, pipe: pipe(descriptor),
            writer: DescriptorSource.Writer(neededColumns: neededColumns()))
        state.hasDelivered = false
    }

    private func pipe(_ descriptor: Descriptor) -> DescriptorSource.NamedPipe {
        // What systemd holds open is the pipe, whatever its path leads to.
        let own = activated == nil ? try? descriptor.status(name: name) : nil
        return DescriptorSource.NamedPipe(leaveAfter: leaveAfter) { [name] in
            guard let own else { return .here }
            guard let now = Descriptor.status(path: name) else { return .gone }
            if FileIdentity(now) == FileIdentity(own) { return .here }
            return now.kind == S_IFIFO ? .replaced : .gone
        }
    }

    /// Waits for the next lines; after the last writer has left, for another one's.
    public func next() async throws(IngestError) -> LineBatch? {
        while true {
            let (source, isStopped) = try current()
            guard let source, let batch = try await source.next() else {
                if isStopped || state.withLock({ $0.isStopped }) { return nil }
                continue
            }
            let isWorthTelling = state.withLock { state in
                let isWorthTelling =
                    state.hasDelivered || !batch.lines.isEmpty || batch.header != nil
                state.hasDelivered = isWorthTelling
                if batch.isLast { state.source = nil }
                return isWorthTelling
            }
            if isWorthTelling { return batch }
        }
    }

    /// What is read now, opened anew for the next writer.
    private func current() throws(IngestError) -> (DescriptorSource?, Bool) {
        try state.withLock { state in
            Result { () throws(IngestError) in
                if state.source == nil, !state.isStopped { try open(&state) }
                return (state.source, state.isStopped)
            }
        }.get()
    }

    /// Ends the source: it reads nothing more, and `next()` gives the complete lines that are held before `nil`.
    public func stop() {
        state.withLock { state in
            state.isStopped = true
            state.source?.stop()
        }
    }

    /// Whether nothing that was read is left to deliver.
    public func isCaughtUp() -> Bool {
        state.withLock { $0.source?.isCaughtUp() ?? true }
    }
}
