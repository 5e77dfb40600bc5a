import Glibc

/// The state of a followed file, stepped without waiting: `FileSource` adds the waiting.
///
/// The file is followed through its descriptor, not its name. When the name leads to another file
/// that is not empty, the old one is read to its end and left. When the file becomes shorter than
/// what was read, or its first bytes change, it was emptied and written anew, and is read from
/// its start as a new input. A line that has no end yet is held back until it has, or until its
/// file is left.
///
/// - Note: What is written and then truncated between two looks is gone; so is a file that
///   appears and is rotated away between two looks.
package struct FileFollower: Sendable {
    /// How many of a file's first bytes tell it from others.
    static let prefixLimit = 1024
    /// The fewest first bytes by which alone a copy of the file is known again.
    static let copyPrefixMinimum = 256

    private let path: String
    private let format: FormatOptions
    private let limits: BatchLimits
    private let readBytes: Int
    private var resume: FilePosition?
    private var hasLookedForRemains = false
    private var file: OpenFile?
    private var nextInput = 1

    /// How many bytes are there and not delivered, at the last look.
    package private(set) var backlogBytes: Int64 = 0
    /// Whether the last look found nothing to deliver.
    package private(set) var isCaughtUp = false

    /// One incarnation of the file.
    private struct OpenFile: Sendable {
        let descriptor: Descriptor
        let device: UInt64
        let inode: UInt64
        /// A copy that was made before the file was emptied: it never grows again.
        let isCopy: Bool
        var framer: LineFramer
        /// The file's first bytes as they were read.
        var prefix: [UInt8]
        var checkedAt: Int64 = 0
        var ending: Ending?
    }

    private enum Ending {
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
    ///   - readBytes: How much is read at once.
    package init(
        path: String, format: FormatOptions, resume: FilePosition? = nil,
        limits: BatchLimits = .init(), readBytes: Int = 256 << 10
    ) {
        self.path = path
        self.format = format
        self.resume = resume
        self.limits = limits
        self.readBytes = readBytes
    }

    /// Looks at the file, and gives the next lines that are complete.
    ///
    /// - Returns: `nil` if there are none now.
    package mutating func step() throws(IngestError) -> LineBatch? {
        do throws(IngestError) {
            return try look()
        } catch {
            // Whatever made it unreadable: open it anew the next time, where this one stopped.
            if let file { resume = position(in: file) }
            file = nil
            hasLookedForRemains = false
            isCaughtUp = false
            throw error
        }
    }

    private mutating func look() throws(IngestError) -> LineBatch? {
        isCaughtUp = false
        if file == nil { file = try openFile() }
        guard var current = file else {
            backlogBytes = 0
            isCaughtUp = true
            return nil
        }
        file = nil
        if current.ending != nil { return finish(current) }
        // First the name, then the content: what is written before its name is given away is read.
        let isLeft = current.isCopy || hasSuccessor(current)
        let size = try read(&current)
        if current.ending != nil { return finish(current) }
        let batch = deliver(current.framer.takeBatch(), from: current)
        let isAtEnd = current.framer.readOffset >= size && !current.framer.hasCompleteLine
        if batch == nil, isAtEnd, isLeft {
            current.ending = .left
            return finish(current)
        }
        backlogBytes = isAtEnd ? 0 : max(0, size - current.framer.consumedOffset)
        isCaughtUp = batch == nil && isAtEnd
        file = current
        return batch
    }

    /// Whether the path leads to another file, and that one has content.
    private func hasSuccessor(_ current: OpenFile) -> Bool {
        guard let status = Descriptor.status(path: path) else { return false }
        return (status.device, status.inode) != (current.device, current.inode)
            && status.size > 0
    }

    /// Reads on, unless enough is held already; finds out whether the file was emptied.
    ///
    /// - Returns: The size of the file.
    private func read(_ current: inout OpenFile) throws(IngestError) -> Int64 {
        let held = current.framer.pendingCount
        let wanted = current.framer.hasCompleteLine ? readBytes - held : readBytes
        let offset = current.framer.readOffset
        let chunk =
            wanted > 0 ? try current.descriptor.bytes(wanted, at: offset, name: path) : []
        // After the read: what passes the check now was not emptied before it was read.
        let status = try current.descriptor.status(name: path)
        if status.size < offset + Int64(chunk.count) {
            current.ending = .emptied
        } else if !current.prefix.isEmpty, !chunk.isEmpty || status.changedAt != current.checkedAt {
            let prefix = try current.descriptor.bytes(current.prefix.count, at: 0, name: path)
            if prefix != current.prefix { current.ending = .emptied }
            current.checkedAt = status.changedAt
        }
        guard current.ending == nil else { return status.size }
        if current.prefix.count < Self.prefixLimit, Int64(current.prefix.count) == offset {
            current.prefix += chunk.prefix(Self.prefixLimit - current.prefix.count)
        }
        chunk.withUnsafeBytes { current.framer.append($0) }
        return status.size
    }

    /// Delivers what is held of a file that is left, and goes on to the next one.
    private mutating func finish(_ file: OpenFile) -> LineBatch? {
        var file = file
        var batch = file.framer.takeBatch(atEnd: true)
        backlogBytes = Int64(file.framer.pendingCount)
        guard batch?.isLast == true else {
            self.file = file
            return deliver(batch, from: file)
        }
        if file.ending == .emptied {
            let next = OpenFile(
                descriptor: file.descriptor, device: file.device, inode: file.inode, isCopy: false,
                framer: framer(), prefix: [])
            batch?.resume = position(in: next)
            self.file = next
            return batch
        }
        return deliver(batch, from: file)
    }

    private func deliver(_ batch: LineBatch?, from file: OpenFile) -> LineBatch? {
        var batch = batch
        batch?.resume = position(in: file)
        return batch
    }

    private func position(in file: OpenFile) -> FilePosition {
        let offset = file.framer.consumedOffset
        let prefix = file.prefix.prefix(Int(min(offset, Int64(Self.prefixLimit))))
        return FilePosition(
            path: path, device: file.device, inode: file.inode, prefixHash: Self.hash(prefix),
            prefixLength: prefix.count, offset: offset, lineNumber: file.framer.lineNumber)
    }

    private static func hash(_ prefix: some Sequence<UInt8>) -> String {
        let digits = String(fnv1a(prefix), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private mutating func framer(
        offset: Int64 = 0, lineNumber: Int64 = 0, header: [UInt8]? = nil
    ) -> LineFramer {
        defer { nextInput += 1 }
        return LineFramer(
            format: format, limits: limits, input: nextInput, name: path, offset: offset,
            lineNumber: lineNumber, header: header)
    }
}

// MARK: - Opening

extension FileFollower {
    /// Opens the file to read next: what is left of the one that `resume` knows, else the path.
    private mutating func openFile() throws(IngestError) -> OpenFile? {
        let descriptor = try Descriptor.open(path)
        var status: Descriptor.Status?
        if let descriptor {
            let found = try descriptor.status(name: path)
            guard found.isRegular else {
                throw .notARegularFile(path: path, found: found.kindText)
            }
            status = found
        }
        if let resume {
            let isSameInode = status.map { ($0.device, $0.inode) == (resume.device, resume.inode) }
            if let descriptor, let status, isSameInode == true,
                try Self.continues(resume, in: descriptor, status: status, name: path)
            {
                self.resume = nil
                return try open(descriptor, status, at: resume, isCopy: false)
            }
            if !hasLookedForRemains {
                hasLookedForRemains = true
                if let remains = try openRemains(of: resume, acceptsCopies: isSameInode == true) {
                    self.resume = nil
                    return remains
                }
            }
        }
        guard let descriptor, let status else { return nil }
        resume = nil
        return OpenFile(
            descriptor: descriptor, device: status.device, inode: status.inode, isCopy: false,
            framer: framer(), prefix: [])
    }

    private mutating func open(
        _ descriptor: Descriptor, _ status: Descriptor.Status, at position: FilePosition,
        isCopy: Bool
    ) throws(IngestError) -> OpenFile {
        let prefix = try descriptor.bytes(
            Int(min(position.offset, Int64(Self.prefixLimit))), at: 0, name: path)
        let header = try readHeader(descriptor, before: position.offset)
        return OpenFile(
            descriptor: descriptor, device: status.device, inode: status.inode, isCopy: isCopy,
            framer: framer(
                offset: position.offset, lineNumber: position.lineNumber, header: header),
            prefix: prefix)
    }

    /// Whether a file is the one of a position, by its first bytes and the line's end there.
    private static func continues(
        _ position: FilePosition, in descriptor: Descriptor, status: Descriptor.Status, name: String
    ) throws(IngestError) -> Bool {
        guard position.offset >= 0, status.size >= position.offset,
            (0...prefixLimit).contains(position.prefixLength)
        else { return false }
        let prefix = try descriptor.bytes(position.prefixLength, at: 0, name: name)
        guard prefix.count == position.prefixLength, hash(prefix) == position.prefixHash else {
            return false
        }
        guard position.offset > 0, position.offset < status.size else { return true }
        return try descriptor.bytes(1, at: position.offset - 1, name: name) == [0x0A]
    }

    /// The header line, which lies before the offset that reading goes on at.
    private func readHeader(
        _ descriptor: Descriptor, before offset: Int64
    ) throws(IngestError) -> [UInt8]? {
        guard format.format == .csv, format.columns == nil else { return nil }
        var reader = LineFramer(
            format: format, limits: .init(lines: 1, bytes: 1), input: 0, name: path)
        while reader.header == nil, reader.readOffset < offset {
            let count = Int(min(64 << 10, offset - reader.readOffset))
            let chunk = try descriptor.bytes(count, at: reader.readOffset, name: path)
            guard !chunk.isEmpty else { return nil }
            chunk.withUnsafeBytes { reader.append($0) }
            if let batch = reader.takeBatch(), batch.header != nil { return batch.header }
        }
        return reader.header
    }

    /// What is left of the file of a position: by its inode under another name, or, if the file
    /// was emptied in place, a copy that begins with the same bytes.
    private mutating func openRemains(
        of position: FilePosition, acceptsCopies: Bool
    ) throws(IngestError) -> OpenFile? {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { String(path[...$0]) } ?? "./"
        let base = slash.map { String(path[path.index(after: $0)...]) } ?? path
        // The fewer bytes there are to know the file by, the more its name has to say: inodes are
        // used again, and logs of one kind begin with the same header.
        let isWellKnown = position.prefixLength >= Self.copyPrefixMinimum
        let stem = position.prefixLength == 0 ? base : String(base.prefix { $0 != "." })
        for name in Self.names(in: folder) where name != base {
            let other = folder + name
            guard let status = Descriptor.status(path: other, followsLinks: false),
                status.isRegular
            else { continue }
            let isMoved = (status.device, status.inode) == (position.device, position.inode)
            let isAcceptable =
                isMoved
                ? isWellKnown || name.hasPrefix(stem)
                : isWellKnown && acceptsCopies && name.hasPrefix(base)
            guard isAcceptable else { continue }
            guard let descriptor = try? Descriptor.open(other),
                try Self.continues(position, in: descriptor, status: status, name: other)
            else { continue }
            return try open(descriptor, status, at: position, isCopy: !isMoved)
        }
        return nil
    }

    /// The names in a folder, sorted; none if it cannot be read.
    private static func names(in folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
