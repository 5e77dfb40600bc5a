import Control
import Foundation
import Store
import TestSupport
import Testing

/// What crosses the threshold and is no alarm all the same.
@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonSuppressionTests {
    /// A line of the pump with a fault in a column of its own.
    private func noisy(_ data: inout PumpData, noise: Double) -> String {
        let cells = data.lines(1).split(separator: ",").dropLast()
        return cells.joined(separator: ",") + ",\(noise)\n"
    }

    @Test func rulesAndMaintenanceKeepAnomaliesFromAlarmingAndCountThem() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        // The pump's clock begins at 2023-11-14T22:13:20Z, a second a row: rows 700 to 799.
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 500, every: never}
                alarm:
                  false_alarm_probability: 0.0001
                  rules: [{feature: noise, only: above}]
                  maintenance: [{from: 2023-11-14T22:25:00Z, to: 2023-11-14T22:26:40Z}]
            """)
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let before = try daemon.anomalies().count
        // The last faults lie so far before the end of the window that none is in the context of a record after it.
        var lines = data.lines(20) + noisy(&data, noise: -50) + noisy(&data, noise: 50)
        lines += data.lines(78)
        lines +=
            noisy(&data, noise: 50) + data.lines(99) { $0 % 3 == 0 && $0 < 760 } + data.lines(100)
        try daemon.folder.append(lines, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 900 }
        let stream = try #require(try daemon.stream())
        let found = try daemon.anomalies().dropFirst(before)
        #expect(found.map(\.features.first?.name) == ["noise"], "\(found)")
        #expect(found.first?.recordTime == Date(timeIntervalSince1970: 1_700_000_621))
        let suppressed = try #require(stream.suppressed)
        #expect(suppressed.first { $0.cause == "noise only above" }?.count == 1)
        let maintained = suppressed.first { $0.cause == "maintenance" }?.count ?? 0
        #expect((15...100).contains(maintained), "\(suppressed)")
        #expect(stream.anomaliesTotal == Int64(before + 1))
        let metric = "flowguard_suppressed_anomalies_total{stream=\"pump\",cause=\"maintenance\"}"
        #expect(try daemon.get("/metrics").text.contains("\(metric) \(maintained)\n"))
        #expect(try daemon.metric("flowguard_scored_records_total") == 900)
        // What came during maintenance trains no model.
        let fit = try await daemon.retrain()
        #expect(fit.message?.contains("100 records were kept out by the user") == true, "\(fit)")
        daemon.kill()
        try await daemon.start()
        try await daemon.wait("the counters") { try daemon.stream()?.suppressed == suppressed }
    }

    @Test func recordsWithoutATimeLieInMaintenanceByTheirArrival() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        let timeless = { (text: String) in
            text.split(separator: "\n").map { $0.drop { $0 != "," }.dropFirst() + "\n" }.joined()
        }
        try daemon.folder.write(timeless(PumpData.header + data.lines(600)), to: "pump.csv")
        func configure(_ window: String) throws {
            try daemon.configure(
                DaemonLifeTests.pump.replacingOccurrences(
                    of: "0.0001", with: "0.0001, maintenance: [\(window)]"))
        }
        try configure("{from: 2001-01-01T00:00:00Z, to: 2001-01-02T00:00:00Z}")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        let before = try daemon.anomalies().count
        try configure("{every: day, from: \"00:00\", to: \"24:00\"}")
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") {
            try daemon.get("/metrics").text.contains("flowguard_config_reloads_total 1\n")
        }
        try daemon.folder.append(timeless(data.lines(40) { $0 == 620 }), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 640 }
        #expect(try daemon.anomalies().count == before)
        #expect(
            try daemon.stream()?.suppressed == [SuppressedCount(cause: "maintenance", count: 1)])
        let fit = try await daemon.retrain()
        #expect(fit.message?.contains("40 records were kept out by the user") == true, "\(fit)")
    }
}
