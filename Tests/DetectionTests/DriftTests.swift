import Detection
import Foundation
import FlowDensity
import Ingest
import Testing

@Suite struct DriftTests {
    private let detector: Detector

    init() throws {
        detector = try Fixture.machineDetector.get()
    }

    /// Feeds records in batches.
    private func state(
        after records: RecordBatch, from state: DriftState? = nil,
        where isWanted: (Int) -> Bool = { _ in true }
    ) -> DriftState {
        var drift = state ?? detector.driftState(training: Fixture.machine(3_000, seed: 1))
        var context = ContextState()
        for start in stride(from: 0, to: records.rowCount, by: 100) {
            let end = min(start + 100, records.rowCount)
            let scores = detector.score(records.rows(start..<end), state: &context)
            detector.observeDrift(scores, in: &drift, where: isWanted)
        }
        return drift
    }

    /// The machine with one of its features moved.
    private func moved(_ count: Int, seed: UInt64, feature: Int, by change: Double) -> RecordBatch {
        var records = Fixture.machine(count, seed: seed)
        for row in 0..<count { records.values[row * 5 + feature] += change }
        return records
    }

    @Test func recordsOfTheSameKindHaveNotMoved() {
        for seed in 20..<24 {
            let drift = state(after: Fixture.machine(3_000, seed: UInt64(seed)))
            #expect(!drift.scoresHaveDrifted, "\(drift.logCapital)")
            let features = detector.featureDrift(drift)
            // 'mode' never changes: it has no shares to compare.
            #expect(Set(features.map(\.name)) == ["speed", "load", "power", "level"])
            #expect(features.allSatisfy { $0.index < 0.03 && $0.index >= 0 }, "\(features)")
        }
    }

    @Test func quantilesAloneTellAboutTheSame() {
        let records = moved(2_000, seed: 30, feature: 4, by: 1)
        let known = detector.featureDrift(state(after: records))
        let rough = detector.featureDrift(state(after: records, from: detector.driftState()))
        for feature in known {
            let other = rough.first { $0.name == feature.name }?.index ?? .nan
            #expect(abs(other - feature.index) < 0.12, "\(feature) \(other)")
        }
    }

    @Test func featureThatMovedComesFirst() {
        // Half a deviation of 'level', whose values lie on a grid, and nothing else.
        let drift = state(after: moved(2_000, seed: 30, feature: 4, by: 1))
        let features = detector.featureDrift(drift)
        #expect(features.first?.name == "level")
        #expect(features[0].index > DriftState.bigIndex, "\(features)")
        #expect(features[1].index < 0.05)
    }

