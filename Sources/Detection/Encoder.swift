import FlowDensity
import Foundation
import Ingest

/// What a density may look back on, and how it reads the time.
struct ContextPlan: Sendable, Hashable {
    /// Former records that condition the density.
    var lags = 0
    /// Calendar readings that condition the density.
    var calendar: [CalendarFeature] = []
    /// The zone of the calendar, by its name in the time-zone database; UTC by default.
    var timeZone: String?
    /// The step of time from which the records before are of no use; `nil`: there is none.
    var gapSecs: Double?
}

/// From records to the rows that a flow reads, and from data units to standardised ones.
///
/// Each feature that varies becomes `u = (v − center) / scale`, computed in Double; with windows, each part of its state does. A value beyond
/// the range of the training rows is judged at the nearest point within, and pays for its way there (`rangePenalty`):
/// pushed further out it never becomes more likely, whatever the flow does where it saw no data.
///
///     ln p(v) = ln p_flow(u clamped) − Σⱼ ln scaleⱼ + ln |det windows| − Σⱼ penalty(excessⱼ)
struct Encoder: Sendable, Hashable {
    let schema: Schema
    let columns: [Column]
    let context: ContextPlan
    /// The trailing means in the density; `nil`: records alone.
    let windows: StateWindows?
    /// What stands in for a value that is missing.
    let missing: MissingPolicies
    /// The categories, and the pattern of missing values.
    let discrete: DiscreteDensity
    /// Indices of the features that vary, in schema order.
    let active: [Int]
    /// How each input of the flow is standardised: the active features, or the parts of their states.
    let inputs: [Column]
    private let clock: CalendarClock

    init(
        schema: Schema, columns: [Column], context: ContextPlan, windows: StateWindows?,
        missing: MissingPolicies, discrete: DiscreteDensity
    ) {
        self.schema = schema
        self.columns = columns
        self.missing = missing
        self.discrete = discrete
        var context = context
        if schema.time == nil { context.calendar = [] }
        self.context = context
        self.windows = windows
        let active = columns.indices.filter { !columns[$0].isConstant }
        self.active = active
        inputs = windows?.parts ?? active.map { columns[$0] }
        clock = CalendarClock(zone: context.timeZone)
    }

    /// Learns the columns of these records.
    ///
    /// - Parameter windows: Lengths of trailing means; none where no record has so many others before it.
    init(
        fitting records: RecordBatch, context: ContextPlan, windows lengths: [Int],
        missing: MissingPolicies, discrete: DiscreteDensity
    ) {
        let count = records.schema.features.count
        let columns = (0..<count).map { j in
            let values = (0..<records.rowCount).map { records.values[$0 * count + j] }
                .filter { !$0.isNaN }
            return Column(values: values.isEmpty ? [0] : values)
        }
        let bare = Encoder(
            schema: records.schema, columns: columns, context: context, windows: nil,
            missing: missing, discrete: discrete)
        let whole = bare.filled(records, after: ContextState()).records
        let readings = bare.readings(
            whole, after: ContextState(), withPast: !lengths.isEmpty)
        guard let longest = lengths.last, !bare.active.isEmpty,
            readings.runs.contains(where: { $0 + 1 >= longest }),
            let windows = StateWindows(
                lengths: lengths, fitting: readings, centers: bare.centers)
        else {
            self = bare
            return
        }
        self.init(
            schema: records.schema, columns: columns, context: context, windows: windows,
            missing: missing, discrete: discrete)
    }

    /// The same encoder with other calendar readings.
    func with(calendar: [CalendarFeature]) -> Encoder {
        var plan = context
        plan.calendar = calendar
        return Encoder(
            schema: schema, columns: columns, context: plan, windows: windows, missing: missing,
            discrete: discrete)
    }

    /// Numbers that the flow reads a record.
    var inputCount: Int { inputs.count }

    /// Length of the context that the flow is conditioned on.
    var contextCount: Int { seriesContextCount + discrete.contextCount }

    private var seriesContextCount: Int {
        context.lags * active.count + 2 * context.calendar.count
    }

    /// From standardised units to data units, in nats: `Σ ln scale`, less what the windows' bijection adds.
    var logScaleSum: Double {
        inputs.reduce(0) { $0 + log($1.scale) }
            - (windows.map { Double($0.moving.count) * $0.logDeterminant } ?? 0)
    }

    private var centers: [Double] { active.map { columns[$0].center } }

    /// Rows for the flow, and what the range of the training rows and the constant columns add.
    struct Rows: Sendable {
        /// Standardised inputs, shape [rows, inputs].
        var x: Matrix<Float>
        /// Context, shape [rows, context]; `nil` without one.
        var context: Matrix<Float>?
        /// Nats to take away from each row's log-likelihood for values beyond the training range.
        var penalty: [Double]
        /// Indices of the constant features that changed, for the rows where any did.
        var changedConstants: [Int: [Int]]
        /// The inputs in data units and not clamped, as `x`; empty without windows.
        var states: [Double]
        /// Rows whose windows are not all full, and how many are: the stream's first rows, and those after a gap.
        var unsettled: [Int: Int]
        /// Categories and the pattern of missing values.
        var discrete: DiscreteDensity.Rows
        /// Indices of the features that were missing, for the rows where any were.
        var gaps: [Int: [Int]]
        /// The records with their gaps filled.
        var records: RecordBatch

