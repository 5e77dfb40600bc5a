import FlowDensity
import Foundation
import Ingest

/// Scores of a batch of records, in input order.
public struct Scores: Sendable {
    /// `ln p(record)`, in nats and data units; always finite.
    public var logLikelihood: [Double]
    /// The calibrated p-value of each.
    public var pValue: [Double]
    /// The probability of a record as improbable as each, among those whose windows are full; NaN where they are not.
    var lowProbability: [Double]
    var rows: Encoder.Rows
    /// What came before the first of them.
    let before: ContextState
    /// Those that stand still for longer than is usual.
    var standstills: [Int: Standstill] = [:]
    /// By records whose windows are full.
    let calibration: Calibration
    /// The calibration scores of records whose windows are not, by how many are.
    let beginnings: [ScoreTail]

    /// The time of each record in seconds since 1970, UTC; NaN where there is none.
    public var times: [Double] { rows.records.times }

    /// Whether a record lies outside, stands still, changed a feature that never changes, or has a value that is new to a
    /// closed set.
    public func isAnomaly(_ row: Int, threshold: Threshold) -> Bool {
        tail(of: row, threshold: threshold) != nil || rows.breakCount(row) > 0
    }

    /// The tail that a record lies in, or `nil` when it is normal.
    func tail(of row: Int, threshold: Threshold) -> Tail? {
        likelihoodTail(of: row, threshold: threshold)
            ?? (standstill(of: row, threshold: threshold) == nil ? nil : .high)
    }

    /// What of a record stands still for longer than a threshold bears; `nil` where nothing does.
    func standstill(of row: Int, threshold: Threshold) -> Standstill? {
        guard !standstills.isEmpty else { return nil }
        return standstills[row]?.within(budget(of: threshold))
    }

    /// The false-alarm probability that a threshold spends; where a person chose the log-likelihood, that of its upper end.
    private func budget(of threshold: Threshold) -> Double {
        guard threshold.kind == .manual else { return threshold.probability }
        return threshold.upperLogLikelihood.map {
            calibration.high.probability(-$0) / Calibration.highShare
        } ?? 0
    }

    /// The tail that its log-likelihood lies in.
    ///
    /// Where its windows are not full the upper tail does not count.
    func likelihoodTail(of row: Int, threshold: Threshold) -> Tail? {
        guard rows.unsettled[row] != nil else { return threshold.tail(of: logLikelihood[row]) }
        return logLikelihood[row] < lowThreshold(of: row, threshold) ? .low : nil
    }

    /// The log-likelihood below which a record is an anomaly.
    ///
    /// Where its windows are not full, what a budget gives comes from records like it; a log-likelihood set by hand holds for all.
    func lowThreshold(of row: Int, _ threshold: Threshold) -> Double {
        guard let fullWindows = rows.unsettled[row] else { return threshold.logLikelihood }
        let probability = threshold.probability * Calibration.lowShare
        // A person may choose a budget, too: it gives what the calibration gives.
        guard threshold.logLikelihood == calibration.low.threshold(probability: probability) else {
            return threshold.logLikelihood
        }
        return beginnings[fullWindows].threshold(probability: probability)
    }
}

extension Scores {
    /// Puts the scores of the parts of a batch together, in their order.
    ///
    /// - Parameters:
    ///   - records: The whole batch, with its gaps filled.
    ///   - gaps: The features that were missing, for the rows where any were.
    ///   - before: What came before the batch.
    init(
        joining parts: [Scores], records: RecordBatch, gaps: [Int: [Int]], before: ContextState
    ) {
        self.init(
            logLikelihood: Array(concatenating: parts.map(\.logLikelihood)),
            pValue: Array(concatenating: parts.map(\.pValue)),
            lowProbability: Array(concatenating: parts.map(\.lowProbability)),
            rows: Encoder.Rows(joining: parts.map(\.rows), records: records, gaps: gaps),
            before: before, calibration: parts[0].calibration, beginnings: parts[0].beginnings)
    }
}

/// An encoder, a mixture of flows and a calibration: everything between a record and its verdict.
public struct Detector: Sendable {
    /// The fewest usable rows of a fit.
    public static let minimumRows = 40

    /// What was chosen for the fit.
    public let options: DetectorOptions
    /// What came of the fit.
    public let summary: FitSummary
    let encoder: Encoder
    let flows: FlowMixture<Float>
    let calibration: Calibration
    /// Calibration scores of records whose windows are not full, by how many are; empty without windows.
    let beginnings: [ScoreTail]
    /// How long readings stand still; `nil` where the records have no order in time.
    let repeats: Repeats?
    /// Nats that a change of a constant feature costs, or a value that is new to a closed set: more than the whole spread of normal scores.
    let constantPenalty: Double
    /// Which records had which part in the fit; `nil`: no fit can go on from this one.
    let lineage: Lineage?

