import Foundation
import Ingest

/// Tells systemd how the service is, as `sd_notify` does; without `NOTIFY_SOCKET` every call does nothing.
struct SystemdNotifier: Sendable {
    private let socketPath: String?
    /// Half the time after which systemd restarts a silent service; `nil` without a watchdog.
    let watchdogInterval: Duration?

    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        socketPath = environment["NOTIFY_SOCKET"]
        let isForUs = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
        watchdogInterval =
            isForUs && microseconds > 0 && socketPath != nil ? .microseconds(microseconds / 2) : nil
    }

    /// The service accepts work.
    func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }

    /// A line about the service for `systemctl status`.
    func status(_ status: String) { send("STATUS=\(status)") }

    /// The service reads its configuration again; `ready` ends that.
    ///
    /// Type=notify-reload waits for the time stamp.
    func reloading() {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let microseconds = Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
        send("RELOADING=1\nMONOTONIC_USEC=\(microseconds)")
    }

    /// The service stops.
    func stopping() { send("STOPPING=1") }

    /// The service is alive.
    func watchdog() { send("WATCHDOG=1") }

    private func send(_ message: String) {
        guard let socketPath, var address = UnixAddress(path: socketPath, allowsAbstract: true)
        else { return }
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = Array(message.utf8)
        _ = address.withPointer { pointer, length in
            sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), pointer, length)
        }
    }
}

/// The address of a Unix socket.
struct UnixAddress {
    private var address = sockaddr_un()
    private var length: socklen_t

    /// `nil` when the path does not fit; a leading `@` names an abstract socket where these are allowed.
    init?(path: String, allowsAbstract: Bool = false) {
        var bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count <= UnixSocket.pathLimit else { return nil }
        if allowsAbstract, bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let isAbstract = bytes[0] == 0
        length = socklen_t(
            MemoryLayout<sa_family_t>.size + bytes.count + (isAbstract ? 0 : 1))
    }

    /// Lends the address as the system calls want it.
    mutating func withPointer<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        let length = length
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
