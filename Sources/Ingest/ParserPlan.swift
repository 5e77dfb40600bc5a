import CParsers

/// What the C++ parsers are to do with each column.
///
/// `@unchecked Sendable`: the plan is written once, in `init`, and only read afterwards.
final class ParserPlan: @unchecked Sendable {
    let featureCount: Int
    private let plan: OpaquePointer

    /// A plan for CSV lines.
    ///
    /// - Parameters:
    ///   - columns: What each cell of a line is: a feature's index or an `FG_COLUMN` value.
    ///   - schema: The features and the time.
    ///   - options: The delimiter and the missing values.
    init?(csvColumns columns: [Int32], schema: Schema, options: FormatOptions) {
        let made = withTexts(options.missingValues) { missing in
            fg_plan_csv(
                columns, Int64(columns.count), Int64(schema.features.count), schema.time != nil,
                options.delimiter, missing)
        }
        guard let made else { return nil }
        plan = made
        featureCount = schema.features.count
    }

    /// A plan for NDJSON records.
    init?(ndjson schema: Schema, options: FormatOptions) {
        let keys = schema.features + (schema.time.map { [$0] } ?? [])
        let made = withTexts(options.missingValues) { missing in
            withTexts(keys) { keys in
                fg_plan_ndjson(keys, Int64(schema.features.count), schema.time != nil, missing)
            }
        }
        guard let made else { return nil }
        plan = made
        featureCount = schema.features.count
    }

    deinit {
        fg_plan_free(plan)
    }

    /// Decodes every line of a batch, in one call.
    func decode(_ batch: LineBatch, schema: Schema) -> (RecordBatch, [fg_fault]) {
        let lines = batch.lines.map { line in
            fg_line(
                start: Int64(line.start), count: line.isOversize ? -1 : Int64(line.count),
                offset: line.offset)
        }
        var records = RecordBatch(schema: schema)
        var faults: [fg_fault] = []
        faults = Array(unsafeUninitializedCapacity: lines.count) { faultBuffer, faultCount in
            var rows = fg_rows()
            rows.faults = faultBuffer.baseAddress
            fill(&records, from: batch, lines: lines, rows: &rows)
            faultCount = Int(rows.fault_count)
        }
        return (records, faults)
    }

    private func fill(
        _ records: inout RecordBatch, from batch: LineBatch, lines: [fg_line],
        rows: inout fg_rows
    ) {
        let capacity = lines.count
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
                        fg_decode(
                            plan, batch.bytes, Int64(batch.bytes.count), lines,
                            Int64(capacity), &rows)
                        count = Int(rows.row_count)
                    }
                    count = Int(rows.row_count)
                }
                timeCount = Int(rows.row_count)
            }
            valueCount = Int(rows.row_count) * featureCount
        }
        records.rowCount = Int(rows.row_count)
        records.values = values
        records.times = times
        records.lineIndices = lineIndices
        records.offsets = offsets
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
