import FlowDensity
import Foundation
import Ingest

extension Detector {
    /// Learns the density of these records and calibrates it on some that it held out.
    ///
    /// The records are cut into short blocks in their order; of each, the first rows train, the next decide when to stop and
    /// the last calibrate. So all three cover the whole time, and few calibration rows have a neighbour that was trained on.
    ///
    /// - Parameters:
    ///   - records: Records of normal operation, in time order; some anomalies among them do little harm.
    ///   - options: What the user chose.
    ///   - parallel: Splits the gradient's shards; the model's bits do not depend on it.
    ///   - progress: Called often; `false` cancels the fit.
    /// - Throws: `tooFewRows`, `noFeatures`, `everyFeatureConstant`, `training`, `cancelled`.
    public static func fit(
        _ records: RecordBatch, options: DetectorOptions, parallel: ParallelFor = .serial,
        progress: (FitProgress) -> Bool = { _ in true }
    ) throws(DetectionError) -> (detector: Detector, summary: FitSummary) {
        guard !records.schema.features.isEmpty else { throw .noFeatures }
        guard records.rowCount >= minimumRows else {
            throw .tooFewRows(found: records.rowCount, needed: minimumRows)
        }
        guard progress(FitProgress(phase: .encoding, step: 0, stepLimit: 1)) else {
            throw .cancelled
        }
        let choice = contextChoice(records, options: options)
        let split = Split(
            rows: usableRows(records, choice.context, longest: choice.windows.last ?? 1))
        var encoder = Encoder(
            fitting: records, context: choice.context, windows: choice.windows,
            missing: options.missing ?? MissingPolicies(),
            discrete: DiscreteDensity(
                fitting: records, rows: (split.training + split.validation).sorted()))
        guard !encoder.active.isEmpty else {
            throw .everyFeatureConstant(features: records.schema.features)
        }
        if options.calendar == nil {
            encoder = encoder.with(
                calendar: try calendar(
                    for: records, split, encoder: encoder, options: options, parallel: parallel))
        }
        var state = ContextState()
        let rows = encoder.encode(records, state: &state)
        let training = try train(rows, split, encoder, options, parallel, progress)
        guard
            progress(
                FitProgress(
                    phase: .calibrating, step: training.steps,
                    stepLimit: training.steps))
        else { throw .cancelled }
        let units = encoder.logScaleSum
        let densities = training.flows.logLikelihood(
            rows.x.selectingRows(split.calibration),
            context: rows.context?.selectingRows(split.calibration), parallel: parallel)
        let scores = zip(densities, split.calibration).map { density, row in
            density - units + rows.discrete.logProbability(row)
        }.filter(\.isFinite)
        guard let least = scores.min(), let greatest = scores.max() else {
            throw .training(
                .diverged(
                    step: training.steps, lastFiniteLoss: nil,
                    restarts: training.restarts))
        }
        let summary = FitSummary(
            rowCount: records.rowCount, trainingRows: split.training.count,
            validationRows: split.validation.count, calibrationRows: split.calibration.count,
            steps: training.steps,
            heldOutLogLikelihood: scores.reduce(0, +) / Double(scores.count),
            stopReason: training.stopReason,
            notes: notes(
                on: encoder, gaps: detectedGaps(records, encoder), restarts: training.restarts))
        let detector = Detector(
            options: options, summary: summary, encoder: encoder, flows: training.flows,
            calibration: Calibration(logLikelihoods: scores),
            beginnings: beginnings(rows, split, encoder, training.flows, options.seed, parallel),
            constantPenalty: greatest - least + log(Double(records.rowCount + 2)))
        return (detector, summary)
    }

    /// How records at the beginning of a stream are scored, by the number of windows that are full.
    ///
    /// The means that are not known are guessed, and what is guessed breaks relations that measured means keep: such records have
    /// lower scores, and must not be alarms for that.
    private static func beginnings(
        _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ flows: FlowMixture<Float>,
        _ seed: UInt64, _ parallel: ParallelFor
    ) -> [ScoreTail] {
        guard let windows = encoder.windows else { return [] }
        let chosen = split.calibration.filter { rows.unsettled[$0] == nil }
        var generator = SeededGenerator(seed: seed)
        let context = rows.context?.selectingRows(chosen)
        let units = encoder.logScaleSum
        let readings = encoder.readings(rows.records, after: ContextState())
        return windows.lengths.indices.map { fullCount in
            let begun = encoder.begun(
                readings, rows: chosen, fullCount: fullCount, using: &generator)
            let densities = flows.logLikelihood(begun.x, context: context, parallel: parallel)
            let scores = densities.indices.map {
                densities[$0] - units - begun.penalty[$0]
                    + rows.discrete.logProbability(chosen[$0])
            }.filter(\.isFinite)
            return ScoreTail(scores: scores.isEmpty ? [0] : scores)
        }
    }

    /// What came of fitting all members.
    private struct Training {
        var flows: FlowMixture<Float>
        /// Steps of all members.
        var steps: Int
        /// Restarts of all members.
        var restarts: Int
        /// Why the last member's training ended.
        var stopReason: String
    }

