import Ingest

/// The values of an NDJSON object or a point as cells of a table: for output only, one line at a time.
enum KeyedCells {
    static func split(
        _ line: ArraySlice<UInt8>, _ format: FormatOptions, _ schema: Schema
    ) -> [(name: String, text: String)] {
        guard format.format == .ndjson else {
            return (PointText.members(of: line) ?? []).map { ($0.name, $0.text) }
        }
        // Where the model reads a key within another, all of these are columns of their own.
        let isNested = schema.columns.contains { $0.contains(".") }
        return JSONMembers.flattened(line, isNested: isNested).map {
            ($0.name, JSONMembers.cell($0.value))
        }
    }
}

/// The cells of a CSV line as text, quotes resolved: for output only, one line at a time.
enum CSVCells {
    static func split(_ line: ArraySlice<UInt8>, delimiter: UInt8) -> [String] {
        var cells: [String] = []
        var cell: [UInt8] = []
        var isQuoted = false
        var i = line.startIndex
        while i < line.endIndex {
            let byte = line[i]
            if isQuoted {
                if byte == UInt8(ascii: "\"") {
                    let next = line.index(after: i)
                    if next < line.endIndex, line[next] == byte {
                        cell.append(byte)
                        i = next
                    } else {
                        isQuoted = false
                    }
                } else {
                    cell.append(byte)
                }
            } else if byte == UInt8(ascii: "\""), cell.isEmpty {
                isQuoted = true
            } else if byte == delimiter {
                cells.append(String(decoding: cell, as: UTF8.self))
                cell = []
            } else {
                cell.append(byte)
            }
            i = line.index(after: i)
        }
        cells.append(String(decoding: cell, as: UTF8.self))
        return cells
    }
}
