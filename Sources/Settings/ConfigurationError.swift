/// One thing wrong in a configuration file.
public struct ConfigurationProblem: Sendable, Hashable, CustomStringConvertible {
    /// The configuration file.
    public var path: String
    /// 1-based line.
    public var line: Int
    /// 1-based column.
    public var column: Int
    /// Subject, rule, what was found.
    public var message: String
    /// What to do about it.
    public var hint: String?

    /// The place and the message.
    public var description: String { "\(path):\(line):\(column): \(message)" }
}

/// Why a configuration file is of no use.
public enum ConfigurationError: Error, Equatable, CustomStringConvertible {
    /// There is no such file.
    case missing(path: String)
    /// The path leads to a folder.
    case folder(path: String)
    /// The file is longer than any configuration.
    case tooLong(path: String, limit: Int)
    /// The file could not be read.
    case unreadable(path: String, reason: String)
    /// The file was read, and these things are wrong in it, in the order of the file.
    case problems([ConfigurationProblem])

    /// Every problem on a line of its own.
    public var description: String {
        switch self {
        case .missing(let path):
            return "\(path): the configuration cannot be read: no such file"
        case .folder(let path):
            return "\(path): expected a configuration file, found a folder"
        case .tooLong(let path, let limit):
            return "\(path): expected a configuration of at most \(limit) bytes, found more"
        case .unreadable(let path, let reason):
            return "\(path): the configuration cannot be read: \(reason)"
        case .problems(let problems):
            return problems.map(\.description).joined(separator: "\n")
        }
    }

    /// The lines that a tool prints: `error:` for each problem, and `hint:` where there is something to do.
    public var report: String {
        switch self {
        case .missing: return report(hint: "name an existing file with --config")
        case .folder: return report(hint: "name a file in it")
        case .tooLong: return report(hint: "name the configuration, not a file of records")
        case .unreadable(let path, _):
            return report(hint: "check the owner and the mode of \(path)")
        case .problems(let problems):
            return problems.map { problem in
                "error: \(problem)" + (problem.hint.map { "\nhint:  \($0)" } ?? "")
            }.joined(separator: "\n")
        }
    }

    private func report(hint: String) -> String { "error: \(description)\nhint:  \(hint)" }

    /// The exit code that fits: 66 no such file, 74 unreadable, 78 wrong.
    public var exitCode: Int32 {
        switch self {
        case .missing: return 66
        case .folder, .unreadable: return 74
        case .tooLong, .problems: return 78
        }
    }
}
