import Detection
import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// A threshold follows the measured rate of records once it is this factor off.
    private static let rateTolerance = 1.25

    /// Sets or resets the threshold, by a person's wish.
    package func setThreshold(_ choice: WorkerState.ThresholdChoice) throws -> ServingModel {
        guard !board.isStopping else { throw RequestError.stopping(stream: name) }
        guard serving != nil else { throw RequestError.noModel(stream: name) }
        guard ownsModel else { throw RequestError.borrowedModel(stream: name) }
        try recalibrate(
            choice == .configured ? "reset to the configuration" : nil, choice: choice)
        guard let serving else { throw RequestError.noModel(stream: name) }
        return serving
    }

    /// Makes the threshold of the serving model anew.
    ///
    /// - Parameter cause: What called for it, beside the choice itself.
    func recalibrate(_ cause: String?, choice: WorkerState.ThresholdChoice? = nil) throws {
        guard var model = serving else { return }
        var next = state
        next.choice = choice ?? next.choice
        if choice != nil {
            next.droppedLogLikelihood = nil
            next.pace = AlarmPace()
        }
        let made = makeThreshold(model.detector, choice: next.choice)
        let reason = (cause.map { $0 + ": " } ?? "") + made.reason
        let now = currentTime()
        noteBudget(in: &next)
        next.thresholdRecordsPerDay = made.recordsPerDay
        try store(
            next, position: position,
            threshold: thresholdRow(made.threshold, reason: reason, model: model.row.id, now: now))
        model.threshold = made.threshold
        model.thresholdReason = reason
        model.thresholdSince = now
        serving = model
        publish()
        logger.notice("threshold set", metadata: ["reason": "\(reason)"])
    }

    /// Notes the budget that a threshold is made from; the alarms are counted anew where other ones are asked for than before.
    func noteBudget(in next: inout WorkerState) {
        let isOtherBudget = next.budget.map { $0 != budget } ?? false
        if next.choice != state.choice || (next.choice == .configured && isOtherBudget) {
            next.recentAlarms = RecentAlarms()
        }
        next.budget = budget
    }

    /// A budget a day follows the rate of the records; a threshold by hand stays.
    ///
    /// The budget of a key is that of its stream, which a person may have changed.
    func recalibrateWhenDue() {
        if ownsModel, state.choice == .configured, let before = state.budget, before != budget {
            return recalibrateOrTell("the budget of the stream was changed")
        }
        let now = environment.clock.now.uptime
        guard isRateCheckDue(at: now) else { return }
        nextRateCheck = now + (state.thresholdRecordsPerDay > 0 ? 3_600 : 60)
        let rate = measuredRecordsPerDay()
        let before = state.thresholdRecordsPerDay
        guard rate > 0 else { return }
        let ratio = before > 0 ? max(rate / before, before / rate) : .infinity
        guard ratio > Self.rateTolerance else { return }
        recalibrateOrTell("the rate of records was measured")
    }

    private func recalibrateOrTell(_ cause: String) {
        do {
            try recalibrate(cause)
        } catch {
            failing(error)
        }
    }

    /// Whether the rate of records is to be looked at.
    ///
    /// - Parameter uptime: The clock's, in seconds.
    func isRateCheckDue(at uptime: Double) -> Bool {
        guard ownsModel, case .perDay = budget else { return false }
        return uptime >= nextRateCheck && state.choice == .configured
    }

    /// The threshold that the choice asks of a detector, and why it is what it is.
    func makeThreshold(
        _ detector: Detector, choice: WorkerState.ThresholdChoice
    ) -> (threshold: Threshold, reason: String, recordsPerDay: Double) {
        let rate = measuredRecordsPerDay()
        switch choice {
        case .configured:
            let threshold = detector.threshold(
                falseAlarmProbability: budget.probability(recordsPerDay: rate))
            return (threshold, Self.text(of: budget, recordsPerDay: rate), rate)
        case .budget(let budget):
            var threshold = detector.threshold(
                falseAlarmProbability: budget.probability(recordsPerDay: rate))
            threshold.kind = .manual
            return (threshold, "set by hand: " + Self.text(of: budget, recordsPerDay: rate), rate)
        case .logLikelihood(let value):
            let threshold = detector.threshold(
                logLikelihood: value,
                falseAlarmProbability: budget.probability(recordsPerDay: rate))
            return (threshold, "set by hand: log-likelihood \(value)", rate)
        }
    }

    private static func text(of budget: AlarmBudget, recordsPerDay rate: Double) -> String {
        switch budget {
        case .probability(let value):
            return "false-alarm probability \(value)"
        case .perDay(let count):
            let measured =
                rate > 0
                ? "\(plain(rate.rounded())) records a day"
                : "one record a second, the rate is not measured yet"
            let held = budget.probability(recordsPerDay: rate)
            return "\(plain(count)) false alarms a day at \(measured)"
                + (held == count / (rate > 0 ? rate : 86_400)
                    ? "" : ", held to \(held) of the records")
        }
    }

    /// A number without the `.0` of a whole one.
    private static func plain(_ value: Double) -> String {
        let text = String(value)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    func thresholdRow(
        _ threshold: Threshold, reason: String, model: Int64, now: Double
    ) -> ThresholdRow {
        ThresholdRow(
            stream: name, model: model,
            kind: threshold.kind == .manual ? .manual : .calibrated,
            logLikelihood: threshold.logLikelihood,
            upperLogLikelihood: threshold.upperLogLikelihood,
            probability: threshold.probability, validFrom: now, reason: reason)
    }

    /// The alarms that are bearable; those of a key are alarms of its stream, and share the budget of that.
    var budget: AlarmBudget { loan?.budget ?? configuration.budget }

    /// Whether the alarms have a budget; a log-likelihood that a person set has none, also for keys that borrow the model.
    func hasBudget(_ state: WorkerState) -> Bool {
        if let loan, !ownsModel { return loan.hasBudget }
        return state.hasBudget
    }

    /// Records a day by their own times in the newest part of the window, else by their arrival; 0 while unknown.
    ///
    /// Those of the whole stream where this is one of its keys.
    func measuredRecordsPerDay() -> Double {
        if let loan { return loan.recordsPerDay }
        guard state.schema?.time != nil, let window else { return state.rate.recordsPerDay }
        let newest = max(0, state.windowTotal - 10_000)..<max(0, state.windowTotal)
        let records = try? window.records(newest)
        return RecordRate.perDay(times: records?.times ?? [])
    }

    /// What the status shows beside the budget: of a key its share of the stream's.
    var shownRecordsPerDay: Double {
        guard let loan else { return recordsPerDay }
        let share = Double(state.counters.records) / Double(max(loan.recordCount, 1))
        return loan.recordsPerDay * min(share, 1)
    }

    /// What the budget is divided by.
    var recordsPerDay: Double {
        if let loan, !ownsModel { return loan.recordsPerDay }
        return state.thresholdRecordsPerDay > 0
            ? state.thresholdRecordsPerDay : state.rate.recordsPerDay
    }

    /// The largest p-value that begins an episode while alarms are more than asked for; `nil`: the threshold decides.
    var largestAlarmingPValue: Double? {
        guard hasBudget(state), state.pace.strictness > 0, let serving else { return nil }
        return state.pace.largestPValue(probability: serving.threshold.probability)
    }

    /// The probability that the budget amounts to; `nil`: a log-likelihood that a person set has none.
    var askedProbability: Double? {
        guard hasBudget(state) else { return nil }
        return switch state.choice {
        case .configured: budget.probability(recordsPerDay: recordsPerDay)
        case .budget(let budget): budget.probability(recordsPerDay: recordsPerDay)
        case .logLikelihood: nil
        }
    }
}

extension Threshold {
    init(_ row: ThresholdRow) {
        self.init(
            kind: row.kind == .manual ? .manual : .calibrated, logLikelihood: row.logLikelihood,
            upperLogLikelihood: row.upperLogLikelihood, probability: row.probability)
    }
}
