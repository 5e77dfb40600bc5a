import Ingest

/// Which records had which part in a fit, so that a later fit gives each of them the same part.
///
/// A flow that goes on from a former one knows all that this one learned from. A record of those must never calibrate, or
/// held-out scores flatter; so the parts go by the records' running numbers, in blocks that stay the same.
struct Lineage: Sendable, Hashable, Codable {
    /// A record by which running numbers are found again.
    struct Mark: Sendable, Hashable, Codable {
        var number: Int64
        /// A digest of its time, values and texts, of 53 bits: JSON readers keep these.
        var digest: Int64
    }

    /// How the records are parted.
    var blocks: Blocks
    /// The first record of each block that is like no other.
    var marks: [Mark]
    /// How many fits in a row began from the one before; 0: this one began from nothing.
    var warmFits: Int

    private enum CodingKeys: String, CodingKey {
        case blocks, marks
        case warmFits = "warm_fits"
    }

    /// The most marks that are believed of a file: a fit gives about fifty, and a chain has ten.
    private static let mostMarks = 5_000
    /// Of so many blocks in ten there must be a mark: else records that come again could pass for new ones.
    private static let markedShare = 9

    /// - Parameters:
    ///   - numbers: The running number of each record, ascending.
    ///   - former: That of the fit before in the chain; the flows know its records too, so that its marks go on.
    init(
        _ records: RecordBatch, numbers: [Int64], blocks: Blocks, former: Lineage? = nil
    ) {
        self.blocks = blocks
        warmFits = former.map { $0.warmFits + 1 } ?? 0
        let digests = numbers.indices.map { Self.digest(of: records, row: $0) }
        let counts = Dictionary(digests.map { ($0, 1) }, uniquingKeysWith: +)
        marks = []
        var last: Int64?
        var newest: Mark?
        for (row, number) in numbers.enumerated() where counts[digests[row]] == 1 {
            newest = Mark(number: number, digest: digests[row])
            guard blocks.block(of: number) != last else { continue }
            last = blocks.block(of: number)
            marks.append(Mark(number: number, digest: digests[row]))
        }
        let blockCount = Set(numbers.map { blocks.block(of: $0) }).count
        guard 10 * marks.count >= Self.markedShare * blockCount else {
            marks = []
            return
        }
        if let newest, newest != marks.last { marks.append(newest) }
        guard let former, let first = numbers.first, let end = numbers.last else { return }
        guard !former.marks.isEmpty else {
            marks = []
            return
        }
        let known = Set(marks.map(\.digest))
        marks += former.marks.filter {
            !(first...end).contains($0.number) && !known.contains($0.digest)
        }
        marks.sort { $0.number < $1.number }
    }

    /// Whether the numbers, which come from a file, can be counted with.
    var isSound: Bool {
        let numbers = -(Int64(1) << 53)...(Int64(1) << 53)
        return (1...(1 << 31)).contains(blocks.length) && numbers.contains(blocks.origin)
            && marks.count <= Self.mostMarks && Set(marks.map(\.digest)).count == marks.count
            && marks.allSatisfy { numbers.contains($0.number) } && (0...1_000).contains(warmFits)
    }

    /// The running number of the first of these records, which follow one another without a gap.
    ///
    /// Each mark that occurs among them must occur where the first number puts it, and each that the number puts among
    /// them must occur there. Records with no mark are new: they go on behind the last mark's block.
    ///
    /// - Returns: `nil` when the marks agree on no number: the records are in another order, or some were left out; or
    ///   there is no mark, because every record is like another.
    func firstNumber(of records: RecordBatch) -> Int64? {
        let wanted = Dictionary(
            marks.map { ($0.digest, [$0.number]) }, uniquingKeysWith: { $0 + $1 })
        var votes: [Int64: Int] = [:]
        var digests = [Int64](repeating: 0, count: records.rowCount)
        var found: Set<Int64> = []
        for row in 0..<records.rowCount {
            digests[row] = Self.digest(of: records, row: row)
            for number in wanted[digests[row]] ?? [] {
                found.insert(digests[row])
                votes[number - Int64(row), default: 0] += 1
            }
        }
        guard let first = votes.max(by: { ($0.value, $1.key) < ($1.value, $0.key) })?.key else {
            guard let last = marks.last else { return nil }
            return blocks.origin + (blocks.block(of: last.number) + 1) * Int64(blocks.length)
        }
        let places = first..<(first + Int64(records.rowCount))
        let expected = marks.filter { places.contains($0.number) }
        let isSame = expected.allSatisfy { digests[Int($0.number - first)] == $0.digest }
        return isSame && found.isSubset(of: expected.map(\.digest)) ? first : nil
    }

    /// FNV-1a over the words of a record, and the last step of SplitMix64.
    private static func digest(of records: RecordBatch, row: Int) -> Int64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ word: UInt64) { hash = (hash ^ word) &* 0x0000_0100_0000_01b3 }
        add(records.times[row].isNaN ? 1 : records.times[row].bitPattern)
        for value in records.row(row) { add(value.isNaN ? 1 : value.bitPattern) }
        for column in records.schema.categories.indices {
            guard let text = records.categories.text(row: row, column: column) else {
                add(2)
                continue
            }
            for byte in text.utf8 { add(UInt64(byte)) }
            add(3)
        }
        hash = (hash ^ (hash >> 30)) &* 0xbf58_476d_1ce4_e5b9
        hash = (hash ^ (hash >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int64((hash ^ (hash >> 31)) >> 11)
    }
}
