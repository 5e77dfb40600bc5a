import Detection
import FlowDensity
import Foundation
import Ingest

extension CellValue {
    /// The number; NaN where it is none.
    var number: Double {
        if case .number(let number) = self { return number }
        return .nan
    }
}

/// Records with a density that is known: what the tests of this target learn.
enum Fixture {
    /// Three sensors: `speed` and `load` are standard normal around 50 and 20, `power` is their sum
    /// with a deviation of 0.3; `mode` never changes; `level` moves in steps of 0.5.
    static func machine(_ count: Int, seed: UInt64) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(
            schema: Schema(features: ["speed", "load", "power", "mode", "level"], time: nil))
        for row in 0..<count {
            let speed = 50 + 4 * normal(&generator)
            let load = 20 + 2 * normal(&generator)
            let power = speed + load + 0.3 * normal(&generator)
            let level = 10 + (normal(&generator) * 2).rounded() / 2
            batch.append(
                [speed, load, power, 3, level], time: .nan, lineIndex: Int32(row),
                offset: Int64(row))
        }
        return batch
    }

    /// One sensor that swings with the hour, a reading a minute.
    static func temperature(_ count: Int, seed: UInt64) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(schema: Schema(features: ["temperature"], time: "time"))
        var state = 0.0
        for row in 0..<count {
            let time = 1_700_000_000 + 300 * Double(row)
            state = 0.9 * state + 0.2 * normal(&generator)
            let value = 20 + 5 * sin(2 * .pi * time / 86_400) + state
            batch.append([value], time: time, lineIndex: Int32(row), offset: Int64(row))
        }
        return batch
    }

    /// Two readings that follow a set point, which stays as it is for 300 records or so, a record a second.
    static func setPoint(_ count: Int, seed: UInt64, from start: Int = 0) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(
            schema: Schema(features: ["speed", "limit", "power"], time: "time"))
        var limit = 4.0
        for row in 0..<count {
            if row % 300 == 0 { limit = Double(Int.random(in: 3...8, using: &generator)) }
            let speed = 10 * limit + normal(&generator)
            batch.append(
                [speed, limit, 2 * speed + normal(&generator)], time: Double(start + row),
                lineIndex: Int32(row), offset: Int64(row))
        }
        return batch
    }

    static let modeSchema = Schema(
        features: ["pressure", "flow"], categories: ["mode", "valve"],
        optional: ["pressure", "flow", "mode"], time: nil)

    static let modePolicies = MissingPolicies(
        standard: .reject, columns: ["pressure": .median, "flow": .median, "mode": .median])

    /// A machine that idles with a closed valve, runs with an open one and is cleaned with either; pressure and flow
    /// follow the mode, and pressure is missing in 3 % of the records.
    static func modes(_ count: Int, seed: UInt64) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(schema: modeSchema)
        for row in 0..<count {
            let draw = Double.random(in: 0..<1, using: &generator)
            let (mode, center, open) =
                draw < 0.3
                ? ("idle", (1.0, 0.2), 0.0)
                : draw < 0.9 ? ("run", (5, 10), 1) : ("clean", (3, 4), 0.5)
            let valve = Double.random(in: 0..<1, using: &generator) < open ? "open" : "closed"
            let pressure = center.0 + 0.3 * normal(&generator)
            let flow = center.1 + 0.5 * (pressure - center.0) + 0.1 * normal(&generator)
            let isMissing = Double.random(in: 0..<1, using: &generator) < 0.03
            batch.append(
                [isMissing ? .nan : pressure, flow], categories: [mode, valve], offset: Int64(row))
        }
        return batch
    }

    static func record(_ values: [Double], like batch: RecordBatch, time: Double = .nan)
        -> RecordBatch
    {
        var record = RecordBatch(schema: batch.schema)
        record.append(values, time: time, lineIndex: 0, offset: 0)
        return record
    }

    /// Box and Muller.
    static func normal(_ generator: inout SeededGenerator) -> Double {
        let radius = (-2 * log(Double.random(in: 1e-300..<1, using: &generator))).squareRoot()
        return radius * cos(2 * .pi * Double.random(in: 0..<1, using: &generator))
    }

    /// Fits once for all the tests that only read.
    static let machineDetector = Result {
        try Detector.fit(machine(3_000, seed: 1), options: DetectorOptions(seed: 5)).detector
    }
}
