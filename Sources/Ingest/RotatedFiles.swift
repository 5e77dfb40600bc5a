/// What is known of a file that was read to its end.
struct LeftFile: Sendable {
    let device: UInt64
    let inode: UInt64
    /// When it was written last, in epoch nanoseconds.
    let modifiedAt: Int64
    private let prefix: [UInt8]
    private let recent: [UInt8]
    private let readOffset: Int64
    private let hasRecords: Bool

    init(_ file: FileFollower.OpenFile, status: Descriptor.Status) {
        device = file.handle.device
        inode = file.handle.inode
        modifiedAt = status.changedAt
        prefix = file.prefix
        recent = file.framer.recentBytes
        readOffset = file.framer.readOffset
        hasRecords = file.framer.lineNumber > 1
    }

    /// Whether another file holds what this one held, so that it is a copy.
    fileprivate func isIn(_ descriptor: Descriptor, name: String) throws(IngestError) -> Bool {
        guard hasRecords else { return false }
        return try descriptor.holds(prefix[...], recent: recent, before: readOffset, name: name)
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
        let base = base
        let candidates: [(path: String, status: Descriptor.Status)]
        do throws(IngestError) {
            candidates = try siblings { name, status in
                status.changedAt > left.modifiedAt && status.size > 0
                    && Self.isRotated(name, of: base)
                    && (status.device, status.inode) != (left.device, left.inode)
                    && next.map { ($0.device, $0.inode) == (status.device, status.inode) } != true
            }
        } catch {
            // A folder that may be passed through but not listed tells of no rotation.
            guard error.isRefusal else { throw error }
            return nil
        }
        for (name, status) in candidates.sorted(by: { $0.status.changedAt < $1.status.changedAt }) {
            guard let descriptor = try Descriptor.open(name),
                try !left.isIn(descriptor, name: name)
            else { continue }
            return OpenFile(
                handle: Handle(descriptor, status), framer: framer(inheritedHeader: lastHeader))
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
