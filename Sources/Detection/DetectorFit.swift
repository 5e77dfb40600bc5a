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
        let context = contextChoice(records, options: options)
        let split = Split(rowCount: records.rowCount, skipping: context.lags)
        let encoder = Encoder(
            fitting: records, lags: context.lags, calendar: context.calendar,
            missing: options.missing ?? MissingPolicies(),
            discrete: DiscreteDensity(
                fitting: records, rows: (split.training + split.validation).sorted()))
        guard !encoder.active.isEmpty else {
            throw .everyFeatureConstant(features: records.schema.features)
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
            context: rows.context?.selectingRows(split.calibration), parallel: parallel
        )
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
            notes: notes(on: encoder, restarts: training.restarts))
        let detector = Detector(
            options: options, summary: summary, encoder: encoder, flows: training.flows,
            calibration: Calibration(logLikelihoods: scores),
            constantPenalty: greatest - least + log(Double(records.rowCount + 2)))
        return (detector, summary)
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
            featureCount: encoder.active.count, isSeries: encoder.schema.time != nil)
        var generator = SeededGenerator(seed: options.seed)
        let data = TrainingData(rows, split, encoder, plan, using: &generator)
        var members: [Flow<Float>] = []
        var steps = 0
        var restarts = 0
        var stopReason = ""
        for member in 0..<plan.members {
            let base = member * plan.training.maximumSteps
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

    /// What every member is fitted to.
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
                uniform: encoder.active.map {
                    Float(encoder.columns[$0].step / encoder.columns[$0].scale)
                },
                gaussian: encoder.active.map { _ in Float(plan.noise) })
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

    /// Lags and calendar as chosen by the user, or as fit the records.
    private static func contextChoice(
        _ records: RecordBatch, options: DetectorOptions
    ) -> (lags: Int, calendar: [CalendarFeature]) {
        let times = records.times.filter(\.isFinite)
        let isSeries = records.schema.features.count == 1 && times.count == records.rowCount
        // By the usual rate: one time that is wrong must not make days of an hour.
        let perDay = RecordRate.perDay(times: times)
        let days = isSeries && perDay > 0 && Double(times.count) >= 2 * perDay
        let lags = min(options.lags ?? (isSeries ? 4 : 0), DetectorOptions.maximumLags)
        return (lags, options.calendar ?? (days ? [.hourOfDay] : []))
    }

    private static func notes(on encoder: Encoder, restarts: Int) -> [String] {
        var notes: [String] = []
        notes += encoder.discrete.columns.compactMap(\.note)
        for (name, column) in zip(encoder.schema.features, encoder.columns) {
            if column.isConstant {
                notes.append(
                    "'\(name)' is always \(NumberText.short(column.lower)): "
                        + "any change of it is an anomaly")
            } else if column.step > 0 {
                notes.append("'\(name)' moves in steps of \(NumberText.short(column.step))")
            }
        }
        if restarts > 0 {
            notes.append(
                "the training diverged and began anew with smaller steps, \(restarts) times")
        }
        return notes
    }
}

/// Which rows train, which decide when to stop, which calibrate.
struct Split {
    var training: [Int] = []
    var validation: [Int] = []
    var calibration: [Int] = []

    /// Shares of each block: 65 % train, 10 % validate, 25 % calibrate.
    init(rowCount: Int, skipping first: Int) {
        let usable = rowCount - first
        let blockLength = max(40, usable / 50)
        for row in first..<rowCount {
            let place = (row - first) % blockLength * 20 / blockLength
            switch place {
            case ..<13: training.append(row)
            case ..<15: validation.append(row)
            default: calibration.append(row)
            }
        }
    }
}
