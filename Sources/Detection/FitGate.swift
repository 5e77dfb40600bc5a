import FlowDensity
import Ingest

/// Whether a new model may take over, and why.
public struct GateDecision: Sendable, Hashable, Codable {
    /// `true`: the challenger serves from now on.
    public var isAccepted: Bool
    /// The comparison as a sentence.
    public var reason: String
    /// Mean log-likelihood of the newest records under the challenger, in nats per record.
    public var challengerLogLikelihood: Double
    /// The same under the champion.
    public var championLogLikelihood: Double
    /// Share of the newest records that the challenger would call anomalies.
    public var challengerAlarmRate: Double
    /// The same for the champion.
    public var championAlarmRate: Double
}

/// A challenger must beat the champion on the newest records, which neither was trained on, and keep the alarm rate.
///
/// One with other windows must keep the alarm rate alone: log-likelihoods of other states do not compare.
///
/// A champion that is blind (`Detector.isBlind`) alarms on nothing, and nothing that it would have missed was kept from the
/// newest records. Beside it alarms in a row are one, as faults are; they may be many, but not so many that the challenger
/// does not know the stream.
public enum FitGate {
    /// The share of records, least likely under either model, that the comparison leaves out.
    ///
    /// A single record thousands of nats off would decide the mean alone.
    static let trimmedShare = 0.02

    /// Beside a blind champion: the records by which alarms in a row are apart at most, and the share that may alarm.
    private static let reach = 10
    private static let mostAlarmingShare = 0.2

    /// Fewer records than this decide nothing.
    public static let leastRecords = 20

    /// Compares two models on the newest records.
    ///
    /// - Parameters:
    ///   - challenger: The new model.
    ///   - champion: The serving model.
    ///   - newest: Records that neither was trained on, in time order; with fewer than `leastRecords` the champion stays.
    ///   - before: The records just before, as the context of the first.
    ///   - falseAlarmProbability: What the stream's budget asks for.
    public static func judge(
        challenger: Detector, champion: Detector, newest: RecordBatch,
        before: RecordBatch? = nil, falseAlarmProbability: Double
    ) -> GateDecision {
        var decision = GateDecision(
            isAccepted: true, reason: "there is nothing to compare: the columns changed",
            challengerLogLikelihood: challenger.summary.heldOutLogLikelihood,
            championLogLikelihood: champion.summary.heldOutLogLikelihood,
            challengerAlarmRate: 0, championAlarmRate: 0)
        guard challenger.schema.hasColumns(of: champion.schema) else { return decision }
        guard newest.rowCount >= leastRecords else {
            decision.isAccepted = false
            decision.reason =
                "too few of the newest records are usable to compare it on: expected at least "
                + "\(leastRecords), found \(newest.rowCount)"
            return decision
        }
        let new = measure(challenger, newest, before, falseAlarmProbability)
        let old = measure(champion, newest, before, falseAlarmProbability)
        let order = new.scores.indices.sorted {
            min(new.scores[$0], old.scores[$0]) < min(new.scores[$1], old.scores[$1])
        }
        let kept = order.dropFirst(Int(Double(order.count) * trimmedShare))
        let newMean = kept.reduce(0) { $0 + new.scores[$1] } / Double(kept.count)
        let oldMean = kept.reduce(0) { $0 + old.scores[$1] } / Double(kept.count)
        let count = Double(newest.rowCount)
        let expected = falseAlarmProbability * count
        // Three deviations of the binomial count, and one alarm for the smallest samples.
        let allowed = expected + 3 * expected.squareRoot() + 1
        let isUnblinded =
            champion.isBlind(falseAlarmProbability: falseAlarmProbability)
            && !challenger.isBlind(falseAlarmProbability: falseAlarmProbability)
        let keepsRate =
            isUnblinded
            ? new.runs <= allowed && new.alarms <= mostAlarmingShare * count
            : new.alarms <= max(allowed, old.alarms)
        let comparison =
            "\(NumberText.short(newMean)) against \(NumberText.short(oldMean)) nats per record "
            + "on the newest \(newest.rowCount) records"
        // With other windows it is the density of something else.
        let isComparable =
            challenger.windows == champion.windows
            && challenger.encoder.windows?.moving == champion.encoder.windows?.moving
        let alarms =
            "it alarms on \(Int(new.alarms)) of the newest \(newest.rowCount) records, "
            + "the serving model on \(Int(old.alarms))"
        var reason =
            !keepsRate
            ? "it would alarm on \(Int(new.alarms)) of the newest \(newest.rowCount) records, "
                + "the serving model on \(Int(old.alarms))"
            : !isComparable
                ? "it looks back further or less far, so likelihoods do not compare; " + alarms
                : newMean > oldMean
                    ? "it explains the newest data better: " + comparison
                    : "it does not explain the newest data better: " + comparison
        if isUnblinded, keepsRate {
            reason +=
                "; the serving model is blind: "
                + champion.blindness(falseAlarmProbability: falseAlarmProbability)
        }
        return GateDecision(
            isAccepted: keepsRate && (!isComparable || newMean > oldMean), reason: reason,
            challengerLogLikelihood: newMean, championLogLikelihood: oldMean,
            challengerAlarmRate: new.alarms / count, championAlarmRate: old.alarms / count)
    }

    private static func measure(
        _ detector: Detector, _ records: RecordBatch, _ before: RecordBatch?, _ probability: Double
    ) -> (scores: [Double], alarms: Double, runs: Double) {
        var state = ContextState()
        if let before { detector.skip(before, state: &state) }
        let scores = detector.score(records, state: &state)
        let threshold = detector.threshold(falseAlarmProbability: probability)
        let alarms = scores.logLikelihood.indices.filter {
            scores.isAnomaly($0, threshold: threshold)
        }
        let joints = zip(alarms, alarms.dropFirst()).count { $1 - $0 <= reach }
        return (scores.logLikelihood, Double(alarms.count), Double(alarms.count - joints))
    }
}