    @Test func scoresThatChangedAreFoundSoonAndTheBeginIsKnown() throws {
        let before = state(after: Fixture.machine(3_000, seed: 31))
        // A deviation of the relation between the features: each by itself looks as ever.
        var drift = before
        var needed: Int64 = 0
        let records = moved(2_000, seed: 32, feature: 2, by: 0.45)
        while !drift.scoresHaveDrifted, needed < 2_000 {
            drift = state(after: records.rows(Int(needed)..<Int(needed + 100)), from: drift)
            needed += 100
        }
        #expect(needed <= 500)
        #expect(
            (needed...(needed + 500)).contains(drift.recordsSinceChange),
            "\(drift.recordsSinceChange)")
        #expect(detector.featureDrift(drift).allSatisfy { $0.index < DriftState.bigIndex })
        drift.resetScores()
        #expect(!drift.scoresHaveDrifted && drift.logCapital == 0)
    }

    /// Each record five times: neighbours are as alike as those of a slow sensor.
    private func slow(_ records: RecordBatch) -> RecordBatch {
        records.selecting((0..<5 * records.rowCount).map { $0 / 5 })
    }

    @Test func neighboursThatAreAlikeNeitherRaiseNorHideAChange() {
        let before = state(after: slow(Fixture.machine(4_000, seed: 37)))
        #expect(!before.scoresHaveDrifted, "\(before.logCapital)")
        let after = state(
            after: slow(moved(800, seed: 38, feature: 2, by: 1)), from: before)
        #expect(after.scoresHaveDrifted, "\(after.logCapital)")
    }

    @Test func memoryIsBoundedAndFollowsTheNewest() {
        var drift = state(after: moved(6_000, seed: 33, feature: 4, by: 3))
        #expect(drift.recordCount <= 3_100)
        let far = detector.featureDrift(drift)[0].index
        drift = state(after: Fixture.machine(9_000, seed: 34), from: drift)
        #expect(detector.featureDrift(drift)[0].index < 0.25 * far)
    }

    @Test func stateSurvivesARestart() throws {
        let drift = state(after: Fixture.machine(500, seed: 35))
        let stored = try JSONEncoder().encode(drift)
        #expect(stored.count < 3_000)
        let restored = try JSONDecoder().decode(DriftState.self, from: stored)
        let more = Fixture.machine(300, seed: 36)
        let (a, b) = (state(after: more, from: drift), state(after: more, from: restored))
        #expect(abs(a.logCapital - b.logCapital) < 1e-9)
        let (of, other) = (
            detector.featureDrift(a, recordsPerDay: 50), detector.featureDrift(b, recordsPerDay: 50)
        )
        #expect(of.count == 4 && of == other)
    }

    @Test func fewRecordsTellNothingAndUnwantedOnesAreNotCounted() {
        #expect(
            detector.featureDrift(
                state(after: Fixture.machine(150, seed: 37)), recordsPerDay: 10
            ).isEmpty)
        let none = state(after: moved(2_000, seed: 38, feature: 4, by: 3)) { _ in false }
        #expect(none.recordCount == 0 && none.logCapital == 0)
    }

    /// A part of a day is not what the days were that the model learned from.
    @Test func anIndexIsToldOfHalfAsManyRecordsAsWereLearnedOrOfAWeek() {
        let drift = state(after: Fixture.machine(1_400, seed: 39))
        #expect(detector.featureDrift(drift).isEmpty)
        #expect(detector.featureDriftMissing(drift) == 100)
        #expect(detector.featureDriftMissing(drift, recordsPerDay: 205) == 35)
        #expect(detector.featureDrift(drift, recordsPerDay: 200).count == 4)
        let more = state(after: Fixture.machine(100, seed: 40), from: drift)
        #expect(detector.featureDrift(more).count == 4)
        // Also when the older half is forgotten.
        for count in 3_001..<3_020 {
            let aged = state(after: Fixture.machine(count - 1_500, seed: 41), from: more)
            #expect(detector.featureDriftMissing(aged) == 0)
        }
    }

    @Test func itIsTooEarlyToTellOfScoresWhileFewBetsCouldHaveWon() {
        // Records that are all alike in their strangeness: one in many is bet on.
        var drift = state(after: moved(400, seed: 42, feature: 2, by: 40))
        #expect(drift.isTooEarlyForScores && !drift.scoresHaveDrifted)
        drift = state(after: Fixture.machine(36, seed: 43))
        #expect(drift.isTooEarlyForScores)
        drift = state(after: Fixture.machine(100, seed: 44), from: drift)
        #expect(!drift.isTooEarlyForScores)
        drift.resetScores()
        #expect(drift.isTooEarlyForScores)
    }

    @Test func neighboursThatResembleEachOtherAreNoDrift() throws {
        // Long runs of high and low values, whose p-values are spread evenly all the same.
        let records = Fixture.machine(3_000, seed: 1)
        var context = ContextState()
        let scores = detector.score(records, state: &context)
        let order = (0..<3_000).sorted { scores.logLikelihood[$0] < scores.logLikelihood[$1] }
        var slow = RecordBatch(schema: records.schema)
        // Every 60th in order, again and again: runs of 50 from the least likely to the most.
        for start in 0..<60 {
            for row in stride(from: start, to: 3_000, by: 60) {
                let record = order[row]
                slow.append(
                    Array(records.values[(record * 5)..<(record * 5 + 5)]), time: .nan,
                    lineIndex: 0, offset: 0)
            }
        }
        #expect(!state(after: slow).scoresHaveDrifted, "\(state(after: slow).logCapital)")
    }
}
