/// What was found out about the columns of an input.
public struct InferredSchema: Sendable, Hashable {
    /// A column that is neither feature nor category nor time.
    public struct LeftOut: Sendable, Hashable {
        /// What its cells hold.
        public enum Content: String, Sendable, Hashable, Codable {
            /// Texts: it may be named as a category.
            case text
            /// Times: the difference to the record's time tells little, a column of its own does.
            case times
        }

        /// The column.
        public var name: String
        /// What its cells hold.
        public var content: Content
    }

    /// The columns of a record.
    public var schema: Schema
    /// Columns with content of another kind, which nobody named or excluded; empty where the
    /// features are named.
    public var leftOut: [LeftOut]
}

/// Finds out which columns of an input are numbers and which one is the time.
public enum SchemaInference {
    /// How many lines are looked at.
    public static let lineLimit = 200
    /// How many columns of an input are looked at, unless the features are named.
    public static let columnLimit = 4096

    /// The names that a time column has, unless one is named.
    static let timeNames: Set<String> = [
        "time", "timestamp", "datetime", "date", "ts", "@timestamp",
    ]

    /// What the cells of a column hold, over the lines that were looked at.
    private struct Column {
        var name: String
        var hasNumber = false
        var isNumeric = true
        var hasTime = false
        var isTime = true
        var hasBoolean = false
        var isBoolean = true
        var isNested = false
        var example: String?

        var isFeature: Bool { hasNumber && isNumeric && !name.isEmpty }
        var isCategory: Bool { hasBoolean && isBoolean && !name.isEmpty }

        var leftOut: InferredSchema.LeftOut? {
            guard !isFeature, !isCategory, !isNested, !name.isEmpty, example != nil,
                name != "_measurement"
            else {
                return nil
            }
            return .init(name: name, content: hasTime && isTime ? .times : .text)
        }
    }

    /// How true and false are written.
    private static let booleans = ["true", "false", "True", "False", "TRUE", "FALSE"].map {
        Array($0.utf8)
    }

    /// Infers the schema of an input from its first lines.
    ///
    /// - Parameters:
    ///   - batch: The first lines of the input, with its header.
    ///   - format: How lines are read.
    ///   - features: The feature columns, if the user names them; else every numeric column:
    ///     one that holds at least one number, and besides numbers only missing values.
    ///   - categories: The columns whose values are texts. A column that holds nothing but true
    ///     and false is one too, if it is among the features that are named or none are.
    ///   - exclude: Columns that are never features or categories.
    ///   - time: The time column, if the user names it; else the first that is called `time`,
    ///     `timestamp`, `datetime`, `date`, `ts` or `@timestamp` in any case, and holds times.
    /// - Returns: Columns in the order given or that of the input; for NDJSON, that of their
    ///   first appearance. None is optional.
    /// - Throws: `IngestError` if a named column is not there, no column is numeric, there are more
    ///   than `columnLimit` columns or `Schema.featureLimit` features, the named time cannot be
    ///   read, or there are no lines.
    public static func infer(
        _ batch: LineBatch, format: FormatOptions, features: [String]?,
        categories: [String] = [], exclude: [String] = [], time: String?
    ) throws(IngestError) -> InferredSchema {
        let input = batch.inputName
        let lines = batch.lines.indices.filter { !batch.lines[$0].isOversize }.prefix(lineLimit)
        let reader = CellReader(format)
        var columns: [Column]
        switch format.format {
        case .csv:
            let names = try csvNames(batch, hasLines: !lines.isEmpty, format: format)
            let isLookedAt = names.count <= columnLimit || features != nil
            columns = csvColumns(
                names, batch, lines: isLookedAt ? Array(lines) : [], reader: reader)
        case .ndjson, .influx:
            let named = Set((features ?? []) + categories + [time].compactMap(\.self))
            columns = keyedColumns(batch, lines: lines, reader: reader, named: named)
        }
        guard features != nil || columns.count <= columnLimit else {
            throw .tooManyColumns(input: input, limit: columnLimit)
        }
        let named = (features ?? []) + (format.format == .csv ? categories + exclude : [])
        try require(named + [time].compactMap(\.self), of: columns, input: input)
        guard !lines.isEmpty else { throw .noRecords(input: input) }

        let timeColumn = try timeColumn(
            of: columns, named: time, features: features, pattern: format.time.pattern,
            input: input)
        let others = columns.filter {
            $0.name != timeColumn && !exclude.contains($0.name) && !categories.contains($0.name)
        }
        let booleans = others.filter {
            $0.isCategory && features?.contains($0.name) != false
        }.map(\.name)
        let numbers =
            features?.filter { !booleans.contains($0) } ?? others.filter(\.isFeature).map(\.name)
        guard !numbers.isEmpty else {
            throw .noNumericColumns(
                input: input, present: others.map(\.name),
                hasDecimalCommas: hasDecimalCommas(batch, format: format))
        }
        let schema = Schema(
            features: numbers, categories: categories + booleans, time: timeColumn)
        try schema.checkColumnCount(input: input)
        return InferredSchema(
            schema: schema, leftOut: features == nil ? others.compactMap(\.leftOut) : [])
    }

