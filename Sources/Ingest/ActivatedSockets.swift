import Foundation

/// Sockets and named pipes that systemd has opened and handed over, by their paths.
///
/// A unit with `ListenStream=`, `ListenDatagram=` or `ListenFIFO=` opens them before the daemon starts: senders find them at
/// once, and lose nothing while it restarts.
public struct ActivatedSockets: Sendable {
    private let descriptors: [String: Int32]

    /// What was handed over to this process.
    ///
    /// - Parameter environment: `LISTEN_PID` and `LISTEN_FDS`, as sd_listen_fds(3) says.
    public init(environment: [String: String]) {
        guard environment["LISTEN_PID"] == String(getpid()),
            let count = environment["LISTEN_FDS"].flatMap({ Int32($0) }), count > 0
        else {
            descriptors = [:]
            return
        }
        var found: [String: Int32] = [:]
        for number in 3..<(3 + min(count, 1_024)) {
            _ = fcntl(number, F_SETFD, FD_CLOEXEC)
            _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK)
            if let path = Self.path(of: number) { found[path] = number }
        }
        descriptors = found
    }

    /// None.
    public init() { descriptors = [:] }

    /// The descriptor of a path; it stays open for the next one that asks.
    public func descriptor(at path: String) -> Int32? { descriptors[path] }

    private static func path(of number: Int32) -> String? {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(number, $0, &length)
            }
        }
        guard result == 0 else {
            // No socket: a pipe has a name in the file system.
            return try? FileManager.default.destinationOfSymbolicLink(
                atPath: "/proc/self/fd/\(number)")
        }
        guard address.sun_family == sa_family_t(AF_UNIX) else { return nil }
        return withUnsafeBytes(of: &address.sun_path) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
