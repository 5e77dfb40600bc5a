import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonLifeTests {
    static let pump = """
          - name: pump
            source: {file: pump.csv}
            fit: {first_after_records: 500, every: never}
            alarm: {false_alarm_probability: 0.0001}
        """

    /// The same with a budget that a fault among its few records cannot use up: each of them calibrates.
    static let frankPump = pump.replacing(
        "false_alarm_probability: 0.0001", with: "false_alarm_probability: 0.05")

    @Test func followsAFileLearnsItAndCatchesAFault() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(400), to: "pump.csv")
        try daemon.configure(Self.pump, more: "http: {listen: 127.0.0.1:0}")
        try await daemon.start()
        try await daemon.wait("400 records") { try daemon.stream()?.learning?.have == 400 }
        #expect(try daemon.stream()?.state == .learning)

        try daemon.folder.append(data.lines(200), to: "pump.csv")
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let before = try daemon.anomalies().count

        let offset =
            try FileManager.default.attributesOfItem(
                atPath: daemon.folder.file("pump.csv"))[.size] as? Int64
        try daemon.folder.append(data.lines(1) { _ in true } + data.lines(50), to: "pump.csv")
        let found = try await daemon.wait("the fault") {
            try daemon.anomalies().first { $0.offset == offset }
        }
        #expect(found.tail == "low")
        #expect(found.recordTime == Date(timeIntervalSince1970: 1_700_000_600))
        #expect(["pressure", "flow"].contains(found.features.first?.name ?? ""))
        #expect(found.summary.contains("expected"))

        try await daemon.wait("651 records") { try daemon.stream()?.recordsTotal == 651 }
        let stream = try #require(try daemon.stream())
        #expect(stream.anomaliesTotal >= before + 1)
        #expect(stream.backlogBytes == 0)
        #expect(stream.model?.id == 1)
        #expect(stream.threshold?.kind == "calibrated")
        #expect(stream.lastError == nil)
        let metrics = try daemon.get("/metrics").text
        #expect(metrics.contains("flowguard_records_total{stream=\"pump\"} 651\n"))
        #expect(metrics.contains("flowguard_scored_records_total{stream=\"pump\"} 651\n"))
        #expect(metrics.contains("flowguard_unscored_records_total{stream=\"pump\"} 0\n"))
        try await daemon.wait("the log") { try daemon.logged() == daemon.anomalies() }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func killedInTheMiddleItFindsWhatAnUndisturbedRunFinds() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        #expect(try await daemon.stop().code == 0)
        try FileManager.default.copyItem(
            atPath: daemon.folder.file("state"), toPath: daemon.folder.file("fitted"))
        try FileManager.default.copyItem(
            atPath: daemon.folder.file("log"), toPath: daemon.folder.file("fitted-log"))

        let (rows, partRows) = (120_000, 24_000)
        let parts = (0..<(rows / partRows)).map { _ in data.lines(partRows) { $0 % 400 == 77 } }
        let path = daemon.folder.file("pump.csv")
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
        try daemon.folder.append(parts.joined(), to: "pump.csv")
        let total = Int64(600 + rows)
        try await daemon.start()
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == total }
        let undisturbed = try daemon.anomalies()
        #expect(try await daemon.stop().code == 0)
        #expect(undisturbed.count >= rows / 400)

        for name in ["state", "log"] {
            try FileManager.default.removeItem(atPath: daemon.folder.file(name))
        }
        try FileManager.default.moveItem(
            atPath: daemon.folder.file("fitted"), toPath: daemon.folder.file("state"))
        try FileManager.default.moveItem(
            atPath: daemon.folder.file("fitted-log"), toPath: daemon.folder.file("log"))
        // However much of it is read before this test looks, at each kill there is more.
        #expect(truncate(path, try #require(size)) == 0)
        try daemon.folder.append(parts[0], to: "pump.csv")
        var seen: Int64 = 600
        for part in parts.dropFirst() {
            try daemon.launch()
            seen = try await daemon.wait("some more records") { () -> Int64? in
                guard let found = try? daemon.stream()?.recordsTotal, found > seen else {
                    return nil
                }
                return found
            }
            try daemon.folder.append(part, to: "pump.csv")
            daemon.kill()
        }
        try await daemon.start()
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == total }
        let disturbed = try daemon.anomalies()
        #expect(disturbed.map(\.offset) == undisturbed.map(\.offset))
        #expect(disturbed.map(\.summary) == undisturbed.map(\.summary))
        #expect(disturbed.map(\.recordTime) == undisturbed.map(\.recordTime))
        #expect(disturbed.map(\.episode) == undisturbed.map(\.episode))
        let likelihoods = zip(disturbed, undisturbed).map {
            abs($0.logLikelihood - $1.logLikelihood)
        }
        #expect((likelihoods.max() ?? 0) < 1e-4)
        try await daemon.wait("the log") { try daemon.logged() == disturbed }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func recordsBeforeTheFirstModelAreScoredAfterAKill() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(450) { $0 == 210 }, to: "pump.csv")
        try daemon.configure(Self.frankPump)
        try await daemon.start()
        try await daemon.wait("450 records") { try daemon.stream()?.learning?.have == 450 }
        daemon.kill()
        try daemon.folder.append(data.lines(100), to: "pump.csv")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let metrics = try daemon.get("/metrics").text
        #expect(metrics.contains("flowguard_scored_records_total{stream=\"pump\"} 550\n"))
        #expect(
            try daemon.anomalies().contains {
                $0.recordTime == Date(timeIntervalSince1970: 1_700_000_210)
            })
    }

    @Test func theLogIsCompletedAndNothingInItIsRepeated() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        // The model has not learned from these faults: it finds all eight of them.
        try daemon.folder.append(data.lines(400) { $0 % 50 == 0 }, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 1_000 }
        try await daemon.wait("the log") {
            try daemon.logged().count >= 8 && daemon.logged() == daemon.anomalies()
        }
        let all = try daemon.logged()
        daemon.kill()

        // A crash in the middle of a line, some lines before the end.
        let text = try String(contentsOfFile: daemon.logPath, encoding: .utf8)
        let lines = text.split(separator: "\n")
        let torn =
            lines.dropLast(3).joined(separator: "\n") + "\n" + lines[lines.count - 3].prefix(40)
        try torn.write(toFile: daemon.logPath, atomically: false, encoding: .utf8)
        try await daemon.start()
        #expect(try daemon.logged() == all)
        #expect(try String(contentsOfFile: daemon.logPath, encoding: .utf8) == text)

        // A rotation while the daemon is away leaves an empty file, which stays empty.
        daemon.kill()
        try "".write(toFile: daemon.logPath, atomically: false, encoding: .utf8)
        try await daemon.start()
        #expect(try daemon.logged().isEmpty)

        // A rotation under way: the next anomaly goes to the new file.
        try FileManager.default.moveItem(
            atPath: daemon.logPath, toPath: daemon.folder.file("rotated"))
        daemon.signal(SIGHUP)
        try await daemon.wait("a new log") {
            FileManager.default.fileExists(atPath: daemon.logPath)
        }
        try daemon.folder.append(data.lines(1) { _ in true }, to: "pump.csv")
        let next = try await daemon.wait("the next anomaly") { try daemon.logged().first }
        #expect(next.id == (all.last?.id ?? 0) + 1)
    }

    @Test func aStoppedDaemonsStoreIsOneFileThatCanBePutBack() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        #expect(try await daemon.stop().code == 0)
        let path = daemon.folder.file("state/flowguard.sqlite")
        func hasLog() -> Bool { ["-wal", "-shm"].contains { access(path + $0, F_OK) == 0 } }
        #expect(!hasLog())
        let copy = daemon.folder.file("copy.sqlite")
        try FileManager.default.copyItem(atPath: path, toPath: copy)

        // Much goes on, and then the copy is put back.
        try await daemon.start()
        try daemon.folder.append(data.lines(5_000) { $0 % 100 == 0 }, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 5_600 }
        let all = try daemon.everyAnomaly().map(\.summary)
        #expect(try await daemon.stop().code == 0)
        #expect(!hasLog())
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.moveItem(atPath: copy, toPath: path)
        #expect(try StateStore(path: path).checkpoint(stream: "pump")?.recordsTotal == 600)

        try await daemon.start()
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 5_600 }
        #expect(try daemon.everyAnomaly().map(\.summary) == all)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func stopsDuringAFitWithoutWaitingForIt() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(40_000), to: "pump.csv")
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 40000}
            """)
        try await daemon.start()
        try await daemon.wait("a running fit") { try daemon.stream()?.fit?.state == "running" }
        let (code, took) = try await daemon.stop()
        #expect(code == 0)
        #expect(took < .seconds(30))
        let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
        #expect(try store.fits(stream: "pump", limit: 1).first?.state == .cancelled)
        #expect(try store.checkpoint(stream: "pump")?.recordsTotal == 40_000)
        #expect(!FileManager.default.fileExists(atPath: daemon.controlSocket))
    }

    @Test func aReloadWithinTheStartEndsNothing() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try daemon.launch()
        try await daemon.wait("its state") { access(daemon.folder.file("state/lock"), F_OK) == 0 }
        try await daemon.wait("the daemon to answer") {
            daemon.signal(SIGHUP)
            guard daemon.isRunning else { throw WaitedInVain(description: "it has ended") }
            return try? daemon.get("/healthz").status == 200
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func systemdHearsOfReadyReloadingAndStopping() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        let notify = try DatagramSocket(path: daemon.folder.file("notify"))
        try daemon.launch(environment: [
            "NOTIFY_SOCKET": daemon.folder.file("notify"), "WATCHDOG_USEC": "200000",
        ])
        var heard: [String] = []
        func hear(_ text: String) async throws {
            try await daemon.wait("\(text) among \(heard)") {
                while let message = notify.receive() {
                    heard.append(message)
                    if message.contains(text) { return true }
                }
                return false
            }
        }
        try await hear("READY=1")
        try await hear("WATCHDOG=1")
        daemon.signal(SIGHUP)
        try await hear("RELOADING=1\nMONOTONIC_USEC=")
        try await hear("READY=1")
        daemon.signal(SIGTERM)
        try await hear("STOPPING=1")
        #expect(try await daemon.exitCode() == 0)
    }
}

/// A datagram socket that listens, as systemd does.
final class DatagramSocket {
    private let descriptor: Int32

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        let result = withUnixAddress(path) { bind(descriptor, $0, $1) }
        guard result == 0 else { throw WaitedInVain(description: "bind \(path)") }
    }

    deinit { close(descriptor) }

    /// The next message, without waiting.
    func receive() -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
}
