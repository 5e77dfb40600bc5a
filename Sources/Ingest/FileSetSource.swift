import Glibc

/// All files that a pattern such as `/var/log/pump-*.csv` matches, followed as they appear, grow and rotate.
public final class FileSetSource: LineSource {
    /// The pattern.
    public let name: String

    private let loop: FolderLoop<FileSet>

    /// Whether a path is a pattern.
    public static func isPattern(_ path: String) -> Bool { path.contains { "*?[".contains($0) } }

    /// Whether a pattern matches a path: `*` stands for no slash, and for no dot that a name begins with.
    public static func matches(_ path: String, pattern: String) -> Bool {
        fnmatch(pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0
    }

    /// Follows files.
    ///
    /// - Parameters:
    ///   - pattern: A path with `*`, `?` or `[…]`.
    ///   - format: How their lines are read.
    ///   - resume: Where to go on in each file: its newest `LineBatch.resume` that was committed, those that were
    ///     committed last at the end.
    ///   - pollInterval: How often idle files are looked at where the system does not tell of changes.
    ///   - limits: How much goes into a batch.
    ///   - neededColumns: The columns that every header must have, as far as they are known.
    public init(
        pattern: String, format: FormatOptions, resume: [FilePosition],
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init(),
        neededColumns: @escaping @Sendable () -> Set<String>? = { nil }
    ) {
        name = pattern
        loop = FolderLoop(
            FileSet(
                pattern: pattern, format: format, resume: resume, limits: limits,
                neededColumns: neededColumns), pollInterval: pollInterval)
    }

    /// Waits for the next lines of any file.
    public func next() async throws(IngestError) -> LineBatch? { try await loop.next() }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() { loop.stop() }

    /// Takes note that a batch is committed.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {
        loop.change { $0.didCommit(batch) }
    }

    /// Takes a batch back that nothing can be made of, such as one under a wrong header: its file is offered again after a
    /// while, and the others are read on.
    ///
    /// - Returns: Whether that is new.
    public func refuse(_ batch: LineBatch, because error: IngestError) -> Bool {
        loop.change { $0.refuse(batch, because: error) }
    }

    /// How many bytes of all files were not delivered at the last look.
    public func backlogBytes() -> Int64 { loop.now.backlogBytes }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool { loop.now.isCaughtUp }

    /// What is wrong with one of the files, while the others are read.
    public func problem() -> IngestError? { loop.now.problem }

    /// `inotify`, or `polling` where the system does not tell what happens in the folders.
    public func watchMode() -> String? { loop.watchMode }
}

extension FileSet: Stepped {}
