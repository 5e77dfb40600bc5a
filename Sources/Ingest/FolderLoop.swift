import Dispatch
import Synchronization

/// Files that are looked at again and again, without waiting in between.
protocol Stepped: Sendable {
    /// The next lines; `nil` if there are none now, or none yet.
    mutating func step() throws(IngestError) -> LineBatch?
    /// How many bytes are there and not delivered, at the last look.
    var backlogBytes: Int64 { get }
    /// Whether the last look found nothing to deliver, now or soon.
    var isCaughtUp: Bool { get }
    /// Whether another look is worth its while only when something has happened.
    var isIdle: Bool { get }
    /// What keeps a part of the files from being read.
    var problem: IngestError? { get }
    /// Files that were given up.
    var failedCount: Int { get }
    /// Where things happen that ask for a look.
    var places: WatchedPlaces { get }
}

extension Stepped {
    /// None, of files that are followed.
    var failedCount: Int { 0 }
}

/// Adds the waiting to files that are stepped, for the sources that read them.
///
/// While there is nothing to read, the files are looked at when something happens in their folders, or every `pollInterval`
/// where the system does not tell that. Reads are made on a queue of the loop's own, so a slow disk holds up no other task.
final class FolderLoop<Files: Stepped>: Sendable {
    private let queue: DispatchQueue
    private let watch: FolderWatch
    private let files: Mutex<Files>
    /// Apart from the files, which are taken while they are read.
    private let progress = Mutex(Progress())

    struct Progress: Sendable {
        var backlogBytes: Int64 = 0
        var isCaughtUp = false
        var problem: IngestError?
        var failedCount = 0
        fileprivate var isIdle = false
        fileprivate var isStopped = false
        fileprivate var hasFailed = false
        fileprivate var places: WatchedPlaces = [:]
    }

    init(_ files: sending Files, pollInterval: Duration) {
        queue = DispatchQueue(label: "flowguard.ingest.files")
        watch = FolderWatch(pollInterval: pollInterval, queue: queue)
        self.files = Mutex(files)
    }

    /// How far the files were read at the last look.
    var now: Progress { progress.withLock { $0 } }

    /// `inotify` or `polling`.
    var watchMode: String { watch.mode }

    /// Waits for the next lines; before it fails a second time it waits too.
    func next() async throws(IngestError) -> LineBatch? {
        while !now.isStopped, !Task.isCancelled {
            if now.hasFailed { await watch.wait(isImpatient: true) }
            if now.isStopped { return nil }
            let result = await look()
            let hasFailed = if case .failure = result { true } else { false }
            progress.withLock { $0.hasFailed = hasFailed }
            if let batch = try result.get() { return batch }
            let now = now
            guard now.isIdle, !now.isStopped else { continue }
            watch.watch(now.places)
            await watch.wait(isImpatient: !now.isCaughtUp)
        }
        return nil
    }

    /// Ends the loop: `next` gives no more, and what was not given is read after a resume.
    func stop() {
        progress.withLock { $0.isStopped = true }
        watch.wake()
    }

    /// Changes the files between two looks.
    func change<Value>(_ body: (inout Files) -> sending Value) -> sending Value {
        files.withLock { files in
            let value = body(&files)
            note(files)
            return value
        }
    }

    private func look() async -> Result<LineBatch?, IngestError> {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let result = files.withLock { files in
                    let result = Result { () throws(IngestError) in try files.step() }
                    note(files)
                    if files.isIdle { progress.withLock { $0.places = files.places } }
                    return result
                }
                continuation.resume(returning: result)
            }
        }
    }

    private func note(_ files: Files) {
        progress.withLock {
            $0.backlogBytes = files.backlogBytes
            $0.isCaughtUp = files.isCaughtUp
            $0.isIdle = files.isIdle
            $0.problem = files.problem
            $0.failedCount = files.failedCount
        }
    }
}
