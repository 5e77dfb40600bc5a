/// The formats that a record can come in.
public enum RecordFormat: String, Sendable, Codable, CaseIterable {
    /// A header line with the columns' names, then a record a line, cells set apart by a delimiter.
    case csv
    /// A JSON object a line.
    case ndjson
    /// A point of InfluxDB line protocol a line: its fields and tags are the columns, and its time,
    /// which is called `time`; its measurement is the column `_measurement`.
    case influx

    /// The name of the time of a point of line protocol.
    public static let influxTime = "time"
}

/// The words for formats that a user may choose from.
public enum FormatName: String, Sendable, Codable, CaseIterable {
    /// `RecordFormat.csv`, with a comma unless another delimiter is named.
    case csv
    /// `RecordFormat.csv` with a tab between cells.
    case tsv
    /// `RecordFormat.ndjson`.
    case ndjson
    /// `RecordFormat.influx`.
    case influx

    /// The format that is meant.
    public var format: RecordFormat {
        switch self {
        case .csv, .tsv: .csv
        case .ndjson: .ndjson
        case .influx: .influx
        }
    }

    /// The format with the delimiter that belongs to it, all else at its default.
    public var options: FormatOptions {
        var options = FormatOptions(format: format)
        if self == .tsv { options.delimiter = 0x09 }
        return options
    }

    /// What a file's name says of its format, with or without an ending of compression; `nil` if it
    /// says nothing.
    public static func named(by path: String) -> FormatName? {
        var name = path.lowercased()
        for ending in [".gz", ".zst"] where name.hasSuffix(ending) {
            name.removeLast(ending.count)
        }
        let endings: [(String, FormatName)] = [
            (".csv", .csv), (".tsv", .tsv), (".tab", .tsv), (".ndjson", .ndjson),
            (".jsonl", .ndjson), (".json", .ndjson), (".influx", .influx), (".lp", .influx),
        ]
        return endings.first { name.hasSuffix($0.0) }?.1
    }
}

/// How the bytes of an input become records.
public struct FormatOptions: Sendable, Hashable, Codable {
    /// The format of the input.
    public var format: RecordFormat
    /// The byte between two cells of a CSV line.
    ///
    /// The default is the comma.
    ///
    /// A letter, a digit, `+`, `-`, `.`, a quote, a line break or a byte above 0x7E cannot be one,
    /// nor can the decimal mark.
    public var delimiter: UInt8 = 0x2C
    /// The byte between whole and fraction of a number in a CSV cell: `.` or `,`.
    ///
    /// The default is `.`.
    public var decimalMark: UInt8 = 0x2E
    /// The byte that a line of comment begins with, which is neither header nor record; CSV only.
    ///
    /// The default is `nil`: there are none. In line protocol it is always `#`.
    public var comment: UInt8?
    /// The names of the columns of a CSV input that has no header line.
    ///
    /// The default is `nil`: the first line that is not empty is the header.
    public var columns: [String]?
    /// The cells that mean "no value".
    ///
    /// The default is the empty cell, `NA`, `NaN`, `nan`, `null`.
    public var missingValues: [String] = ["", "NA", "NaN", "nan", "null"]
    /// How times are written.
    public var time = TimeFormat()
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

    /// The byte that lines which are no records begin with.
    var commentMark: UInt8? {
        switch format {
        case .csv: comment
        case .influx: UInt8(ascii: "#")
        case .ndjson: nil
        }
    }
}
