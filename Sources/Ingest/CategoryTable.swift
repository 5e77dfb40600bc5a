/// The texts of records' category columns: each text once, and a code for each cell.
public struct CategoryTable: Sendable, Hashable {
    /// The code of a cell that holds no value.
    public static let missing: Int32 = -1
    /// The longest text that is kept, in bytes of UTF-8.
    ///
    /// A longer one is cut and ends in `~` and the hash of the whole, so that two of them stay two.
    public static let textLimitBytes = 63

    /// How many category columns there are.
    public let columnCount: Int
    /// The texts that the codes stand for; a text may be there more than once.
    public private(set) var texts: [String] = []
    /// The codes, row-major, shape [rows, columns].
    public private(set) var codes: [Int32] = []
    private var codeOfText: [String: Int32] = [:]

    /// An empty table.
    public init(columnCount: Int) {
        self.columnCount = columnCount
    }

    /// A table of codes into these texts.
    ///
    /// - Precondition: Each code is an index into `texts`, or `missing`.
    init(columnCount: Int, texts: [String], codes: [Int32]) {
        self.columnCount = columnCount
        self.texts = texts
        self.codes = codes
        for (code, text) in texts.enumerated() { codeOfText[text] = Int32(code) }
    }

    /// The text of a cell; `nil` where it holds none.
    public func text(row: Int, column: Int) -> String? {
        let code = codes[row * columnCount + column]
        return code == Self.missing ? nil : texts[Int(code)]
    }

    /// The texts of a record's cells.
    public func row(_ row: Int) -> [String?] {
        (0..<columnCount).map { text(row: row, column: $0) }
    }

    mutating func append(_ cells: some Collection<String?>) {
        for cell in cells { codes.append(cell.map { code(of: $0) } ?? Self.missing) }
    }

    mutating func append(contentsOf other: CategoryTable) {
        guard columnCount > 0 else { return }
        if codes.isEmpty {
            self = other
            return
        }
        let known = other.texts.map { code(of: $0) }
        codes.append(
            contentsOf: other.codes.map { $0 == Self.missing ? Self.missing : known[Int($0)] })
    }

    func rows(_ range: Range<Int>) -> CategoryTable {
        guard columnCount > 0 else { return self }
        var part = self
        part.codes = Array(
            codes[(range.lowerBound * columnCount)..<(range.upperBound * columnCount)])
        return part
    }

    /// Some rows, without one of the columns.
    func selecting(_ rows: [Int], without column: Int?) -> CategoryTable {
        let kept = (0..<columnCount).filter { $0 != column }
        var part = CategoryTable(columnCount: kept.count)
        guard !kept.isEmpty else { return part }
        for row in rows { part.append(kept.map { text(row: row, column: $0) }) }
        return part
    }

    private mutating func code(of text: String) -> Int32 {
        if let code = codeOfText[text] { return code }
        let code = Int32(texts.count)
        texts.append(text)
        codeOfText[text] = code
        return code
    }

    /// The text of a cell as it is kept.
    static func text(of cell: UnsafeBufferPointer<UInt8>) -> String {
        let text = String(decoding: cell, as: UTF8.self)
        guard text.utf8.count > textLimitBytes else { return text }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in cell { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        let digits = String(hash, radix: 16)
        let end = "~" + String(repeating: "0", count: 16 - digits.count) + digits
        var kept = ""
        var room = textLimitBytes - end.utf8.count
        for scalar in text.unicodeScalars {
            room -= UTF8.width(scalar)
            guard room >= 0 else { break }
            kept.unicodeScalars.append(scalar)
        }
        return kept + end
    }
}
