import Foundation
import Settings

/// The folder that holds everything the daemon must not forget, locked for one daemon.
package final class StateDirectory: Sendable {
    /// The folder.
    package let path: String
    private let lock: Int32

    package var storePath: String { path + "/flowguard.sqlite" }
    /// Holds a folder for each stream whose clients' lines go to disk.
    package var spoolFolder: String { path + "/spool" }
    package var logPositionPath: String { path + "/anomaly-log.position" }

    /// Makes the folder where it is missing, proves that it can be written, and locks it.
    ///
    /// - Throws: `file` when it cannot be written, `stateInUse` when another daemon holds it.
    package init(path: String) throws(StateError) {
        self.path = path
        try Self.makeFolder(path)
        for name in ["models", "windows", "quarantine"] {
            try Self.makeFolder(path + "/" + name)
        }
        let lockPath = path + "/lock"
        lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard lock >= 0 else {
            throw .file(path: lockPath, operation: "open", code: errno)
        }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            var buffer = [UInt8](repeating: 0, count: 32)
            let count = max(0, pread(lock, &buffer, buffer.count, 0))
            close(lock)
            let text = String(decoding: buffer.prefix(count), as: UTF8.self)
            throw .stateInUse(
                path: path, processID: text.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        let text = Array("\(getpid())\n".utf8)
        guard ftruncate(lock, 0) == 0, pwrite(lock, text, text.count, 0) == text.count else {
            let code = errno
            close(lock)
            throw .file(path: lockPath, operation: "write", code: code)
        }
    }

    deinit { close(lock) }

    /// The training window of a stream; a new generation when its shape changes.
    package func windowPath(_ stream: String, generation: Int) -> String {
        "\(path)/windows/\(Self.fileName(of: stream)).\(generation).ring"
    }

    /// Makes the folder of the windows of a stream's keys.
    func makeKeyFolder(_ stream: String) throws(StateError) {
        try Self.makeFolder("\(path)/windows/\(stream).keys")
    }

    /// The rejected lines of a stream.
    package func quarantinePath(_ stream: String) -> String {
        "\(path)/quarantine/\(stream).ndjson"
    }

    /// A stream's models lie in a folder of its own.
    ///
    /// - Returns: The path within the state directory.
    package static func modelFile(_ stream: String, id: Int64) -> String {
        modelFolder(stream) + "/\(id).safetensors"
    }

    /// That folder, within the state directory.
    package static func modelFolder(_ stream: String) -> String {
        "models/" + fileName(of: stream)
    }

    /// What the files of a stream are named by; those of its keys lie in a folder beside its own: `STREAM.keys/KEY`.
    ///
    /// A key is any text: what is no letter, digit, `-` or `_` is written as `%` and its byte.
    private static func fileName(of stream: String) -> String {
        let (name, key) = KeyedName.split(stream)
        guard let key else { return name }
        let safe = CharacterSet(
            charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        return name + ".keys/" + (key.addingPercentEncoding(withAllowedCharacters: safe) ?? "")
    }

    /// Makes a folder and those above it, with mode 0750.
    package static func makeFolder(_ path: String) throws(StateError) {
        var information = stat()
        if stat(path, &information) == 0 {
            guard information.st_mode & S_IFMT == S_IFDIR else {
                throw .file(path: path, operation: "make folder", code: ENOTDIR)
            }
            return
        }
        let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
        if parent != path { try makeFolder(parent) }
        guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
            throw .file(path: path, operation: "make folder", code: errno)
        }
    }

    /// Writes a file so that it is there whole or not at all.
    package static func writeWhole(_ bytes: [UInt8], to path: String) throws(StateError) {
        let temporary = path + ".part"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            throw .file(path: temporary, operation: "open", code: errno)
        }
        defer { close(descriptor) }
        guard writeAll(bytes, to: descriptor), fsync(descriptor) == 0 else {
            let code = errno
            unlink(temporary)
            throw .file(path: temporary, operation: "write", code: code)
        }
        guard rename(temporary, path) == 0 else {
            throw .file(path: path, operation: "rename", code: errno)
        }
    }

    /// Writes all bytes at the file's position; `false` leaves the reason in `errno`.
    package static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                write(descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}
