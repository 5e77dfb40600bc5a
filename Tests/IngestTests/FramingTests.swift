import Ingest
import Testing

@Suite struct FramingTests {
    static let samples: [String] = [
        "a,b\n1,2\n3,4\n",
        "\u{FEFF}a,b\r\n1,2\r\n\r\n3,4",
        "\n\r\na,b\n\n1,2\n\n\n3,4\n\r",
        "a\n" + String(repeating: "x", count: 40) + "\n1\n" + String(repeating: "y", count: 33)
            + "\r\n2",
        "\u{FEFF}" + String(repeating: "x", count: 37) + "\na\n1\n",
        "a\n" + String(repeating: "z", count: 32) + "\r\n" + String(repeating: "z", count: 33),
        "\r", "", "\n", "\u{FEFF}", "a", "\u{FEFF}\r\na\n1",
    ]

    private struct Seen: Equatable {
        var header: [UInt8]?
        var contents: [[UInt8]] = []
        var lines: [[Int64]] = []
        var isLast = false
    }

    private func frame(_ bytes: [UInt8], cuts: [Int], limits: BatchLimits) -> Seen {
        let format = FormatOptions.csv.with { $0.maxLineBytes = 32 }
        var framer = LineFramer(format: format, limits: limits, input: 1, name: "in")
        var seen = Seen()
        func take(_ batch: LineBatch) {
            seen.header = batch.header ?? seen.header
            seen.isLast = batch.isLast
            for (index, line) in batch.lines.enumerated() {
                seen.contents.append(Array(batch.content(ofLine: index)))
                seen.lines.append([line.offset, line.number, line.isOversize ? 1 : 0])
            }
        }
        var start = 0
        for cut in cuts + [bytes.count] {
            bytes[start..<cut].withUnsafeBytes { framer.append($0) }
            start = cut
            while let batch = framer.takeBatch() { take(batch) }
        }
        while !seen.isLast, let batch = framer.takeBatch(atEnd: true) { take(batch) }
        return seen
    }

    @Test(arguments: samples) func lineCutAnywhereIsWhole(sample: String) {
        let bytes = Array(sample.utf8)
        let whole = frame(bytes, cuts: [], limits: .init())
        for first in 0...bytes.count {
            #expect(frame(bytes, cuts: [first], limits: .init()) == whole, "cut at \(first)")
            for second in first...bytes.count {
                let cut = frame(bytes, cuts: [first, second], limits: .init(lines: 1, bytes: 7))
                #expect(cut == whole, "cut at \(first) and \(second)")
            }
        }
        #expect(frame(bytes, cuts: Array(bytes.indices), limits: .init()) == whole)
    }

    @Test func offsetsAndNumbersCountEveryPhysicalLine() throws {
        let framed = try batch("\u{FEFF}a,b\r\n\r\n1,2\r\n\n3,4", format: .csv)
        #expect(framed.header == Array("a,b".utf8))
        #expect(framed.texts == ["1,2", "3,4"])
        #expect(framed.lines.map(\.offset) == [10, 16])
        #expect(framed.lines.map(\.number) == [3, 5])
        #expect(framed.isLast)
    }

    @Test func oversizeLineIsCutAndTheNextOneIsWhole() throws {
        let format = FormatOptions.ndjson.with { $0.maxLineBytes = 1000 }
        let long = String(repeating: "x", count: 1001)
        let framed = try batch(
            "{}\n\(long)\n\(long.dropLast())\n{}\n", format: format, name: "in")
        #expect(framed.lines.map(\.isOversize) == [false, true, false, false])
        #expect(framed.lines.map(\.count) == [2, 200, 1000, 2])
    }

    @Test func memoryStaysBoundedInALineOfAHundredMegabytes() throws {
        var framer = LineFramer(format: .ndjson, input: 1, name: "in")
        let chunk = [UInt8](repeating: 0x78, count: 64 << 10)
        var largest = 0
        for _ in 0..<1600 {
            chunk.withUnsafeBytes { framer.append($0) }
            #expect(framer.takeBatch() == nil)
            largest = max(largest, framer.pendingCount)
        }
        #expect(largest <= (1 << 20) + (64 << 10))
        #expect(framer.consumedOffset == 0)
        Array("\n{}\n".utf8).withUnsafeBytes { framer.append($0) }
        let taken = framer.takeBatch()
        let framed = try #require(taken)
        #expect(framed.lines.map(\.isOversize) == [true, false])
        #expect(framed.lines.map(\.offset) == [0, 1600 * (64 << 10) + 1])
        #expect(framed.bytes.count < 1000)
    }

