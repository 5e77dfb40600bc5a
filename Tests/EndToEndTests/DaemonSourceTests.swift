import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonSourceTests {
    @Test(arguments: [
        (nil, "is not there yet"), ("", "is empty"),
        (PumpData.header, "has no complete record yet"),
        (PumpData.header + "1,2,3", "has no complete record yet"),
    ])
    func aFileWithoutRecordsIsWaitedFor(content: String?, message: String) async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        if let content { try daemon.folder.write(content, to: "pump.csv") }
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        let stream = try #require(try daemon.stream())
        #expect(stream.state == .waiting)
        #expect(stream.waitingFor == "\(daemon.folder.file("pump.csv")) \(message)")
        #expect(stream.lastError == nil)
        #expect(try daemon.request("POST", "/v1/streams/pump/retrain").status == 409)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aClientOfOtherColumnsIsNotTakenForAFile() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            "  - {name: pump, source: {socket: in.sock}, format: csv, features: [flow]}")
        try await daemon.start()
        let client = try await daemon.client(of: "in.sock")
        try client.send("no,such\n1,2\n")
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(problem.message.contains("expected the column 'flow'"))
        #expect(problem.hint?.hasSuffix(" and reload, or what the clients send") == true)
    }

    @Test func aSocketInUseIsToldAndTakenOnceItIsFree() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try FileManager.default.createDirectory(
            atPath: daemon.folder.file("run"), withIntermediateDirectories: true)
        let path = daemon.folder.file("run/in.sock")
        var other: ListeningSocket? = try ListeningSocket(path: path)
        try daemon.configure("  - {name: pump, source: {socket: run/in.sock}}")
        try await daemon.start()
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(
            problem.message
                == "\(path): expected to be the only listener, found another process listening")
        #expect(try daemon.stream()?.state == .failing)
        #expect(other != nil)
        other = nil
        try await daemon.wait("the socket") {
            try daemon.stream()?.waitingFor == "no client has sent a record to \(path) yet"
        }
        try await daemon.client(of: "run/in.sock").send("{\"a\":1}\n")
        try await daemon.wait("a record") { try daemon.stream()?.recordsTotal == 1 }
    }

    @Test func clientsThatAreTurnedAwayAreCounted() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {socket: run/in.sock}}")
        try await daemon.start()
        var clients: [StreamSocket] = []
        for _ in 0..<64 { clients.append(try await daemon.client(of: "run/in.sock")) }
        try await daemon.wait("64 clients") { try daemon.stream()?.connections == 64 }
        for _ in 0..<3 { _ = try await daemon.client(of: "run/in.sock").receiveAll() }
        try await daemon.wait("the refusals") { try daemon.stream()?.refusedConnections == 3 }
        #expect(try daemon.metric("flowguard_refused_connections_total") == 3)
        withExtendedLifetime(clients) {}
    }

    @Test(arguments: [SIGTERM, SIGHUP])
    func linesThatClientsHaveSentSurviveAStopAndAReload(signal: Int32) async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let stream =
            "  - {name: pump, source: {socket: run/in.sock}, model: {members: 16}, "
            + "fit: {window_records: 1000, "
        try daemon.configure(stream + "first_after_records: 1000}}")
        try await daemon.start()
        // Until the first model, which takes its time, the worker holds the source, and lines wait in it.
        let lines = (0..<5_000).map { "{\"a\":\($0 * 7_919 % 97),\"b\":\($0 * 31 % 89)}\n" }
        var clients: [StreamSocket] = []
        for _ in 0..<4 {
            let client = try await daemon.client(of: "run/in.sock")
            try client.send(lines.joined())
            clients.append(client)
        }
        try await daemon.wait("a full window") {
            try daemon.stream().map { $0.recordsTotal >= 1_000 }
        }
        try await daemon.wait("the daemon to read all") { clients.allSatisfy(\.isDelivered) }
        #expect(try daemon.stream()?.recordsTotal ?? 0 < 20_000)
        if signal == SIGTERM {
            #expect(try await daemon.stop().code == 0)
            try await daemon.start()
        } else {
            try daemon.configure(stream + "first_after_records: 999}}")
            daemon.signal(SIGHUP)
        }
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 20_000 }
        #expect(try daemon.stream()?.lostTotal == 0)
    }

    @Test func anotherFileIsReadFromItsBeginning() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(20), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await daemon.wait("20 records") { try daemon.stream()?.recordsTotal == 20 }
        try daemon.configure("  - {name: pump, source: {file: other.csv}}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the other source") {
            try daemon.stream()?.source == daemon.folder.file("other.csv")
        }
        // What comes into the former file is no longer of this stream.
        try daemon.folder.append(data.lines(7), to: "pump.csv")
        try daemon.folder.write(PumpData.header + data.lines(5), to: "other.csv")
        try await daemon.wait("5 more records") { try daemon.stream()?.recordsTotal ?? 0 >= 25 }
        #expect(try daemon.stream()?.recordsTotal == 25)
    }

    @Test func aBadFirstLineOfAnEmptiedFileStopsNothing() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(20), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await daemon.wait("20 records") { try daemon.stream()?.recordsTotal == 20 }
        truncate(daemon.folder.file("pump.csv"), 0)
        try daemon.folder.append("n/a,ERR,ERR,ERR\n" + data.lines(5), to: "pump.csv")
        try await daemon.wait("5 more records and a line that is none") {
            try daemon.stream().map { ($0.recordsTotal, $0.faultsTotal) == (25, 1) }
        }
        #expect(try daemon.quarantined() == ["n/a,ERR,ERR,ERR"])
        try await daemon.wait("the warning") {
            daemon.errorText.contains("its first line names none of its columns")
        }
    }

    @Test func aSpoolThatNoStreamReadsIsTold() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let files = FileManager.default
        let spools = daemon.folder.file("state/spool")
        for name in ["gone", "empty", "pump"] {
            try files.createDirectory(
                atPath: spools + "/" + name, withIntermediateDirectories: true)
        }
        try daemon.folder.write([UInt8](repeating: 0, count: 1_000), to: "state/spool/gone/1.spool")
        try daemon.configure("  - {name: pump, source: {socket: run/pump.sock}}")
        try await daemon.start()
        let told =
            "1000 bytes of lines wait for the socket of stream 'gone', which is not in the "
            + "configuration: put it back to have them read, or remove the folder"
        #expect(try daemon.status().warnings == ["\(spools)/gone: \(told)"])
        #expect(daemon.errorText.contains("lines wait for a stream that is not configured"))
        #expect(try files.contentsOfDirectory(atPath: spools).sorted() == ["gone", "pump"])
        try files.removeItem(atPath: spools + "/gone")
        #expect(try daemon.status().warnings.isEmpty)
        // A stream that leaves leaves nothing where its spool is empty.
        try daemon.configure("  - {name: other, source: {socket: run/pump.sock}}")
        try await daemon.reload(1)
        #expect(try files.contentsOfDirectory(atPath: spools).isEmpty)
    }

    @Test func aDamagedFileOfASpoolIsKeptAndNamed() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let spool = daemon.folder.file("state/spool/pump")
        let files = FileManager.default
        try files.createDirectory(atPath: spool, withIntermediateDirectories: true)
        try daemon.folder.write(
            [UInt8](repeating: 1, count: 1_000), to: "state/spool/pump/000000000002.spool")
        try daemon.configure(
            "  - {name: pump, source: {socket: run/pump.sock, overflow: spill}}")
        try await daemon.start()
        let path = spool + "/000000000002.damaged"
        try await daemon.wait("the warning") {
            try daemon.status().warnings.contains { $0.hasPrefix(path + ": the spool is damaged") }
        }
        #expect(try files.contentsOfDirectory(atPath: spool) == ["000000000002.damaged"])
        try await daemon.wait("its name in the log") { daemon.errorText.contains(path) }
        try files.removeItem(atPath: path)
        #expect(try daemon.status().warnings.isEmpty)
    }

    @Test func aRotatedFileWithAnotherHeaderIsNamedAsItIsCalledNow() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(250), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 250 }
        let path = folder.file("pump.csv")
        rename(path, path + ".1")
        try folder.write("time,flow\n1790000000,5\n", to: "pump.csv")
        try await daemon.wait("word of the header") {
            try daemon.stream()?.lastError?.message.hasPrefix("\(path): expected the col") == true
        }
        rename(path, path + ".2")
        try folder.write(PumpData.header + data.lines(50), to: "pump.csv")
        try await daemon.wait("its name of now") {
            try daemon.stream()?.lastError?.message.hasPrefix("\(path).2: expected the col")
                == true
        }
        // By a name that no rotation gives, it holds up nothing.
        rename(path + ".2", path + ".bad")
        try await daemon.wait("the records after it") {
            try daemon.stream()?.recordsTotal == 300
        }
        try await daemon.wait("no problem") { try daemon.stream()?.lastError == nil }
    }

    @Test func aFullStandardErrorEndsNothing() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try daemon.launch(errorPath: "/dev/full")
        try await daemon.wait("the daemon to answer") {
            try? daemon.get("/healthz").status == 200
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test(.takesMount) func aFullLogDiskDoesNotPreventTheStart() async throws {
        let folder = try TemporaryDirectory()
        let log = folder.file("log")
        try FileManager.default.createDirectory(atPath: log, withIntermediateDirectories: true)
        try #require(try Mount.tmpfs(at: log, size: "1m"))
        defer { Mount.unmount(log) }
        let daemon = DaemonProcess(folder: folder)
        defer { daemon.kill() }
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(600) { $0 == 300 }, to: "pump.csv")
        try daemon.configure(DaemonLifeTests.frankPump)
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let all = try daemon.everyAnomaly()
        #expect(!all.isEmpty)
        try await daemon.wait("the log") { try daemon.logged() == all }
        #expect(try await daemon.stop().code == 0)
        unlink(daemon.logPath)
        unlink(folder.file("state/anomaly-log.position"))
        Mount.fill(log + "/ballast")
        try await daemon.start()
        let warning = try await daemon.wait("the warning") { try daemon.status().warnings.first }
        #expect(warning.hasPrefix("anomaly log: \(daemon.logPath): "), "\(warning)")
        #expect(warning.hasSuffix("No space left on device"), "\(warning)")
        unlink(log + "/ballast")
        try await daemon.wait("the log") { try daemon.status().warnings.isEmpty }
        #expect(try daemon.logged() == all)
    }

    @Test func theQuarantineIsBoundedAndSurvivesItsRemoval() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {file: pump.ndjson}}")
        let bad = String(repeating: "x", count: 210) + "\n"
        try daemon.folder.write(
            "{\"a\":1}\n" + String(repeating: bad, count: 10_000), to: "pump.ndjson")
        try await daemon.start()
        try await daemon.wait("10000 faults") { try daemon.stream()?.faultsTotal == 10_000 }
        let path = daemon.folder.file("state/quarantine/pump.ndjson")
        unlink(path)
        try daemon.folder.append(String(repeating: bad, count: 60_000), to: "pump.ndjson")
        try await daemon.wait("70000 faults") { try daemon.stream()?.faultsTotal == 70_000 }
        #expect(try daemon.stream()?.lastError == nil)
        for name in [path, path + ".1"] {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: name))
            #expect(bytes.count <= 16 << 20)
            #expect(bytes.first == UInt8(ascii: "{"), "no hole at the beginning")
        }
    }
}

