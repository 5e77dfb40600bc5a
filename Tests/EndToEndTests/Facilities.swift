import Foundation
import TestSupport
import Testing

/// What a test takes that not every machine gives; a test without it says that it was skipped.
enum Facilities {
    /// A wrapper that makes a program an ordinary user's, whom modes of files concern.
    static let ordinaryUser = [
        "/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
    ]

    /// Only root can become somebody else, and the build may lie where others may not go.
    static let hasOrdinaryUser: Bool = {
        guard getuid() == 0, access(ordinaryUser[0], X_OK) == 0,
            let folder = try? TemporaryDirectory()
        else { return false }
        let daemon = DaemonProcess(folder: folder)
        daemon.wrapper = ordinaryUser
        return daemon.canRun()
    }()

    /// Only root may mount a small file system to fill.
    static let hasMount: Bool = {
        guard let folder = try? TemporaryDirectory(),
            (try? Mount.tmpfs(at: folder.path, size: "1m")) == true
        else { return false }
        Mount.unmount(folder.path)
        return true
    }()

    /// Only root may make a control group, and not everywhere.
    static let hasMemoryGroup = MemoryGroup(limit: 64 << 20) != nil

    /// Another clock than the machine's, which is not a test's to set.
    static let clockLibrary = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    static let hasClock = access(clockLibrary, R_OK) == 0
}

extension Trait where Self == ConditionTrait {
    static var takesOrdinaryUser: Self {
        .enabled(
            if: Facilities.hasOrdinaryUser, "takes root, setpriv and a build that others may read")
    }

    static var takesMount: Self { .enabled(if: Facilities.hasMount, "takes root and tmpfs") }

    static var takesClock: Self { .enabled(if: Facilities.hasClock, "takes libfaketime") }

    static var takesMemoryGroup: Self {
        .enabled(if: Facilities.hasMemoryGroup, "takes root and the memory controller of cgroups")
    }

    /// Other programs than ours, all of them; `make test-senders` installs what is missing.
    static func takes(_ programs: String...) -> Self {
        .enabled(
            if: programs.allSatisfy { OutsideProgram.path($0) != nil },
            "takes \(programs.joined(separator: ", ")): make test-senders")
    }
}
