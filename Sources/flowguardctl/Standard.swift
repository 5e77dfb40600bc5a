import ArgumentParser
import Foundation

/// Standard output, unbuffered: what a command wrote is there when it waits for more input.
enum StandardOutput {
    /// Writes all of it.
    ///
    /// A reader that has gone, as in `| head`, ends the process the way the system ends any filter: quietly.
    static func write(_ bytes: [UInt8]) throws(CommandFailure) {
        if let number = Descriptor.write(bytes, to: STDOUT_FILENO) {
            if number == EPIPE {
                signal(SIGPIPE, SIG_DFL)
                raise(SIGPIPE)
            }
            throw CommandFailure(
                "standard output: cannot be written: \(Descriptor.text(number))",
                status: .inputOutput)
        }
    }

    static func write(_ text: String) throws(CommandFailure) {
        try write(Array(text.utf8))
    }

    /// A JSON document and its newline.
    static func write(json data: Data) throws(CommandFailure) {
        try write(Array(data) + [UInt8(ascii: "\n")])
    }

    /// A JSON document as the daemon sent it.
    static func write(document data: Data) throws(CommandFailure) {
        try write(Array(data) + (data.last == UInt8(ascii: "\n") ? [] : [UInt8(ascii: "\n")]))
    }
}

/// Standard error; a lost message is no reason to stop.
enum StandardError {
    static func write(_ text: String) {
        _ = Descriptor.write(Array(text.utf8), to: STDERR_FILENO)
    }
}

/// System calls on descriptors.
enum Descriptor {
    /// Writes all bytes.
    ///
    /// - Returns: `nil`, or the error number.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Foundation.write(
                    descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done)
            }
            if count > 0 {
                done += count
            } else if errno == EAGAIN {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&waiting, 1, 1_000)
            } else if errno != EINTR {
                return errno
            }
        }
        return nil
    }

    static func text(_ number: Int32) -> String { String(cString: strerror(number)) }
}

/// Files that a command reads and writes whole.
enum WholeFile {
    /// Reads a file that the user named.
    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure(
                "\(path): cannot be read: \(Descriptor.text(errno))",
                status: errno == ENOENT ? .noInput : .inputOutput)
        }
        defer { close(descriptor) }
        var information = stat()
        var bytes: [UInt8] = []
        if fstat(descriptor, &information) == 0 {
            bytes.reserveCapacity(max(0, Int(information.st_size)))
        }
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = Foundation.read(descriptor, &chunk, chunk.count)
            if count == 0 { return bytes }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw CommandFailure(
                    "\(path): cannot be read: \(Descriptor.text(errno))", status: .inputOutput)
            }
            bytes += chunk[..<count]
        }
    }

    /// Throws if a name for an output is that of standard output elsewhere: there is where a command reports.
    static func validateName(_ path: String, of option: String) throws(ValidationError) {
        guard path != "-" else {
            throw ValidationError(
                "\(option): expected a file, found '-'; standard output is /dev/stdout, and a file "
                    + "of that name ./-")
        }
    }

    /// Proves that `write` to this path can work, before hours of work depend on it.
    static func requireWritable(_ path: String) throws(CommandFailure) {
        switch destination(of: path) {
        case .device:
            guard access(path, W_OK) == 0 else { throw failure(path, errno) }
        case .other(let number):
            throw failure(path, number)
        case .file(let path, _):
            let temporary = temporaryPath(path)
            let descriptor = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)
            guard descriptor >= 0 else { throw failure(path, errno) }
            close(descriptor)
            unlink(temporary)
        }
    }

    /// Writes a file so that it is there whole or not at all; a pipe and a device take the bytes as they are.
    static func write(_ bytes: [UInt8], to path: String) throws(CommandFailure) {
        switch destination(of: path) {
        case .device:
            let descriptor = open(path, O_WRONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw failure(path, errno) }
            defer { close(descriptor) }
            if let problem = Descriptor.write(bytes, to: descriptor) {
                throw failure(path, problem)
            }
        case .other(let number):
            throw failure(path, number)
        case .file(let path, let mode):
            try replace(path, mode: mode, by: bytes)
        }
    }

    private static func replace(
        _ path: String, mode: mode_t?, by bytes: [UInt8]
    ) throws(CommandFailure) {
        let temporary = temporaryPath(path)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw failure(path, errno) }
        defer { close(descriptor) }
        var problem = Descriptor.write(bytes, to: descriptor)
        if problem == nil, let mode, fchmod(descriptor, mode) != 0 { problem = errno }
        if problem == nil, fsync(descriptor) != 0 { problem = errno }
        if problem == nil, rename(temporary, path) != 0 { problem = errno }
        if let problem {
            unlink(temporary)
            throw failure(path, problem)
        }
    }

    /// What a path that is to be written leads to.
    private enum Destination {
        /// A file or nothing yet, behind all links; the mode of the file.
        case file(path: String, mode: mode_t?)
        /// A named pipe or a character device, whose place no file may take.
        case device
        /// What cannot be written, and the error number that says so.
        case other(Int32)
    }

    private static func destination(of path: String) -> Destination {
        var information = stat()
        guard stat(path, &information) == 0 else { return .file(path: target(of: path), mode: nil) }
        switch information.st_mode & S_IFMT {
        case S_IFREG: return .file(path: target(of: path), mode: information.st_mode & 0o7777)
        case S_IFIFO, S_IFCHR: return .device
        case S_IFDIR: return .other(EISDIR)
        default: return .other(ENXIO)
        }
    }

    /// The path behind symbolic links, the last of which may lead to nothing yet.
    private static func target(of path: String) -> String {
        var path = path
        // As many as the system follows.
        for _ in 0..<40 {
            guard let link = try? FileManager.default.destinationOfSymbolicLink(atPath: path) else {
                break
            }
            let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
            path = link.hasPrefix("/") ? link : folder + link
        }
        return path
    }

    private static func temporaryPath(_ path: String) -> String { "\(path).part-\(getpid())" }

    private static func failure(_ path: String, _ number: Int32) -> CommandFailure {
        CommandFailure(
            "\(path): cannot be written: \(Descriptor.text(number))", status: .inputOutput)
    }
}
