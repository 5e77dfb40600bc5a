import FlowDensity
import Foundation
import Ingest

extension Detector {
    /// Learns the density of these records and calibrates it on records that flows had not seen.
    ///
    /// The records are cut into short blocks in their order; of each, the first rows train, the next decide when to stop and
    /// the last calibrate. So all three cover the whole time, and few calibration rows have a neighbour that was trained on.
    /// Of few records the quarters of the blocks take turns to calibrate (`Split.turns`).
    ///
    /// - Parameters:
    ///   - records: Records of normal operation, in time order, of one series or of several one after the other; some anomalies
    ///     among them do little harm.
    ///   - options: What the user chose.
    ///   - numbers: The running numbers of the records, by which each keeps its part from fit to fit.
    ///   - former: A detector whose flows this fit goes on from where that can be done honestly; else it begins from
    ///     nothing, and `FitSummary.coldReason` says why.
    ///   - parallel: Splits the gradient's shards; the model's bits do not depend on it.
    ///   - timeLimit: How long the fit may take; each flow has its share, and keeps what it has learned by then. The model
    ///     then depends on the machine's speed.
    ///   - progress: Called often; `false` cancels the fit.
    /// - Throws: `tooFewRows`, `noFeatures`, `everyFeatureConstant`, `training`, `cancelled`.
    public static func fit(
        _ records: RecordBatch, options: DetectorOptions, numbers: RecordNumbers = .consecutive,
        from former: Detector? = nil, parallel: ParallelFor = .serial, timeLimit: Duration? = nil,
        progress: (FitProgress) -> Bool = { _ in true }
    ) throws(DetectionError) -> (detector: Detector, summary: FitSummary) {
        let start = ContinuousClock.now
        guard !records.schema.features.isEmpty else { throw .noFeatures }
        guard records.rowCount >= minimumRows else {
            throw .tooFewRows(found: records.rowCount, needed: minimumRows)
        }
        guard progress(FitProgress(phase: .encoding, step: 0, stepLimit: 1)) else {
            throw .cancelled
        }
        let choice = contextChoice(records, options: options)
        let rows = usableRows(records, choice.context, longest: choice.windows.last ?? 1)
        var coldReason: String?
        if let former {
            do {
                let ground = try FitGround(
                    records, numbers: numbers, rows: rows, context: choice.context,
                    windows: choice.windows, options: options, former: former)
                try ground.check(plan(on: ground, options))
                return try learn(
                    records, on: ground, options: options, since: start, parallel: parallel,
                    timeLimit: timeLimit, progress: progress)
            } catch let reason as ColdReason {
                coldReason = reason.text
            } catch DetectionError.training(.diverged) {
                coldReason = "the training diverged from there"
            } catch let error as DetectionError {
                throw error
            } catch {
                coldReason = "\(error)"
            }
        }
        let ground = FitGround(
            records, numbers: numbers, rows: rows, context: choice.context,
            windows: choice.windows, options: options)
        var fitted = try learn(
            records, on: ground, options: options, since: start, parallel: parallel,
            timeLimit: timeLimit, progress: progress)
        if let coldReason {
            fitted.summary.coldReason = coldReason
            fitted.detector = fitted.detector.with(fitted.summary)
        }
        return fitted
    }

    /// The sizes of the flows and the length of their training.
    private static func plan(on ground: FitGround, _ options: DetectorOptions) -> FitPlan {
        var plan = FitPlan(
            options: options, rowCount: ground.split.training.count,
            featureCount: ground.encoder.inputCount, isSeries: ground.encoder.schema.time != nil)
        if !ground.flows.isEmpty { plan.training = plan.training.forWarmStart }
        return plan
    }