    /// Infers what each line of a batch holds by itself: for those who decide by many lines.
    ///
    /// Lines that tell nothing, as they have no number or another count of cells, come as `nil`.
    ///
    /// - Parameters:
    ///   - batch: Lines of one input, with its header.
    ///   - format: How lines are read.
    ///   - time: The time column, if the user names it.
    ///   - take: Takes the numeric columns, those of true and false, and the time of a line;
    ///     `false` ends it.
    /// - Throws: `IngestError` if the header is none, or has more than `columnLimit` columns.
    public static func inferEach(
        _ batch: LineBatch, format: FormatOptions, time: String?, _ take: (Schema?) -> Bool
    ) throws(IngestError) {
        // The header is read once: it may be as long as a line may be.
        var names: [String] = []
        let reader = CellReader(format)
        if format.format == .csv {
            names = try csvNames(batch, hasLines: !batch.lines.isEmpty, format: format)
            guard names.count <= columnLimit else {
                throw .tooManyColumns(input: batch.inputName, limit: columnLimit)
            }
        }
        for line in batch.lines.indices {
            guard !batch.lines[line].isOversize else {
                if take(nil) { continue } else { return }
            }
            let columns =
                format.format == .csv
                ? csvColumns(names, batch, lines: [line], reader: reader)
                : keyedColumns(batch, lines: [line], reader: reader, named: [])
            guard take(schema(of: columns, time: time)) else { return }
        }
    }

    /// Whether a cell of the first lines is a number with a comma in it where the format has a point.
    public static func hasDecimalCommas(_ batch: LineBatch, format: FormatOptions) -> Bool {
        let comma = UInt8(ascii: ",")
        guard format.format == .csv, ![format.delimiter, format.decimalMark].contains(comma) else {
            return false
        }
        return batch.lines.indices.prefix(lineLimit).contains { line in
            CSV.cells(of: batch.content(ofLine: line), delimiter: format.delimiter).contains {
                $0.contains(comma) && CSV.isNumber($0, comma)
            }
        }
    }

    /// The numeric columns and the time among these; `nil` where there is no number, or there are too many columns.
    private static func schema(of columns: [Column], time: String?) -> Schema? {
        guard columns.count <= columnLimit else { return nil }
        let timeName =
            time
            ?? columns.first {
                timeNames.contains($0.name.lowercased()) && $0.hasTime && $0.isTime
            }?.name
        let others = columns.filter { $0.name != timeName }
        let features = others.filter(\.isFeature).map(\.name)
        let categories = others.filter(\.isCategory).map(\.name)
        return features.isEmpty
            ? nil : Schema(features: features, categories: categories, time: timeName)
    }

    private static func require(
        _ names: [String], of columns: [Column], input: String
    ) throws(IngestError) {
        let present = columns.map(\.name)
        let missing = names.filter { !present.contains($0) }
        guard missing.isEmpty else {
            throw .missingColumns(input: input, missing: missing, present: present)
        }
    }

    private static func timeColumn(
        of columns: [Column], named time: String?, features: [String]?, pattern: String?,
        input: String
    ) throws(IngestError) -> String? {
        guard let time else {
            let named = columns.filter {
                timeNames.contains($0.name.lowercased()) && features?.contains($0.name) != true
            }
            if let found = named.first(where: { $0.hasTime && $0.isTime }) { return found.name }
            // Whoever says how times are written wants them read.
            guard let pattern, !named.contains(where: \.hasTime) else { return nil }
            guard let first = named.first else {
                throw .noTimeColumn(input: input, pattern: pattern, present: columns.map(\.name))
            }
            guard let example = first.example else { return nil }
            throw .timeUnreadable(
                input: input, column: first.name, found: example, pattern: pattern)
        }
        if let column = columns.first(where: { $0.name == time }), !column.hasTime {
            throw .timeUnreadable(
                input: input, column: time, found: column.example ?? "no value",
                pattern: pattern)
        }
        return time
    }

