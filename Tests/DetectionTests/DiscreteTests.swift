import Detection
import FlowDensity
import Foundation
import Ingest
import TestSupport
import Testing

/// Categories and missing values, from records to reasons.
@Suite struct DiscreteTests {
    static let detector = Result {
        try Detector.fit(
            Fixture.modes(4_000, seed: 1),
            options: DetectorOptions(seed: 3, missing: Fixture.modePolicies)
        ).detector
    }

    private let detector: Detector
    private let threshold: Threshold

    init() throws {
        detector = try Self.detector.get()
        threshold = detector.threshold(falseAlarmProbability: 1e-3)
    }

    private func record(_ mode: String?, _ valve: String?, _ values: [Double]) -> RecordBatch {
        var batch = RecordBatch(schema: Fixture.modeSchema)
        batch.append(values, categories: [mode, valve])
        return batch
    }

    private func score(_ records: RecordBatch) -> Scores {
        var state = ContextState()
        return detector.score(records, state: &state)
    }

    private func verdict(_ records: RecordBatch) -> Verdict? {
        detector.verdicts(score(records), threshold: threshold).first
    }

    @Test func normalRecordsAreNoAnomalies() {
        let alarms = detector.verdicts(
            score(Fixture.modes(4_000, seed: 2)),
            threshold: detector.threshold(falseAlarmProbability: 0.01))
        // 40 are asked for. The threshold rests on 10 of 1,000 records, so that its own deviation is a third of it:
        // with that of the count, three deviations are 43.
        #expect(alarms.count <= 83, "\(alarms.map(\.summary))")
    }

    @Test func unseenValueIsAnAnomalyThatSaysSo() throws {
        let verdict = try #require(self.verdict(record("purge", "open", [5, 10])))
        #expect(verdict.reasonCode == .neverSeen)
        #expect(verdict.features[0].name == "mode")
        #expect(verdict.features[0].value == .text("purge"))
        #expect(verdict.features[0].expected == .text("run"))
        #expect(verdict.summary.hasPrefix("mode 'purge' was never seen"))
    }

    @Test func improbableCombinationOfTwoCommonValuesIsFound() throws {
        #expect(verdict(record("run", "open", [5, 10])) == nil)
        #expect(verdict(record("idle", "closed", [1, 0.2])) == nil)
        let verdict = try #require(self.verdict(record("run", "closed", [5, 10])))
        #expect(verdict.reasonCode == .improbable)
        #expect(verdict.features[0].name == "valve")
        #expect(verdict.summary.hasPrefix("valve 'closed' where 'open' was expected"))
    }

    @Test func valuesThatDoNotFitTheCategoryAreFound() throws {
        // Each of the four is common.
        let verdict = try #require(self.verdict(record("idle", "closed", [5, 10])))
        #expect(verdict.reasonCode == .improbable)
        let expected = verdict.features.filter { $0.contribution > 5 }.map(\.name)
        #expect(expected.contains("pressure") || expected.contains("mode"))
    }

    @Test func missingValueThatIsUsuallyThereIsTold() throws {
        // Flow was never missing, pressure in 3 % of the records.
        let verdict = try #require(self.verdict(record("run", "open", [5, .nan])))
        #expect(verdict.reasonCode == .neverSeen)
        #expect(verdict.features[0].name == "flow")
        #expect(verdict.features[0].value == .missing)
        #expect(verdict.features[0].expected.number.isFinite)
        #expect(verdict.summary.hasPrefix("flow is missing, it never was"))
        #expect(self.verdict(record("run", "open", [.nan, 10])) == nil)
    }

    @Test func filledValuesAreNotBlamed() throws {
        let verdict = try #require(self.verdict(record("run", "closed", [.nan, 10])))
        let pressure = try #require(verdict.features.first { $0.name == "pressure" })
        #expect(pressure.value == .missing)
        // What is left is that it is missing: 3 % instead of 97 %.
        #expect(pressure.contribution < 5)
        #expect(verdict.features[0].name == "valve")
    }

