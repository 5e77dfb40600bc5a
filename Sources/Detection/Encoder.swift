import FlowDensity
import Foundation
import Ingest

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
        center = mean
        scale = variance > 0 && variance.isFinite ? variance.squareRoot() : max(upper - lower, 1)
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

    /// The value nearest to this one that the column can take.
    func snapped(_ value: Double) -> Double {
        let inside = min(max(value, lower), upper)
        return step > 0 ? lower + ((inside - lower) / step).rounded() * step : inside
    }
}

/// From records to the rows that a flow reads, and from data units to standardised ones.
///
/// Each feature that varies becomes `u = (v − center) / scale`, computed in Double. A record beyond the range of the
/// training rows is judged at the nearest point within, and pays for its way there (`rangePenalty`): pushed further out
/// it never becomes more likely, whatever the flow does where it saw no data.
///
///     ln p(v) = ln p_flow(u clamped) − Σⱼ ln scaleⱼ − Σⱼ penalty(excessⱼ)
struct Encoder: Sendable, Hashable {
    let schema: Schema
    let columns: [Column]
    let lags: Int
    let calendar: [CalendarFeature]
    /// What stands in for a value that is missing.
    let missing: MissingPolicies
    /// The categories, and the pattern of missing values.
    let discrete: DiscreteDensity
    /// Indices of the features that vary, in schema order: the flow's features.
    let active: [Int]

    init(
        schema: Schema, columns: [Column], lags: Int, calendar: [CalendarFeature],
        missing: MissingPolicies, discrete: DiscreteDensity
    ) {
        self.schema = schema
        self.columns = columns
        self.lags = lags
        self.missing = missing
        self.discrete = discrete
        self.calendar = schema.time == nil ? [] : calendar
        active = columns.indices.filter { !columns[$0].isConstant }
    }

    /// Learns the columns of these records.
    init(
        fitting records: RecordBatch, lags: Int, calendar: [CalendarFeature],
        missing: MissingPolicies, discrete: DiscreteDensity
    ) {
        let count = records.schema.features.count
        let columns = (0..<count).map { j in
            let values = (0..<records.rowCount).map { records.values[$0 * count + j] }
                .filter { !$0.isNaN }
            return Column(values: values.isEmpty ? [0] : values)
        }
        self.init(
            schema: records.schema, columns: columns, lags: lags, calendar: calendar,
            missing: missing, discrete: discrete)
    }

    /// Length of the context that the flow is conditioned on.
    var contextCount: Int {
        lags * active.count + 2 * calendar.count + discrete.contextCount
    }

    /// `Σⱼ ln scaleⱼ`: from standardised units to data units, in nats.
    var logScaleSum: Double { active.reduce(0) { $0 + log(columns[$1].scale) } }

    /// Rows for the flow, and what the range of the training rows and the constant columns add.
    struct Rows: Sendable {
        /// Standardised features, shape [rows, active features].
        var x: Matrix<Float>
        /// Context, shape [rows, context]; `nil` without one.
        var context: Matrix<Float>?
        /// Nats to take away from each row's log-likelihood for values beyond the training range.
        var penalty: [Double]
        /// Indices of the constant features that changed, for the rows where any did.
        var changedConstants: [Int: [Int]]
        /// Categories and the pattern of missing values.
        var discrete: DiscreteDensity.Rows
        /// Indices of the features that were missing, for the rows where any were.
        var gaps: [Int: [Int]]
        /// The records with their gaps filled.
        var records: RecordBatch

        /// How many features and categories have a value that makes an anomaly by itself.
        func breakCount(_ row: Int) -> Int {
            (changedConstants[row]?.count ?? 0) + (discrete.neverSeen[row]?.count ?? 0)
        }
    }

    /// Nats that a value pays for lying `excess` deviations beyond the training range.
    ///
    /// Quadratic like a normal tail up to ten deviations, then linear: it grows for ever and stays finite.
    static func rangePenalty(excess: Double) -> Double {
        let near = min(excess, 10)
        return near + 0.5 * near * near + 11 * (min(excess, 1e12) - near)
    }

