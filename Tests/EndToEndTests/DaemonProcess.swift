import Control
import Foundation
import Store
import TestSupport

/// Where the built programs are: `FLOWGUARD_BIN_DIR`, or beside the program that runs the tests.
enum BuiltProgram {
    static func path(_ name: String) -> String {
        if let folder = ProcessInfo.processInfo.environment["FLOWGUARD_BIN_DIR"] {
            return folder + "/" + name
        }
        let runner = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        let folder = runner.map { URL(fileURLWithPath: $0).deletingLastPathComponent().path }
        return (folder ?? ".") + "/" + name
    }
}

/// A test that waited for something in vain.
struct WaitedInVain: Error, CustomStringConvertible {
    var description: String
}

/// A folder with a configuration, an input and a daemon that works in it.
///
/// The daemon is ended with the value, by its own process number.
final class DaemonProcess {
    let folder: TemporaryDirectory
    /// A program, with its arguments, that starts the daemon.
    var wrapper: [String] = []
    /// What the daemon's environment has beyond that of the tests.
    var environment: [String: String] = [:]
    private var process: Process?

    init(folder: TemporaryDirectory) { self.folder = folder }

    deinit { kill() }

    var pid: Int32 { process?.processIdentifier ?? 0 }
    var isRunning: Bool { process?.isRunning ?? false }
    var controlSocket: String { folder.file("run/control.sock") }
    var logPath: String { folder.file("log/anomalies.ndjson") }
    /// What it wrote to standard error, over all its starts.
    var errorText: String {
        (try? String(contentsOfFile: folder.file("stderr.txt"), encoding: .utf8)) ?? ""
    }

    /// Writes the configuration of streams in `folder`, where `state`, `run` and `log` are too.
    func configure(_ streams: String, more: String = "") throws {
        try folder.write(
            """
            state_directory: state
            runtime_directory: run
            log: {anomalies: log/anomalies.ndjson}
            \(more)
            streams:
            \(streams)
            """, to: "flowguard.yaml")
    }

    /// Starts the daemon and waits until it answers, and until each stream has opened its source or said why it cannot.
    ///
    /// - Parameter untilReady: Without, streams may still read their states and histories: an answer tells nothing of them.
    func start(untilReady: Bool = true) async throws {
        let before = readyCount
        try launch()
        try await wait("the daemon to answer") { try? get("/healthz").status == 200 }
        if untilReady { try await wait("the daemon to be ready") { readyCount > before } }
    }

    /// How often it has said that all its streams have started.
    private var readyCount: Int {
        errorText.split(separator: "\n").count { $0.contains("ready summary=") }
    }

    /// Starts the daemon on a pump whose first 600 records give it a model, and waits for that.
    ///
    /// - Returns: Where the pump's next records come from.
    func startWithModel() async throws -> PumpData {
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        try configure(
            DaemonLifeTests.pump.replacing(
                "first_after_records: 500", with: "first_after_records: 600"))
        try await start()
        try await wait("a model") { try stream()?.state == .watching }
        return data
    }

    /// Starts the daemon.
    ///
    /// - Parameters:
    ///   - errorPath: Where its standard error goes; `errorText` by default.
    ///   - input: Its standard input; nothing by default.
    func launch(
        environment: [String: String] = [:], errorPath: String? = nil, input: Any? = nil
    ) throws {
        let process = command(["--config", folder.file("flowguard.yaml")])
        process.environment = ProcessInfo.processInfo.environment
            .merging(self.environment) { $1 }.merging(environment) { $1 }
        try folder.append("", to: "stderr.txt")
        let handle = try FileHandle(
            forWritingTo: URL(fileURLWithPath: errorPath ?? folder.file("stderr.txt")))
        if errorPath == nil { try handle.seekToEnd() }
        process.standardError = handle
        process.standardInput = input ?? FileHandle.nullDevice
        try process.run()
        self.process = process
    }

    /// Starts the daemon as systemd does that has a socket for it: as descriptor 3, told by the environment.
    func launch(activatedBy listener: ListeningSocket) throws {
        wrapper = [
            "/bin/sh", "-c",
            "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec \"$@\" 3<&0 </dev/null",
            "sh",
        ]
        try launch(input: listener.handle)
    }

