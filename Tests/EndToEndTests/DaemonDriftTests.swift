import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonDriftTests {
    @Test func aStreamThatChangedIsToldAndFittedAnew() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(1_000), to: "pump.csv")
        // A periodic fit is far away; one because of a drift may come after 15 seconds.
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 1000, every: 60s}
                alarm: {false_alarm_probability: 0.00001}
            """)
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(
            try daemon.stream()?.drift?.features.isEmpty == true,
            "the model has learned from all there are")
        try daemon.folder.append(data.lines(500), to: "pump.csv")
        try await daemon.wait("more records") { try daemon.stream()?.recordsTotal == 1_500 }
        let steady = try #require(try daemon.stream()?.drift)
        #expect(!steady.scoresChanged, "\(steady)")
        #expect(Set(steady.features.map(\.name)) == ["flow", "pressure", "noise"])
        // The noise becomes twice as wide around another centre: few of these are anomalies.
        let changed = data.lines(1_500).split(separator: "\n").map { line in
            var cells = line.split(separator: ",").map(String.init)
            cells[3] = String(1.2 + (Double(cells[3]) ?? 0))
            return cells.joined(separator: ",") + "\n"
        }
        try daemon.folder.append(changed.joined(), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 3_000 }
        let drifted = try await daemon.wait("the drift") {
            try daemon.stream()?.drift.flatMap { $0.features.first?.isBig == true ? $0 : nil }
        }
        #expect(drifted.features.first?.name == "noise", "\(drifted)")
        #expect(
            try daemon.get("/metrics").text.contains(
                "flowguard_feature_stability_index{stream=\"pump\",feature=\"noise\"} "))
        let fit = try await daemon.wait("a fit because of it") {
            try daemon.detail().fits.first { $0.trigger == "drift" && $0.isEnded }
        }
        #expect(fit.state == "accepted", "\(fit)")
        try await daemon.wait("the new model") { try daemon.stream()?.model?.id == fit.model }
        // The new model's measures begin anew.
        #expect(try daemon.stream()?.drift?.features.isEmpty == true)
        #expect(try daemon.stream()?.drift?.scoresChanged == false)
    }
}
