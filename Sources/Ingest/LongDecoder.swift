/// Turns the lines of one input of long rows into points.
///
/// Names of columns: the texts of the series put together with dots, `roof.temperature`; with more
/// than one value column, and in line protocol, the value's name behind them, `cpu.cpu0.usage_user`.
/// A point of line protocol that lacks a tag of the series has a name without it.
public struct LongDecoder: Sendable {
    /// The name of the measurement among the columns of a point.
    package static let measurement = "_measurement"
    /// Times are read up to so many seconds before and after 1970.
    private static let timeLimit = 1e11

    private let rows: LongRows
    private let isInflux: Bool
    private var decoder: RecordDecoder
    /// What stands for no value in a field of line protocol.
    private let missing: Set<[UInt8]>

    /// A decoder for one input.
    ///
    /// - Parameters:
    ///   - rows: What the rows hold.
    ///   - format: How lines are read.
    ///   - time: The name of the time column; line protocol has its own.
    public init(_ rows: LongRows, format: FormatOptions, time: String) {
        self.rows = rows
        isInflux = format.format == .influx
        missing = Set(format.missingValues.map { Array($0.utf8) })
        let schema =
            isInflux
            ? Schema(
                features: [], categories: [Self.measurement] + rows.series,
                optional: Set(rows.series), time: time)
            : Schema(
                features: rows.values, categories: rows.series,
                optional: rows.values.count > 1 ? Set(rows.values) : [], time: time)
        decoder = RecordDecoder(format: format, schema: schema)
    }

    /// Decodes a batch.
    ///
    /// - Parameters:
    ///   - batch: Lines of the input that this decoder belongs to, in the input's order.
    ///   - columns: The columns that numbers are expected in.
    /// - Throws: `IngestError` if the header lacks a column. A bad row never throws.
    mutating func decode(
        _ batch: LineBatch, columns: [String]
    ) throws(IngestError) -> LongPoints {
        let decoded = try decoder.decode(batch)
        let records = decoded.records
        var points = LongPoints()
        points.faults = decoded.faults
        points.points.reserveCapacity(records.rowCount)
        var names = ColumnNames()
        // Only a field of line protocol may be a number in one point and a text in another.
        let expected = isInflux ? Set(columns) : []
        let width = records.schema.categories.count
        for row in 0..<records.rowCount {
            let line = Int(records.lineIndices[row])
            guard abs(records.times[row]) < Self.timeLimit else {
                points.faults.append(fault(time: records.times[row], line: line, in: batch))
                continue
            }
            let codes = records.categories.codes[(row * width)..<((row + 1) * width)]
            let series = names.series(codes, texts: records.categories.texts)
            let begin = points.cells.count
            var fault: RowFault?
            if isInflux {
                fault = readFields(line, of: batch, series, expected, &names, into: &points.cells)
            } else {
                for (index, value) in records.row(row).enumerated() where !value.isNaN {
                    let field = rows.values.count > 1 ? rows.values[index] : nil
                    points.cells.append(.init(name: names.column(series, field), value: value))
                }
                if begin == points.cells.count { fault = self.fault(valueIn: line, of: batch) }
            }
            if let fault {
                points.cells.removeSubrange(begin...)
                points.faults.append(fault)
                continue
            }
            points.points.append(
                .init(
                    time: Int64((records.times[row] * 1e6).rounded()), lineIndex: line,
                    cells: begin..<points.cells.count))
        }
        points.names = names.all
        return points
    }

    /// The fields of a point that are numbers.
    ///
    /// - Returns: What is wrong: a field that is a column is none.
    private func readFields(
        _ line: Int, of batch: LineBatch, _ series: Int, _ expected: Set<String>,
        _ names: inout ColumnNames, into cells: inout [LongPoints.Cell]
    ) -> RowFault? {
        var fault: RowFault?
        var isRead = Set<Int>()
        let content = batch.content(ofLine: line)
        visitValues(of: content, format: .influx) { value in
            let field = String(decoding: value.key, as: UTF8.self)
            let bytes = Array(value.bytes)
            guard [.number, .string, .boolean].contains(value.type),
                rows.values.isEmpty || rows.values.contains(field), !missing.contains(bytes)
            else { return }
            if value.type == .number, let number = CSV.number(bytes) {
                let name = names.column(series, field)
                if isRead.insert(name).inserted {
                    cells.append(.init(name: name, value: number))
                } else {
                    fault = fault ?? twice(names.all[name], line: line, in: batch)
                }
            } else if expected.contains(names.name(series, field)) {
                let name = names.name(series, field)
                let found =
                    (value.type == .string ? "the string " : "") + Printable.quoted(value.bytes)
                fault =
                    fault
                    ?? self.fault(
                        .notANumber, column: name, "expected a number, found \(found)", line: line,
                        in: batch)
            }
        }
        return fault
    }

    private func twice(_ column: String, line: Int, in batch: LineBatch) -> RowFault {
        fault(
            .badSyntax, column: column, "expected the key once, found it again", line: line,
            in: batch)
    }

    private func fault(time: Double, line: Int, in batch: LineBatch) -> RowFault {
        fault(
            .badTime, column: decoder.schema.time ?? "",
            "expected a time before the year 5138, found \(time) seconds since 1970", line: line,
            in: batch)
    }

    private func fault(valueIn line: Int, of batch: LineBatch) -> RowFault {
        fault(
            .missingValue, column: rows.values.joined(separator: ", "),
            "expected a value in one of them, found none", line: line, in: batch)
    }

    private func fault(
        _ code: FaultCode, column: String, _ reason: String, line: Int, in batch: LineBatch
    ) -> RowFault {
        RowFault(
            lineIndex: line, lineNumber: batch.lines[line].number,
            offset: batch.lines[line].offset, column: column, code: code,
            reason: "column \(Printable.quoted(Array(column.utf8))): \(reason)")
    }
}

/// The names of the columns of a batch, each put together once.
private struct ColumnNames {
    private(set) var all: [String] = []
    private var places: [String: Int] = [:]
    private var seriesNames: [String] = []
    private var seriesOfCodes: [ArraySlice<Int32>: Int] = [:]
    /// The columns of each series by the value's name; `""` where there is one value only.
    private var columns: [[String: Int]] = []

    /// The number of the series that these texts name; those that are missing are left out.
    mutating func series(_ codes: ArraySlice<Int32>, texts: [String]) -> Int {
        if let known = seriesOfCodes[codes] { return known }
        let parts = codes.filter { $0 != CategoryTable.missing }.map { texts[Int($0)] }
        let series = seriesNames.count
        seriesNames.append(parts.joined(separator: "."))
        columns.append([:])
        seriesOfCodes[codes] = series
        return series
    }

    func name(_ series: Int, _ field: String?) -> String {
        field.map { seriesNames[series] + "." + $0 } ?? seriesNames[series]
    }

    mutating func column(_ series: Int, _ field: String?) -> Int {
        if let known = columns[series][field ?? ""] { return known }
        let name = name(series, field)
        let place = places[name] ?? all.count
        if place == all.count {
            all.append(name)
            places[name] = place
        }
        columns[series][field ?? ""] = place
        return place
    }
}
