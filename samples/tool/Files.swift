import Foundation
import Glibc

/// An output that holds bytes back and hands them to a descriptor in large pieces.
struct Output: ~Copyable {
    let path: String
    private let descriptor: Int32
    private let owned: Bool
    private var pending: [UInt8] = []

    /// Opens a file for writing; `-` is standard output.
    ///
    /// - Parameter append: Adds to the end instead of beginning anew.
    init(path: String, append: Bool = false) throws(SamplesError) {
        self.path = path == "-" ? "standard output" : path
        owned = path != "-"
        let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC)
        descriptor = owned ? open(path, flags, 0o644) : STDOUT_FILENO
        if descriptor < 0 { throw .system(operation: "write", path: path, reason: lastError()) }
    }

    deinit {
        if owned { close(descriptor) }
    }

    /// Adds text; it is written out at the latest by `flush`.
    mutating func write(_ text: String) throws(SamplesError) {
        pending.append(contentsOf: text.utf8)
        if pending.count >= 1 << 16 { try flush() }
    }

    /// Adds bytes; they are written out at the latest by `flush`.
    mutating func write(_ bytes: ArraySlice<UInt8>) throws(SamplesError) {
        pending.append(contentsOf: bytes)
        if pending.count >= 1 << 16 { try flush() }
    }

    /// Writes out all that is held back.
    mutating func flush() throws(SamplesError) {
        try writeAll(pending, to: descriptor, path: path)
        pending.removeAll(keepingCapacity: true)
    }
}

/// Writes all bytes, however many calls it takes.
func writeAll(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(SamplesError) {
    var done = 0
    while done < bytes.count {
        let count = bytes.withUnsafeBytes { buffer in
            Glibc.write(descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done)
        }
        if count < 0 {
            if errno == EINTR { continue }
            throw .system(operation: "write", path: path, reason: lastError())
        }
        done += count
    }
}

/// The text of the last system error.
func lastError() -> String { String(cString: strerror(errno)) }

/// The lines of a file, or of standard input for `-`, without their ends.
func readLines(path: String) throws(SamplesError) -> [ArraySlice<UInt8>] {
    let handle = path == "-" ? FileHandle.standardInput : FileHandle(forReadingAtPath: path)
    guard let handle else {
        throw .system(operation: "read", path: path, reason: lastError())
    }
    let bytes: [UInt8]
    do {
        bytes = [UInt8](try handle.readToEnd() ?? Data())
    } catch {
        throw .system(operation: "read", path: path, reason: lastError())
    }
    return bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
        .map { $0.last == 0x0D ? $0.dropLast() : $0 }
}

/// Waits; a signal cuts the wait short.
func pause(secs: Double) {
    guard secs > 0 else { return }
    var wait = timespec()
    wait.tv_sec = Int(secs)
    wait.tv_nsec = Int((secs - Double(Int(secs))) * 1e9)
    nanosleep(&wait, nil)
}
