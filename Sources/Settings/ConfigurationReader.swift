import Yams

/// A mapping of the file with the key nodes, for their places.
struct Section {
    /// What it is, for messages: "stream 'pump-7'".
    var place: String
    var values: [String: Node]
    /// Where it begins.
    var node: Node

    subscript(key: String) -> Node? { values[key] }
}

/// Reads nodes as what they should be, and gathers all that is wrong on the way.
struct ConfigurationReader {
    let path: String
    private(set) var problems: [ConfigurationProblem] = []

    init(path: String) { self.path = path }

    mutating func report(_ node: Node, _ message: String, hint: String? = nil) {
        let mark = node.mark
        report(line: mark?.line ?? 1, column: mark?.column ?? 1, message, hint: hint)
    }

    mutating func report(line: Int, column: Int, _ message: String, hint: String? = nil) {
        problems.append(
            ConfigurationProblem(
                path: path, line: line, column: column, message: message, hint: hint))
    }

    /// A mapping whose keys are all among `keys`.
    mutating func section(_ node: Node, _ place: String, keys: [String]) -> Section? {
        guard case .mapping(let mapping) = node else {
            report(node, "\(place): expected keys and values, found \(Self.kind(of: node))")
            return nil
        }
        var values: [String: Node] = [:]
        for (key, value) in mapping {
            guard case .scalar(let scalar) = key else {
                report(key, "\(place): expected a key, found \(Self.kind(of: key))")
                continue
            }
            guard keys.contains(scalar.string) else {
                let hint =
                    Self.nearest(to: scalar.string, among: keys).map { "did you mean '\($0)'?" }
                    ?? "known keys: \(keys.joined(separator: ", "))"
                report(key, "unknown key '\(scalar.string)' in \(place)", hint: hint)
                continue
            }
            values[scalar.string] = value
        }
        return Section(place: place, values: values, node: node)
    }

    /// The text of a scalar.
    mutating func text(_ node: Node, _ key: String, expected: String) -> String? {
        guard case .scalar(let scalar) = node, !Self.isNull(scalar) else {
            report(node, "\(key): expected \(expected), found \(Self.kind(of: node))")
            return nil
        }
        guard !scalar.string.isEmpty, !scalar.string.utf8.contains(0) else {
            report(node, "\(key): expected \(expected), found an empty text")
            return nil
        }
        return scalar.string
    }

    /// A list of texts without repeats; `allowsEmpty` lets a text be empty.
    mutating func texts(
        _ node: Node, _ key: String, expected: String, allowsEmpty: Bool = false
    ) -> [String]? {
        guard case .sequence(let sequence) = node else {
            report(node, "\(key): expected a list of \(expected), found \(Self.kind(of: node))")
            return nil
        }
        var found: [String] = []
        var seen: Set<String> = []
        for item in sequence {
            guard case .scalar(let scalar) = item, allowsEmpty || !scalar.string.isEmpty else {
                report(
                    item,
                    "\(key): expected a list of \(expected), found \(Self.kind(of: item)) in it")
                continue
            }
            guard seen.insert(scalar.string).inserted else {
                report(item, "\(key): '\(scalar.string)' is listed twice")
                continue
            }
            found.append(scalar.string)
        }
        if sequence.isEmpty, !allowsEmpty {
            report(node, "\(key): expected at least one of \(expected), found an empty list")
            return nil
        }
        return found
    }

    /// One of a few words.
    mutating func choice<Choice: RawRepresentable & CaseIterable>(
        _ node: Node, _ key: String, of type: Choice.Type
    ) -> Choice? where Choice.RawValue == String {
        let words = Choice.allCases.map(\.rawValue)
        let expected = words.joined(separator: ", ")
        guard let text = text(node, key, expected: "one of \(expected)") else { return nil }
        guard let choice = Choice(rawValue: text) else {
            report(
                node, "\(key): expected one of \(expected), found '\(text)'",
                hint: Self.nearest(to: text, among: words).map { "did you mean '\($0)'?" })
            return nil
        }
        return choice
    }

