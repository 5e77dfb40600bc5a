/// Where a stream's records come from.
public enum SourceConfiguration: Sendable, Hashable {
    /// A file, followed as it grows; with a pattern, all files that it matches.
    case file(String)
    /// A folder whose files are read once each.
    case directory(String)
    /// A Unix stream socket that the daemon opens.
    case socket(SocketConfiguration)
    /// A Unix datagram socket that the daemon opens.
    case datagram(String)
    /// A named pipe.
    case pipe(String)
    /// The daemon's standard input.
    case standardInput

    /// Whether it keeps what was not read.
    public var isFile: Bool {
        switch self {
        case .file, .directory: return true
        case .socket, .datagram, .pipe, .standardInput: return false
        }
    }

    /// The path, or what standard input is called.
    public var path: String {
        switch self {
        case .file(let path), .directory(let path), .datagram(let path), .pipe(let path):
            return path
        case .socket(let socket): return socket.path
        case .standardInput: return "standard input"
        }
    }

    /// The key that chooses it.
    public var kind: String {
        switch self {
        case .file: return "file"
        case .directory: return "directory"
        case .socket: return "socket"
        case .datagram: return "datagram"
        case .pipe: return "pipe"
        case .standardInput: return "stdin"
        }
    }

    /// The path of what the daemon opens for itself alone; such paths differ among streams.
    var ownPath: String? {
        switch self {
        case .socket(let socket): return socket.path
        case .datagram(let path), .pipe(let path), .directory(let path): return path
        case .standardInput: return path
        case .file: return nil
        }
    }
}

/// A Unix stream socket and how its clients are served.
public struct SocketConfiguration: Sendable, Hashable {
    /// What happens when clients send faster than records are taken.
    public enum Overflow: String, Sendable, Hashable, CaseIterable {
        /// They wait.
        case block
        /// What they send goes to disk, up to a limit; then they wait.
        case spill
        /// The lines that have waited longest are dropped and counted.
        case dropOldest = "drop_oldest"
    }

    /// The path of the socket.
    public var path: String
    /// Whether clients number their lines and hear what is committed.
    ///
    /// The default is no.
    public var acknowledge = false
    /// What happens when clients are ahead.
    ///
    /// The default is `block`.
    public var overflow = Overflow.block
    /// The most bytes that wait on disk.
    ///
    /// The default is 256 MiB.
    public var overflowBytes = 256 << 20

    /// A socket with the defaults.
    public init(path: String) { self.path = path }
}
