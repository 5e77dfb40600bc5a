import Glibc

/// How many file descriptors are left to others when one more is taken.
///
/// A process without any is worse off than one whose clients wait: the database cannot open a file, no control client is heard,
/// and libdispatch, which reads `/proc` to see how its threads do, ends the process.
package enum DescriptorReserve: UInt {
    /// What the database and the system's libraries need.
    case control = 8
    /// That, and some clients of the control socket.
    case files = 16
    /// That, and some files.
    case clients = 32

    /// Of a process that may have few descriptors, each keeps a share: clients leave a quarter.
    private static let fullLimit: UInt = 128

    /// Whether another descriptor may be taken.
    package var hasRoom: Bool {
        // The lowest number that is free is given first.
        let probe = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return false }
        defer { close(probe) }
        return allows(probe)
    }

    /// Whether a descriptor that was taken leaves enough.
    func allows(_ number: Int32) -> Bool {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return true
        }
        let most = UInt(limit.rlim_cur)
        let kept = most < Self.fullLimit ? most * rawValue / Self.fullLimit : rawValue
        return UInt(number) < most - kept
    }
}
