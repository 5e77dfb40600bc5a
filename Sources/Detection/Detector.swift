import FlowDensity
import Foundation
import Ingest

/// Scores of a batch of records, in input order.
public struct Scores: Sendable {
    /// `ln p(record)`, in nats and data units; always finite.
    public var logLikelihood: [Double]
    /// The calibrated p-value of each.
    public var pValue: [Double]
    /// The scored records.
    public var records: RecordBatch
    var rows: Encoder.Rows

    /// Whether a record lies outside, or changed a feature that never changes.
    public func isAnomaly(_ row: Int, threshold: Threshold) -> Bool {
        tail(of: row, threshold: threshold) != nil || rows.changedConstants[row] != nil
    }

    /// The tail that a record lies in, or `nil` when it is normal.
    ///
    /// Where its window is not full the upper one does not count: guessed means are more likely than measured ones.
    func tail(of row: Int, threshold: Threshold) -> Tail? {
        let tail = threshold.tail(of: logLikelihood[row])
        return tail == .high && rows.unsettled.contains(row) ? nil : tail
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
    /// Nats that a change of a constant feature costs: more than the whole spread of normal scores.
    let constantPenalty: Double

    init(
        options: DetectorOptions, summary: FitSummary, encoder: Encoder, flows: FlowMixture<Float>,
        calibration: Calibration, constantPenalty: Double
    ) {
        self.options = options
        self.summary = summary
        self.encoder = encoder
        self.flows = flows
        self.calibration = calibration
        self.constantPenalty = constantPenalty
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
    ///   - parallel: Splits the rows; the scores do not depend on it.
    /// - Returns: One finite log-likelihood a record, in nats.
    /// - Precondition: `records.schema.features` are `schema.features`.
    public func score(
        _ records: RecordBatch, state: inout ContextState, parallel: ParallelFor = .serial
    ) -> Scores {
        let rows = encoder.encode(records, state: &state)
        let densities = flows.logLikelihood(rows.x, context: rows.context, parallel: parallel)
        let units = encoder.logScaleSum
        var logLikelihood = densities
        var pValue = [Double](repeating: 1, count: records.rowCount)
        for row in logLikelihood.indices {
            logLikelihood[row] = total(
                density: densities[row], units: units, penalty: rows.penalty[row],
                changedConstants: rows.changedConstants[row]?.count ?? 0)
            pValue[row] = calibration.pValue(logLikelihood[row]).pValue
        }
        return Scores(
            logLikelihood: logLikelihood, pValue: pValue, records: records, rows: rows)
    }

    /// One record's log-likelihood from its parts; what cannot be represented is scored below the worst seen.
    func total(density: Double, units: Double, penalty: Double, changedConstants: Int) -> Double {
        let value =
            density - units - penalty - Double(changedConstants) * constantPenalty
        return value.isFinite ? value : calibration.low.sorted[0] - constantPenalty - 1e9
    }

    /// The threshold for a false-alarm probability.
    public func threshold(falseAlarmProbability: Double) -> Threshold {
        calibration.threshold(falseAlarmProbability: falseAlarmProbability)
    }

    /// A threshold set by hand, with the false-alarm probability that it amounts to.
    ///
    /// The upper one stays where the calibration has it: a stuck sensor is still found.
    public func threshold(logLikelihood: Double) -> Threshold {
        let calibrated = threshold(falseAlarmProbability: options.falseAlarmProbability)
        return Threshold(
            kind: .manual, logLikelihood: logLikelihood,
            upperLogLikelihood: calibrated.upperLogLikelihood,
            probability: calibration.low.probability(logLikelihood))
    }

    /// Draws records from the learned density, one array a record in the order of `schema.features`.
    ///
    /// A model with context draws each record given the ones before it, from the time zero of the calendar. One with windows draws
    /// each from the density of all states: alone they are as real ones, their order means nothing.
    public func sample(_ count: Int, seed: UInt64) -> [[Double]] {
        var generator = SeededGenerator(seed: seed)
        guard encoder.contextCount > 0 else {
            return decode(flows.sample(count, context: nil, using: &generator))
        }
        var state = ContextState()
        var drawn: [[Double]] = []
        for _ in 0..<count {
            var record = RecordBatch(schema: schema)
            record.append(
                drawn.last ?? encoder.columns.map(\.center), time: Double(drawn.count),
                lineIndex: 0, offset: 0)
            var lookahead = state
            let context = encoder.encode(record, state: &lookahead).context
            guard let row = decode(flows.sample(1, context: context, using: &generator)).first
            else { break }
            drawn.append(row)
            var batch = RecordBatch(schema: schema)
            batch.append(row, time: Double(drawn.count), lineIndex: 0, offset: 0)
            state.advance(past: batch)
        }
        return drawn
    }

    private func decode(_ x: Matrix<Float>) -> [[Double]] {
        (0..<x.rowCount).map { row in
            var record = encoder.columns.map(\.lower)
            for (k, j) in encoder.active.enumerated() {
                let column = encoder.columns[j]
                // The parts of a state add up to its reading.
                let value = stride(from: k, to: encoder.inputCount, by: encoder.active.count)
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
