import Control
import Foundation
import TestSupport
import Testing

/// `fit`, `score` and `sample` without a daemon.
struct CommandFitScoreTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    private func fit(_ arguments: [String] = []) throws -> CommandOutcome {
        try runner.run(
            ["fit", "--output", "m.model"] + arguments, input: CommandRecords.csv(900))
    }

    private func score(_ input: String, _ arguments: [String] = []) throws -> CommandOutcome {
        try runner.run(["score", "--model", "m.model"] + arguments, input: input)
    }

    @Test func fitTellsWhatItLearned() throws {
        let outcome = try fit()
        #expect(outcome.code == 0)
        #expect(outcome.output == "")
        let error = outcome.error
        #expect(error.hasPrefix("m.model\nrecords    900: "))
        #expect(error.contains("\nfeatures   load, flow, pressure; time in time\n"))
        #expect(error.contains("\nmodel      nice, 4 flows, "))
        #expect(error.contains("\nheld out   "))
        #expect(error.contains(" nats, for a false-alarm\n           probability of 0.001\n"))
        let names = try FileManager.default.contentsOfDirectory(atPath: runner.folder.path)
        #expect(names.filter { $0.contains("part") } == [])
    }

    @Test func fitWritesThroughLinksAndPipesAndKeepsTheMode() throws {
        let folder = runner.folder
        let files = FileManager.default
        _ = try self.fit()
        let model = try runner.bytes("m.model")
        func fit(to name: String) throws {
            let outcome = try runner.run(["fit", "-o", name], input: CommandRecords.csv(900))
            #expect(outcome.code == 0, "\(outcome.error)")
        }
        func mode(_ name: String) throws -> Int? {
            try files.attributesOfItem(atPath: folder.file(name))[.posixPermissions] as? Int
        }
        try files.createDirectory(atPath: folder.file("d"), withIntermediateDirectories: true)
        try folder.write("old", to: "d/real.model")
        #expect(chmod(folder.file("d/real.model"), 0o600) == 0)
        for (link, target) in [("l.model", "d/k.model"), ("d/k.model", "real.model")] {
            try files.createSymbolicLink(
                atPath: folder.file(link), withDestinationPath: target)
        }
        try fit(to: "l.model")
        #expect(try files.destinationOfSymbolicLink(atPath: folder.file("l.model")) == "d/k.model")
        #expect(try runner.bytes("d/real.model") == model)
        #expect(try mode("d/real.model") == 0o600)
        // One that leads to nothing makes what it leads to.
        try files.createSymbolicLink(
            atPath: folder.file("n.model"), withDestinationPath: "d/new.model")
        try fit(to: "n.model")
        #expect(try runner.bytes("d/new.model") == model)
        #expect(mkfifo(folder.file("p.model"), 0o600) == 0)
        let reader = runner.process([])
        reader.executableURL = URL(fileURLWithPath: "/bin/sh")
        reader.arguments = ["-c", "cat p.model > read.model"]
        try reader.run()
        try fit(to: "p.model")
        reader.waitUntilExit()
        #expect(try runner.bytes("read.model") == model)
        #expect(
            try files.attributesOfItem(atPath: folder.file("p.model"))[.type] as? FileAttributeType
                != .typeRegular)
    }

    @Test func fitSaysWhichOptionMakesAColumnTheTime() throws {
        let renamed = CommandRecords.csv(900).replacing("time,load", with: "Zeit,load")
        let outcome = try runner.run(["fit", "-o", "m.model", "--json"], input: renamed)
        #expect(
            outcome.output.contains(
                "left out, as times: 'Zeit'; --time Zeit makes it the time"))
    }

    @Test func fitAsJSONIsOneDocument() throws {
        struct Report: Decodable {
            var family: String
            var features: [String]
            var records: Int
            var falseAlarmProbability: Double
        }
        let outcome = try fit([
            "--json", "--family", "nice", "--exclude", "flow", "--false-alarm-probability", "0.01",
        ])
        let report = try ControlJSON.decode(Report.self, from: Data(outcome.output.utf8))
        #expect(report.family == "nice")
        #expect(report.features == ["load", "pressure"])
        #expect(report.records == 900)
        #expect(report.falseAlarmProbability == 0.01)
    }

    @Test func sameSeedGivesTheSameBytesWhateverTheThreads() throws {
        _ = try fit(["--seed", "7", "--threads", "1"])
        let one = try runner.bytes("m.model")
        _ = try fit(["--seed", "7", "--threads", "3"])
        #expect(try runner.bytes("m.model") == one)
        _ = try fit(["--seed", "8"])
        #expect(try runner.bytes("m.model") != one)
    }

    @Test func fitGoesOnFromAFormerModelOrSaysWhyNot() throws {
        struct Report: Decodable {
            var warm: Bool
            var coldReason: String?
            var steps: Int
        }
        func report(_ arguments: [String], _ input: String) throws -> Report {
            let outcome = try runner.run(
                ["fit", "--output", "n.model", "--json"] + arguments, input: input)
            #expect(outcome.code == 0, "\(outcome.error)")
            return try ControlJSON.decode(Report.self, from: Data(outcome.output.utf8))
        }
        _ = try fit()
        let grown = CommandRecords.csv(1_000)
        let cold = try report([], grown)
        #expect(!cold.warm && cold.coldReason == nil)
        let warm = try report(["--from", "m.model"], grown)
        #expect(warm.warm && warm.coldReason == nil)
        #expect(warm.steps * 2 < cold.steps)
        let other = try report(["--from", "m.model", "--family", "glow"], grown)
        #expect(!other.warm)
        #expect(other.coldReason?.hasSuffix("family: expected glow, found nice") == true)
        let text = try runner.run(
            ["fit", "--output", "n.model", "--from", "m.model", "--exclude", "flow"], input: grown)
        #expect(text.error.contains("\nbegan      from nothing: other columns are read\n"))
        let missing = try runner.run(
            ["fit", "--output", "n.model", "--from", "none.model"], input: grown)
        #expect(missing.code == 66)
        #expect(missing.error.contains("none.model"))
    }

    @Test func scoreKeepsColumnsAndAddsThree() throws {
        _ = try fit()
        let outcome = try score(CommandRecords.csv(3) + CommandRecords.anomaly + "\n")
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
        let lines = outcome.output.split(separator: "\n")
        #expect(lines.count == 5)
        #expect(lines[0] == CommandRecords.header + ",log_likelihood,p_value,anomaly")
        for index in 0..<3 {
            #expect(lines[index + 1].hasPrefix(CommandRecords.line(index) + ","))
            #expect(lines[index + 1].hasSuffix(",0"))
        }
        #expect(lines[4].hasPrefix(CommandRecords.anomaly + ",-"))
        #expect(lines[4].hasSuffix(",1"))
    }

    @Test func whatWasScoredIsScoredAgain() throws {
        _ = try fit()
        let once = try score(CommandRecords.csv(3) + "x\n")
        #expect(once.error == "warning: standard input:5: expected 5 cells, found 1\n")
        let twice = try score(once.output)
        #expect(twice.output == once.output)
        #expect(
            twice.error.hasPrefix(
                "warning: standard input:5:6: column 'time': expected a value, found an empty cell")
                || twice.error.hasPrefix("warning: standard input:5:"))
        #expect(
            twice.error.hasSuffix(
                """
                note: standard input: what it has as 'log_likelihood', 'p_value', 'anomaly' is left \
                out, that of the score stands there

                """), "\(twice.error)")
    }

    @Test func columnsAreFoundByNameAndThoseUnknownPassThrough() throws {
        _ = try fit()
        let input = "time,load,flow,pressure\n2026-03-02T13:00:00Z,50,10,7\n"
        let shuffled = "pressure;id;flow;time;load\n7;a;10;2026-03-02T13:00:00Z;50\n"
        let expected = try score(input, ["--output-format", "scores"])
        #expect(expected.code == 0)
        let found = try score(
            shuffled, ["--output-format", "scores", "--delimiter", ";"])
        #expect(found.output == expected.output)
        let whole = try score(shuffled, ["--delimiter", ";"])
        #expect(
            whole.output.hasPrefix(
                "pressure;id;flow;time;load;log_likelihood;p_value;anomaly\n7;a;10;"))
    }

    @Test func ndjsonGoesInAndOut() throws {
        _ = try fit()
        let outcome = try score(
            #"{"time":"2026-03-02T13:00:00Z","pressure":7,"flow":10,"load":50,"id":"a"}"# + "\n",
            ["--input-format", "ndjson"])
        #expect(outcome.code == 0)
        #expect(
            outcome.output.hasPrefix(
                #"{"time":"2026-03-02T13:00:00Z","pressure":7,"flow":10,"load":50,"id":"a","#
                    + #""log_likelihood":"#))
        #expect(outcome.output.hasSuffix(#","anomaly":false}"# + "\n"))
    }

    @Test func anomalyIsExplainedOnRequest() throws {
        struct Line: Decodable {
            var anomaly: Bool
            var features: [AnomalyMessage.Feature]?
            var summary: String?
        }
        _ = try fit()
        let outcome = try score(
            CommandRecords.csv(1) + CommandRecords.anomaly + "\n", ["--explain"])
        #expect(outcome.code == 0)
        let lines = try outcome.output.split(separator: "\n").map {
            try ControlJSON.decode(Line.self, from: Data($0.utf8))
        }
        #expect(lines.map(\.anomaly) == [false, true])
        #expect(lines[0].features == nil && lines[0].summary == nil)
        let features = try #require(lines[1].features)
        #expect(Set(features.map(\.name)) == ["load", "flow", "pressure"])
        #expect(lines[1].summary?.hasPrefix(features[0].name + " ") == true)
    }

    @Test func lineThatCannotBeScoredKeepsItsPlace() throws {
        _ = try fit()
        let bad = ["x", "2026-03-02T13:00:00Z,50,n/a,7,x", "2026-03-02T13:00:00Z,50,inf,7,x"]
        let input =
            CommandRecords.csv(1) + bad.joined(separator: "\n") + "\n" + CommandRecords.line(5)
        let outcome = try score(input)
        #expect(outcome.code == 0)
        let lines = outcome.output.split(separator: "\n")
        #expect(lines.count == 6)
        #expect(lines[2] == "x,,,,,,,")
        #expect(lines[3...4].map(String.init) == bad[1...].map { $0 + ",,," })
        #expect(lines[5].hasPrefix(CommandRecords.line(5) + ","))
        #expect(
            outcome.error == """
                warning: standard input:3: expected 5 cells, found 1
                warning: standard input:4:25: column 'flow': expected a number, found 'n/a'
                warning: standard input:5:25: column 'flow': expected a finite number, found 'inf'

                """)
    }

    @Test func manyBadLinesAreToldInOne() throws {
        _ = try fit()
        let input = CommandRecords.csv(1) + String(repeating: "x\n", count: 50)
        let outcome = try score(input, ["--output-format", "scores"])
        #expect(outcome.output.count(where: { $0 == "\n" }) == 51)
        let lines = outcome.error.split(separator: "\n")
        #expect(lines.count == 21)
        #expect(
            lines.last == "warning: standard input: 50 lines not scored: 50 ragged_row")
    }

    @Test func anomalyDecidesTheExitCodeOnRequest() throws {
        _ = try fit()
        let normal = CommandRecords.csv(5)
        let odd = normal + CommandRecords.anomaly + "\n"
        #expect(try score(odd).code == 0)
        #expect(try score(odd, ["--fail-on-anomaly"]).code == 2)
        #expect(try score(normal, ["--fail-on-anomaly"]).code == 0)
    }

    @Test(.timeLimit(.minutes(5)))
    func lineIsScoredBeforeTheInputEnds() throws {
        _ = try fit()
        let process = runner.process(["score", "--model", "m.model", "--output-format", "scores"])
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(CommandRecords.csv(1).utf8))
        let first = output.fileHandleForReading.availableData
        #expect(String(decoding: first, as: UTF8.self).wholeMatch(of: /-?\d+\.\d+\n/) != nil)
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }

    @Test func readerThatGoesAwayEndsItQuietly() throws {
        _ = try fit()
        try runner.folder.write(CommandRecords.csv(50_000), to: "long.csv")
        let process = runner.process([])
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let program = BuiltProgram.path("flowguardctl")
        process.arguments = [
            "-c", "'\(program)' score --model m.model < long.csv 2> messages | head -n 1 > first",
        ]
        try process.run()
        process.waitUntilExit()
        #expect(
            try runner.text("first") == CommandRecords.header + ",log_likelihood,p_value,anomaly\n")
        #expect(try runner.text("messages") == "")
    }

    @Test func fullOutputIsNamed() throws {
        _ = try fit()
        let process = runner.process(["score", "--model", "m.model"])
        process.standardInput = try FileHandle(
            forReadingFrom: URL(
                fileURLWithPath: runner.folder.write(CommandRecords.csv(9), to: "few.csv")))
        process.standardOutput = FileHandle(forWritingAtPath: "/dev/full")
        let error = Pipe()
        process.standardError = error
        try process.run()
        let message = try error.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(process.terminationStatus == 74)
        #expect(
            String(decoding: message, as: UTF8.self)
                == "error: standard output: cannot be written: No space left on device\n")
    }

    @Test func sampleIsDrawnFromTheModelByItsSeed() throws {
        _ = try fit()
        let arguments = ["sample", "--model", "m.model", "-n", "200", "--seed", "3"]
        let first = try runner.run(arguments)
        #expect(first.code == 0)
        #expect(try runner.run(arguments).output == first.output)
        let rows = first.output.split(separator: "\n").dropFirst().map {
            $0.split(separator: ",").compactMap { Double($0) }
        }
        #expect(rows.count == 200)
        let loads = rows.map { $0[0] }
        #expect(abs(loads.reduce(0, +) / 200 - 50) < 3)
        let one = try runner.run([
            "sample", "--model", "m.model", "-n", "1", "--output-format", "ndjson",
        ])
        #expect(
            one.output.wholeMatch(
                of: /\{"load":[-\d.]+,"flow":[-\d.]+,"pressure":[-\d.]+\}\n/) != nil)
    }
}
