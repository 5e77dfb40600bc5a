import Ingest
import Testing

@Suite struct InfluxTests {
    static let schema = Schema(
        features: ["usage_idle", "usage_user"], categories: ["cpu"], time: "time")

    private func decode(
        _ text: String, schema: Schema = schema, _ format: FormatOptions = .influx
    ) throws -> DecodedBatch {
        var decoder = RecordDecoder(format: format, schema: schema)
        return try decoder.decode(batch(text, format: format, name: "in.influx"))
    }

    @Test func fieldsAreFeaturesAndTagsCategories() throws {
        let decoded = try decode(
            """
            cpu,cpu=cpu0,host=a usage_idle=98.5,usage_user=1i,usage_system=0 1583756076000000000
            # a comment
            cpu,host=a,cpu=cpu1 usage_user=2u,usage_idle=-3e1 1583756077500000001

            """)
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[98.5, 1], [-30, 2]])
        #expect(
            (0..<2).map { decoded.records.categories.text(row: $0, column: 0) } == ["cpu0", "cpu1"])
        #expect(decoded.records.times == [1_583_756_076, 1_583_756_077.5])
        #expect(decoded.records.offsets == [0, 97])
    }

    @Test func escapesAndQuotesAreResolved() throws {
        let schema = Schema(
            features: ["a b=c,d"], categories: ["tag,1", "text", "_measurement", "on"], time: nil)
        let decoded = try decode(
            #"my\ pump\,1\2,tag\,1=x\=y\ z\q a\ b\=c\,d=1,text="say \"hi\", x=1 \\ 2",on=T"#
                + "\n", schema: schema)
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix == [[1]])
        let texts = (0..<4).map { decoded.records.categories.text(row: 0, column: $0) }
        #expect(texts == [#"x=y z\q"#, #"say "hi", x=1 \ 2"#, #"my pump,1\2"#, "true"])
    }

    @Test(arguments: [
        ("t", "true"), ("T", "true"), ("true", "true"), ("True", "true"), ("TRUE", "true"),
        ("f", "false"), ("F", "false"), ("false", "false"), ("False", "false"),
        ("FALSE", "false"), ("7", "7"), ("7i", "7"), ("\"on\"", "on"),
    ])
    func fieldsMayBeCategories(written: String, text: String) throws {
        let schema = Schema(features: ["x"], categories: ["state"], time: nil)
        let decoded = try decode("m state=\(written),x=1\n", schema: schema)
        #expect(decoded.faults == [])
        #expect(decoded.records.categories.text(row: 0, column: 0) == text)
    }

    @Test(arguments: [
        ("1583756076", TimeUnit.s), ("1583756076000", .ms), ("1583756076000000", .us),
        ("1583756076000000000", .ns),
    ])
    func timestampsCountTheUnitThatIsNamed(written: String, unit: TimeUnit) throws {
        let format = FormatOptions.influx.with { $0.time.unit = unit }
        let schema = Schema(features: ["x"], time: "time")
        let decoded = try decode("m x=1 \(written)\n", schema: schema, format)
        #expect(decoded.records.times == [1_583_756_076])
    }

    @Test(
        arguments: [
            ("", "expected a measurement, found"),
            (",a=b x=1", "expected a measurement, found ',a=b x=1' at byte 1"),
            ("m", "expected a field such as temperature=21.5, found the end of the line"),
            ("m,a x=1", "expected a tag such as place=roof, found 'a x=1' at byte 3"),
            ("m,a= x=1", "expected a tag such as place=roof, found 'a= x=1' at byte 3"),
            ("m x", "expected a field such as temperature=21.5, found 'x' at byte 3"),
            ("m x=1,", "expected a field such as temperature=21.5, found the end of the line"),
            (
                "m x=abc",
                "expected a number, an integer such as 7i, a text in quotes, true or false, "
                    + "found 'abc' at byte 5"
            ),
            (
                "m x=1.5i",
                "expected a number, an integer such as 7i, a text in quotes, true or false, "
                    + "found '1.5i' at byte 5"
            ),
            ("m x=\"abc", "expected the quote to be closed, found '\"abc' at byte 5"),
            ("m x=1 12.5", "expected a timestamp, a whole number, found '12.5' at byte 7"),
            ("m x=1 99999999999999999999", "expected a timestamp"),
            ("m x=1 1 2", "expected a timestamp"),
        ])
    func whatIsNoPointIsToldByItsPart(line: String, reason: String) throws {
        let decoded = try decode("m x=1\n\(line)#\n", schema: Schema(features: ["x"], time: nil))
        guard line != "" else { return }
        let bare = try decode("\(line)\n", schema: Schema(features: ["x"], time: nil))
        #expect(bare.records.rowCount == 0)
        #expect(bare.faults.count == 1)
        #expect(bare.faults.first?.code == .badSyntax)
        #expect(bare.faults.first?.reason.hasPrefix(reason) == true, "\(bare.faults)")
        #expect(decoded.records.rowCount >= 1)
    }

    @Test func aPointThatLacksSomethingIsAFault() throws {
        let decoded = try decode(
            """
            cpu,cpu=a usage_idle=1 5
            cpu usage_idle=1,usage_user=2 5
            cpu,cpu=a usage_idle=1,usage_user=2
            cpu,cpu=a usage_idle="x",usage_user=2 5
            cpu,cpu=a usage_idle=true,usage_user=2 5
            cpu,cpu=a usage_idle=1,usage_idle=1,usage_user=2 5

            """)
        #expect(decoded.records.rowCount == 0)
        #expect(
            decoded.faults.map(\.reason) == [
                "column 'usage_user': expected the key in the record, found none",
                "column 'cpu': expected the key in the record, found none",
                "column 'time': expected a timestamp in the record, found none",
                "column 'usage_idle': expected a number, found the string x",
                "column 'usage_idle': expected a number, found true",
                "column 'usage_idle': expected the key once, found it again at byte 24",
            ])
    }

    @Test func optionalFieldsMayBeMissing() throws {
        var schema = Self.schema
        schema.optional = ["usage_user", "cpu"]
        let decoded = try decode("cpu usage_idle=1 5\n", schema: schema)
        #expect(decoded.faults == [])
        #expect(decoded.records.matrix[0][0] == 1)
        #expect(decoded.records.matrix[0][1].isNaN)
        #expect(decoded.records.categories.text(row: 0, column: 0) == nil)
    }

    @Test func columnsAreInferredFromPoints() throws {
        let lines = try batch(
            """
            cpu,cpu=cpu0 usage_idle=98.5,count=3i,note="x",up=true 1583756076000000000
            cpu,cpu=cpu1 usage_idle=97,count=4i,note="y",up=false 1583756077000000000

            """, format: .influx)
        let inferred = try SchemaInference.infer(
            lines, format: .influx, features: nil, time: nil)
        #expect(inferred.schema.features == ["usage_idle", "count"])
        #expect(inferred.schema.categories == ["up"])
        #expect(inferred.schema.time == "time")
        #expect(inferred.leftOut.map(\.name) == ["cpu", "note"])
        let named = try SchemaInference.infer(
            lines, format: .influx, features: ["count"], categories: ["cpu"], time: nil)
        #expect(named.schema.columns == ["count", "cpu"])
    }

    @Test func everyCutOfAPointIsARecordOrAFault() throws {
        let line = #"cpu,cpu=cpu\ 0 usage_idle=9.5e1,usage_user=1i,s="a\"b\\" 1583756076000000000"#
        for count in 0...line.utf8.count {
            let cut = Array(line.utf8.prefix(count)) + [0x0A]
            var decoder = RecordDecoder(format: .influx, schema: Self.schema)
            let lines = try batch(cut, format: .influx)
            let decoded = try decoder.decode(lines)
            #expect(decoded.records.rowCount + decoded.faults.count == lines.lines.count)
        }
    }
}
