/// Which rows train, which decide when to stop, which calibrate.
struct Split {
    private(set) var training: [Int] = []
    private(set) var validation: [Int] = []
    let calibration: [Int]
    /// All rows, with the parts of their blocks in which they lie.
    private let placed: [(row: Int, part: Int)]
    /// The parts of a block that are not for calibration.
    private let learningParts: [Int]

    /// Equal parts of a block: of twenty, 13 train, 2 validate, 5 calibrate.
    private static let partCount = 20
    private static let quarters = 4
    private static let validating = 2
    /// With fewer rows than this the quarters of the blocks take turns.
    private static let fewRows = 500
    /// The flows of each turn, where quarters take turns.
    static let flowsATurn = 4

    /// Parts rows by their own running numbers; the last quarter of each block calibrates.
    ///
    /// A record has the same part in each fit with the same blocks, wherever in the window it has come to lie.
    init(rows: [Int], numbers: [Int64], blocks: Blocks) {
        self.init(
            rows.map { (row: $0, part: blocks.part(of: numbers[$0], of: Self.partCount)) },
            calibrating: Self.quarters - 1)
    }

    /// Parts rows by their places among these.
    init(rows: [Int]) {
        let blocks = Blocks(rowCount: rows.count, origin: 0)
        self.init(
            rows.enumerated().map { index, row in
                (row: row, part: blocks.part(of: Int64(index), of: Self.partCount))
            }, calibrating: Self.quarters - 1)
    }

    /// Whether gaps in the running numbers leave each part about its share of the rows.
    var isBalanced: Bool {
        var counts = [Int](repeating: 0, count: Self.partCount)
        for (_, part) in placed { counts[part] += 1 }
        // The calibration half of its share or twice that, each validation a quarter of its share.
        let calibrating = calibration.count
        guard calibrating * 8 >= placed.count, calibrating * 2 <= placed.count else { return false }
        return (0...(learningParts.count - Self.validating)).allSatisfy { first in
            let validating = learningParts[first..<first + Self.validating]
                .reduce(0) { $0 + counts[$1] }
            return validating * 2 * Self.partCount >= placed.count
        }
    }

    /// Whether rows are too few to keep a quarter of them from learning.
    var takesTurns: Bool { placed.count < Self.fewRows }

    private init(_ placed: [(row: Int, part: Int)], calibrating quarter: Int) {
        self.placed = placed
        let size = Self.partCount / Self.quarters
        let calibrates = quarter * size..<(quarter + 1) * size
        calibration = placed.filter { calibrates.contains($0.part) }.map(\.row)
        learningParts = (0..<Self.partCount).filter { !calibrates.contains($0) }
        deal(validatingFrom: learningParts.count - Self.validating)
    }

    /// The splits by which a detector learns, one after the other: this one, or of few rows one for each quarter.
    ///
    /// A few hundred rows are too few to keep a quarter of them from learning. Where each quarter is scored by flows that
    /// learned from the other three, and all flows serve together, every row calibrates and three quarters of the flows
    /// know it (bagging; cross-conformal prediction, Vovk, 2015, <https://doi.org/10.1007/s10472-013-9368-4>).
    var turns: [Split] {
        guard takesTurns else { return [self] }
        return (0..<Self.quarters).map { Split(placed, calibrating: $0) }
    }

    /// The number of all rows.
    var rowCount: Int { placed.count }

    /// The rows that are not for calibration, in order.
    var learning: [Int] {
        placed.filter { learningParts.contains($0.part) }.map(\.row)
    }

    /// The split for one of several flows: each has other rows that decide when to stop.
    ///
    /// So a strange record among them makes one flow worse, not all; and each row teaches most of the flows.
    func fold(_ member: Int) -> Split {
        var fold = self
        let places = learningParts.count - Self.validating + 1
        fold.deal(validatingFrom: places - 1 - member * 2 * Self.validating % places)
        return fold
    }

    private mutating func deal(validatingFrom first: Int) {
        let validates = learningParts[first..<first + Self.validating]
        let learned = placed.filter { learningParts.contains($0.part) }
        training = learned.filter { !validates.contains($0.part) }.map(\.row)
        validation = learned.filter { validates.contains($0.part) }.map(\.row)
    }
}

/// The blocks that records are parted into: so many in a row, from a running number on.
struct Blocks: Sendable, Hashable, Codable {
    /// Records in a block, those that are missing counted.
    var length: Int
    /// The running number at which a block begins.
    var origin: Int64

    /// Blocks for so many rows: fifty, or as many as have forty rows.
    init(rowCount: Int, origin: Int64) {
        length = max(40, rowCount / 50)
        self.origin = origin
    }

    /// Whether blocks for so many rows would have about this length.
    func fit(rowCount: Int) -> Bool {
        let wanted = Blocks(rowCount: rowCount, origin: 0).length
        return length <= 2 * wanted && wanted <= 2 * length
    }

    /// The block of a record.
    func block(of number: Int64) -> Int64 {
        let (quotient, rest) = (number - origin).quotientAndRemainder(dividingBy: Int64(length))
        return rest < 0 ? quotient - 1 : quotient
    }

    /// The part of its block that a record lies in, of so many equal ones.
    func part(of number: Int64, of count: Int) -> Int {
        let place = number - origin - block(of: number) * Int64(length)
        return Int(place) * count / length
    }
}