    /// Whether the wrapper lets the daemon be run at all.
    func canRun() -> Bool {
        let process = command(["--help"])
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    private func command(_ arguments: [String]) -> Process {
        let words = wrapper + [BuiltProgram.path("flowguardd")] + arguments
        let process = Process()
        process.executableURL = URL(fileURLWithPath: words[0])
        process.arguments = Array(words.dropFirst())
        return process
    }

    func signal(_ number: Int32) {
        if isRunning { _ = Foundation.kill(pid, number) }
    }

    /// `kill -9`, and the wait for it.
    func kill() {
        signal(SIGKILL)
        process?.waitUntilExit()
    }

    /// SIGTERM; returns the exit code and the time it took.
    func stop() async throws -> (code: Int32, took: Duration) {
        let begin = ContinuousClock.now
        signal(SIGTERM)
        let code = try await exitCode()
        return (code, ContinuousClock.now - begin)
    }

    /// Waits for the end of the process.
    func exitCode() async throws -> Int32 {
        try await wait("the daemon to end") { isRunning ? nil : true }
        return process?.terminationStatus ?? -1
    }

    /// Asks until there is an answer that is not `nil` or `false`.
    @discardableResult
    func wait<Value>(
        _ what: String, atMost limit: Duration = .seconds(300),
        _ condition: () throws -> Value?
    ) async throws -> Value {
        let begin = ContinuousClock.now
        while ContinuousClock.now < begin + limit {
            if let value = try condition(), value as? Bool != false { return value }
            // Whoever asks without rest takes the time of what is waited for.
            let elapsed = ContinuousClock.now - begin
            try await Task.sleep(for: min(.milliseconds(5) + elapsed / 50, .milliseconds(100)))
        }
        throw WaitedInVain(
            description: "waited in vain for \(what); the daemon said:\n\(errorText)")
    }

    // MARK: Control API

    struct Reply {
        var status: Int
        var body: Data
        /// The fields behind a body in chunks.
        var trailers: String
        /// Status line and fields.
        var head = ""

        var text: String { String(decoding: body, as: UTF8.self) }
    }

    func get(_ path: String) throws -> Reply { try request("GET", path) }

    func request(_ method: String, _ path: String, body: [UInt8] = []) throws -> Reply {
        let head =
            "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            + "Content-Length: \(body.count)\r\n\r\n"
        let socket = try StreamSocket(path: controlSocket)
        try socket.send(Array(head.utf8) + body)
        return try Self.reply(socket.receiveAll())
    }

    private static func reply(_ bytes: [UInt8]) throws -> Reply {
        let data = Data(bytes)
        guard let end = data.firstRange(of: Data("\r\n\r\n".utf8)) else {
            throw WaitedInVain(description: "no HTTP reply")
        }
        let head = String(decoding: data[..<end.lowerBound], as: UTF8.self)
        let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        var body = Data(data[end.upperBound...])
        var trailers = ""
        if head.lowercased().contains("transfer-encoding: chunked") {
            (body, trailers) = unchunked(body)
        }
        return Reply(status: status, body: body, trailers: trailers, head: head)
    }

    private static func unchunked(_ data: Data) -> (body: Data, trailers: String) {
        var rest = data
        var body = Data()
        while let end = rest.firstRange(of: Data("\r\n".utf8)),
            let count = Int(String(decoding: rest[..<end.lowerBound], as: UTF8.self), radix: 16),
            count > 0, rest.distance(from: end.upperBound, to: rest.endIndex) >= count
        {
            let stop = rest.index(end.upperBound, offsetBy: count)
            body += rest[end.upperBound..<stop]
            rest = Data(rest[stop...].dropFirst(2))
        }
        return (body, String(decoding: rest, as: UTF8.self))
    }

    func status() throws -> StatusReport {
        try ControlJSON.decode(StatusReport.self, from: get("/v1/status").body)
    }

    func stream(_ name: String = "pump") throws -> StreamStatus? {
        try status().streams.first { $0.name == name }
    }

    func anomalies(_ name: String = "pump") throws -> [AnomalyMessage] {
        try Self.messages(get("/v1/streams/\(name)/anomalies?after=0").body)
    }

    /// A client of a stream's socket, once that is open.
    func client(of socket: String) async throws -> StreamSocket {
        try await wait("the socket") { try? StreamSocket(path: folder.file(socket)) }
    }

    func detail(_ name: String = "pump") throws -> StreamDetail {
        try ControlJSON.decode(StreamDetail.self, from: get("/v1/streams/\(name)").body)
    }

    /// A number of the metrics page.
    func metric(_ name: String, of stream: String = "pump") throws -> Double? {
        let start = "\(name){stream=\"\(stream)\"} "
        return try get("/metrics").text.split(separator: "\n")
            .first { $0.hasPrefix(start) }.flatMap { Double($0.dropFirst(start.count)) }
    }

    /// Asks for a fit and waits for its end.
    func retrain(_ name: String = "pump") async throws -> FitMessage {
        let reply = try ControlJSON.decode(
            RetrainReply.self, from: request("POST", "/v1/streams/\(name)/retrain").body)
        return try await wait("the fit") {
            try stream(name)?.lastFit.flatMap { $0.id == reply.fit ? $0 : nil }
        }
    }

    /// The anomaly log's whole lines: one that the daemon is about to write may be seen in part.
    func logged() throws -> [AnomalyMessage] {
        let data = try Data(contentsOf: URL(fileURLWithPath: logPath))
        let end = data.lastIndex(of: UInt8(ascii: "\n")) ?? data.startIndex
        return try Self.messages(data[..<end])
    }

    /// The lines in a stream's quarantine, or the beginnings of them.
    func quarantined(_ name: String = "pump") throws -> [String] {
        struct Entry: Decodable {
            var text: String
        }
        let path = folder.file("state/quarantine/\(name).ndjson")
        guard let data = FileManager.default.contents(atPath: path),
            let end = data.lastIndex(of: UInt8(ascii: "\n"))
        else { return [] }
        // One that the daemon is about to write may be seen in part.
        return try data[..<end].split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(Entry.self, from: Data($0)).text
        }
    }

