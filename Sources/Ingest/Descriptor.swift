import Glibc

/// A file descriptor that is closed with its last owner, and the calls on it.
final class Descriptor: Sendable {
    let number: Int32

    private init(number: Int32) {
        self.number = number
    }

    deinit {
        close(number)
    }

    /// A descriptor of one's own for what another one leads to.
    static func duplicate(_ original: Int32, name: String) throws(IngestError) -> Descriptor {
        let number = fcntl(original, F_DUPFD_CLOEXEC, 0)
        guard number >= 0 else { throw .cannotOpen(path: name, errno: errno) }
        return Descriptor(number: number)
    }

    /// Takes over a descriptor that is open.
    static func owning(_ number: Int32) -> Descriptor { Descriptor(number: number) }

    /// What there is to know of a file.
    struct Status: Sendable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        /// When its content was last changed, in epoch nanoseconds.
        var changedAt: Int64
        /// When its content or its name was last changed, in epoch nanoseconds.
        var touchedAt: Int64
        var kind: UInt32
        /// Whether no name leads to it any more.
        var isDeleted: Bool

        var isRegular: Bool { kind == S_IFREG }

        fileprivate init(_ info: stat) {
            device = UInt64(info.st_dev)
            inode = UInt64(info.st_ino)
            size = Int64(info.st_size)
            changedAt = Self.nanoseconds(info.st_mtim)
            touchedAt = Self.nanoseconds(info.st_ctim)
            kind = info.st_mode & S_IFMT
            isDeleted = info.st_nlink == 0
        }

        private static func nanoseconds(_ time: timespec) -> Int64 {
            Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
        }

        /// What the file is, in words.
        var kindText: String {
            switch kind {
            case S_IFREG: "a regular file"
            case S_IFDIR: "a directory"
            case S_IFIFO: "a named pipe"
            case S_IFSOCK: "a socket"
            case S_IFCHR, S_IFBLK: "a device"
            default: "something else"
            }
        }
    }

    /// Opens a file for reading, a pipe without waiting for a writer.
    ///
    /// - Returns: `nil` if there is none.
    /// - Throws: `cannotOpen`, also when too few descriptors would be left.
    static func open(_ path: String) throws(IngestError) -> Descriptor? {
        let number = retrying { Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        if number >= 0 {
            let opened = Descriptor(number: number)
            guard DescriptorReserve.files.allows(number) else {
                throw .cannotOpen(path: path, errno: EMFILE)
            }
            return opened
        }
        // A socket cannot be opened at all; what it is says more than the error number.
        if errno == ENXIO, let found = status(path: path) {
            throw .notARegularFile(path: path, found: found.kindText)
        }
        guard errno == ENOENT else { throw .cannotOpen(path: path, errno: errno) }
        return nil
    }

    /// An inotify instance; `nil` if the system gives none.
    static func inotify() -> Descriptor? {
        let number = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        return number < 0 ? nil : Descriptor(number: number)
    }

    func status(name: String) throws(IngestError) -> Status {
        var info = stat()
        guard fstat(number, &info) == 0 else { throw .cannotRead(input: name, errno: errno) }
        return Status(info)
    }

    /// The status of what a path leads to; `nil` if it leads nowhere or cannot be asked.
    ///
    /// - Parameters:
    ///   - path: The path.
    ///   - followsLinks: Whether that of a symbolic link is its target's.
    static func status(path: String, followsLinks: Bool = true) -> Status? {
        try? lookUp(path, followsLinks: followsLinks)
    }

    /// The status of what a path leads to; `nil` if it leads nowhere.
    ///
    /// - Parameters:
    ///   - path: The path.
    ///   - followsLinks: Whether that of a symbolic link is its target's.
    /// - Throws: `cannotOpen` if that cannot be told, as in a folder that may not be passed through.
    static func lookUp(_ path: String, followsLinks: Bool = true) throws(IngestError) -> Status? {
        var info = stat()
        if (followsLinks ? stat(path, &info) : lstat(path, &info)) == 0 { return Status(info) }
        guard errno == ENOENT || errno == ENOTDIR else {
            throw .cannotOpen(path: path, errno: errno)
        }
        return nil
    }

    /// Whether it is certain that a path leads nowhere.
    static func isMissing(_ path: String) -> Bool {
        do throws(IngestError) {
            return try lookUp(path) == nil
        } catch {
            return false
        }
    }

    /// The names in a folder; none if there is no folder.
    static func names(in folder: String) throws(IngestError) -> [String] {
        guard let stream = opendir(folder) else {
            guard errno == ENOENT else { throw .cannotOpen(path: folder, errno: errno) }
            return []
        }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw .cannotRead(input: folder, errno: errno) }
        return names
    }

    /// The kind of file system that a device holds, such as `ext4`; `nil` if it is not mounted here.
    ///
    /// From `/proc/self/mountinfo`: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    static func fileSystem(ofDevice device: UInt64) -> String? {
        guard let file = try? open("/proc/self/mountinfo"),
            let bytes = try? file.bytes(1 << 20, at: 0, name: "mountinfo")
        else { return nil }
        // As <sys/sysmacros.h> takes it apart, which Glibc's module leaves out.
        let major = ((device >> 8) & 0xFFF) | ((device >> 32) & ~0xFFF)
        let minor = (device & 0xFF) | ((device >> 12) & ~0xFF)
        let number = "\(major):\(minor)"
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 2, fields[2] == number,
                let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count
            else { continue }
            return String(fields[dash + 1])
        }
        return nil
    }

    /// Reads from an offset; less than asked for only at the end of the file.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, name: String
    ) throws(IngestError) -> Int {
        var count = 0
        while count < buffer.count {
            let got = retrying {
                pread(
                    number, buffer.baseAddress.map { $0 + count }, buffer.count - count,
                    off_t(offset) + count)
            }
            if got == 0 { break }
            guard got > 0 else { throw .cannotRead(input: name, errno: errno) }
            count += got
        }
        return count
    }

    /// At most `count` bytes from an offset.
    func bytes(_ count: Int, at offset: Int64, name: String) throws(IngestError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var failure: IngestError?
        var length = 0
        bytes.withUnsafeMutableBytes { buffer in
            do throws(IngestError) {
                length = try read(into: buffer, at: offset, name: name)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        bytes.removeSubrange(length...)
        return bytes
    }

    /// Whether the file begins with some bytes and has others right before an offset.
    func holds(
        _ prefix: ArraySlice<UInt8>, recent: [UInt8], before offset: Int64, name: String
    ) throws(IngestError) -> Bool {
        guard try bytes(prefix.count, at: 0, name: name).elementsEqual(prefix) else { return false }
        return try bytes(recent.count, at: offset - Int64(recent.count), name: name) == recent
    }
}

/// Repeats a call that a signal broke off.
func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// The 64-bit FNV-1a hash of bytes.
func fnv1a(_ bytes: some Sequence<UInt8>) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