    /// Fits the members one after the other, each from a start and with noise of its own.
    private static func train(
        _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ options: DetectorOptions,
        _ parallel: ParallelFor, _ progress: (FitProgress) -> Bool
    ) throws(DetectionError) -> Training {
        let plan = FitPlan(
            options: options, rowCount: split.training.count,
            featureCount: encoder.inputCount, isSeries: encoder.schema.time != nil)
        var generator = SeededGenerator(seed: options.seed)
        var members: [Flow<Float>] = []
        var steps = 0
        var restarts = 0
        var stopReason = ""
        for member in 0..<plan.members {
            let base = member * plan.training.maximumSteps
            let data = TrainingData(
                rows, split.fold(member), encoder, plan, using: &generator)
            let fitted = try train(data, plan, parallel, using: &generator) { report in
                progress(
                    FitProgress(
                        phase: .training, step: base + report.step,
                        stepLimit: plan.members * plan.training.maximumSteps,
                        heldOutLogLikelihood: report.heldOutLogLikelihood))
            }
            members.append(fitted.flow)
            steps += fitted.summary.steps
            restarts += fitted.summary.restarts
            stopReason = fitted.summary.stopReason
        }
        return Training(
            flows: FlowMixture(members), steps: steps, restarts: restarts, stopReason: stopReason)
    }

    /// What a member is fitted to.
    private struct TrainingData {
        let x: Matrix<Float>
        let context: Matrix<Float>?
        let heldOut: Matrix<Float>
        let heldOutContext: Matrix<Float>?
        let noise: TrainingNoise<Float>

        init(
            _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ plan: FitPlan,
            using generator: inout SeededGenerator
        ) {
            (x, context) = encoder.trainingRows(rows, chosen: split.training, using: &generator)
            heldOut = rows.x.selectingRows(split.validation)
            heldOutContext = rows.context?.selectingRows(split.validation)
            noise = TrainingNoise(
                uniform: encoder.inputs.map { Float($0.step / $0.scale) },
                gaussian: encoder.inputs.map { _ in Float(plan.noise) })
        }
    }

    private static func train(
        _ data: TrainingData, _ plan: FitPlan, _ parallel: ParallelFor,
        using generator: inout SeededGenerator, _ progress: (TrainingReport) -> Bool
    ) throws(DetectionError) -> (flow: Flow<Float>, summary: TrainingSummary) {
        var flow = Flow<Float>(
            featureCount: data.x.columnCount, contextCount: data.context?.columnCount ?? 0,
            options: plan.flow, using: &generator)
        var isCancelled = false
        do {
            let summary = try flow.fit(
                data.x, context: data.context, heldOut: data.heldOut,
                heldOutContext: data.heldOutContext, noise: data.noise, options: plan.training,
                using: &generator, parallel: parallel
            ) { report in
                isCancelled = !progress(report)
                return !isCancelled
            }
            if isCancelled { throw DetectionError.cancelled }
            return (flow, summary)
        } catch let error as FlowDensityError {
            throw .training(error)
        } catch {
            throw .cancelled
        }
    }

    /// The rows that have all they look back on; all rows where gaps leave too few of those.
    private static func usableRows(
        _ records: RecordBatch, _ context: ContextPlan, longest: Int
    ) -> [Int] {
        let lookback = max(context.lags, longest - 1)
        let runs = Readings.runs(times: records.times, gapSecs: context.gapSecs)
        let settled = runs.indices.filter { runs[$0] >= lookback }
        return settled.count >= minimumRows ? settled : Array(runs.indices)
    }

    /// What the density looks back on, as chosen by the user, or as fits the records.
    private static func contextChoice(
        _ records: RecordBatch, options: DetectorOptions
    ) -> (context: ContextPlan, windows: [Int]) {
        let isTimed = records.times.allSatisfy(\.isFinite)
        let featureCount = records.schema.features.count
        let windows =
            options.windows
            ?? (isTimed
                ? FitPlan.windows(rowCount: records.rowCount, featureCount: featureCount) : [])
        var context = ContextPlan()
        context.lags = min(
            options.lags ?? (featureCount == 1 && isTimed && windows.isEmpty ? 4 : 0),
            DetectorOptions.maximumLags)
        context.calendar = options.calendar ?? []
        context.timeZone = options.timeZone
        context.gapSecs = isTimed ? Readings.gapSecs(times: records.times) : nil
        return (context, windows)
    }

    /// The calendar readings under which held-out records are clearly more likely than without.
    ///
    /// Each candidate is tried with one small flow and few steps. The hour of day needs records of two days, the day of
    /// week of two weeks.
    private static func calendar(
        for records: RecordBatch, _ split: Split, encoder: Encoder, options: DetectorOptions,
        parallel: ParallelFor
    ) throws(DetectionError) -> [CalendarFeature] {
        let times = records.times.filter(\.isFinite)
        // By the usual rate: one time that is wrong must not make days of an hour.
        let perDay = RecordRate.perDay(times: times)
        guard times.count == records.rowCount, perDay > 0 else { return [] }
        let days = Double(times.count) / perDay
        var candidates: [[CalendarFeature]] = [[]]
        if days >= 2 { candidates.append([.hourOfDay]) }
        if days >= 14 { candidates.append([.hourOfDay, .dayOfWeek]) }
        guard candidates.count > 1 else { return [] }
        var best = (calendar: candidates[0], scores: [Double]())
        for calendar in candidates {
            let scores = try trialScores(
                of: records, split, with: encoder.with(calendar: calendar), options: options,
                parallel: parallel)
            if best.scores.isEmpty || isClearlyGreater(scores, than: best.scores) {
                best = (calendar, scores)
            }
        }
        return best.calendar
    }

