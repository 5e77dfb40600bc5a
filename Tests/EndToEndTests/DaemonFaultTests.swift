import Control
import Foundation
import TestSupport
import Testing

/// What goes wrong under a daemon with a model: it serves the last good state, says what is wrong, and goes on by itself.
@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonFaultTests {
    /// Waits for the problem, and looks whether the model serves meanwhile.
    private func serves(
        _ daemon: DaemonProcess, while texts: String..., data: PumpData
    ) async throws -> StreamProblem {
        let problem = try await daemon.wait("a message with \(texts)") {
            try daemon.stream()?.lastError.flatMap { problem in
                texts.contains { problem.message.contains($0) } ? problem : nil
            }
        }
        #expect(try daemon.stream()?.state == .failing)
        #expect(
            try daemon.get("/metrics").text
                .contains("flowguard_stream_state{stream=\"pump\",state=\"failing\"} 1\n"))
        #expect(try daemon.stream()?.model?.id == 1)
        var copy = data
        let scored = try daemon.request(
            "POST", "/v1/streams/pump/score?output_format=scores",
            body: Array((PumpData.header + copy.lines(3)).utf8))
        #expect(scored.status == 200)
        #expect(scored.text.split(separator: "\n").count == 3)
        return problem
    }

    private func recovers(_ daemon: DaemonProcess, to records: Int64) async throws {
        try await daemon.wait("\(records) records") {
            try daemon.stream()?.recordsTotal == records
        }
        try await daemon.wait("no problem") { try daemon.stream()?.lastError == nil }
        #expect(try daemon.stream()?.state == .watching)
        try await daemon.wait("the log") { try daemon.logged() == daemon.everyAnomaly() }
    }

    /// A daemon whose state is on a small file system of its own.
    private func daemonOnTmpfs() throws -> DaemonProcess {
        let folder = try TemporaryDirectory()
        let state = folder.file("state")
        try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
        try #require(try Mount.tmpfs(at: state, size: "6m"))
        return DaemonProcess(folder: folder)
    }

    private func ordinaryDaemon() throws -> DaemonProcess {
        let folder = try TemporaryDirectory()
        chmod(folder.path, 0o777)
        let daemon = DaemonProcess(folder: folder)
        daemon.wrapper = Facilities.ordinaryUser
        return daemon
    }

    @Test(.takesOrdinaryUser) func aStateThatBecomesReadOnlyIsWaitedFor() async throws {
        let daemon = try ordinaryDaemon()
        var data = try await daemon.startWithModel()
        let quarantine = daemon.folder.file("state/quarantine")
        chmod(quarantine, 0o555)
        try daemon.folder.append("no,record,at,all\n" + data.lines(200), to: "pump.csv")
        let problem = try await serves(daemon, while: "Permission denied", data: data)
        #expect(problem.message == "\(quarantine)/pump.ndjson: open: Permission denied")
        #expect(problem.hint != nil)
        chmod(quarantine, 0o755)
        try await recovers(daemon, to: 800)
        #expect(try daemon.stream()?.faultsTotal == 1)
    }

    @Test(.takesMount) func aFullDiskIsWaitedFor() async throws {
        let daemon = try daemonOnTmpfs()
        let state = daemon.folder.file("state")
        defer {
            daemon.kill()
            Mount.unmount(state)
        }
        var data = try await daemon.startWithModel()
        Mount.fill(state + "/ballast")
        try daemon.folder.append(data.lines(40_000) { $0 % 100 == 0 }, to: "pump.csv")
        let problem = try await serves(
            daemon, while: "No space left", "the disk is full", data: data)
        #expect(problem.hint?.contains("free some space") == true, "\(problem)")
        unlink(state + "/ballast")
        try await recovers(daemon, to: 40_600)
    }

    @Test func aStoreThatAnotherProcessLocksIsWaitedFor() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let lock = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        try daemon.folder.append(data.lines(500) { $0 % 100 == 0 }, to: "pump.csv")
        _ = try await serves(daemon, while: "another process has held its write lock", data: data)
        // Nor is a stop held up by it, and nothing is lost by that.
        let (code, took) = try await daemon.stop()
        #expect(code == 0)
        #expect(took < .seconds(15))
        try lock.release()
        try await daemon.start()
        try await recovers(daemon, to: 1_100)
    }

    @Test func aStopWithALockedStoreTakesNoLongerForManyStreams() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let names = (0..<12).map { "s\($0)" }
        try daemon.configure(
            names.map { "  - {name: \($0), source: {socket: run/\($0).sock}}" }
                .joined(separator: "\n"))
        try await daemon.start()
        for name in names {
            try await daemon.client(of: "run/\(name).sock").send("{\"a\":1}\n")
            try await daemon.wait("a record") { try daemon.stream(name)?.recordsTotal == 1 }
        }
        let lock = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        for name in names { try await daemon.client(of: "run/\(name).sock").send("{\"a\":2}\n") }
        try await daemon.wait("all to be held up") {
            try daemon.status().streams.allSatisfy { $0.state == .failing }
        }
        // Each stream has a line left, whose loss it would store: each waited for the lock anew.
        let (code, took) = try await daemon.stop()
        #expect(code == 0)
        #expect(took < .seconds(15))
        let told = daemon.errorText.split(separator: "\n")
        #expect(told.count { $0.contains("lines of clients lost") && $0.contains("lines=1") } == 12)
        #expect(
            told.count {
                $0.contains("their number was not stored") && $0.contains("dropped=0")
                    && $0.contains("lost=1 ")
            } == 12)
        try lock.release()
    }

    @Test func aLockThatEndsIsOvercome() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let lock = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        // A batch is on its way into the store, one is decoded, and the rest lies in the file: all of it is behind.
        let lines = data.lines(40_000) { $0 % 1_000 == 0 }
        daemon.signal(SIGSTOP)
        try daemon.folder.append(lines, to: "pump.csv")
        daemon.signal(SIGCONT)
        _ = try await serves(daemon, while: "another process has held its write lock", data: data)
        #expect(try daemon.stream()?.backlogBytes == Int64(lines.utf8.count))
        #expect(try daemon.metric("flowguard_backlog_bytes") == Double(lines.utf8.count))
        try lock.release()
        try await recovers(daemon, to: 40_600)
        #expect(try daemon.stream()?.backlogBytes == 0)
    }

    @Test func aDamagedWriteAheadLogCostsNoRecordOfAFile() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        for _ in 0..<20 {
            try daemon.folder.append(data.lines(50) { $0 % 50 == 7 }, to: "pump.csv")
            let total = Int64(data.nextRow)
            try await daemon.wait("\(total) records") {
                try daemon.stream()?.recordsTotal == total
            }
        }
        let before = try daemon.everyAnomaly()
        // What the log holds beyond the store is what tells of the loss.
        try await daemon.wait("the log") { try daemon.logged() == before }
        daemon.kill()
        // The newest transactions lie in it, and the first of them whose checksum is wrong ends it.
        let path = daemon.folder.file("state/flowguard.sqlite-wal")
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        let size = try handle.seekToEnd()
        #expect(size > 50_000)
        try handle.seek(toOffset: size / 2)
        try handle.write(contentsOf: Data(repeating: 0x5A, count: 5_000))
        try handle.close()
        try await daemon.start()
        let total = Int64(data.nextRow)
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == total }
        let after = try daemon.everyAnomaly()
        #expect(after.map(\.offset) == before.map(\.offset))
        #expect(after.map(\.summary) == before.map(\.summary))
        #expect(daemon.errorText.contains("the store has lost its newest anomalies"))
        #expect(try daemon.stream()?.state == .watching)
    }

    @Test func aFileThatBecomesAFolderIsWaitedFor() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let path = daemon.folder.file("pump.csv")
        rename(path, path + ".1")
        mkdir(path, 0o755)
        let problem = try await serves(daemon, while: "expected a regular file", data: data)
        #expect(problem.message == "\(path): expected a regular file, found a directory")
        // It is opened again and again, which makes nothing well, and is told once.
        for _ in 0..<300 {
            #expect(try daemon.stream()?.state == .failing)
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(daemon.errorText.split(separator: "\n").count { $0.contains("is failing") } == 1)
        rmdir(path)
        try daemon.folder.write(PumpData.header + data.lines(100), to: "pump.csv")
        try await recovers(daemon, to: 700)
    }

    @Test(.takesOrdinaryUser) func aFileThatMayNotBeReadIsWaitedFor() async throws {
        let daemon = try ordinaryDaemon()
        let folder = daemon.folder
        var data = try await daemon.startWithModel()
        let path = folder.file("pump.csv")
        rename(path, path + ".1")
        try folder.write(PumpData.header + data.lines(100), to: "pump.csv")
        chmod(path, 0)
        let problem = try await serves(daemon, while: "cannot be opened", data: data)
        #expect(problem.message.hasSuffix("Permission denied"))
        chmod(path, 0o644)
        try await recovers(daemon, to: 700)
    }

    @Test func clientsThatAreTooManyForTheDescriptorsHoldUpNothingElse() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        daemon.wrapper = ["/bin/sh", "-c", "ulimit -n 70; exec \"$@\"", "sh"]
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        try daemon.configure(
            DaemonLifeTests.pump + "\n  - {name: other, source: {socket: run/in.sock}}")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        var clients: [StreamSocket] = []
        for number in 1...60 {
            let client = try StreamSocket(path: folder.file("run/in.sock"))
            try client.send("{\"a\":\(number)}\n")
            clients.append(client)
        }
        try await daemon.wait("word of clients that wait") {
            try daemon.stream("other")?.lastError?.message
                == "\(folder.file("run/in.sock")): new clients wait: Too many open files, the "
                + "others are kept for files, the database and the control socket"
        }
        #expect(try #require(try daemon.stream("other")?.recordsTotal) < 60)
        // A file that is renamed is opened anew, which takes a descriptor; so does the file of a model.
        let path = folder.file("pump.csv")
        rename(path, path + ".1")
        try folder.write(PumpData.header + data.lines(100), to: "pump.csv")
        try await recovers(daemon, to: 700)
        #expect(try await daemon.retrain().id == 2)
        #expect(daemon.isRunning)
        // What waited in the kernel's queue is taken when others have left.
        clients = []
        try await daemon.wait("the lines of all clients") {
            try daemon.stream("other")?.recordsTotal == 60
        }
        try await daemon.wait("no problem") { try daemon.stream("other")?.lastError == nil }
    }

    @Test(.takesClock, arguments: ["+3d", "-3d"])
    func aClockThatStepsLosesNothing(step: String) async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        let clock = try folder.write("+0d", to: "clock")
        // The library wants a process before the one whose arguments matter.
        daemon.wrapper = ["/usr/bin/env"]
        daemon.environment = [
            "LD_PRELOAD": Facilities.clockLibrary, "FAKETIME_TIMESTAMP_FILE": clock,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        ]
        var data = try await daemon.startWithModel()
        try folder.append(data.lines(50), to: "pump.csv")
        try await daemon.wait("650 records") { try daemon.stream()?.recordsTotal == 650 }
        try folder.write(step, to: "clock")
        try folder.append(data.lines(100) { $0 % 50 == 0 }, to: "pump.csv")
        let path = folder.file("pump.csv")
        rename(path, path + ".1")
        try folder.write(PumpData.header + data.lines(100), to: "pump.csv")
        try await recovers(daemon, to: 850)
        try folder.write("+0d", to: "clock")
        try folder.append(data.lines(50) { $0 % 25 == 0 }, to: "pump.csv")
        try await recovers(daemon, to: 900)
        #expect(
            try daemon.everyAnomaly().map(\.id) == Array(1...Int64(daemon.everyAnomaly().count)))
        _ = try await daemon.stop()
        try await daemon.start()
        try await recovers(daemon, to: 900)
    }
}
