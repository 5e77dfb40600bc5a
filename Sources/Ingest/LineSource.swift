/// Where lines come from.
///
/// One consumer calls `next()`, again and again.
public protocol LineSource: Sendable {
    /// The source's name in messages.
    var name: String { get }

    /// Waits for at least one line or the end of an input, and gives what has arrived.
    ///
    /// - Returns: The next batch; `nil` at the end of standard input, and after `stop()`: of a
    ///   socket only once the complete lines that are held were given, since no client sends them
    ///   again.
    /// - Throws: `IngestError` if the source cannot be read now. The caller may call again: a
    ///   source recovers when its cause is gone, and waits before it fails a second time.
    func next() async throws(IngestError) -> LineBatch?

    /// Ends the source: it reads nothing more, and `next()` does not wait any longer.
    func stop()

    /// How many bytes of the followed file are not delivered yet; 0 for other sources.
    func backlogBytes() -> Int64

    /// How many clients are connected; 0 for sources that are not a socket.
    func connectionCount() -> Int

    /// Whether everything that had arrived at the last look is delivered.
    func isCaughtUp() -> Bool

    /// Says that a batch that `next()` gave is in the store or the quarantine.
    ///
    /// - Parameter faultCount: How many of its lines were no records.
    func didCommit(_ batch: LineBatch, faultCount: Int)

    /// Leaves what another source of the same name has to know to go on.
    ///
    /// The source must be stopped, and its last batch taken.
    func handOver(to inputs: HeldInputs)

    /// What keeps the source from a part of its work, while it goes on with the rest.
    func problem() -> IngestError?

    /// How the source learns that there is something new, such as `inotify` or `polling`; `nil` if it is told.
    func watchMode() -> String?
}

extension LineSource {
    /// 0, for sources that are not a file.
    public func backlogBytes() -> Int64 { 0 }

    /// 0, for sources that are not a socket.
    public func connectionCount() -> Int { 0 }

    /// Nothing, for sources that tell nobody and keep nothing.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {}

    /// Nothing, for sources that can be opened again where they were, or begin with each client.
    public func handOver(to inputs: HeldInputs) {}

    /// Nothing, for sources that work as a whole or not at all.
    public func problem() -> IngestError? { nil }

    /// `nil`, for sources that are told.
    public func watchMode() -> String? { nil }
}

/// How much a source puts into one batch.
public struct BatchLimits: Sendable, Hashable {
    /// The most lines.
    ///
    /// The default is 16384: each batch is a transaction, which costs as much as some thousand records.
    public var lines: Int = 16_384
    /// The most bytes, 4 MiB by default; a single line may be longer.
    public var bytes: Int = 4 << 20

    /// What is read at once where there is much to read: a batch of lines of usual length.
    var readBytes: Int { min(bytes, 64 * lines) }

    /// The default limits.
    public init() {}

    /// Limits.
    ///
    /// - Precondition: Both are positive.
    public init(lines: Int, bytes: Int) {
        precondition(lines > 0 && bytes > 0, "a batch holds at least one line and one byte")
        self.lines = lines
        self.bytes = bytes
    }
}