        /// The inputs of one row in data units; empty without windows.
        func state(of row: Int) -> ArraySlice<Double> {
            states.isEmpty
                ? [] : states[(row * x.columnCount)..<((row + 1) * x.columnCount)]
        }

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
        let (records, gaps) = filled(given, after: state)
        defer { state.advance(past: records) }
        return encode(whole: records, gaps: gaps, after: state)
    }

    /// Encodes records whose gaps are filled.
    ///
    /// - Parameters:
    ///   - gaps: The features that were missing, for the rows where any were.
    ///   - state: What came before the first of them.
    /// - Precondition: The records have this encoder's features.
    func encode(
        whole records: RecordBatch, gaps: [Int: [Int]], after state: ContextState
    ) -> Rows {
        let readings = readings(records, after: state)
        var rows = Rows(
            x: Matrix(rowCount: records.rowCount, columnCount: inputCount), context: nil,
            penalty: [Double](repeating: 0, count: records.rowCount), changedConstants: [:],
            states: [], unsettled: [:],
            discrete: discrete.rows(of: records, gaps: gaps), gaps: gaps, records: records)
        measureRange(of: records, into: &rows)
        if windows == nil {
            standardise(readings, into: &rows)
        } else {
            standardiseStates(readings, into: &rows)
        }
        rows.context = discrete.context(
            rows.discrete, rowCount: records.rowCount,
            behind: seriesContextCount > 0 ? contextRows(records, readings) : nil)
        return rows
    }

    /// What a feature pays for its reading and the parts of its state.
    ///
    /// - Parameters:
    ///   - k: The feature, by its place in `active`.
    ///   - state: The parts of all features, data units; empty without windows.
    func penalty(ofActive k: Int, reading: Double, state: ArraySlice<Double>) -> Double {
        var sum = columns[active[k]].penalty(reading)
        guard let windows else { return sum }
        for input in windows.inputs(of: k) {
            sum += inputs[input].penalty(state[state.startIndex + input])
        }
        return sum
    }

    /// Writes what the flow reads of a feature with another reading or level.
    ///
    /// - Parameters:
    ///   - k: The feature, by its place in `active`.
    ///   - reading: Within the range of the training rows.
    ///   - state: The parts of all features before the change, data units; empty without windows.
    ///   - partChange: What a part of the feature's state changes by.
    ///   - set: Takes the place and the value of each input.
    /// - Returns: What the parts of its state then pay, in nats.
    func rewrite(
        active k: Int, reading: Double, state: ArraySlice<Double>,
        partChange: (StateWindows, Int) -> Double, set: (Int, Float) -> Void
    ) -> Double {
        guard let windows else {
            set(k, inputs[k].standardised(reading))
            return 0
        }
        var penalty = 0.0
        for part in 0..<windows.partCount {
            guard let input = windows.input(of: k, part: part) else { continue }
            let value = state[state.startIndex + input] + partChange(windows, part)
            set(input, inputs[input].standardised(inputs[input].clamped(value)))
            penalty += inputs[input].penalty(value)
        }
        return penalty
    }

    /// The batch's readings and those before them, each pulled into the range of the training rows.
    ///
    /// - Parameter withPast: Whether windows are to be learned, which need readings as later ones see them.
    func readings(
        _ records: RecordBatch, after state: ContextState, withPast: Bool = false
    ) -> Readings {
        let looksBack = context.lags > 0 || windows != nil
        let earlier =
            looksBack ? state.rows(featureCount: columns.count) : (values: [], times: [])
        var values: [Double] = []
        var past: [Double] = []
        values.reserveCapacity((earlier.times.count + records.rowCount) * active.count)
        for source in [earlier.values, records.values] {
            for start in stride(from: 0, to: source.count, by: max(columns.count, 1)) {
                for j in active {
                    values.append(columns[j].clamped(source[start + j]))
                    if withPast || windows != nil {
                        past.append(columns[j].tamed(source[start + j]))
                    }
                }
            }
        }
        return Readings(
            width: active.count, earlier: earlier.times.count, values: values, past: past,
            times: earlier.times + records.times, gapSecs: context.gapSecs,
            beginnings: records.beginnings.map { earlier.times.count + $0 })
    }

    private func measureRange(of records: RecordBatch, into rows: inout Rows) {
        let constants = columns.indices.filter { columns[$0].isConstant && !isAlwaysMissing($0) }
        for row in 0..<records.rowCount {
            let start = row * columns.count
            for j in active {
                let value = records.values[start + j]
                if value < columns[j].lower || value > columns[j].upper {
                    rows.penalty[row] += columns[j].penalty(value)
                }
            }
            for j in constants where records.values[start + j] != columns[j].lower {
                rows.changedConstants[row, default: []].append(j)
            }
        }
    }