    /// Trains the flows, and calibrates them.
    private static func learn(
        _ records: RecordBatch, on ground: FitGround, options: DetectorOptions,
        since start: ContinuousClock.Instant, parallel: ParallelFor, timeLimit: Duration?,
        progress: (FitProgress) -> Bool
    ) throws(DetectionError) -> (detector: Detector, summary: FitSummary) {
        let split = ground.split
        let isWarm = !ground.flows.isEmpty
        var encoder = ground.encoder
        guard !encoder.active.isEmpty else {
            throw .everyFeatureConstant(features: records.schema.features)
        }
        if options.calendar == nil, !isWarm {
            encoder = encoder.with(
                calendar: try calendar(
                    for: records, split, encoder: encoder, options: options, parallel: parallel))
        }
        var state = ContextState()
        let rows = encoder.encode(records, state: &state)
        // What is counted of categories and gaps leaves out the rows that calibrate, always the same ones.
        let turns =
            options.members == nil && encoder.discrete.columns.isEmpty ? split.turns : [split]
        var plan = plan(on: ground, options)
        if turns.count > 1 { plan.members = Split.flowsATurn }
        let memberCount = turns.count * plan.members
        var time = TimeShares(start: start, limit: timeLimit, flows: memberCount)
        // A fit that went on with the draws of the one before would learn the same noise again.
        var generator =
            isWarm
            ? SeededGenerator(seed: options.seed, stream: UInt64(ground.lineage?.warmFits ?? 0))
            : SeededGenerator(seed: options.seed)
        var training = Training()
        var held = HeldOutScores(memberCount: memberCount)
        for (number, turn) in turns.enumerated() {
            let trained = try train(
                rows, turn, encoder, plan, ground.flows, &time, using: &generator, parallel
            ) { report in
                var whole = report
                whole.step += number * report.stepLimit
                whole.stepLimit *= turns.count
                return progress(whole)
            }
            if number == turns.count - 1 {
                let steps = training.steps + trained.steps
                guard progress(FitProgress(phase: .calibrating, step: steps, stepLimit: steps))
                else { throw .cancelled }
            }
            held.add(rows, turn, encoder, trained.flows, seed: options.seed, parallel)
            training.add(trained)
        }
        guard let least = held.scores.min(), let greatest = held.scores.max() else {
            throw .training(
                .diverged(
                    step: training.steps, lastFiniteLoss: nil,
                    restarts: training.restarts))
        }
        let calibration = Calibration(
            logLikelihoods: held.scores, rows: held.rows,
            reach: max(10, encoder.windows?.lengths.last ?? 0))
        let summary = FitSummary(
            rowCount: records.rowCount,
            trainingRows: turns.count > 1 ? split.rowCount : split.training.count,
            validationRows: turns.count > 1 ? split.rowCount : split.validation.count,
            calibrationRows: calibration.low.sorted.count,
            steps: training.steps,
            heldOutLogLikelihood: held.scores.reduce(0, +) / Double(held.scores.count),
            stopReason: training.stopReason,
            notes: notes(
                on: encoder, gaps: detectedGaps(records, encoder), restarts: training.restarts)
                + time.notes + strangeness(held.scores.count - calibration.low.sorted.count),
            isWarm: isWarm)
        let detector = Detector(
            options: options, summary: summary, encoder: encoder,
            flows: FlowMixture(training.flows),
            calibration: calibration,
            beginnings: held.begun.map { $0.isEmpty ? calibration.low : ScoreTail(scores: $0) },
            repeats: isTimed(records) ? Repeats(fitting: records, active: encoder.active) : nil,
            constantPenalty: greatest - least + log(Double(records.rowCount + 2)),
            lineage: turns.count > 1 ? nil : ground.lineage)
        return (detector, summary)
    }

    /// What came of fitting some members, or all.
    private struct Training {
        var flows: [Flow<Float>] = []
        /// Steps of all of them.
        var steps = 0
        /// Restarts of all of them.
        var restarts = 0
        /// Why the last one's training ended.
        var stopReason = ""

        mutating func add(_ other: Training) {
            flows += other.flows
            steps += other.steps
            restarts += other.restarts
            stopReason = other.stopReason
        }
    }

    /// What a fit's flows have of its time.
    private struct TimeShares {
        private let end: ContinuousClock.Instant?
        private let limit: Duration?
        private let flows: Int
        private var begun = 0
        /// Flows whose training the time ended.
        var endedCount = 0

        /// A twentieth of the limit is left for what follows the training.
        init(start: ContinuousClock.Instant, limit: Duration?, flows: Int) {
            self.limit = limit
            self.flows = flows
            end = limit.map { start + $0 * 0.95 }
        }

        /// When the training of the next flow is to end; what the others did not use is shared.
        mutating func endOfNext() -> ContinuousClock.Instant? {
            begun += 1
            guard let end else { return nil }
            let now = ContinuousClock.now
            return now + (end - now) / max(flows - begun + 1, 1)
        }

        /// What a user should know.
        var notes: [String] {
            guard let limit, endedCount > 0 else { return [] }
            return [
                "the time limit of \(NumberText.short(limit / .seconds(1))) s ended the training of "
                    + "\(endedCount) of \(flows) flows"
            ]
        }
    }