    private static func messages(_ data: Data) throws -> [AnomalyMessage] {
        try data.split(separator: UInt8(ascii: "\n")).map {
            try ControlJSON.decode(AnomalyMessage.self, from: Data($0))
        }
    }
}

/// A client of a Unix stream socket.
final class StreamSocket {
    private let descriptor: Int32

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let result = withUnixAddress(path) { connect(descriptor, $0, $1) }
        // A test that waits for ever says nothing.
        var limit = timeval(tv_sec: 120, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        // The descriptor is closed by `deinit`, also after this.
        guard result == 0 else {
            throw WaitedInVain(description: "\(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Foundation.send(
                    descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done,
                    Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw WaitedInVain(description: "send: \(String(cString: strerror(errno)))")
            }
            done += count
        }
    }

    /// Whether the other side has read all that was sent.
    var isDelivered: Bool {
        var count: Int32 = 0
        return ioctl(descriptor, UInt(TIOCOUTQ), &count) == 0 && count == 0
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// Says that nothing more is sent; what comes back can still be received.
    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What has come, without waiting for more.
    ///
    /// - Throws: When the other side has closed.
    func receiveNow() throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN { return [] }
        guard count > 0 else { throw WaitedInVain(description: "the other side has closed") }
        return Array(buffer[..<count])
    }

    /// What comes next; nothing when the other side closes.
    func receive() throws -> ArraySlice<UInt8> {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        return buffer[..<max(0, recv(descriptor, &buffer, buffer.count, 0))]
    }

    /// Everything until the other side closes.
    func receiveAll() throws -> [UInt8] {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return all }
            all += buffer[..<count]
        }
    }
}

/// A made-up pump: two readings that depend on each other, one that does not, and one fault that only their
/// combination shows.
struct PumpData {
    static let header = "time,flow,pressure,noise\n"
    private var random = SplitMix(state: 42)
    private(set) var nextRow = 0

    /// Lines; each row for which `isFaulty` is true has its pressure on the wrong side of the flow.
    mutating func lines(_ count: Int, isFaulty: (Int) -> Bool = { _ in false }) -> String {
        var text = ""
        for _ in 0..<count {
            let flow = 10 + 3 * sin(Double(nextRow) / 30) + 0.1 * random.normal()
            let offset = 2 * (flow - 10) + 0.1 * random.normal()
            let pressure = 50 + (isFaulty(nextRow) ? (offset < 0 ? 5 : -5) : offset)
            let noise = random.normal()
            text += "\(1_700_000_000 + nextRow),\(Self.text(flow)),\(Self.text(pressure)),"
            text += "\(Self.text(noise))\n"
            nextRow += 1
        }
        return text
    }

    private static func text(_ value: Double) -> String {
        String((value * 10_000).rounded() / 10_000)
    }

    private struct SplitMix {
        var state: UInt64

        mutating func uniform() -> Double {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Double((z ^ (z >> 31)) >> 11) * 0x1p-53
        }

        mutating func normal() -> Double {
            (-2 * log(max(uniform(), 1e-300))).squareRoot() * cos(2 * .pi * uniform())
        }
    }
}

extension TemporaryDirectory {
    /// Appends text to a file.
    func append(_ text: String, to name: String) throws {
        let path = file(name)
        if !FileManager.default.fileExists(atPath: path) { try write("", to: name) }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(text.utf8))
        try handle.close()
    }
}
