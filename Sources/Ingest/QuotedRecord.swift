import Glibc

/// A CSV record whose first line ends within quotes, as far as it has come: where it ends.
///
/// RFC 4180 lets a cell in quotes hold line breaks. Quotes that are not closed, or closed and not
/// followed by a delimiter, make no such record of the lines: each of them is then one by itself. So
/// a stray quote costs its own line, and nothing depends on how the bytes were cut when they came.
struct QuotedRecord: Sendable {
    /// How many lines a record may take.
    static let lineLimit = 64

    /// What the bytes are.
    enum Outcome: Equatable {
        /// A record of so many bytes, without its last line break, on so many lines.
        case whole(bytes: Int, lines: Int)
        /// More bytes must come.
        case open
        /// No record of several lines.
        case none
    }

    private enum Place {
        case cellStart, plain, quoted, quoteInQuoted, behindQuote
    }

    private var place = Place.cellStart
    /// How many bytes, from the record's first, were looked at.
    private var position: Int
    private var lines = 1

    /// - Parameter markBytes: The length of the byte order mark that the record begins with.
    init(markBytes: Int) {
        position = markBytes
    }

    /// Whether a line may end within quotes: it has an odd number of them.
    static func mayBeOpen(_ line: UnsafeRawBufferPointer) -> Bool {
        var rest = line
        var isOdd = false
        while let base = rest.baseAddress, let found = memchr(base, 0x22, rest.count) {
            isOdd.toggle()
            rest = .init(rebasing: rest[(UnsafeRawPointer(found) - base + 1)...])
        }
        return isOdd
    }

    /// Goes on to the record's end.
    ///
    /// - Parameters:
    ///   - bytes: What is there, from the record's first byte.
    ///   - format: The delimiter and the most bytes of a record.
    ///   - atEnd: Whether nothing more comes.
    mutating func advance(
        _ bytes: UnsafeRawBufferPointer, format: FormatOptions, atEnd: Bool
    ) -> Outcome {
        while position < bytes.count {
            guard position <= format.maxLineBytes else { return .none }
            let byte = bytes[position]
            if byte == 0x0A {
                guard place == .quoted else { return .whole(bytes: position, lines: lines) }
                lines += 1
                if lines > Self.lineLimit { return .none }
            } else if !step(over: byte, delimiter: format.delimiter) {
                return .none
            }
            position += 1
        }
        guard atEnd else { return .open }
        return place == .quoted ? .none : .whole(bytes: bytes.count, lines: lines)
    }

    /// False: it is no record.
    private mutating func step(over byte: UInt8, delimiter: UInt8) -> Bool {
        let isPadding = byte == 0x20 || byte == 0x09 || byte == 0x0D
        switch place {
        case .quoted:
            if byte == 0x22 { place = .quoteInQuoted }
        case .quoteInQuoted where byte == 0x22:
            place = .quoted
        case .quoteInQuoted, .behindQuote:
            guard byte == delimiter || isPadding else { return false }
            place = byte == delimiter ? .cellStart : .behindQuote
        case .cellStart where byte == 0x22:
            place = .quoted
        case .cellStart, .plain:
            if byte == delimiter {
                place = .cellStart
            } else if !isPadding {
                place = .plain
            }
        }
        return true
    }
}
