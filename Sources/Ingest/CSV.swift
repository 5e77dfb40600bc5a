import CParsers

/// The parts of CSV that are read once an input, in Swift: the header.
///
/// Lines are read in C++.
enum CSV {
    /// The bytes of each cell of a line, without quotes and without spaces around them.
    ///
    /// As the decoder reads it: a cell in quotes may hold the delimiter, and `""` is a quote. What
    /// is behind a closing quote and is not the delimiter is kept as a part of the cell.
    static func cells(of line: some Collection<UInt8>, delimiter: UInt8) -> [[UInt8]] {
        let quote = UInt8(ascii: "\"")
        let bytes = Array(line)
        var cells: [[UInt8]] = []
        var index = 0
        repeat {
            var cell: [UInt8] = []
            while index < bytes.count, isPadding(bytes[index], delimiter) { index += 1 }
            if index < bytes.count, bytes[index] == quote {
                index += 1
                while index < bytes.count {
                    if bytes[index] != quote {
                        cell.append(bytes[index])
                        index += 1
                    } else if index + 1 < bytes.count, bytes[index + 1] == quote {
                        cell.append(quote)
                        index += 2
                    } else {
                        index += 1
                        break
                    }
                }
                while index < bytes.count, isPadding(bytes[index], delimiter) { index += 1 }
            }
            let end = bytes[index...].firstIndex(of: delimiter) ?? bytes.count
            var rest = bytes[index..<end]
            while let last = rest.last, isPadding(last, delimiter) { rest.removeLast() }
            cells.append(cell + rest)
            index = end + 1
        } while index <= bytes.count
        return cells
    }

    private static func isPadding(_ byte: UInt8, _ delimiter: UInt8) -> Bool {
        (byte == 0x20 || byte == 0x09) && byte != delimiter
    }

    /// The column names of a header line.
    static func columnNames(
        header: [UInt8], options: FormatOptions, input: String
    ) throws(IngestError) -> [String] {
        try checkText(header, input: input)
        let names = cells(of: header, delimiter: options.delimiter).map {
            String(decoding: $0, as: UTF8.self)
        }
        try check(names, input: input)
        return names
    }

    /// Whether a line is a record under a header, and no header itself.
    ///
    /// It is one if it has as many cells, holds a number where the header holds none, and names no
    /// column as the header does there.
    static func isRecord(_ line: [UInt8], under header: [UInt8], format: FormatOptions) -> Bool {
        let names = cells(of: header, delimiter: format.delimiter)
        let cells = cells(of: line, delimiter: format.delimiter)
        guard cells.count == names.count else { return false }
        let mark = format.decimalMark
        let pairs = zip(cells, names)
        return pairs.contains { isNumber($0, mark) && !isNumber($1, mark) }
            && !pairs.contains { !$0.isEmpty && $0 == $1 }
    }

    /// Whether the first line of an input that follows another is a header, and not what its writer went on with.
    ///
    /// It is none if it is a record under the header before; nor if it has fewer cells than that, and among them a number and
    /// none of its names: such is the rest of a line whose beginning went when the file was emptied.
    ///
    /// - Parameter needed: The columns that a header must have, if they are known: one that names none of those before is
    ///   none without them, and the line a bad one.
    static func isHeader(
        _ line: [UInt8], after header: [UInt8], format: FormatOptions, needed: Set<String>? = nil
    ) -> Bool {
        if isRecord(line, under: header, format: format) { return false }
        let names = cells(of: header, delimiter: format.delimiter)
        let cells = cells(of: line, delimiter: format.delimiter)
        if cells.contains(where: { !$0.isEmpty && names.contains($0) }) { return true }
        if let needed {
            return needed.isSubset(of: cells.map { String(decoding: $0, as: UTF8.self) })
        }
        let holdsNumber = cells.contains { isNumber($0, format.decimalMark) }
        return cells.count >= names.count || !holdsNumber
            || names.contains { isNumber($0, format.decimalMark) }
    }

    /// Whether no cell of a first line can be the name of a column: each is a number, a time, or empty.
    static func holdsNoName(_ cells: [[UInt8]], format: FormatOptions) -> Bool {
        let others = cells.filter { !$0.isEmpty && !isNumber($0, format.decimalMark) }
        guard !others.isEmpty else { return true }
        let time = TimeParser(format.time)
        return others.allSatisfy { $0.withUnsafeBufferPointer(time.parse) != nil }
    }

    /// Whether the first line of a client is a record, though a header was to come first.
    ///
    /// - Parameter needed: The columns that a header must have, if they are known: it names one of them.
    static func lacksHeader(
        _ line: [UInt8], format: FormatOptions, needed: Set<String>?
    ) -> Bool {
        let cells = cells(of: line, delimiter: format.delimiter)
        guard let needed, !needed.isEmpty else { return holdsNoName(cells, format: format) }
        return !cells.contains { needed.contains(String(decoding: $0, as: UTF8.self)) }
    }

    /// Whether a cell is a number from its first to its last byte.
    static func isNumber(_ cell: [UInt8], _ decimalMark: UInt8 = UInt8(ascii: ".")) -> Bool {
        number(cell, decimalMark) != nil
    }

    /// The number that a cell is; infinities and NaN are numbers.
    static func number(_ cell: [UInt8], _ decimalMark: UInt8 = UInt8(ascii: ".")) -> Double? {
        var value = 0.0
        return fg_number_parse(cell, Int64(cell.count), decimalMark, &value) ? value : nil
    }

    /// Throws if a name occurs twice or there is none.
    ///
    /// Empty names are allowed: pandas writes one for its index.
    static func check(_ names: [String], input: String) throws(IngestError) {
        guard names.contains(where: { !$0.isEmpty }) else { throw .emptyHeader(input: input) }
        var seen: Set<String> = []
        for name in names where !name.isEmpty && !seen.insert(name).inserted {
            throw .duplicateColumn(input: input, column: name)
        }
    }

    /// Throws if a first line is not of text as it is read here: lines of UTF-8 that end with LF.
    static func checkText(
        _ header: some Collection<UInt8>, input: String
    ) throws(IngestError) {
        let start = Array(header.prefix(64))
        let halves = [0, 1].map { half in start.indices.filter { $0 % 2 == half } }
        let isWide =
            header.starts(with: [0xFF, 0xFE]) || header.starts(with: [0xFE, 0xFF])
            || (start.count >= 4
                && halves.contains { half in half.allSatisfy { start[$0] == 0 } })
        guard !isWide else { throw .wideCharacters(input: input) }
        // Other bytes are no text at all, and are told as what they are.
        guard String(validating: header, as: UTF8.self) != nil else { return }
        let pairs = zip(header, header.dropFirst())
        guard !pairs.contains(where: { $0 == 0x0D && $1 != 0x0A }) else {
            throw .bareReturns(input: input)
        }
    }

    /// Throws if cells could not be told from what they hold.
    static func check(_ format: FormatOptions) throws(IngestError) {
        let delimiter = format.delimiter
        let isAlphanumeric =
            (0x30...0x39).contains(delimiter) || (0x41...0x5A).contains(delimiter)
            || (0x61...0x7A).contains(delimiter)
        let isInUse =
            [0x22, 0x2B, 0x2D, 0x2E, 0x0A, 0x0D].contains(delimiter)
            || delimiter == format.decimalMark
        if isAlphanumeric || isInUse || delimiter > 0x7E {
            throw .unusableDelimiter(delimiter)
        }
    }
}
