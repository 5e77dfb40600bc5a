import Detection
import FlowDensity
import Foundation
import Ingest
import TestSupport
import Testing

/// A large batch is worked on in parts, at once on several threads: nothing that comes of it tells.
@Suite struct BatchPartsTests {
    private let threads = ParallelFor.threads(3)

    /// Scores batches of this size one after the other.
    private func score(
        _ detector: Detector, _ records: RecordBatch, by size: Int
    ) -> [(logLikelihood: Double, pValue: Double)] {
        var state = ContextState()
        return stride(from: 0, to: records.rowCount, by: size).flatMap { start in
            let batch = records.rows(start..<min(start + size, records.rowCount))
            let scores = detector.score(batch, state: &state)
            return Array(zip(scores.logLikelihood, scores.pValue)).map { ($0, $1) }
        }
    }

    private func expectSame(
        _ detector: Detector, _ records: RecordBatch,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        var (state, other) = (ContextState(), ContextState())
        let scores = detector.score(records, state: &state, parallel: threads)
        let small = score(detector, records, by: 288)
        #expect(scores.logLikelihood == small.map(\.logLikelihood), sourceLocation: sourceLocation)
        #expect(scores.pValue == small.map(\.pValue), sourceLocation: sourceLocation)
        let serial = detector.score(records, state: &other)
        // The times are NaN, which equals nothing.
        #expect(try stored(state) == stored(other), sourceLocation: sourceLocation)
        let threshold = detector.threshold(falseAlarmProbability: 0.01)
        let verdicts = detector.verdicts(scores, threshold: threshold, parallel: threads)
        #expect(verdicts.count > 3, sourceLocation: sourceLocation)
        #expect(
            verdicts == detector.verdicts(serial, threshold: threshold),
            sourceLocation: sourceLocation)
        var (drift, serialDrift) = (detector.driftState(), detector.driftState())
        detector.observeDrift(scores, in: &drift, parallel: threads) { _ in true }
        detector.observeDrift(serial, in: &serialDrift) { _ in true }
        #expect(drift == serialDrift, sourceLocation: sourceLocation)
    }

    private func stored(_ state: ContextState) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try encoder.encode(state)
    }

    @Test func gapsAndCategoriesAreFoundInEveryPart() throws {
        var options = DetectorOptions(members: 1)
        var policies = Fixture.modePolicies
        policies.columns["pressure"] = .previous
        options.missing = policies
        let detector = try Detector.fit(Fixture.modes(1_000, seed: 1), options: options).detector
        var records = Fixture.modes(2_600, seed: 3)
        // A gap in the first row of a part is filled by the row before it, a new value is told with its own row.
        records.values[768 * 2] = .nan
        records.append([5, 10], categories: ["run", "stuck"])
        try expectSame(detector, records)
    }

    @Test func windowsAndTheCalendarReachIntoThePartBefore() throws {
        let options = DetectorOptions(members: 2, seed: 2)
        let detector = try Detector.fit(
            Fixture.temperature(2_000, seed: 1), options: options
        ).detector
        #expect(!detector.windows.isEmpty && !detector.calendar.isEmpty)
        try expectSame(detector, Fixture.temperature(3_000, seed: 4))
    }

    @Test func seriesThatBeginsNearTheEdgeOfAPartKnowsNothingOfTheOneBefore() throws {
        let options = DetectorOptions(members: 1, seed: 2)
        let detector = try Detector.fit(
            Fixture.temperature(2_000, seed: 1), options: options
        ).detector
        let series = [750, 786, 300].enumerated().map { index, count in
            Fixture.temperature(count, seed: UInt64(5 + index))
        }
        var mixed = RecordBatch(
            schema: Schema(features: ["temperature"], categories: ["machine"], time: "time"))
        for (index, records) in series.enumerated() {
            for row in 0..<records.rowCount {
                mixed.append(
                    records.row(row), categories: ["\(index)"], time: records.times[row])
            }
        }
        var state = ContextState()
        let scores = detector.score(
            mixed.grouped(byCategory: "machine"), state: &state, parallel: threads)
        let alone = series.flatMap { score(detector, $0, by: 10_000) }
        #expect(scores.logLikelihood == alone.map(\.logLikelihood))
    }

    @Test(arguments: [2_500, 1_500, 9_000])
    func windowHoldsTheSameBytes(capacity: Int) throws {
        let folder = try TemporaryDirectory()
        let records = Fixture.modes(5_000, seed: 9)
        let paths = ["one", "many"].map { folder.file($0) }
        let windows = try paths.map {
            try TrainingWindow(path: $0, schema: records.schema, capacity: capacity)
        }
        for row in 0..<records.rowCount { try windows[0].append(records.rows(row..<(row + 1))) }
        try windows[1].append(records.rows(0..<700))
        try windows[1].append(records.rows(700..<5_000), parallel: threads)
        for window in windows { try window.flush() }
        let bytes = try paths.map { try Data(contentsOf: URL(filePath: $0)) }
        #expect(bytes[0] == bytes[1])
        let held = try windows[1].records(0..<5_000)
        #expect(held.rowCount == min(capacity, 5_000))
    }
}

/// What earlier builds left in a checkpoint.
@Suite struct StoredStateTests {
    @Test func numbersOfAContextMayBeLists() throws {
        let stored = Data(
            #"{"values":[20.5,21.25],"times":[1700000000,null],"featureCount":1}"#.utf8)
        let state = try JSONDecoder().decode(ContextState.self, from: stored)
        var expected = ContextState()
        var records = RecordBatch(schema: Schema(features: ["temperature"], time: "time"))
        records.append([20.5], time: 1_700_000_000)
        records.append([21.25], time: .nan)
        expected.advance(past: records)
        let (old, new) = try (JSONEncoder().encode(state), JSONEncoder().encode(expected))
        #expect(try fields(old) == fields(new))
    }

    @Test func contextWhoseRowsAreNotWholeIsRefused() {
        for text in [
            #"{"values":[20.5,21.25,3],"featureCount":2}"#,
            #"{"packedValues":"AAAAAAAA8D8=","packedTimes":"","featureCount":1}"#,
            #"{"packedValues":"AAAA","featureCount":0}"#,
        ] {
            #expect(throws: DecodingError.self) {
                try JSONDecoder().decode(ContextState.self, from: Data(text.utf8))
            }
        }
    }

    @Test func countsOfADriftMayBeLists() throws {
        let detector = try Fixture.machineDetector.get()
        var context = ContextState()
        var drift = detector.driftState(training: Fixture.machine(1_000, seed: 1))
        detector.observeDrift(
            detector.score(Fixture.machine(500, seed: 2), state: &context), in: &drift
        ) { _ in true }
        let text = String(decoding: try JSONEncoder().encode(drift), as: UTF8.self)
        let lists = text.replacing(#/"counts":"([0-9 ]+)"/#) {
            "\"counts\":[" + $0.1.replacing(" ", with: ",") + "]"
        }
        #expect(lists != text)
        #expect(try JSONDecoder().decode(DriftState.self, from: Data(lists.utf8)) == drift)
        let spoiled = text.replacing(#/"counts":"[0-9]+ /#, with: "\"counts\":\"x ")
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(DriftState.self, from: Data(spoiled.utf8))
        }
    }

    private func fields(_ json: Data) throws -> [String: String] {
        let object = try #require(JSONSerialization.jsonObject(with: json) as? [String: Any])
        return object.mapValues { "\($0)" }
    }
}
