/// What the encoder knows of one feature, learned from the training rows.
struct Column: Sendable, Hashable {
    /// Mean of the rows between the 0.5 % and 99.5 % quantiles pulled to these, in data units.
    var center: Double
    /// Standard deviation of the same, in data units; positive.
    var scale: Double
    /// Least value of the training rows.
    var lower: Double
    /// Greatest value of the training rows.
    var upper: Double
    /// Distance of the grid that all values lie on; 0 where there is none that matters.
    var step: Double
    /// Values at evenly spaced ranks, `quantileCount` of them: where an expected value is looked for.
    var quantiles: [Double]

    static let quantileCount = 13

    /// The value in the middle of the training rows.
    var median: Double { quantiles[quantiles.count / 2] }

    /// A column of one value has no density; any change of it is an anomaly.
    var isConstant: Bool { lower == upper }

    /// Learns a column.
    ///
    /// - Precondition: At least one value, all finite.
    init(values: [Double]) {
        let sorted = values.sorted()
        let last = sorted.count - 1
        lower = sorted[0]
        upper = sorted[last]
        quantiles = (0..<Self.quantileCount).map {
            sorted[$0 * last / (Self.quantileCount - 1)]
        }
        let cut = sorted.count / 200
        let (low, high) = (sorted[cut], sorted[last - cut])
        let count = Double(sorted.count)
        var mean = 0.0
        for value in sorted { mean += min(max(value, low), high) / count }
        var variance = 0.0
        for value in sorted {
            let deviation = min(max(value, low), high) - mean
            variance += deviation * deviation / count
        }
        // A column that is the same but for a few rows keeps the spread of those few.
        if variance.squareRoot() <= 1e-3 * (upper - lower) / count.squareRoot() {
            mean = sorted.reduce(0) { $0 + $1 / count }
            variance = sorted.reduce(0) { $0 + ($1 - mean) * ($1 - mean) / count }
        }
        // The mean of one value again and again is that value but for rounding, which is no spread.
        center = lower == upper ? lower : mean
        let hasSpread = lower < upper && variance > 0 && variance.isFinite
        scale = hasSpread ? variance.squareRoot() : max(upper - lower, 1)
        step = Self.gridStep(sorted: sorted, scale: scale)
    }

    init(
        center: Double, scale: Double, lower: Double, upper: Double, step: Double,
        quantiles: [Double]
    ) {
        self.center = center
        self.scale = scale
        self.lower = lower
        self.upper = upper
        self.step = step
        self.quantiles = quantiles
    }

    /// The step of the grid that the values lie on, where it is wide enough to matter.
    ///
    /// A step below a thousandth of the deviation is as good as continuous: the noise in training covers it.
    private static func gridStep(sorted: [Double], scale: Double) -> Double {
        var least = Double.infinity
        for (a, b) in zip(sorted, sorted.dropFirst()) where b - a > 1e-9 * scale {
            least = min(least, b - a)
        }
        guard least.isFinite, least > 1e-3 * scale, let first = sorted.first, let last = sorted.last
        else { return 0 }
        let step = (last - first) / ((last - first) / least).rounded()
        for value in sorted {
            let position = (value - first) / step
            if abs(position - position.rounded()) > 1e-3 { return 0 }
        }
        return step
    }

    /// The value, pulled into the range of the training rows.
    func clamped(_ value: Double) -> Double { min(max(value, lower), upper) }

    /// A former value, pulled to where all but wild ones lie: one wild reading must not make every mean that holds it strange.
    func tamed(_ value: Double) -> Double {
        let reach = Self.tamedReach * scale
        return min(max(value, max(lower, center - reach)), min(upper, center + reach))
    }

    private static let tamedReach = 4.0

    /// The value in deviations from the center.
    func standardised(_ value: Double) -> Float { Float((value - center) / scale) }

    /// Nats that a value pays for lying beyond the range of the training rows.
    func penalty(_ value: Double) -> Double {
        Encoder.rangePenalty(excess: abs(value - clamped(value)) / scale)
    }

    /// The value nearest to this one that the column can take.
    func snapped(_ value: Double) -> Double {
        let inside = min(max(value, lower), upper)
        return step > 0 ? lower + ((inside - lower) / step).rounded() * step : inside
    }
}
