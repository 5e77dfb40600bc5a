import Control
import Foundation
import TestSupport
import Testing

/// Rows of one reading each, through the real daemon.
@Suite(.serialized, .timeLimit(.minutes(20))) struct LongRowsRunTests {
    private static func pump(_ source: String, _ rows: String) -> String {
        """
          - name: pump
            source: \(source)
            \(rows)
            fit: {first_after_records: 500, every: never}
            alarm: {false_alarm_probability: 0.0001}
        """
    }

    private static let csv =
        "time: {column: time}\n    long: {series: sensor, value: value, every: 1s}"
    private static let influx = "format: influx\n    long: {every: 1s}"
    private static let header = "time,sensor,value\n"

    @Test func aFileOfLongRowsIsLearnedAndItsFaultFound() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(600), to: "pump.csv")
        try daemon.configure(Self.pump("{file: pump.csv}", Self.csv))
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().features == ["flow", "pressure", "noise"])
        #expect(try daemon.detail().timeColumn == "time")
        // The last step may still get rows.
        #expect(try daemon.stream()?.recordsTotal == 599)

        let before = try Data(contentsOf: URL(fileURLWithPath: daemon.folder.file("pump.csv")))
        let calm = data.rows(30)
        try daemon.folder.append(
            calm + data.rows(1) { _ in true } + "1700000630.1,flow,1\n1700000629,flow,1\n"
                + "1700000630.9,torque,1\nnoon,flow,1\n" + data.rows(20), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 650 }
        let found = try #require(
            try daemon.anomalies().first {
                $0.recordTime == Date(timeIntervalSince1970: 1_700_000_630)
            })
        // Its first row's place.
        #expect(found.offset == Int64(before.count + calm.utf8.count))
        #expect(found.source == daemon.folder.file("pump.csv"))
        let status = try #require(try daemon.stream())
        #expect(
            status.points
                == PointsMessage(lateTotal: 1, duplicateTotal: 1, unknownTotal: 1))
        #expect(status.faults == [FaultCount(code: "bad_time", count: 1)])
        for (name, count) in [("late", 1.0), ("duplicate", 1), ("unknown", 1)] {
            #expect(try daemon.metric("flowguard_\(name)_points_total") == count)
        }
        let shown = try daemon.told(["status", "pump"])
        #expect(
            shown.contains("of the rows 1 late, 1 at the time of another, 1 of no known series"),
            "\(shown)")
        #expect(try await daemon.stop().code == 0)
    }

    @Test func measurementsOfASocketAreLearnedTogether() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(Self.pump("{socket: run/in.sock}", Self.influx))
        try await daemon.start()
        var data = PumpData()
        let telegraf = try await daemon.client(of: "run/in.sock")
        try telegraf.send(data.points(600))
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().features == ["pump.flow", "pump.pressure", "air.noise"])
        try telegraf.send(data.points(50) { $0 == 630 })
        try await daemon.wait("the fault") {
            try daemon.anomalies().contains {
                $0.recordTime == Date(timeIntervalSince1970: 1_700_000_630)
                    && $0.features.contains { $0.name == "pump.pressure" }
            }
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func historyThatIsLongRowsIsLearnedAndGoesOnIntoTheSource() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(300), to: "old-1.csv")
        try daemon.folder.write(Self.header + data.rows(300), to: "old-2.csv")
        // The source repeats the end of the history, whose steps are closed but for one.
        try daemon.folder.write(
            Self.header + "1700000598,flow,1\n" + data.rows(50), to: "pump.csv")
        try daemon.configure(
            Self.pump("{file: pump.csv}", Self.csv + "\n    history: [old-*.csv]"))
        try await daemon.start()
        // The last step of the history becomes a record of the source, whose last one is open.
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 50 }
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try daemon.folder.append(data.rows(20) { $0 == 660 }, to: "pump.csv")
        try await daemon.wait("the fault") {
            try daemon.anomalies().contains {
                $0.recordTime == Date(timeIntervalSince1970: 1_700_000_660)
            }
        }
        #expect(try daemon.stream()?.points?.lateTotal == 1)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aStepMayBeginInOneFileAndEndInTheNext() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        let rows = data.rows(40).split(separator: "\n").map { $0 + "\n" }
        try FileManager.default.createDirectory(
            atPath: daemon.folder.file("in"), withIntermediateDirectories: true)
        // The row in the middle is the second of three.
        try daemon.folder.write(Self.header + rows[..<61].joined(), to: "in/a.csv")
        try daemon.folder.write(Self.header + rows[61...].joined(), to: "in/b.csv")
        try daemon.configure(
            Self.pump(
                "{directory: in}", Self.csv + "\n    features: [flow, pressure, noise, level]"))
        try await daemon.start()
        // Each step lacks a feature: what is in the quarantine names its first row.
        try await daemon.wait("both files") { try daemon.stream()?.faultsTotal == 39 }
        #expect(try daemon.stream()?.faults == [FaultCount(code: "incomplete_step", count: 39)])
        struct Entry: Decodable, Equatable {
            var source: String
            var line: Int64
            var offset: Int64
            var column: String
            var reason: String
            var text: String
        }
        let entries = try Data(
            contentsOf: URL(fileURLWithPath: daemon.folder.file("state/quarantine/pump.ndjson"))
        ).split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(Entry.self, from: Data($0))
        }
        let before = Self.header + rows[..<60].joined()
        #expect(
            entries[20]
                == Entry(
                    source: daemon.folder.file("in/a.csv"), line: 62,
                    offset: Int64(before.utf8.count), column: "level",
                    reason: "the step from 2023-11-14T22:13:40Z: expected values of 'level' that "
                        + "are at most 5 s old, found none", text: ""))
        #expect(entries[21].source == daemon.folder.file("in/b.csv"))
        #expect(entries[21].line == 4)
        // No line was at fault.
        try await daemon.wait("the files to be done") {
            ["a.csv", "b.csv"].allSatisfy {
                FileManager.default.fileExists(atPath: daemon.folder.file("in/done/\($0)"))
            }
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func anotherGridBeginsToLearnAnew() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(600), to: "pump.csv")
        try daemon.configure(Self.pump("{file: pump.csv}", Self.csv))
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        // A record that may be later is of the same kind: the model stays.
        try daemon.configure(
            Self.pump("{file: pump.csv}", Self.csv.replacing("1s}", with: "1s, late_by: 1s}")))
        try await daemon.reload(1)
        try daemon.folder.append(data.rows(20), to: "pump.csv")
        try await daemon.wait("more records") { try daemon.stream()?.recordsTotal == 618 }
        #expect(try daemon.stream()?.state == .watching)
        try daemon.configure(
            Self.pump("{file: pump.csv}", Self.csv.replacing("every: 1s", with: "every: 2s")))
        try await daemon.reload(2)
        try daemon.folder.append(data.rows(20), to: "pump.csv")
        try await daemon.wait("the new beginning") {
            try daemon.stream().map { $0.state == .learning && $0.recordsTotal > 618 }
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func rowsThatAreAllLateAreTold() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        let early = data.rows(400)
        try daemon.folder.write(Self.header + data.rows(100), to: "pump.csv")
        try daemon.configure(Self.pump("{file: pump.csv}", Self.csv))
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 99 }
        try daemon.folder.append(early, to: "pump.csv")
        try await daemon.wait("all rows") { try daemon.stream()?.points?.lateTotal == 1_200 }
        let problem = try await daemon.wait("the message") { try daemon.stream()?.lastError }
        #expect(
            problem.message == "long rows: expected rows in the order of their times, found 1200 "
                + "in a row that came when the step of their time was closed")
        try daemon.folder.append(data.rows(10), to: "pump.csv")
        try await daemon.wait("the end of it") {
            try daemon.stream().map { $0.recordsTotal == 109 && $0.lastError == nil }
        }
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aStreamMayReadWholeRecordsAgain() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(50), to: "pump.csv")
        try daemon.configure(Self.pump("{file: pump.csv}", Self.csv))
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 49 }
        try daemon.folder.write(PumpData.header + data.lines(50), to: "wide.csv")
        try daemon.configure(Self.pump("{file: wide.csv}", "missing: reject"))
        try await daemon.reload(1)
        try await daemon.wait("whole records") {
            try daemon.stream().map { $0.recordsTotal == 99 && $0.points == nil }
        }
        #expect(try daemon.stream()?.lastError == nil)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aSourceWithoutTheColumnsSaysSo() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.folder.write("time,flow\n1,2\n", to: "pump.csv")
        try daemon.configure(Self.pump("{file: pump.csv}", Self.csv))
        try await daemon.start()
        let problem = try await daemon.wait("the message") { try daemon.stream()?.lastError }
        #expect(
            problem.message.hasSuffix(
                "expected the columns 'value', 'sensor', found 'time', 'flow'"),
            "\(problem.message)")
        #expect(try await daemon.stop().code == 0)
    }

    // MARK: Kills

    /// A folder with the state of a daemon that has a model of long rows.
    private static func folderWithModel(_ rows: String) async throws -> TemporaryDirectory {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        if rows == csv {
            try daemon.folder.write(header + data.rows(600), to: "first.csv")
            try daemon.configure(pump("{file: first.csv}", rows))
        } else {
            try daemon.folder.write(data.points(600), to: "first.influx")
            try daemon.configure(pump("{file: first.influx}", rows))
        }
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        _ = try await daemon.stop()
        return daemon.folder
    }

    /// Lines that are mostly in order, and what else comes: faults, late rows, rows sent twice, and bad ones.
    private static func disturbed(_ lines: Substring, by chance: inout Chance) -> [String] {
        var all: [String] = []
        for line in lines.split(separator: "\n") {
            all.append(String(line))
            if chance.happens(0.02) { all.append("bad") }
            if chance.happens(0.03) { all.append(String(line)) }
            if chance.happens(0.03), all.count > 9 { all.append(all[all.count - 9]) }
        }
        return all
    }

    /// What a line of the quarantine says whatever its connection.
    private struct Rejected: Decodable, Equatable {
        var column: String?
        var code: String
        var reason: String
        var text: String
    }

    private func rejected(_ daemon: DaemonProcess) throws -> [Rejected] {
        try Data(
            contentsOf: URL(fileURLWithPath: daemon.folder.file("state/quarantine/pump.ndjson"))
        ).split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(Rejected.self, from: Data($0))
        }
    }

    /// Waits until both have read all of some rows, and compares what they found.
    private func expectTheSame(
        _ daemon: DaemonProcess, _ truth: DaemonProcess, steps: Int, lines: [String]
    ) async throws {
        let bad = Int64(lines.count { $0 == "bad" })
        for each in [daemon, truth] {
            // The last step is open; of the others some lack a value.
            try await each.wait("\(steps - 1) steps and \(bad) bad lines") {
                try each.stream().map { status in
                    let steps = Int64(steps - 1)
                    let lacking = status.faults.first { $0.code == "incomplete_step" }
                    return status.recordsTotal + (lacking?.count ?? 0) == steps
                        && status.faultsTotal - (lacking?.count ?? 0) == bad
                }
            }
        }
        let expected = try #require(try truth.stream())
        let status = try #require(try daemon.stream())
        #expect(status.points == expected.points, "seed \(Soak.seed)")
        #expect(status.faults == expected.faults, "seed \(Soak.seed)")
        #expect(status.faults.contains { $0.code == "incomplete_step" })
        #expect(try rejected(daemon) == rejected(truth), "seed \(Soak.seed)")
        let (found, all) = (try daemon.everyAnomaly(), try truth.everyAnomaly())
        #expect(found.map(\.recordTime) == all.map(\.recordTime), "seed \(Soak.seed)")
        #expect(found.map(\.summary) == all.map(\.summary), "seed \(Soak.seed)")
        #expect(found.map(\.episode) == all.map(\.episode), "seed \(Soak.seed)")
        let gap = zip(found, all).map { abs($0.logLikelihood - $1.logLikelihood) }.max() ?? 0
        #expect(gap < 1e-4, "seed \(Soak.seed)")
        #expect(found.count > 10, "the run has found too little to show anything")
    }

    @Test func killedWithinAStepAFileGivesTheSameRecords() async throws {
        let base = try await Self.folderWithModel(Self.csv)
        var chance = Chance(seed: Soak.seed)
        var data = PumpData()
        _ = data.rows(600)
        let daemon = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try daemon.folder.write(Self.header, to: "more.csv")
        try daemon.configure(Self.pump("{file: more.csv}", Self.csv))
        var text = Self.header
        let kills = max(12, Soak.kills / 4)
        for _ in 0..<kills {
            // In most rounds it has come as far as reading when it is killed.
            if chance.happens(0.7) { try await daemon.start() } else { try daemon.launch() }
            for _ in 0..<chance.number(1...8) {
                let rows = Self.disturbed(
                    data.rows(chance.number(1...40), withGaps: true) { $0 % 40 == 7 }[...],
                    by: &chance)
                let piece = rows.map { $0 + "\n" }.joined()
                // In two writes, the first of which may end within a line.
                let cut = piece.index(
                    piece.startIndex, offsetBy: chance.number(0...piece.count))
                try daemon.folder.append(String(piece[..<cut]), to: "more.csv")
                try await Task.sleep(for: .milliseconds(chance.number(0...20)))
                try daemon.folder.append(String(piece[cut...]), to: "more.csv")
                text += piece
            }
            if chance.happens(0.2) { _ = try await daemon.stop() } else { daemon.kill() }
        }
        try await daemon.start()

        let truth = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try truth.folder.write(text, to: "more.csv")
        try truth.configure(Self.pump("{file: more.csv}", Self.csv))
        try await truth.start()
        try await expectTheSame(
            daemon, truth, steps: data.nextRow, lines: text.split(separator: "\n").map(String.init))
        #expect(try daemon.everyAnomaly().map(\.offset) == truth.everyAnomaly().map(\.offset))
    }

    @Test func killedWithinAStepASocketThatAcknowledgesGivesTheSameRecords() async throws {
        let base = try await Self.folderWithModel(Self.influx)
        var chance = Chance(seed: Soak.seed + 1)
        var data = PumpData()
        _ = data.points(600)
        let daemon = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try daemon.configure(
            Self.pump("{socket: run/in.sock, acknowledge: true}", Self.influx))
        let client = NumberedClient(name: "telegraf", path: daemon.folder.file("run/in.sock"))
        let kills = max(12, Soak.kills / 4)
        for _ in 0..<kills {
            // In most rounds it has come as far as reading when it is killed.
            if chance.happens(0.7) { try await daemon.start() } else { try daemon.launch() }
            client.add(
                Self.disturbed(
                    data.points(chance.number(1...150), withGaps: true) { $0 % 40 == 7 }[...],
                    by: &chance))
            for _ in 0..<chance.number(1...12) {
                client.work(sending: chance.number(0...60))
                try await Task.sleep(for: .milliseconds(chance.number(0...25)))
            }
            if chance.happens(0.2) { client.disconnect(inLine: chance.happens(0.5)) }
            daemon.kill()
        }
        try await daemon.start()
        try await daemon.wait("every acknowledgement") {
            client.work(sending: 500)
            return client.isDone
        }
        let truth = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try truth.folder.write(client.lines.map { $0 + "\n" }.joined(), to: "truth.influx")
        try truth.configure(Self.pump("{file: truth.influx}", Self.influx))
        try await truth.start()
        try await expectTheSame(daemon, truth, steps: data.nextRow, lines: client.lines)
        #expect(client.resent > 0, "the run has shown nothing")
    }

    // MARK: Commands

    @Test func theExampleOfTheDocumentsWorks() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let document = try String(
            contentsOf: root.appendingPathComponent("docs/operating.md"), encoding: .utf8)
        let section = try #require(document.range(of: "\n## Long rows\n"))
        let example = document[section.upperBound...].split(
            separator: "\n", omittingEmptySubsequences: false
        ).drop { !$0.hasPrefix("    ") }.prefix { $0.hasPrefix("    ") }.map { $0.dropFirst(4) }
        let runner = try CommandRunner()
        try runner.folder.write(example.joined(separator: "\n"), to: "flowguard.yaml")
        let good = try runner.run(["check", "flowguard.yaml"])
        #expect(good.code == 0, "\(good.error)")
        var data = PumpData()
        try runner.folder.write(
            "time,sensor,reading\n" + data.rows(120), to: "readings.csv")
        try runner.folder.write(
            """
            cpu,cpu=cpu0,host=h usage_user=1.5 1700000000100000000
            mem,host=h used=7i 1700000000200000000
            cpu,cpu=cpu0,host=h usage_user=2.5 1700000010100000000
            cpu,cpu=cpu0,host=h usage_user=2.5 1700000020100000000

            """, to: "points.influx")
        for (file, stream, columns) in [
            ("readings.csv", "boiler", ["11 records", "flow", "pressure", "noise"]),
            ("points.influx", "host", ["2 records", "cpu.cpu0.usage_user", "mem.used"]),
        ] {
            let checked = try runner.run([
                "check", "--source", file, "--config", "flowguard.yaml", "--stream", stream,
            ])
            #expect(checked.code == 0, "\(checked.error)")
            for text in columns { #expect(checked.output.contains(text), "\(checked.output)") }
        }
    }

    @Test func commandsReadLongRowsAsTheStreamDoes() throws {
        let runner = try CommandRunner()
        try runner.folder.write(
            "streams:\n" + Self.pump("{file: pump.csv}", Self.csv) + "\n    model: {members: 1}\n",
            to: "f.yaml")
        var data = PumpData()
        let rows = Self.header + data.rows(600) + "1700000590,flow,1\n1700000599,torque,x\n"
        try runner.folder.write(rows, to: "pump.csv")
        let stream = ["--config", "f.yaml", "--stream", "pump"]
        let checked = try runner.run(["check", "--source", "pump.csv"] + stream)
        #expect(checked.code == 0, "\(checked.error)")
        for text in [
            "599 records", "line 1803: column 'value': expected a number, found 'x'",
            "flow", "pressure", "noise", "every 1 s",
            "1,802 rows of one reading each, put together every 1 s; 1",
        ] {
            #expect(checked.output.contains(text), "\(text): \(checked.output)")
        }
        let unaided = try runner.run(["check", "--source", "pump.csv"])
        #expect(
            unaided.output.contains(
                "if each row is a reading of one series, which 'sensor' names, long:"),
            "\(unaided.output)")

        let fitted = try runner.run(["fit", "-o", "m.model", "pump.csv"] + stream)
        #expect(fitted.code == 0, "\(fitted.error)")
        #expect(fitted.error.contains("features   flow, pressure, noise; time in time"))
        #expect(
            fitted.error.contains(
                "pump.csv:1803:19: column 'value': expected a number, found 'x'"),
            "\(fitted.error)")
        #expect(fitted.error.contains("of the rows 1 late"), "\(fitted.error)")

        let replayed = try runner.run(["replay", "pump.csv"] + stream)
        #expect(replayed.code == 0, "\(replayed.error)")
        #expect(replayed.output.contains("599, all scored"), "\(replayed.output)")
        let labelled = try runner.run(["replay", "--label", "fault", "pump.csv"] + stream)
        #expect(labelled.code == 1)
        #expect(
            labelled.error.hasPrefix(
                "error: label column 'fault': expected records of a line each, found long rows\n"),
            "\(labelled.error)")
        let points = try runner.run(
            ["fit", "-o", "m.model", "--input-format", "influx", "pump.csv"] + stream)
        #expect(points.code == 64)
        #expect(points.error.contains("the long rows of stream 'pump' are csv, found influx"))
    }

    @Test func rowsThatMakeNoRecordsAreExplained() throws {
        let runner = try CommandRunner()
        try runner.folder.write(
            "streams:\n" + Self.pump("{file: pump.csv}", Self.csv) + "\n", to: "f.yaml")
        var data = PumpData()
        let rows = data.rows(100).split(separator: "\n")
        let texts = [
            ("empty.csv", ""), ("backwards.csv", rows.reversed().joined(separator: "\n") + "\n"),
            ("short.csv", rows[..<3].joined(separator: "\n") + "\n"),
            ("strange.csv", "noon,flow,1\n"),
        ]
        let stream = ["--config", "f.yaml", "--stream", "pump"]
        for (name, text) in texts {
            try runner.folder.write(Self.header + text, to: name)
            let checked = try runner.run(["check", "--source", name] + stream)
            #expect(checked.code == 66, "\(name): \(checked.error)")
            let fitted = try runner.run(["fit", "-o", "m.model", name] + stream)
            #expect(fitted.code == 66, "\(name): \(fitted.error)")
            let error = "error: \(name): expected rows that complete a step of time, found none"
            let late = name == "backwards.csv" ? ": 297 came when the step of" : "\n"
            #expect(fitted.error.contains(error + late), "\(fitted.error)")
            #expect(fitted.error.contains("hint:  rows come in the order of their times"))
            let isTold = fitted.error.contains("strange.csv:2:1: column 'time'")
            #expect(isTold == (name == "strange.csv"), "\(fitted.error)")
        }
        let replayed = try runner.run(["replay", "backwards.csv"] + stream)
        #expect(replayed.output.contains("297 late rows"), "\(replayed.output)")
    }
}