    /// A whole number within a range; `1_000` and `64KiB` are understood.
    mutating func integer(_ node: Node, _ key: String, in range: ClosedRange<Int>) -> Int? {
        let expected = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        guard let text = text(node, key, expected: expected) else { return nil }
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20)]
        let unit = units.first { text.hasSuffix($0.0) }
        let digits = text.dropLast(unit?.0.count ?? 0).filter { $0 != "_" }
        guard let number = Int(digits) else {
            report(node, "\(key): expected \(expected), found '\(text)'")
            return nil
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: unit?.1 ?? 1)
        guard !overflow, range.contains(value) else {
            report(node, "\(key): expected \(expected), found \(text)")
            return nil
        }
        return value
    }

    /// A number above zero and at most `limit`.
    mutating func positive(_ node: Node, _ key: String, atMost limit: Double) -> Double? {
        let bound = limit == limit.rounded() ? String(Int(limit)) : String(limit)
        let expected = "a number above 0 and at most \(bound)"
        guard let text = text(node, key, expected: expected) else { return nil }
        guard let value = Double(text), value > 0, value <= limit else {
            report(node, "\(key): expected \(expected), found '\(text)'")
            return nil
        }
        return value
    }

    /// A length of time such as `30s`, `5m`, `1h` or `1h30m`.
    mutating func duration(
        _ node: Node, _ key: String, from least: Duration, to most: Duration, orNever: Bool = false
    ) -> Duration?? {
        let expected = "a time such as 30s, 5m or 1h" + (orNever ? ", or never" : "")
        guard let text = text(node, key, expected: expected) else { return .none }
        if orNever, text == "never" { return .some(nil) }
        guard let value = Self.duration(text) else {
            report(node, "\(key): expected \(expected), found '\(text)'")
            return .none
        }
        guard value >= least, value <= most else {
            report(
                node,
                "\(key): expected a time from \(Self.text(of: least)) to \(Self.text(of: most)), "
                    + "found \(text)")
            return .none
        }
        return value
    }

    /// The nodes of a list.
    mutating func list(_ node: Node, _ key: String, expected: String) -> [Node]? {
        guard case .sequence(let sequence) = node else {
            report(node, "\(key): expected a list of \(expected), found \(Self.kind(of: node))")
            return nil
        }
        return Array(sequence)
    }

    /// `1h30m` as a duration; `nil` when it is none.
    static func duration(_ text: String) -> Duration? {
        let milliseconds: [String: Double] = [
            "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000,
        ]
        var rest = Substring(text)
        var total = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard let number = Double(digits), let scale = milliseconds[String(unit)] else {
                return nil
            }
            total += number * scale
        }
        return total.isFinite && total < 1e14 ? .milliseconds(Int64(total.rounded())) : nil
    }

    private static func text(of duration: Duration) -> String {
        if duration.components.attoseconds != 0 {
            return "\(Int((duration.inSeconds * 1_000).rounded()))ms"
        }
        let seconds = Int(duration.inSeconds)
        for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60)]
        where seconds >= size && seconds % size == 0 {
            return "\(seconds / size)\(unit)"
        }
        return "\(seconds)s"
    }

    private static func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
    }

    private static func kind(of node: Node) -> String {
        switch node {
        case .mapping: return "a mapping"
        case .sequence: return "a list"
        case .scalar(let scalar):
            return isNull(scalar) ? "nothing" : "'\(String(scalar.string.prefix(60)))'"
        case .alias: return "an alias"
        }
    }

    /// The known word within a few typing slips, or `nil`.
    static func nearest(to word: String, among words: [String]) -> String? {
        let limit = max(1, min(3, word.count / 2))
        return words.map { (distance(word.lowercased(), $0), $0) }
            .filter { $0.0 <= limit }.min { $0.0 < $1.0 }?.1
    }

    /// Insertions, deletions, replacements and swaps of neighbours between two words.
    static func distance(_ a: String, _ b: String) -> Int {
        let a = Array(a.unicodeScalars)
        let b = Array(b.unicodeScalars)
        guard !a.isEmpty, !b.isEmpty, a.count <= 100 else { return max(a.count, b.count) }
        var rows = [Array(0...b.count)]
        for i in 1...a.count {
            var row = [i]
            for j in 1...b.count {
                var best = min(
                    rows[i - 1][j] + 1, row[j - 1] + 1,
                    rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    best = min(best, rows[i - 2][j - 2] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
