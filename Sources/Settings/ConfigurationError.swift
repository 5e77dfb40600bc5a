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
    /// The file could not be read; `isMissing` when there is none.
    case unreadable(path: String, reason: String, isMissing: Bool)
    /// The file was read, and these things are wrong in it, in the order of the file.
    case problems([ConfigurationProblem])

    /// Every problem on a line of its own.
    public var description: String {
        switch self {
        case .unreadable(let path, let reason, _):
            return "\(path): the configuration cannot be read: \(reason)"
        case .problems(let problems):
            return problems.map(\.description).joined(separator: "\n")
        }
    }

    /// The lines that a tool prints: `error:` for each problem, and `hint:` where there is something to do.
    public var report: String {
        switch self {
        case .unreadable(let path, _, let isMissing):
            let hint =
                isMissing
                ? "name an existing file with --config"
                : "check the owner and the mode of \(path)"
            return "error: \(description)\nhint:  \(hint)"
        case .problems(let problems):
            return problems.map { problem in
                "error: \(problem)" + (problem.hint.map { "\nhint:  \($0)" } ?? "")
            }.joined(separator: "\n")
        }
    }

    /// The exit code that fits: 66 no such file, 74 unreadable, 78 wrong.
    public var exitCode: Int32 {
        switch self {
        case .unreadable(_, _, let isMissing): return isMissing ? 66 : 74
        case .problems: return 78
        }
    }
}
