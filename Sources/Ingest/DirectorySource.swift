import Dispatch
import Synchronization

/// A folder whose files are read once, and then moved to `done` or `failed` in it.
public final class DirectorySource: LineSource {
    /// The folder.
    public let name: String

    private let queue: DispatchQueue
    private let watch: FolderWatch
    private let directory: Mutex<SpoolDirectory>
    private let progress = Mutex(Progress())

    private struct Progress {
        var isStopped = false
        var hasFailed = false
        var backlogBytes: Int64 = 0
        var isIdle = false
        var isWaiting = false
        /// Why a file is not read, or not moved.
        var problem: IngestError?
        var failedCount = 0
    }

    /// Reads the files of a folder.
    ///
    /// - Parameters:
    ///   - folder: The folder, without a slash at its end.
    ///   - format: How the files' lines are read.
    ///   - resume: Where to go on: `LineBatch.resume` of the last batch that was committed.
    ///   - pollInterval: How often the folder is looked at where the system does not tell of changes.
    ///   - limits: How much goes into a batch.
    public init(
        folder: String, format: FormatOptions, resume: FilePosition? = nil,
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init()
    ) {
        name = folder
        queue = DispatchQueue(label: "flowguard.ingest.directory")
        watch = FolderWatch(pollInterval: pollInterval, queue: queue)
        directory = Mutex(
            SpoolDirectory(folder: folder, format: format, resume: resume, limits: limits))
    }

    /// Waits for the next lines; each file is an input of its own.
    public func next() async throws(IngestError) -> LineBatch? {
        while !progress.withLock({ $0.isStopped }), !Task.isCancelled {
            if progress.withLock({ $0.hasFailed }) { await watch.wait(isImpatient: true) }
            let result = await look()
            progress.withLock { $0.hasFailed = (try? result.get()) == nil }
            if let batch = try result.get() { return batch }
            let now = progress.withLock { $0 }
            guard now.isIdle, !now.isStopped else { continue }
            watch.watch([name + "/": [""]])
            await watch.wait(isImpatient: now.isWaiting)
        }
        return nil
    }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() {
        progress.withLock { $0.isStopped = true }
        watch.wake()
    }

    /// Takes note of a batch; after the last one of a file, the file is moved.
    ///
    /// If that cannot be done now, `problem` says why and `next` tries again.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {
        directory.withLock { directory in
            try? directory.didCommit(batch, faultCount: faultCount)
            note(directory)
        }
    }

    /// Moves the file that is being read to `failed`: it cannot be read.
    public func fail() {
        directory.withLock { directory in
            directory.fail()
            note(directory)
        }
    }

    private func note(_ directory: SpoolDirectory) {
        progress.withLock {
            $0.backlogBytes = directory.backlogBytes
            $0.isIdle = directory.isIdle
            $0.isWaiting = directory.isWaiting
            $0.problem = directory.problem
            $0.failedCount = directory.failedCount
        }
    }

    /// How many bytes of the folder's files were not delivered at the last look.
    public func backlogBytes() -> Int64 { progress.withLock { $0.backlogBytes } }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool { progress.withLock { $0.isIdle } }

    /// Why a file is not read, or could not be moved.
    public func problem() -> IngestError? { progress.withLock { $0.problem } }

    /// How many files went to `failed` since the start.
    public func failedFileCount() -> Int { progress.withLock { $0.failedCount } }

    /// `inotify`, or `polling` where the system does not tell what happens in the folder.
    public func watchMode() -> String? { watch.mode }

    private func look() async -> Result<LineBatch?, IngestError> {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let result = directory.withLock { directory in
                    let result = Result { () throws(IngestError) in try directory.step() }
                    note(directory)
                    return result
                }
                continuation.resume(returning: result)
            }
        }
    }
}
