import Foundation

/// Why the folder of the state, or a file in it, cannot be used.
package enum StateError: Error, CustomStringConvertible {
    /// A system call on a file or folder did not succeed.
    case file(path: String, operation: String, code: Int32)
    /// Another daemon works on this state.
    case stateInUse(path: String, processID: String)
    /// Another daemon writes this anomaly log.
    case logInUse(path: String)

    /// Subject, rule, what was found.
    package var description: String {
        switch self {
        case .file(let path, let operation, let code):
            return "\(path): \(operation): \(String(cString: strerror(code)))"
        case .stateInUse(let path, let processID):
            return "\(path): one daemon a state directory, process \(processID) already works on it"
        case .logInUse(let path):
            return "\(path): one daemon an anomaly log, another process already writes to it"
        }
    }

    /// Whether it only takes room to go on.
    var isFullDisk: Bool {
        guard case .file(_, _, let code) = self else { return false }
        return code == ENOSPC || code == EDQUOT
    }

    /// What to do about it.
    package var hint: String? {
        switch self {
        case .file(let path, _, let code):
            switch code {
            case EACCES, EPERM:
                return "run as the owner of \(path), or change its owner or mode"
            case EROFS:
                return
                    "the file system is read-only: mount it for writing, or, where the unit makes it so, "
                    + "name the folder under ReadWritePaths"
            case ENOSPC, EDQUOT: return "free some space"
            default: return nil
            }
        case .stateInUse:
            return "stop that daemon, or give this one a state_directory of its own"
        case .logInUse:
            return "stop that daemon, or give this one a log.anomalies of its own"
        }
    }
}
