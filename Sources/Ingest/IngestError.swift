import Glibc

/// What can go wrong between an input and its records, apart from a bad line, which is a
/// `RowFault`.
public enum IngestError: Error, Equatable, CustomStringConvertible {
    /// A file that was named is not there.
    case noSuchFile(path: String)
    /// An input is compressed by a program whose files are not unpacked.
    case compressed(path: String, by: String)
    /// A compressed input is damaged at an offset of its own bytes, or shortly before it.
    case corrupt(input: String, by: String, offset: Int64, reason: String)
    /// A compressed input ends too early, at an offset of its own bytes.
    case truncated(input: String, by: String, offset: Int64)
    /// A label is neither true nor false.
    case notALabel(input: String, line: Int64, column: String, found: String)
    /// A file exists and cannot be opened.
    case cannotOpen(path: String, errno: Int32)
    /// A file or folder cannot be written, made, moved or removed.
    case cannotWrite(path: String, errno: Int32)
    /// A read from a file or descriptor was refused.
    case cannotRead(input: String, errno: Int32)
    /// The path of a followed file leads to something else.
    case notARegularFile(path: String, found: String)
    /// The path of a named pipe leads to something else.
    case notAPipe(path: String, found: String)
    /// The path of a folder leads to something else.
    case notAFolder(path: String, found: String)
    /// The delimiter cannot be told from the content of a cell.
    case unusableDelimiter(UInt8)
    /// An input is of characters of two bytes each.
    case wideCharacters(input: String)
    /// The lines of an input end with a carriage return alone.
    case bareReturns(input: String)
    /// The header of a CSV input names no column.
    case emptyHeader(input: String)
    /// The header of a CSV input names a column twice.
    case duplicateColumn(input: String, column: String)
    /// Records came before any header.
    case headerMissing(input: String)
    /// The header of a CSV input names nothing: it is all numbers and times.
    case headerIsNumbers(input: String, header: String)
    /// Columns that are needed are not in the input.
    case missingColumns(input: String, missing: [String], present: [String])
    /// A column is asked for in two roles, or twice as a feature.
    case columnUsedTwice(String)
    /// There are no lines to infer a schema from.
    case noRecords(input: String)
    /// Long rows complete no step of their grid.
    case noStep(input: String, late: Int64)
    /// No series has a value in half of the steps.
    case noFrequentSeries(input: String, present: [String])
    /// No column of the input holds numbers; some may hold such as `0,84`, or numbers with a unit.
    case noNumericColumns(
        input: String, present: [String], hasDecimalCommas: Bool, measures: [String] = [])
    /// An input has more columns than features are chosen from.
    case tooManyColumns(input: String, limit: Int)
    /// More columns are to be features than a record may have.
    case tooManyFeatures(input: String, found: Int, limit: Int)
    /// More columns are to be categories than a record may have.
    case tooManyCategories(input: String, found: Int, limit: Int)
    /// The column that is named as the time, or called so, holds none that is written as `pattern` says.
    case timeUnreadable(input: String, column: String, found: String, pattern: String? = nil)
    /// Times are written by a pattern, and no column is called as times are.
    case noTimeColumn(input: String, pattern: String, present: [String])
    /// A socket's path does not fit into an address.
    case socketPathTooLong(path: String, bytes: Int, limit: Int)
    /// Another process listens on the socket.
    case socketInUse(path: String)
    /// The path of a socket leads to something else.
    case socketPathOccupied(path: String, found: String)
    /// Clients of a socket are not let in, for want of descriptors.
    case tooFewDescriptors(path: String)
    /// A socket cannot be made or listened on.
    case cannotListen(path: String, errno: Int32)

