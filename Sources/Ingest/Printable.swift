/// Bytes from outside, made fit for a message.
package enum Printable {
    /// How many bytes of a cell a message shows.
    package static let limit = 40

    /// The bytes in single quotes, cut to `limit` bytes; what is not printable UTF-8 is written
    /// as `\xNN`, and a cut as `…`.
    package static func quoted(_ bytes: some Collection<UInt8>) -> String {
        "'" + text(bytes) + "'"
    }

    /// As `quoted`, without the quotes.
    ///
    /// - Parameters:
    ///   - bytes: What to show.
    ///   - limit: How many bytes of it at most.
    package static func text(_ bytes: some Collection<UInt8>, limit: Int = limit) -> String {
        let kept = Array(bytes.prefix(limit))
        var result = ""
        var index = 0
        while index < kept.count {
            if let (scalar, length) = scalar(in: kept, at: index) {
                result.unicodeScalars.append(scalar)
                index += length
            } else if bytes.count > limit, index + 3 >= kept.count, kept[index] >= 0xC0 {
                break  // a character that the limit cut in two
            } else {
                result += "\\x" + hex(kept[index])
                index += 1
            }
        }
        return bytes.count > limit ? result + "…" : result
    }

    /// The printable character at an index, and its length in bytes.
    private static func scalar(in bytes: [UInt8], at index: Int) -> (Unicode.Scalar, Int)? {
        let first = bytes[index]
        if first < 0x80 {
            return first >= 0x20 && first != 0x7F ? (Unicode.Scalar(first), 1) : nil
        }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 0
        guard length > 0, index + length <= bytes.count,
            let text = String(validating: bytes[index..<(index + length)], as: UTF8.self),
            let scalar = text.unicodeScalars.first
        else { return nil }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
            .paragraphSeparator:
            return nil
        default:
            return (scalar, length)
        }
    }

    private static func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return digits.count == 1 ? "0" + digits : digits
    }
}
