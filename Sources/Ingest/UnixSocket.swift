import Glibc

/// Unix sockets by their paths.
package enum UnixSocket {
    /// What kind of socket.
    package enum Kind {
        case stream
        case datagram

        fileprivate var number: Int32 {
            let kind = self == .stream ? SOCK_STREAM : SOCK_DGRAM
            return Int32(kind.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        }
    }

    /// The longest path that fits into an address.
    package static let pathLimit = 107

    /// A bound socket, which is never open to more than `mode` says.
    ///
    /// A socket that nobody uses any more is replaced.
    static func bind(_ path: String, _ kind: Kind, mode: UInt16) throws(IngestError) -> Int32 {
        try makeWay(path, kind)
        let number = socket(AF_UNIX, kind.number, 0)
        guard number >= 0 else { throw .cannotListen(path: path, errno: errno) }
        // Linux makes the file with the mode of the descriptor, less the umask; chmod then gives
        // back what the umask took.
        guard fchmod(number, mode_t(mode)) == 0,
            withAddress(path, { Glibc.bind(number, $0, $1) }) == 0,
            chmod(path, mode_t(mode)) == 0
        else {
            let reason = errno
            close(number)
            throw .cannotListen(path: path, errno: reason)
        }
        return number
    }

    /// Removes a socket if it is still the one that was made.
    static func remove(_ path: String, inode: UInt64?) {
        let status = Descriptor.status(path: path, followsLinks: false)
        if status?.kind == S_IFSOCK, status?.inode == inode { unlink(path) }
    }

    /// The inode of the socket at a path.
    static func inode(_ path: String) -> UInt64? {
        Descriptor.status(path: path, followsLinks: false)?.inode
    }

    /// Removes a socket that nobody listens on; throws if the path is in other use.
    package static func makeWay(_ path: String, _ kind: Kind) throws(IngestError) {
        guard path.utf8.count <= pathLimit else {
            throw .socketPathTooLong(path: path, bytes: path.utf8.count, limit: pathLimit)
        }
        guard let found = Descriptor.status(path: path, followsLinks: false) else { return }
        guard found.kind == S_IFSOCK else {
            throw .socketPathOccupied(path: path, found: found.kindText)
        }
        // Without waiting: a listener whose queue is full answers that it is busy, so it is there.
        let probe = socket(AF_UNIX, kind.number, 0)
        guard probe >= 0 else { throw .cannotListen(path: path, errno: errno) }
        defer { close(probe) }
        guard withAddress(path, { connect(probe, $0, $1) }) != 0, errno != EAGAIN,
            errno != EPROTOTYPE
        else {
            throw .socketInUse(path: path)
        }
        guard errno == ECONNREFUSED, unlink(path) == 0 || errno == ENOENT else {
            throw .cannotListen(path: path, errno: errno)
        }
    }

    private static func withAddress<Result>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
