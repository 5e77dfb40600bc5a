/// A column that says of each record whether it is known to be an anomaly: 0 and 1, or true and false.
///
/// It is read beside the records, of the same lines, and no part of them.
public struct LabelColumn: Sendable {
    /// The column's name.
    public let name: String

    private let format: FormatOptions
    /// Which cell of a CSV line it is, and how many there are.
    private var place: (index: Int, count: Int)?

    /// A column of one input.
    public init(name: String, format: FormatOptions) {
        self.name = name
        self.format = format
    }

    /// The labels of a batch's lines; `nil` where a line has none.
    ///
    /// - Parameter batch: The next lines of the input; the first batch has its header.
    /// - Throws: `missingColumns` when the header lacks the column; `notALabel` for another value in it.
    public mutating func labels(of batch: LineBatch) throws(IngestError) -> [Bool?] {
        if format.format == .csv { try findPlace(in: batch) }
        var labels: [Bool?] = []
        labels.reserveCapacity(batch.lines.count)
        for line in batch.lines.indices {
            guard !batch.lines[line].isOversize, let cell = cell(of: batch.content(ofLine: line))
            else {
                labels.append(nil)
                continue
            }
            labels.append(try label(cell, batch.lines[line].number, batch.inputName))
        }
        return labels
    }

    private mutating func findPlace(in batch: LineBatch) throws(IngestError) {
        let names: [String]
        if let header = batch.header {
            names = try CSV.columnNames(header: header, options: format, input: batch.inputName)
        } else if let given = format.columns, place == nil {
            names = given
        } else {
            return
        }
        guard let index = names.firstIndex(of: name) else {
            throw .missingColumns(input: batch.inputName, missing: [name], present: names)
        }
        place = (index, names.count)
    }

    private func cell(of line: ArraySlice<UInt8>) -> [UInt8]? {
        switch format.format {
        case .csv:
            let cells = CSV.cells(of: line, delimiter: format.delimiter)
            return place.flatMap { $0.count == cells.count ? cells[$0.index] : nil }
        case .ndjson, .influx:
            return value(in: line)
        }
    }

    /// The text of the value under the key.
    private func value(in line: ArraySlice<UInt8>) -> [UInt8]? {
        let key = Array(name.utf8)
        var found: [UInt8]?
        visitValues(of: line, format: format.format, visitsElements: true) { value in
            guard value.type != .null, value.key.elementsEqual(key) else { return }
            found = value.type == .array ? Array("an array".utf8) : Array(value.bytes)
        }
        return found
    }

    private func label(
        _ cell: [UInt8], _ line: Int64, _ input: String
    ) throws(IngestError) -> Bool? {
        if format.missingValues.contains(where: { $0.utf8.elementsEqual(cell) }) { return nil }
        switch String(decoding: cell, as: UTF8.self).lowercased() {
        case "true": return true
        case "false": return false
        default: break
        }
        if let value = CSV.number(cell, format.decimalMark), value == 0 || value == 1 {
            return value == 1
        }
        throw .notALabel(
            input: input, line: line, column: name, found: Printable.quoted(cell))
    }
}
