import Detection
import Foundation
import Ingest
import Settings

/// A configuration is good, or every problem has a place and a text.
enum ConfigurationCheck {
    static func run(_ input: [UInt8]) throws -> Bool {
        guard let text = String(validating: input, as: UTF8.self) else { return false }
        do {
            let configuration = try FlowguardConfiguration(yaml: text, path: "/etc/flowguard.yaml")
            try promise(!configuration.streams.isEmpty, "a configuration without streams is good")
            return true
        } catch let error as ConfigurationError {
            guard case .problems(let problems) = error else { return false }
            try promise(!problems.isEmpty, "a configuration is refused without a reason")
            for problem in problems {
                try promise(
                    problem.line >= 1 && problem.column >= 1 && !problem.message.isEmpty,
                    "a problem has no place: \(problem)")
            }
            try promise(!error.report.isEmpty, "a refusal says nothing")
            return false
        }
    }
}

/// Of a ring file with damaged bytes, what is read is what was written, at its running number.
enum WindowCheck {
    private static let schema = Schema(
        features: ["a"], categories: ["c"], optional: ["a", "c"], time: "time")
    private static let path = NSTemporaryDirectory() + "flowguard-fuzz-window-\(getpid())"

    static func run(_ choices: inout Choices) throws -> Bool {
        let capacity = 1 + choices.byte() % 8
        let count = choices.byte() % 24
        let total = choices.byte()
        let written = records(count)
        unlink(path)
        defer { unlink(path) }
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: capacity)
            try window.append(written)
            try window.flush()
        }
        let edits = choices.rest.count / 4
        try damage(&choices)

        let window = try TrainingWindow(path: path, schema: schema, capacity: capacity)
        // As the owner does: with what the store committed, which may be more or less than is there.
        if total % 2 == 0 { window.rewind(to: Int64(total / 2)) }
        let held = try window.records(0..<Int64.max)
        try promise(held.rowCount <= capacity, "more records are held than there is room for")
        for row in 0..<held.rowCount {
            let number = Int(held.offsets[row])
            try promise(
                written.offsets.indices.contains(number)
                    && same(held.rows(row..<(row + 1)), written.rows(number..<(number + 1))),
                "a damaged record is learned from")
        }
        _ = try window.ranges(0..<Int64.max) { $0 > 10 }
        let before = window.total
        try window.append(records(3))
        try window.flush()
        let reopened = try TrainingWindow(path: path, schema: schema, capacity: capacity)
        try promise(
            reopened.total == before + 3 && reopened.discardedCount == 0,
            "records that were appended are gone")
        return edits > 0 && held.rowCount > 0
    }

    private static func same(_ a: RecordBatch, _ b: RecordBatch) -> Bool {
        a.values.map(\.bitPattern) == b.values.map(\.bitPattern)
            && a.times.map(\.bitPattern) == b.times.map(\.bitPattern)
            && a.categories.row(0) == b.categories.row(0)
    }

    /// Records whose offsets are their running numbers.
    private static func records(_ count: Int) -> RecordBatch {
        var batch = RecordBatch(schema: schema)
        for row in 0..<count {
            batch.append(
                [row % 5 == 0 ? .nan : Double(row)],
                categories: [row % 3 == 0 ? nil : "mode \(row % 4)"], time: Double(row),
                offset: Int64(row))
        }
        return batch
    }

    /// Writes bytes of the input over those of the file, or cuts it off.
    private static func damage(_ choices: inout Choices) throws {
        let file = open(path, O_RDWR | O_CLOEXEC)
        guard file >= 0 else { throw BrokenPromise("the ring file is gone") }
        defer { close(file) }
        while !choices.rest.isEmpty {
            let kind = choices.byte()
            let place = choices.word() % 6_000
            if kind == 255 {
                ftruncate(file, place)
            } else {
                var bytes = [UInt8](repeating: UInt8(choices.byte()), count: 1 + kind % 8)
                pwrite(file, &bytes, bytes.count, place)
            }
        }
    }
}