    /// Whether a feature had no value in any training row.
    private func isAlwaysMissing(_ feature: Int) -> Bool {
        discrete.columns.contains {
            $0.kind == .presence && $0.name == schema.features[feature] && $0.levels == [nil]
        }
    }

    private func standardise(_ readings: Readings, into rows: inout Rows) {
        let width = active.count
        let start = readings.earlier * width
        for row in 0..<rows.x.rowCount {
            for k in 0..<width {
                let value = readings.values[start + row * width + k]
                rows.x.storage[row * width + k] = inputs[k].standardised(value)
            }
        }
    }

    private func standardiseStates(_ readings: Readings, into rows: inout Rows) {
        guard let windows else { return }
        let centers = centers
        rows.states.reserveCapacity(rows.x.storage.count)
        var state = [Double](repeating: 0, count: inputCount)
        for row in 0..<rows.x.rowCount {
            let known = readings.runs[row + readings.earlier] + 1
            windows.state(
                of: readings, at: row + readings.earlier, known: known, centers: centers,
                into: &state)
            for i in 0..<inputCount {
                let inside = inputs[i].clamped(state[i])
                rows.x.storage[row * inputCount + i] = inputs[i].standardised(inside)
                if inside != state[i] { rows.penalty[row] += inputs[i].penalty(state[i]) }
            }
            rows.states.append(contentsOf: state)
            if known < windows.longest {
                rows.unsettled[row] = windows.fullCount(known: known)
            }
        }
    }

    /// The inputs of some rows as if the stream had begun just before each, with what they pay for their range.
    ///
    /// - Parameters:
    ///   - readings: Those of whole records, from the stream's first on.
    ///   - rows: Those asked for, each with its windows full.
    ///   - fullCount: How many windows are to be full.
    func begun(
        _ readings: Readings, rows: [Int], fullCount: Int, using generator: inout SeededGenerator
    ) -> (x: Matrix<Float>, penalty: [Double]) {
        var x = Matrix<Float>(rowCount: rows.count, columnCount: inputCount)
        var penalty = [Double](repeating: 0, count: rows.count)
        guard let windows else { return (x, penalty) }
        let centers = centers
        var state = [Double](repeating: 0, count: inputCount)
        for (index, row) in rows.enumerated() {
            let known = Int.random(in: windows.known(fullCount: fullCount), using: &generator)
            windows.state(of: readings, at: row, known: known, centers: centers, into: &state)
            for i in 0..<inputCount {
                x.storage[index * inputCount + i] = inputs[i].standardised(
                    inputs[i].clamped(state[i]))
                penalty[index] += inputs[i].penalty(state[i])
            }
        }
        return (x, penalty)
    }

    /// `[lag 1 … lag L, calendar]` of each row; a reading before the stream's first, or before a gap, counts as the first after it.
    private func contextRows(_ records: RecordBatch, _ readings: Readings) -> Matrix<Float> {
        let width = active.count
        let lags = context.lags
        var rows = Matrix<Float>(rowCount: records.rowCount, columnCount: seriesContextCount)
        for row in 0..<records.rowCount {
            let base = row * seriesContextCount
            let place = row + readings.earlier
            for lag in 0..<lags where readings.runs[place] > 0 {
                let source = place - min(lag + 1, readings.runs[place])
                for k in 0..<width {
                    rows.storage[base + lag * width + k] = columns[active[k]].standardised(
                        readings.values[source * width + k])
                }
            }
            for (i, feature) in context.calendar.enumerated()
            where records.times[row].isFinite {
                let phase = clock.phase(feature, at: records.times[row])
                rows.storage[base + lags * width + 2 * i] = Float(sin(phase))
                rows.storage[base + lags * width + 2 * i + 1] = Float(cos(phase))
            }
        }
        return rows
    }
}

extension Encoder.Rows {
    /// Puts the rows of the parts of a batch together, in their order.
    init(joining parts: [Encoder.Rows], records: RecordBatch, gaps: [Int: [Int]]) {
        let columnCount = parts[0].x.columnCount
        x = Matrix(
            rowCount: records.rowCount, columnCount: columnCount,
            storage: Array(concatenating: parts.map(\.x.storage)))
        context = parts[0].context.map { first in
            Matrix(
                rowCount: records.rowCount, columnCount: first.columnCount,
                storage: Array(concatenating: parts.compactMap(\.context?.storage)))
        }
        penalty = Array(concatenating: parts.map(\.penalty))
        states = Array(concatenating: parts.map(\.states))
        discrete = DiscreteDensity.Rows()
        changedConstants = [:]
        unsettled = [:]
        var first = 0
        for part in parts {
            discrete.append(part.discrete, from: first)
            for (row, columns) in part.changedConstants {
                changedConstants[first + row] = columns
            }
            for (row, count) in part.unsettled { unsettled[first + row] = count }
            first += part.x.rowCount
        }
        self.records = records
        self.gaps = gaps
    }
}

extension Array {
    /// The elements of some arrays, one array after the other.
    init(concatenating arrays: [[Element]]) {
        self = []
        reserveCapacity(arrays.reduce(0) { $0 + $1.count })
        for array in arrays { append(contentsOf: array) }
    }
}
