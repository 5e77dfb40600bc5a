import Detection
import Foundation
import Ingest
import Settings

extension AlarmRule {
    /// Whether the feature's value is no reason for an alarm.
    func covers(_ reason: FeatureReason) -> Bool {
        guard reason.name == feature, let change = reason.change else { return false }
        if let only, (change > 0) != (only == .above) { return true }
        if let least = ignoreChangeBelow, abs(change) < least { return true }
        return false
    }

    /// The rule as a few words, for counters.
    func name(of reason: FeatureReason) -> String {
        if let only, let change = reason.change, (change > 0) != (only == .above) {
            return "\(feature) only \(only.rawValue)"
        }
        return "\(feature) change below \(ignoreChangeBelow ?? 0)"
    }
}

extension [AlarmRule] {
    /// The rule that keeps an anomaly from alarming, as a few words; `nil`: it alarms.
    ///
    /// A rule takes the reason away when the feature that contributes most is covered and alone explains the record, or when
    /// every feature that the summary names is covered. So a fault that another feature carries is still told. Of readings that stand
    /// still, all must be covered.
    package func suppression(of verdict: Verdict) -> String? {
        if verdict.reasonCode == .stuck { return suppression(ofStuck: verdict.namedFeatures) }
        guard !isEmpty, verdict.tail == .low, let top = verdict.namedFeatures.first,
            let rule = first(where: { $0.covers(top) })
        else { return nil }
        let explainsAll = verdict.logLikelihood + top.contribution >= verdict.threshold
        let coversAll = verdict.namedFeatures.allSatisfy { reason in
            contains { $0.covers(reason) }
        }
        return explainsAll || coversAll ? rule.name(of: top) : nil
    }

    private func suppression(ofStuck named: [FeatureReason]) -> String? {
        let isCovered = named.allSatisfy { reason in
            contains { $0.ignoreStuck && $0.feature == reason.name }
        }
        return isCovered ? named.first.map { "\($0.name) stuck" } : nil
    }
}

extension StreamWorker {
    /// How anomalies in a maintenance window are counted.
    static let maintenanceName = "maintenance"

    /// Notes which records that have no time of their own arrived in the windows that the user named.
    ///
    /// Those with a time are known by it whenever they are asked for, also by windows that are named later.
    func withhold(
        _ records: RecordBatch, firstNumber: Int64, in next: inout WorkerState,
        arrival: (_ row: Int) -> Double
    ) {
        let (maintenance, exclude) = (configuration.maintenance, configuration.fit.exclude)
        guard !maintenance.isEmpty || !exclude.isEmpty else { return }
        for row in 0..<records.rowCount where !records.times[row].isFinite {
            let (number, time) = (firstNumber + Int64(row), arrival(row))
            if maintenance.contains(time: time) { next.maintained.exclude(number, joining: false) }
            if exclude.contains(time: time) { next.withheld.exclude(number, joining: false) }
        }
    }

    /// Why a verdict is no alarm, as a few words; `nil`: it is one.
    func suppression(
        of verdict: Verdict, time: Double?, number: Int64, in state: WorkerState
    ) -> String? {
        let isMaintained =
            time.map { configuration.maintenance.contains(time: $0) }
            ?? state.maintained.contains(number)
        if isMaintained { return Self.maintenanceName }
        if let rule = configuration.alarmRules.suppression(of: verdict) { return rule }
        return falseAlarms.first { $0.isLike(verdict) }.map { "label \($0.anomaly)" }
    }

    /// How anomalies are counted that only anomalies before them have made improbable.
    static let afterEffectName = "after-effect"

    /// Whether an anomaly is none once those before it are taken out of its past; else it is noted for those after it.
    func afterEffect(
        _ verdict: Verdict, in scores: Scores, number: Int64, by serving: ServingModel,
        _ next: inout WorkerState
    ) -> String? {
        let standing = serving.detector.standing(
            of: verdict, in: scores, number: number, past: next.expectedPast,
            threshold: serving.threshold)
        switch standing {
        case .afterEffect: return Self.afterEffectName
        case .own(let expected):
            if let expected { next.expectedPast.note(number, row: expected) }
        case .stuck: next.expectedPast.noteStandstill(number)
        }
        return nil
    }

    /// How anomalies are counted that would be more than were asked for.
    static let overBudgetName = "budget"

    /// Whether an anomaly would begin one episode more than the budget bears.
    func overBudget(_ verdict: Verdict, at time: Double, in state: WorkerState) -> String? {
        guard hasBudget(state), let serving, !state.episodes.isOpen(at: time) else { return nil }
        let isAllowed = state.pace.allows(
            pValue: verdict.pValue, probability: serving.threshold.probability)
        return isAllowed ? nil : Self.overBudgetName
    }

    /// Records that the user keeps out of fits, among those that the window holds.
    ///
    /// Others may use the worker in between.
    func userWithheld(in window: TrainingWindow) async throws -> RecordRanges {
        var ranges = state.maintained.ranges.union(state.withheld.ranges)
        let windows = configuration.maintenance + configuration.fit.exclude
        guard !windows.isEmpty else { return ranges }
        let end = state.windowTotal
        var next = max(0, end - Int64(window.capacity))
        while next < end, !board.isStopping {
            let part = next..<min(next + 16_384, end)
            ranges = ranges.union(try window.ranges(part) { windows.contains(time: $0) })
            next = part.upperBound
            await Task.yield()
        }
        return ranges
    }
}