    @Test func missingCategoryIsAValueOfItsOwn() throws {
        let verdict = try #require(self.verdict(record(nil, "open", [5, 10])))
        #expect(verdict.features[0].name == "mode")
        #expect(verdict.features[0].value == .missing)
        #expect(verdict.summary.hasPrefix("mode is missing, it never was"))
    }

    @Test func previousStandsInAndSurvivesARestart() throws {
        var policies = Fixture.modePolicies
        policies.columns["pressure"] = .previous
        let detector = try Detector.fit(
            Fixture.modes(1_000, seed: 1), options: DetectorOptions(members: 1, missing: policies)
        ).detector
        let gap = record("run", "open", [.nan, 10])
        func scoreGap(after value: Double, _ restart: Bool) throws -> Double {
            var state = ContextState()
            _ = detector.score(record("run", "open", [value, 10]), state: &state)
            if restart {
                state = try JSONDecoder().decode(
                    ContextState.self, from: try JSONEncoder().encode(state))
            }
            // A second gap in a row is filled by the same value.
            let first = detector.score(gap, state: &state).logLikelihood[0]
            #expect(detector.score(gap, state: &state).logLikelihood[0] == first)
            return first
        }
        let near = try scoreGap(after: 5, false)
        #expect(try scoreGap(after: 5, true) == near)
        #expect(try scoreGap(after: 6, false) != near)
    }

    @Test func recordHasTheSameLogLikelihoodInABatchOfAnySize() {
        let records = Fixture.modes(700, seed: 5)
        let whole = score(records).logLikelihood
        var state = ContextState()
        var parts: [Double] = []
        var next = 0
        for size in [1, 1, 95, 97, 3, 503] {
            parts += detector.score(records.rows(next..<(next + size)), state: &state).logLikelihood
            next += size
        }
        #expect(next == 700)
        #expect(parts == whole)
    }

    @Test func modelFileGivesTheSameBitsBack() throws {
        let bytes = detector.encoded()
        let copy = try Detector(decoding: bytes, name: "copy")
        #expect(copy.encoded() == bytes)
        var state = ContextState()
        let records = Fixture.modes(300, seed: 6)
        #expect(copy.score(records, state: &state).logLikelihood == score(records).logLikelihood)
    }

    @Test func samplesKeepTheCombinations() {
        let drawn = detector.sample(3_000, seed: 1)
        var counts: [String: Int] = [:]
        for row in 0..<drawn.rowCount {
            let cells = drawn.categories.row(row).map { $0 ?? "-" }
            counts[cells.joined(separator: " "), default: 0] += 1
        }
        #expect((counts["run open"] ?? 0) > 1_600)
        #expect((counts["idle closed"] ?? 0) > 700)
        #expect((counts["run closed"] ?? 0) < 5)
        let missing = (0..<drawn.rowCount).count { drawn.row($0).first?.isNaN == true }
        #expect((30...200).contains(missing))
    }

    @Test func notesTellWhatWasLearned() {
        let notes = detector.summary.notes
        #expect(notes.contains("'mode' has 3 values; a new one is an anomaly"))
        #expect(notes.contains { $0.hasPrefix("'pressure' is missing in ") })
    }

