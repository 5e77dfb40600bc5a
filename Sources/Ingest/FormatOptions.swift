/// The formats that a record can come in.
public enum RecordFormat: String, Sendable, Codable, CaseIterable {
    /// A header line with the columns' names, then a record a line, cells set apart by a delimiter.
    case csv
    /// A JSON object a line.
    case ndjson
}

/// How the bytes of an input become records.
public struct FormatOptions: Sendable, Hashable, Codable {
    /// The format of the input.
    public var format: RecordFormat
    /// The byte between two cells of a CSV line.
    ///
    /// The default is the comma.
    ///
    /// A letter, a digit, `+`, `-`, `.`, a quote, a line break or a byte above 0x7E cannot be one.
    public var delimiter: UInt8 = 0x2C
    /// The names of the columns of a CSV input that has no header line.
    ///
    /// The default is `nil`: the first line that is not empty is the header.
    public var columns: [String]?
    /// The cells that mean "no value".
    ///
    /// The default is the empty cell, `NA`, `NaN`, `nan`, `null`.
    public var missingValues: [String] = ["", "NA", "NaN", "nan", "null"]
    /// The longest line that is read, in bytes without its line break.
    ///
    /// The default is 1 MiB. A longer one becomes a fault, and no more than this is ever held in
    /// memory of it.
    public var maxLineBytes: Int = 1 << 20

    /// Options of a format, all else at its default.
    ///
    /// - Parameter format: The format of the input.
    public init(format: RecordFormat) {
        self.format = format
    }
}
