import Ingest

/// Formats in words.
enum FormatText {
    /// A format with what is special about it: `csv, ';' between cells, decimal commas`.
    static func summary(of format: FormatOptions) -> String {
        ([format.format.rawValue] + details(of: format)).joined(separator: ", ")
    }

    /// What is not as usual.
    static func details(of format: FormatOptions) -> [String] {
        var details: [String] = []
        if format.format == .csv {
            if format.delimiter != UInt8(ascii: ",") {
                details.append("\(character(format.delimiter)) between cells")
            }
            if format.decimalMark == UInt8(ascii: ",") { details.append("decimal commas") }
            if let comment = format.comment {
                details.append("comments after \(character(comment))")
            }
            if let columns = format.columns {
                details.append("without a header line, \(Format.plural(columns.count, "column"))")
            }
        }
        if let pattern = format.time.pattern { details.append("times as \(pattern)") }
        if let unit = format.time.unit { details.append("times in \(unit.rawValue)") }
        if let zone = format.time.zone { details.append("clocks of \(zone)") }
        return details
    }

    /// A character of the format.
    static func character(_ byte: UInt8) -> String {
        switch byte {
        case 0x09: "tabs"
        case 0x20: "spaces"
        default: "'\(Character(UnicodeScalar(byte)))'"
        }
    }
}
