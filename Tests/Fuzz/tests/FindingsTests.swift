import Detection
import Foundation
import Ingest
import Settings
import TestSupport
import Testing

/// What the fuzzer has found, each finding with the promise that was broken.
@Suite struct FindingsTests {
    @Test func commentBeyondTheLongestLineIsNoRecordHoweverItComes() throws {
        var format = FormatOptions(format: .csv)
        format.comment = UInt8(ascii: "#")
        format.maxLineBytes = 64
        let bytes = Array(("# " + String(repeating: "x", count: 200) + "\na\n1\n").utf8)
        for pieceBytes in [1, 70, bytes.count] {
            var framer = LineFramer(format: format, input: 1, name: "in")
            for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
                bytes[start..<min(start + pieceBytes, bytes.count)].withUnsafeBytes {
                    framer.append($0)
                }
            }
            let taken = framer.takeBatch(atEnd: true)
            let batch = try #require(taken)
            #expect(batch.header == Array("a".utf8), "pieces of \(pieceBytes) bytes")
            #expect(batch.lines.map(\.number) == [3], "pieces of \(pieceBytes) bytes")
        }
    }

    @Test(arguments: [
        #"{"input":1,"inputName":"c","isLast":false,"lineCount":9223372036854775807}"#,
        #"{"input":1,"inputName":"c","isLast":false,"lineCount":-1}"#,
        #"{"input":-9223372036854775808,"inputName":"c","isLast":false,"lineCount":0}"#,
    ])
    func frameOfTheSpoolWithNumbersThatCannotBeIsRefused(head: String) {
        let count = withUnsafeBytes(of: UInt32(head.utf8.count).littleEndian) { Array($0) }
        #expect(SpoolFrame.decode(count + Array(head.utf8)) == nil)
    }

    @Test(.timeLimit(.minutes(1))) func hundredsOfThousandsOfNamesAreReadAtOnce() throws {
        let names = (0..<400_000).map { "f\($0)" }
        let configuration = try FlowguardConfiguration(
            yaml: "streams: [{name: a, source: {file: /a}, features: \(names)}]", path: "f.yaml")
        #expect(configuration.streams.first?.features == names)
    }

    @Test(arguments: [Int64.max, .max - 1, -1, .min])
    func ringFileWithATotalThatCannotBeIsGoneOnWith(total: Int64) throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("a.ring")
        let schema = Schema(features: ["a"], time: nil)
        var records = RecordBatch(schema: schema)
        for value in 0..<3 { records.append([Double(value)]) }
        do {
            let window = try TrainingWindow(path: path, schema: schema, capacity: 5)
            try window.append(records)
            try window.flush()
        }
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try file.seek(toOffset: 4_088)
        try file.write(contentsOf: withUnsafeBytes(of: total.littleEndian) { Data($0) })
        try file.close()

        let window = try TrainingWindow(path: path, schema: schema, capacity: 5)
        try window.append(records)
        try window.flush()
        let reopened = try TrainingWindow(path: path, schema: schema, capacity: 5)
        #expect(reopened.discardedCount == 0)
        #expect(try reopened.records(0..<Int64.max).values == [0, 1, 2])
    }
}
