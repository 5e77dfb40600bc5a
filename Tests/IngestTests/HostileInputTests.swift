import Ingest
import Testing

@Suite struct HostileInputTests {
    static let schema = Schema(features: ["pressure", "flow"], time: "time")
    static let seeds: [FormatOptions: [String]] = [
        .csv: [
            "time,pressure,flow\n0,1,2\n", "time,pressure,flow,x\n\"0\",1e5,-2.5,\"a,\"\"b\"\n",
            "2020-03-09T12:14:36.123+01:00,NA,inf\n",
        ],
        .ndjson: [
            #"{"time":"2020-03-09 12:14:36","pressure":1.5e3,"flow":-2}"# + "\n",
            #"{"a":{"b":[1,true,null,"\u00e9\n"]},"flow":1,"pressure":2,"time":3}"# + "\n",
            #"{"time":1583756076123,"pressure":null,"flow":"NA"}"# + "\n",
        ],
    ]
    static let pieces: [[UInt8]] = [
        [0], [0x22], [0x2C], [0x0A], [0x0D], [0xFF], [0xC3], [0xE2, 0x82], [0x5C], [0x7B], [0x7D],
        Array("\"\"".utf8), Array("1e999".utf8), Array("-".utf8), Array("nan".utf8),
        Array("\\u12".utf8), Array("[[[[[[".utf8), Array("\u{FEFF}".utf8),
    ]

    private func mutate(_ bytes: inout [UInt8], using random: inout SplitMix) {
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            let at = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0 where at < bytes.count: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 1 where at < bytes.count: bytes.remove(at: at)
            case 2: bytes.removeSubrange(at...)
            case 3:
                let end = Int.random(in: at...bytes.count, using: &random)
                bytes.insert(contentsOf: bytes[at..<end], at: at)
            default:
                bytes.insert(contentsOf: Self.pieces.randomElement(using: &random) ?? [], at: at)
            }
        }
    }

    /// Every line becomes a finite record or a fault, whatever the bytes are, and the same one
    /// wherever it lies in a batch.
    @Test(arguments: [FormatOptions.csv, .ndjson])
    func everyLineIsARecordOrAFault(format: FormatOptions) throws {
        let format = format.with { $0.maxLineBytes = 300 }
        let seeds = try #require(Self.seeds[FormatOptions(format: format.format)])
        var random = SplitMix(seed: 7)
        for round in 0..<10_000 {
            var bytes: [UInt8] = []
            if round % 10 == 0 {
                let count = Int.random(in: 0...400, using: &random)
                bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            } else {
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    bytes += Array((seeds.randomElement(using: &random) ?? "").utf8)
                }
                mutate(&bytes, using: &random)
            }
            var framed = try batch(
                bytes, format: format.with { $0.columns = ["time", "pressure", "flow"] })
            framed.header = nil
            let named = format.with { $0.columns = ["time", "pressure", "flow"] }
            var decoder = RecordDecoder(format: named, schema: Self.schema)
            let decoded = try decoder.decode(framed)
            let (records, faults) = (decoded.records, decoded.faults)
            let indices = records.lineIndices.map { Int($0) } + faults.map(\.lineIndex)
            #expect(indices.sorted() == Array(framed.lines.indices), "round \(round)")
            #expect(records.values.count == records.rowCount * 2)
            let areFinite = (records.values + records.times).allSatisfy { $0.isFinite }
            #expect(areFinite, "round \(round)")
            let areTextsClean = faults.allSatisfy { fault in
                fault.reason.utf8.allSatisfy { $0 >= 0x20 }
            }
            #expect(areTextsClean, "round \(round)")
            _ = try? SchemaInference.infer(
                batch(bytes, format: format), format: format, features: nil, time: nil)

            for index in framed.lines.indices {
                var alone = framed
                alone.lines = [framed.lines[index]]
                let again = try decoder.decode(alone)
                #expect(
                    again.records.rowCount == (faults.contains { $0.lineIndex == index } ? 0 : 1),
                    "round \(round), line \(index)")
            }
        }
    }
}
