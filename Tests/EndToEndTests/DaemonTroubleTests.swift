import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonTroubleTests {
    /// Runs the daemon to its end.
    ///
    /// - Parameter wrapper: A program, with its arguments, that starts the daemon.
    private func runToEnd(
        _ arguments: [String], through wrapper: [String] = []
    ) throws -> (code: Int32, output: String, error: String) {
        let command = wrapper + [BuiltProgram.path("flowguardd")] + arguments
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        let (output, error) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        let problem = error.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (
            process.terminationStatus, String(decoding: text, as: UTF8.self),
            String(decoding: problem, as: UTF8.self)
        )
    }

    @Test func anUnknownKeyIsRefusedWithItsPlace() throws {
        let folder = try TemporaryDirectory()
        let path = try folder.write(
            "streams:\n  - name: pump-7\n    source: {file: a.csv}\n    featurs: [a]\n",
            to: "flowguard.yaml")
        for arguments in [["--config", path, "--check"], ["--config", path]] {
            let result = try runToEnd(arguments)
            #expect(result.code == 78)
            #expect(
                result.error == """
                    error: \(path):4:5: unknown key 'featurs' in stream 'pump-7'
                    hint:  did you mean 'features'?

                    """)
        }
    }

    @Test func theCheckSaysThatAConfigurationIsGood() throws {
        let folder = try TemporaryDirectory()
        let path = try folder.write("streams: [{name: a, source: {file: a.csv}}]", to: "good.yaml")
        let result = try runToEnd(["--config", path, "--check"])
        #expect(result.code == 0)
        #expect(result.output == "\(path): good, 1 stream\n")
        #expect(result.error.isEmpty)
    }

    @Test func aMissingConfigurationIsExitCode66() throws {
        let result = try runToEnd(["--config", "/nowhere/flowguard.yaml"])
        #expect(result.code == 66)
        #expect(
            result.error == """
                error: /nowhere/flowguard.yaml: the configuration cannot be read: no such file
                hint:  name an existing file with --config

                """)
    }

    @Test func anUnknownOptionIsExitCode64() throws {
        #expect(try runToEnd(["--nonsense"]).code == 64)
    }

    @Test func aStateDirectoryThatCannotBeMadeIsExitCode74() throws {
        let folder = try TemporaryDirectory()
        try folder.write("a file", to: "state")
        let daemon = DaemonProcess(folder: folder)
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        let result = try runToEnd(["--config", folder.file("flowguard.yaml")])
        #expect(result.code == 74)
        #expect(result.error == "error: \(folder.file("state")): make folder: Not a directory\n")
    }

    @Test(.takesOrdinaryUser) func aStateDirectoryThatIsNotWritableIsExitCode74() throws {
        let other = Facilities.ordinaryUser
        let folder = try TemporaryDirectory()
        chmod(folder.path, 0o755)
        let daemon = DaemonProcess(folder: folder)
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        let arguments = ["--config", folder.file("flowguard.yaml")]
        #expect(try runToEnd(arguments + ["--check"], through: other).code == 0)
        let state = folder.file("state")
        let absent = try runToEnd(arguments, through: other)
        #expect(absent.code == 74)
        #expect(
            absent.error == """
                error: \(state): make folder: Permission denied
                hint:  run as the owner of \(state), or change its owner or mode

                """)
        for name in ["", "/models", "/windows", "/quarantine"] {
            try FileManager.default.createDirectory(
                atPath: state + name, withIntermediateDirectories: true)
            chmod(state + name, 0o755)
        }
        let foreign = try runToEnd(arguments, through: other)
        #expect(foreign.code == 74)
        #expect(
            foreign.error == """
                error: \(state)/lock: open: Permission denied
                hint:  run as the owner of \(state)/lock, or change its owner or mode

                """)
    }

    @Test func aLogFolderThatCannotBeMadeIsWaitedFor() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let path = try daemon.folder.write("a file", to: "log")
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        try await daemon.start()
        let warning = "anomaly log: \(path): make folder: Not a directory"
        // It stays, though there is nothing to write.
        for _ in 0..<300 {
            #expect(try daemon.status().warnings == [warning])
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(try daemon.get("/metrics").text.contains("flowguard_anomaly_log_failing 1\n"))
        unlink(path)
        try await daemon.wait("the log") { try daemon.status().warnings.isEmpty }
        #expect(try daemon.logged().isEmpty)
    }

    @Test func twoDaemonsNeverShareAnAnomalyLog() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let other = DaemonProcess(folder: try TemporaryDirectory())
        for daemon in [daemon, other] {
            try daemon.configure("  - {name: a, source: {file: a.csv}}")
        }
        try await daemon.start()
        try FileManager.default.createSymbolicLink(
            atPath: other.folder.file("log"), withDestinationPath: daemon.folder.file("log"))
        try await other.start()
        let warning = "anomaly log: \(other.logPath): one daemon an anomaly log, "
        #expect(
            try other.status().warnings == [warning + "another process already writes to it"])
        #expect(try daemon.status().warnings.isEmpty)
        daemon.kill()
        try await other.wait("the log") { try other.status().warnings.isEmpty }
    }

    @Test func aStoreThatIsNoStoreIsExitCode74() throws {
        let folder = try TemporaryDirectory()
        try FileManager.default.createDirectory(
            atPath: folder.file("state"), withIntermediateDirectories: true)
        try folder.write(
            "not a database, but longer than a header is", to: "state/flowguard.sqlite")
        let daemon = DaemonProcess(folder: folder)
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        let result = try runToEnd(["--config", folder.file("flowguard.yaml")])
        #expect(result.code == 74)
        #expect(
            result.error == """
                error: store \(folder.file("state/flowguard.sqlite")): expected an SQLite database, \
                found another kind of file
                hint:  move the file away, or choose another state_directory

                """)
    }

    @Test func twoDaemonsNeverShareAState() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        try await daemon.start()
        let state = daemon.folder.file("state")
        let second = try runToEnd(["--config", daemon.folder.file("flowguard.yaml")])
        #expect(second.code == 74)
        #expect(
            second.error == """
                error: \(state): one daemon a state directory, process \(daemon.pid) already works on it
                hint:  stop that daemon, or give this one a state_directory of its own

                """)

        // Another state, and the same control socket.
        let other = try daemon.folder.write(
            """
            state_directory: other-state
            runtime_directory: run
            log: {anomalies: other.ndjson}
            streams: [{name: a, source: {file: a.csv}}]
            """, to: "other.yaml")
        let third = try runToEnd(["--config", other])
        #expect(third.code == 74)
        #expect(
            third.error == """
                error: \(daemon.controlSocket): another daemon answers on this control socket
                hint:  stop that daemon, or give this one a runtime_directory of its own

                """)
        #expect(try daemon.get("/healthz").text == "ok\n")
    }

    @Test func aBrokenReloadKeepsTheRunningConfiguration() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(10), to: "pump.csv")
        let good = "  - {name: pump, source: {file: pump.csv}}"
        try daemon.configure(good)
        try await daemon.start()
        try await daemon.wait("10 records") { try daemon.stream()?.recordsTotal == 10 }

        try daemon.configure(good + "\n  - {name: pump}")
        daemon.signal(SIGHUP)
        let warning = try await daemon.wait("a warning") { try daemon.status().warnings.first }
        #expect(warning.hasPrefix("the configuration was not taken over: "))
        #expect(warning.contains("stream 'pump' has no source"))
        #expect(
            try daemon.get("/metrics").text.contains("flowguard_config_last_reload_successful 0\n"))
        try daemon.folder.append(data.lines(5), to: "pump.csv")
        try await daemon.wait("5 more") { try daemon.stream()?.recordsTotal == 15 }

        try daemon.configure(good + "\n  - {name: other, source: {socket: run/other.sock}}")
        daemon.signal(SIGHUP)
        try await daemon.wait("another stream") { try daemon.stream("other") != nil }
        try await daemon.wait("no warning") { try daemon.status().warnings.isEmpty }
        #expect(
            try daemon.get("/metrics").text.contains("flowguard_config_last_reload_successful 1\n"))
        #expect(try daemon.stream()?.recordsTotal == 15)

        try daemon.configure("  - {name: other, source: {socket: run/other.sock}}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the end of a stream") { try daemon.stream() == nil }
    }

    @Test func aFileWaitsUntilItsFeaturesAreNamedRight() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(20), to: "pump.csv")
        try daemon.configure(
            "  - {name: pump, source: {file: pump.csv}, features: [flow, presure]}")
        try await daemon.start()
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(problem.message.contains("presure"))
        #expect(problem.hint?.hasSuffix(" and reload, or replace the file") == true)
        #expect(try daemon.stream()?.state == .failing)
        #expect(try daemon.stream()?.recordsTotal == 0)
        try daemon.configure(
            "  - {name: pump, source: {file: pump.csv}, features: [flow, pressure]}")
        daemon.signal(SIGHUP)
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 20 }
        #expect(try daemon.stream()?.lastError == nil)
    }

    @Test func hostileBytesOnASocketAreQuarantined() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: in, source: {socket: run/in.sock}}")
        try await daemon.start()
        let path = daemon.folder.file("run/in.sock")

        let good = try await daemon.client(of: "run/in.sock")
        try good.send("{\"a\":1,\"b\":2}\n{\"a\":2,\"b\":3}\n")
        try await daemon.wait("2 records") { try daemon.stream("in")?.recordsTotal == 2 }

        var garbage: [UInt8] = []
        var state: UInt32 = 1
        for _ in 0..<200_000 {
            state = state &* 1_664_525 &+ 1_013_904_223
            garbage.append(UInt8(state >> 24))
        }
        try StreamSocket(path: path).send(garbage)
        let long = try StreamSocket(path: path)
        let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
        for _ in 0..<100 { try long.send(piece) }
        try long.send("\n{\"a\":3,\"b\":4}\n")

        try good.send("{\"a\":4,\"b\":5}\n")
        try await daemon.wait("4 records") { try daemon.stream("in")?.recordsTotal == 4 }
        // Clients take turns: the lines of one that came before may be taken after those of another.
        func count(_ code: String) throws -> Int64 {
            try daemon.stream("in")?.faults.first { $0.code == code }?.count ?? 0
        }
        try await daemon.wait("the garbage") {
            try count("bad_syntax") > 100 && count("oversize_line") == 1
        }
        let quarantine = try #require(try daemon.stream("in")?.quarantine)
        var lines: [Substring] = []
        // A line is in the file before it is counted.
        try await daemon.wait("all of it to be counted") {
            lines = try String(contentsOfFile: quarantine, encoding: .utf8).split(separator: "\n")
            return try daemon.stream("in")?.faultsTotal == Int64(lines.count)
        }
        #expect(lines.contains { $0.contains("\"code\":\"oversize_line\"") })
        let metrics = try daemon.get("/metrics").text
        let memory = metrics.firstMatch(of: /flowguard_resident_memory_bytes (\d+)/)
            .flatMap { Int($0.1) }
        #expect((memory ?? .max) < 400 << 20)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func hostileRequestsAreAnsweredAndHarmNothing() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: a, source: {file: a.csv}}")
        try await daemon.start()
        #expect(
            try daemon.get("/v1/streams/b").text
                == "{\"error\":\"there is no stream 'b'\",\"hint\":\"the streams are: a\"}\n")
        #expect(try daemon.get("/v1/streams/b").status == 404)
        #expect(try daemon.get("/nowhere").status == 404)
        #expect(try daemon.get("/v1/anomalies?after=-1").status == 400)
        #expect(try daemon.get("/v1/anomalies?follow=maybe").status == 400)
        #expect(try daemon.get("/v1/anomalies/12345").status == 404)
        #expect(try daemon.get("/v1/streams/a/models/0").status == 400)
        #expect(try daemon.request("PUT", "/v1/streams/a/threshold", body: [1, 2]).status == 400)
        #expect(
            try daemon.request(
                "PUT", "/v1/streams/a/threshold", body: Array("{\"log_likelihood\":-3}".utf8)
            ).text
                == "{\"error\":\"stream 'a' has no model yet\","
                + "\"hint\":\"see flowguardctl status a\"}\n")
        #expect(
            try daemon.request(
                "PUT", "/v1/streams/a/threshold", body: [UInt8](repeating: 32, count: 1 << 20)
            ).status == 413)
        #expect(try daemon.request("POST", "/v1/streams/a/retrain").status == 409)
        for junk in [
            "\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
            "POST /v1/status HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            "GET /" + String(repeating: "a", count: 200_000) + " HTTP/1.1\r\n\r\n",
        ] {
            let socket = try StreamSocket(path: daemon.controlSocket)
            try? socket.send(junk)
        }
        #expect(try daemon.get("/healthz").status == 200)
        #expect(daemon.isRunning)
    }

    @Test func onlyWhatWasChangedIsLoggedAsAChange() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        let tooMany = Array("{\"false_alarms_per_day\":1e19}".utf8)
        #expect(
            try daemon.request("PUT", "/v1/streams/pump/threshold", body: tooMany).status == 400)
        #expect(try daemon.request("POST", "/v1/streams/pump/models/99/activate").status == 404)
        let some = Array("{\"false_alarms_per_day\":3}".utf8)
        #expect(try daemon.request("PUT", "/v1/streams/pump/threshold", body: some).status == 200)
        try await daemon.wait("the change in the journal") {
            daemon.errorText.contains("change=threshold")
        }
        #expect(
            daemon.errorText.split(separator: "\n").count { $0.contains("control change") } == 1)
    }

    @Test func aThresholdByHandSurvivesANewModel() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let body = Array("{\"log_likelihood\":-123.5}".utf8)
        let upper = try #require(try daemon.stream()?.threshold?.upperLogLikelihood)
        #expect(try daemon.request("PUT", "/v1/streams/pump/threshold", body: body).status == 200)
        // What is too likely stays so, and nobody has asked for any rate of alarms.
        #expect(try daemon.stream()?.threshold?.upperLogLikelihood == upper)
        #expect(try daemon.stream()?.asked == AlarmRate(perDay: nil, probability: nil))

        try daemon.folder.append(data.lines(3_000), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 3_600 }
        let reply = try ControlJSON.decode(
            RetrainReply.self, from: daemon.request("POST", "/v1/streams/pump/retrain").body)
        let ended = try await daemon.wait("the fit") {
            try daemon.stream()?.lastFit.flatMap { $0.id == reply.fit ? $0 : nil }
        }
        #expect(["accepted", "rejected"].contains(ended.state), "\(ended)")
        let threshold = try #require(try daemon.stream()?.threshold)
        #expect(threshold.kind == "manual")
        #expect(threshold.logLikelihood == -123.5)
        let models = try ControlJSON.decode(
            ModelList.self, from: daemon.get("/v1/streams/pump/models").body)
        #expect(models.models.count == 2)

        // Back to the first model, then back to the configuration's threshold.
        #expect(try daemon.request("POST", "/v1/streams/pump/models/1/activate").status == 200)
        #expect(try daemon.stream()?.model?.id == 1)
        #expect(try daemon.stream()?.threshold?.upperLogLikelihood == upper)
        let reset = Array("{\"reset\":true}".utf8)
        #expect(try daemon.request("PUT", "/v1/streams/pump/threshold", body: reset).status == 200)
        #expect(try daemon.stream()?.threshold?.kind == "calibrated")
        let scored = try daemon.request(
            "POST", "/v1/streams/pump/score?output_format=scores",
            body: Array((PumpData.header + data.lines(3)).utf8))
        #expect(scored.status == 200)
        #expect(scored.text.split(separator: "\n").count == 3)

        // The same after a restart.
        #expect(try await daemon.stop().code == 0)
        try await daemon.start()
        try await daemon.wait("the model") { try daemon.stream()?.model?.id == 1 }
        #expect(try daemon.stream()?.threshold?.kind == "calibrated")
    }

    @Test(.takesMount) func aFullDiskHoldsTheStreamAndLosesNothing() async throws {
        let folder = try TemporaryDirectory()
        let state = folder.file("state")
        try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
        try #require(try Mount.tmpfs(at: state, size: "6m"))
        defer { Mount.unmount(state) }
        let daemon = DaemonProcess(folder: folder)
        defer { daemon.kill() }
        var data = PumpData()
        try folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        try daemon.configure(DaemonLifeTests.pump)
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        Mount.fill(state + "/ballast")
        try folder.append(data.lines(40_000) { $0 % 1_000 == 0 }, to: "pump.csv")
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(problem.hint?.contains("free some space") == true, "\(problem)")
        #expect(try daemon.stream()?.state == .failing)
        unlink(state + "/ballast")
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 40_600 }
        #expect(try daemon.stream()?.state == .watching)
        let faulty = Set(stride(from: 1_000, through: 40_000, by: 1_000).map { 1_700_000_000 + $0 })
        let found = Set(
            try daemon.anomalies().compactMap {
                $0.recordTime.map { Int($0.timeIntervalSince1970) }
            })
        #expect(faulty.isSubset(of: found))
        try await daemon.wait("the log") { try daemon.logged() == daemon.anomalies() }
    }
}
