import Detection
import Foundation
import Ingest
import Testing
import TestSupport

@Suite struct TrainingWindowFileTests {
    private let directory: TemporaryDirectory
    private let path: String
    private let schema = Schema(features: ["a", "b"], time: "t")

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.file("pump.ring")
    }

    private func records(_ numbers: Range<Int>) -> RecordBatch {
        var batch = RecordBatch(schema: schema)
        for number in numbers {
            batch.append(
                [Double(number), -Double(number)], time: Double(number), offset: Int64(number))
        }
        return batch
    }

    @Test func rowOfTheLapBeforeDoesNotPassAsNew() throws {
        let window = try TrainingWindow(path: path, schema: schema, capacity: 10)
        try window.append(records(0..<10))
        // The store knows of two more, but their rows had not reached the disk.
        window.rewind(to: 12)
        #expect(try window.records(0..<12).offsets == Array(2..<10))
    }

    @Test func windowOfAnotherVersionIsMadeAnewAndCounted() throws {
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: 10)
            try window.append(records(0..<25))
            try window.flush()
        }
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try file.seek(toOffset: 17)
        try file.write(contentsOf: Array("1".utf8))
        try file.close()
        let window = try TrainingWindow(path: path, schema: schema, capacity: 10)
        #expect(window.discardedCount == 10)
        #expect(window.total == 0)
        // The owner winds it to what the store knows: none of it is there.
        window.rewind(to: 25)
        #expect(try window.records(0..<25).rowCount == 0)
        try window.append(records(25..<27))
        #expect(try window.records(0..<27).offsets == [25, 26])
    }

    @Test func windowOfAnotherSchemaOrCapacityIsMadeAnewAndCounted() throws {
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: 10)
            try window.append(records(0..<4))
            try window.flush()
        }
        let other = Schema(features: ["a", "c"], time: "t")
        #expect(
            try TrainingWindow(path: path, schema: other, capacity: 10).discardedCount == 4)
        #expect(
            try TrainingWindow(path: path, schema: other, capacity: 11).discardedCount == 0)
    }

    @Test(arguments: ["", "x", "flowguard window 1\n", "flowguard window 1\n\u{1}\n"])
    func fileThatIsNoWindowIsMadeAnew(content: String) throws {
        let padded =
            content.count > 19
            ? content.padding(toLength: 5000, withPad: "\u{7F}", startingAt: 0) : content
        try directory.write(padded, to: "pump.ring")
        let window = try TrainingWindow(path: path, schema: schema, capacity: 10)
        #expect(window.discardedCount == 0)
        try window.append(records(0..<3))
        #expect(try window.records(0..<3).offsets == [0, 1, 2])
    }
}
