import Detection
import FlowDensity
import Foundation
import Ingest
import Testing

/// Readings that stand still, though each of them is as likely as ever.
@Suite struct RepeatsTests {
    private typealias Sensor = (_ row: Int, _ generator: inout SeededGenerator) -> Double

    /// A reading a second of sensors that know nothing of one another.
    private static func records(
        _ count: Int, seed: UInt64, from start: Int = 0, optional: Set<String> = [],
        _ sensors: [(name: String, reading: Sensor)]
    ) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var schema = Schema(features: sensors.map(\.name), time: "time")
        schema.optional = optional
        var batch = RecordBatch(schema: schema)
        for row in 0..<count {
            batch.append(
                sensors.map { $0.reading(row, &generator) }, time: Double(start + row),
                lineIndex: Int32(row), offset: Int64(row))
        }
        return batch
    }

    private static var pump: [(name: String, reading: Sensor)] {
        [
            ("flow", { _, generator in 30 + Fixture.normal(&generator) }),
            ("pressure", { _, generator in 4 + 0.2 * Fixture.normal(&generator) }),
            ("heat", { _, generator in 60 + 3 * Fixture.normal(&generator) }),
        ]
    }

    private static let fitted = Result {
        try Detector.fit(records(2_000, seed: 1, pump), options: DetectorOptions(members: 1))
            .detector
    }

    private func fit(_ records: RecordBatch) throws -> Detector {
        try Detector.fit(records, options: DetectorOptions(members: 1)).detector
    }

    /// What a detector says of records that come after `state`, in parts of so many.
    private func verdicts(
        _ records: RecordBatch, by detector: Detector, parts: Int = .max,
        state: inout ContextState, probability: Double = 1e-4
    ) -> [Int: Verdict] {
        let threshold = detector.threshold(falseAlarmProbability: probability)
        var found: [Int: Verdict] = [:]
        var first = 0
        while first < records.rowCount {
            let part = records.rows(
                first..<min(first + min(parts, records.rowCount), records.rowCount))
            let scores = detector.score(part, state: &state)
            for verdict in detector.verdicts(scores, threshold: threshold) {
                found[first + verdict.row] = verdict
            }
            first += part.rowCount
        }
        return found
    }

    /// Ordinary records, then one of them for ever, in some or all of its features.
    private func frozen(_ features: [Int], at row: Int, count: Int, seed: UInt64) -> RecordBatch {
        var batch = Self.records(row + count, seed: seed, from: 5_000, Self.pump)
        // One that is as ordinary as can be.
        let held = [30.1, 4.01, 60.2]
        for place in row..<(row + count) {
            for j in features { batch.values[place * 3 + j] = held[j] }
        }
        return batch
    }

    @Test func aMachineThatFreezesAtOrdinaryValuesIsFoundAndTold() throws {
        let detector = try Self.fitted.get()
        var state = ContextState()
        let found = verdicts(
            frozen([0, 1, 2], at: 300, count: 60, seed: 2), by: detector, state: &state)
        let stuck = found.filter { $0.value.reasonCode == .stuck }
        #expect(stuck.keys.allSatisfy { $0 >= 303 }, "\(stuck.keys.sorted())")
        let first = try #require(stuck.min { $0.key < $1.key })
        #expect(first.key < 310, "found after \(first.key - 299) records")
        #expect(stuck.count > 45)
        let last = try #require(found[359])
        #expect(last.tail == .high && last.pValue < 1e-4)
        #expect(
            last.summary
                == "all 3 features stay the same for 60 records in a row, none did in training")
        #expect(last.namedFeatures.map(\.name).sorted() == ["flow", "heat", "pressure"])
        #expect(last.features.allSatisfy { $0.expected == .missing && $0.contribution > 5 })
    }

    @Test func aSingleFrozenSensorIsNamedAlone() throws {
        let detector = try Self.fitted.get()
        var state = ContextState()
        let found = verdicts(
            frozen([1], at: 300, count: 60, seed: 3), by: detector, state: &state)
        let last = try #require(found[359])
        #expect(last.reasonCode == .stuck)
        #expect(last.namedFeatures.map(\.name) == ["pressure"])
        #expect(last.summary.hasPrefix("pressure stays at 4.01 for 60 records in a row, "))
        #expect(last.features.first { $0.name == "flow" }?.contribution == 0)
    }

    @Test func partsOfAStreamAndARestartChangeNothing() throws {
        let detector = try Self.fitted.get()
        let records = frozen([0, 1, 2], at: 40, count: 60, seed: 4)
        var state = ContextState()
        let whole = verdicts(records, by: detector, state: &state)
        #expect(!whole.isEmpty)
        for parts in [1, 7, 64] {
            var state = ContextState()
            let found = verdicts(records, by: detector, parts: parts, state: &state)
            #expect(found.mapValues(\.pValue) == whole.mapValues(\.pValue), "parts of \(parts)")
            #expect(found.mapValues(\.summary) == whole.mapValues(\.summary))
        }
        // What is remembered is stored and read again in the midst of it.
        var begun = ContextState()
        let first = verdicts(records.rows(0..<60), by: detector, state: &begun)
        var restored = try JSONDecoder().decode(
            ContextState.self, from: JSONEncoder().encode(begun))
        let rest = verdicts(records.rows(60..<100), by: detector, state: &restored)
        #expect(first.count + rest.count == whole.count)
        #expect(rest[39]?.summary == whole[99]?.summary)
        // So does the model file.
        let copy = try Detector(decoding: detector.encoded(), name: "copy")
        var again = ContextState()
        #expect(verdicts(records, by: copy, state: &again) == whole)
    }

    @Test func whatAlwaysStandsStillForSoLongIsNoFault() throws {
        // A slow sensor: a new reading with every tenth record; and a valve that rests open or shut for hundreds.
        let slow: [(name: String, reading: Sensor)] = [
            ("flow", { _, generator in 30 + Fixture.normal(&generator) }),
            ("slow", { row, _ in (Double(row / 10) * 0.618).truncatingRemainder(dividingBy: 1) }),
            ("valve", { row, _ in row / 311 % 2 == 0 ? 0 : 1 }),
        ]
        let detector = try fit(Self.records(3_000, seed: 5, slow))
        var state = ContextState()
        let normal = verdicts(
            Self.records(2_000, seed: 6, from: 3_000, slow), by: detector, state: &state)
        #expect(normal.filter { $0.value.reasonCode == .stuck }.isEmpty)
        // The valve stays open for longer than ever, which it may; the slow sensor stops, which it may not.
        var later = Self.records(600, seed: 7, from: 5_000, slow)
        for row in 0..<600 { later.values[row * 3 + 2] = 1 }
        for row in 500..<600 { later.values[row * 3 + 1] = 0.5 }
        let found = verdicts(later, by: detector, state: &state)
            .filter { $0.value.reasonCode == .stuck }
        #expect(found.keys.allSatisfy { $0 > 510 } && found.count > 50, "\(found.keys.sorted())")
        #expect(
            found[599]?.summary
                == "slow stays at 0.5 for 100 records in a row, at most 10 in training")
    }

    @Test func whatStandsInForMissingValuesIsNotStuck() throws {
        var records = Self.records(2_000, seed: 8, optional: ["pressure"], Self.pump)
        for row in 500..<900 where row % 3 > 0 { records.values[row * 3 + 1] = .nan }
        var options = DetectorOptions(members: 1)
        options.missing = MissingPolicies(standard: .median)
        let detector = try Detector.fit(records, options: options).detector
        var later = Self.records(300, seed: 9, from: 2_000, optional: ["pressure"], Self.pump)
        for row in 100..<200 { later.values[row * 3 + 1] = .nan }
        var state = ContextState()
        let found = verdicts(later, by: detector, state: &state)
        #expect(found.filter { $0.value.reasonCode == .stuck }.isEmpty)
    }

    @Test func aSensorThatWasStuckInTrainingIsFoundTheNextTime() throws {
        var records = Self.records(3_000, seed: 10, Self.pump)
        for row in 1_000..<1_100 { records.values[row * 3 + 1] = 4.02 }
        let detector = try fit(records)
        var state = ContextState()
        let found = verdicts(
            frozen([1], at: 100, count: 60, seed: 11), by: detector, state: &state)
        #expect(found[159]?.reasonCode == .stuck)
    }

    @Test func recordsWithoutATimeHaveNoOrder() throws {
        let timed = Self.records(2_000, seed: 12, Self.pump)
        var records = RecordBatch(schema: Schema(features: timed.schema.features, time: nil))
        for row in 0..<timed.rowCount { records.append(timed.row(row)) }
        let detector = try fit(records)
        var same = RecordBatch(schema: records.schema)
        for _ in 0..<100 { same.append([30.1, 4.01, 60.2]) }
        var state = ContextState()
        let found = verdicts(same, by: detector, state: &state)
        #expect(found.filter { $0.value.reasonCode == .stuck }.isEmpty)
    }

    @Test func aThresholdSetByHandKeepsTheShareOfStandstills() throws {
        let detector = try Self.fitted.get()
        let threshold = detector.threshold(logLikelihood: -1e6, falseAlarmProbability: 1e-4)
        var state = ContextState()
        let scores = detector.score(
            frozen([0, 1, 2], at: 300, count: 60, seed: 2), state: &state)
        let found = detector.verdicts(scores, threshold: threshold)
        #expect(found.contains { $0.reasonCode == .stuck && $0.row == 359 })
        #expect(found.allSatisfy { $0.row > 300 })
    }

    /// A slow sensor on a coarse grid, which stands still for long and never as long as the time before: few are called stuck.
    @Test func burstsOfRepeatsKeepToTheBudget() throws {
        let alpha = 0.02
        var outside = 0
        var total = 0
        for seed in 20..<26 as Range<UInt64> {
            var level = 0.0
            let coarse: [(name: String, reading: Sensor)] = [
                ("flow", { _, generator in 30 + Fixture.normal(&generator) }),
                (
                    "room",
                    { _, generator in
                        level = 0.995 * level + 0.1 * Fixture.normal(&generator)
                        return (level * 4).rounded() / 4
                    }
                ),
            ]
            let records = Self.records(6_000, seed: seed, coarse)
            let detector = try fit(records.rows(0..<3_000))
            var state = ContextState()
            let found = verdicts(
                records.rows(3_000..<6_000), by: detector, state: &state, probability: alpha)
            outside += found.count { $0.value.reasonCode == .stuck }
            total += 3_000
        }
        #expect(Double(outside) < alpha * Double(total), "\(outside) of \(total)")
    }
}