    @Test func manyValuesAreBoundedAndNewOnesExpected() throws {
        var generator = SeededGenerator(seed: 4)
        var records = RecordBatch(schema: Schema(features: ["a"], categories: ["user"], time: nil))
        for _ in 0..<4_000 {
            // A few users come often, most come once.
            let user = Int(exp(Double.random(in: 0..<9, using: &generator)))
            records.append([Fixture.normal(&generator)], categories: ["u\(user)"])
        }
        let detector = try Detector.fit(records, options: DetectorOptions(members: 1)).detector
        var new = RecordBatch(schema: records.schema)
        new.append([0], categories: ["somebody"])
        new.append([0], categories: ["u1"])
        var state = ContextState()
        let scores = detector.score(new, state: &state)
        let limit = detector.threshold(falseAlarmProbability: 1e-3)
        #expect(!scores.isAnomaly(0, threshold: limit))
        #expect(scores.logLikelihood[0].isFinite)
        #expect(detector.summary.notes.contains { $0.contains("a new one is expected in") })
        #expect(
            try Detector(decoding: detector.encoded(), name: "m").encoded() == detector.encoded())
    }

    @Test func featureWithoutAnyValueIsToldWhenOneComes() throws {
        var records = RecordBatch(
            schema: Schema(features: ["a", "dead"], optional: ["a", "dead"], time: nil))
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<400 { records.append([Fixture.normal(&generator), .nan]) }
        let detector = try Detector.fit(
            records,
            options: DetectorOptions(members: 1, missing: MissingPolicies(standard: .median))
        ).detector
        var state = ContextState()
        var alive = RecordBatch(schema: records.schema)
        alive.append([0, 7])
        let verdict = try #require(
            detector.verdicts(
                detector.score(alive, state: &state),
                threshold: detector.threshold(falseAlarmProbability: 1e-3)
            ).first)
        #expect(verdict.reasonCode == .neverSeen)
        #expect(verdict.summary.hasPrefix("dead 7 where no value was expected"))
    }

    @Test func windowGivesCategoriesAndGapsBack() throws {
        let folder = try TemporaryDirectory()
        var records = Fixture.modes(50, seed: 9)
        records.append([.nan, 1], categories: [nil, String(repeating: "x", count: 63)])
        let path = folder.file("pump.ring")
        let window = try TrainingWindow(path: path, schema: records.schema, capacity: 20)
        try window.append(records)
        try window.flush()
        let reopened = try TrainingWindow(path: path, schema: records.schema, capacity: 20)
        let held = try reopened.records(0..<51)
        let expected = records.rows(31..<51)
        #expect(held.rowCount == 20)
        #expect(held.values.map(\.bitPattern) == expected.values.map(\.bitPattern))
        for row in 0..<20 {
            #expect(held.categories.row(row) == expected.categories.row(row))
        }
        var fewer = records.schema
        fewer.categories = ["mode"]
        #expect(try TrainingWindow(path: path, schema: fewer, capacity: 20).discardedCount == 20)
    }
}

/// The probabilities as the model file has them.
@Suite struct DiscreteFileTests {
    private func header(_ bytes: [UInt8]) throws -> [String: Any] {
        let file = try TensorFile(decoding: bytes, name: "m")
        let text = try #require(file.metadata["detector"])
        return try #require(
            try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    private func changed(
        _ bytes: [UInt8], version: String = "3", _ change: (inout [String: Any]) -> Void
    ) throws -> [UInt8] {
        var file = try TensorFile(decoding: bytes, name: "m")
        var header = try header(bytes)
        change(&header)
        let json = try JSONSerialization.data(withJSONObject: header)
        file.metadata["detector"] = String(decoding: json, as: UTF8.self)
        file.metadata["detector_version"] = version
        return file.encoded()
    }

    @Test func fileOfVersion2IsRead() throws {
        let detector = try Fixture.machineDetector.get()
        let old = try changed(detector.encoded(), version: "2") { $0["discrete"] = nil }
        let copy = try Detector(decoding: old, name: "m")
        let records = Fixture.machine(100, seed: 3)
        var states = (ContextState(), ContextState())
        #expect(
            copy.score(records, state: &states.0).logLikelihood
                == detector.score(records, state: &states.1).logLikelihood)
    }

    @Test(arguments: ["levels", "counts", "parent", "row_count"])
    func damagedDiscreteColumnsAreRefused(key: String) throws {
        let bytes = try DiscreteTests.detector.get().encoded()
        let bad = try changed(bytes) { header in
            var columns = header["discrete"] as? [[String: Any]] ?? []
            switch key {
            case "levels": columns[0]["levels"] = ["run", "run", "idle"]
            case "counts": columns[0]["counts"] = [1, 2]
            case "parent":
                columns[0]["parent"] = 1
                columns[1]["parent"] = 0
            default: columns[0]["row_count"] = 0
            }
            header["discrete"] = columns
        }
        #expect(
            throws: DetectionError.modelFile(
                name: "m", reason: "its discrete columns do not fit its schema or one another")
        ) { try Detector(decoding: bad, name: "m") }
    }
}
