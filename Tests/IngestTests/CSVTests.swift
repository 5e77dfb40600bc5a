import Ingest
import Testing

@Suite struct CSVTests {
    static let schema = Schema(features: ["pressure", "flow"], time: "time")

    private func decode(
        _ text: String, _ format: FormatOptions = .csv, schema: Schema = schema
    ) throws -> DecodedBatch {
        var decoder = RecordDecoder(format: format, schema: schema)
        return try decoder.decode(batch(text, format: format))
    }

    @Test func columnsAreFoundByNameInAnyOrder() throws {
        let decoded = try decode(
            "flow,note,time,pressure\n1.5,x,0,-2e3\n+.5,\"a,\"\"b\",1970-01-01T00:00:01Z,7\n")
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[-2000, 1.5], [7, 0.5]])
        #expect(decoded.records.times == [0, 1])
        #expect(decoded.records.offsets == [24, 37])
        #expect(decoded.records.lineIndices == [0, 1])
    }

    @Test func spacesQuotesCarriageReturnsAndMarksAreNoPartOfANumber() throws {
        let decoded = try decode(
            "\u{FEFF}time , \"pressure\",flow\r\n 5 ,\t1\t, 2 \r\n\"6\" , \"3\",\" 4\"\r\n",
            schema: Schema(features: ["pressure"], time: "time"))
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[1], [3]])
        #expect(decoded.records.times == [5, 6])
    }

    @Test(arguments: [UInt8(ascii: ";"), 0x09, UInt8(ascii: "|"), 0x20])
    func anyDelimiterDoes(delimiter: UInt8) throws {
        let mark = String(Unicode.Scalar(delimiter))
        let format = FormatOptions.csv.with { $0.delimiter = delimiter }
        let text = "time,pressure,flow\n0,1,2\n\"0\",3,\n".replacing(",", with: mark)
        let decoded = try decode(text, format)
        #expect(decoded.records.matrix == [[1, 2]])
        #expect(decoded.faults.map(\.code) == [.missingValue])
    }

    @Test func namedColumnsReplaceTheHeader() throws {
        let format = FormatOptions.csv.with { $0.columns = ["pressure", "time", "flow"] }
        let decoded = try decode("1,2,3\n", format)
        #expect(decoded.records.matrix == [[1, 3]])
        #expect(decoded.records.times == [2])
    }

    @Test func withoutATimeColumnTimesAreNaN() throws {
        let decoded = try decode("flow\n1\n", schema: Schema(features: ["flow"], time: nil))
        #expect(decoded.records.times.map(\.isNaN) == [true])
    }

    @Test func laterBatchesUseTheHeaderOfTheFirst() throws {
        var decoder = RecordDecoder(format: .csv, schema: Self.schema)
        var framer = LineFramer(format: .csv, input: 1, name: "in.csv")
        for piece in ["time,pressure,flow\n", "1,2,3\n", "4,5,6\n"] {
            Array(piece.utf8).withUnsafeBytes { framer.append($0) }
            if let batch = framer.takeBatch() {
                #expect(try decoder.decode(batch).records.rowCount == 1)
            }
        }
        #expect(decoder.columnNames == ["time", "pressure", "flow"])
    }

    @Test func largeBatchIsDecodedInPartsAsWhole() throws {
        let schema = Schema(
            features: ["pressure", "flow"], categories: ["mode"], optional: ["flow"], time: nil)
        let rows = (0..<7_000).map { row in
            row % 97 == 5 ? "\(row),x,run" : "\(row),\(row % 7 == 0 ? "" : "1"),mode \(row / 1_000)"
        }
        let text = "pressure,flow,mode\n" + rows.map { $0 + "\n" }.joined()
        let whole = try batch(text, format: .csv)
        var decoder = RecordDecoder(format: .csv, schema: schema)
        // The parts may come in any order.
        let decoded = try decoder.decode(whole) { count, body in
            #expect(count > 2)
            (0..<count).reversed().forEach(body)
        }
        #expect(decoded.faults.map(\.lineIndex) == (0..<7_000).filter { $0 % 97 == 5 })
        #expect(decoded.faults.allSatisfy { $0.lineNumber == $0.lineIndex + 2 })
        let records = decoded.records
        #expect(records.rowCount + decoded.faults.count == 7_000)
        for row in 0..<records.rowCount {
            let line = Int(records.lineIndices[row])
            #expect(records.values[2 * row] == Double(line))
            #expect(records.values[2 * row + 1].isNaN == (line % 7 == 0))
            #expect(records.offsets[row] == whole.lines[line].offset)
            #expect(records.categories.row(row) == ["mode \(line / 1_000)"])
        }
        #expect(records.categories.texts.count == 7)
    }

    @Test func sentinelNumbersAreMissingValues() throws {
        let format = FormatOptions.csv.with { $0.missingValues = ["-999"] }
        let decoded = try decode("time,pressure,flow\n0,-999,1\n0, -999 ,1\n0,-999.0,1\n", format)
        #expect(decoded.faults.map(\.code) == [.missingValue, .missingValue])
        #expect(decoded.records.matrix == [[-999, 1]])
    }

    @Test(
        arguments: [
            ("0,1", FaultCode.raggedRow, nil, nil, "expected 3 cells, found 2"),
            ("0,1,2,3,4", .raggedRow, nil, nil, "expected 3 cells, found 5"),
            ("0,n/a,2,4", .raggedRow, nil, nil, "expected 3 cells, found 4"),
            (
                "0,n/a,2", .notANumber, "pressure", 3,
                "column 'pressure': expected a number, found 'n/a'"
            ),
            ("0,1,2x", .notANumber, "flow", 5, "column 'flow': expected a number, found '2x'"),
            ("0,1,\"2 \"", .notANumber, "flow", 6, "column 'flow': expected a number, found '2 '"),
            ("0,1,0x10", .notANumber, "flow", 5, "column 'flow': expected a number, found '0x10'"),
            ("0,1,+-2", .notANumber, "flow", 5, "column 'flow': expected a number, found '+-2'"),
            (
                "0,,2", .missingValue, "pressure", 3,
                "column 'pressure': expected a value, found an empty cell"
            ),
            (
                "0, NA ,2", .missingValue, "pressure", 4,
                "column 'pressure': expected a value, found NA"
            ),
            (
                ",1,2", .missingValue, "time", 1,
                "column 'time': expected a value, found an empty cell"
            ),
            (
                "0,1e999,2", .nonFinite, "pressure", 3,
                "column 'pressure': expected a finite number, found '1e999'"
            ),
            (
                "0,-inf,2", .nonFinite, "pressure", 3,
                "column 'pressure': expected a finite number, found '-inf'"
            ),
            (
                "0,nan,2", .missingValue, "pressure", 3,
                "column 'pressure': expected a value, found nan"
            ),
            (
                "0,inf,2", .nonFinite, "pressure", 3,
                "column 'pressure': expected a finite number, found 'inf'"
            ),
            (
                "0,-NaN,2", .nonFinite, "pressure", 3,
                "column 'pressure': expected a finite number, found '-NaN'"
            ),
            (
                "soon,1,2", .badTime, "time", 1,
                "column 'time': expected a time such as 2020-03-09T12:14:36Z or epoch seconds, "
                    + "found 'soon'"
            ),
            (
                "0,1,\"2", .unbalancedQuote, nil, 5,
                "expected the quote at byte 5 to be closed, found the end of the line"
            ),
            (
                "0,\"1\"x,2", .badSyntax, nil, 6,
                "expected the delimiter behind the closing quote, found 'x,2' at byte 6"
            ),
            (
                "0,\u{1}é\u{7F},2", .notANumber, "pressure", 3,
                "column 'pressure': expected a number, found '\\x01é\\x7F'"
            ),
            (
                "0,abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz,2", .notANumber, "pressure",
                3,
                "column 'pressure': expected a number, found "
                    + "'abcdefghijklmnopqrstuvwxyzabcdefghijklmn…'"
            ),
        ] as [(String, FaultCode, String?, Int?, String)])
    func badRowIsAFaultThatSaysWhy(
        row: String, code: FaultCode, column: String?, byte: Int?, reason: String
    ) throws {
        let decoded = try decode("time,pressure,flow\n0,1,2\n\(row)\n0,3,4\n")
        #expect(decoded.records.matrix == [[1, 2], [3, 4]])
        #expect(decoded.records.lineIndices == [0, 2])
        #expect(
            decoded.faults == [
                RowFault(
                    lineIndex: 1, lineNumber: 3, offset: 25, column: column, columnNumber: byte,
                    code: code, reason: reason)
            ])
    }

    @Test func oversizeLineIsAFault() throws {
        let format = FormatOptions.csv.with { $0.maxLineBytes = 20 }
        let decoded = try decode(
            "time,pressure,flow\n0,1,2\n0,1,222222222222222222222\n0,3,4\n", format)
        #expect(decoded.records.matrix == [[1, 2], [3, 4]])
        #expect(decoded.faults.map(\.code) == [.oversizeLine])
        #expect(decoded.faults.map(\.reason) == ["expected at most 20 bytes in a line, found more"])
    }

    @Test func oversizeFirstLineIsAFaultAndTheNextLineIsTheHeader() throws {
        let format = FormatOptions.csv.with { $0.maxLineBytes = 20 }
        let decoded = try decode(
            "000000000000000000000000\ntime,pressure,flow\n0,1,2\n", format)
        #expect(decoded.records.matrix == [[1, 2]])
        #expect(decoded.faults.map(\.lineNumber) == [1])
    }

    @Test func extremesOfTheDoubleSurvive() throws {
        let texts = [
            "1.7976931348623157e308", "5e-324", "-0", "1e-999", "9007199254740993",
            "0.1", "123456789012345678901234567890", "2.2250738585072014e-308", "1.", ".5",
        ]
        let decoded = try decode(
            "flow\n" + texts.joined(separator: "\n"), schema: Schema(features: ["flow"], time: nil))
        #expect(
            decoded.records.values == [
                .greatestFiniteMagnitude, .leastNonzeroMagnitude, -0.0, 0, 9_007_199_254_740_992,
                0.1, 1.2345678901234568e29, 2.2250738585072014e-308, 1, 0.5,
            ])
    }

    @Test(
        arguments: [
            ("", nil), ("time,pressure,flow\n", nil), ("\n\n", nil),
        ] as [(String, String?)])
    func inputWithoutRecordsGivesNone(text: String, ignored: String?) throws {
        let decoded = try decode(text)
        #expect(decoded.records.rowCount == 0)
        #expect(decoded.faults == [])
    }

    @Test(arguments: [
        (
            "time,a\n0,1\n",
            IngestError.missingColumns(
                input: "in.csv", missing: ["pressure", "flow"], present: ["time", "a"])
        ),
        (",,\n1,2,3\n", .emptyHeader(input: "in.csv")),
        (
            "time,flow,pressure,flow\n0,1,2,3\n",
            .duplicateColumn(input: "in.csv", column: "flow")
        ),
    ])
    func headerThatDoesNotServeThrows(text: String, error: IngestError) {
        #expect(throws: error) { try decode(text) }
    }

    @Test func emptyColumnNamesAreAllowed() throws {
        #expect(try decode(",time,,pressure,flow\n9,0,,1,2\n").records.matrix == [[1, 2]])
    }

    @Test func columnInTwoRolesThrows() {
        #expect(throws: IngestError.columnUsedTwice("time")) {
            try decode("time\n0\n", schema: Schema(features: ["time"], time: "time"))
        }
    }

    @Test(arguments: [0x30, 0x2E, 0x22, 0x0A, 0x65, 0xE9] as [UInt8])
    func delimiterThatCellsHoldThrows(delimiter: UInt8) {
        let format = FormatOptions.csv.with { $0.delimiter = delimiter }
        #expect(throws: IngestError.unusableDelimiter(delimiter)) {
            try decode("flow\n1\n", format, schema: Schema(features: ["flow"], time: nil))
        }
    }

    @Test func recordsWithoutHeaderThrow() {
        var decoder = RecordDecoder(format: .csv, schema: Self.schema)
        let lines = LineBatch(
            bytes: Array("1,2,3".utf8), lines: [.init(start: 0, count: 5, offset: 9, number: 2)],
            input: 1, inputName: "in.csv")
        #expect(throws: IngestError.headerMissing(input: "in.csv")) { try decoder.decode(lines) }
    }
}
