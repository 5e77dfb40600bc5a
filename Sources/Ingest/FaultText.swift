import CParsers

/// The prose of faults: what was expected, and what was found.
enum FaultText {
    /// The code and the reason of a fault.
    ///
    /// - Parameters:
    ///   - fault: What the parser found.
    ///   - column: The name of the column at fault.
    ///   - content: The bytes of the line.
    ///   - maxLineBytes: The limit that an oversize line passed.
    static func of(
        _ fault: fg_fault, column: String?, content: ArraySlice<UInt8>, maxLineBytes: Int
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
                place + "expected a time such as 2020-03-09T12:14:36Z or epoch seconds, found "
                    + found(fault, cell)
            )
        case FG_FAULT_OVERSIZE_LINE:
            return (
                .oversizeLine, "expected at most \(maxLineBytes) bytes in a line, found more"
            )
        case FG_FAULT_MISSING_COLUMN:
            return (.missingColumn, place + "expected the key in the record, found none")
        case FG_FAULT_UNBALANCED_QUOTE:
            return (
                .unbalancedQuote,
                "expected the quote\(at) to be closed on its line, found the end of the line"
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
        default:
            "expected a JSON object, found a syntax error\(at)"
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
