// Sources of Dispatch may be used from any thread, which its module does not say.
@preconcurrency import Dispatch
import Glibc
import Synchronization

/// Waits until something happens in the folders that files are followed in.
///
/// By inotify where the system has it and the file system tells everything by it; network and user-space file systems do
/// not, and there the wait is as long as the poll interval. A wait never lasts longer than `longest`, since a file may
/// also change by another name.
final class FolderWatch: Sendable {
    /// How long a wait is at most where inotify works.
    static let longest = Duration.seconds(1)

    private let pollInterval: Duration
    private let queue: DispatchQueue
    /// `nil` where the system gives no instance.
    private let descriptor: Descriptor?
    private let events: (any DispatchSourceRead)?
    private let state = Mutex(State())

    private struct State {
        var watches: [String: Int32] = [:]
        var hasNews = false
        var isSuspended = true
        var isPolling = true
        var waiter: CheckedContinuation<Void, Never>?
        var waitNumber = 0

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }
    }

    init(pollInterval: Duration, queue: DispatchQueue) {
        self.pollInterval = pollInterval
        self.queue = queue
        descriptor = Descriptor.inotify()
        events = descriptor.map {
            DispatchSource.makeReadSource(fileDescriptor: $0.number, queue: queue)
        }
        events?.setEventHandler { [weak self] in self?.hear() }
        // Keeps the descriptor open as long as the system may look at it.
        events?.setCancelHandler { [descriptor] in withExtendedLifetime(descriptor) {} }
    }

    deinit {
        events?.cancel()
        // A source that is suspended is never released.
        if state.withLock({ $0.isSuspended }) { events?.resume() }
    }

    /// `inotify`, or `polling` where that does not work.
    var mode: String { state.withLock { $0.isPolling } ? "polling" : "inotify" }

    /// Chooses the folders; those that are watched already stay so.
    func watch(_ folders: Set<String>) {
        guard let descriptor else { return }
        state.withLock { state in
            for (folder, number) in state.watches where !folders.contains(folder) {
                inotify_rm_watch(descriptor.number, number)
                state.watches[folder] = nil
            }
            for folder in folders where state.watches[folder] == nil {
                guard Self.tellsEverything(folder) else { continue }
                let mask =
                    IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB
                    | IN_CLOSE_WRITE | IN_ONLYDIR
                let number = inotify_add_watch(descriptor.number, folder, UInt32(mask))
                if number >= 0 { state.watches[folder] = number }
            }
            state.isPolling = folders.isEmpty || state.watches.count < folders.count
        }
    }

    /// Waits for news, or for a time.
    ///
    /// - Parameter isImpatient: Whether something is due that no event tells, so that the wait is the poll interval.
    func wait(isImpatient: Bool = false) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let number = state.withLock { state -> Int? in
                if state.hasNews {
                    state.hasNews = false
                    return nil
                }
                state.waiter = continuation
                state.waitNumber += 1
                if state.isSuspended {
                    state.isSuspended = false
                    events?.resume()
                }
                return state.waitNumber
            }
            guard let number else { return continuation.resume() }
            let isShort = isImpatient || state.withLock { $0.isPolling }
            let limit = isShort ? pollInterval : max(Self.longest, pollInterval)
            let nanoseconds =
                limit.components.seconds * 1_000_000_000
                + limit.components.attoseconds / 1_000_000_000
            queue.asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { [weak self] in
                self?.wake(number)
            }
        }
    }

    /// Ends a wait, or the next one at once.
    func wake() {
        state.withLock { state in
            state.hasNews = state.waiter == nil
            return state.takeWaiter()
        }?.resume()
    }

    private func wake(_ number: Int) {
        state.withLock { $0.waitNumber == number ? $0.takeWaiter() : nil }?.resume()
    }

    /// Takes the events, which say no more than that there is something to look at.
    private func hear() {
        guard let descriptor else { return }
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while read(descriptor.number, &buffer, buffer.count) > 0 {}
        let waiter = state.withLock { state in
            // Nobody waits: what comes until somebody does is no news.
            state.hasNews = state.waiter == nil
            if !state.isSuspended {
                state.isSuspended = true
                events?.suspend()
            }
            return state.takeWaiter()
        }
        waiter?.resume()
    }

    /// Whether the folder's file system tells of every change: one that others change over a network does not.
    private static func tellsEverything(_ folder: String) -> Bool {
        guard let device = Descriptor.status(path: folder)?.device,
            let kind = Descriptor.fileSystem(ofDevice: device)
        else { return false }
        let silent = ["nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "virtiofs"]
        return !silent.contains { kind.hasPrefix($0) }
    }
}
