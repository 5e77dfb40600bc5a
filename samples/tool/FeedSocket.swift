import ArgumentParser
import Glibc

/// A connection to a Unix stream socket.
final class SocketConnection {
    let path: String
    private let descriptor: Int32

    init(path: String) throws(SamplesError) {
        self.path = path
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let limit = MemoryLayout.size(ofValue: address.sun_path) - 1
        guard path.utf8.count <= limit else {
            throw .system(
                operation: "connect", path: path,
                reason: "expected at most \(limit) bytes in a socket's path")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if connected != 0 {
            let reason = lastError()
            close(descriptor)
            throw .system(operation: "connect", path: path, reason: reason)
        }
    }

    deinit { close(descriptor) }

    func write(_ text: String) throws(SamplesError) {
        try writeAll([UInt8](text.utf8), to: descriptor, path: path)
    }
}

/// Sends the rows of a sample to a stream's socket.
struct FeedSocket: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "socket",
        abstract: "Send a sample's rows to a Unix socket.",
        discussion: """
            The rows go out as NDJSON, or with --format csv as CSV with the header line first.

            EXAMPLE
              flowguard-samples feed socket pump.csv --socket /run/flowguard/pump.sock
            """)

    /// The form in which rows are sent.
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case ndjson, csv
    }

    @OptionGroup var part: SampleRows

    @Option(help: "The stream's socket.")
    var socket: String

    @Option(help: "What to send: ndjson or csv.")
    var format: Format = .ndjson

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        let sample = try part.read()
        let names = sample.header.split(separator: 0x2C).map { String(decoding: $0, as: UTF8.self) }
        let connection = try SocketConnection(path: socket)
        if format == .csv { try connection.write(names.joined(separator: ",") + "\n") }
        try part.paced(sample.lines) { lines in
            var text = ""
            for line in lines {
                let row = String(decoding: line, as: UTF8.self)
                text += format == .csv ? row + "\n" : jsonLine(row, names: names)
            }
            try connection.write(text)
        }
    }

    /// The first column of a sample is its time, the others are numbers.
    private func jsonLine(_ row: String, names: [String]) -> String {
        let cells = row.split(separator: ",", omittingEmptySubsequences: false)
        let members = zip(names, cells).enumerated().map { index, pair in
            index == 0 ? "\"\(pair.0)\":\"\(pair.1)\"" : "\"\(pair.0)\":\(pair.1)"
        }
        return "{" + members.joined(separator: ",") + "}\n"
    }
}
