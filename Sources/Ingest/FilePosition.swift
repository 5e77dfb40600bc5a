import Glibc

/// A place in a followed file, and what is needed to know that file again.
///
/// A file is the same one if device and inode match, and its first `prefixLength` bytes together
/// with the last ones before `offset` hash to `prefixHash`: inodes are used again, and a file can
/// be emptied and written anew, under a header that is longer than what is hashed of the start.
public struct FilePosition: Sendable, Hashable, Codable {
    /// How many of a file's first bytes tell it from others, and how many before a position.
    static let prefixLimit = 1024

    /// The path that is followed.
    public var path: String
    /// The device that the file is on.
    public var device: UInt64
    /// The file's inode.
    public var inode: UInt64
    /// The 64-bit FNV-1a hash of the bytes that the file is known by, 16 hexadecimal digits.
    ///
    /// A space follows and the header that the file is read under, each byte as two digits; an equals sign before them if it is
    /// the file's own. Without one the file may have none, because it was emptied under a writer that went on.
    public var prefixHash: String
    /// How many of the first bytes are hashed: those before `offset`, at most 1024.
    ///
    /// Of the bytes behind them, the last ones before `offset` are hashed too, at most 1024;
    /// positions that were stored before this was so are accepted without.
    public var prefixLength: Int
    /// The offset of the first byte that is not consumed.
    public var offset: Int64
    /// How many lines lie before `offset`.
    public var lineNumber: Int64
    /// When the file had been written last, in epoch nanoseconds, as far as it was looked at; `nil` if that is not known.
    ///
    /// Files of the same name that were rotated away and written later were not read yet.
    public var modifiedAt: Int64?

    /// A position.
    public init(
        path: String, device: UInt64, inode: UInt64, prefixHash: String, prefixLength: Int,
        offset: Int64, lineNumber: Int64, modifiedAt: Int64? = nil
    ) {
        self.modifiedAt = modifiedAt
        self.path = path
        self.device = device
        self.inode = inode
        self.prefixHash = prefixHash
        self.prefixLength = prefixLength
        self.offset = offset
        self.lineNumber = lineNumber
    }
}

extension FilePosition {
    /// A position in a file that is open.
    ///
    /// - Parameters:
    ///   - path: The path that is followed.
    ///   - device: The device that the file is on.
    ///   - inode: The file's inode.
    ///   - prefix: The file's first bytes, all or at least 1024 of those before the position.
    ///   - framer: What was read of the file, and how far it is consumed.
    ///   - modifiedAt: When the file had been written last, in epoch nanoseconds.
    init(
        path: String, device: UInt64, inode: UInt64, prefix: [UInt8], framer: LineFramer,
        modifiedAt: Int64?
    ) {
        let offset = framer.consumedOffset
        let first = prefix.prefix(Int(min(offset, Int64(Self.prefixLimit))))
        let last = framer.tail.suffix(Self.tailLength(offset: offset, prefixLength: first.count))
        let header =
            framer.inheritedHeader.map { " " + Self.hexadecimal($0) }
            ?? framer.header.map { " " + Self.ownMark + Self.hexadecimal($0) } ?? ""
        self.init(
            path: path, device: device, inode: inode,
            prefixHash: Self.hash(Array(first) + last) + header, prefixLength: first.count,
            offset: offset, lineNumber: framer.lineNumber, modifiedAt: modifiedAt)
    }

    /// What stands before a file's own header.
    private static let ownMark = "="

    /// The header that the file is read under if it has none of its own.
    var inheritedHeader: [UInt8]? {
        headerText.flatMap { $0.hasPrefix(Self.ownMark) ? nil : Self.bytes($0) }
    }

    /// The header that the file is read under, its own or another's; `nil` in a position of an earlier build under its own.
    var header: [UInt8]? {
        headerText.flatMap { Self.bytes($0.hasPrefix(Self.ownMark) ? $0.dropFirst() : $0) }
    }

    private var headerText: Substring? {
        let parts = prefixHash.split(separator: " ")
        return parts.count == 2 ? parts[1] : nil
    }

    private static func bytes(_ hexadecimal: Substring) -> [UInt8]? {
        let digits = hexadecimal.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digits[index], let low = digits[index + 1] else { return nil }
            bytes.append(UInt8(16 * high + low))
        }
        return bytes
    }

    /// Whether a file is the one of the position, by its content.
    func isIn(
        _ descriptor: Descriptor, status: Descriptor.Status, name: String
    ) throws(IngestError) -> Bool {
        guard offset >= 0, status.size >= offset,
            (0...Self.prefixLimit).contains(prefixLength), prefixLength <= offset
        else { return false }
        let first = try descriptor.bytes(prefixLength, at: 0, name: name)
        let length = Self.tailLength(offset: offset, prefixLength: prefixLength)
        let last = try descriptor.bytes(length, at: offset - Int64(length), name: name)
        guard first.count == prefixLength, last.count == length else { return false }
        let found = prefixHash.prefix { $0 != " " }
        guard found == Self.hash(first + last) || found == Self.hash(first) else { return false }
        guard offset > 0, offset < status.size else { return true }
        return try descriptor.bytes(1, at: offset - 1, name: name) == [0x0A]
    }

    /// How many bytes before the offset are hashed, besides the prefix.
    private static func tailLength(offset: Int64, prefixLength: Int) -> Int {
        Int(min(Int64(LineFramer.tailLimit), offset - Int64(prefixLength)))
    }

    private static func hash(_ bytes: [UInt8]) -> String {
        let digits = String(fnv1a(bytes), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

extension FilePosition {
    /// The path that the file has now: the one that is followed, or another one in its folder; `nil` if it has none there.
    public var currentPath: String? {
        func isHere(_ path: String) -> Bool {
            Descriptor.status(path: path).map { FileIdentity($0) == FileIdentity(self) } ?? false
        }
        if isHere(path) { return path }
        let folder = FileFollower.folder(of: path)
        let names = (try? Descriptor.names(in: folder)) ?? []
        return names.lazy.map { folder + $0 }.first(where: isHere)
    }
}

extension [FilePosition] {
    /// Where to go on in a file: where its path was read last, or the file itself under another name.
    public func place(in path: String) -> FilePosition? {
        if let newest = last(where: { $0.path == path }) { return newest }
        guard let descriptor = try? Descriptor.open(path),
            let status = try? descriptor.status(name: path),
            var known = last(where: { FileIdentity($0) == FileIdentity(status) }),
            (try? known.isIn(descriptor, status: status, name: path)) == true
        else { return nil }
        known.path = path
        return known
    }
}
