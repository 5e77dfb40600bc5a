import Dispatch
import Glibc
import Synchronization

/// All files that a pattern such as `/var/log/pump-*.csv` matches, followed as they appear, grow and rotate.
public final class FileSetSource: LineSource {
    /// The pattern.
    public let name: String

    private let queue: DispatchQueue
    private let watch: FolderWatch
    private let files: Mutex<FileSet>
    private let progress = Mutex(Progress())

    private struct Progress {
        var isStopped = false
        var backlogBytes: Int64 = 0
        var isCaughtUp = false
        var isIdle = false
        var problem: IngestError?
        var places: WatchedPlaces = [:]
    }

    /// Whether a path is a pattern.
    public static func isPattern(_ path: String) -> Bool { path.contains { "*?[".contains($0) } }

    /// Follows files.
    ///
    /// - Parameters:
    ///   - pattern: A path with `*`, `?` or `[…]`.
    ///   - format: How their lines are read.
    ///   - resume: Where to go on in each file: its newest `LineBatch.resume` that was committed, those that were
    ///     committed last at the end.
    ///   - pollInterval: How often idle files are looked at where the system does not tell of changes.
    ///   - limits: How much goes into a batch.
    public init(
        pattern: String, format: FormatOptions, resume: [FilePosition],
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init()
    ) {
        name = pattern
        queue = DispatchQueue(label: "flowguard.ingest.files")
        watch = FolderWatch(pollInterval: pollInterval, queue: queue)
        files = Mutex(
            FileSet(pattern: pattern, format: format, resume: resume, limits: limits))
    }

    /// Waits for the next lines of any file.
    public func next() async throws(IngestError) -> LineBatch? {
        while !progress.withLock({ $0.isStopped }), !Task.isCancelled {
            if let batch = await look() { return batch }
            let now = progress.withLock { $0 }
            guard now.isIdle, !now.isStopped else { continue }
            watch.watch(now.places)
            await watch.wait(isImpatient: !now.isCaughtUp)
        }
        return nil
    }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() {
        progress.withLock { $0.isStopped = true }
        watch.wake()
    }

    /// How many bytes of all files were not delivered at the last look.
    public func backlogBytes() -> Int64 { progress.withLock { $0.backlogBytes } }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool { progress.withLock { $0.isCaughtUp } }

    /// What is wrong with one of the files, while the others are read.
    public func problem() -> IngestError? { progress.withLock { $0.problem } }

    /// `inotify`, or `polling` where the system does not tell what happens in the folders.
    public func watchMode() -> String? { watch.mode }

    /// Takes note that a batch is committed.
    public func didCommit(_ batch: LineBatch, faultCount: Int) {
        files.withLock { files in
            files.didCommit(batch)
            note(files)
        }
    }

    /// Takes a batch back that nothing can be made of, such as one under a wrong header: its file is offered again after a
    /// while, and the others are read on.
    ///
    /// - Returns: Whether that is new.
    public func refuse(_ batch: LineBatch, because error: IngestError) -> Bool {
        files.withLock { files in
            let isNew = files.refuse(batch, because: error)
            note(files)
            return isNew
        }
    }

    private func note(_ files: FileSet, places: WatchedPlaces? = nil) {
        progress.withLock {
            $0.backlogBytes = files.backlogBytes
            $0.isCaughtUp = files.isCaughtUp
            $0.isIdle = files.isIdle
            $0.problem = files.problem
            if let places { $0.places = places }
        }
    }

    private func look() async -> LineBatch? {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let batch = files.withLock { files in
                    let batch = files.step()
                    note(files, places: batch == nil ? files.places : [:])
                    return batch
                }
                continuation.resume(returning: batch)
            }
        }
    }
}
