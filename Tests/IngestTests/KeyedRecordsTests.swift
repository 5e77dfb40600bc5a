import Ingest
import Testing

/// Records of several machines in one batch.
@Suite struct KeyedRecordsTests {
    private func batch(_ rows: [(key: String, value: Double, mode: String)]) -> RecordBatch {
        var records = RecordBatch(
            schema: Schema(
                features: ["flow"], categories: ["machine", "mode"], optional: ["mode"],
                time: "time"))
        for (number, row) in rows.enumerated() {
            records.append(
                [row.value], categories: [row.key, row.mode], time: Double(number),
                lineIndex: Int32(number), offset: Int64(10 * number))
        }
        return records
    }

    @Test func eachKeyHasItsRecordsInTheirOrder() {
        let parts = batch([
            ("b", 1, "x"), ("a", 2, "y"), ("b", 3, "y"), ("c", 4, "x"), ("b", 5, "x"),
        ]).split(byCategory: "machine")
        #expect(parts.map(\.key) == ["b", "a", "c"])
        #expect(parts.map(\.rows) == [[0, 2, 4], [1], [3]])
        let own = parts[0].records
        #expect(
            own.schema
                == Schema(
                    features: ["flow"], categories: ["mode"], optional: ["mode"], time: "time"))
        #expect(own.values == [1, 3, 5])
        #expect(own.times == [0, 2, 4])
        #expect(own.offsets == [0, 20, 40])
        #expect(own.lineIndices == [0, 2, 4])
        #expect((0..<3).map { own.categories.text(row: $0, column: 0) } == ["x", "y", "x"])
        #expect(own.beginnings.isEmpty)
    }

    /// A key names files, whose names have a limit.
    @Test func keysThatGrowWhenComposedKeepToTheLimitOfTexts() {
        let note = String(repeating: "\u{1D160}", count: 15)
        let parts = batch([(note, 1, "x"), (note + "a", 2, "x"), ("\u{65}\u{301}", 3, "x")])
            .split(byCategory: "machine")
        #expect(parts.count == 3)
        #expect(parts.allSatisfy { $0.key.utf8.count <= CategoryTable.textLimitBytes })
        #expect(parts[2].key.utf8.elementsEqual("\u{E9}".utf8))
    }

    @Test func groupedRecordsTellWhereEachSeriesBegins() {
        let records = batch([("b", 1, "x"), ("a", 2, "x"), ("b", 3, "x"), ("c", 4, "x")])
        var grouped = records.grouped(byCategory: "machine")
        #expect(grouped.values == [1, 3, 2, 4])
        #expect(grouped.beginnings == [2, 3])
        #expect(grouped.rows(0..<2).beginnings.isEmpty)
        // A part that begins where a series does has no row before it.
        #expect(grouped.rows(2..<4).beginnings == [1])
        grouped.append(contentsOf: records.grouped(byCategory: "machine"))
        #expect(grouped.beginnings == [2, 3, 6, 7])
        #expect(grouped.selecting([3, 0]).values == [4, 1])
    }
}
