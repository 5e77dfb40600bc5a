import Detection
import FlowDensity
import Foundation
import Ingest
import Testing

/// What an anomaly is once the anomalies before it are taken out of its past.
@Suite struct AfterEffectTests {
    /// Two sensors of one thing that moves slowly, a reading a second.
    private static func sensors(_ count: Int, seed: UInt64) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(schema: Schema(features: ["flow", "pressure"], time: "time"))
        var state = 0.0
        for row in -200..<count {
            state = 0.97 * state + 0.24 * Fixture.normal(&generator)
            guard row >= 0 else { continue }
            batch.append(
                [
                    30 + 2 * (state + 0.05 * Fixture.normal(&generator)),
                    4 + 0.5 * (state + 0.05 * Fixture.normal(&generator)),
                ], time: Double(row), lineIndex: Int32(row), offset: Int64(row))
        }
        return batch
    }

    private static let fitted = Result {
        try Detector.fit(
            sensors(4_000, seed: 1), options: DetectorOptions(members: 2, windows: [3, 9, 27])
        ).detector
    }

    private let detector: Detector
    private let threshold: Threshold

    init() throws {
        detector = try Self.fitted.get()
        threshold = detector.threshold(falseAlarmProbability: 1e-3)
    }

    /// The anomalies of a batch, and which of them are after-effects.
    ///
    /// - Parameter cut: Where the batch is cut into two.
    private func judge(
        _ records: RecordBatch, cut: Int? = nil
    ) throws -> (verdicts: [Int: Verdict], own: [Int], past: ExpectedPast) {
        var (state, past) = (ContextState(), ExpectedPast())
        var verdicts: [Int: Verdict] = [:]
        var own: [Int] = []
        let cut = cut ?? records.rowCount
        for part in [0..<cut, cut..<records.rowCount] where !part.isEmpty {
            let scores = detector.score(records.rows(part), state: &state)
            for verdict in detector.verdicts(scores, threshold: threshold) {
                let row = part.lowerBound + verdict.row
                verdicts[row] = verdict
                let standing = detector.standing(
                    of: verdict, in: scores, number: Int64(row), past: past, threshold: threshold)
                switch standing {
                case .afterEffect: continue
                case .own(let expected):
                    if let expected { past.note(Int64(row), row: expected) }
                case .stuck: past.noteStandstill(Int64(row))
                }
                own.append(row)
            }
            // As in a checkpoint.
            past = try JSONDecoder().decode(
                ExpectedPast.self, from: JSONEncoder().encode(past))
        }
        return (verdicts, own, past)
    }

    @Test(arguments: [nil, 101, 110]) func recordsAfterAWildOneAreOnlyItsAfterEffect(cut: Int?)
        throws
    {
        var records = Self.sensors(200, seed: 5)
        let calm = Set(try judge(records).own)
        records.values[2 * 100] += 12
        let found = try judge(records, cut: cut)
        #expect(found.verdicts.keys.filter { (101..<127).contains($0) }.count > 5)
        #expect(found.own.contains(100))
        #expect(Set(found.own).subtracting(calm) == [100])
    }

    @Test func faultThatLastsStaysOneUntilItsEndAndNotLonger() throws {
        var records = Self.sensors(200, seed: 6)
        let calm = Set(try judge(records).own)
        for row in 100..<115 { records.values[2 * row + 1] -= 3 }
        let own = Set(try judge(records).own)
        #expect(own.isSuperset(of: 100..<115), "\(own.sorted())")
        #expect(own.subtracting(100..<115).isSubset(of: calm), "\(own.sorted())")
    }

    @Test func twoSensorsThatFailTogetherLeaveNothingBehind() throws {
        var records = Self.sensors(200, seed: 7)
        let calm = Set(try judge(records).own)
        for row in 100..<104 {
            records.values[2 * row] += 15
            records.values[2 * row + 1] += 4
        }
        let own = Set(try judge(records).own)
        #expect(own.isSuperset(of: 100..<104))
        #expect(own.subtracting(100..<104).isSubset(of: calm), "\(own.sorted())")
    }

    @Test(arguments: [nil, 205, 210]) func readingsThatMoveAgainLeaveTheStandstillBehind(
        cut: Int?
    ) throws {
        // What goes on is far from where it stood still.
        var records = Self.sensors(260, seed: 10)
        let moved = Self.sensors(2_000, seed: 10)
        let far = try #require(
            (300..<1_900).max { abs(moved.values[2 * $0] - 30) < abs(moved.values[2 * $1] - 30) })
        for row in 200..<260 {
            for j in 0..<2 { records.values[2 * row + j] = moved.values[2 * (far + row - 200) + j] }
        }
        for row in 100..<200 {
            for j in 0..<2 { records.values[2 * row + j] = records.values[2 * 99 + j] }
        }
        let found = try judge(records, cut: cut)
        #expect(found.verdicts[199]?.reasonCode == .stuck)
        #expect(found.verdicts.keys.contains { $0 >= 200 })
        #expect(found.own.contains(199) && !found.own.contains { $0 >= 200 }, "\(found.own)")
    }

    /// No single reading of it is strange: the past is no excuse.
    @Test func slowShiftGoesOnAlarming() throws {
        var records = Self.sensors(200, seed: 8)
        for row in 100..<200 { records.values[2 * row + 1] += 0.1 }
        let found = try judge(records)
        let shifted = found.verdicts.keys.filter { $0 >= 130 }
        #expect(shifted.count > 30)
        #expect(found.own.count { $0 >= 130 } > shifted.count / 2, "\(found.own)")
    }

    @Test func levelThatIsToldIsTheMeanAsItWas() throws {
        var records = Self.sensors(160, seed: 9)
        // Far beyond what the model sees of former readings.
        for row in 100..<160 { records.values[2 * row] = 0 }
        let verdicts = try judge(records).verdicts
        let level = try #require(verdicts[150].map(\.features)?.first { $0.name == "flow" })
        #expect(level.value == .number(0))
        #expect(abs(level.expected.number - 30) < 4, "\(level.expected)")
        for row in 140..<160 {
            guard let verdict = verdicts[row], verdict.reasonCode == .levelShifted else { continue }
            #expect(verdict.summary.hasPrefix("flow around 0 for 27 records"), "\(verdict.summary)")
        }
    }
}