    /// The error in words: where, the rule, what was found.
    public var description: String {
        switch self {
        case .noSuchFile(let path):
            "\(path): expected a file to read, found none"
        case .compressed(let path, let program):
            "\(path): expected lines of text, or what gzip or zstd has compressed, found what "
                + "\(program) has"
        case .corrupt(let input, let program, let offset, let reason):
            "\(input): compressed by \(program) and damaged at or before its byte \(offset): "
                + reason
        case .truncated(let input, let program, let offset):
            "\(input): compressed by \(program) and cut off at its byte \(offset): expected more"
        case .notALabel(let input, let line, let column, let found):
            "\(input):\(line): label column '\(column)': expected 0, 1, true or false, "
                + "found \(found)"
        case .cannotOpen(let path, let number):
            "\(path): cannot be opened for reading: \(Self.text(number))"
        case .cannotWrite(let path, let number):
            "\(path): cannot be written: \(Self.text(number))"
        case .cannotRead(let input, let number):
            "\(input): cannot be read: \(Self.text(number))"
        case .notARegularFile(let path, let found):
            "\(path): expected a regular file, found \(found)"
        case .notAPipe(let path, let found):
            "\(path): expected a named pipe or nothing, found \(found)"
        case .notAFolder(let path, let found):
            "\(path): expected a folder, found \(found)"
        case .unusableDelimiter(let byte):
            "the delimiter \(Printable.quoted([byte])) cannot be used: expected a byte that no "
                + "number and no name holds, such as ',', ';' or a tab"
        case .wideCharacters(let input):
            "\(input): expected text in UTF-8, found UTF-16"
        case .bareReturns(let input):
            "\(input): expected lines that end with a line feed, found a carriage return alone, as "
                + "old Macs wrote it"
        case .emptyHeader(let input):
            "\(input): header: expected the names of the columns, found none"
        case .duplicateColumn(let input, let column):
            "\(input): header: expected each name once, found '\(column)' twice"
        case .headerMissing(let input):
            "\(input): header: expected the names of the columns before the first record, found "
                + "no header line"
        case .headerIsNumbers(let input, let header):
            "\(input): header: expected the names of the columns, found only numbers "
                + "and times: \(header)"
        case .missingColumns(let input, let missing, let present):
            "\(input): expected the \(Self.list("column", missing)), found \(Self.names(present))"
        case .columnUsedTwice(let column):
            "column '\(column)' is asked for twice: expected each column in one role, once"
        case .noRecords(let input):
            "\(input): expected at least one record to find the columns by, found none"
        case .noStep(let input, let late):
            "\(input): expected rows that complete a step of time, found none"
                + (late > 0 ? ": \(late) came when the step of their time was closed" : "")
        case .noFrequentSeries(let input, let present):
            "\(input): expected a series that has a value in at least half of the steps, found none "
                + "in \(Self.names(present))"
        case .noNumericColumns(let input, let present, _, _):
            "\(input): expected at least one column of numbers, found none in "
                + Self.names(present)
        case .tooManyColumns(let input, let limit):
            "\(input): expected at most \(limit) columns to choose the features from, found more: "
                + "name those to watch as features"
        case .tooManyFeatures(let input, let found, let limit):
            "\(input): expected at most \(limit) features, found \(found) columns: name fewer to "
                + "watch as features"
        case .tooManyCategories(let input, let found, let limit):
            "\(input): expected at most \(limit) categories, found \(found) columns: name fewer "
                + "as categories, or exclude some that hold true and false"
        case .timeUnreadable(let input, let column, let found, let pattern):
            "\(input): column '\(column)': expected times "
                + (pattern.map { "by the pattern '\($0)'" }
                    ?? "such as 2020-03-09T12:14:36Z or epoch seconds") + ", found \(found)"
        case .noTimeColumn(let input, let pattern, let present):
            "\(input): expected a column called time, timestamp, datetime, date or ts with times by "
                + "the pattern '\(pattern)', found \(Self.names(present))"
        case .socketPathTooLong(let path, let bytes, let limit):
            "\(path): a socket's path has at most \(limit) bytes, found \(bytes)"
        case .socketInUse(let path):
            "\(path): expected to be the only listener, found another process listening"
        case .socketPathOccupied(let path, let found):
            "\(path): expected a socket or nothing, found \(found)"
        case .tooFewDescriptors(let path):
            "\(path): new clients wait: \(Self.text(EMFILE)), the others are kept for files, the "
                + "database and the control socket"
        case .cannotListen(let path, let number):
            "\(path): cannot be listened on: \(Self.text(number))"
        }
    }

    /// The system's text for an error number.
    private static func text(_ number: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        guard strerror_r(number, &buffer, buffer.count) == 0 else { return "error \(number)" }
        let length = buffer.firstIndex(of: 0) ?? buffer.count
        return String(decoding: buffer[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func list(_ noun: String, _ names: [String]) -> String {
        (names.count == 1 ? noun : noun + "s") + " " + Self.names(names)
    }

    /// At most 20 names, quoted.
    private static func names(_ names: [String]) -> String {
        guard !names.isEmpty else { return "no column" }
        let shown = names.prefix(20).map { Printable.quoted(Array($0.utf8)) }.joined(
            separator: ", ")
        return names.count > 20 ? shown + " and \(names.count - 20) more" : shown
    }
}

extension IngestError {
    /// What is wrong with the lines of a file, told of the name that it has now.
    public func naming(_ path: String) -> IngestError {
        switch self {
        case .wideCharacters: .wideCharacters(input: path)
        case .bareReturns: .bareReturns(input: path)
        case .emptyHeader: .emptyHeader(input: path)
        case .duplicateColumn(_, let column): .duplicateColumn(input: path, column: column)
        case .headerMissing: .headerMissing(input: path)
        case .headerIsNumbers(_, let header): .headerIsNumbers(input: path, header: header)
        case .missingColumns(_, let missing, let present):
            .missingColumns(input: path, missing: missing, present: present)
        default: self
        }
    }

    /// Whether a file or folder exists and may not be opened.
    var isRefusal: Bool {
        if case .cannotOpen(_, let code) = self { return code == EACCES || code == EPERM }
        return false
    }

    /// Whether the process has too little of something, so that other files could not be opened either.
    var isShortage: Bool {
        if case .cannotOpen(_, let code) = self { return [EMFILE, ENFILE, ENOMEM].contains(code) }
        return false
    }
}
