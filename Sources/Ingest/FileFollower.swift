import Glibc

/// The state of a followed file, stepped without waiting: `FileSource` adds the waiting.
///
/// The file is followed through its descriptor, not its name. When the name leads to another file
/// that is not empty, the old one is read until it has not grown for `leaveAfter`, and left. When
/// the file becomes shorter than what was read, or the bytes that it is known by change, it was
/// emptied and written anew: if there is a copy of what it held, that is read to its end, and then
/// the file from its start as a new input. A line that has no end yet is held back until it has,
/// or until its file is left; if no more than this line was cut off, reading goes on before it.
///
/// Before the path is opened again, what was rotated away since is read: see `RotatedFiles`.
///
/// A CSV file that follows another may have no header of its own, because the writer of an
/// emptied file went on: it is then read under the header before. So it is if its first line names
/// none of that header's columns and lacks one that is needed: one bad line must not stop all others.
///
/// - Note: What is written and then truncated between two looks is gone, unless a copy has it.
package struct FileFollower: Sendable {
    /// The fewest first bytes by which alone a copy of the file is known again.
    static let copyPrefixMinimum = 256
    /// How long a file that was renamed must not have grown before it is left for its successor.
    ///
    /// A writer that has the old file open still adds to it for a moment.
    package static let leaveAfter = Duration.seconds(1)

    let path: String
    let format: FormatOptions
    private let limits: BatchLimits
    private let readBytes: Int
    /// The followers of the same pattern's other files.
    let neighbours: Neighbours?
    private let now: @Sendable () -> Duration
    /// The columns that every header must have, as far as they are known.
    let neededColumns: @Sendable () -> Set<String>?
    var resume: FilePosition?
    var hasLookedForRemains = false
    private var file: OpenFile?
    /// The header of the file before the next one.
    private var lastHeader: [UInt8]?
    /// The file that was read to its end last.
    private var left: LeftFile?
    /// Of the file that is open and deleted: when it was changed last, in epoch nanoseconds.
    private var deletedAt: Int64?
    private var gone: FileIdentity?
    private var nextInput: Int

    /// How many bytes are there and not delivered, at the last look.
    package private(set) var backlogBytes: Int64 = 0
    /// Whether the last look found nothing to deliver, now or soon.
    package private(set) var isCaughtUp = false
    /// Whether the last look read all there is to read for now: another look is worth its while
    /// only later.
    package private(set) var isIdle = false

    /// A file by its descriptor.
    struct Handle: Sendable {
        let descriptor: Descriptor
        let device: UInt64
        let inode: UInt64

        init(_ descriptor: Descriptor, _ status: Descriptor.Status) {
            self.descriptor = descriptor
            device = status.device
            inode = status.inode
        }
    }

    /// Device and inode of the file that is open.
    package var identity: FileIdentity? { file.map { FileIdentity($0.handle) } }

    /// Whether the file that is open was read to its end, and neither it nor its names have changed since a time.
    func isDeleted(since time: Duration) -> Bool {
        isCaughtUp && deletedAt.map { .nanoseconds($0) <= time } ?? false
    }

    /// The file that was left last, if it had no name any more.
    mutating func takeGone() -> FileIdentity? {
        defer { gone = nil }
        return gone
    }

    /// One incarnation of the file.
    struct OpenFile: Sendable {
        var handle: Handle
        /// A copy that was made before the file was emptied: it never grows again.
        var isCopy = false
        /// The file that this is a copy of, if it was emptied while it was followed.
        var emptied: Handle?
        var framer: LineFramer
        /// The file's first bytes as they were read.
        var prefix: [UInt8] = []
        var checkedAt: Int64 = 0
        /// When it was written last as far as that was seen, or else the file before it.
        var modifiedAt: Int64?
        /// Since when a file that has a successor was not seen to grow.
        var quietSince: Duration?
        var ending: Ending?
    }

    enum Ending {
        case left
        case emptied
    }

    /// A follower of a path.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - format: How its lines are read.
    ///   - resume: Where to go on, from an earlier batch.
    ///   - limits: How much goes into a batch.
    ///   - readBytes: How much is read at once near the end of the file.
    ///   - firstInput: The number of the first input; the others follow it.
    ///   - neededColumns: The columns that every header must have, as far as they are known.
    ///   - now: The clock that files have their times from, since 1970.
    package init(
        path: String, format: FormatOptions, resume: FilePosition? = nil,
        limits: BatchLimits = .init(), readBytes: Int = 256 << 10, firstInput: Int = 1,
        neededColumns: @escaping @Sendable () -> Set<String>? = { nil },
        now: @escaping @Sendable () -> Duration = FileFollower.systemTime
    ) {
        self.init(
            path: path, format: format, resume: resume, limits: limits, readBytes: readBytes,
            firstInput: firstInput, neighbours: nil, neededColumns: neededColumns, now: now)
    }

    /// One of several followers.
    init(
        path: String, format: FormatOptions, resume: FilePosition?, limits: BatchLimits,
        readBytes: Int = 256 << 10, firstInput: Int, neighbours: Neighbours?,
        neededColumns: @escaping @Sendable () -> Set<String>?,
        now: @escaping @Sendable () -> Duration
    ) {
        self.neighbours = neighbours
        self.neededColumns = neededColumns
        self.path = path
        self.format = format
        self.resume = resume
        self.limits = limits
        self.readBytes = readBytes
        nextInput = firstInput
        self.now = now
    }

    /// The system's clock, since 1970.
    package static func systemTime() -> Duration {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    /// Looks at the file, and gives the next lines that are complete.
    ///
    /// - Returns: `nil` if there are none now, or none yet: see `isIdle`.
    package mutating func step() throws(IngestError) -> LineBatch? {
        isCaughtUp = false
        isIdle = false
        do throws(IngestError) {
            return try look()
        } catch {
            // Whatever made it unreadable: open it anew the next time, where this one stopped.
            if let file { resume = position(in: file) }
            file = nil
            hasLookedForRemains = false
            throw error
        }
    }

    private mutating func look() throws(IngestError) -> LineBatch? {
        if file == nil { file = try openFile(lastHeader: lastHeader, after: left) }
        guard var current = file.take() else {
            backlogBytes = 0
            deletedAt = nil
            isCaughtUp = true
            isIdle = true
            return nil
        }
        do throws(IngestError) {
            var batch = try lines(of: &current)
            file = batch?.isLast == true ? try successor(of: current) : current
            batch?.resume = position(in: file ?? current)
            return batch
        } catch {
            file = current
            throw error
        }
    }

    /// Reads on in a file, and takes its next lines.
    private mutating func lines(of current: inout OpenFile) throws(IngestError) -> LineBatch? {
        if current.ending == nil {
            // First the name, then the content: what is written before its name is given away is
            // read. Where the name cannot be looked up, what is open is read first.
            let successor = Result { () throws(IngestError) in
                current.isCopy ? 0 : try successorBytes(of: current)
            }
            let before = current.framer.readOffset
            let status = try read(&current)
            if current.ending == .emptied, try goOnInCopy(&current) {
                return try lines(of: &current)
            }
            if current.ending == nil {
                let batch = current.framer.takeBatch()
                let isAtEnd =
                    current.framer.readOffset >= status.size && !current.framer.hasCompleteLine
                if batch != nil || !isAtEnd {
                    backlogBytes =
                        isAtEnd ? 0 : max(0, status.size - current.framer.consumedOffset)
                    isIdle = batch == nil && current.framer.readOffset == before
                    return batch
                }
                let successorBytes = try successor.get()
                guard current.isCopy || isOver(&current, status, successorBytes) else {
                    backlogBytes = successorBytes
                    deletedAt = status.isDeleted ? status.touchedAt : nil
                    isCaughtUp = successorBytes == 0
                    isIdle = true
                    return nil
                }
                current.ending = .left
            }
        }
        let batch = current.framer.takeBatch(atEnd: true)
        backlogBytes = Int64(current.framer.pendingCount)
        return batch
    }

    /// How much the path's file holds, if that is another one; where it is empty or gone, what was rotated away before that.
    private func successorBytes(of current: OpenFile) throws(IngestError) -> Int64 {
        if let status = try Descriptor.lookUp(path) {
            guard FileIdentity(status) != FileIdentity(current.handle) else { return 0 }
            guard status.size == 0 else {
                return try neighbours?.unreadBytes(path, status) ?? status.size
            }
        }
        let left = LeftFile(current, status: try current.handle.descriptor.status(name: path))
        guard let rotated = try findRotated(after: left, before: nil) else { return 0 }
        return try rotated.handle.descriptor.status(name: path).size
    }

    /// Whether a file that was read to its end may be left.
    private func isOver(
        _ current: inout OpenFile, _ status: Descriptor.Status, _ successorBytes: Int64
    ) -> Bool {
        guard successorBytes > 0 else {
            current.quietSince = nil
            return false
        }
        let now = now()
        // A rename touches the file too, so the wait begins there at the earliest.
        if now - .nanoseconds(status.touchedAt) >= Self.leaveAfter { return true }
        // The clock may be set back.
        let since = min(current.quietSince ?? now, now)
        current.quietSince = since
        return now - since >= Self.leaveAfter
    }

    /// What is read after the end of a file: if it was emptied, the same one from its start.
    ///
    /// - Returns: `nil` if it is what the path leads to, or what was rotated away before that.
    private mutating func successor(of file: OpenFile) throws(IngestError) -> OpenFile? {
        lastHeader = file.framer.header ?? file.framer.inheritedHeader
        if file.ending == .emptied {
            left = nil
            return OpenFile(
                handle: file.handle, framer: framer(inheritedHeader: lastHeader),
                modifiedAt: file.modifiedAt)
        }
        let status = try file.handle.descriptor.status(name: path)
        if status.isDeleted { gone = FileIdentity(file.handle) }
        let left = LeftFile(file, status: status)
        self.left = left
        guard let emptied = file.emptied else { return nil }
        if var missed = try openRotated(after: left, before: emptied, lastHeader: lastHeader) {
            missed.emptied = emptied
            return missed
        }
        return OpenFile(
            handle: emptied, framer: framer(inheritedHeader: lastHeader),
            modifiedAt: left.modifiedAt)
    }

    private func position(in file: OpenFile) -> FilePosition {
        FilePosition(
            path: path, device: file.handle.device, inode: file.handle.inode, prefix: file.prefix,
            framer: file.framer, modifiedAt: file.modifiedAt)
    }

    mutating func framer(
        offset: Int64 = 0, lineNumber: Int64 = 0, header: [UInt8]? = nil,
        inheritedHeader: [UInt8]? = nil, tail: [UInt8] = []
    ) -> LineFramer {
        defer { nextInput += 1 }
        return LineFramer(
            format: format, limits: limits, input: nextInput, name: path, offset: offset,
            lineNumber: lineNumber, header: header, inheritedHeader: inheritedHeader,
            neededColumns: neededColumns(), tail: tail)
    }
}

// MARK: - Reading

extension FileFollower {
    /// Reads on, unless enough is held already; finds out whether the file was emptied.
    private func read(_ current: inout OpenFile) throws(IngestError) -> Descriptor.Status {
        let held = current.framer.pendingCount
        // Far from the end a whole batch is read at once: each is a transaction.
        let room = backlogBytes > readBytes ? max(readBytes, limits.readBytes) : readBytes
        let wanted = current.framer.hasCompleteLine ? room - held : room
        let offset = current.framer.readOffset
        let descriptor = current.handle.descriptor
        let chunk = wanted > 0 ? try descriptor.bytes(wanted, at: offset, name: path) : []
        // After the read: what passes the check now was not emptied before it was read.
        let status = try descriptor.status(name: path)
        let modifiedBefore = current.modifiedAt
        current.modifiedAt = status.changedAt
        let isShorter = status.size < offset + Int64(chunk.count)
        if isShorter || !chunk.isEmpty || status.changedAt != current.checkedAt {
            current.checkedAt = status.changedAt
            let isWhole = isShorter ? false : try holds(current.framer, of: current)
            guard isWhole else {
                if try !dropHalfLine(of: &current, size: status.size) {
                    current.ending = current.isCopy ? .left : .emptied
                }
                return status
            }
        }
        if !chunk.isEmpty { current.quietSince = nil }
        // What is read next is in the file, though it was not when it was written last before.
        if chunk.isEmpty, current.framer.readOffset == 0 { current.modifiedAt = modifiedBefore }
        if current.prefix.count < FilePosition.prefixLimit, Int64(current.prefix.count) == offset {
            current.prefix += chunk.prefix(FilePosition.prefixLimit - current.prefix.count)
        }
        chunk.withUnsafeBytes { current.framer.append($0) }
        return status
    }

    /// Whether the file's first bytes, and the last ones that were read, are still there.
    private func holds(_ framer: LineFramer, of file: OpenFile) throws(IngestError) -> Bool {
        let prefix = file.prefix.prefix(Int(min(framer.readOffset, Int64(file.prefix.count))))
        return try file.handle.descriptor.holds(
            prefix, recent: framer.recentBytes, before: framer.readOffset, name: path)
    }

    /// Goes back before a half line, if the file still holds everything up to there.
    private func dropHalfLine(
        of current: inout OpenFile, size: Int64
    ) throws(IngestError) -> Bool {
        var framer = current.framer
        framer.dropHalfLine()
        let offset = framer.readOffset
        guard offset > 0, offset < current.framer.readOffset, offset <= size,
            try holds(framer, of: current)
        else { return false }
        current.framer = framer
        if offset < Int64(current.prefix.count) { current.prefix.removeSubrange(Int(offset)...) }
        return true
    }

    /// Goes on in the copy of a file that was emptied, if there is one.
    private func goOnInCopy(_ current: inout OpenFile) throws(IngestError) -> Bool {
        // A file of which little was read is known again only by the name that a rotation gives to its copy.
        let isWellKnown = current.prefix.count >= Self.copyPrefixMinimum
        guard current.framer.lineNumber > 1 || isWellKnown else { return false }
        let handle = current.handle
        let consumed = current.framer.consumedOffset
        let copies: [(path: String, status: Descriptor.Status)]
        do throws(IngestError) {
            copies = try siblings { name, status in
                name.hasPrefix(base) && status.size >= consumed
                    && (isWellKnown || Self.isRotated(name, of: base))
                    && (status.device, status.inode) != (handle.device, handle.inode)
            }
        } catch {
            // A folder that may be passed through but not listed tells of no copy.
            guard error.isRefusal else { throw error }
            return false
        }
        for (name, status) in copies {
            guard let descriptor = try Self.openCopy(name) else { continue }
            var copy = current
            copy.handle = Handle(descriptor, status)
            copy.isCopy = true
            copy.emptied = handle
            copy.ending = nil
            if status.size >= copy.framer.readOffset, try holds(copy.framer, of: copy) {
                current = copy
                return true
            }
            // What is cut off before it is copied is in no copy.
            if try dropHalfLine(of: &copy, size: status.size),
                copy.prefix.count >= Self.copyPrefixMinimum
            {
                current = copy
                return true
            }
        }
        return false
    }
}
