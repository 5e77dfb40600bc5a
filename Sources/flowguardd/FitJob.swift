import Detection
import FlowDensity
import Foundation
import Ingest
import Synchronization

/// One fit, without the daemon around it: records in, a model and a judgement out.
struct FitJob: Sendable {
    /// How it ended.
    enum Result: Sendable {
        case accepted(Detector, reason: String, decision: GateDecision?)
        case rejected(Detector, decision: GateDecision)
        case failed(String)
        case cancelled
    }

    /// What the model learns from.
    var training: RecordBatch
    /// The newest records, which the model does not see: they decide between it and the serving one.
    var newest: RecordBatch
    /// Records just before the newest, for their context.
    var before: RecordBatch
    /// The serving model, if there is one of the same features.
    var champion: Detector?
    var options: DetectorOptions
    /// What to tell about the choice of records.
    var note: String?

    /// The share of the window that judges.
    static let judgingShare = 0.1

    /// Fits and judges, on the calling thread.
    ///
    /// - Parameter progress: Called often; `false` ends the fit.
    func run(progress: (FitProgress) -> Bool) -> Result {
        let detector: Detector
        let summary: FitSummary
        do {
            (detector, summary) = try Detector.fit(
                training, options: options, parallel: .serial, progress: progress)
        } catch {
            if case .cancelled = error { return .cancelled }
            return .failed("\(error)")
        }
        let suffix = note.map { "; " + $0 } ?? ""
        guard let champion else {
            let reason = "the first model, from \(summary.rowCount) records" + suffix
            return .accepted(detector, reason: reason, decision: nil)
        }
        var context = ContextState()
        context.advance(past: before)
        let decision = FitGate.judge(
            challenger: detector, champion: champion, newest: newest, before: context,
            falseAlarmProbability: options.falseAlarmProbability)
        return decision.isAccepted
            ? .accepted(detector, reason: decision.reason + suffix, decision: decision)
            : .rejected(detector, decision: decision)
    }
}

/// Lets one fit run at a time, in the order of asking.
///
/// Fits of several streams at once would take the cores from scoring and finish no sooner.
actor FitTurns {
    private var isTaken = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Waits for the turn; `pass` gives it on.
    func take() async {
        guard isTaken else {
            isTaken = true
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    /// Ends the turn.
    func pass() {
        guard !waiting.isEmpty else {
            isTaken = false
            return
        }
        waiting.removeFirst().resume()
    }
}
