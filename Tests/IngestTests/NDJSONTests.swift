import Ingest
import Testing

@Suite struct NDJSONTests {
    static let schema = Schema(features: ["pressure", "flow"], time: "time")

    private func decode(
        _ text: String, _ format: FormatOptions = .ndjson, schema: Schema = schema
    ) throws -> DecodedBatch {
        var decoder = RecordDecoder(format: format, schema: schema)
        return try decoder.decode(batch(text, format: format, name: "in.ndjson"))
    }

    @Test func keysAreFoundInAnyOrder() throws {
        let decoded = try decode(
            """
            {"time": 1, "pressure": 2, "flow": 3}
            {"flow":3.5,"x":{"flow":[1,{"time":"no"}]},"pressure":-2e3,"time":"1970-01-01T00:00:02Z"}
              { "pressure" : 1 , "time" : 3.25 , "y" : "a\\"}{" , "flow" : 18446744073709551616 }\t
            {"pressure":7,"time":"4","flow":8}
            """)
        #expect(decoded.faults == [])
        #expect(
            decoded.records.matrix == [
                [2, 3], [-2000, 3.5], [1, 18_446_744_073_709_551_616], [7, 8],
            ])
        #expect(decoded.records.times == [1, 2, 3.25, 4])
    }

    @Test func escapedKeysAreTheSameKeys() throws {
        let decoded = try decode(
            #"{"\u0066low":1,"pressure":2,"time":3}"# + "\n"
                + #"{"flow":4,"pressure":5,"time":6}"# + "\n"
                + #"{"fl\u006fw":7,"pressure":8,"time":9}"#)
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[2, 1], [5, 4], [8, 7]])
    }

    @Test func zeroByteIsNoSpace() throws {
        let schema = Schema(features: ["a"], time: "t")
        for text in ["{\"a\":1\0,\"t\":1}", "{\"a\":1,\"t\":1\0}", "{\"a\":1,\"t\":1}\0"] {
            let decoded = try decode(text, schema: schema)
            #expect(decoded.records.rowCount == 0, "\(text.debugDescription)")
            #expect(decoded.faults.map(\.code) == [.badSyntax])
        }
        #expect(try decode("{\"a\":1\t ,\"t\":1 }", schema: schema).records.rowCount == 1)
    }

    @Test func keysThatNeedEscapesAreFound() throws {
        let decoded = try decode(
            #"{"a\"b":1,"tab\tkey":2}"# + "\n" + #"{"a\"b":3,"tab\tkey":4}"#,
            schema: Schema(features: ["a\"b", "tab\tkey"], time: nil))
        #expect(decoded.records.matrix == [[1, 2], [3, 4]])
    }

    @Test(
        arguments: [
            (
                #"{"time":1,"pressure":"2","flow":3}"#, FaultCode.notANumber, "pressure", 22,
                #"column 'pressure': expected a number, found the string "2""#
            ),
            (
                #"{"time":1,"pressure":true,"flow":3}"#, .notANumber, "pressure", 22,
                "column 'pressure': expected a number, found true"
            ),
            (
                #"{"time":1,"pressure":{"a":1},"flow":3}"#, .notANumber, "pressure", 22,
                "column 'pressure': expected a number, found an object"
            ),
            (
                #"{"time":1,"pressure":[1],"flow":3}"#, .notANumber, "pressure", 22,
                "column 'pressure': expected a number, found an array"
            ),
            (
                #"{"time":1,"pressure":null,"flow":3}"#, .missingValue, "pressure", 22,
                "column 'pressure': expected a value, found null"
            ),
            (
                #"{"time":1,"pressure":"NA","flow":3}"#, .missingValue, "pressure", 22,
                #"column 'pressure': expected a value, found "NA""#
            ),
            (
                #"{"time":1,"pressure":1e999,"flow":3}"#, .nonFinite, "pressure", 22,
                "column 'pressure': expected a finite number, found '1e999'"
            ),
            (
                #"{"time":1,"flow":3}"#, .missingColumn, "pressure", nil,
                "column 'pressure': expected the key in the record, found none"
            ),
            (
                #"{"flow":1,"pressure":3}"#, .missingColumn, "time", nil,
                "column 'time': expected the key in the record, found none"
            ),
            (
                #"{"time":"soon","pressure":1,"flow":3}"#, .badTime, "time", 9,
                "column 'time': expected a time such as 2020-03-09T12:14:36Z or epoch seconds, "
                    + #"found the string "soon""#
            ),
            (
                #"{"time":false,"pressure":1,"flow":3}"#, .badTime, "time", 9,
                "column 'time': expected a time such as 2020-03-09T12:14:36Z or epoch seconds, "
                    + "found false"
            ),
            (
                #"{"time":1,"flow":2,"flow":2,"pressure":1}"#, .badSyntax, "flow", 21,
                "column 'flow': expected the key once, found it again at byte 21"
            ),
            ("[1,2]", .badSyntax, nil, 1, "expected a JSON object, found '[1,2]'"),
            ("17", .badSyntax, nil, 1, "expected a JSON object, found '17'"),
            ("time,flow", .badSyntax, nil, 1, "expected a JSON object, found 'time,flow'"),
            (
                #"{"time":1,"flow":2,"pressure":1} {}"#, .badSyntax, nil, 34,
                "expected one JSON object, found '{}' behind it at byte 34"
            ),
            (
                #"{"time":1,"flow":2,"pressure":1"#, .badSyntax, nil, nil,
                "expected a JSON object, found a syntax error"
            ),
            (
                #"{"time":1,"flow":02,"pressure":1}"#, .badSyntax, nil, 18,
                "expected a JSON object, found a syntax error at byte 18"
            ),
            (
                #"{"time":1 "flow":2,"pressure":1}"#, .badSyntax, nil, 11,
                "expected a JSON object, found a syntax error at byte 11"
            ),
        ] as [(String, FaultCode, String?, Int?, String)])
    func badRecordIsAFaultThatSaysWhy(
        line: String, code: FaultCode, column: String?, byte: Int?, reason: String
    ) throws {
        let good = #"{"time":1,"pressure":2,"flow":3}"#
        for text in ["\(good)\n\(line)\n\(good)", "\(good)\n\(good)\n\(line)"] {
            let decoded = try decode(text)
            #expect(decoded.records.matrix == [[2, 3], [2, 3]])
            let fault = try #require(decoded.faults.first)
            #expect(decoded.faults.count == 1)
            #expect(fault.reason == reason)
            #expect(fault.code == code)
            #expect(fault.column == column)
            #expect(fault.columnNumber == byte)
        }
    }

    @Test func bytesThatAreNotUTF8AreAFaultWithTheirPlace() throws {
        var decoder = RecordDecoder(format: .ndjson, schema: Self.schema)
        let bytes = Array(#"{"é":""#.utf8) + [0xC3, 0x28] + Array(#"","flow":1}"#.utf8)
        let decoded = try decoder.decode(batch(bytes, format: .ndjson))
        #expect(decoded.faults.map(\.code) == [.badSyntax])
        #expect(decoded.faults.map(\.reason) == [#"expected UTF-8, found '\xC3' at byte 8"#])
    }

    @Test func sentinelNumbersAreMissingValues() throws {
        let format = FormatOptions.ndjson.with { $0.missingValues = ["-999"] }
        let decoded = try decode(
            #"{"a":-999}"#, format, schema: Schema(features: ["a"], time: nil))
        #expect(decoded.faults.map(\.code) == [.missingValue])
    }
}