    /// The names of a CSV input's columns.
    private static func csvNames(
        _ batch: LineBatch, hasLines: Bool, format: FormatOptions
    ) throws(IngestError) -> [String] {
        try CSV.check(format)
        if let header = batch.header {
            let cells = CSV.cells(of: header, delimiter: format.delimiter)
            if CSV.holdsNoName(cells, format: format), cells.contains(where: { !$0.isEmpty }) {
                throw .headerIsNumbers(input: batch.inputName, header: Printable.text(header))
            }
            return try CSV.columnNames(header: header, options: format, input: batch.inputName)
        }
        if let given = format.columns {
            try CSV.check(given, input: batch.inputName)
            return given
        }
        guard hasLines else { throw .noRecords(input: batch.inputName) }
        throw .headerMissing(input: batch.inputName)
    }

    private static func csvColumns(
        _ names: [String], _ batch: LineBatch, lines: some Collection<Int>, reader: CellReader
    ) -> [Column] {
        var columns = names.map { Column(name: $0) }
        for line in lines {
            let cells = CSV.cells(
                of: batch.content(ofLine: line), delimiter: reader.format.delimiter)
            guard cells.count == columns.count else { continue }
            for (index, cell) in cells.enumerated() {
                reader.look(at: cell, isText: false, column: &columns[index])
            }
        }
        return columns
    }

    /// The keys of NDJSON records and of points, in the order of their first appearance.
    private static func keyedColumns(
        _ batch: LineBatch, lines: some Collection<Int>, reader: CellReader, named: Set<String>
    ) -> [Column] {
        var columns: [Column] = []
        var indexOfKey: [String: Int] = [:]
        let visitsElements = named.contains { $0.contains(".") }
        for line in lines {
            visitValues(
                of: batch.content(ofLine: line), format: reader.format.format,
                visitsElements: visitsElements
            ) { value in
                let name = String(decoding: value.key, as: UTF8.self)
                guard !value.isElement || named.contains(name) else { return }
                let index = indexOfKey[name] ?? columns.count
                if index == columns.count {
                    // One more than the limit shows that there are more.
                    guard columns.count <= columnLimit || named.contains(name) else { return }
                    columns.append(Column(name: name))
                    indexOfKey[name] = index
                }
                reader.look(at: value, column: &columns[index])
            }
        }
        return columns
    }

    /// Looks at cells.
    private struct CellReader {
        let format: FormatOptions
        private let missing: [[UInt8]]
        private let time: TimeParser
        private let decimalMark: UInt8

        init(_ format: FormatOptions) {
            self.format = format
            missing = format.missingValues.map { Array($0.utf8) }
            time = TimeParser(format.time)
            decimalMark = format.format == .csv ? format.decimalMark : UInt8(ascii: ".")
        }

        func look(at value: KeyedValue, column: inout Column) {
            switch value.type {
            case .number: look(at: Array(value.bytes), isText: false, column: &column)
            case .string, .tag, .measurement:
                look(at: Array(value.bytes), isText: true, column: &column)
            case .boolean: look(at: booleans[0], isText: true, column: &column)
            case .null: break
            case .time:
                // Not a number as others: what it is was said by its place.
                column.isNumeric = false
                column.isBoolean = false
                column.hasTime = true
                column.example = column.example ?? Printable.quoted(value.bytes)
            case .array:
                column.isNumeric = false
                column.isTime = false
                column.isBoolean = false
                column.isNested = true
            }
        }

        func look(at cell: [UInt8], isText: Bool, column: inout Column) {
            guard !missing.contains(cell) else { return }
            if column.example == nil { column.example = Printable.quoted(cell) }
            if !isText, CSV.isNumber(cell, decimalMark) {
                column.hasNumber = true
            } else {
                column.isNumeric = false
            }
            if booleans.contains(cell) {
                column.hasBoolean = true
            } else {
                column.isBoolean = false
            }
            if cell.withUnsafeBufferPointer(time.parse) != nil {
                column.hasTime = true
            } else {
                column.isTime = false
            }
        }
    }
}
