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

    /// Parts the rows; the last quarter of each block calibrates.
    init(rows: [Int]) {
        let blockLength = max(40, rows.count / 50)
        self.init(
            rows.enumerated().map { index, row in
                (row: row, part: index % blockLength * Self.partCount / blockLength)
            }, calibrating: Self.quarters - 1)
    }

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
        guard placed.count < Self.fewRows else { return [self] }
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
