extension InferredSchema {
    /// A column that is neither feature nor category nor time.
    public struct LeftOut: Sendable, Hashable {
        /// What its cells hold.
        public enum Content: String, Sendable, Hashable, Codable {
            /// Texts: it may be named as a category.
            case text
            /// Times: the difference to the record's time tells little, a column of its own does.
            case times
            /// Times that are read by a pattern only.
            case dates
            /// Texts that look like numbers with a unit, a currency, or marks of thousands.
            case measures = "numbers_with_a_unit"
            /// Numbers for the most part, and texts.
            case mixed = "numbers_and_texts"
            /// Numbers that count the records.
            case rowNumbers = "row_numbers"
            /// Numbers in fewer than half of the records.
            case sparse = "few_numbers"
            /// Numbers in a column that the header gives no name.
            case unnamed = "numbers_without_a_name"
            /// No value at all.
            case nothing
        }

        /// The column; `column 3` where the header has no name for it.
        public var name: String
        /// What its cells hold.
        public var content: Content
        /// A cell that shows it, quoted; `nil` where a cell shows nothing.
        public var example: String?
        /// Of dates: the patterns that read the example.
        public var patterns: [String] = []

        /// A column that is left out.
        public init(
            name: String, content: Content, example: String? = nil, patterns: [String] = []
        ) {
            self.name = name
            self.content = content
            self.example = example
            self.patterns = patterns
        }
    }
}

/// Whether the numbers of a column only rise from record to record, and by how much.
///
/// What counts on leaves the range that a model has learned, and every later record is an anomaly. Where it rises by the
/// same step it counts the records, and tells nothing of the machine; a step now and then may differ, as where records
/// were lost.
public struct Rise: Sendable, Hashable, Codable {
    /// Of fewer numbers it cannot be told: a fit needs as many.
    static let leastNumbers = 40

    private var count = 0
    private var last = 0.0
    private var falls = false
    /// The step that most have, by a majority vote: those that have it less those that have not, at most.
    private var step = 0.0
    private var votes = 0

    /// A column without numbers.
    public init() {}

    /// Takes in the number of the next record that has one.
    public mutating func add(_ value: Double) {
        guard !falls else { return }
        let rise = count == 0 ? 0 : value - last
        guard value.isFinite, rise.isFinite, rise > 0 || count == 0 else {
            falls = true
            return
        }
        (count, last) = (count + 1, value)
        guard count > 1 else { return }
        let isSame = abs(rise - step) <= max(1e-6 * step, 4 * value.ulp)
        if votes == 0 { step = rise }
        votes += votes == 0 || isSame ? 1 : -1
    }

    /// Whether each number is above the one before.
    public var isSteady: Bool { count >= Self.leastNumbers && !falls }
    /// Whether it counts the records: nine of ten steps, or more, are the same.
    public var countsRecords: Bool { isSteady && 10 * votes >= 8 * (count - 1) }
}

/// Texts that hold a number.
enum MeasureText {
    /// Whether a text is a number with a unit, a currency or marks of thousands: `12 ms`, `5%`, `$3.20`, `1,234`.
    static func isOne(_ cell: [UInt8]) -> Bool {
        func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
        func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5A).contains(byte & 0xDF) }
        // A sign or the mark of a currency, which may be three bytes long.
        let prefix = cell.prefix { !isDigit($0) && !isLetter($0) }
        let marks = Array(".,'_ ".utf8)
        let number = cell[prefix.endIndex...].prefix { isDigit($0) || marks.contains($0) }
        let unit = cell[number.endIndex...]
        guard prefix.count <= 5, !number.isEmpty, unit.count <= 12, !unit.contains(where: isDigit)
        else { return false }
        // Not an address, a version or a date.
        let parts = number.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return parts.count <= 2
            || parts.dropFirst().allSatisfy { $0.prefix(while: isDigit).count == 3 }
    }
}
