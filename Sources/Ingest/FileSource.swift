import Dispatch
import Synchronization

/// A file that is followed as it grows: renamed and made anew, copied and truncated, deleted and
/// back, absent at first.
///
/// While there is nothing to read, the file is looked at when something happens in its folder, or every `pollInterval` where
/// the system does not tell that. Reads are made on a queue of the source's own, so a slow disk holds up no other task.
public final class FileSource: LineSource {
    /// The path of the file.
    public let name: String

    private let pollInterval: Duration
    private let queue: DispatchQueue
    private let watch: FolderWatch
    private let follower: Mutex<FileFollower>
    private let progress = Mutex(Progress())

    private struct Progress {
        var isStopped = false
        var hasFailed = false
        var backlogBytes: Int64 = 0
        var isCaughtUp = false
        var isIdle = false
    }

    /// Follows a file.
    ///
    /// - Parameters:
    ///   - path: The file. It need not exist yet.
    ///   - format: How its lines are read.
    ///   - resume: Where to go on: `LineBatch.resume` of the last batch that was committed. If the
    ///     file was rotated since, what is left of the old one is read first, provided it is still
    ///     in the same folder.
    ///   - pollInterval: How often an idle file is looked at. The default is 200 ms.
    ///   - limits: How much goes into a batch.
    public init(
        path: String, format: FormatOptions, resume: FilePosition? = nil,
        pollInterval: Duration = .milliseconds(200), limits: BatchLimits = .init()
    ) {
        name = path
        self.pollInterval = pollInterval
        queue = DispatchQueue(label: "flowguard.ingest.file")
        watch = FolderWatch(pollInterval: pollInterval, queue: queue)
        follower = Mutex(
            FileFollower(path: path, format: format, resume: resume, limits: limits))
    }

    /// Waits for the next lines of the file.
    public func next() async throws(IngestError) -> LineBatch? {
        if progress.withLock({ $0.hasFailed }) { await waitAfterFailure() }
        while !progress.withLock({ $0.isStopped }), !Task.isCancelled {
            let result = await look()
            progress.withLock { $0.hasFailed = (try? result.get()) == nil }
            if let batch = try result.get() { return batch }
            let (isIdle, isCaughtUp) = progress.withLock { ($0.isIdle, $0.isCaughtUp) }
            guard isIdle, !progress.withLock({ $0.isStopped }) else { continue }
            watch.watch(FileFollower.places(of: name))
            await watch.wait(isImpatient: !isCaughtUp)
        }
        return nil
    }

    /// Ends the source: `next()` gives no more, and what was not given is read after a resume.
    public func stop() {
        progress.withLock { $0.isStopped = true }
        watch.wake()
    }

    /// `inotify`, or `polling` where the system does not tell what happens in the folder.
    public func watchMode() -> String? { watch.mode }

    /// How many bytes of the file were not delivered at the last look.
    public func backlogBytes() -> Int64 {
        progress.withLock { $0.backlogBytes }
    }

    /// Whether the last look found nothing to deliver.
    public func isCaughtUp() -> Bool {
        progress.withLock { $0.isCaughtUp }
    }

    private func look() async -> Result<LineBatch?, IngestError> {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let result = follower.withLock { follower in
                    let result = Result { () throws(IngestError) in try follower.step() }
                    progress.withLock {
                        $0.backlogBytes = follower.backlogBytes
                        $0.isCaughtUp = follower.isCaughtUp
                        $0.isIdle = follower.isIdle
                    }
                    return result
                }
                continuation.resume(returning: result)
            }
        }
    }

    /// Sleeps for the poll interval, in parts short enough for `stop()` to be heard.
    private func waitAfterFailure() async {
        var left = pollInterval
        while left > .zero, !progress.withLock({ $0.isStopped }) {
            let part = min(left, .milliseconds(200))
            left -= part
            do { try await Task.sleep(for: part) } catch { return }
        }
    }
}