/// A stream socket that listens.
final class ListeningSocket {
    private let descriptor: Int32

    init(path: String, forDatagrams: Bool = false) throws {
        let kind = forDatagrams ? SOCK_DGRAM : SOCK_STREAM
        descriptor = socket(AF_UNIX, Int32(kind.rawValue), 0)
        let number = descriptor
        let result = withUnixAddress(path) { bind(number, $0, $1) }
        guard result == 0, forDatagrams || listen(descriptor, 8) == 0 else {
            throw WaitedInVain(description: "listen \(path)")
        }
    }

    deinit { close(descriptor) }

    /// The socket, for another process.
    var handle: FileHandle { FileHandle(fileDescriptor: descriptor, closeOnDealloc: false) }
}

/// A small file system to fill.
enum Mount {
    static func tmpfs(at path: String, size: String) throws -> Bool {
        mount(["-t", "tmpfs", "-o", "size=\(size)", "tmpfs", path])
    }

    private static func mount(_ arguments: [String]) -> Bool {
        guard getuid() == 0 else { return false }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/mount")
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    static func unmount(_ path: String) { umount2(path, Int32(MNT_DETACH)) }

    /// Writes until there is no room.
    static func fill(_ path: String) {
        let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
        for size in [65_536, 512] {
            let piece = [UInt8](repeating: 1, count: size)
            while write(descriptor, piece, size) > 0 {}
        }
        close(descriptor)
    }
}