    init(
        options: DetectorOptions, summary: FitSummary, encoder: Encoder, flows: FlowMixture<Float>,
        calibration: Calibration, beginnings: [ScoreTail], repeats: Repeats?,
        constantPenalty: Double,
        lineage: Lineage? = nil
    ) {
        self.options = options
        self.summary = summary
        self.encoder = encoder
        self.flows = flows
        self.calibration = calibration
        self.beginnings = beginnings
        self.repeats = repeats
        self.constantPenalty = constantPenalty
        self.lineage = lineage
    }

    /// The same detector with another account of its fit.
    func with(_ summary: FitSummary) -> Detector {
        Detector(
            options: options, summary: summary, encoder: encoder, flows: flows,
            calibration: calibration, beginnings: beginnings, repeats: repeats,
            constantPenalty: constantPenalty, lineage: lineage)
    }

    /// The features that it reads, by name, and the time column.
    public var schema: Schema { encoder.schema }
    /// How many numbers the flows learned.
    public var parameterCount: Int { flows.parameterCount }
    /// How many flows the density is the mean of.
    public var memberCount: Int { flows.members.count }
    /// How many former records condition the density.
    public var lags: Int { encoder.context.lags }
    /// The lengths of the trailing windows whose means are judged with the record.
    public var windows: [Int] { encoder.windows?.lengths ?? [] }
    /// The calendar readings that condition the density.
    public var calendar: [CalendarFeature] { encoder.context.calendar }
    /// The step of time, in seconds, from which the records before are of no use; `nil`: there is none.
    public var gapSecs: Double? { encoder.context.gapSecs }

    /// The log-likelihood and p-value of each record.
    ///
    /// - Parameters:
    ///   - records: Records of this detector's features.
    ///   - state: The stream's context, which moves past the batch.
    ///   - parallel: Runs parts of the rows; the scores do not depend on it.
    /// - Returns: One finite log-likelihood a record, in nats.
    /// - Precondition: `records.schema.columns` are `schema.columns`.
    public func score(
        _ records: RecordBatch, state: inout ContextState, parallel: ParallelFor = .serial
    ) -> Scores {
        let (whole, gaps) = encoder.filled(records, after: state)
        let before = state
        let standstills = standstills(in: whole, gaps: gaps, after: &state)
        state.advance(past: whole)
        var scores = scoreParts(whole, gaps: gaps, after: before, parallel: parallel)
        scores.standstills = standstills
        for (row, standstill) in standstills {
            scores.pValue[row] = min(scores.pValue[row], standstill.pValue)
        }
        return scores
    }

    /// The records that stand still for longer than is usual, of those whose gaps are filled.
    ///
    /// - Parameter state: Its counts of repeats move past the batch, also where no model has a use for them yet.
    private func standstills(
        in whole: RecordBatch, gaps: [Int: [Int]], after state: inout ContextState
    ) -> [Int: Standstill] {
        guard let repeats else {
            state.countRepeats(of: whole, gaps: gaps)
            return [:]
        }
        return repeats.unusual(in: whole, gaps: gaps, active: encoder.active, after: &state)
    }

    /// Scores records whose gaps are filled, some at a time.
    private func scoreParts(
        _ whole: RecordBatch, gaps: [Int: [Int]], after before: ContextState, parallel: ParallelFor
    ) -> Scores {
        let partCount = (whole.rowCount + Self.partRows - 1) / Self.partRows
        guard partCount > 1 else { return score(whole, gaps: gaps, after: before) }
        let parts = parallel.map(partCount) { part in
            let first = part * Self.partRows
            let range = first..<min(first + Self.partRows, whole.rowCount)
            var gapsWithin: [Int: [Int]] = [:]
            if !gaps.isEmpty {
                for row in range { gapsWithin[row - first] = gaps[row] }
            }
            return score(
                whole.rows(range), gaps: gapsWithin, after: before.before(row: first, of: whole))
        }
        return Scores(joining: parts, records: whole, gaps: gaps, before: before)
    }

    /// Rows that are encoded and scored in one go: few enough that all of it stays in the cache, and a multiple of a flow's tile.
    private static let partRows = 768

    /// Scores records whose gaps are filled.
    func score(
        _ records: RecordBatch, gaps: [Int: [Int]], after state: ContextState
    ) -> Scores {
        let rows = encoder.encode(whole: records, gaps: gaps, after: state)
        let densities = flows.logLikelihood(rows.x, context: rows.context)
        let units = encoder.logScaleSum
        var logLikelihood = densities
        var pValue = [Double](repeating: 1, count: records.rowCount)
        var lowProbability = [Double](repeating: .nan, count: records.rowCount)
        let isSettled = rows.unsettled.isEmpty
        for row in logLikelihood.indices {
            let value = total(
                density: densities[row] + rows.discrete.logProbability(row),
                units: units, penalty: rows.penalty[row], breaks: rows.breakCount(row))
            logLikelihood[row] = value
            if !isSettled, let fullWindows = rows.unsettled[row] {
                pValue[row] = min(
                    beginnings[fullWindows].probability(value) / Calibration.lowShare, 1)
            } else {
                lowProbability[row] = calibration.low.probability(value)
                pValue[row] =
                    calibration.pValue(value, lowProbability: lowProbability[row]).pValue
            }
        }
        return Scores(
            logLikelihood: logLikelihood, pValue: pValue, lowProbability: lowProbability,
            rows: rows, before: state, calibration: calibration, beginnings: beginnings)
    }

