// Sources of Dispatch may be used from any thread, which its module does not say.
@preconcurrency import Dispatch
import Glibc
import Synchronization

/// Folders, and how the names begin that matter in each; an empty beginning is that of every name.
package typealias WatchedPlaces = [String: Set<String>]

/// Waits until something happens in the folders that files are followed in.
///
/// Other files in them are none of its business, and a fast writer is heard in bursts: see `restAfterNews`.
///
/// By inotify where the system has it and the file system tells everything by it; network and user-space file systems do
/// not, and there the wait is as long as the poll interval. A wait never lasts longer than `longest`, since a file may
/// also change by another name.
package final class FolderWatch: Sendable {
    /// How long a wait is at most where inotify works.
    package static let longest = Duration.seconds(1)
    /// How long it is deaf after each news: what comes meanwhile is looked at together.
    private static let restAfterNews = DispatchTimeInterval.milliseconds(10)

    private static let mostReads = 64

    private let pollInterval: Duration
    private let queue: DispatchQueue
    /// `nil` where the system gives no instance.
    private let descriptor: Descriptor?
    private let events: (any DispatchSourceRead)?
    private let state = Mutex(State())

    private struct State {
        var watches: [String: Int32] = [:]
        var places: WatchedPlaces = [:]
        /// Until when it is deaf.
        var restsUntil = DispatchTime.now()
        var hasNews = false
        var isSuspended = true
        var isPolling = true
        var waiter: CheckedContinuation<Void, Never>?
        var waitNumber = 0

        /// Whether an event is worth a look; a watch that the system has ended is set up again by the next `watch`.
        mutating func takeNote(of event: Event) -> Bool {
            let folder = watches.first { $0.value == event.watch }?.key
            if event.mask & UInt32(IN_IGNORED) != 0, let folder { watches[folder] = nil }
            guard let folder, let beginnings = places[folder], !event.name.isEmpty else {
                return true
            }
            return beginnings.contains { event.name.hasPrefix($0) }
        }

        mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
            defer { waiter = nil }
            return waiter
        }
    }

    package init(pollInterval: Duration, queue: DispatchQueue) {
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
    package var mode: String { state.withLock { $0.isPolling } ? "polling" : "inotify" }

    /// Chooses the folders; those that are watched already stay so.
    package func watch(_ places: WatchedPlaces) {
        guard let descriptor else { return }
        state.withLock { state in
            state.places = places
            for (folder, number) in state.watches where places[folder] == nil {
                inotify_rm_watch(descriptor.number, number)
                state.watches[folder] = nil
            }
            for folder in places.keys where state.watches[folder] == nil {
                guard Self.tellsEverything(folder) else { continue }
                let mask =
                    IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB
                    | IN_CLOSE_WRITE | IN_ONLYDIR
                let number = inotify_add_watch(descriptor.number, folder, UInt32(mask))
                if number >= 0 { state.watches[folder] = number }
            }
            state.isPolling = places.isEmpty || state.watches.count < places.count
        }
    }

    /// Waits for news, or for a time.
    ///
    /// - Parameter isImpatient: Whether something is due that no event tells, so that the wait is the poll interval.
    package func wait(isImpatient: Bool = false) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let number = state.withLock { state -> Int? in
                if state.hasNews {
                    state.hasNews = false
                    return nil
                }
                state.waiter = continuation
                state.waitNumber += 1
                return state.waitNumber
            }
            guard let number else { return continuation.resume() }
            listen()
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

    /// Lets the events come, once the rest is over and as long as somebody waits.
    private func listen() {
        let later = state.withLock { state -> DispatchTime? in
            guard state.isSuspended, state.waiter != nil else { return nil }
            guard state.restsUntil <= .now() else { return state.restsUntil }
            state.isSuspended = false
            events?.resume()
            return nil
        }
        guard let later else { return }
        queue.asyncAfter(deadline: later) { [weak self] in self?.listen() }
    }

    /// Takes the events, which say no more than that there is something to look at.
    private func hear() {
        guard let descriptor else { return }
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var isNews = false
        for _ in 0..<Self.mostReads {
            let count = read(descriptor.number, &buffer, buffer.count)
            guard count > 0 else { break }
            let concerns = state.withLock { state in
                Self.events(in: buffer[..<count]).count { state.takeNote(of: $0) }
            }
            if concerns > 0 { isNews = true }
        }
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.restsUntil = .now() + Self.restAfterNews
            if !state.isSuspended {
                state.isSuspended = true
                events?.suspend()
            }
            guard isNews else { return nil }
            // Nobody waits: what comes until somebody does is no news.
            state.hasNews = state.waiter == nil
            return state.takeWaiter()
        }
        waiter?.resume()
        listen()
    }

    private struct Event {
        var watch: Int32
        var mask: UInt32
        /// Empty where the event is one of the folder itself.
        var name: String
    }

    /// Takes `struct inotify_event` apart: watch, mask, cookie, length of the name, and the name with zeros behind it.
    private static func events(in bytes: ArraySlice<UInt8>) -> [Event] {
        func number(_ at: Int) -> UInt32 {
            bytes[at..<(at + 4)].withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
        }
        let headBytes = 16
        var events: [Event] = []
        var at = bytes.startIndex
        while at + headBytes <= bytes.endIndex {
            let end = at + headBytes + Int(number(at + 12))
            guard end <= bytes.endIndex else { break }
            let name = bytes[(at + headBytes)..<end].prefix { $0 != 0 }
            events.append(
                Event(
                    watch: Int32(bitPattern: number(at)), mask: number(at + 4),
                    name: String(decoding: name, as: UTF8.self)))
            at = end
        }
        return events
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
