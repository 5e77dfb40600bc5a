import Detection
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
