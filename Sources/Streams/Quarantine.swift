import Control
import Foundation

/// The lines of a stream that could not become records, each with its place and the reason.
///
/// One file with one predecessor, each of bounded size. Not safe for use from two threads at once.
struct Quarantine {
    /// A rejected line.
    struct Entry {
        var time: Date
        var source: String
        var line: Int64
        var offset: Int64
        var column: String?
        var columnNumber: Int?
        var code: String
        var reason: String
        var text: String

        /// The JSON object, its keys in a fixed order: first the place, then what is wrong with it.
        fileprivate var json: [UInt8] {
            var json = LineText()
            json.raw("{\"time\":\"\(time.instantText)\",\"source\":")
            json.string(source)
            json.raw(",\"line\":\(line),\"offset\":\(offset)")
            if let column {
                json.raw(",\"column\":")
                json.string(column)
            }
            if let columnNumber { json.raw(",\"column_number\":\(columnNumber)") }
            for (key, value) in [("code", code), ("reason", reason), ("text", text)] {
                json.raw(",\"\(key)\":")
                json.string(value)
            }
            json.raw("}")
            return json.bytes
        }
    }

    /// Bytes of a rejected line that are kept.
    static let maximumTextBytes = 200
    /// Bytes after which a file is renamed to `.1`.
    static let maximumFileBytes: Int64 = 16 << 20

    let path: String
    /// Bytes that count: what a crash left beyond them belongs to lines that are read again.
    private(set) var size: Int64

    /// Goes back to the size that the store knows.
    init(path: String, committedSize: Int64) {
        self.path = path
        size = committedSize
        let found = Self.bytes(path)
        // Renamed, and then the daemon was killed before the lines were committed: they come again.
        let isRenamed = found < committedSize && Self.bytes(path + ".1") == committedSize
        let kept = isRenamed ? 0 : min(found, committedSize)
        if found > kept, truncate(path, off_t(kept)) != 0 { size = found } else { size = kept }
    }

    private static func bytes(_ path: String) -> Int64 {
        var information = stat()
        return stat(path, &information) == 0 ? Int64(information.st_size) : 0
    }

    /// Appends entries; after an error the file is as before, and the call may be repeated.
    mutating func append(_ entries: [Entry]) throws(StateError) {
        guard !entries.isEmpty else { return }
        let bytes = entries.flatMap { $0.json + [UInt8(ascii: "\n")] }
        if size > 0, size + Int64(bytes.count) > Self.maximumFileBytes {
            // A shorter file is there when an earlier try has renamed the full one, and its commit was refused.
            if Self.bytes(path) >= size, rename(path, path + ".1") != 0, errno != ENOENT {
                throw .file(path: path, operation: "rename", code: errno)
            }
            size = 0
        }
        // Somebody may have cut or removed the file.
        size = min(size, Self.bytes(path))
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            throw .file(path: path, operation: "open", code: errno)
        }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(size)) == 0,
            lseek(descriptor, off_t(size), SEEK_SET) >= 0,
            StateDirectory.writeAll(bytes, to: descriptor)
        else {
            let code = errno
            ftruncate(descriptor, off_t(size))
            throw .file(path: path, operation: "write", code: code)
        }
        size += Int64(bytes.count)
    }

    /// The beginning of a line as text; what is not text becomes U+FFFD.
    static func text(of line: ArraySlice<UInt8>) -> String {
        String(decoding: line.prefix(maximumTextBytes), as: UTF8.self)
    }
}

extension Date {
    /// ISO 8601 in UTC with milliseconds.
    package var instantText: String {
        formatted(ISO8601FormatStyle(includingFractionalSeconds: true, timeZone: .gmt))
    }
}
