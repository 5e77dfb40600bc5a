import Ingest
import Yams

/// How the lines of a stream become records.
extension ConfigurationReader {
    /// The format of a stream's lines, and the time column where it is named.
    mutating func format(
        of section: Section, source: SourceConfiguration?
    ) -> (FormatOptions, timeColumn: String?) {
        let place = section.place
        var name = Self.defaultFormat(of: source)
        if let node = section["format"],
            let choice = choice(node, "\(place): format", of: FormatName.self)
        {
            name = choice
        }
        var format = name.options
        readCells(of: section, into: &format)
        if let node = section["missing_values"],
            let values = texts(
                node, "\(place): missing_values", expected: "cell texts", allowsEmpty: true)
        {
            format.missingValues = values
        }
        if let node = section["max_line_bytes"],
            let bytes = integer(node, "\(place): max_line_bytes", in: 64...(64 << 20))
        {
            format.maxLineBytes = bytes
        }
        for key in ["delimiter", "decimal_mark", "comment", "columns"] where format.format != .csv {
            if let node = section[key] {
                report(
                    node, "\(place): \(key) is for csv, the format is \(name.rawValue)",
                    hint: "remove \(key), or set format: csv")
            }
        }
        // First the call: a tuple would hold the format as it was before it.
        let timeColumn = readTime(of: section, into: &format)
        return (format, timeColumn)
    }

    /// What is special to CSV.
    private mutating func readCells(of section: Section, into format: inout FormatOptions) {
        let place = section.place
        if let node = section["decimal_mark"],
            let byte = character(
                node, "\(place): decimal_mark", expected: "'.' or ','",
                where: { [0x2E, 0x2C].contains($0) })
        {
            format.decimalMark = byte
            // Where the comma is in numbers, the semicolon is between them.
            if byte == format.delimiter { format.delimiter = 0x3B }
        }
        if let node = section["delimiter"],
            let byte = character(
                node, "\(place): delimiter", expected: "one ASCII character that is no quote",
                where: { $0 != 0x22 })
        {
            format.delimiter = byte
            if byte == format.decimalMark {
                report(
                    node, "\(place): delimiter: the decimal mark cannot be the delimiter too",
                    hint: "name another one, or remove decimal_mark")
            }
        }
        if let node = section["comment"] {
            format.comment = character(
                node, "\(place): comment",
                expected: "one ASCII character that no record begins with, such as '#'",
                where: {
                    ![0x22, 0x2B, 0x2D, 0x2E, 0x20, 0x09].contains($0)
                        && !(0x30...0x39).contains($0)
                })
            if format.comment == format.delimiter {
                report(
                    node, "\(place): comment: the delimiter cannot begin comments too",
                    hint: "name another one")
            }
        }
        if let node = section["columns"] {
            format.columns = texts(node, "\(place): columns", expected: "column names")
        }
    }

    /// One ASCII character; `\\t` and `tab` are a tab.
    private mutating func character(
        _ node: Node, _ key: String, expected: String, where isGood: (UInt8) -> Bool
    ) -> UInt8? {
        guard let text = text(node, key, expected: expected) else { return nil }
        let bytes = Array((text == "\\t" || text == "tab" ? "\t" : text).utf8)
        guard bytes.count == 1, bytes[0] < 0x80, ![0x0A, 0x0D].contains(bytes[0]), isGood(bytes[0])
        else {
            report(node, "\(key): expected \(expected), found '\(text.prefix(20))'")
            return nil
        }
        return bytes[0]
    }

    /// By the file's extension; CSV when it says nothing, NDJSON for sockets.
    private static func defaultFormat(of source: SourceConfiguration?) -> FormatName {
        switch source {
        case .socket, .datagram, .pipe, .standardInput: .ndjson
        case .file(let path): FormatName.named(by: path) ?? .csv
        case .directory, nil: .csv
        }
    }

    /// `time: {column, pattern, unit, zone}`: the column, and how it is written.
    private mutating func readTime(
        of section: Section, into format: inout FormatOptions
    ) -> String? {
        let place = "\(section.place): time"
        let problemsBefore = problems.count
        guard let node = section["time"],
            let time = self.section(
                node, "time of \(section.place)", keys: ["column", "pattern", "unit", "zone"])
        else { return nil }
        if time.values.isEmpty, problems.count == problemsBefore {
            report(
                node, "\(place): expected column, pattern, unit or zone, found none",
                hint: "write time: {column: NAME}")
        }
        if let node = time["pattern"],
            let pattern = text(node, "\(place).pattern", expected: "a pattern such as %d.%m.%Y %T")
        {
            format.time.pattern = self.pattern(pattern, at: node, "\(place).pattern")
        }
        if let node = time["unit"],
            let unit = choice(node, "\(place).unit", of: TimeUnit.self)
        {
            format.time.unit = unit
            if format.time.pattern != nil {
                report(
                    node, "\(place): expected pattern or unit, found both",
                    hint: "remove one of the two")
            }
        }
        if let node = time["zone"] { format.time.zone = timeZone(node, "\(place).zone") }
        guard format.format == .influx else {
            return time["column"].flatMap {
                text($0, "\(place).column", expected: "a column name")
            }
        }
        for key in ["column", "pattern", "zone"] {
            if let node = time[key] {
                report(
                    node, "\(place).\(key): the time of a point has its own place in the format",
                    hint: "remove \(key); unit says what the timestamps count, ns by default")
            }
        }
        return nil
    }

    private mutating func pattern(_ pattern: String, at node: Node, _ key: String) -> String? {
        switch TimeFormat.problem(inPattern: pattern) {
        case nil:
            return pattern
        case .unknownPart(let part):
            report(
                node, "\(key): '\(part)' means nothing in '\(pattern.prefix(60))'",
                hint: "expected parts of strptime: %Y %m %d %H %M %S %f %j %b %p %z %s %T %F")
        case .noDate:
            report(
                node, "\(key): expected year, month and day in '\(pattern.prefix(60))'",
                hint: "a time without its year cannot be placed; %F, or %Y, %m and %d")
        }
        return nil
    }
}