extension PumpData {
    /// The next records as rows of one reading each, some tenths of a second apart.
    ///
    /// - Parameter withGaps: Whether the last reading is silent at times, for longer than a value lasts.
    mutating func rows(
        _ count: Int, withGaps: Bool = false, isFaulty: (Int) -> Bool = { _ in false }
    ) -> String {
        let names = Self.header.dropLast().split(separator: ",").dropFirst()
        return lines(count, isFaulty: isFaulty).split(separator: "\n").map { line in
            let cells = line.split(separator: ",")
            let readings = withGaps && Self.isSilent(at: cells[0]) ? cells.dropLast() : cells
            return zip(names, readings.dropFirst()).enumerated().map { index, reading in
                "\(cells[0]).\(2 * index + 1),\(reading.0),\(reading.1)\n"
            }.joined()
        }.joined()
    }

    private static func isSilent(at time: Substring) -> Bool { (Int(time) ?? 0) / 12 % 5 == 0 }

    /// The next records as points of two measurements.
    ///
    /// - Parameter withGaps: Whether the second is silent at times, for longer than a value lasts.
    mutating func points(
        _ count: Int, withGaps: Bool = false, isFaulty: (Int) -> Bool = { _ in false }
    ) -> String {
        lines(count, isFaulty: isFaulty).split(separator: "\n").map { line in
            let cells = line.split(separator: ",")
            return "pump,host=h flow=\(cells[1]),pressure=\(cells[2]) \(cells[0])100000000\n"
                + (withGaps && Self.isSilent(at: cells[0])
                    ? "" : "air,host=h noise=\(cells[3]) \(cells[0])400000000\n")
        }.joined()
    }
}

extension DaemonProcess {
    /// Has the configuration read again, and waits until it is taken over.
    ///
    /// - Parameter count: How many reloads there are then.
    func reload(_ count: Int) async throws {
        signal(SIGHUP)
        try await wait("the reload") {
            try get("/metrics").text.contains("flowguard_config_reloads_total \(count)\n")
        }
    }

    /// What a command that asks this daemon prints, whatever its lines.
    fileprivate func told(_ arguments: [String]) throws -> String {
        let runner = try CommandRunner()
        return try runner.run(
            arguments, environment: ["FLOWGUARD_SOCKET": controlSocket]
        ).output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
}
