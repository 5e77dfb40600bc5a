/// Why a line did not become a record.
public enum FaultCode: String, Sendable, CaseIterable {
    /// The line has more or fewer cells than the header.
    case raggedRow = "ragged_row"
    /// A feature's cell holds something that is not a number.
    case notANumber = "not_a_number"
    /// A category's key holds an object or an array.
    case notACategory = "not_a_category"
    /// A column's cell holds no value, and a record may not lack it.
    case missingValue = "missing_value"
    /// A feature's cell holds NaN, an infinity, or a number beyond the range of a double.
    case nonFinite = "non_finite"
    /// The time's cell holds something that is not a time.
    case badTime = "bad_time"
    /// The line is not of the format at all.
    case badSyntax = "bad_syntax"
    /// The line is longer than `FormatOptions.maxLineBytes`.
    case oversizeLine = "oversize_line"
    /// An NDJSON record lacks a key that is needed.
    case missingColumn = "missing_column"
    /// A quote is opened and not closed within the lines that a record may take; see `QuotedRecord`.
    case unbalancedQuote = "unbalanced_quote"
    /// A record that long rows make lacks a value, and may not lack it.
    case incompleteStep = "incomplete_step"
    /// What should tell records apart is empty, or holds a control character.
    case badKey = "bad_key"
    /// As many keys are known as the stream may have, and this one is not among them.
    case tooManyKeys = "too_many_keys"
}

/// A line that did not become a record: a value, never an error that is thrown.
public struct RowFault: Sendable, Hashable {
    /// Which line of the `LineBatch` it is.
    public var lineIndex: Int
    /// The number of the line in its input, from 1.
    public var lineNumber: Int64
    /// The offset of the line's first byte in the input.
    public var offset: Int64
    /// The column at fault, if one is.
    public var column: String?
    /// Where in the line the fault lies, in bytes from 1, if it lies somewhere.
    public var columnNumber: Int?
    /// What kind of fault it is.
    public var code: FaultCode
    /// The fault in words: `column 'pressure': expected a number, found 'n/a'`.
    public var reason: String
    /// Where it lies if that is no line of the batch: long rows came earlier, and their fault shows now.
    ///
    /// `lineIndex` is then the line that showed it.
    public var origin: RecordOrigin?

    /// A fault.
    public init(
        lineIndex: Int, lineNumber: Int64, offset: Int64, column: String? = nil,
        columnNumber: Int? = nil, code: FaultCode, reason: String, origin: RecordOrigin? = nil
    ) {
        self.lineIndex = lineIndex
        self.lineNumber = lineNumber
        self.offset = offset
        self.column = column
        self.columnNumber = columnNumber
        self.code = code
        self.reason = reason
        self.origin = origin
    }
}

/// What a batch of lines became: each line is in exactly one of the two, unless it is a long row.
public struct DecodedBatch: Sendable {
    /// The lines that are records.
    public var records: RecordBatch
    /// The lines that are not, with the reason.
    public var faults: [RowFault]
    /// Where each record begins that long rows make; `nil`: each record is a line of the batch.
    public var origins: [RecordOrigin]?
    /// What is known of long rows after the batch; `nil` for others.
    public var assembler: LongAssembler?

    /// Records and faults of one batch.
    public init(records: RecordBatch, faults: [RowFault]) {
        self.records = records
        self.faults = faults
    }
}
