import Glibc

/// A folder whose files are read once each, in the order of their names; stepped without waiting.
///
/// A file is taken once it has been quiet for `settleTime`; names that begin with a dot or end in `.tmp`, `.part` or `~`
/// are left alone. When its last batch is committed it is moved to `done`, or to `failed` if it could not be read or held
/// no record. A crash in between leaves it where it is, with a position at its end: it is moved then, and not read again.
struct SpoolDirectory {
    /// How long a file must not have changed before it is read.
    static let settleTime = Duration.seconds(1)
    private static let readBytes = 256 << 10
    /// Files of one name in `done`, apart by a number at their ends.
    private static let mostNamesakes = 10_000

    let folder: String
    private let format: FormatOptions
    private let limits: BatchLimits
    private let now: @Sendable () -> Duration
    private var resume: FilePosition?
    private var reading: Reading?
    private var nextInput = 1

    private(set) var backlogBytes: Int64 = 0
    /// Whether nothing is due before something happens.
    private(set) var isIdle = false
    /// Whether files are there that are not quiet yet.
    private(set) var isWaiting = false
    private(set) var failedCount = 0

    private struct Reading {
        let path: String
        let handle: FileFollower.Handle
        var framer: LineFramer
        var prefix: [UInt8]
        /// Records and lines that were none, since this process began the file; `nil` if it did not.
        var recordCount: Int?
        var faultCount = 0
        var isAtEnd = false
    }

    init(
        folder: String, format: FormatOptions, resume: FilePosition?, limits: BatchLimits,
        now: @escaping @Sendable () -> Duration = FileFollower.systemTime
    ) {
        self.folder = folder
        self.format = format
        self.resume = resume
        self.limits = limits
        self.now = now
    }

    // MARK: Reading

    /// Gives the next lines of the file that is read, or of the next one.
    mutating func step() throws(IngestError) -> LineBatch? {
        isIdle = false
        while true {
            if reading == nil { try openNext() }
            guard var current = reading.take() else {
                isIdle = true
                return nil
            }
            do throws(IngestError) {
                let batch = try lines(of: &current)
                reading = current
                if let batch { return batch }
            } catch {
                resume = position(in: current)
                throw error
            }
        }
    }

    private mutating func lines(of current: inout Reading) throws(IngestError) -> LineBatch? {
        if current.isAtEnd {
            // Its last batch was given, and the process that was to commit it was not there to do so.
            guard let batch = current.framer.takeBatch(atEnd: true) else { return nil }
            return finished(batch, of: current)
        }
        while !current.framer.hasCompleteLine || current.framer.pendingCount < Self.readBytes {
            let offset = current.framer.readOffset
            let chunk = try current.handle.descriptor.bytes(
                Self.readBytes, at: offset, name: current.path)
            if chunk.isEmpty {
                current.isAtEnd = true
                break
            }
            if current.prefix.count < FilePosition.prefixLimit,
                Int64(current.prefix.count) == offset
            {
                current.prefix += chunk.prefix(FilePosition.prefixLimit - current.prefix.count)
            }
            chunk.withUnsafeBytes { current.framer.append($0) }
            if current.framer.hasCompleteLine { break }
        }
        guard let batch = current.framer.takeBatch(atEnd: current.isAtEnd) else { return nil }
        let size = try current.handle.descriptor.status(name: current.path).size
        backlogBytes = max(0, size - current.framer.consumedOffset)
        return finished(batch, of: current)
    }

    private func finished(_ batch: LineBatch, of current: Reading) -> LineBatch {
        var batch = batch
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
        isWaiting = false
        backlogBytes = 0
        guard let status = Descriptor.status(path: folder) else {
            throw .noSuchFile(path: folder)
        }
        guard status.kind == S_IFDIR else {
            throw .notAFolder(path: folder, found: status.kindText)
        }
        for name in try Descriptor.names(in: folder).sorted() where Self.isComplete(name) {
            let path = folder + "/" + name
            guard let status = Descriptor.status(path: path), status.isRegular else { continue }
            backlogBytes += status.size
            if let resume, resume.path == path { return try goOn(at: resume) }
            guard now() - .nanoseconds(status.changedAt) >= Self.settleTime else {
                isWaiting = true
                continue
            }
            guard reading == nil, let descriptor = try Descriptor.open(path) else { continue }
            reading = Reading(
                path: path, handle: FileFollower.Handle(descriptor, status),
                framer: framer(path), prefix: [], recordCount: 0)
            return
        }
    }

    /// Goes on in a file that was begun before; one that was replaced since is read from its start.
    private mutating func goOn(at position: FilePosition) throws(IngestError) {
        guard let descriptor = try Descriptor.open(position.path) else { return }
        let status = try descriptor.status(name: position.path)
        let handle = FileFollower.Handle(descriptor, status)
        guard FileIdentity(status) == FileIdentity(position),
            try position.isIn(descriptor, status: status, name: position.path)
        else {
            resume = nil
            reading = Reading(
                path: position.path, handle: handle, framer: framer(position.path), prefix: [],
                recordCount: 0)
            return
        }
        guard position.offset < status.size else {
            try move(position.path, to: "done")
            resume = nil
            return
        }
        resume = nil
        var reader = FileFollower(path: position.path, format: format, limits: limits)
        let opened = try reader.open(handle, at: position)
        reading = Reading(
            path: position.path, handle: handle,
            framer: framer(
                position.path, offset: position.offset, lineNumber: position.lineNumber,
                header: opened.framer.header, tail: opened.framer.tail),
            prefix: opened.prefix, recordCount: nil)
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
    mutating func didCommit(_ batch: LineBatch, faultCount: Int) throws(IngestError) {
        guard var current = reading, batch.inputName == current.path else { return }
        current.recordCount? += batch.lines.count - faultCount
        current.faultCount += faultCount
        reading = batch.isLast ? nil : current
        guard batch.isLast else { return }
        resume = position(in: current)
        let isEmpty = current.recordCount == 0 && current.faultCount > 0
        try move(current.path, to: isEmpty ? "failed" : "done")
        if isEmpty { failedCount += 1 }
        resume = nil
    }

    /// Moves the file that is read to `failed`.
    mutating func fail() throws(IngestError) {
        guard let current = reading.take() else { return }
        failedCount += 1
        try move(current.path, to: "failed")
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
