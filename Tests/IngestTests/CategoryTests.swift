import Ingest
import Testing

@Suite struct CategoryTests {
    static let schema = Schema(
        features: ["pressure"], categories: ["mode", "on"], optional: ["pressure", "mode"],
        time: nil)

    private func decode(_ text: String, _ format: FormatOptions) throws -> DecodedBatch {
        var decoder = RecordDecoder(format: format, schema: Self.schema)
        return try decoder.decode(batch(text, format: format))
    }

    private func cells(_ records: RecordBatch) -> [[String?]] {
        (0..<records.rowCount).map { records.categories.row($0) }
    }

    @Test func cellsOfCSVAreTexts() throws {
        let decoded = try decode(
            """
            on,pressure,mode
            true,1,run
            1,2, idle \t
            true,3,"a ""b"", c"
            false,,run
            true,5,NA
            """, .csv)
        #expect(decoded.faults == [])
        #expect(
            cells(decoded.records) == [
                ["run", "true"], ["idle", "1"], ["a \"b\", c", "true"], ["run", "false"],
                [nil, "true"],
            ])
        #expect(decoded.records.values.map { $0.isNaN } == [false, false, false, true, false])
        #expect(decoded.records.values[4] == 5)
    }

    @Test func membersOfJSONAreTextsNumbersAndBooleans() throws {
        let decoded = try decode(
            #"""
            {"pressure":1,"mode":"r\u0075n","on":true}
            {"mode":7.50,"on":"true"}
            {"on":false,"pressure":null,"mode":null}
            {"pressure":"NA","mode":"","on":0}
            """#, .ndjson)
        #expect(decoded.faults == [])
        #expect(
            cells(decoded.records) == [
                ["run", "true"], ["7.50", "true"], [nil, "false"], [nil, "0"],
            ])
        #expect(decoded.records.values.map { $0.isNaN } == [false, true, true, true])
    }

    @Test(
        arguments: [
            (
                "on,pressure,mode\n,1,run\n", FormatOptions.csv, FaultCode.missingValue,
                "column 'on': expected a value, found an empty cell"
            ),
            (
                "on,pressure,mode\ntrue,high,run\n", .csv, .notANumber,
                "column 'pressure': expected a number, found 'high'"
            ),
            (
                #"{"pressure":1,"mode":"run"}"#, .ndjson, .missingColumn,
                "column 'on': expected the key in the record, found none"
            ),
            (
                #"{"pressure":1,"mode":["run"],"on":true}"#, .ndjson, .notACategory,
                "column 'mode': expected a text, a number, true or false, found an array"
            ),
            (
                #"{"pressure":1,"mode":"run","on":null}"#, .ndjson, .missingValue,
                "column 'on': expected a value, found null"
            ),
        ] as [(String, FormatOptions, FaultCode, String)])
    func cellsThatCannotBeTakenAreFaults(
        text: String, format: FormatOptions, code: FaultCode, reason: String
    ) throws {
        let decoded = try decode(text, format)
        #expect(decoded.records.rowCount == 0)
        #expect(decoded.faults.map(\.code) == [code])
        #expect(decoded.faults.map(\.reason) == [reason])
    }

    @Test func longTextsAreCutAndStayDifferent() throws {
        let long = String(repeating: "ä", count: 100)
        let decoded = try decode(
            "on,pressure,mode\n0,1,\(long)x\n0,1,\(long)y\n0,1,\(long)x\n", .csv)
        let texts = cells(decoded.records).compactMap { $0[0] }
        #expect(texts[0] == texts[2])
        #expect(texts[0] != texts[1])
        for text in texts {
            #expect(text.utf8.count <= CategoryTable.textLimitBytes)
            #expect(text.hasPrefix("äää") && text.contains("~"))
        }
    }

    @Test func batchesArePutTogetherAndTakenApart() throws {
        var all = try decode("on,pressure,mode\n0,1,a\n0,2,b\n", .csv).records
        all.append(contentsOf: try decode("on,pressure,mode\n0,3,c\n0,4,NA\n1,5,b\n", .csv).records)
        #expect(
            cells(all) == [["a", "0"], ["b", "0"], ["c", "0"], [nil, "0"], ["b", "1"]])
        #expect(cells(all.rows(3..<5)) == [[nil, "0"], ["b", "1"]])
        let fewer = all.reduced(to: Schema(features: ["pressure"], categories: ["on"], time: nil))
        #expect(fewer.map(cells) == [["0"], ["0"], ["0"], ["0"], ["1"]])
        #expect(all.reduced(to: Schema(features: ["flow"], time: nil)) == nil)
    }

    private func infer(
        _ text: String, features: [String]? = nil, categories: [String] = []
    ) throws -> InferredSchema {
        try SchemaInference.infer(
            batch(text, format: .csv), format: .csv, features: features, categories: categories,
            time: nil)
    }

    private let mixed = """
        time,pressure,mode,on,code,started,empty
        2026-01-01,1,run,true,7,2026-01-01T10:00:00Z,
        2026-01-02,2,idle,False,8,2026-01-01T11:00:00Z,

        """

    @Test func booleansAreCategoriesAndTextsAndTimesAreLeftOut() throws {
        let found = try infer(mixed)
        #expect(
            found.schema
                == Schema(features: ["pressure", "code"], categories: ["on"], time: "time"))
        #expect(found.leftOut.map(\.name) == ["mode", "started", "empty"])
        #expect(found.leftOut.map(\.content) == [.text, .times, .nothing])
    }

    @Test func namedCategoriesAreTakenAndMayHoldNumbers() throws {
        let found = try infer(mixed, categories: ["mode", "code"])
        #expect(
            found.schema
                == Schema(
                    features: ["pressure"], categories: ["mode", "code", "on"], time: "time"))
        #expect(found.leftOut.map(\.name) == ["started", "empty"])
    }

    @Test func booleanAmongNamedFeaturesIsACategory() throws {
        let found = try infer(mixed, features: ["on", "pressure"])
        #expect(
            found.schema == Schema(features: ["pressure"], categories: ["on"], time: "time"))
        #expect(found.leftOut == [])
    }

    @Test func missingAndTooManyCategoriesAreNamed() throws {
        #expect(
            throws: IngestError.missingColumns(
                input: "in.csv", missing: ["mood"],
                present: ["time", "pressure", "mode", "on", "code", "started", "empty"])
        ) { try infer(mixed, categories: ["mood"]) }
        let names = (0..<65).map { "c\($0)" }
        let text =
            "a," + names.joined(separator: ",") + "\n1" + String(repeating: ",true", count: 65)
        #expect(throws: IngestError.tooManyCategories(input: "in.csv", found: 65, limit: 64)) {
            try infer(text + "\n")
        }
    }
}
