import Detection
import Foundation
import Store

/// An anomaly that a person called a false alarm, as a measure of what is like it.
///
/// Its like are the anomalies whose summary names no feature but those that its own names, each on the same side of the
/// expected value and at most `reach` times as far from it. That is in the data's own units, and holds for every model.
/// Where the summary names no feature, its like are those on the same side of normal, at most one nat further out.
package struct FalseAlarm: Sendable {
    /// How much further from the expected value a like one may be.
    package static let reach = 1.25
    /// The same where no feature is named, in nats.
    private static let reachNats = 1.0

    /// The anomaly's number.
    package let anomaly: Int64
    private let changes: [(name: String, change: Double)]
    private let tail: Tail
    private let logLikelihood: Double

    /// The measure of an anomaly.
    package init(_ row: AnomalyRow) {
        anomaly = row.id
        tail = Tail(rawValue: row.anomaly.tail) ?? .low
        logLikelihood = row.anomaly.logLikelihood
        changes = Self.named(row).map { ($0.name, $0.value - $0.expected) }
    }

    private static func named(_ row: AnomalyRow) -> [FeatureReason] {
        guard row.anomaly.tail == Tail.low.rawValue else { return [] }
        return row.anomaly.reasons.map {
            FeatureReason(
                name: $0.name, value: $0.value, expected: $0.expected,
                contribution: $0.contribution)
        }.named
    }

    /// Whether a new anomaly is like it.
    package func isLike(_ verdict: Verdict) -> Bool {
        isLike(verdict.namedFeatures, verdict.tail, verdict.logLikelihood)
    }

    /// Whether a stored anomaly is like it; it is like itself.
    package func isLike(_ row: AnomalyRow) -> Bool {
        row.id == anomaly
            || isLike(
                Self.named(row), Tail(rawValue: row.anomaly.tail) ?? .low, row.anomaly.logLikelihood
            )
    }

    private func isLike(_ named: [FeatureReason], _ tail: Tail, _ logLikelihood: Double) -> Bool {
        guard tail == self.tail else { return false }
        guard !changes.isEmpty else {
            let further = (logLikelihood - self.logLikelihood) * (tail == .low ? -1 : 1)
            return named.isEmpty && further <= Self.reachNats
        }
        return !named.isEmpty
            && named.allSatisfy { reason in
                guard let own = changes.first(where: { $0.name == reason.name })?.change else {
                    return false
                }
                let change = reason.value - reason.expected
                return change * own >= 0 && abs(change) <= Self.reach * abs(own)
            }
    }

    /// Which anomalies are its like, in words.
    package var description: String {
        guard !changes.isEmpty else {
            return tail == .high
                ? "records that are too likely, by at most 1 nat more than this one"
                : "records without a feature that stands out, at most 1 nat less likely than this one"
        }
        let parts = changes.map { name, change in
            let most = String(format: "%.4g", Self.reach * abs(change))
            return "\(name) at most \(most) \(change < 0 ? "below" : "above") the expected value"
        }
        return "anomalies that are due to " + parts.joined(separator: " or ") + " alone"
    }
}
