import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonSchemaTests {
    /// Readings of a pump as NDJSON.
    private func readings(_ count: Int) -> String {
        var data = PumpData()
        return data.lines(count).split(separator: "\n").map { line in
            let cells = line.split(separator: ",")
            return "{\"flow\":\(cells[1]),\"pressure\":\(cells[2])}\n"
        }.joined()
    }

    @Test(arguments: ["{\"flow\":1}\n", "{\"test\":1}\n", "hello\n"])
    func aFirstRecordDoesNotDecideForEver(line: String) async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            """
              - name: pump
                source: {socket: run/in.sock}
                fit: {first_after_records: 250}
            """)
        try await daemon.start()
        try await daemon.client(of: "run/in.sock").send(line)
        try await daemon.wait("the first line") {
            try daemon.stream().map { $0.recordsTotal + $0.faultsTotal == 1 }
        }
        let client = try await daemon.client(of: "run/in.sock")
        for part in readings(300).split(separator: "\n") {
            try client.send(part + "\n")
        }
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try await daemon.wait("all lines") {
            try daemon.stream().map { $0.recordsTotal + $0.faultsTotal == 301 }
        }
        #expect(try daemon.detail().features == ["flow", "pressure"])
        let stream = try #require(try daemon.stream())
        let scored = Int64(try daemon.metric("flowguard_scored_records_total") ?? 0)
        // Each line is scored, counted as unscored, or in the quarantine.
        #expect(scored + (stream.unscoredTotal ?? 0) + stream.faultsTotal == 301)
        #expect(scored >= 298)
        #expect(stream.lastError == nil)
    }

    @Test func aColumnThatMostRecordsLackIsNoFeature() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        var lines = data.lines(300).split(separator: "\n").map { String($0) + ",\n" }
        lines[0] = lines[0].replacingOccurrences(of: ",\n", with: ",7\n")
        try daemon.folder.write("time,flow,pressure,noise,rare\n" + lines.joined(), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 300 }
        #expect(try daemon.detail().features == ["flow", "pressure", "noise"])
        #expect(try daemon.stream()?.faultsTotal == 0)
    }

    @Test func aRowNumberIsNoFeatureAndIsTold() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let source = "source: {socket: run/in.sock}, fit: {first_after_records: 250}"
        try daemon.configure("  - {name: pump, \(source)}")
        try await daemon.start()
        let client = try await daemon.client(of: "run/in.sock")
        for (number, line) in readings(300).split(separator: "\n").enumerated() {
            try client.send("{\"id\":\(number)," + line.dropFirst() + "\n")
        }
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().features == ["flow", "pressure"])
        #expect(daemon.errorText.contains("column=id holds=row_numbers"), "\(daemon.errorText)")
        let unscored = try daemon.stream()?.unscoredTotal ?? 0
        #expect(unscored == 0)
    }

    @Test func aColumnWithOneCellThatIsNoNumberIsAFeature() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var lines = (0..<100).map { "\(Double($0 % 7) / 4)\n" }
        lines[3] = "ERR\n"
        try daemon.folder.write("value\n" + lines.joined(), to: "pump.csv")
        try daemon.configure("  - {name: pump, source: {file: pump.csv}}")
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 99 }
        #expect(try daemon.detail().features == ["value"])
        #expect(try daemon.stream()?.faults.map(\.code) == ["not_a_number"])
    }

    /// Names come from whoever sends: they are texts in the metrics, and nothing else.
    @Test func namesOfColumnsForgeNoMetric() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.ndjson}
                fit: {first_after_records: 250, every: never}
                model: {members: 1}
            """)
        let names = ["a\\r\\nflowguard_info 666\\r\\n", "b\\\"\u{301}\\\\"]
        func lines(_ count: Int) -> String {
            readings(count).replacing("flow", with: names[0]).replacing("pressure", with: names[1])
        }
        try daemon.folder.write(lines(300), to: "pump.ndjson")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try daemon.folder.append(lines(300), to: "pump.ndjson")
        let page = try await daemon.wait("the features' drift") {
            let text = try daemon.get("/metrics").text
            return text.contains("flowguard_feature_stability_index{") ? text : nil
        }
        #expect(!page.utf8.contains(UInt8(ascii: "\r")))
        let label = #/"([^"\\]|\\[\\"n])*"/#.matchingSemantics(.unicodeScalar)
        for line in page.utf8.split(separator: UInt8(ascii: "\n")).map({ String($0) ?? "" })
        where !line.hasPrefix("# ") {
            let bare = line.replacing(label, with: "\"\"")
            #expect(
                bare.wholeMatch(of: #/[a-z_]+(\{[a-z_]+=""(,[a-z_]+="")*\})? [-+.\w]+/#) != nil,
                "\(line)")
            #expect(!line.hasPrefix("flowguard_info 666"))
        }
    }

    /// What is held under other columns is of no use for the next fit.
    @Test func afterAReloadWithOtherFeaturesNothingIsHeldUntilARecordComes() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.folder.write(PumpData.header, to: "pump.csv")
        var data = PumpData()
        try daemon.folder.append(data.lines(100), to: "pump.csv")
        let source =
            "  - {name: pump, source: {file: pump.csv}, fit: {first_after_records: 250}, features: "
        try daemon.configure(source + "[flow, pressure]}")
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.learning?.have == 100 }
        try daemon.configure(source + "[flow]}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") { try daemon.stream()?.learning?.have == 0 }
        try daemon.folder.append(data.lines(1), to: "pump.csv")
        try await daemon.wait("the record") { try daemon.stream()?.learning?.have == 1 }
    }

    @Test func excludingAFeatureAsksNoRecordForTheOthers() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let source =
            "  - {name: pump, source: {socket: run/in.sock}, fit: {first_after_records: 250}"
        try daemon.configure(source + "}")
        try await daemon.start()
        try await daemon.client(of: "run/in.sock").send(readings(300))
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try daemon.configure(source + ", exclude: [pressure]}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") {
            try daemon.get("/metrics").text.contains("\nflowguard_config_reloads_total 1\n")
        }
        // A record without the feature that stays does not end it.
        try await daemon.client(of: "run/in.sock").send("{\"other\":1}\n{\"flow\":10}\n")
        try await daemon.wait("the record") { try daemon.detail().features == ["flow"] }
    }

    @Test func aSlowFileThatBeginsWithEmptyCellsGetsAllItsColumns() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.folder.write("flow,pressure\n", to: "pump.csv")
        try daemon.configure(
            "  - {name: pump, source: {file: pump.csv}, fit: {first_after_records: 50}}")
        try await daemon.start()
        for row in 0..<3 {
            try daemon.folder.append("\(row),\n", to: "pump.csv")
            try await daemon.wait("a record") {
                try daemon.stream()?.recordsTotal == Int64(row + 1)
            }
        }
        #expect(try daemon.detail().features == ["flow"])
        daemon.kill()
        var data = PumpData()
        let rows = data.lines(60).split(separator: "\n").map { line in
            line.split(separator: ",")[1...2].joined(separator: ",") + "\n"
        }
        try daemon.folder.append(rows.joined(), to: "pump.csv")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().features == ["flow", "pressure"])
        #expect(try daemon.stream()?.recordsTotal == 63)
        #expect(try daemon.stream()?.unscoredTotal == 3)
        #expect(try daemon.metric("flowguard_scored_records_total") == 60)
    }

    @Test func otherFeaturesBeginAnewAndSaySo() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let body = Array("{\"log_likelihood\":-123.5}".utf8)
        #expect(try daemon.request("PUT", "/v1/streams/pump/threshold", body: body).status == 200)

        try daemon.configure(DaemonLifeTests.pump + "\n    features: [flow, pressure]")
        try await daemon.reload(1)
        // A stream that is not open yet refuses for other reasons.
        let refusal = try await daemon.wait("the refusal of a fit") {
            let reply = try daemon.request("POST", "/v1/streams/pump/retrain")
            return reply.text.contains("features") ? reply : nil
        }
        #expect(refusal.status == 409)
        #expect(
            refusal.text == "{\"error\":\"stream 'pump' has other features in the configuration "
                + "than its records so far\",\"hint\":\"wait for more records\"}\n")
        try daemon.folder.append(data.lines(600), to: "pump.csv")
        try await daemon.wait("another model") { try daemon.stream()?.model?.id == 2 }
        let threshold = try #require(try daemon.stream()?.threshold)
        #expect(threshold.kind == "calibrated")
        #expect(
            threshold.reason.hasSuffix(
                "; the log-likelihood -123.5, set by hand, was dropped: the features changed"),
            "\(threshold.reason)")
        let other = try daemon.request("POST", "/v1/streams/pump/models/1/activate")
        #expect(other.status == 409)
        #expect(
            other.text == "{\"error\":\"model 1 reads the features flow, pressure, noise, "
                + "the stream has flow, pressure\","
                + "\"hint\":\"the features changed since: fit a new model\"}\n")

        // A budget is tied to no model: it stays.
        let budget = Array("{\"false_alarms_per_day\":1e6}".utf8)
        #expect(try daemon.request("PUT", "/v1/streams/pump/threshold", body: budget).status == 200)
        try daemon.configure(DaemonLifeTests.pump + "\n    features: [flow, noise]")
        try await daemon.reload(2)
        try daemon.folder.append(data.lines(600), to: "pump.csv")
        try await daemon.wait("a third model") { try daemon.stream()?.model?.id == 3 }
        #expect(
            try daemon.stream()?.threshold?.reason
                == "set by hand: 1000000 false alarms a day at 86400 records a day, "
                + "held to 0.1 of the records")
    }

    @Test func aFormerCheckpointIsReadAndLaterFieldsTakeTheirDefaults() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try FileManager.default.createDirectory(
            atPath: daemon.folder.file("state"), withIntermediateDirectories: true)
        let checkpoint = """
            {"schema":{"features":["flow","pressure"],"time":"time"},"basis":{"exclude":[]},
             "windowGeneration":3,"windowCapacity":108192,"windowTotal":0,"pendingFrom":0,
             "context":{"values":[],"featureCount":0},
             "episodes":{"cooldownSecs":300,"lastSequence":7},
             "excluded":{"starts":[],"ends":[]},
             "counters":{"records":17,"scored":11,"anomalies":2,"faults":{"bad_syntax":4},
                         "unscored":6},
             "quarantineBytes":0,"choice":{"budget":{"_0":{"perDay":{"_0":5}}}},
             "fittedThrough":0,"lastFitTotal":0,"rate":{"records":0,"seconds":0},
             "thresholdRecordsPerDay":0,"scoredSinceThreshold":0,"anomaliesSinceThreshold":0}
            """
        do {
            let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
            try store.registerStream("pump", at: 1)
            _ = try store.commit(
                StreamCommit(
                    stream: "pump",
                    checkpoint: CheckpointRow(
                        takenAt: 1, position: nil, windowTotal: 0, recordsTotal: 17,
                        anomaliesTotal: 2, faultsTotal: 4, state: Array(checkpoint.utf8))))
            try store.close()
        }
        try daemon.configure(DaemonLifeTests.pump)
        try await daemon.start()
        try await daemon.wait("the checkpoint") { try daemon.stream()?.recordsTotal == 17 }
        let stream = try #require(try daemon.stream())
        #expect(stream.faults == [FaultCount(code: "bad_syntax", count: 4)])
        #expect(stream.unscoredTotal == 6)
        #expect(stream.lostTotal == 0)
        #expect(stream.lastError == nil)
        #expect(try daemon.detail().features == ["flow", "pressure"])
    }
}