    @Test func batchesKeepToTheirLimits() throws {
        var framer = LineFramer(
            format: .ndjson, limits: .init(lines: 3, bytes: 10), input: 1, name: "in")
        Array("1\n2\n3\n4\n5555555\n6666666\n7\n".utf8).withUnsafeBytes { framer.append($0) }
        var seen: [[String]] = []
        while let batch = framer.takeBatch() { seen.append(batch.texts) }
        #expect(seen == [["1", "2", "3"], ["4", "5555555"], ["6666666", "7"]])
    }

    @Test func namedColumnsMeanThatTheFirstLineIsARecord() throws {
        let format = FormatOptions.csv.with { $0.columns = ["a", "b"] }
        let framed = try batch("1,2\n3,4\n", format: format)
        #expect(framed.header == nil)
        #expect(framed.texts == ["1,2", "3,4"])
    }

    @Test func smallBatchesOfALargeBufferTakeNoLongerEach() throws {
        var framer = LineFramer(
            format: .ndjson, limits: .init(lines: 1, bytes: 1), input: 1, name: "in")
        let count = 2 << 20
        let bytes = Array(repeating: Array("1\n".utf8), count: count).flatMap(\.self)
        bytes.withUnsafeBytes { framer.append($0) }
        // Moving or searching the rest for each batch would take hours.
        let deadline = ContinuousClock.now + .seconds(60)
        var taken = 0
        while ContinuousClock.now < deadline, framer.takeBatch() != nil { taken += 1 }
        #expect(taken == count)
    }

    @Test func tailIsTheLastBytesThatWereConsumed() throws {
        let format = FormatOptions.csv.with { $0.maxLineBytes = 2000 }
        var random = SplitMix(seed: 1)
        var framer = LineFramer(format: format, input: 1, name: "in")
        var all: [UInt8] = []
        for _ in 0..<400 {
            let isLong = Int.random(in: 0..<20, using: &random) == 0
            var chunk = [UInt8](
                repeating: UInt8.random(in: 0x61...0x7A, using: &random),
                count: Int.random(in: 1...(isLong ? 3000 : 100), using: &random))
            if Bool.random(using: &random) { chunk[chunk.count / 2] = 0x0A }
            chunk.withUnsafeBytes { framer.append($0) }
            all += chunk
            #expect(framer.recentBytes == Array(all.suffix(LineFramer.tailLimit)))
            if Bool.random(using: &random) { while framer.takeBatch() != nil {} }
            #expect(framer.readOffset == Int64(all.count))
            #expect(
                framer.tail
                    == Array(all.prefix(Int(framer.consumedOffset)).suffix(LineFramer.tailLimit)))
            if Int.random(in: 0..<10, using: &random) == 0 {
                framer.dropHalfLine()
                all.removeLast(all.count - Int(framer.readOffset))
                #expect(all.isEmpty || all.last == 0x0A)
            }
        }
    }

    @Test(arguments: [
        ("a,b\n1,\"x\ny\"\n2,\"p\nq", ["1,\"x\ny\""]), ("a,b\n1,2\n3,4", ["1,2"]),
        ("a,b\n1,\"x", []), ("a,b\n1,\"x\n", []), ("a,b\n1,2\n", ["1,2"]), ("", []),
    ])
    func recordThatIsCutIsGivenUpAsAWhole(text: String, expected: [String]) {
        var framer = LineFramer(format: .csv, input: 1, name: "in")
        Array(text.utf8).withUnsafeBytes { framer.append($0) }
        framer.dropCutRecord()
        let batch = framer.takeBatch(atEnd: true)
        #expect(batch?.texts == expected)
        #expect(batch?.isLast == true)
    }
}
