/// What was found out about the columns of an input.
public struct InferredSchema: Sendable, Hashable {
    /// The columns of a record.
    public var schema: Schema
    /// Columns with content of another kind, or numbers that tell nothing of the machine, which
    /// nobody named or excluded; empty where the features are named.
    public var leftOut: [LeftOut]
    /// Features that only rise, which nobody named: what counts on leaves the range that is learned.
    public var rising: [String] = []
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

    /// From so many records on it counts how many of them have a number in a column.
    private static let leastRecords = 40

    /// What the cells of a column hold, over the lines that were looked at.
    private struct Column {
        /// Empty where the header has none.
        var name: String
        /// Cells that hold a value.
        var cells = 0
        var numbers = 0
        var lastNumber = Double.nan
        var rise = Rise()
        /// Texts that look like a number with a unit.
        var measures = 0
        var isNumeric = true
        var hasTime = false
        var isTime = true
        var hasBoolean = false
        var isBoolean = true
        var isNested = false
        /// The first cell with a value, and the first that is no number.
        var firstCell: [UInt8]?
        var firstText: [UInt8]?

        var isFeature: Bool { numbers > 0 && isNumeric && !name.isEmpty }
        var isCategory: Bool { hasBoolean && isBoolean && !name.isEmpty }
        var holdsMeasures: Bool { 2 * measures > cells - numbers }
        var example: String? { firstCell.map { Printable.quoted($0) } }

        /// Why a feature is none after all, of so many records.
        func flaw(records: Int) -> InferredSchema.LeftOut.Content? {
            if rise.countsRecords { return .rowNumbers }
            return records >= leastRecords && 2 * numbers < records ? .sparse : nil
        }

        /// The column as one that is left out; `nil` for one that is not, and for what cannot be a column.
        ///
        /// - Parameter position: In the header, from 1.
        func leftOut(position: Int) -> InferredSchema.LeftOut? {
            guard !isFeature, !isCategory, !isNested, name != "_measurement" else { return nil }
            guard !name.isEmpty else {
                return numbers > 0 && isNumeric
                    ? .init(name: "column \(position)", content: .unnamed) : nil
            }
            guard let text = firstText ?? firstCell else {
                return .init(name: name, content: .nothing)
            }
            // "5,123" is also a number of seconds.
            if hasTime && isTime && !holdsMeasures { return .init(name: name, content: .times) }
            let patterns = DetectedFormat.patterns(of: text)
            let content: InferredSchema.LeftOut.Content =
                if !patterns.isEmpty {
                    .dates
                } else if holdsMeasures {
                    .measures
                } else if 2 * numbers > cells {
                    .mixed
                } else {
                    .text
                }
            return .init(
                name: name, content: content, example: Printable.quoted(text), patterns: patterns)
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
    ///     one that holds at least one number, and besides numbers only missing values. One that
    ///     counts the records, or has a number in fewer than half of forty records or more, is
    ///     left out, unless all are such.
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
        let columns: [Column]
        /// Lines that hold a number.
        let records: Int
        switch format.format {
        case .csv:
            let names = try csvNames(batch, hasLines: !lines.isEmpty, format: format)
            let isLookedAt = names.count <= columnLimit || features != nil
            (columns, records) = csvColumns(
                names, batch, lines: isLookedAt ? Array(lines) : [], reader: reader)
        case .ndjson, .influx:
            let named = Set((features ?? []) + categories + [time].compactMap(\.self))
            (columns, records) = keyedColumns(batch, lines: lines, reader: reader, named: named)
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
        let candidates = others.filter(\.isFeature)
        var flaws: [String: InferredSchema.LeftOut.Content] = [:]
        for column in candidates { flaws[column.name] = column.flaw(records: records) }
        if flaws.count == candidates.count { flaws = [:] }
        let numbers =
            features?.filter { !booleans.contains($0) }
            ?? candidates.map(\.name).filter { flaws[$0] == nil }
        guard !numbers.isEmpty else {
            let hasCommas = hasDecimalCommas(batch, format: format)
            throw .noNumericColumns(
                input: input, present: others.map(\.name), hasDecimalCommas: hasCommas,
                measures: hasCommas ? [] : others.filter(\.holdsMeasures).map(\.name))
        }
        let schema = Schema(
            features: numbers, categories: categories + booleans, time: timeColumn)
        try schema.checkColumnCount(input: input)
        guard features == nil else { return InferredSchema(schema: schema, leftOut: []) }
        let passedOver = Set(exclude + categories + [timeColumn].compactMap(\.self))
        return InferredSchema(
            schema: schema,
            leftOut: zip(columns, 1...).compactMap { column, position in
                if passedOver.contains(column.name) { return nil }
                return flaws[column.name].map { .init(name: column.name, content: $0) }
                    ?? column.leftOut(position: position)
            },
            rising: candidates.filter { $0.rise.isSteady && flaws[$0.name] == nil }.map(\.name))
    }

    /// Infers what each line of a batch holds by itself: for those who decide by many lines.
    ///
    /// Lines that tell nothing, as they have no number or another count of cells, come as `nil`.
    ///
    /// - Parameters:
    ///   - batch: Lines of one input, with its header.
    ///   - format: How lines are read.
    ///   - time: The time column, if the user names it.
    ///   - take: Takes the numeric columns, those of true and false, and the time of a line, and
    ///     its numbers in the order of the columns; `false` ends it.
    /// - Throws: `IngestError` if the header is none, or has more than `columnLimit` columns.
    public static func inferEach(
        _ batch: LineBatch, format: FormatOptions, time: String?,
        _ take: (Schema?, [Double]) -> Bool
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
                if take(nil, []) { continue } else { return }
            }
            let columns =
                format.format == .csv
                ? csvColumns(names, batch, lines: [line], reader: reader).columns
                : keyedColumns(batch, lines: [line], reader: reader, named: []).columns
            let found = schema(of: columns, time: time)
            let numbers = columns.filter { $0.isFeature && $0.name != found?.time }
            guard take(found, numbers.map(\.lastNumber)) else { return }
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
            try CSV.checkText(header, input: batch.inputName)
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
    ) -> (columns: [Column], records: Int) {
        var columns = names.map { Column(name: $0) }
        var records = 0
        for line in lines {
            let cells = CSV.cells(
                of: batch.content(ofLine: line), delimiter: reader.format.delimiter)
            guard cells.count == columns.count else { continue }
            var holdsNumber = false
            for (index, cell) in cells.enumerated() {
                let isNumber = reader.look(at: cell, isText: false, column: &columns[index])
                holdsNumber = holdsNumber || isNumber
            }
            if holdsNumber { records += 1 }
        }
        return (columns, records)
    }

