import Control
import Foundation
import Store
import TestSupport
import Testing

/// What a stream learns before its source.
@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonHistoryTests {
    private let daemon: DaemonProcess

    init() throws {
        daemon = DaemonProcess(folder: try TemporaryDirectory())
    }

    private func configure(firstAfter: Int = 500) throws {
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                history: ["old/pump-*.csv"]
                fit: {first_after_records: \(firstAfter), every: never}
                alarm: {false_alarm_probability: 0.0001}
            """)
    }

    private func makeFolder() throws {
        try FileManager.default.createDirectory(
            atPath: daemon.folder.file("old"), withIntermediateDirectories: true)
    }

    /// What the daemon has committed; it must not run.
    private func windowTotal() throws -> Int64? {
        try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
            .checkpoint(stream: "pump")?.windowTotal
    }

    @Test func historyTrainsAndOnlyTheSourceIsScored() async throws {
        var data = PumpData()
        try makeFolder()
        try daemon.folder.write(PumpData.header + data.lines(400), to: "old/pump-1.csv")
        // A fault in the past is no anomaly of today.
        try daemon.folder.write(
            PumpData.header + data.lines(300) { $0 == 500 }, to: "old/pump-2.csv")
        try daemon.folder.write(
            PumpData.header + data.lines(50) + "1700000750,10,500,0\n", to: "pump.csv")
        try configure()
        try await daemon.start()
        try await daemon.wait("the records") {
            try daemon.stream().map { $0.state == .watching && $0.recordsTotal == 51 }
        }
        #expect(try daemon.metric("flowguard_scored_records_total") == 51)
        let times = try daemon.anomalies().map(\.recordTime)
        #expect(times.contains(Date(timeIntervalSince1970: 1_700_000_750)))
        #expect(
            times.allSatisfy { ($0?.timeIntervalSince1970 ?? 0) >= 1_700_000_700 }, "\(times)")
        let fit = try await daemon.wait("the end of the fit") { try daemon.stream()?.lastFit }
        #expect(fit.message?.hasPrefix("the first model, from 7") == true, "\(fit)")
        #expect(try daemon.stream()?.unscoredTotal == 0)

        // Once is enough, also where a file comes later.
        daemon.kill()
        try daemon.folder.write(PumpData.header + data.lines(100), to: "old/pump-3.csv")
        try await daemon.start()
        try await daemon.wait("the model") { try daemon.stream()?.state == .watching }
        #expect(try await daemon.stop().code == 0)
        #expect(try windowTotal() == 751)
    }

    /// A column that only the oldest records have leaves before the features are settled; the records stay.
    @Test func historyThatLosesAColumnKeepsItsRecords() async throws {
        var data = PumpData()
        try makeFolder()
        for i in 0..<4 {
            let rare = i == 0 ? ",7\n" : ",\n"
            let lines = data.lines(45).split(separator: "\n").map { $0 + rare }.joined()
            try daemon.folder.write(
                "time,flow,pressure,noise,rare\n" + lines, to: "old/pump-\(i).csv")
        }
        try daemon.folder.write(PumpData.header + data.lines(20), to: "pump.csv")
        try configure(firstAfter: 1_000)
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 20 }
        let stream = try #require(try daemon.stream())
        #expect(try daemon.detail().features == ["flow", "pressure", "noise"])
        #expect(stream.unscoredTotal == 0)
        #expect(try await daemon.stop().code == 0)
        // Each of the 180 lines is held, or in the quarantine: those that came while the column was still one.
        #expect(try windowTotal() == 200 - stream.faultsTotal)
        #expect(stream.faultsTotal < 180)
    }

    @Test func aKillWhileHistoryIsReadNeitherLosesNorRepeatsARecord() async throws {
        var data = PumpData()
        try makeFolder()
        let lines = data.lines(60_000)
        for i in 1...3 {
            try daemon.folder.write(PumpData.header + lines, to: "old/pump-\(i).csv")
        }
        try daemon.folder.write(PumpData.header, to: "pump.csv")
        try configure(firstAfter: 90_000)
        var seen: [Int64] = []
        for _ in 0..<3 {
            try await daemon.start(untilReady: false)
            // It is read in a few seconds: what is seen of it depends on the machine.
            for _ in 0..<20 {
                if let history = try daemon.stream()?.learning?.history {
                    seen.append(history.records)
                    #expect(history.files == 3 && history.bytes > 3_000_000)
                }
                try await Task.sleep(for: .milliseconds(5))
            }
            daemon.kill()
        }
        #expect(seen == seen.sorted(), "\(seen)")
        try await daemon.start()
        try await daemon.wait("the end of the history") {
            try daemon.stream().map { $0.learning?.history == nil && $0.state != .failing }
        }
        try daemon.folder.append(data.lines(1), to: "pump.csv")
        try await daemon.wait("the source") { try daemon.stream()?.recordsTotal == 1 }
        daemon.kill()
        #expect(try windowTotal() == 180_001)
    }

    @Test func historyThatIsNotThereIsNamedAndWaitedFor() async throws {
        var data = PumpData()
        try daemon.folder.write(PumpData.header, to: "pump.csv")
        try configure()
        try await daemon.start()
        let problem = try await daemon.wait("the problem") { try daemon.stream()?.lastError }
        #expect(
            problem.message == "history: no file matches \(daemon.folder.file("old/pump-*.csv")), "
                + "or its folder cannot be read")
        #expect(try daemon.stream()?.state == .failing)
        try makeFolder()
        try daemon.folder.write(PumpData.header + data.lines(600), to: "old/pump-1.csv")
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(try daemon.stream()?.lastError == nil)
        #expect(try daemon.stream()?.recordsTotal == 0)
    }
}