    /// The log-likelihood of each validation record under a small flow, in nats and standardised units.
    private static func trialScores(
        of records: RecordBatch, _ split: Split, with encoder: Encoder, options: DetectorOptions,
        parallel: ParallelFor
    ) throws(DetectionError) -> [Double] {
        var state = ContextState()
        let rows = encoder.encode(records, state: &state)
        var plan = FitPlan(
            options: options, rowCount: split.training.count, featureCount: encoder.inputCount,
            isSeries: true)
        plan.flow.couplingLayers = 4
        plan.flow.hiddenWidth = 32
        plan.training.maximumSteps = 400
        var generator = SeededGenerator(seed: options.seed)
        let data = TrainingData(rows, split, encoder, plan, using: &generator)
        let flow = try train(data, plan, parallel, using: &generator) { _ in true }.flow
        return flow.logLikelihood(data.heldOut, context: data.heldOutContext, parallel: parallel)
    }

    /// Whether one of two rows of paired scores has the greater mean by two standard errors.
    ///
    /// Neighbours in time are alike, so the error is that of the means of twenty pieces.
    static func isClearlyGreater(_ scores: [Double], than others: [Double]) -> Bool {
        let pieces = min(20, scores.count)
        guard pieces > 1, scores.count == others.count else { return false }
        let means = (0..<pieces).map { piece in
            let range = (piece * scores.count / pieces)..<((piece + 1) * scores.count / pieces)
            return range.reduce(0) { $0 + scores[$1] - others[$1] } / Double(range.count)
        }
        let mean = means.reduce(0, +) / Double(pieces)
        let variance =
            means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(pieces - 1)
        return mean > 2 * (variance / Double(pieces)).squareRoot()
    }

    /// Gaps in time among the records, where the density looks back.
    private static func detectedGaps(_ records: RecordBatch, _ encoder: Encoder) -> Int {
        guard encoder.windows != nil || encoder.context.lags > 0 else { return 0 }
        return zip(records.times, records.times.dropFirst()).count {
            Readings.isGap(from: $0, to: $1, gapSecs: encoder.context.gapSecs)
        }
    }

    private static func notes(on encoder: Encoder, gaps: Int, restarts: Int) -> [String] {
        var notes: [String] = []
        if gaps > 0, let gapSecs = encoder.context.gapSecs {
            notes.append(
                "\(gaps) steps of time are longer than \(NumberText.short(gapSecs)) s: "
                    + "the records after such a gap are judged without those before it")
        }
        for (name, column) in zip(encoder.schema.features, encoder.columns) {
            if column.isConstant {
                notes.append(
                    "'\(name)' is always \(NumberText.short(column.lower)): "
                        + "any change of it is an anomaly")
            } else if column.step > 0 {
                notes.append("'\(name)' moves in steps of \(NumberText.short(column.step))")
            }
        }
        notes += encoder.discrete.columns.compactMap(\.note)
        if restarts > 0 {
            notes.append(
                "the training diverged and began anew with smaller steps, \(restarts) times")
        }
        return notes
    }
}

/// Which rows train, which decide when to stop, which calibrate.
struct Split {
    private(set) var training: [Int] = []
    private(set) var validation: [Int] = []
    private(set) var calibration: [Int] = []
    /// The parts of their blocks, of twenty, in which the rows that are not for calibration lie.
    private let parts: [(row: Int, part: Int)]

    private static let partCount = 20
    /// Twentieths of a block: 65 % train, 10 % validate, 25 % calibrate.
    private static let learning = 15
    private static let validating = 2

    init(rows: [Int]) {
        let blockLength = max(40, rows.count / 50)
        let placed = rows.enumerated().map { index, row in
            (row: row, part: index % blockLength * Self.partCount / blockLength)
        }
        calibration = placed.filter { $0.part >= Self.learning }.map(\.row)
        parts = placed.filter { $0.part < Self.learning }
        deal(validatingFrom: Self.learning - Self.validating)
    }

    /// The split for one of several flows: each has other rows that decide when to stop.
    ///
    /// So a strange record among them makes one flow worse, not all; and each row teaches most of the flows.
    func fold(_ member: Int) -> Split {
        var fold = self
        let places = Self.learning - Self.validating + 1
        fold.deal(validatingFrom: places - 1 - member * 2 * Self.validating % places)
        return fold
    }

    private mutating func deal(validatingFrom first: Int) {
        let validates = first..<first + Self.validating
        training = parts.filter { !validates.contains($0.part) }.map(\.row)
        validation = parts.filter { validates.contains($0.part) }.map(\.row)
    }
}
