import Foundation

/// The files that a stream learns from before its source.
enum HistoryFiles {
    /// One of them.
    struct File {
        var path: String
        var bytes: Int64
    }

    /// The files that the patterns match: pattern by pattern, each in the order of the names, no file twice.
    ///
    /// - Parameter source: The stream's own source, which is read later in any case.
    static func find(_ patterns: [String], except source: String) throws(HistoryError) -> [File] {
        var found: [File] = []
        for pattern in patterns {
            var matches = glob_t()
            defer { globfree(&matches) }
            let result = glob(pattern, GLOB_ERR, nil, &matches)
            guard result == 0, let paths = matches.gl_pathv else {
                throw .noFile(pattern: pattern)
            }
            for i in 0..<Int(matches.gl_pathc) {
                guard let text = paths[i] else { continue }
                let path = String(cString: text)
                guard path != source, !found.contains(where: { $0.path == path }) else { continue }
                var information = stat()
                guard stat(path, &information) == 0 else {
                    throw .file(path: path, operation: "stat", code: errno)
                }
                guard information.st_mode & S_IFMT == S_IFREG else { continue }
                found.append(File(path: path, bytes: Int64(information.st_size)))
            }
        }
        return found
    }
}

/// Why history cannot be read.
enum HistoryError: Error, CustomStringConvertible {
    /// Nothing is there, or the folder cannot be read.
    case noFile(pattern: String)
    /// A system call on a file did not succeed.
    case file(path: String, operation: String, code: Int32)

    var description: String {
        switch self {
        case .noFile(let pattern):
            return "history: no file matches \(pattern), or its folder cannot be read"
        case .file(let path, let operation, let code):
            return "history: \(path): \(operation): \(String(cString: strerror(code)))"
        }
    }

    var hint: String {
        switch self {
        case .noFile: return "mend history in the configuration and reload, or put the files there"
        case .file: return "check owner and mode"
        }
    }
}

/// How far a stream's history was read; a part of its checkpoint.
package struct HistoryState: Codable, Equatable {
    /// Whether all of it was read, or there is none to be read any more.
    var isDone = false
    /// Files that were read to their end.
    var done: [String] = []
    /// The file that is being read, and the newest of its lines that was taken in.
    var current: String?
    var line: Int64 = 0
    /// Records that were learned from it.
    package var records: Int64 = 0
}

/// How far the reading of history is, for the status.
package struct HistoryProgress: Sendable {
    package var file: String
    package var filesDone: Int
    package var files: Int
    package var bytesDone: Int64
    package var bytes: Int64
    package var records: Int64
    package var etaSecs: Double?
}
