import CParsers
import Synchronization

/// Turns the lines of one input into records of one schema.
///
/// Columns are found by name, in any order; those that the schema does not name are skipped, and
/// not looked at. Every line becomes a record or a fault.
public struct RecordDecoder: Sendable {
    /// How lines are read.
    public let format: FormatOptions
    /// What a record holds.
    public let schema: Schema
    /// The columns of the input, once its header is known; CSV only.
    public private(set) var columnNames: [String]?

    private var plan: ParserPlan?

    /// A decoder for one input.
    ///
    /// - Parameters:
    ///   - format: How lines are read.
    ///   - schema: The columns to read.
    public init(format: FormatOptions, schema: Schema) {
        self.format = format
        self.schema = schema
    }

    /// Decodes a batch.
    ///
    /// - Parameters:
    ///   - batch: Lines of the input that this decoder belongs to, in the input's order.
    ///   - run: Calls its body once with each number below a count, on several threads if it likes; what is decoded does not
    ///     depend on it. The default is one call after the other.
    /// - Returns: A record or a fault for each line.
    /// - Throws: `IngestError` if the header lacks columns that the schema names, or is not a
    ///   header, or the schema has more than `Schema.featureLimit` features. A bad row never throws.
    public mutating func decode(
        _ batch: LineBatch, run: PartRun = { count, body in (0..<count).forEach(body) }
    ) throws(IngestError) -> DecodedBatch {
        if let header = batch.header, format.format == .csv {
            try readHeader(header, input: batch.inputName)
        } else if plan == nil {
            try startWithoutHeader(batch)
        }
        guard let plan, !batch.lines.isEmpty else {
            return DecodedBatch(
                records: RecordBatch(schema: schema), faults: oversizeFaults(of: batch))
        }
        let (records, found) = Self.decode(batch, by: plan, run)
        let faults = found.map { describe($0, in: batch) }
        return DecodedBatch(records: records, faults: faults)
    }

    /// A way to call a body with each number below a count.
    public typealias PartRun = (_ count: Int, _ body: @Sendable (Int) -> Void) -> Void

    /// Lines that are decoded in one go.
    private static let partLines = 2_048

    /// Decodes the parts of a batch, and puts them together in their order.
    private static func decode(
        _ batch: LineBatch, by plan: ParserPlan, _ run: PartRun
    ) -> (RecordBatch, [fg_fault]) {
        let partCount = (batch.lines.count + partLines - 1) / partLines
        guard partCount > 1 else { return plan.decode(batch, lines: batch.lines.indices) }
        let parts = Mutex([Int: (records: RecordBatch, faults: [fg_fault])]())
        run(partCount) { part in
            let first = part * partLines
            let lines = first..<min(first + partLines, batch.lines.count)
            let decoded = plan.decode(batch, lines: lines)
            parts.withLock { $0[part] = decoded }
        }
        let decoded = parts.withLock { parts in (0..<partCount).compactMap { parts[$0] } }
        return (RecordBatch(joining: decoded.map(\.records)), decoded.flatMap(\.faults))
    }

    private mutating func readHeader(_ header: [UInt8], input: String) throws(IngestError) {
        let names = try CSV.columnNames(header: header, options: format, input: input)
        try use(names, input: input)
    }

    private mutating func startWithoutHeader(_ batch: LineBatch) throws(IngestError) {
        switch format.format {
        case .ndjson:
            try checkRoles(input: batch.inputName)
            plan = ParserPlan(keyed: schema, options: format)
        case .influx:
            try checkRoles(input: batch.inputName)
            if let time = schema.time, time != RecordFormat.influxTime {
                throw .missingColumns(
                    input: batch.inputName, missing: [time], present: [RecordFormat.influxTime])
            }
            plan = ParserPlan(keyed: schema, options: format)
        case .csv:
            if let names = format.columns {
                try CSV.check(names, input: batch.inputName)
                try use(names, input: batch.inputName)
            } else if batch.lines.contains(where: { !$0.isOversize }) {
                throw .headerMissing(input: batch.inputName)
            }
        }
    }

    /// Finds the schema's columns among those of the input.
    private mutating func use(_ names: [String], input: String) throws(IngestError) {
        try CSV.check(format)
        try checkRoles(input: input)
        var roles: [String: Int32] = [:]
        for (index, column) in schema.columns.enumerated() { roles[column] = Int32(index) }
        if let time = schema.time { roles[time] = Int32(FG_COLUMN_TIME) }
        let present = Set(names)
        let missing = (schema.columns + [schema.time].compactMap(\.self)).filter {
            !present.contains($0)
        }
        guard missing.isEmpty else {
            throw .missingColumns(input: input, missing: missing, present: names)
        }
        columnNames = names
        plan = ParserPlan(
            csvColumns: names.map { roles[$0] ?? Int32(FG_COLUMN_SKIPPED) }, schema: schema,
            options: format)
    }

    private func checkRoles(input: String) throws(IngestError) {
        try schema.checkColumnCount(input: input)
        var seen: Set<String> = []
        for name in schema.columns + [schema.time].compactMap(\.self)
        where !seen.insert(name).inserted {
            throw .columnUsedTwice(name)
        }
    }

    /// The faults of a batch that no plan exists for yet: its first lines are too long.
    private func oversizeFaults(of batch: LineBatch) -> [RowFault] {
        batch.lines.indices.map { index in
            var fault = fg_fault()
            fault.line = Int64(index)
            fault.cell_start = -1
            fault.code = Int32(FG_FAULT_OVERSIZE_LINE)
            fault.column = Int32(FG_COLUMN_SKIPPED)
            return describe(fault, in: batch)
        }
    }

    private func describe(_ fault: fg_fault, in batch: LineBatch) -> RowFault {
        let line = batch.lines[Int(fault.line)]
        var column: String?
        if fault.column == FG_COLUMN_TIME {
            column = schema.time
        } else if fault.column >= 0 {
            column = schema.columns[Int(fault.column)]
        }
        let (code, reason) = FaultText.of(
            fault, column: column, content: batch.content(ofLine: Int(fault.line)),
            format: format)
        return RowFault(
            lineIndex: Int(fault.line), lineNumber: line.number, offset: line.offset,
            column: column, columnNumber: fault.cell_start >= 0 ? Int(fault.cell_start) + 1 : nil,
            code: code, reason: reason)
    }
}