    /// The keys of NDJSON records and of points, in the order of their first appearance.
    private static func keyedColumns(
        _ batch: LineBatch, lines: some Collection<Int>, reader: CellReader, named: Set<String>
    ) -> (columns: [Column], records: Int) {
        var columns: [Column] = []
        var records = 0
        var indexOfKey: [String: Int] = [:]
        let visitsElements = named.contains { $0.contains(".") }
        for line in lines {
            var holdsNumber = false
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
                let isNumber = reader.look(at: value, column: &columns[index])
                holdsNumber = holdsNumber || isNumber
            }
            if holdsNumber { records += 1 }
        }
        return (columns, records)
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

        /// Notes what a value says of its column; `true` for a number.
        func look(at value: KeyedValue, column: inout Column) -> Bool {
            switch value.type {
            case .number:
                return look(at: Array(value.bytes), isText: false, column: &column)
            case .string, .tag, .measurement:
                return look(at: Array(value.bytes), isText: true, column: &column)
            case .boolean: return look(at: booleans[0], isText: true, column: &column)
            case .null: return false
            case .time:
                // Not a number as others: what it is was said by its place.
                column.isNumeric = false
                column.isBoolean = false
                column.hasTime = true
                column.firstCell = column.firstCell ?? Array(value.bytes)
                return false
            case .array:
                column.isNumeric = false
                column.isTime = false
                column.isBoolean = false
                column.isNested = true
                return false
            }
        }

        /// Notes what a cell says of its column; `true` for a number.
        func look(at cell: [UInt8], isText: Bool, column: inout Column) -> Bool {
            guard !missing.contains(cell) else { return false }
            column.cells += 1
            column.firstCell = column.firstCell ?? cell
            let number = CSV.number(cell, decimalMark)
            if let number, !isText {
                column.numbers += 1
                column.lastNumber = number
                column.rise.add(number)
            } else {
                column.isNumeric = false
                column.firstText = column.firstText ?? cell
                if number == nil, MeasureText.isOne(cell) { column.measures += 1 }
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
            return number != nil && !isText
        }
    }
}
