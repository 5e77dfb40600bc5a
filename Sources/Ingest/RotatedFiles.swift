/// What is known of a file that was read to its end, or that is gone.
struct LeftFile: Sendable {
    /// When it was written last, in epoch nanoseconds.
    let modifiedAt: Int64
    fileprivate let identity: FileIdentity?
    fileprivate let content: Content

    fileprivate enum Content {
        /// The file's first bytes, and those right before an offset.
        case read(prefix: [UInt8], recent: [UInt8], offset: Int64)
        /// A place behind which there may be more in a copy.
        case until(FilePosition)
        case nothing
    }

    /// A file that was read to its end.
    init(_ file: FileFollower.OpenFile, status: Descriptor.Status) {
        identity = FileIdentity(file.handle)
        modifiedAt = status.changedAt
        // A header alone is in every file.
        let hasRecords = file.framer.lineNumber > 1
        content =
            hasRecords
            ? .read(
                prefix: file.prefix, recent: file.framer.recentBytes,
                offset: file.framer.readOffset) : .nothing
    }

    /// The file of a position that is nowhere any more; `nil` if it is not known when it was written.
    init?(_ position: FilePosition) {
        guard let modifiedAt = position.modifiedAt else { return nil }
        self.modifiedAt = modifiedAt
        identity = nil
        content = position.offset > 0 ? .until(position) : .nothing
    }
}

/// Files that were rotated away after the one that was read last, and before the path is opened again.
///
/// A fast writer, or a reader that was away or behind, makes several rotations between two looks. A file belongs to
/// them if its name is the path's with a number or a date, as rotations give it, and it was written last after the one that
/// was read last. What was read before was written before. The files are read in the order of their last writes.
extension FileFollower {
    /// Opens the next file that was rotated away.
    ///
    /// - Parameters:
    ///   - left: The file that was read last.
    ///   - next: The file that is read if there is none.
    ///   - lastHeader: The header of the file before.
    mutating func openRotated(
        after left: LeftFile, before next: Handle?, lastHeader: [UInt8]?
    ) throws(IngestError) -> OpenFile? {
        guard let found = try findRotated(after: left, before: next) else { return nil }
        if let position = found.position {
            return try open(found.handle, at: position, isCopy: true)
        }
        return OpenFile(
            handle: found.handle, framer: framer(inheritedHeader: lastHeader),
            modifiedAt: left.modifiedAt)
    }

    /// The next file that was rotated away, and where to go on in it if that is not its start.
    func findRotated(
        after left: LeftFile, before next: Handle?
    ) throws(IngestError) -> (handle: Handle, position: FilePosition?)? {
        let base = base
        let folder = folder
        let known = [left.identity, next.map { FileIdentity($0) }]
        let candidates: [(path: String, status: Descriptor.Status)]
        do throws(IngestError) {
            candidates = try siblings { name, status in
                status.changedAt > left.modifiedAt && status.size > 0
                    && Self.isRotated(name, of: base) && !known.contains(FileIdentity(status))
                    && neighbours?.files.matches(folder + name) != true
            }
        } catch {
            // A folder that may be passed through but not listed tells of no rotation.
            guard error.isRefusal else { throw error }
            return nil
        }
        for (name, status) in candidates.sorted(by: { $0.status.changedAt < $1.status.changedAt }) {
            guard let descriptor = try Descriptor.open(name) else { continue }
            let handle = Handle(descriptor, status)
            switch left.content {
            case .read(let prefix, let recent, let offset)
            where try descriptor.holds(prefix[...], recent: recent, before: offset, name: name):
                // A copy of what was read.
                continue
            case .until(let position)
            where try position.isIn(descriptor, status: status, name: name):
                return (handle, position)
            case .read, .until, .nothing:
                return (handle, nil)
            }
        }
        return nil
    }

    /// Whether a rotation gives such a name: `pump.csv.1`, `pump.csv-20261124`, `pump-20261124.csv`.
    static func isRotated(_ name: String, of base: String) -> Bool {
        if name.hasPrefix(base) { return isNumbering(name.dropFirst(base.count), digits: 1) }
        // Between stem and extension only a date: `pump-2.csv` is another pump.
        guard let dot = base.lastIndex(of: "."), dot > base.startIndex else { return false }
        let (stem, ending) = (base[..<dot], base[dot...])
        guard name.hasPrefix(stem), name.hasSuffix(ending),
            name.count > stem.count + ending.count
        else { return false }
        return isNumbering(name.dropFirst(stem.count).dropLast(ending.count), digits: 8)
    }

    private static func isNumbering(_ text: Substring, digits: Int) -> Bool {
        guard let separator = text.first, "._-".contains(separator) else { return false }
        let count = text.count { $0.isASCII && $0.isNumber }
        return count >= digits
            && text.allSatisfy { ($0.isASCII && $0.isNumber) || "._-:+TZ".contains($0) }
    }
}
