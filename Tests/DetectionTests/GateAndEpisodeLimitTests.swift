import Detection
import Ingest
import Testing

@Suite struct GateAndEpisodeLimitTests {
    @Test func tooFewRecordsToCompareOnKeepTheServingModel() throws {
        let detector = try Fixture.machineDetector.get()
        for count in [0, FitGate.leastRecords - 1] {
            let decision = FitGate.judge(
                challenger: detector, champion: detector, newest: Fixture.machine(count, seed: 9),
                falseAlarmProbability: 1e-3)
            #expect(!decision.isAccepted)
            #expect(
                decision.reason == "too few of the newest records are usable to compare it on: "
                    + "expected at least 20, found \(count)")
        }
    }

    /// The machine with one of its features off in some records.
    private func machine(
        _ count: Int, seed: UInt64, off change: Double = 15, at isFault: (Int) -> Bool
    ) -> RecordBatch {
        var records = Fixture.machine(count, seed: seed)
        for row in 0..<count where isFault(row) { records.values[row * 5 + 2] += change }
        return records
    }

    /// It has calibrated on faults, and finds none that are less strange.
    @Test func aBlindModelGivesWayToOneThatSees() throws {
        let seeing = try Fixture.machineDetector.get()
        // In the last quarter of blocks of forty, which calibrates.
        let faulty = machine(1_200, seed: 2, off: 60) { $0 % 160 == 35 }
        let blind = try Detector.fit(faulty, options: DetectorOptions(seed: 5)).detector
        #expect(!seeing.isBlind(falseAlarmProbability: 1e-3))
        #expect(blind.isBlind(falseAlarmProbability: 1e-3))
        func judge(_ newest: RecordBatch) -> GateDecision {
            FitGate.judge(
                challenger: seeing, champion: blind, newest: newest, falseAlarmProbability: 1e-3)
        }
        // One fault of ten records, which the blind model lets pass.
        let decision = judge(machine(600, seed: 9, at: (300..<310).contains))
        #expect(decision.championAlarmRate == 0)
        #expect(decision.isAccepted, "\(decision)")
        #expect(decision.reason.contains("; the serving model is blind: its threshold, "))
        // What alarms again and again, or on much of the stream, does not know it.
        #expect(!judge(machine(600, seed: 9) { $0 % 40 == 0 }).isAccepted)
        #expect(!judge(machine(600, seed: 9) { $0 >= 450 }).isAccepted)
    }

    @Test func anAnomalyDatedFarAheadDoesNotKeepItsEpisodeOpen() {
        var tracker = EpisodeTracker(cooldownSecs: 60)
        let verdict = Verdict(
            row: 0, logLikelihood: -12, threshold: -10, pValue: 1e-5, tail: .low,
            reasonCode: .improbable, features: [], summary: "")
        _ = tracker.observe(time: 1_000_000, verdict: verdict)
        #expect(tracker.observe(time: 1_000_000 - 3_600, verdict: nil).isEmpty, "disorder")
        let events = tracker.observe(time: 1_000_000 - 3_601, verdict: verdict)
        #expect(events.count == 2)
        #expect(tracker.open?.sequence == 2)
        #expect(tracker.open?.lastAt == 996_399.0)
    }
}
