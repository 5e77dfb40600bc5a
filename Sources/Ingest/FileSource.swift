/// A file that is followed as it grows: renamed and made anew, copied and truncated, deleted and
/// back, absent at first.
///
/// See `FolderLoop` for when it is looked at.
public final class FileSource: LineSource {
    /// The path of the file.
    public let name: String

    private let loop: FolderLoop<FileFollower>

    /// Follows a file.
    ///
    /// - Parameters:
    ///   - path: The file. It need not exist yet.
    ///   - format: How its lines are read.
    ///   - resume: Where to go on: `LineBatch.resume` of the last batch that was committed. If the
    ///     file was rotated since, what is left of the old one is read first, provided it is still
    ///     in the same folder.
    ///   - pollInterval: How often an idle file is looked at where the system does not tell of changes.
    ///   - limits: How much goes into a batch.
    ///   - neededColumns: The columns that every header must have, as far as they are known: a line that lacks one of them and
    ///     names none of the header before is no header.
    public init(
        path: String, format: FormatOptions, resume: FilePosition? = nil,
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init(),
        neededColumns: @escaping @Sendable () -> Set<String>? = { nil }
    ) {
        name = path
        loop = FolderLoop(
            FileFollower(
                path: path, format: format, resume: resume, limits: limits,
                neededColumns: neededColumns), pollInterval: pollInterval)
    }

    /// Waits for the next lines of the file.
    public func next() async throws(IngestError) -> LineBatch? { try await loop.next() }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() { loop.stop() }

    /// How many bytes of the file were not delivered at the last look.
    public func backlogBytes() -> Int64 { loop.now.backlogBytes }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool { loop.now.isCaughtUp }

    /// `inotify`, or `polling` where the system does not tell what happens in the folder.
    public func watchMode() -> String? { loop.watchMode }
}

extension FileFollower: Stepped {
    /// None: a single file is read or not.
    var problem: IngestError? { nil }

    var places: WatchedPlaces { Self.places(of: path) }
}
