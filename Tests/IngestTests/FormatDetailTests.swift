import Ingest
import Testing

/// Decimal commas, comments, line breaks in quotes, nested keys, and times as they come.
@Suite struct FormatDetailTests {
    private func decode(
        _ text: String, _ format: FormatOptions, _ schema: Schema
    ) throws -> DecodedBatch {
        var decoder = RecordDecoder(format: format, schema: schema)
        return try decoder.decode(batch(text, format: format))
    }

    @Test func numbersMayHaveADecimalComma() throws {
        let format = FormatOptions.csv.with {
            $0.delimiter = UInt8(ascii: ";")
            $0.decimalMark = UInt8(ascii: ",")
        }
        let decoded = try decode(
            "time;a;b\n0;1,5;-2,25e1\n1;3;\"4,0\"\n2;1.5;2\n", format,
            Schema(features: ["a", "b"], time: "time"))
        #expect(decoded.records.matrix == [[1.5, -22.5], [3, 4]])
        #expect(decoded.faults.map(\.code) == [.notANumber])
        #expect(throws: IngestError.self) {
            try decode(
                "a,b\n1,2\n", format.with { $0.delimiter = UInt8(ascii: ",") },
                Schema(features: ["a"], time: nil))
        }
    }

    @Test func commentsAreNeitherHeaderNorRecord() throws {
        let format = FormatOptions.csv.with { $0.comment = UInt8(ascii: "#") }
        let decoded = try decode(
            "# it's \"open\na,b\n1,2\n#3,4\n5,#6\n", format, Schema(features: ["a"], time: nil))
        #expect(decoded.records.matrix == [[1], [5]])
        #expect(decoded.faults == [])
        let plain = try decode("a\n1\n#2\n", .csv, Schema(features: ["a"], time: nil))
        #expect(plain.faults.count == 1)
    }

    // MARK: - Quotes

    static let multiline = "a,note\n1,\"first\nsecond \"\"x\"\"\r\n\nlast\"\n2,plain\n"

    @Test(arguments: 1...60)
    func quotedLineBreaksArePartOfTheirRecord(pieceBytes: Int) throws {
        var framer = LineFramer(format: .csv, input: 1, name: "in.csv")
        var lines: [String] = []
        var numbers: [Int64] = []
        let bytes = Array(Self.multiline.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            bytes[start..<min(start + pieceBytes, bytes.count)].withUnsafeBytes {
                framer.append($0)
            }
            // What has a complete line gives one, and what gives one had one.
            while framer.hasCompleteLine {
                let before = framer.consumedOffset
                if let batch = framer.takeBatch() {
                    lines += batch.texts
                    numbers += batch.lines.map(\.number)
                }
                #expect(framer.consumedOffset > before)
            }
        }
        #expect(framer.takeBatch() == nil)
        #expect(lines == ["1,\"first\nsecond \"\"x\"\"\r\n\nlast\"", "2,plain"])
        #expect(numbers == [2, 6])
    }

    @Test func aQuotedTextIsDecodedWithItsLineBreaks() throws {
        let decoded = try decode(
            Self.multiline, .csv, Schema(features: ["a"], categories: ["note"], time: nil))
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[1], [2]])
        let text = decoded.records.categories.text(row: 0, column: 0)
        #expect(text == "first\nsecond \"x\"\r\n\nlast")
    }

    @Test func aStrayQuoteCostsItsOwnLine() throws {
        let rest = (0..<200).map { "\($0),\"n\"\n" }.joined()
        for stray in ["9,\"open", "9,\"x\"y", "\"9,\"\",2"] {
            let decoded = try decode(
                "a,note\n\(stray)\n" + rest, .csv, Schema(features: ["a"], time: nil))
            #expect(decoded.records.rowCount == 200, "\(stray)")
            #expect(decoded.faults.map(\.lineNumber) == [2], "\(stray)")
        }
    }

    @Test func anOpenQuoteEndsAfterItsLinesAndBytes() throws {
        let lines = "a\n\"" + String(repeating: "x\n", count: 70) + "\"\n1\n"
        let many = try decode(lines, .csv, Schema(features: ["a"], time: nil))
        #expect(many.records.matrix == [[1]])
        #expect(many.faults.count == 71)
        let format = FormatOptions.csv.with { $0.maxLineBytes = 64 }
        let long = "a\n\"" + String(repeating: "x", count: 50) + "\n"
        let wide = try decode(
            long + String(repeating: "y", count: 50) + "\"\n1\n", format,
            Schema(features: ["a"], time: nil))
        #expect(wide.records.matrix == [[1]])
        #expect(wide.faults.count == 2)
    }

    @Test func whatIsOpenAtTheEndIsLinesOfItsOwn() throws {
        let schema = Schema(features: ["a"], categories: ["n"], time: nil)
        let open = try decode("a,n\n1,\"x\n2,y\n", .csv, schema)
        #expect(open.records.matrix == [[2]])
        #expect(open.faults.map(\.code) == [.unbalancedQuote])
        let whole = try decode("a,n\n1,\"x\ny\"", .csv, schema)
        #expect(whole.records.categories.text(row: 0, column: 0) == "x\ny")
    }

    // MARK: - Nested keys

    @Test func nestedKeysAreFoundByTheirPath() throws {
        let schema = Schema(
            features: ["fields.load", "fields.disk.used", "pos.1"], categories: ["tags.host"],
            time: "meta.ts")
        let decoded = try decode(
            """
            {"fields":{"load":1.5,"disk":{"used":7}},"tags":{"host":"a"},"pos":[1,2],"meta":{"ts":5}}
            {"fields.load":2,"fields":{"disk.used":8},"tags":{"host":"b"},"pos":[3,4],"meta":{"ts":6}}
            {"fields":{"load":1.5},"tags":{"host":"a"},"pos":[1,2],"meta":{"ts":5}}
            {"fields":{"load":{"x":1},"disk":{"used":7}},"tags":{"host":"a"},"pos":[1,2],"meta":{"ts":5}}
            {"fields":{"load":1,"disk":{"used":7}},"fields.load":2,"tags":{"host":"a"},"pos":[1,2],"meta":{"ts":5}}
            {"fields":{"load":1,"disk":{"used":7}},"tags":{"host":"a"},"pos":[1],"meta":{"ts":5}}

            """, .ndjson, schema)
        #expect(decoded.records.matrix == [[1.5, 7, 2], [2, 8, 4]])
        #expect(decoded.records.times == [5, 6])
        #expect(decoded.records.categories.text(row: 1, column: 0) == "b")
        #expect(
            decoded.faults.map(\.code) == [.missingColumn, .notANumber, .badSyntax, .missingColumn])
    }

    @Test func nestedNumbersAreFeatures() throws {
        let lines = try batch(
            """
            {"time":1,"m":{"a":1,"b":{"c":2.5}},"list":[1,2],"t":{"host":"x"}}
            {"time":2,"m":{"a":3,"b":{"c":4}},"list":[3],"t":{"host":"y"}}

            """, format: .ndjson)
        let inferred = try SchemaInference.infer(
            lines, format: .ndjson, features: nil, time: nil)
        #expect(inferred.schema.features == ["m.a", "m.b.c"])
        #expect(inferred.leftOut.map(\.name) == ["t.host"])
        let named = try SchemaInference.infer(
            lines, format: .ndjson, features: ["list.0", "m.a"], time: nil)
        #expect(named.schema.features == ["list.0", "m.a"])
    }

    @Test func hostileNestingEndsSomewhere() throws {
        let deep = String(repeating: "{\"a\":", count: 5_000)
        let name = Array(repeating: "a", count: 5_000).joined(separator: ".")
        let schema = Schema(features: [name, "x"], time: nil)
        let decoded = try decode(
            deep + "1" + String(repeating: "}", count: 5_000) + "\n", .ndjson, schema)
        #expect(decoded.records.rowCount == 0)
        #expect(decoded.faults.count == 1)
    }
}
