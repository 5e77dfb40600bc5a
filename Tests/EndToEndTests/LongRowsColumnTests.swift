import Control
import Foundation
import TestSupport
import Testing

/// Which series become columns when the configuration of a stream of long rows changes, through the real daemon.
@Suite(.serialized, .timeLimit(.minutes(20))) struct LongRowsColumnTests {
    private static let header = "time,sensor,value\n"

    private static func pump(_ more: String = "") -> String {
        """
          - name: pump
            source: {file: pump.csv}
            time: {column: time}
            long: {series: sensor, value: value, every: 1s, stale_after: 1s}
            fit: {first_after_records: 500, every: never}
            model: {members: 1}
            \(more)
        """
    }

    @Test func anIncludedSeriesThatIsSilentInTheFirstStepBecomesAColumn() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(600), to: "pump.csv")
        try daemon.configure(Self.pump("exclude: [noise]"))
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.detail().features == ["flow", "pressure"])
        try daemon.configure(Self.pump())
        try await daemon.reload(1)
        try daemon.folder.append(
            data.rows(2).split(separator: "\n").filter { !$0.contains("noise") }
                .map { $0 + "\n" }.joined(), to: "pump.csv")
        try await daemon.wait("two steps") { try daemon.stream()?.recordsTotal == 601 }
        #expect(try daemon.stream()?.state == .watching, "the model serves until it is known")
        #expect(try daemon.request("POST", "/v1/streams/pump/retrain").status == 409)
        try daemon.folder.append(data.rows(100), to: "pump.csv")
        try await daemon.wait("half of them") { try daemon.stream()?.recordsTotal == 701 }
        #expect(try daemon.stream()?.state == .watching)
        daemon.kill()
        try daemon.folder.append(data.rows(150), to: "pump.csv")
        try await daemon.start()
        try await daemon.wait("the column") {
            try daemon.detail().features == ["flow", "pressure", "noise"]
        }
        #expect(try daemon.stream()?.state == .learning)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func aModelStaysWhenTheIncludedSeriesIsRare() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(Self.header + data.rows(600), to: "pump.csv")
        try daemon.configure(Self.pump("exclude: [rare]"))
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try daemon.configure(Self.pump())
        try await daemon.reload(1)
        // A series of the first step alone, and one that the first step lacks.
        let rows = data.rows(250).split(separator: "\n").map { $0 + "\n" }
        try daemon.folder.append(
            rows[0] + rows[1] + "1700000600.7,rare,1\n" + rows[3], to: "pump.csv")
        try await daemon.wait("the first step") { try daemon.stream()?.faultsTotal == 1 }
        try daemon.folder.append(rows[4...].joined(), to: "pump.csv")
        try await daemon.wait("the records") {
            try daemon.stream().map { $0.recordsTotal + $0.faultsTotal >= 849 }
        }
        #expect(try daemon.stream()?.state == .watching)
        #expect(try daemon.detail().features == ["flow", "pressure", "noise"])
        #expect(try daemon.stream()?.model?.id == 1)
        #expect(try daemon.request("POST", "/v1/streams/pump/retrain").status == 202)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func whatIsExcludedIsNotToldAsLeftOut() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        // Texts are cut, but a name may be put together from several.
        let parts = Array(repeating: String(repeating: "x", count: 60), count: 5)
        func rows(_ steps: Range<Int>) -> String {
            steps.map { step in
                "\(step).1,f,f,f,f,f,\(step % 7)\n\(step).2,\(parts.joined(separator: ",")),1\n"
            }.joined()
        }
        func configure(_ more: String) throws {
            try daemon.configure(
                Self.pump(more).replacing("series: sensor", with: "series: [a, b, c, d, e]"))
        }
        try daemon.folder.write("time,a,b,c,d,e,value\n" + rows(0..<50), to: "pump.csv")
        try configure("")
        try await daemon.start()
        let problem = try await daemon.wait("the message") { try daemon.stream()?.lastError }
        #expect(problem.message.contains("names of at most 256 bytes, found more"))
        try configure("exclude: [\(parts.joined(separator: "."))]")
        try await daemon.reload(1)
        try daemon.folder.append(rows(50..<55), to: "pump.csv")
        try await daemon.wait("the end of it") {
            try daemon.stream().map { $0.recordsTotal == 54 && $0.lastError == nil }
        }
        #expect(try daemon.detail().features == ["f.f.f.f.f"])
        #expect(try await daemon.stop().code == 0)
    }

    @Test func longRowsAfterWholeRecordsAreNotReadAsThese() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(50), to: "wide.csv")
        try daemon.configure("  - {name: pump, source: {file: wide.csv}, missing: median}")
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 50 }
        // None of the three has a value in half of the steps.
        let rows = (0..<300).map { "\(1_700_000_000 + $0),s\($0 % 3),1\n" }
        try daemon.folder.write(Self.header + rows.joined(), to: "pump.csv")
        try daemon.configure(Self.pump("missing: median"))
        try await daemon.reload(1)
        let problem = try await daemon.wait("the message") { try daemon.stream()?.lastError }
        #expect(
            problem.message.hasSuffix(
                "expected a series that has a value in at least half of the steps, found none in "
                    + "'s0', 's1', 's2'"), "\(problem.message)")
        #expect(problem.hint?.hasPrefix("mend every or stale_after") == true)
        #expect(try daemon.stream()?.recordsTotal == 50)
        try daemon.configure(Self.pump("missing: median\n    features: [s0, s1, s2]"))
        try await daemon.reload(2)
        try await daemon.wait("the records of the rows") {
            try daemon.stream()?.recordsTotal == 349
        }
        #expect(try await daemon.stop().code == 0)
    }
}
