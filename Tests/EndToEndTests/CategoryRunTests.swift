import Control
import Foundation
import TestSupport
import Testing

/// Categories and missing values through the programs.
@Suite(.serialized, .timeLimit(.minutes(20))) struct CategoryRunTests {
    /// A machine with two modes; its pressure follows the mode, and is missing now and then.
    private static func cells(_ index: Int) -> (
        mode: String, on: Bool, pressure: String, flow: String
    ) {
        var state = UInt64(index) &* 0x9E37_79B9_7F4A_7C15 &+ 1
        func noise() -> Double {
            state = (state ^ (state >> 31)) &* 0xBF58_476D_1CE4_E5B9
            return Double(state >> 11) / Double(1 << 53) - 0.5
        }
        let isRunning = noise() > -0.2
        let pressure = (isRunning ? 5 : 1) + noise()
        let flow = (isRunning ? 10 : 0) + 0.5 * pressure + 0.2 * noise()
        return (
            isRunning ? "run" : "idle", isRunning,
            noise() < -0.47 ? "" : String(format: "%.3f", pressure), String(format: "%.3f", flow)
        )
    }

    private static func csv(_ count: Int) -> String {
        "mode,on,pressure,flow,site\n"
            + (0..<count).map {
                let cells = cells($0)
                return "\(cells.mode),\(cells.on),\(cells.pressure),\(cells.flow),north\n"
            }.joined()
    }

    private static func json(_ index: Int) -> String {
        let cells = cells(index)
        let pressure = cells.pressure.isEmpty ? "null" : cells.pressure
        return "{\"mode\":\"\(cells.mode)\",\"on\":\(cells.on),\"pressure\":\(pressure),"
            + "\"flow\":\(cells.flow)}\n"
    }

    @Test func fitAndScoreReadCategoriesAndGaps() throws {
        let runner = try CommandRunner()
        let fit = try runner.run(
            ["fit", "-o", "m", "--categories", "mode", "--missing", "median"],
            input: Self.csv(900))
        #expect(fit.code == 0)
        #expect(fit.error.contains("\nfeatures   pressure, flow\ncategories mode, on\n"))
        #expect(fit.error.contains("'mode' has 2 values; a new one is an anomaly"))
        #expect(fit.error.contains("left out, as texts: 'site'; --categories site makes"))
        let odd = """
            flow,mode,on,pressure
            12.5,run,true,5
            12.5,run,true,
            12.5,run,false,5
            12.5,purge,true,5
            12.5,idle,false,5
            12.5,,true,5

            """
        let scored = try runner.run(["score", "--model", "m"], input: odd)
        #expect(scored.code == 0)
        let flags = scored.output.split(separator: "\n").dropFirst().compactMap { $0.last }
        #expect(flags == ["0", "0", "1", "1", "1", "1"])
        let lines = try runner.run(
            ["score", "--model", "m", "--output-format", "ndjson"], input: odd)
        #expect(
            lines.output.hasPrefix(
                "{\"flow\":12.5,\"mode\":\"run\",\"on\":\"true\",\"pressure\":5,"))
        let drawn = try runner.run(
            ["sample", "--model", "m", "-n", "50", "--output-format", "ndjson"])
        let first = try #require(drawn.output.split(separator: "\n").first)
        let keys = try #require(
            try JSONSerialization.jsonObject(with: Data(first.utf8)) as? [String: Any])
        #expect(Set(keys.keys) == ["flow", "mode", "on", "pressure"])
        #expect(keys["mode"] is String)
    }

    @Test func badOptionsAreExplained() throws {
        let runner = try CommandRunner()
        let both = try runner.run(
            ["fit", "-o", "m", "--categories", "a,b", "--features", "b"], input: "")
        #expect(both.code == 64)
        #expect(
            both.error.contains(
                "--features and --categories: expected 'b' in one of them, found it in both"))
        let policy = try runner.run(["fit", "-o", "m", "--missing", "mean"], input: "")
        #expect(policy.code == 64)
        #expect(policy.error.contains("'mean'"))
        let unknown = try runner.run(
            ["fit", "-o", "m", "--categories", "mood"], input: Self.csv(50))
        #expect(unknown.code == 1)
        #expect(unknown.error.contains("expected the column 'mood', found 'mode', 'on'"))
    }

    @Test func daemonTellsCategoriesAndGapsAndRemembersThemOverARestart() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.ndjson}
                categories: [mode]
                missing: {default: reject, pressure: previous}
                fit: {first_after_records: 1000, every: never}
                alarm: {false_alarm_probability: 0.0001}
            """)
        try daemon.folder.write((0..<1_000).map(Self.json).joined(), to: "pump.ndjson")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let detail = try daemon.detail()
        #expect(Set(detail.features) == ["pressure", "flow"])
        #expect(detail.categories == ["mode", "on"])
        daemon.kill()
        try await daemon.start()
        let before = try daemon.anomalies().count
        try daemon.folder.append(
            """
            {"mode":"run","on":true,"pressure":5,"flow":12.5}
            {"mode":"run","on":true,"flow":12.5}
            {"mode":"purge","on":true,"pressure":5,"flow":12.5}
            {"mode":"run","on":true,"pressure":5,"flow":null}

            """, to: "pump.ndjson")
        try await daemon.wait("the records") {
            try daemon.stream().map { $0.recordsTotal + $0.faultsTotal == 1_004 }
        }
        #expect(try daemon.stream()?.faultsTotal == 1)
        let found = try daemon.anomalies().dropFirst(before)
        #expect(found.count == 1)
        let purge = try #require(found.first)
        #expect(purge.features[0].name == "mode")
        #expect(purge.features[0].value == .text("purge"))
        #expect(purge.features[0].expected == .text("run"))
        #expect(purge.summary.hasPrefix("mode 'purge' was never seen"))
        let line = String(decoding: purge.line, as: UTF8.self)
        #expect(line.contains("{\"name\":\"mode\",\"value\":\"purge\",\"expected\":\"run\","))
        try await daemon.wait("the log") { try daemon.logged().last == purge }
        _ = try await daemon.stop()
    }

    @Test func categoriesAndPoliciesMayComeLater() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        let stream =
            "  - {name: pump, source: {file: pump.ndjson}, fit: {first_after_records: 600, every: never}"
        try daemon.configure(stream + "}")
        try daemon.folder.write((0..<900).map(Self.json).joined(), to: "pump.ndjson")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().categories == ["on"])
        // Without a policy a record that lacks its pressure is none.
        let rejected = try #require(try daemon.stream()).faultsTotal
        #expect(rejected > 0)

        try daemon.configure(stream + ", categories: [mode], missing: {pressure: median}}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") {
            try daemon.get("/metrics").text.contains("\nflowguard_config_reloads_total 1\n")
        }
        try daemon.folder.append((900..<1_800).map(Self.json).joined(), to: "pump.ndjson")
        try await daemon.wait("another model") { try daemon.stream()?.model?.id == 2 }
        let detail = try daemon.detail()
        #expect(Set(detail.features) == ["pressure", "flow"])
        #expect(detail.categories == ["mode", "on"])
        #expect(try daemon.stream()?.faultsTotal == rejected)
        _ = try await daemon.stop()
    }
}
