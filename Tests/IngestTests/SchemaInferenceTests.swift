import Ingest
import Testing

@Suite struct SchemaInferenceTests {
    private func infer(
        _ text: String, _ format: FormatOptions = .csv, features: [String]? = nil,
        exclude: [String] = [], time: String? = nil
    ) throws -> Schema {
        try SchemaInference.infer(
            batch(text, format: format, name: "in"), format: format, features: features,
            exclude: exclude, time: time
        ).schema
    }

    @Test func everyNumericColumnIsAFeatureAndTheTimeIsNone() throws {
        let schema = try infer(
            """
            ,DateTime,pressure,mode,flow,empty,label
            0,2020-03-09 12:14:36,1.5,auto,,NA,0
            1,2020-03-09 12:14:37,NA,auto,2,,1
            ragged
            """, exclude: ["label"])
        #expect(schema == Schema(features: ["pressure", "flow"], time: "DateTime"))
    }

    @Test func jsonKeysComeInTheOrderOfTheirFirstAppearance() throws {
        let schema = try infer(
            """
            {"b":1,"ts":1583756076,"s":"x","n":null}
            {"a":2,"b":"NA","o":{"c":1},"t":true}
            not json
            {"b":2,"ts":1583756077,"n":3,"numeric string":"7"}
            """, .ndjson)
        #expect(schema == Schema(features: ["b", "n", "a", "o.c"], categories: ["t"], time: "ts"))
    }

    @Test func namedColumnsAreTakenAsTheyAre() throws {
        let text = "time,a,b,c\n0,1,2,3\n"
        #expect(
            try infer(text, features: ["c", "a"], time: "b")
                == Schema(features: ["c", "a"], time: "b"))
        #expect(
            try infer(text, features: ["time", "a"]) == Schema(features: ["time", "a"], time: nil))
    }

    @Test func columnCalledTimeThatHoldsNoTimesIsNotTheTime() throws {
        #expect(try infer("time,a\nlong,1\n") == Schema(features: ["a"], time: nil))
    }

    @Test(
        arguments: [
            (
                "a,b\n1,2\n", ["a", "c"], nil,
                IngestError.missingColumns(input: "in", missing: ["c"], present: ["a", "b"])
            ),
            (
                "a,b\n1,2\n", nil, "when",
                .missingColumns(input: "in", missing: ["when"], present: ["a", "b"])
            ),
            (
                "a,b\nx,y\n", nil, nil,
                .noNumericColumns(input: "in", present: ["a", "b"], hasDecimalCommas: false)
            ),
            ("a,b\nx,1\n", nil, "a", .timeUnreadable(input: "in", column: "a", found: "'x'")),
            ("a,b\n", nil, nil, .noRecords(input: "in")),
            ("", nil, nil, .noRecords(input: "in")),
            ("1.5,2\n3,4\n", nil, nil, .headerIsNumbers(input: "in", header: "1.5,2")),
            (
                "2026-03-01T10:00:00Z,1.5,,1.5\n2026-03-01T10:00:01Z,1,2,3\n", nil, nil,
                .headerIsNumbers(input: "in", header: "2026-03-01T10:00:00Z,1.5,,1.5")
            ),
            (",\n1,2\n", nil, nil, .emptyHeader(input: "in")),
        ] as [(String, [String]?, String?, IngestError)])
    func inputThatCannotBeUnderstoodThrows(
        text: String, features: [String]?, time: String?, error: IngestError
    ) {
        #expect(throws: error) { try infer(text, features: features, time: time) }
    }

    @Test func featuresAreBounded() throws {
        func csv(_ count: Int) -> String {
            let names = (0..<count).map { "c\($0)" }.joined(separator: ",")
            return names + "\n" + (0..<count).map(String.init).joined(separator: ",") + "\n"
        }
        func json(_ count: Int) -> String {
            "{" + (0..<count).map { "\"c\($0)\":\($0)" }.joined(separator: ",") + "}\n"
        }
        for (text, format) in [(csv, FormatOptions.csv), (json, .ndjson)] {
            #expect(try infer(text(1024), format).features.count == 1024)
            #expect(
                throws: IngestError.tooManyFeatures(input: "in", found: 1025, limit: 1024)
            ) { try infer(text(1025), format) }
            #expect(throws: IngestError.tooManyColumns(input: "in", limit: 4096)) {
                try infer(text(4097), format)
            }
            let schema = try infer(text(10_000), format, features: ["c9999"], time: "c9998")
            #expect(schema == Schema(features: ["c9999"], time: "c9998"))
            #expect(
                throws: IngestError.tooManyFeatures(input: "in", found: 1025, limit: 1024)
            ) { try infer(text(2000), format, features: (0..<1025).map { "c\($0)" }) }
            var decoder = RecordDecoder(
                format: format,
                schema: Schema(features: (0..<1025).map { "c\($0)" }, time: nil))
            #expect(
                throws: IngestError.tooManyFeatures(input: "in.csv", found: 1025, limit: 1024)
            ) { try decoder.decode(batch(text(1025), format: format)) }
        }
    }

    @Test func timesThatDoNotFitTheirPatternAreToldWithIt() throws {
        let pattern = "%d.%m.%Y %T"
        let format = FormatOptions.csv.with { $0.time.pattern = pattern }
        let iso = "time,a\n2026-03-01T10:00:00Z,1\n2026-03-01T10:00:01Z,2\n"
        for name in [nil, "time"] {
            #expect(
                throws: IngestError.timeUnreadable(
                    input: "in", column: "time", found: "'2026-03-01T10:00:00Z'", pattern: pattern)
            ) { try infer(iso, format, time: name) }
        }
        #expect(
            throws: IngestError.noTimeColumn(input: "in", pattern: pattern, present: ["Zeit", "a"])
        ) { try infer("Zeit,a\n01.03.2026 10:00:00,1\n", format) }
        // One that fits is enough: the others are faults of their lines. None at all says nothing.
        for cells in ["01.03.2026 10:00:00,1\nsoon,2\n", ",1\n,2\n"] {
            #expect(try infer("time,a\n" + cells, format).features == ["a"])
        }
    }
}
