import CParsers

/// What the C++ parsers are to do with each column.
///
/// `@unchecked Sendable`: the plan is written once, in `init`, and only read afterwards.
final class ParserPlan: @unchecked Sendable {
    private let schema: Schema
    private let plan: OpaquePointer

    /// A plan for CSV lines.
    ///
    /// - Parameters:
    ///   - columns: What each cell of a line is: an index into `schema.columns` or an `FG_COLUMN` value.
    ///   - schema: The features, the categories and the time.
    ///   - options: Delimiter, decimal mark, missing values and times.
    init?(csvColumns columns: [Int32], schema: Schema, options: FormatOptions) {
        let time = TimeParser(options.time)
        let made = withTexts(options.missingValues) { missing in
            withColumns(schema) { given in
                fg_plan_csv(
                    columns, Int64(columns.count), given, options.delimiter, options.decimalMark,
                    missing, time.handle)
            }
        }
        guard let made else { return nil }
        plan = made
        self.schema = schema
    }

    /// A plan for records whose columns have keys: NDJSON and line protocol.
    init?(keyed schema: Schema, options: FormatOptions) {
        let keys = schema.columns + (schema.time.map { [$0] } ?? [])
        let time = TimeParser(options.time)
        let made = withTexts(options.missingValues) { missing in
            withTexts(keys) { keys in
                withColumns(schema) { columns in
                    options.format == .influx
                        ? fg_plan_influx(keys, columns, missing, time.handle)
                        : fg_plan_ndjson(keys, columns, missing, time.handle)
                }
            }
        }
        guard let made else { return nil }
        plan = made
        self.schema = schema
    }

    deinit {
        fg_plan_free(plan)
    }

    /// Decodes some lines of a batch, in one call.
    func decode(_ batch: LineBatch, lines range: Range<Int>) -> (RecordBatch, [fg_fault]) {
        let lines = batch.lines[range].map { line in
            fg_line(
                start: Int64(line.start), count: line.isOversize ? -1 : Int64(line.count),
                offset: line.offset)
        }
        var records = RecordBatch(schema: schema)
        var faults = [fg_fault](unsafeUninitializedCapacity: lines.count) { buffer, count in
            var rows = fg_rows()
            rows.faults = buffer.baseAddress
            records = fill(from: batch, lines: lines, rows: &rows)
            count = Int(rows.fault_count)
        }
        // The parser counts from the first line that it was given.
        if range.lowerBound > 0 {
            for row in 0..<records.rowCount { records.lineIndices[row] += Int32(range.lowerBound) }
            for index in faults.indices { faults[index].line += Int64(range.lowerBound) }
        }
        return (records, faults)
    }

    private func fill(
        from batch: LineBatch, lines: [fg_line], rows: inout fg_rows
    ) -> RecordBatch {
        let capacity = lines.count
        let featureCount = schema.features.count
        var categories = CategoryTable(columnCount: 0)
        var lineIndices: [Int32] = []
        var offsets: [Int64] = []
        var times: [Double] = []
        let values = [Double](
            unsafeUninitializedCapacity: capacity * featureCount
        ) { valueBuffer, valueCount in
            rows.values = valueBuffer.baseAddress
            times = [Double](unsafeUninitializedCapacity: capacity) { timeBuffer, timeCount in
                rows.times = timeBuffer.baseAddress
                lineIndices = [Int32](unsafeUninitializedCapacity: capacity) { indexBuffer, count in
                    rows.line_indices = indexBuffer.baseAddress
                    offsets = [Int64](unsafeUninitializedCapacity: capacity) {
                        offsetBuffer, count in
                        rows.offsets = offsetBuffer.baseAddress
                        categories = withCategories(capacity: capacity, rows: &rows) { rows in
                            fg_decode(
                                plan, batch.bytes, Int64(batch.bytes.count), lines,
                                Int64(capacity), &rows)
                        }
                        count = Int(rows.row_count)
                    }
                    count = Int(rows.row_count)
                }
                timeCount = Int(rows.row_count)
            }
            valueCount = Int(rows.row_count) * featureCount
        }
        return RecordBatch(
            schema: schema, rowCount: Int(rows.row_count), values: values, categories: categories,
            times: times, lineIndices: lineIndices, offsets: offsets)
    }

    /// Lends the parser room for the codes of the categories, and takes their texts from it.
    private func withCategories(
        capacity: Int, rows: inout fg_rows, _ body: (inout fg_rows) -> Void
    ) -> CategoryTable {
        let columnCount = schema.categories.count
        guard columnCount > 0, let dictionary = fg_dictionary_create() else {
            body(&rows)
            return CategoryTable(columnCount: columnCount)
        }
        defer { fg_dictionary_free(dictionary) }
        rows.dictionary = dictionary
        let codes = [Int32](unsafeUninitializedCapacity: capacity * columnCount) { buffer, count in
            rows.codes = buffer.baseAddress
            body(&rows)
            count = Int(rows.row_count) * columnCount
        }
        let texts = (0..<fg_dictionary_count(dictionary)).map { code in
            var count: Int64 = 0
            let text = fg_dictionary_text(dictionary, code, &count)
            return CategoryTable.text(of: UnsafeBufferPointer(start: text, count: Int(count)))
        }
        return CategoryTable(columnCount: columnCount, texts: texts, codes: codes)
    }
}

/// Lends a schema's columns to C, for the length of a call.
private func withColumns<Result>(_ schema: Schema, _ body: (fg_columns) -> Result) -> Result {
    schema.columns.map { schema.optional.contains($0) }.withUnsafeBufferPointer { isOptional in
        body(
            fg_columns(
                feature_count: Int64(schema.features.count),
                category_count: Int64(schema.categories.count),
                is_optional: isOptional.baseAddress, has_time: schema.time != nil))
    }
}

/// Lends texts to C, for the length of a call.
private func withTexts<Result>(_ texts: [String], _ body: (fg_texts) -> Result) -> Result {
    var bytes: [UInt8] = []
    var ends: [Int64] = []
    for text in texts {
        bytes.append(contentsOf: text.utf8)
        ends.append(Int64(bytes.count))
    }
    return bytes.withUnsafeBufferPointer { bytes in
        ends.withUnsafeBufferPointer { ends in
            body(
                fg_texts(
                    bytes: bytes.baseAddress, ends: ends.baseAddress, count: Int64(texts.count))
            )
        }
    }
}
