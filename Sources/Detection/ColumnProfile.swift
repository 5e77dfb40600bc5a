import Ingest

/// What the first records of an input say of a feature, as a model would learn it.
public struct ColumnProfile: Sendable {
    /// Values that are there.
    public var count: Int
    /// Values that are not.
    public var missing: Int
    /// The least value.
    public var lower: Double
    /// The greatest value.
    public var upper: Double
    /// The value in the middle.
    public var median: Double
    /// Distance of the grid that all values lie on; 0 where there is none that matters.
    public var step: Double

    private let column: Column

    /// Looks at the values of a feature; `nil` if there are none.
    ///
    /// - Parameter values: Finite, or NaN where a record has none.
    public init?(values: [Double]) {
        let present = values.filter(\.isFinite)
        guard !present.isEmpty else { return nil }
        column = Column(values: present)
        count = present.count
        missing = values.count - present.count
        lower = column.lower
        upper = column.upper
        median = column.median
        step = column.step
    }

    /// The number that the flows see for a value: how many deviations it is from the mean.
    public func encoded(_ value: Double) -> Double { Double(column.standardised(value)) }
}

/// How the times of an input follow one another.
public struct TimeProfile: Sendable {
    /// The first and the last in the order of the input, epoch seconds.
    public var first: Double
    /// The last in the order of the input.
    public var last: Double
    /// The usual time between two records, in seconds.
    public var step: Double
    /// The share of records that come a step after the one before, to a tenth of it.
    public var steadyShare: Double
    /// The longest time between two records, in seconds.
    public var longestGap: Double
    /// Records whose time is before that of the one before.
    public var backwards: Int
    /// Records with the time of the one before.
    public var repeated: Int

    /// Looks at times; `nil` if there are fewer than two.
    ///
    /// - Parameter times: Epoch seconds, NaN where a record has none.
    public init?(times: [Double]) {
        let times = times.filter(\.isFinite)
        guard times.count > 1, let first = times.first, let last = times.last else { return nil }
        self.first = first
        self.last = last
        let steps = zip(times.dropFirst(), times).map { $0 - $1 }
        let sorted = steps.sorted()
        let median = sorted[sorted.count / 2]
        step = median
        steadyShare =
            Double(steps.count { abs($0 - median) <= 0.1 * abs(median) }) / Double(steps.count)
        longestGap = sorted[sorted.count - 1]
        backwards = steps.count { $0 < 0 }
        repeated = steps.count { $0 == 0 }
    }
}
