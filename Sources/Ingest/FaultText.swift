import CParsers

/// The prose of faults: what was expected, and what was found.
enum FaultText {
    /// The code and the reason of a fault.
    ///
    /// - Parameters:
    ///   - fault: What the parser found.
    ///   - column: The name of the column at fault.
    ///   - content: The bytes of the line.
    ///   - format: How the line was read.
    static func of(
        _ fault: fg_fault, column: String?, content: ArraySlice<UInt8>, format: FormatOptions
    ) -> (FaultCode, String) {
        let place = column.map { "column \(Printable.quoted(Array($0.utf8))): " } ?? ""
        let position = Int(fault.cell_start) + 1
        let at = fault.cell_start >= 0 ? " at byte \(position)" : ""
        let cell = cell(fault, in: content)
        switch Int(fault.code) {
        case FG_FAULT_RAGGED_ROW:
            return (.raggedRow, "expected \(fault.expected) cells, found \(fault.found)")
        case FG_FAULT_NOT_A_NUMBER:
            return (.notANumber, place + "expected a number, found " + found(fault, cell))
        case FG_FAULT_NOT_A_CATEGORY:
            return (
                .notACategory,
                place + "expected a text, a number, true or false, found " + found(fault, cell)
            )
        case FG_FAULT_MISSING_VALUE:
            let what = cell.isEmpty ? "an empty cell" : Printable.text(cell)
            return (.missingValue, place + "expected a value, found " + what)
        case FG_FAULT_NON_FINITE:
            return (
                .nonFinite, place + "expected a finite number, found \(Printable.quoted(cell))"
            )
        case FG_FAULT_BAD_TIME:
            return (
                .badTime,
                place + "expected \(format.time.expected), found " + found(fault, cell)
            )
        case FG_FAULT_OVERSIZE_LINE:
            return (
                .oversizeLine, "expected at most \(format.maxLineBytes) bytes in a line, found more"
            )
        case FG_FAULT_MISSING_COLUMN:
            let what = format.format == .influx && column == RecordFormat.influxTime
            return (
                .missingColumn,
                place + "expected \(what ? "a timestamp" : "the key") in the record, found none"
            )
        case FG_FAULT_UNBALANCED_QUOTE:
            return (
                .unbalancedQuote,
                "expected the quote\(at) to be closed, found the end of the line"
            )
        default:
            return (.badSyntax, syntax(fault, place: place, at: at, cell: cell))
        }
    }

    private static func syntax(
        _ fault: fg_fault, place: String, at: String, cell: ArraySlice<UInt8>
    ) -> String {
        switch Int(fault.code) {
        case FG_FAULT_TEXT_AFTER_QUOTE:
            "expected the delimiter behind the closing quote, found \(Printable.quoted(cell))\(at)"
        case FG_FAULT_NOT_AN_OBJECT:
            "expected a JSON object, found \(Printable.quoted(cell))"
        case FG_FAULT_NOT_UTF8:
            "expected UTF-8, found \(Printable.quoted(cell))\(at)"
        case FG_FAULT_TRAILING_TEXT:
            "expected one JSON object, found \(Printable.quoted(cell)) behind it\(at)"
        case FG_FAULT_DUPLICATE_KEY:
            place + "expected the key once, found it again\(at)"
        case FG_FAULT_NOT_A_POINT:
            "expected \(expectedPart(fault)), found "
                + (cell.isEmpty ? "the end of the line" : Printable.quoted(cell) + at)
        default:
            "expected a JSON object, found a syntax error\(at)"
        }
    }

    /// The part of a point of line protocol that is not as it should be.
    private static func expectedPart(_ fault: fg_fault) -> String {
        switch Int(fault.kind) {
        case FG_POINT_MEASUREMENT: "a measurement"
        case FG_POINT_TAG: "a tag such as place=roof"
        case FG_POINT_FIELD: "a field such as temperature=21.5"
        case FG_POINT_STRING: "the quote to be closed"
        case FG_POINT_TIME: "a timestamp, a whole number"
        default: "a number, an integer such as 7i, a text in quotes, true or false"
        }
    }

    private static func found(_ fault: fg_fault, _ cell: ArraySlice<UInt8>) -> String {
        switch Int(fault.kind) {
        case FG_KIND_STRING: "the string \(Printable.text(cell))"
        case FG_KIND_BOOLEAN: Printable.text(cell)
        case FG_KIND_OBJECT: "an object"
        case FG_KIND_ARRAY: "an array"
        default: cell.isEmpty ? "an empty cell" : Printable.quoted(cell)
        }
    }

    private static func cell(_ fault: fg_fault, in content: ArraySlice<UInt8>) -> ArraySlice<UInt8>
    {
        guard fault.cell_start >= 0 else { return [] }
        let start = min(content.startIndex + Int(fault.cell_start), content.endIndex)
        return content[start..<min(start + Int(fault.cell_count), content.endIndex)]
    }
}

extension TimeFormat {
    /// What a time should look like, in words.
    var expected: String {
        if let pattern { return "a time such as \(Printable.quoted(Array(pattern.utf8)))" }
        switch unit {
        case .s: return "a number of seconds since 1970"
        case .ms: return "a number of milliseconds since 1970"
        case .us: return "a number of microseconds since 1970"
        case .ns: return "a number of nanoseconds since 1970"
        case nil: return "a time such as 2020-03-09T12:14:36Z or epoch seconds"
        }
    }
}
