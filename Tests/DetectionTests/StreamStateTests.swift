import Detection
import Foundation
import Ingest
import TestSupport
import Testing

@Suite struct EpisodeTests {
    private func anomaly(_ excess: Double, feature: String = "flow") -> Verdict {
        Verdict(
            row: 0, logLikelihood: -10 - excess, threshold: -10, pValue: 1e-5, tail: .low,
            reasonCode: .improbable,
            features: [
                FeatureReason(
                    name: feature, value: .number(1), expected: .number(0), contribution: excess)
            ],
            summary: "")
    }

    @Test func consecutiveAnomaliesAreOneEpisodeThatEndsAfterTheCooldown() throws {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        #expect(tracker.observe(time: 0, verdict: nil).isEmpty)
        guard case .started(let started)? = tracker.observe(time: 10, verdict: anomaly(5)).first
        else {
            Issue.record("no start")
            return
        }
        #expect(started.sequence == 1 && started.anomalyCount == 1)
        #expect(tracker.observe(time: 40, verdict: nil).isEmpty)
        guard case .extended(let extended)? = tracker.observe(time: 60, verdict: anomaly(9)).first
        else {
            Issue.record("not extended")
            return
        }
        #expect(extended.anomalyCount == 2 && extended.peakAt == 60 && extended.peakExcess == 9)
        #expect(tracker.observe(time: 120, verdict: nil).isEmpty)
        guard case .ended(let ended)? = tracker.observe(time: 121, verdict: nil).first else {
            Issue.record("not ended")
            return
        }
        #expect(ended.lastAt == 60 && ended.topFeatures == ["flow"])
        #expect(tracker.open == nil)
    }

    @Test func anomalyAfterTheCooldownEndsOneEpisodeAndStartsTheNext() {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        _ = tracker.observe(time: 0, verdict: anomaly(1))
        _ = tracker.observe(time: 50, verdict: nil)
        #expect(!tracker.isOpen(at: 100))
        let events = tracker.observe(time: 100, verdict: anomaly(2))
        #expect(events.count == 2)
        #expect(tracker.open?.sequence == 2)
        #expect(tracker.open?.startedAt == 100)
    }

    /// A reading every half an hour: a fault of three of them is told once.
    @Test func anomaliesInARowAreOneEpisodeHoweverSeldomRecordsCome() {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        for reading in 0..<3 {
            _ = tracker.observe(time: 1_800 * Double(reading), verdict: anomaly(1))
        }
        #expect(tracker.open?.anomalyCount == 3)
        #expect(tracker.isOpen(at: 3_600 + 86_400) && !tracker.isOpen(at: 3_600 + 86_401))
        // The first normal record after the cooldown ends it.
        #expect(tracker.observe(time: 5_400, verdict: nil).count == 1)
        _ = tracker.observe(time: 7_200, verdict: anomaly(1))
        #expect(tracker.open?.sequence == 2)
        // What comes back wrong after days of silence is told anew.
        _ = tracker.observe(time: 7_200 + 2 * 86_400, verdict: anomaly(1))
        #expect(tracker.open?.sequence == 3)
    }

    @Test func openEpisodeSurvivesARestart() throws {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        _ = tracker.observe(time: 0, verdict: anomaly(1))
        let stored = try JSONEncoder().encode(tracker)
        var restored = try JSONDecoder().decode(EpisodeTracker.self, from: stored)
        #expect(restored == tracker)
        _ = restored.observe(time: 30, verdict: anomaly(3, feature: "pressure"))
        #expect(restored.open?.anomalyCount == 2)
        #expect(restored.open?.topFeatures == ["pressure", "flow"])
    }

    @Test func stepBackInTimeDoesNotEndAnEpisode() {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        _ = tracker.observe(time: 1_000, verdict: anomaly(1))
        #expect(tracker.observe(time: 100, verdict: nil).isEmpty)
        #expect(tracker.open?.lastAt == 1_000)
    }
}