    /// How many of the records come after a gap in time.
    ///
    /// - Parameter state: The stream's context, as before `score`.
    public func gapCount(_ records: RecordBatch, after state: ContextState) -> Int {
        let before = state.rows(featureCount: schema.features.count).times.last ?? .nan
        return zip([before] + records.times, records.times).count {
            Readings.isGap(from: $0, to: $1, gapSecs: gapSecs)
        }
    }

    /// Moves a stream's context past records without scoring them.
    ///
    /// - Precondition: `records.schema.columns` are `schema.columns`.
    public func skip(_ records: RecordBatch, state: inout ContextState) {
        let (whole, gaps) = encoder.filled(records, after: state)
        _ = standstills(in: whole, gaps: gaps, after: &state)
        state.advance(past: whole)
    }

    /// One record's log-likelihood from its parts; what cannot be represented is scored below the worst seen.
    func total(density: Double, units: Double, penalty: Double, breaks: Int) -> Double {
        let value = density - units - penalty - Double(breaks) * constantPenalty
        return value.isFinite ? value : calibration.low.sorted[0] - constantPenalty - 1e9
    }

    /// The threshold for a false-alarm probability.
    public func threshold(falseAlarmProbability: Double) -> Threshold {
        calibration.threshold(falseAlarmProbability: falseAlarmProbability)
    }

    /// Whether the threshold lies far beyond the scores of nearly all records that it was calibrated on.
    ///
    /// Faults or changes of level were among those, and whatever is less strange than they were is not found.
    public func isBlind(falseAlarmProbability: Double) -> Bool {
        calibration.low.isFarOut(probability: falseAlarmProbability * Calibration.lowShare)
    }

    /// The same in words.
    package func blindness(falseAlarmProbability: Double) -> String {
        let threshold = threshold(falseAlarmProbability: falseAlarmProbability).logLikelihood
        return "its threshold, \(NumberText.short(threshold)) nats, lies far beyond the scores of "
            + "nearly all records that it was calibrated on"
    }

    /// A threshold set by hand, with the false-alarm probability that it amounts to.
    ///
    /// The upper one stays where the calibration has it: a stuck sensor is still found.
    ///
    /// - Parameter falseAlarmProbability: What the upper one spends its share of; `nil`: that of the options.
    public func threshold(
        logLikelihood: Double, falseAlarmProbability: Double? = nil
    ) -> Threshold {
        let calibrated = threshold(
            falseAlarmProbability: falseAlarmProbability ?? options.falseAlarmProbability)
        return Threshold(
            kind: .manual, logLikelihood: logLikelihood,
            upperLogLikelihood: calibrated.upperLogLikelihood,
            probability: calibration.low.probability(logLikelihood))
    }

    /// Draws records from the learned density.
    ///
    /// A model with context draws each record given the ones before it, from the time zero of the calendar. One with windows draws
    /// each from the density of all states: alone they are as real ones, their order means nothing.
    public func sample(_ count: Int, seed: UInt64) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var drawn = RecordBatch(schema: schema)
        var state = ContextState()
        let step = lags > 0 || !calendar.isEmpty ? 1 : count
        while drawn.rowCount < count {
            // What a record holds beside its values is drawn first; they are drawn given that.
            var outline = RecordBatch(schema: schema)
            for _ in 0..<step {
                let discrete = encoder.discrete.cells(
                    encoder.discrete.sample(using: &generator), of: schema)
                outline.append(
                    zip(encoder.columns, discrete.hasValue).map { $1 ? $0.center : .nan },
                    categories: discrete.categories,
                    time: Double(drawn.rowCount + outline.rowCount))
            }
            var lookahead = state
            let context = encoder.encode(outline, state: &lookahead).context
            let rows = decode(flows.sample(step, context: context, using: &generator))
            for (index, row) in rows.enumerated() {
                for (j, value) in row.enumerated() {
                    let place = index * row.count + j
                    if !outline.values[place].isNaN { outline.values[place] = value }
                }
            }
            skip(outline, state: &state)
            drawn.append(contentsOf: outline)
        }
        return drawn
    }

    private func decode(_ x: Matrix<Float>) -> [[Double]] {
        (0..<x.rowCount).map { row in
            var record = encoder.columns.map(\.lower)
            for (k, j) in encoder.active.enumerated() {
                let column = encoder.columns[j]
                // The parts of a state add up to its reading.
                let value = (encoder.windows?.inputs(of: k) ?? [k])
                    .reduce(0) {
                        $0 + Double(x[row, $1]) * encoder.inputs[$1].scale
                            + encoder.inputs[$1].center
                    }
                record[j] =
                    column.step > 0
                    ? column.lower + ((value - column.lower) / column.step).rounded() * column.step
                    : value
            }
            return record
        }
    }
}