    /// Fits the members of a plan one after the other, each from a start and with noise of its own.
    ///
    /// - Parameter former: The flow that each begins from; empty: each begins from nothing.
    private static func train(
        _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ plan: FitPlan,
        _ former: [Flow<Float>], _ time: inout TimeShares, using generator: inout SeededGenerator,
        _ parallel: ParallelFor, _ progress: (FitProgress) -> Bool
    ) throws(DetectionError) -> Training {
        let count = plan.members
        var training = Training()
        for member in 0..<count {
            let base = member * plan.training.maximumSteps
            let data = TrainingData(
                rows, split.fold(member), encoder, plan, using: &generator)
            let end = time.endOfNext()
            let fitted = try train(
                data, plan, from: former.isEmpty ? nil : former[member], until: end, parallel,
                using: &generator
            ) { report in
                progress(
                    FitProgress(
                        phase: .training, step: base + report.step,
                        stepLimit: count * plan.training.maximumSteps,
                        heldOutLogLikelihood: report.heldOutLogLikelihood))
            }
            if fitted.summary.stopReason == outOfTime { time.endedCount += 1 }
            training.add(
                Training(
                    flows: [fitted.flow], steps: fitted.summary.steps,
                    restarts: fitted.summary.restarts, stopReason: fitted.summary.stopReason))
        }
        return training
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

    /// Why a training ended that had used its share of the time.
    private static let outOfTime = "time limit"

    private static func train(
        _ data: TrainingData, _ plan: FitPlan, from former: Flow<Float>? = nil,
        until end: ContinuousClock.Instant? = nil, _ parallel: ParallelFor,
        using generator: inout SeededGenerator,
        _ progress: (TrainingReport) -> Bool
    ) throws(DetectionError) -> (flow: Flow<Float>, summary: TrainingSummary) {
        let contextCount = data.context?.columnCount ?? 0
        var isCancelled = false
        var isOutOfTime = false
        do {
            var flow =
                try former.map { former throws(FlowDensityError) in
                    try Flow(
                        from: former, featureCount: data.x.columnCount, contextCount: contextCount,
                        options: plan.flow)
                }
                ?? Flow(
                    featureCount: data.x.columnCount, contextCount: contextCount,
                    options: plan.flow, using: &generator)
            var summary = try flow.fit(
                data.x, context: data.context, heldOut: data.heldOut,
                heldOutContext: data.heldOutContext, noise: data.noise, options: plan.training,
                using: &generator, parallel: parallel
            ) { report in
                isCancelled = !progress(report)
                isOutOfTime = end.map { ContinuousClock.now >= $0 } ?? false
                return !isCancelled && !isOutOfTime
            }
            if isCancelled { throw DetectionError.cancelled }
            if isOutOfTime { summary.stopReason = outOfTime }
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
        let runs = Readings.runs(
            times: records.times, gapSecs: context.gapSecs, beginnings: records.beginnings)
        let settled = runs.indices.filter { runs[$0] >= lookback }
        return settled.count >= minimumRows ? settled : Array(runs.indices)
    }

    /// Whether the records have an order in time.
    private static func isTimed(_ records: RecordBatch) -> Bool {
        records.times.allSatisfy(\.isFinite)
    }

    /// What the density looks back on, as chosen by the user, or as fits the records.
    private static func contextChoice(
        _ records: RecordBatch, options: DetectorOptions
    ) -> (context: ContextPlan, windows: [Int]) {
        let isTimed = isTimed(records)
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
        let beginnings = Set(records.beginnings)
        return records.times.indices.dropFirst().count { row in
            !beginnings.contains(row)
                && Readings.isGap(
                    from: records.times[row - 1], to: records.times[row],
                    gapSecs: encoder.context.gapSecs)
        }
    }

    /// What a user should know of records that are left out of the calibration.
    private static func strangeness(_ count: Int) -> [String] {
        guard count > 0 else { return [] }
        return [
            count == 1
                ? "1 record is so unlike the others that it is taken for an anomaly: it does not calibrate"
                : "\(count) records are so unlike the others that they are taken for anomalies: they do not calibrate"
        ]
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
        if let windows = encoder.windows {
            for (k, j) in encoder.active.enumerated() where !windows.isMoving(k) {
                notes.append(
                    "'\(encoder.schema.features[j])' mostly stays as it is for more than "
                        + "\(windows.longest) records: it is read without the means of its past")
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
