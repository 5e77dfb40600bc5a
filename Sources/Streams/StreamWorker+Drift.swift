import Detection
import Foundation
import Ingest
import Settings
import Store

extension ScoreDrift {
    init(_ state: DriftState) {
        evidenceNats = state.logCapital
        records = state.recordsSinceChange
        isBig = state.scoresHaveDrifted
        isTooEarly = state.isTooEarlyForScores
    }
}

extension StreamWorker {
    /// What asks for a fit because the stream has changed.
    static let driftTrigger = "drift"
    /// Such a fit comes at the earliest this share of the time between fits after the last one, and twice that for each that came
    /// before it.
    private static let driftPauseShare = 0.25
    /// Of so many: a stream that always wanders is then fitted in its turn.
    private static let mostDriftFits = 4
    /// After a fit that dealt with it, a feature must have moved this much further.
    private static let furtherMove = 1.5
    /// Usable records since the change that make a fit worth its while.
    private static let leastChangedRecords: Int64 = 100

    /// Takes scored records into the measures of drift, but for those of maintenance and those that waited for the first model:
    /// it learned from them, and finds them likelier than others.
    func observeDrift(
        _ scores: Scores, firstNumber: Int64, with detector: Detector, in next: inout WorkerState
    ) {
        var drift = next.drift ?? detector.driftState()
        let (windows, maintained) = (configuration.maintenance, next.maintained)
        let learned = next.fittedThrough
        let cores = Self.cores(for: scores.times.count)
        detector.observeDrift(scores, in: &drift, parallel: cores) { row in
            guard firstNumber + Int64(row) >= learned else { return false }
            guard !windows.isEmpty else { return true }
            let time = scores.times[row]
            return time.isFinite
                ? !windows.contains(time: time) : !maintained.contains(firstNumber + Int64(row))
        }
        next.drift = drift
    }

    /// How far each feature has moved, the furthest first.
    var featureDrift: [FeatureDrift] {
        guard let serving, let drift = state.drift else { return [] }
        return serving.detector.featureDrift(drift, recordsPerDay: shownRecordsPerDay)
    }

    /// How many more records must come before it is known how far features have moved; `nil` while no model serves.
    var featureDriftMissing: Int64? {
        serving.map {
            $0.detector.featureDriftMissing(
                state.drift ?? $0.detector.driftState(), recordsPerDay: shownRecordsPerDay)
        }
    }

    /// Records since the stream changed; `nil` when it has not.
    var changedRecords: Int64? {
        guard let drift = state.drift else { return nil }
        if drift.scoresHaveDrifted { return drift.recordsSinceChange }
        let index = worstDriftIndex
        guard index > max(DriftState.bigIndex, Self.furtherMove * state.answeredDriftIndex) else {
            return nil
        }
        return drift.recordCount
    }

    /// How long after a fit the next one because of a drift may come, in seconds.
    func driftPause(every: Double) -> Double {
        Self.driftPauseShare * every * pow(2, Double(state.driftFits))
    }

    /// Notes whether the fit that ends was one more because of a drift.
    ///
    /// A stream that always wanders would be fitted with each quarter of the time, which a fit of its last days hardly changes.
    func noteDriftFit(in next: inout WorkerState) {
        switch board.snapshot.fit?.trigger {
        case Self.driftTrigger: next.driftFits = min(next.driftFits + 1, Self.mostDriftFits)
        case Self.periodicTrigger where !driftWantsFit: next.driftFits = max(next.driftFits - 1, 0)
        default: break
        }
    }

    /// Whether the stream has changed, and enough of what came since can be learned.
    var driftWantsFit: Bool {
        guard let changed = changedRecords else { return false }
        let since = max(0, state.windowTotal - changed)..<max(0, state.windowTotal)
        let usable = [since].subtracting(state.excluded.ranges)
        return usable.recordCount >= Self.leastChangedRecords
    }
}
