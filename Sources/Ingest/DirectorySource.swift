/// A folder whose files are read once, and then moved to `done` or `failed` in it.
public final class DirectorySource: LineSource {
    /// The folder.
    public let name: String

    private let loop: FolderLoop<SpoolDirectory>

    /// Reads the files of a folder.
    ///
    /// - Parameters:
    ///   - folder: The folder, without a slash at its end.
    ///   - format: How the files' lines are read.
    ///   - resume: Where to go on: `LineBatch.resume` of the last batch that was committed; a place in another folder is none.
    ///   - pollInterval: How often the folder is looked at where the system does not tell of changes.
    ///   - limits: How much goes into a batch.
    public init(
        folder: String, format: FormatOptions, resume: FilePosition? = nil,
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init()
    ) {
        name = folder
        loop = FolderLoop(
            SpoolDirectory(folder: folder, format: format, resume: resume, limits: limits),
            pollInterval: pollInterval)
    }

    /// Waits for the next lines; each file is an input of its own.
    public func next() async throws(IngestError) -> LineBatch? { try await loop.next() }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() { loop.stop() }

    /// Takes note of a batch; after the last one of a file, the file is moved.
    ///
    /// If that cannot be done now, `problem` says why and `next` tries again.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {
        loop.change { $0.didCommit(batch, faultCount: faultCount) }
    }

    /// Moves the file that is being read to `failed`: it cannot be read.
    public func fail() {
        loop.change { $0.fail() }
    }

    /// How many bytes of the folder's files were not delivered at the last look.
    public func backlogBytes() -> Int64 { loop.now.backlogBytes }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool { loop.now.isCaughtUp }

    /// Why a file is not read, or could not be moved.
    public func problem() -> IngestError? { loop.now.problem }

    /// How many files went to `failed` since the start.
    public func failedFileCount() -> Int { loop.now.failedCount }

    /// `inotify`, or `polling` where the system does not tell what happens in the folder.
    public func watchMode() -> String? { loop.watchMode }
}

extension SpoolDirectory: Stepped {
    var isCaughtUp: Bool { isIdle && !isWaiting && !isStalled }

    var places: WatchedPlaces { [folder + "/": [""]] }
}