@Suite struct FitGateTests {
    @Test func betterModelIsAcceptedAndWorseOneKeptOut() throws {
        let good = try Fixture.machineDetector.get()
        // Learned from a machine whose load is twice as high: it knows nothing of this one.
        var other = Fixture.machine(600, seed: 40)
        for row in 0..<other.rowCount {
            other.values[row * 5 + 1] *= 2
        }
        let bad = try Detector.fit(other, options: DetectorOptions(seed: 1)).detector
        let newest = Fixture.machine(400, seed: 41)
        let worse = FitGate.judge(
            challenger: bad, champion: good, newest: newest, falseAlarmProbability: 1e-3)
        #expect(!worse.isAccepted)
        #expect(worse.reason.hasPrefix("it would alarm on "), "\(worse.reason)")
        let better = FitGate.judge(
            challenger: good, champion: bad, newest: newest, falseAlarmProbability: 1e-3)
        #expect(better.isAccepted)
        #expect(better.reason.hasPrefix("it explains the newest data better: "), "\(better.reason)")
        #expect(better.challengerLogLikelihood > better.championLogLikelihood)
    }

    @Test func sameModelDoesNotReplaceItself() throws {
        let detector = try Fixture.machineDetector.get()
        let decision = FitGate.judge(
            challenger: detector, champion: detector, newest: Fixture.machine(400, seed: 5),
            falseAlarmProbability: 1e-2)
        #expect(!decision.isAccepted)
    }
}

@Suite struct TrainingWindowTests {
    private let schema = Fixture.machine(1, seed: 1).schema

    @Test func keepsTheNewestRecordsInOrderAcrossTheRingsEnd() throws {
        let folder = try TemporaryDirectory()
        let window = try TrainingWindow(
            path: folder.path + "/w", schema: schema, capacity: 100)
        let records = Fixture.machine(250, seed: 1)
        for start in stride(from: 0, to: 250, by: 70) {
            try window.append(records.rows(start..<min(start + 70, 250)))
        }
        #expect(window.total == 250)
        let held = try window.records(0..<250)
        #expect(held.values == records.rows(150..<250).values)
        #expect(held.offsets == Array(150..<250).map(Int64.init))
        let some = try window.records(200..<210)
        #expect(some.values == records.rows(200..<210).values)
    }

    @Test func survivesARestartAndRewindsToWhatWasCommitted() throws {
        let folder = try TemporaryDirectory()
        let path = folder.path + "/w"
        let records = Fixture.machine(60, seed: 1)
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: 100)
            try window.append(records)
            try window.flush()
        }
        let window = try TrainingWindow(path: path, schema: schema, capacity: 100)
        #expect(window.total == 60)
        #expect(try window.records(0..<60).values == records.values)
        window.rewind(to: 40)
        try window.append(records.rows(40..<60))
        #expect(try window.records(0..<100).values == records.values)
    }

    @Test func anotherSchemaOrCapacityBeginsAnew() throws {
        let folder = try TemporaryDirectory()
        let path = folder.path + "/w"
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: 100)
            try window.append(Fixture.machine(60, seed: 1))
            try window.flush()
        }
        let other = try TrainingWindow(
            path: path, schema: Schema(features: ["a"], time: nil), capacity: 100)
        #expect(other.total == 0)
    }

    @Test func damagedRowIsSkippedNotLearned() throws {
        let folder = try TemporaryDirectory()
        let path = folder.path + "/w"
        let window = try TrainingWindow(path: path, schema: schema, capacity: 100)
        try window.append(Fixture.machine(20, seed: 1))
        let file = try FileHandle(forUpdating: URL(filePath: path))
        try file.seek(toOffset: 4096 + 5 * 64 + 20)
        try file.write(contentsOf: Data([0xFF, 0x00, 0xFF]))
        try file.close()
        let held = try window.records(0..<20)
        #expect(held.rowCount == 19)
        #expect(!held.offsets.contains(5))
    }

    @Test func folderThatDoesNotExistIsNamed() {
        let error = #expect(throws: DetectionError.self) {
            try TrainingWindow(path: "/nonexistent/w", schema: schema, capacity: 10)
        }
        #expect(error?.description == "/nonexistent/w: open: No such file or directory")
    }
}
