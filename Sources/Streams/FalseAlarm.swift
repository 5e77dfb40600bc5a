import Detection
import Foundation
import Store

/// An anomaly that a person called a false alarm, as a measure of what is like it.
///
/// Its like are the anomalies whose summary names no feature but those that its own names, each on the same side of the
/// expected value and at most `reach` times as far from it; a category with the same value. That is in the data's own units, and
/// holds for every model.
/// Where the summary names no feature, its like are those on the same side of normal, at most one nat further out; of readings that
/// stand still, those of no other features that stand at the same values.
package struct FalseAlarm: Sendable {
    /// How much further from the expected value a like one may be.
    package static let reach = 1.25
    /// The same where no feature is named, in nats.
    private static let reachNats = 1.0

    /// The anomaly's number.
    package let anomaly: Int64
    private let causes: [FeatureReason]
    private let kind: Kind
    private let logLikelihood: Double

    /// Which anomalies are compared at all.
    private enum Kind {
        case improbable, tooLikely, stuck

        init(_ code: ReasonCode) {
            switch code {
            case .constantChanged, .improbable, .levelShifted, .neverSeen: self = .improbable
            case .tooLikely: self = .tooLikely
            case .stuck: self = .stuck
            }
        }
    }

    /// The measure of an anomaly.
    package init(_ row: AnomalyRow) {
        anomaly = row.id
        kind = Kind(Self.code(of: row))
        logLikelihood = row.anomaly.logLikelihood
        causes = Self.named(row)
    }

    private static func code(of row: AnomalyRow) -> ReasonCode {
        ReasonCode(rawValue: row.anomaly.reasonCode)
            ?? (row.anomaly.tail == Tail.low.rawValue ? .improbable : .tooLikely)
    }

    private static func named(_ row: AnomalyRow) -> [FeatureReason] {
        row.anomaly.reasons.map {
            FeatureReason(
                name: $0.name, value: CellValue($0.value), expected: CellValue($0.expected),
                contribution: $0.contribution)
        }.named(for: code(of: row))
    }

    /// Whether a new anomaly is like it.
    package func isLike(_ verdict: Verdict) -> Bool {
        isLike(verdict.namedFeatures, Kind(verdict.reasonCode), verdict.logLikelihood)
    }

    /// Whether a stored anomaly is like it; it is like itself.
    package func isLike(_ row: AnomalyRow) -> Bool {
        row.id == anomaly
            || isLike(Self.named(row), Kind(Self.code(of: row)), row.anomaly.logLikelihood)
    }

    private func isLike(_ named: [FeatureReason], _ kind: Kind, _ logLikelihood: Double) -> Bool {
        guard kind == self.kind else { return false }
        guard !causes.isEmpty else {
            let further = (logLikelihood - self.logLikelihood) * (kind == .improbable ? -1 : 1)
            return named.isEmpty && further <= Self.reachNats
        }
        return !named.isEmpty
            && named.allSatisfy { reason in
                guard let own = causes.first(where: { $0.name == reason.name }) else {
                    return false
                }
                guard let ownChange = own.change, let change = reason.change else {
                    return own.value == reason.value
                }
                return change * ownChange >= 0 && abs(change) <= Self.reach * abs(ownChange)
            }
    }

    /// Which anomalies are its like, in words.
    package var description: String {
        guard !causes.isEmpty else {
            return kind == .tooLikely
                ? "records that are too likely, by at most 1 nat more than this one"
                : "records without a feature that stands out, at most 1 nat less likely than this one"
        }
        let parts = causes.map { cause in
            switch (cause.value, cause.change) {
            case (_, let change?):
                let most = String(format: "%.4g", Self.reach * abs(change))
                return "\(cause.name) at most \(most) "
                    + "\(change < 0 ? "below" : "above") the expected value"
            case (.number(let number), nil) where kind == .stuck:
                return "\(cause.name) staying at \(String(format: "%.6g", number))"
            case (.text(let text), _): return "\(cause.name) '\(text)'"
            default: return "a missing \(cause.name)"
            }
        }
        return "anomalies that are due to " + parts.joined(separator: " or ") + " alone"
    }
}

extension CellValue {
    fileprivate init(_ value: ReasonValue) {
        switch value {
        case .number(let number): self = .number(number)
        case .text(let text): self = .text(text)
        case .missing: self = .missing
        }
    }
}
