import Control
import Foundation
import TestSupport
import Testing

/// `replay`: a history as the daemon would have taken it.
@Suite(.timeLimit(.minutes(20))) struct CommandReplayTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    /// A history with a fault, its configuration, and a folder for temporary files.
    private func prepare() throws {
        var data = PumpData()
        let lines = (data.lines(1_000) { (800..<810).contains($0) }).split(separator: "\n")
        let labelled = lines.enumerated().map {
            $0.element + ((800..<810).contains($0.offset) ? ",1" : ",0")
        }
        let header = PumpData.header.replacing("\n", with: ",label\n")
        try runner.folder.write(header + labelled.joined(separator: "\n") + "\n", to: "h.csv")
        try runner.folder.write(
            """
            state_directory: \(runner.folder.file("state"))
            log: {anomalies: \(runner.folder.file("log/anomalies.ndjson"))}
            streams:
              - name: pump
                source: {file: \(runner.folder.file("none.csv"))}
                fit: {first_after_records: 600, every: 24h}
                alarm: {false_alarm_probability: 0.001, cooldown: 30s}
            """, to: "f.yaml")
        try FileManager.default.createDirectory(
            atPath: runner.folder.file("tmp"), withIntermediateDirectories: true)
    }

    private func replay(_ arguments: [String], input: String = "") throws -> CommandOutcome {
        try runner.run(
            ["replay", "--config", "f.yaml", "--stream", "pump"] + arguments, input: input,
            environment: ["TMPDIR": runner.folder.file("tmp")])
    }

    private func left(in name: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: runner.folder.file(name))
    }

    @Test func aPersonReadsWhatWasFound() throws {
        try prepare()
        let outcome = try replay([
            "--label", "label", "--plot", "r.svg", "--records", "r.csv", "-n", "1", "h.csv",
        ])
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
        let text = outcome.output
        #expect(text.hasPrefix("pump  replay of h.csv\n\nspan          2023-11-14 22:13:20Z to "))
        #expect(
            text.contains("\nrecords       1,000, all scored; 600 waited for the first model\n"))
        #expect(text.contains("\nfeatures      flow, pressure, noise; time in time\n"))
        #expect(text.contains("\nfits          1: 1 accepted, 0 rejected; the first model"))
        #expect(text.contains("\nwindows       1 of 1 labelled window hit, "))
        #expect(text.contains("\nlabels        AUROC "))
        #expect(text.contains("\n2023-11-14 22:26:40Z     9 s  hit"))
        let records = try runner.text("r.csv").split(separator: "\n")
        #expect(records.count == 1_001)
        #expect(records.first == "record,time,log_likelihood,p_value,anomaly,episode,label")
        #expect(records[805].hasPrefix("805,2023-11-14T22:26:44.000Z,-"))
        #expect(records[805].hasSuffix(",1"))
        let drawing = try runner.text("r.svg")
        #expect(drawing.contains("<svg xmlns="))
        for word in ["pump", "hit", "alarms", "windows", "fits"] {
            #expect(drawing.contains(">\(word)</text>"), "\(word)")
        }
    }

    @Test func nothingIsLeftBehind() throws {
        try prepare()
        #expect(try replay(["h.csv"]).code == 0)
        #expect(try left(in: "tmp") == [])
        let names = try left(in: "").filter { $0.hasPrefix("state") || $0.hasPrefix("log") }
        #expect(names == [], "the daemon's own state is not touched")
    }

    @Test func ctrlCRemovesTheTemporaryState() async throws {
        try prepare()
        let process = runner.process(
            ["replay", "--config", "f.yaml", "--stream", "pump", "-"],
            environment: ["TMPDIR": runner.folder.file("tmp")])
        // As long as the pipe is open the replay waits for more.
        let input = Pipe()
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: runner.bytes("h.csv"))
        let end = ContinuousClock.now + .seconds(120)
        while try left(in: "tmp").isEmpty, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(try !left(in: "tmp").isEmpty)
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        try input.fileHandleForWriting.close()
        #expect(process.terminationReason == .uncaughtSignal)
        #expect(process.terminationStatus == SIGINT)
        #expect(try left(in: "tmp") == [])
    }

    @Test func standardInputIsAFile() throws {
        try prepare()
        let fromFile = try replay(["--json", "--label", "label", "h.csv"])
        let piped = try replay(["--json", "--label", "label", "-"], input: runner.text("h.csv"))
        #expect(piped.code == 0)
        #expect(piped.output.contains("\"standard input\""))
        #expect(
            piped.output.replacing("standard input", with: "h.csv") == fromFile.output)
    }

    @Test func theDaemonFindsTheSame() async throws {
        let daemon = DaemonProcess(folder: runner.folder)
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        // The daemon sees the 600th record before the 601st, as it would have, and fits there.
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 600, every: 24h}
                alarm: {false_alarms_per_day: 80, cooldown: 10s}
            """)
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try daemon.folder.append(
            data.lines(800) { (900..<905).contains($0) || $0 == 1_300 }, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 1_400 }
        let found = try daemon.anomalies()
        _ = try await daemon.stop()
        let outcome = try runner.run([
            "replay", "--config", "flowguard.yaml", "--stream", "pump", "--records", "r.csv",
            "pump.csv",
        ])
        #expect(outcome.code == 0, "\(outcome.error)")
        let replayed = try runner.text("r.csv").split(separator: "\n").dropFirst()
            .map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
            .filter { $0[4] == "1" }
        #expect(found.count > 5)
        #expect(replayed.map { $0[5] } == found.map { $0.episode.map(String.init) ?? "" })
        for (mine, message) in zip(replayed, found) {
            #expect(
                message.recordTime?.timeIntervalSince1970
                    == Double(1_700_000_000 + (Int(mine[0]) ?? 0) - 1))
            // Messages are rounded to so many digits.
            expectClose(
                try #require(Double(mine[2])), message.logLikelihood, absolute: 1e-5)
            expectClose(try #require(Double(mine[3])), message.pValue, relative: 1e-4)
        }
    }

    @Test(arguments: [
        (
            ["-"], 66,
            "error: standard input: expected at least one record to find the columns by, found none\n"
        ),
        (
            ["empty.csv"], 66,
            "error: empty.csv: expected at least one record to find the columns by, found none\n"
        ),
        (["none.csv"], 66, "error: none.csv: expected a file to read, found none\n"),
        (
            ["--label", "fault", "h.csv"], 1,
            """
            error: h.csv: expected the column 'fault', found 'time', 'flow', 'pressure', \
            'noise', 'label'
            """
        ),
        (["--stream", "valve", "h.csv"], 1, "error: f.yaml: there is no stream 'valve'\n"),
        (
            ["h.csv.gz"], 74,
            "error: h.csv.gz: compressed by gzip and cut off at its byte 4: expected more\n"
        ),
        (["."], 74, "error: .: expected a regular file, found a directory\n"),
        (["--plot", "no/r.svg", "h.csv"], 74, "error: no/r.svg: cannot be written: "),
    ])
    func whatCannotBeReplayedIsTold(arguments: [String], code: Int32, message: String) throws {
        try prepare()
        try runner.folder.write([0x1F, 0x8B, 8, 0], to: "h.csv.gz")
        try runner.folder.write(PumpData.header, to: "empty.csv")
        let outcome = try replay(arguments)
        #expect(outcome.code == code)
        #expect(outcome.error.hasPrefix(message), "\(outcome.error)")
        #expect(outcome.output == "")
        #expect(try left(in: "tmp") == [])
    }

    @Test func tooFewRecordsAreTold() throws {
        try prepare()
        let few = try runner.text("h.csv").split(separator: "\n").prefix(51)
        try runner.folder.write(few.joined(separator: "\n") + "\n", to: "few.csv")
        let outcome = try replay(["--plot", "r.svg", "few.csv"])
        #expect(outcome.code == 0)
        #expect(outcome.output.contains("\nrecords       50, none scored: there was no model\n"))
        #expect(outcome.output.contains("\nfits          none: there were too few records\n"))
        #expect(try runner.text("r.svg").contains("no record was scored"))
    }
}