    /// Encodes a batch and moves the stream's context past it.
    ///
    /// - Precondition: The records have this encoder's features.
    func encode(_ given: RecordBatch, state: inout ContextState) -> Rows {
        precondition(given.schema.columns == schema.columns, "records of the model's columns")
        let (records, gaps) = filled(given, after: state)
        let discreteRows = discrete.rows(of: records, gaps: gaps)
        let featureCount = columns.count
        var x = Matrix<Float>(rowCount: records.rowCount, columnCount: active.count)
        var penalty = [Double](repeating: 0, count: records.rowCount)
        var changed: [Int: [Int]] = [:]
        let constants = columns.indices.filter { columns[$0].isConstant && !isAlwaysMissing($0) }
        for row in 0..<records.rowCount {
            let start = row * featureCount
            for (k, j) in active.enumerated() {
                let column = columns[j]
                let value = records.values[start + j]
                let inside = min(max(value, column.lower), column.upper)
                x.storage[row * active.count + k] = Float((inside - column.center) / column.scale)
                if inside != value {
                    penalty[row] += Self.rangePenalty(excess: abs(value - inside) / column.scale)
                }
            }
            for j in constants where records.values[start + j] != columns[j].lower {
                changed[row, default: []].append(j)
            }
        }
        let isSeries = lags + calendar.count > 0
        let context = discrete.context(
            discreteRows, rowCount: records.rowCount,
            behind: isSeries ? contextRows(records, x: x, state: state) : nil)
        state.advance(past: records, keeping: lags)
        return Rows(
            x: x, context: context, penalty: penalty, changedConstants: changed,
            discrete: discreteRows, gaps: gaps, records: records)
    }

    /// Whether a feature had no value in any training row.
    private func isAlwaysMissing(_ feature: Int) -> Bool {
        discrete.columns.contains {
            $0.kind == .presence && $0.name == schema.features[feature] && $0.levels == [nil]
        }
    }

    /// `[lag 1 … lag L, calendar]` of each row; a reading before the stream's first counts as its first.
    private func contextRows(
        _ records: RecordBatch, x: Matrix<Float>, state: ContextState
    ) -> Matrix<Float> {
        let width = active.count
        let contextCount = lags * width + 2 * calendar.count
        var context = Matrix<Float>(rowCount: records.rowCount, columnCount: contextCount)
        let history = state.rows(featureCount: columns.count).map { row in
            active.map { j in
                let column = columns[j]
                let inside = min(max(row[j], column.lower), column.upper)
                return Float((inside - column.center) / column.scale)
            }
        }
        for row in 0..<records.rowCount {
            let base = row * contextCount
            for lag in 0..<lags {
                let source = row - lag - 1
                for k in 0..<width {
                    let value: Float
                    if source >= 0 {
                        value = x.storage[source * width + k]
                    } else if !history.isEmpty {
                        value = history[max(history.count + source, 0)][k]
                    } else {
                        value = row > 0 ? x.storage[k] : 0
                    }
                    context.storage[base + lag * width + k] = value
                }
            }
            for (i, feature) in calendar.enumerated() where records.times[row].isFinite {
                let phase = 2 * Double.pi * (records.times[row] / feature.periodSecs)
                context.storage[base + lags * width + 2 * i] = Float(sin(phase))
                context.storage[base + lags * width + 2 * i + 1] = Float(cos(phase))
            }
        }
        return context
    }
}

/// The last records of a stream: what a density with lags is conditioned on.
///
/// It holds raw values, so that it outlives a change of the model, and is stored with the checkpoint, so that a restarted daemon
/// scores the next record as if it had never stopped.
public struct ContextState: Sendable, Hashable, Codable {
    private var values: [Double] = []
    private var featureCount = 0

    /// An empty context, as before a stream's first record.
    public init() {}

    /// The newest rows, oldest first; none when they are of another width.
    func rows(featureCount: Int) -> [[Double]] {
        guard featureCount == self.featureCount, featureCount > 0 else { return [] }
        return stride(from: 0, to: values.count, by: featureCount).map {
            Array(values[$0..<($0 + featureCount)])
        }
    }

    /// Takes the rows of a batch in and keeps the newest.
    ///
    /// At least `DetectorOptions.maximumLags` rows are kept, so that the next model may look back further than this one.
    public mutating func advance(past records: RecordBatch, keeping lags: Int = 0) {
        let count = records.schema.features.count
        if count != featureCount {
            values = []
            featureCount = count
        }
        let keep = max(lags, DetectorOptions.maximumLags) * count
        values.append(contentsOf: records.values.suffix(keep))
        if values.count > keep { values.removeFirst(values.count - keep) }
    }
}
