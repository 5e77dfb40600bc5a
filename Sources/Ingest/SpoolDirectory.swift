import Glibc

/// A folder whose files are read once each, in the order of their names; stepped without waiting.
///
/// A file is taken once it has been quiet for `settleTime`; names that begin with a dot or end in `.tmp`, `.part` or `~`
/// are left alone. When its last batch is committed it is moved to `done`, or to `failed` if it could not be read or held
/// no record. A crash in between leaves it where it is, with a position at its end: it is moved then, and not read again.
///
/// A file that cannot be read, as on a damaged disk, is tried again every `leaveAloneFor` while the others are read. Once a
/// batch of it was given the others wait, since the place in one file only is remembered: after `retryFor` it goes to `failed`.
package struct SpoolDirectory: Sendable {
    /// How long a file must not have changed before it is read.
    package static let settleTime = Duration.seconds(1)
    /// How long a file that cannot be read, or not be moved to `failed`, is left alone while it does not change.
    package static let leaveAloneFor = Duration.seconds(10)
    /// How long a file that was begun and cannot be read on is tried.
    package static let retryFor = Duration.seconds(60)
    private static let readBytes = 256 << 10
    /// Files of one name in `done`, apart by a number at their ends.
    private static let mostNamesakes = 10_000

    let folder: String
    private let format: FormatOptions
    private let limits: BatchLimits
    private let uptime: @Sendable () -> Duration
    private var resume: FilePosition?
    private var reading: Reading?
    private var nextInput = 1
    /// The files that wait to be quiet, or for what keeps them from being read or moved to pass.
    private var waiting: [String: Waiting] = [:]
    /// Those that may be taken, the first one last, and when the folder was listed for them.
    private var due: [String] = []
    private var listedAt = Duration.zero

    package private(set) var backlogBytes: Int64 = 0
    /// Whether nothing is due before something happens.
    package private(set) var isIdle = false
    /// Whether files are there that are not quiet yet.
    package private(set) var isWaiting = false
    package private(set) var failedCount = 0
    /// Why a file is not read, or not moved.
    package var problem: IngestError? {
        moveProblem ?? stalled?.problem
            ?? waiting.sorted { $0.key < $1.key }.lazy.compactMap { $0.value.problem }.first
    }
    /// Why the file that was read last could not be moved.
    private var moveProblem: IngestError?
    /// The file that was begun and cannot be read on.
    private var stalled: Stalled?
    /// Whether there is one.
    package var isStalled: Bool { stalled != nil }

    private struct Stalled {
        let path: String
        let problem: IngestError
        /// Since when, and when it is tried again, by the uptime.
        let since: Duration
        let until: Duration
    }

    private struct Reading {
        let path: String
        let handle: FileFollower.Handle
        var framer: LineFramer
        var prefix: [UInt8]
        /// Records and lines that were none, since this process began the file; `nil` if it did not.
        var recordCount: Int?
        var faultCount = 0
        var isAtEnd = false
        /// Whether a batch of it was given, by this process or one before.
        var isBegun = false
    }

    /// What a file is like as long as it does not change.
    private struct Mark: Equatable {
        let identity: FileIdentity
        let size: Int64
        let changedAt: Int64
        let touchedAt: Int64

        init(_ status: Descriptor.Status) {
            identity = FileIdentity(status)
            size = status.size
            changedAt = status.changedAt
            touchedAt = status.touchedAt
        }
    }

    private struct Waiting {
        var mark: Mark
        /// When it may be taken, by the uptime.
        var until: Duration
        /// What keeps it here, and whether it is only to be moved to `failed`.
        var problem: IngestError?
        var isFailed = false
    }

    package init(
        folder: String, format: FormatOptions, resume: FilePosition?, limits: BatchLimits,
        uptime: @escaping @Sendable () -> Duration = SpoolDirectory.systemUptime
    ) {
        self.folder = folder
        self.format = format
        self.resume = resume
        self.limits = limits
        self.uptime = uptime
    }

    /// The system's clock that nobody sets.
    package static func systemUptime() -> Duration {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    // MARK: Reading

    /// Gives the next lines of the file that is read, or of the next one; `nil` also where it takes more than one look.
    package mutating func step() throws(IngestError) -> LineBatch? {
        isIdle = false
        if reading == nil { try openNext() }
        guard var current = reading.take() else {
            isIdle = true
            return nil
        }
        do throws(IngestError) {
            let batch = try lines(of: &current)
            if batch != nil {
                current.isBegun = true
                stalled = nil
            }
            reading = current
            return batch
        } catch {
            if current.isBegun {
                try stall(at: position(in: current), because: error)
            } else {
                leaveAlone(current.path, because: error)
            }
            return nil
        }
    }

    /// Leaves a file alone of which nothing was given.
    private mutating func leaveAlone(_ path: String, because error: IngestError) {
        guard let status = Descriptor.status(path: path) else { return }
        waiting[path] = Waiting(
            mark: Mark(status), until: uptime() + Self.leaveAloneFor, problem: error)
    }

    /// Leaves a file that was begun alone, to go on in it after a while; at last it goes to `failed`.
    ///
    /// - Throws: Why, once it is moved there.
    private mutating func stall(
        at position: FilePosition, because error: IngestError
    ) throws(IngestError) {
        let now = uptime()
        let since = stalled.flatMap { $0.path == position.path ? $0.since : nil } ?? now
        guard now - since < Self.retryFor else { return try giveUp(position.path, because: error) }
        resume = position
        stalled = Stalled(
            path: position.path, problem: error, since: since, until: now + Self.leaveAloneFor)
    }

    /// Moves a file that was begun, and is no use any more, to `failed`.
    ///
    /// - Throws: Why, once the file is moved. Where it cannot be moved, `problem` says so.
    private mutating func giveUp(_ path: String, because error: IngestError) throws(IngestError) {
        (resume, stalled) = (nil, nil)
        failedCount += 1
        leave(path)
        if waiting[path] == nil { throw error }
    }

    private mutating func lines(of current: inout Reading) throws(IngestError) -> LineBatch? {
        let isFull =
            current.framer.hasCompleteLine && current.framer.pendingCount >= Self.readBytes
        if !isFull, !current.isAtEnd {
            let offset = current.framer.readOffset
            let chunk = try current.handle.descriptor.bytes(
                Self.readBytes, at: offset, name: current.path)
            if chunk.isEmpty { current.isAtEnd = true }
            if current.prefix.count < FilePosition.prefixLimit,
                Int64(current.prefix.count) == offset
            {
                current.prefix += chunk.prefix(FilePosition.prefixLimit - current.prefix.count)
            }
            chunk.withUnsafeBytes { current.framer.append($0) }
        }
        guard var batch = current.framer.takeBatch(atEnd: current.isAtEnd) else { return nil }
        let size = try current.handle.descriptor.status(name: current.path).size
        backlogBytes = max(0, size - current.framer.consumedOffset)
        batch.inputName = current.path
        batch.resume = position(in: current)
        return batch
    }

    private func position(in file: Reading) -> FilePosition {
        FilePosition(
            path: file.path, device: file.handle.device, inode: file.handle.inode,
            prefix: file.prefix, framer: file.framer, modifiedAt: nil)
    }

    // MARK: Choosing

    private mutating func openNext() throws(IngestError) {
        if let stalled, uptime() < stalled.until { return }
        if let resume {
            if try goOn(at: resume) { return }
            // It is there, and cannot be read now.
            if let stalled, uptime() < stalled.until { return }
        }
        (resume, stalled, moveProblem) = (nil, nil, nil)
        // A folder of many files is not listed for each of them.
        if uptime() - listedAt < Self.settleTime, try openDue() { return }
        try list()
        _ = try openDue()
    }

    /// Opens the first file that may be taken, and moves those away that are only to be moved.
    private mutating func openDue() throws(IngestError) -> Bool {
        while let path = due.popLast() {
            if waiting[path]?.isFailed == true {
                moveToFailed(path)
            } else if let opened = try open(path) {
                waiting[path] = nil
                reading = opened
                return true
            }
        }
        return false
    }

    private mutating func list() throws(IngestError) {
        guard let status = try Descriptor.lookUp(folder) else {
            throw .noSuchFile(path: folder)
        }
        guard status.kind == S_IFDIR else {
            throw .notAFolder(path: folder, found: status.kindText)
        }
        // One that may be listed and not passed through would seem empty.
        _ = try Descriptor.lookUp(folder + "/.")
        backlogBytes = 0
        isWaiting = false
        listedAt = uptime()
        var stillThere: [String: Waiting] = [:]
        due = []
        for name in try Descriptor.names(in: folder).sorted(by: >) where Self.isComplete(name) {
            let path = folder + "/" + name
            guard let status = Descriptor.status(path: path), status.isRegular else { continue }
            let mark = Mark(status)
            var file = waiting[path] ?? Waiting(mark: mark, until: listedAt + Self.settleTime)
            if file.mark != mark { file = Waiting(mark: mark, until: listedAt + Self.settleTime) }
            stillThere[path] = file
            if file.until <= listedAt { due.append(path) }
            if file.problem == nil {
                backlogBytes += status.size
                if file.until > listedAt { isWaiting = true }
            }
        }
        waiting = stillThere
    }

    /// Opens a file from its start; one that cannot be read is left alone for a while, and the others are read.
    private mutating func open(_ path: String) throws(IngestError) -> Reading? {
        do throws(IngestError) {
            guard let descriptor = try Descriptor.open(path) else { return nil }
            let status = try descriptor.status(name: path)
            // Another one took its name just now: it is to be quiet first.
            guard waiting[path]?.mark == Mark(status) else { return nil }
            return Reading(
                path: path, handle: FileFollower.Handle(descriptor, status), framer: framer(path),
                prefix: [], recordCount: 0)
        } catch {
            guard !error.isShortage else { throw error }
            leaveAlone(path, because: error)
            return nil
        }
    }

    /// Goes on in a file that was begun before, or moves it if it was read to its end.
    ///
    /// One that may not be read any more goes to `failed`, one that cannot be read stalls: neither waits as one that was not
    /// begun does, since only the place in one file is remembered.
    ///
    /// - Returns: `false` if it is not read: it is not there any more, or is another file of the same name, or see above.
    private mutating func goOn(at position: FilePosition) throws(IngestError) -> Bool {
        guard position.path.utf8.starts(with: (folder + "/").utf8),
            let status = try Descriptor.lookUp(position.path), status.isRegular,
            FileIdentity(status) == FileIdentity(position)
        else { return false }
        let handle: FileFollower.Handle
        let opened: FileFollower.OpenFile
        do throws(IngestError) {
            guard let descriptor = try Descriptor.open(position.path),
                try position.isIn(descriptor, status: status, name: position.path)
            else { return false }
            handle = FileFollower.Handle(descriptor, status)
            var reader = FileFollower(path: position.path, format: format, limits: limits)
            opened = try reader.open(handle, at: position)
        } catch {
            guard !error.isShortage else { throw error }
            // Nobody takes the right to read a file back by chance.
            if error.isRefusal {
                try giveUp(position.path, because: error)
            } else {
                try stall(at: position, because: error)
            }
            return false
        }
        guard position.offset < status.size else {
            try move(position.path, to: "done")
            return false
        }
        resume = nil
        reading = Reading(
            path: position.path, handle: handle,
            framer: framer(
                position.path, offset: position.offset, lineNumber: position.lineNumber,
                header: opened.framer.header, tail: opened.framer.tail),
            prefix: opened.prefix, recordCount: nil, isBegun: true)
        return true
    }

    private static func isComplete(_ name: String) -> Bool {
        !name.hasPrefix(".") && ![".tmp", ".part", "~"].contains { name.hasSuffix($0) }
    }

    private mutating func framer(
        _ path: String, offset: Int64 = 0, lineNumber: Int64 = 0, header: [UInt8]? = nil,
        tail: [UInt8] = []
    ) -> LineFramer {
        defer { nextInput += 1 }
        return LineFramer(
            format: format, limits: limits, input: nextInput, name: path, offset: offset,
            lineNumber: lineNumber, header: header, tail: tail)
    }

    // MARK: Moving

    /// Takes note of what a batch held, and moves its file away when it was the last one.
    ///
    /// If that cannot be done now, `problem` says why and `step` tries again.
    package mutating func didCommit(_ batch: LineBatch, faultCount: Int) {
        guard var current = reading, batch.inputName == current.path else { return }
        current.recordCount? += batch.lines.count - faultCount
        current.faultCount += faultCount
        reading = current
        guard batch.isLast else { return }
        do throws(IngestError) {
            // What a slow writer has added since the end was read.
            let status = try current.handle.descriptor.status(name: current.path)
            guard status.size <= current.framer.readOffset else {
                current.isAtEnd = false
                current.framer = framer(
                    current.path, offset: current.framer.readOffset,
                    lineNumber: current.framer.lineNumber, header: current.framer.header,
                    tail: current.framer.tail)
                reading = current
                return
            }
            reading = nil
            guard current.recordCount != 0 || current.faultCount == 0 else {
                failedCount += 1
                return leave(current.path)
            }
            // Until it is moved, no other one is read: only the place in one file is remembered.
            resume = position(in: current)
            try move(current.path, to: "done")
            resume = nil
        } catch {
            moveProblem = error
        }
    }

    /// Moves the file that is read to `failed`.
    package mutating func fail() {
        guard let current = reading.take() else { return }
        failedCount += 1
        leave(current.path)
    }

    /// Has done with a file that is no use.
    private mutating func leave(_ path: String) {
        guard let status = Descriptor.status(path: path) else { return }
        waiting[path] = Waiting(mark: Mark(status), until: .zero, isFailed: true)
        moveToFailed(path)
    }

    private mutating func moveToFailed(_ path: String) {
        do throws(IngestError) {
            try move(path, to: "failed")
            waiting[path] = nil
        } catch {
            waiting[path]?.problem = error
            waiting[path]?.until = uptime() + Self.leaveAloneFor
        }
    }

    private func move(_ path: String, to name: String) throws(IngestError) {
        let target = folder + "/" + name
        guard mkdir(target, 0o750) == 0 || errno == EEXIST else {
            throw .cannotWrite(path: target, errno: errno)
        }
        let base = path.dropFirst(folder.count)
        for number in 0..<Self.mostNamesakes {
            let free = target + base + (number == 0 ? "" : ".\(number)")
            if access(free, F_OK) == 0 { continue }
            guard rename(path, free) == 0 || errno == ENOENT else {
                throw .cannotWrite(path: free, errno: errno)
            }
            return
        }
        throw .cannotWrite(path: target + base, errno: EEXIST)
    }
}
