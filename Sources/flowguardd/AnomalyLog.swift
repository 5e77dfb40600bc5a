import Foundation
import Streams

/// The anomaly log: a JSON object a line, in the order of the ids, nothing missing and nothing twice.
///
/// The store is the truth and the log follows it: whoever owns the log asks `lastID`, fetches what comes after from the
/// store, and appends it. A crash in between only means that the next start appends it. A line that a crash or a full disk
/// cut short is removed before the next is written.
///
/// Not safe for use from two threads at once.
final class AnomalyLog {
    /// A line of the log with the id in it.
    struct Line {
        var id: Int64
        var bytes: [UInt8]
    }

    private(set) var path: String
    /// The newest id in the log, or in the log that was rotated away before.
    private(set) var lastID: Int64
    /// The newest id in the log when it is greater than that of the store.
    let idBeyondStore: Int64?
    private let positionPath: String
    private var descriptor: Int32 = -1
    /// Bytes of whole lines.
    private var size: off_t = 0
    private var identity: (device: UInt64, inode: UInt64) = (0, 0)

    /// Prepares a log; `open` or the first `append` opens the file.
    ///
    /// - Parameters:
    ///   - path: The log.
    ///   - positionPath: A file in the state directory that remembers the newest id when the log itself was rotated.
    ///   - greatestID: The newest id in the store. A log with a greater one belongs to a former store.
    init(path: String, positionPath: String, greatestID: Int64) {
        self.path = path
        self.positionPath = positionPath
        let position = (try? String(contentsOfFile: positionPath, encoding: .utf8))
            .flatMap { Int64($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        lastID = min(position ?? 0, greatestID)
        let written = Self.lastID(inLogAt: path)
        if let written, written <= greatestID { lastID = written }
        idBeyondStore = written.flatMap { $0 > greatestID ? $0 : nil }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    var isOpen: Bool { descriptor >= 0 }

    /// Opens the file, again after a rotation or at a new path, and locks it for one daemon.
    func reopen(path newPath: String? = nil) throws(StateError) {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        path = newPath ?? path
        try StateDirectory.makeFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            throw .file(path: path, operation: "open", code: errno)
        }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else {
            throw .file(path: path, operation: "stat", code: errno)
        }
        // Not what others may open too, as /dev/null.
        if information.st_mode & S_IFMT == S_IFREG, flock(descriptor, LOCK_EX | LOCK_NB) != 0,
            errno == EWOULDBLOCK
        {
            close(descriptor)
            descriptor = -1
            throw .logInUse(path: path)
        }
        identity = (UInt64(information.st_dev), UInt64(information.st_ino))
        size = Self.endOfLastLine(descriptor, size: information.st_size)
        if size < information.st_size, ftruncate(descriptor, size) != 0 {
            throw .file(path: path, operation: "truncate", code: errno)
        }
    }

    /// Appends lines; either all of them are in the log then, or the first ones and `lastID` says which.
    func append(_ lines: [Line]) throws(StateError) {
        guard !lines.isEmpty else { return }
        if descriptor < 0 || isReplaced { try reopen() }
        var next = 0
        while next < lines.count {
            // Pieces of bounded size, each written by one call, so that a reader sees whole lines.
            var piece: [UInt8] = []
            var end = next
            while end < lines.count, piece.isEmpty || piece.count + lines[end].bytes.count < 1 << 20
            {
                piece += lines[end].bytes
                piece.append(UInt8(ascii: "\n"))
                end += 1
            }
            guard lseek(descriptor, size, SEEK_SET) >= 0,
                StateDirectory.writeAll(piece, to: descriptor)
            else {
                let code = errno
                ftruncate(descriptor, size)
                throw .file(path: path, operation: "write", code: code)
            }
            size += off_t(piece.count)
            lastID = lines[end - 1].id
            next = end
        }
        rememberPosition()
    }

    /// Whether another file lies at the path, or the file was cut: a rotation without a signal.
    private var isReplaced: Bool {
        var information = stat()
        guard stat(path, &information) == 0 else { return true }
        return identity != (UInt64(information.st_dev), UInt64(information.st_ino))
            || information.st_size != size
    }

    /// Losing this is harmless as long as the log itself has a line.
    private func rememberPosition() {
        let file = open(positionPath, O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
        guard file >= 0 else { return }
        defer { close(file) }
        // The same width each time, so that one write in place replaces the old text.
        let digits = String(lastID)
        let text = String(repeating: " ", count: max(0, 20 - digits.count)) + digits + "\n"
        _ = pwrite(file, Array(text.utf8), text.utf8.count, 0)
    }

    /// The offset after the last newline.
    private static func endOfLastLine(_ descriptor: Int32, size: off_t) -> off_t {
        var end = size
        while end > 0 {
            let start = max(0, end - 65_536)
            guard let bytes = read(descriptor, start..<end) else { return size }
            if let newline = bytes.lastIndex(of: UInt8(ascii: "\n")) {
                return start + off_t(newline) + 1
            }
            end = start
        }
        return 0
    }

    private static func read(_ descriptor: Int32, _ range: Range<off_t>) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: Int(range.upperBound - range.lowerBound))
        let count = pread(descriptor, &bytes, bytes.count, range.lowerBound)
        return count == bytes.count ? bytes : nil
    }

    /// The id of the last whole line, or `nil` when there is none.
    private static func lastID(inLogAt path: String) -> Int64? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else { return nil }
        var end = endOfLastLine(descriptor, size: information.st_size)
        while end > 0 {
            let start = endOfLastLine(descriptor, size: end - 1)
            guard let bytes = read(descriptor, start..<(end - 1)) else { return nil }
            if let id = id(of: bytes) { return id }
            end = start
        }
        return nil
    }

    private static func id(of line: [UInt8]) -> Int64? {
        struct Identified: Decodable {
            var id: Int64
        }
        return (try? JSONDecoder().decode(Identified.self, from: Data(line)))?.id
    }
}
