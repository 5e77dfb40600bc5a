import Detection
import Foundation
import Ingest
import TestSupport
import Testing

/// The density of raw records, computed from the model file alone by another program in another language.
@Suite struct NumPyDetectorTests {
    private func python(_ arguments: [String]) throws -> String? {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return process.terminationStatus == 0 ? String(decoding: data, as: UTF8.self) : nil
    }

    private func compare(_ detector: Detector, _ records: RecordBatch) throws {
        guard try python(["-c", "import numpy"]) != nil else {
            print("skipped: no numpy")
            return
        }
        let tests = URL(filePath: #filePath).deletingLastPathComponent()
        let flowReader = tests.deletingLastPathComponent().appending(
            path: "FlowDensityTests/reference")
        let folder = try TemporaryDirectory()
        let model = folder.path + "/model.safetensors"
        let rows = folder.path + "/rows.ndjson"
        try Data(detector.encoded()).write(to: URL(filePath: model))
        func number(_ value: Double) -> Any { value.isFinite ? value : NSNull() }
        let lines = try (0..<records.rowCount).map { row in
            try JSONSerialization.data(withJSONObject: [
                "time": number(records.times[row]),
                "values": records.row(row).map(number),
                "categories": records.categories.row(row).map { $0 ?? NSNull() as Any },
            ])
        }
        try Data(lines.joined(separator: Data("\n".utf8))).write(to: URL(filePath: rows))
        let script = tests.appending(path: "reference/score_detector.py").path
        let printed = try #require(try python([script, flowReader.path, model, rows]))
        let reference = printed.split(separator: "\n").compactMap { Double($0) }
        var state = ContextState()
        let scores = detector.score(records, state: &state).logLikelihood
        #expect(reference.count == scores.count)
        for (row, (score, exact)) in zip(scores, reference).enumerated() {
            // 1e-4 nats is the promise; a record hundreds of nats away has the relative error of a float.
            #expect(abs(score - exact) < 1e-4 + 1e-6 * abs(exact), "row \(row): \(score), \(exact)")
        }
    }

    @Test func recordsOfATableHaveTheSameDensityThere() throws {
        var records = Fixture.machine(500, seed: 21)
        records.values[0] += 400
        records.values[12] -= 35
        try compare(try Fixture.machineDetector.get(), records)
    }

    @Test func recordsWithLagsAndCalendarHaveTheSameDensityThere() throws {
        let records = Fixture.temperature(1_500, seed: 1)
        try compare(try Detector.fit(records, options: DetectorOptions()).detector, records)
    }

    @Test func recordsWithAFeatureThatHoldsItsReadingHaveTheSameDensityThere() throws {
        let options = DetectorOptions(members: 2, windows: [3, 9, 27])
        let detector = try Detector.fit(Fixture.setPoint(3_000, seed: 1), options: options).detector
        try compare(detector, Fixture.setPoint(700, seed: 2, from: 3_000))
    }

    @Test(arguments: [MissingPolicy.median, .previous])
    func recordsWithCategoriesAndGapsHaveTheSameDensityThere(policy: MissingPolicy) throws {
        var policies = Fixture.modePolicies
        policies.columns["pressure"] = policy
        let detector = try Detector.fit(
            Fixture.modes(1_500, seed: 1),
            options: DetectorOptions(lags: policy == .previous ? 2 : 0, missing: policies)
        ).detector
        var records = Fixture.modes(300, seed: 2)
        for (mode, valve) in [("run", "closed"), ("idle", "open"), (nil, "open"), ("purge", nil)] {
            records.append([.nan, 10], categories: [mode, valve])
            records.append([4, .nan], categories: [mode, valve])
        }
        try compare(detector, records)
    }
}
