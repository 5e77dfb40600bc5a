import Control
import Foundation
import Store
import TestSupport
import Testing

/// Every kind of source, with the real daemon.
@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonSourceKindTests {
    private func started(_ source: String, more: String = "") async throws -> DaemonProcess {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: \(source)\(more)}")
        try await daemon.start()
        return daemon
    }

    private func wait(_ daemon: DaemonProcess, for records: Int64) async throws {
        try await daemon.wait("\(records) records") {
            // The daemon may still be on its way up.
            (try? daemon.stream()?.recordsTotal) == records
        }
    }

    // MARK: Files

    /// Also of records that waited for the first model.
    @Test(arguments: ["{file: 'in/*.csv'}", "{directory: in}"])
    func anAnomalyNamesTheFileThatItCameFrom(source: String) async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            """
              - name: pump
                source: \(source)
                fit: {first_after_records: 600, every: never}
                alarm: {false_alarm_probability: 0.02}
            """)
        var data = PumpData()
        try FileManager.default.createDirectory(
            atPath: daemon.folder.file("in"), withIntermediateDirectories: true)
        try daemon.folder.write(
            PumpData.header + data.lines(300) { $0 % 300 == 150 }, to: "in/a.csv")
        try daemon.folder.write(
            PumpData.header + data.lines(300) { $0 % 300 == 150 }, to: "in/b.csv")
        try await daemon.start()
        try await daemon.wait("the records that waited") {
            try daemon.metric("flowguard_scored_records_total") == 600
        }
        let found = try daemon.anomalies()
        for (file, rows) in [("in/a.csv", 0..<300), ("in/b.csv", 300..<600)] {
            let own = found.filter {
                rows.contains(Int($0.recordTime?.timeIntervalSince1970 ?? 0) - 1_700_000_000)
            }
            #expect(!own.isEmpty)
            #expect(own.allSatisfy { $0.source == daemon.folder.file(file) }, "\(own)")
        }
    }

    @Test func aPatternFollowsAllFilesThatMatch() async throws {
        let daemon = try await started("{file: 'log/pump-*.csv'}")
        let folder = daemon.folder
        #expect(
            try daemon.stream()?.waitingFor
                == "no file that \(folder.file("log/pump-*.csv")) matches has a complete record yet"
        )
        var data = PumpData()
        for name in ["log/pump-a.csv", "log/pump-b.csv"] {
            try folder.write(PumpData.header + data.lines(100), to: name)
        }
        try await wait(daemon, for: 200)
        // One more appears, one grows, one is rotated, and one is renamed to a name that matches too.
        try folder.write(PumpData.header + data.lines(10), to: "log/pump-c.csv")
        try folder.append(data.lines(5), to: "log/pump-a.csv")
        try FileManager.default.moveItem(
            atPath: folder.file("log/pump-b.csv"), toPath: folder.file("log/pump-b.csv.1"))
        try folder.write(PumpData.header + data.lines(7), to: "log/pump-b.csv")
        try await wait(daemon, for: 222)
        try FileManager.default.moveItem(
            atPath: folder.file("log/pump-c.csv"), toPath: folder.file("log/pump-d.csv"))
        daemon.kill()
        try folder.append(data.lines(3), to: "log/pump-a.csv")
        try folder.append(data.lines(4), to: "log/pump-d.csv")
        try folder.write(PumpData.header + data.lines(1), to: "log/pump-e.csv")
        try await daemon.start()
        try await wait(daemon, for: 230)
        // Nothing is read again: not now, and not after another start.
        _ = try await daemon.stop()
        try await daemon.start()
        try folder.append(data.lines(1), to: "log/pump-e.csv")
        try await wait(daemon, for: 231)
        #expect(try daemon.stream()?.faultsTotal == 0)
    }

    @Test func aFileThatBecomesAPatternAndBackIsNotReadAgain() async throws {
        let daemon = try await started("{file: 'log/pump-a.csv'}")
        let folder = daemon.folder
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(100), to: "log/pump-a.csv")
        try await wait(daemon, for: 100)
        try daemon.configure("  - {name: pump, source: {file: 'log/pump-*.csv'}}")
        daemon.signal(SIGHUP)
        try folder.write(PumpData.header + data.lines(10), to: "log/pump-b.csv")
        try await wait(daemon, for: 110)
        try daemon.configure("  - {name: pump, source: {file: 'log/pump-a.csv'}}")
        daemon.signal(SIGHUP)
        // Until then the pattern takes what comes to either file.
        try await daemon.wait("the reload") {
            try daemon.stream()?.source.hasSuffix("log/pump-a.csv") == true
        }
        try folder.append(data.lines(3), to: "log/pump-a.csv")
        try folder.append(data.lines(1), to: "log/pump-b.csv")
        try await wait(daemon, for: 113)
        try daemon.configure("  - {name: pump, source: {file: 'log/pump-*.csv'}}")
        daemon.signal(SIGHUP)
        try await wait(daemon, for: 114)
        #expect(try daemon.stream()?.faultsTotal == 0)
    }

    @Test func oneFileOfAPatternWithAWrongHeaderHoldsUpNoOther() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        try FileManager.default.createDirectory(
            atPath: folder.file("in"), withIntermediateDirectories: true)
        try folder.write("no,such,columns\n1,2,3\n", to: "in/pump-a.csv")
        try folder.write(PumpData.header + data.lines(10), to: "in/pump-b.csv")
        try daemon.configure(
            "  - {name: pump, source: {file: 'in/pump-*.csv'}, features: [flow, pressure, noise]}")
        try await daemon.start()
        try await wait(daemon, for: 10)
        try folder.append(data.lines(5), to: "in/pump-b.csv")
        try await wait(daemon, for: 15)
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(problem.message.contains("pump-a.csv: expected the columns"))
        #expect(try daemon.stream()?.state == .failing)
        #expect(try daemon.get("/metrics").text.contains(#"stream="pump",state="failing"} 1"#))
        // Another file by that name is taken.
        try folder.write(PumpData.header + data.lines(10), to: "in/new")
        rename(folder.file("in/new"), folder.file("in/pump-a.csv"))
        try await wait(daemon, for: 25)
        try await daemon.wait("no problem") { try daemon.stream()?.lastError == nil }
        #expect(try daemon.stream()?.state == .learning)
    }

    @Test func oneFileOfAPatternThatCannotBeReadHoldsUpNoOther() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        try FileManager.default.createDirectory(
            atPath: folder.file("in"), withIntermediateDirectories: true)
        try folder.write(PumpData.header + data.lines(10), to: "in/pump-b.csv")
        try daemon.configure("  - {name: pump, source: {file: 'in/pump-*.csv'}}")
        try await daemon.start()
        try await wait(daemon, for: 10)
        // A file that is followed becomes a folder.
        unlink(folder.file("in/pump-b.csv"))
        mkdir(folder.file("in/pump-b.csv"), 0o755)
        try folder.write(PumpData.header + data.lines(10), to: "in/pump-c.csv")
        try await wait(daemon, for: 20)
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(problem.message.hasSuffix("expected a regular file, found a directory"))
        rmdir(folder.file("in/pump-b.csv"))
        try folder.write(PumpData.header + data.lines(10), to: "in/pump-b.csv")
        try await wait(daemon, for: 30)
        try await daemon.wait("no problem") { try daemon.stream()?.lastError == nil }
    }

    @Test func aLinkThatLeadsElsewhereIsFollowed() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        try FileManager.default.createDirectory(
            atPath: folder.file("days"), withIntermediateDirectories: true)
        let link = folder.file("pump.csv")
        func point(to day: String) throws {
            symlink("days/" + day, link + ".new")
            rename(link + ".new", link)
        }
        try folder.write(PumpData.header + data.lines(100), to: "days/1.csv")
        try point(to: "1.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await wait(daemon, for: 100)
        try folder.append(data.lines(10), to: "days/1.csv")
        try await wait(daemon, for: 110)
        try folder.write(PumpData.header + data.lines(20), to: "days/2.csv")
        // A file that is quiet for a second is left for the next one: a slow test would come too late.
        daemon.signal(SIGSTOP)
        try point(to: "2.csv")
        try folder.append(data.lines(1), to: "days/1.csv")
        daemon.signal(SIGCONT)
        try await wait(daemon, for: 131)
        try folder.append(data.lines(1), to: "days/2.csv")
        try await wait(daemon, for: 132)
        try await daemon.wait("the watch") { try daemon.stream()?.watchMode == "inotify" }
    }

    @Test func everyChangeOfAWatchedFileIsSeen() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(300), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await wait(daemon, for: 300)
        try await daemon.wait("the watch") { try daemon.stream()?.watchMode == "inotify" }
        for extra in 1...20 {
            try folder.append(data.lines(1), to: "pump.csv")
            try await wait(daemon, for: Int64(300 + extra))
        }
    }

    // MARK: Directory

    @Test func filesOfADirectoryAreReadOnceAndMoved() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        for name in ["in", "elsewhere"] {
            try FileManager.default.createDirectory(
                atPath: folder.file(name), withIntermediateDirectories: true)
        }
        func put(_ text: String, _ name: String) throws {
            try folder.write(text, to: "elsewhere/x")
            rename(folder.file("elsewhere/x"), folder.file("in/" + name))
        }
        func has(_ name: String) -> Bool {
            FileManager.default.fileExists(atPath: folder.file("in/" + name))
        }
        try put(PumpData.header + data.lines(300), "b.csv")
        try put(String((PumpData.header + data.lines(100)).dropLast()), "a.csv")
        try put("no,such,columns\n1,2,3\n", "c.csv")
        try put(PumpData.header + "x,x,x,x\ny,y,y,y\n", "d.csv")
        try put("", "e.csv")
        try put(PumpData.header + data.lines(3), "f.csv.part")
        try daemon.configure(
            "  - {name: pump, source: {directory: in}, features: [flow, pressure, noise]}")
        try await daemon.start()
        try await wait(daemon, for: 400)
        try await daemon.wait("the files to be moved") {
            has("done/a.csv") && has("done/b.csv") && has("done/e.csv") && has("failed/c.csv")
                && has("failed/d.csv")
        }
        #expect(has("f.csv.part"))
        #expect(!has("a.csv") && !has("b.csv") && !has("c.csv"))
        try await daemon.wait("their number") { try daemon.stream()?.failedFiles == 2 }
        #expect(try daemon.metric("flowguard_failed_files") == 2)
        #expect(daemon.errorText.contains("c.csv: expected the columns"))
        // The same name again is another file.
        try put(PumpData.header + data.lines(7), "a.csv")
        try await wait(daemon, for: 407)
        try await daemon.wait("the second file of that name") { has("done/a.csv.1") }
        // Nor is one behind that has failed.
        try put("no,such,columns\n1,2,3\n", "z.csv")
        try await daemon.wait("one more") { try daemon.stream()?.failedFiles == 3 }
        try await daemon.wait("no backlog") { try daemon.stream()?.backlogBytes == 0 }
        // What has failed stays counted.
        #expect(try await daemon.stop().code == 0)
        try await daemon.start()
        #expect(try daemon.stream()?.failedFiles == 3)
        #expect(try daemon.metric("flowguard_failed_files") == 3)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aDirectoryIsReadOnceThoughTheDaemonIsKilled() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        var data = PumpData()
        var chance = Chance(seed: Soak.seed)
        try FileManager.default.createDirectory(
            atPath: folder.file("in"), withIntermediateDirectories: true)
        try daemon.configure(
            "  - {name: pump, source: {directory: in}, fit: {first_after_records: 390000, "
                + "window_records: 400000}}")
        var (total, seen): (Int64, Int64) = (0, 0)
        for round in 0..<6 {
            for number in 0..<5 {
                let count = chance.number(1...9_000)
                try folder.write(
                    PumpData.header + data.lines(count), to: "in/\(1_000 + 5 * round + number).csv")
                total += Int64(count)
            }
            // Each start waits for a second until the files are quiet; it is killed while it reads them.
            try daemon.launch()
            try await daemon.wait("some more records") {
                (try? daemon.stream()?.recordsTotal).map { $0 > seen }
            }
            try await Task.sleep(for: .milliseconds(chance.number(0...60)))
            daemon.kill()
            let store = try StateStore(path: folder.file("state/flowguard.sqlite"))
            seen = try store.checkpoint(stream: "pump")?.recordsTotal ?? 0
            try store.close()
        }
        try await daemon.start()
        try await wait(daemon, for: total)
        try await daemon.wait("all files to be moved") {
            try FileManager.default.contentsOfDirectory(atPath: folder.file("in/done")).count == 30
        }
        #expect(try daemon.stream()?.recordsTotal == total)
    }

    // MARK: Datagrams, pipes, standard input

    @Test func datagramsAreRecords() async throws {
        let daemon = try await started("{datagram: run/in.sock}")
        let path = daemon.folder.file("run/in.sock")
        let sender = try await daemon.wait("the socket") { try? DatagramSender(path: path) }
        for number in 0..<500 { try sender.send("{\"a\":\(number),\"b\":1.5}") }
        try sender.send("{\"a\":1,\"b\":2}\n{\"a\":2,\"b\":2}\n")
        try sender.send("no record")
        try await daemon.wait("502 records and a line that is none") {
            try daemon.stream().map { ($0.recordsTotal, $0.faultsTotal) == (502, 1) }
        }
        #expect(try daemon.stream()?.sourceKind == "datagram")
        #expect(try await daemon.stop().code == 0)
        #expect(!FileManager.default.fileExists(atPath: daemon.folder.file("run/in.sock")))
    }

    @Test func writersOfANamedPipeComeAndGo() async throws {
        let daemon = try await started("{pipe: run/in.fifo}", more: ", format: csv")
        let path = daemon.folder.file("run/in.fifo")
        try await daemon.wait("the pipe") { FileManager.default.fileExists(atPath: path) }
        var data = PumpData()
        for round in 1...3 {
            let writer = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            // The last line has no end.
            try writer.write(contentsOf: Data((PumpData.header + data.lines(50)).utf8).dropLast())
            try writer.close()
            try await wait(daemon, for: Int64(50 * round))
        }
        #expect(try daemon.stream()?.faultsTotal == 0)
        #expect(try daemon.stream()?.state == .learning)
        #expect(try await daemon.stop().code == 0)
        #expect(FileManager.default.fileExists(atPath: path), "a pipe stays for its writers")
    }

    /// A daemon whose stream is its standard input, and the pipe to that.
    private func launchOnStandardInput() throws -> (DaemonProcess, Pipe) {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {stdin: true}, format: csv}")
        let input = Pipe()
        try daemon.launch(input: input)
        return (daemon, input)
    }

    @Test func standardInputIsReadToItsEnd() async throws {
        let (daemon, input) = try launchOnStandardInput()
        var data = PumpData()
        try await daemon.wait("the stream") { try? daemon.stream() }
        #expect(try daemon.stream()?.waitingFor == "no record has come by standard input yet")
        try input.fileHandleForWriting.write(
            contentsOf: Data((PumpData.header + data.lines(250)).utf8))
        try await wait(daemon, for: 250)
        try input.fileHandleForWriting.write(contentsOf: Data(data.lines(1).utf8).dropLast())
        try input.fileHandleForWriting.close()
        try await wait(daemon, for: 251)
        try await daemon.wait("the end") { try daemon.stream()?.state == .stopped }
        #expect(try daemon.get("/healthz").status == 200)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func standardInputKeepsItsHeaderOverAReload() async throws {
        let (daemon, input) = try launchOnStandardInput()
        var data = PumpData()
        let half = data.lines(1).dropLast(5)
        try input.fileHandleForWriting.write(
            contentsOf: Data((PumpData.header + data.lines(250) + half).utf8))
        try await daemon.wait("250 records") {
            (try? daemon.stream()?.recordsTotal) == 250
        }
        try daemon.configure(
            "  - {name: pump, source: {stdin: true}, format: csv, fit: {every: never}}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") { daemon.errorText.contains("configuration reloaded") }
        try input.fileHandleForWriting.write(contentsOf: Data(("12345\n" + data.lines(10)).utf8))
        try await wait(daemon, for: 261)
        #expect(try daemon.stream()?.faultsTotal == 0)
        try input.fileHandleForWriting.close()
        #expect(try await daemon.stop().code == 0)
    }

    // MARK: Socket activation

    @Test func aSocketThatSystemdOpensIsTakenOver() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        let path = folder.file("in.sock")
        let listener = try ListeningSocket(path: path)
        let inode = try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber]
        try daemon.configure("  - {name: pump, source: {socket: in.sock}}")
        // Whoever connects before the daemon is there waits, and is served.
        let early = try StreamSocket(path: path)
        try early.send("{\"a\":1}\n")
        try daemon.launch(activatedBy: listener)
        try await wait(daemon, for: 1)
        // Between two runs the socket is there, and clients wait again.
        #expect(try await daemon.stop().code == 0)
        let late = try StreamSocket(path: path)
        try late.send("{\"a\":2}\n")
        try daemon.launch(activatedBy: listener)
        try await wait(daemon, for: 2)
        let now = try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber]
        #expect(inode as? Int == now as? Int)
        withExtendedLifetime((early, late)) {}
    }
}

/// A sender of datagrams.
final class DatagramSender {
    private let descriptor: Int32

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        let result = withUnixAddress(path) { connect(descriptor, $0, $1) }
        guard result == 0 else { throw WaitedInVain(description: "connect \(path): \(errno)") }
    }

    deinit { close(descriptor) }

    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        guard Foundation.send(descriptor, bytes, bytes.count, 0) == bytes.count else {
            throw WaitedInVain(description: "send: \(errno)")
        }
    }
}
