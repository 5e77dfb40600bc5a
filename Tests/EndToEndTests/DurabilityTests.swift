import Control
import Foundation
import TestSupport
import Testing

/// How long the runs with kills are: short in `make test`, long in `make soak`.
enum Soak {
    private static func setting(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// How often the daemon is killed.
    static let kills = setting("FLOWGUARD_SOAK_KILLS").map(Int.init(clamping:)) ?? 50
    /// What all choices follow from; printed, so that a failed run can be made again.
    static let seed = setting("FLOWGUARD_SOAK_SEED") ?? 1

    static func report(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}

/// A daemon that is killed again and again while its file is written, rotated, emptied and deleted.
@Suite(.serialized, .timeLimit(.minutes(60))) struct DurabilityTests {
    static let rowsBefore = 600

    private static func pump(_ file: String) -> String {
        """
          - name: pump
            source: {file: \(file)}
            fit: {first_after_records: 500, every: never}
            alarm: {false_alarm_probability: 0.0001}
        """
    }

    /// A folder with the state of a daemon that has a model and has read all of its first file.
    static func folderWithModel() async throws -> TemporaryDirectory {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        _ = try await daemon.startWithModel()
        _ = try await daemon.stop()
        return folder
    }

    static func copy(of base: TemporaryDirectory) throws -> TemporaryDirectory {
        let folder = try TemporaryDirectory()
        for name in ["state", "log"] {
            try FileManager.default.copyItem(atPath: base.file(name), toPath: folder.file(name))
        }
        return folder
    }

    /// What an anomaly is, wherever its record lay and whenever it was found.
    private struct Finding: Hashable {
        var time: Int
        var summary: String
        var tail: String
        var episode: Int64?

        init(_ message: AnomalyMessage) {
            time = message.recordTime.map { Int($0.timeIntervalSince1970) } ?? 0
            summary = message.summary
            tail = message.tail
            episode = message.episode
        }
    }

    @Test func killedAtAnyInstantItFindsWhatAnUndisturbedRunFinds() async throws {
        let begin = ContinuousClock.now
        let base = try await Self.folderWithModel()
        let run = KillRun(
            daemon: DaemonProcess(folder: try Self.copy(of: base)), rowsBefore: Self.rowsBefore,
            seed: Soak.seed)
        try run.daemon.configure(Self.pump(run.file.name))
        try await run.disturb(kills: Soak.kills)

        let undisturbed = DaemonProcess(folder: try Self.copy(of: base))
        try undisturbed.folder.write(run.file.truth, to: "truth.csv")
        try undisturbed.configure(Self.pump("truth.csv"))
        try await undisturbed.start()
        let total = Int64(Self.rowsBefore + run.file.recordCount)
        try await undisturbed.wait("all records") {
            try undisturbed.stream()?.recordsTotal == total
        }
        try await undisturbed.wait("all faults") {
            try undisturbed.stream()?.faultsTotal == Int64(run.file.badLines.count)
        }

        let what = "seed \(Soak.seed)"
        let found = try run.daemon.everyAnomaly()
        let expected = try undisturbed.everyAnomaly()
        let (foundAll, expectedAll) = (found.map(Finding.init), expected.map(Finding.init))
        let times = Dictionary(grouping: foundAll, by: \.time)
        #expect(times.values.filter { $0.count > 1 }.isEmpty, "found twice, \(what)")
        let lost = Set(expectedAll).subtracting(foundAll)
        #expect(lost.isEmpty, "lost, \(what)")
        #expect(Set(foundAll).subtracting(expectedAll).isEmpty, "not in the truth, \(what)")
        #expect(foundAll == expectedAll, "in another order, \(what)")
        let gap = zip(found, expected).map { abs($0.logLikelihood - $1.logLikelihood) }.max() ?? 0
        #expect(gap < 1e-4, "\(what)")
        for anomaly in found {
            let time = anomaly.recordTime.map { Int($0.timeIntervalSince1970) } ?? 0
            guard time >= 1_700_000_000 + Self.rowsBefore else { continue }
            #expect(anomaly.offset == run.file.offsets[time], "record \(time), \(what)")
        }
        try await run.daemon.wait("the log") { try run.logged() == found }
        let quarantined = try run.quarantined()
        #expect(quarantined == run.file.badLines.map { String($0.dropLast()) }, "\(what)")
        #expect(found.count > Soak.kills / 4, "the run has found too little to show anything")
        _ = try await run.daemon.stop()
        _ = try await undisturbed.stop()
        Soak.report(
            "file soak: seed \(Soak.seed), \(run.summary), \(found.count) anomalies of "
                + "\(total) records, \(quarantined.count) lines quarantined, none lost, none twice, "
                + "greatest difference \(gap) nats, \(ContinuousClock.now - begin)")
    }
}

extension DurabilityTests {
    /// While one batch of a file is committed the next one is decoded: neither is lost at a kill, and none counts twice.
    @Test func aLongFileThatIsReadAheadIsReadOnce() async throws {
        let daemon = DaemonProcess(folder: try await Self.folderWithModel())
        var data = PumpData()
        _ = data.lines(Self.rowsBefore)
        // A header and ten batches, with bad lines and faults here and there, also beside the ends of batches.
        var (lines, bad, faults) = ([Substring](), [Int](), Set<Int>())
        let isBad = { (line: Int) in line % 5_003 == 7 || line % 16_384 < 2 }
        while lines.count < 160_000 {
            let number = lines.count + 2
            let time = 1_700_000_000 + data.nextRow
            let isFaulty = number % 7_919 == 0
            if isBad(number) {
                lines.append("bad,\(number)")
                bad.append(number)
            } else {
                lines.append(data.lines(1) { _ in isFaulty }.dropLast())
                if isFaulty { faults.insert(time) }
            }
        }
        // Three batches a part: however much is read before this test looks, at each kill there is more.
        let partLines = 3 * 16_384
        var parts = stride(from: 0, to: lines.count, by: partLines).map {
            lines[$0..<min($0 + partLines, lines.count)].joined(separator: "\n") + "\n"
        }[...]
        try daemon.folder.write(PumpData.header + (parts.popFirst() ?? ""), to: "long.csv")
        try daemon.configure(Self.pump("long.csv"))
        let total = Int64(Self.rowsBefore + lines.count - bad.count)
        var seen = Int64(Self.rowsBefore)
        #expect(parts.count == 3)
        for part in parts {
            try await daemon.start()
            // After one more commit, in the midst of the next ones.
            seen = try await daemon.wait("a batch") {
                try daemon.stream().map(\.recordsTotal).flatMap { $0 > seen ? $0 : nil }
            }
            try daemon.folder.append(part, to: "long.csv")
            daemon.kill()
        }
        try await daemon.start()
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == total }
        struct Entry: Decodable, Equatable {
            var line: Int
            var text: String
        }
        let quarantine = try String(
            contentsOfFile: daemon.folder.file("state/quarantine/pump.ndjson"), encoding: .utf8)
        let entries = try quarantine.split(separator: "\n").map {
            try JSONDecoder().decode(Entry.self, from: Data($0.utf8))
        }
        #expect(entries == bad.map { Entry(line: $0, text: "bad,\($0)") })
        let times = try daemon.everyAnomaly().compactMap { $0.recordTime?.timeIntervalSince1970 }
        #expect(Set(times).count == times.count, "found twice")
        #expect(faults.isSubset(of: times.map { Int($0) }))
        #expect(try daemon.stream()?.unscoredTotal == 0)
        _ = try await daemon.stop()
    }
}

extension DaemonProcess {
    /// All anomalies, however many pages they take.
    func everyAnomaly(_ name: String = "pump") throws -> [AnomalyMessage] {
        var all: [AnomalyMessage] = []
        while true {
            let after = all.last?.id ?? 0
            let lines = try get("/v1/streams/\(name)/anomalies?after=\(after)").body
            let page = try lines.split(separator: UInt8(ascii: "\n")).map {
                try ControlJSON.decode(AnomalyMessage.self, from: Data($0))
            }
            guard !page.isEmpty else { return all }
            all += page
        }
    }
}
