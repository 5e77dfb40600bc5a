import Settings
import Store
import Streams

/// Why the daemon cannot start, with the exit code that says so.
enum DaemonError: Error, CustomStringConvertible {
    /// The configuration is of no use.
    case configuration(ConfigurationError)
    /// A folder or a file of the daemon cannot be used.
    case state(StateError)
    /// Another daemon answers on the control socket.
    case socketInUse(path: String)
    /// Something that is no socket lies where the control socket should be.
    case notASocket(path: String)
    /// The TCP listener or the control socket could not be opened.
    case listen(address: String, reason: String)
    /// The store could not be opened.
    case store(StoreError)

    /// Subject, rule, what was found.
    var description: String {
        switch self {
        case .configuration(let error):
            return error.description
        case .state(let error):
            return error.description
        case .socketInUse(let path):
            return "\(path): another daemon answers on this control socket"
        case .notASocket(let path):
            return "\(path): the control socket belongs here, found something else"
        case .listen(let address, let reason):
            return "\(address): cannot listen: \(reason)"
        case .store(let error):
            return error.description
        }
    }

    /// What to do about it.
    var hint: String? {
        switch self {
        case .configuration:
            return nil
        case .state(let error):
            return error.hint
        case .socketInUse:
            return "stop that daemon, or give this one a runtime_directory of its own"
        case .notASocket(let path):
            return "move \(path) away, or choose another runtime_directory"
        case .listen:
            return "choose another address in http.listen or another runtime_directory"
        case .store(let error):
            return error.hint
        }
    }

    /// The lines for standard error.
    var report: String {
        if case .configuration(let error) = self { return error.report }
        return "error: \(self)" + (hint.map { "\nhint:  \($0)" } ?? "")
    }

    /// 78 for the configuration, 66 for its absence, 74 for files, 70 for the rest.
    var exitCode: Int32 {
        switch self {
        case .configuration(let error): return error.exitCode
        case .state, .socketInUse, .notASocket, .listen, .store: return 74
        }
    }
}
