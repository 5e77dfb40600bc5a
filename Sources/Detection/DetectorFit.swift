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
        let encoder = Encoder(fitting: records, lags: context.lags, calendar: context.calendar)
        guard !encoder.active.isEmpty else {
            throw .everyFeatureConstant(features: records.schema.features)
        }
        var state = ContextState()
        let rows = encoder.encode(records, state: &state)
        let split = Split(rowCount: records.rowCount, skipping: context.lags)
        let training = try train(rows, split, encoder, options, parallel, progress)
        let plan = training.plan
        guard
            progress(
                FitProgress(
                    phase: .calibrating, step: training.summary.steps,
                    stepLimit: plan.training.maximumSteps,
                    heldOutLogLikelihood: training.summary.heldOutLogLikelihood))
        else { throw .cancelled }
        let units = encoder.logScaleSum
        let scores = training.flow.logLikelihood(
            rows.x.selectingRows(split.calibration),
            context: rows.context?.selectingRows(split.calibration), parallel: parallel
        ).map { $0 - units }.filter(\.isFinite)
        guard let least = scores.min(), let greatest = scores.max() else {
            throw .training(
                .diverged(
                    step: training.summary.steps, lastFiniteLoss: nil,
                    restarts: training.summary.restarts))
        }
        let summary = FitSummary(
            rowCount: records.rowCount, trainingRows: split.training.count,
            validationRows: split.validation.count, calibrationRows: split.calibration.count,
            steps: training.summary.steps,
            heldOutLogLikelihood: scores.reduce(0, +) / Double(scores.count),
            stopReason: training.summary.stopReason,
            notes: notes(on: encoder, restarts: training.summary.restarts))
        let detector = Detector(
            options: options, summary: summary, encoder: encoder, flow: training.flow,
            calibration: Calibration(logLikelihoods: scores),
            constantPenalty: greatest - least + log(Double(records.rowCount + 2)))
        return (detector, summary)
    }

    private static func train(
        _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ options: DetectorOptions,
        _ parallel: ParallelFor, _ progress: (FitProgress) -> Bool
    ) throws(DetectionError) -> (flow: Flow<Float>, summary: TrainingSummary, plan: FitPlan) {
        let plan = FitPlan(
            family: options.family, rowCount: split.training.count,
            featureCount: encoder.active.count, isSeries: encoder.schema.time != nil)
        var generator = SeededGenerator(seed: options.seed)
        var flow = Flow<Float>(
            featureCount: encoder.active.count, contextCount: encoder.contextCount,
            options: plan.flow, using: &generator)
        let noise = TrainingNoise<Float>(
            uniform: encoder.active.map {
                Float(encoder.columns[$0].step / encoder.columns[$0].scale)
            },
            gaussian: encoder.active.map { _ in Float(plan.noise) })
        var isCancelled = false
        do {
            let summary = try flow.fit(
                rows.x.selectingRows(split.training),
                context: rows.context?.selectingRows(split.training),
                heldOut: rows.x.selectingRows(split.validation),
                heldOutContext: rows.context?.selectingRows(split.validation),
                noise: noise, options: plan.training, using: &generator, parallel: parallel
            ) { report in
                isCancelled = !progress(
                    FitProgress(
                        phase: .training, step: report.step, stepLimit: report.stepLimit,
                        heldOutLogLikelihood: report.heldOutLogLikelihood))
                return !isCancelled
            }
            if isCancelled { throw DetectionError.cancelled }
            return (flow, summary, plan)
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
        let span = (times.max() ?? 0) - (times.min() ?? 0)
        let days = isSeries && span >= 2 * CalendarFeature.hourOfDay.periodSecs
        let lags = min(options.lags ?? (isSeries ? 4 : 0), DetectorOptions.maximumLags)
        return (lags, options.calendar ?? (days ? [.hourOfDay] : []))
    }

    private static func notes(on encoder: Encoder, restarts: Int) -> [String] {
        var notes: [String] = []
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
