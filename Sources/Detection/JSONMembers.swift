import Foundation

/// The members of a JSON object as they are written, in their order: for output only, a line at a time.
///
/// The decoder has its own way through a line and looks only at what the model needs; this keeps the
/// rest for people who pass records through.
enum JSONMembers {
    typealias Member = (name: String, value: ArraySlice<UInt8>)

    /// The members of the object in a line, or `nil` when the line holds no object.
    static func split(_ line: ArraySlice<UInt8>) -> [Member]? {
        var scanner = Scanner(line)
        guard scanner.take(UInt8(ascii: "{")) else { return nil }
        if scanner.take(UInt8(ascii: "}")) { return scanner.isAtEnd ? [] : nil }
        var members: [Member] = []
        repeat {
            guard let key = scanner.takeString(), let name = text(of: key),
                scanner.take(UInt8(ascii: ":")), let value = scanner.takeValue()
            else { return nil }
            members.append((name, value))
        } while scanner.take(UInt8(ascii: ","))
        return scanner.take(UInt8(ascii: "}")) && scanner.isAtEnd ? members : nil
    }

    /// The members of the object in a line; none when it holds no object.
    ///
    /// - Parameter isNested: Those of an object within another come in its place, as `a.b`, and the elements of an array
    ///   as `a.0`.
    static func flattened(_ line: ArraySlice<UInt8>, isNested: Bool) -> [Member] {
        let members = split(line) ?? []
        guard isNested else { return members }
        return members.flatMap { flattened($0, depth: 1) }
    }

    /// As deep as the decoder looks.
    private static let depthLimit = 16

    private static func flattened(_ member: Member, depth: Int) -> [Member] {
        let inside: [Member]?
        switch member.value.first {
        case UInt8(ascii: "{") where depth < depthLimit: inside = split(member.value)
        case UInt8(ascii: "[") where depth < depthLimit: inside = elements(member.value)
        default: inside = nil
        }
        guard let inside, !inside.isEmpty else { return [member] }
        return inside.flatMap {
            flattened(("\(member.name).\($0.name)", $0.value), depth: depth + 1)
        }
    }

    /// The elements of an array under their indices, or `nil` when the text is none.
    private static func elements(_ text: ArraySlice<UInt8>) -> [Member]? {
        var scanner = Scanner(text)
        guard scanner.take(UInt8(ascii: "[")) else { return nil }
        if scanner.take(UInt8(ascii: "]")) { return [] }
        var elements: [Member] = []
        repeat {
            guard let value = scanner.takeValue() else { return nil }
            elements.append((String(elements.count), value))
        } while scanner.take(UInt8(ascii: ","))
        return scanner.take(UInt8(ascii: "]")) ? elements : nil
    }

    /// A value as a table's cell holds it: a string without its quotes, null as nothing, all else as it is written.
    static func cell(_ value: ArraySlice<UInt8>) -> String {
        if value.first == UInt8(ascii: "\""), let text = text(of: value) { return text }
        let written = String(decoding: value, as: UTF8.self)
        return written == "null" ? "" : written
    }

    /// What a string with its quotes stands for.
    private static func text(of string: ArraySlice<UInt8>) -> String? {
        guard string.contains(UInt8(ascii: "\\")) else {
            return String(decoding: string.dropFirst().dropLast(), as: UTF8.self)
        }
        return try? JSONSerialization.jsonObject(
            with: Data(string), options: .fragmentsAllowed) as? String
    }

    private struct Scanner {
        let line: ArraySlice<UInt8>
        var rest: ArraySlice<UInt8>

        init(_ line: ArraySlice<UInt8>) {
            self.line = line
            rest = line
        }

        var isAtEnd: Bool {
            mutating get {
                skipSpace()
                return rest.isEmpty
            }
        }

        mutating func skipSpace() {
            rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D || $0 == 0x0A }
        }

        mutating func take(_ byte: UInt8) -> Bool {
            skipSpace()
            guard rest.first == byte else { return false }
            rest.removeFirst()
            return true
        }

        /// A string with its quotes.
        mutating func takeString() -> ArraySlice<UInt8>? {
            skipSpace()
            guard rest.first == UInt8(ascii: "\"") else { return nil }
            var end = rest.startIndex + 1
            while end < rest.endIndex, rest[end] != UInt8(ascii: "\"") {
                end += rest[end] == UInt8(ascii: "\\") ? 2 : 1
            }
            guard end < rest.endIndex else { return nil }
            defer { rest = rest[(end + 1)...] }
            return rest[...end]
        }

        /// Any value: a string, a number or word, or all that lies between matching brackets.
        mutating func takeValue() -> ArraySlice<UInt8>? {
            skipSpace()
            let start = rest.startIndex
            var depth = 0
            repeat {
                skipSpace()
                guard let byte = rest.first else { return nil }
                switch byte {
                case UInt8(ascii: "\""):
                    guard takeString() != nil else { return nil }
                case UInt8(ascii: "{"), UInt8(ascii: "["):
                    depth += 1
                    rest.removeFirst()
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    depth -= 1
                    guard depth >= 0 else { return nil }
                    rest.removeFirst()
                case UInt8(ascii: ","), UInt8(ascii: ":"):
                    guard depth > 0 else { return nil }
                    rest.removeFirst()
                default:
                    rest = rest.drop { !",:{}[]\" \t\r\n".utf8.contains($0) }
                }
            } while depth > 0
            return line[start..<rest.startIndex]
        }
    }
}
