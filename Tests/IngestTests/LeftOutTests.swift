import Ingest
import Testing

/// Which numeric columns are no features, and what is said of columns that are none.
@Suite struct LeftOutTests {
    private func infer(
        _ text: String, _ format: FormatOptions = .csv, features: [String]? = nil
    ) throws -> InferredSchema {
        try SchemaInference.infer(
            batch(text, format: format, name: "in"), format: format, features: features, time: nil)
    }

    /// Lines with numbers that tell something behind these cells.
    private func csv(_ header: String, _ cells: [String]) -> String {
        header + "\n"
            + cells.enumerated().map { "\($0.element),\($0.offset * 7_919 % 101)\n" }.joined()
    }

    private static func cells(_ count: Int, _ cell: (Int) -> String) -> [String] {
        (0..<count).map(cell)
    }

    @Test(
        arguments: [
            cells(60) { "\(1_000 + $0)" }, cells(60) { "\(Double($0) / 10)" },
            // Some records are lost on the way.
            cells(60) { "\($0 + $0 / 15)" }, cells(60) { "\(1_583_756_076 + 5 * $0)" },
        ])
    func aColumnThatCountsTheRecordsIsLeftOut(cells: [String]) throws {
        let text = csv("id,a", cells)
        let found = try infer(text)
        #expect(found.schema.features == ["a"])
        #expect(found.leftOut == [.init(name: "id", content: .rowNumbers)])
        #expect(try infer(text, features: ["id", "a"]).schema.features == ["id", "a"])
        let json = cells.enumerated().map {
            "{\"id\":\($0.element),\"a\":\($0.offset % 7)}\n"
        }.joined()
        #expect(try infer(json, .ndjson).schema.features == ["a"])
    }

    @Test(
        arguments: [
            // Of several machines in turns, set back once, falling, not by one step, too few.
            cells(60) { "\($0 / 2)" }, cells(60) { "\($0 % 50)" }, cells(60) { "\(-$0)" },
            cells(60) { "\($0 * $0)" }, cells(39) { "\($0)" },
        ])
    func othersStayFeatures(cells: [String]) throws {
        let found = try infer(csv("id,a", cells))
        #expect(found.schema.features == ["id", "a"])
        #expect(found.leftOut == [])
    }

    @Test func whatOnlyRisesIsTold() throws {
        #expect(try infer(csv("total,a", Self.cells(60) { "\($0 * $0)" })).rising == ["total"])
        #expect(try infer(csv("id,a", Self.cells(60) { "\($0)" })).rising == [])
        #expect(try infer(csv("a,b", Self.cells(60) { "\($0 % 9)" })).rising == [])
    }

    @Test func somethingIsLeftToWatch() throws {
        let found = try infer("id\n" + (0..<60).map { "\($0)\n" }.joined())
        #expect(found.schema.features == ["id"])
        #expect(found.rising == ["id"])
    }

    @Test func aColumnThatMostRecordsLackIsLeftOut() throws {
        let text = csv("r,a", Self.cells(60) { $0 % 20 == 3 ? "5" : "" })
        #expect(try infer(text).leftOut == [.init(name: "r", content: .sparse)])
        #expect(try infer(text).schema.features == ["a"])
        let half = Self.cells(60) { $0 % 2 == 1 ? "5" : "" }
        #expect(try infer(csv("r,a", half)).leftOut == [])
        // Of few records it says little.
        #expect(try infer(csv("r,a", Self.cells(10) { $0 == 3 ? "5" : "" })).leftOut == [])
    }

    @Test(
        arguments: [
            (["12 ms", "7.5 ms"], .measures, "'12 ms'"), (["5%", "70 %"], .measures, "'5%'"),
            (["$3.20", "-$1"], .measures, "'$3.20'"), (["€ 5", "€ 6"], .measures, "'€ 5'"),
            (["\"1,234\"", "12"], .measures, "'1,234'"),
            (["1.234.567", "1.5 kg"], .measures, "'1.234.567'"),
            (["10.0.0.1", "10.0.0.2"], .text, "'10.0.0.1'"), (["3a7f", "9b"], .text, "'3a7f'"),
            (["run", "3 of 4"], .text, "'run'"), (["1", "err", "2", "3"], .mixed, "'err'"),
            (["err", "1", "2", "3"], .mixed, "'err'"), (["a", "1", "b"], .text, "'a'"),
            (["01.03.2024 10:00", "02.03.2024 10:00"], .dates, "'01.03.2024 10:00'"),
            (["", "NA"], .nothing, nil),
        ] as [([String], InferredSchema.LeftOut.Content, String?)])
    func whatAColumnHoldsIsTold(
        cells: [String], content: InferredSchema.LeftOut.Content, example: String?
    ) throws {
        let found = try infer("c,a\n" + cells.map { "\($0),1\n" }.joined())
        #expect(found.leftOut.map(\.name) == ["c"])
        #expect(found.leftOut.map(\.content) == [content])
        #expect(found.leftOut.map(\.example) == [example])
        #expect(found.leftOut[0].patterns == (content == .dates ? ["%d.%m.%Y %R"] : []))
    }

    @Test func numbersWithoutANameAreTold() throws {
        #expect(
            try infer("a,,b,\n1,2,3,\n2,4,1,\n").leftOut
                == [.init(name: "column 2", content: .unnamed)])
    }

    @Test func columnsOfMeasuresAloneAreNamed() {
        #expect(
            throws: IngestError.noNumericColumns(
                input: "in", present: ["lat", "mode"], hasDecimalCommas: false, measures: ["lat"])
        ) { try infer("lat,mode\n12 ms,a\n13 ms,b\n") }
    }

    private static func wide(_ text: String, _ unit: (UInt8) -> [UInt8]) -> [UInt8] {
        Array(text.utf8.map(unit).joined())
    }

    @Test func otherTextsThanLinesOfUTF8AreNamed() throws {
        let text = "a,b\r\n1,2\r\n3,4\r\n"
        for mark in [[], [0xFF, 0xFE]] as [[UInt8]] {
            let bytes = mark + Self.wide(text) { [$0, 0] }
            #expect(throws: IngestError.wideCharacters(input: "in")) {
                try SchemaInference.infer(
                    batch(bytes, format: .csv, name: "in"), format: .csv, features: nil, time: nil)
            }
        }
        let swapped = [0xFE, 0xFF] + Self.wide(text) { [0, $0] }
        #expect(throws: IngestError.wideCharacters(input: "in")) {
            try SchemaInference.infer(
                batch(swapped, format: .csv, name: "in"), format: .csv, features: nil, time: nil)
        }
        #expect(throws: IngestError.bareReturns(input: "in")) {
            try infer(text.replacing("\r\n", with: "\r"))
        }
        #expect(try infer(text).schema.features == ["a", "b"])
    }
}
