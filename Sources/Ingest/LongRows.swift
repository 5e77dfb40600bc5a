/// How rows that hold readings of one series each become records that hold all series.
///
/// A row is a point: a time, what names its series, and one value or several. Each series is a column
/// of the records, which lie on a grid of time.
public struct LongRows: Sendable, Hashable, Codable {
    /// The columns whose texts name the series; in line protocol the tags that do so beside the
    /// measurement.
    public var series: [String]
    /// The columns of the values; empty in line protocol: every field that is a number.
    public var values: [String]
    /// The length of a step of the grid, whose steps begin at multiples of it since 1970.
    public var every: Duration
    /// A series' last value stands for it until it is older than this at a step's end.
    public var staleAfter: Duration
    /// How much later than the newest point a step's points may come.
    public var lateBy: Duration

    /// How rows are put together.
    ///
    /// - Precondition: `every` is at least a millisecond, `staleAfter` at least `every`, `lateBy` not negative.
    public init(
        series: [String], values: [String], every: Duration, staleAfter: Duration,
        lateBy: Duration = .zero
    ) {
        precondition(
            every >= .milliseconds(1) && staleAfter >= every && lateBy >= .zero,
            "a grid has steps, and values that last for one")
        self.series = series
        self.values = values
        self.every = every
        self.staleAfter = staleAfter
        self.lateBy = lateBy
    }

    /// What the names and the rhythm of the records follow from: with another shape they are others.
    public var shape: LongRows {
        LongRows(series: series, values: values, every: every, staleAfter: every)
    }
}

/// Where a record begins that several lines make.
public struct RecordOrigin: Sendable, Hashable, Codable {
    /// The input of its first line.
    public var input: String
    /// The number of that line in its input.
    public var line: Int64
    /// The offset of that line's first byte.
    public var offset: Int64

    /// An origin.
    public init(input: String, line: Int64, offset: Int64) {
        self.input = input
        self.line = line
        self.offset = offset
    }
}

/// The points of a batch of long rows.
struct LongPoints: Sendable {
    /// One line of the batch.
    struct Point: Sendable, Hashable {
        /// Microseconds since 1970.
        var time: Int64
        var lineIndex: Int
        /// Its values: a range of `cells`.
        var cells: Range<Int>
    }

    /// A value, and which of `names` it is of.
    struct Cell: Sendable, Hashable {
        var name: Int
        var value: Double
    }

    /// The columns that have values in the batch, each once.
    var names: [String] = []
    var cells: [Cell] = []
    /// In the order of the lines.
    var points: [Point] = []
    /// Lines that are no points.
    var faults: [RowFault] = []
}

/// What became of rows beside those that are in records.
public struct PointCounts: Sendable, Hashable, Codable {
    /// Points that came when their step was closed.
    public var late: Int64 = 0
    /// Points that had a value of a series for which there was one of the same time.
    public var duplicate: Int64 = 0
    /// Points without a value of any series that is a column.
    public var unknown: Int64 = 0

    /// No points.
    public init() {}
}

extension Duration {
    /// Whole microseconds.
    var microseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }
}
