import Control
import Detection
import Foundation
import Ingest
import Settings
import Store

extension StreamSnapshot {
    /// The budget as a rate, by day and by record.
    package func asked(by configuration: StreamConfiguration) -> AlarmRate {
        let perDay = recordsPerDay > 0 ? askedProbability.map { $0 * recordsPerDay } : nil
        // A key has its share of the stream's budget.
        if isThresholdByHand || isKey {
            return AlarmRate(perDay: perDay, probability: askedProbability)
        }
        switch configuration.budget {
        case .perDay(let count): return AlarmRate(perDay: count, probability: askedProbability)
        case .probability(let value): return AlarmRate(perDay: perDay, probability: value)
        }
    }
}

extension PointsMessage {
    package init(_ counts: PointCounts) {
        self.init(
            lateTotal: counts.late, duplicateTotal: counts.duplicate, unknownTotal: counts.unknown)
    }
}

extension ModelMessage {
    package init(_ row: ModelRow) {
        self.init(
            id: row.id, stream: row.stream, state: row.state.rawValue, reason: row.reason,
            family: row.family, fittedAt: Date(timeIntervalSince1970: row.fittedAt),
            activatedAt: row.activatedAt.map(Date.init(timeIntervalSince1970:)),
            retiredAt: row.retiredAt.map(Date.init(timeIntervalSince1970:)),
            recordCount: row.recordCount, parameterCount: row.parameterCount,
            heldOutLogLikelihood: row.heldOutLogLikelihood, file: row.file,
            fileBytes: row.fileBytes)
    }
}

extension ThresholdMessage {
    package init(_ row: ThresholdRow) {
        self.init(
            model: row.model, kind: row.kind.rawValue, logLikelihood: row.logLikelihood,
            upperLogLikelihood: row.upperLogLikelihood, probability: row.probability,
            validFrom: Date(timeIntervalSince1970: row.validFrom),
            validTo: row.validTo.map(Date.init(timeIntervalSince1970:)), reason: row.reason)
    }
}

extension FitMessage {
    package init(_ row: FitRow) {
        self.init(
            id: row.id, state: row.state.rawValue, trigger: row.trigger,
            queuedAt: Date(timeIntervalSince1970: row.queuedAt),
            startedAt: row.startedAt.map(Date.init(timeIntervalSince1970:)),
            endedAt: row.endedAt.map(Date.init(timeIntervalSince1970:)),
            recordCount: row.recordCount, model: row.model,
            heldOutLogLikelihood: row.heldOutLogLikelihood, message: row.message)
    }
}

extension EpisodeMessage {
    package init(_ row: EpisodeRow) {
        self.init(
            sequence: row.sequence, startedAt: Date(timeIntervalSince1970: row.startedAt),
            lastAnomalyAt: Date(timeIntervalSince1970: row.lastAnomalyAt), isEnded: row.isEnded,
            peakAt: Date(timeIntervalSince1970: row.peakAt),
            peakLogLikelihood: row.peakLogLikelihood, anomalyCount: row.anomalyCount,
            topFeatures: row.topFeatures)
    }
}

extension WorkerState.Counters {
    /// Lines in the quarantine by their reason, the greatest number first.
    package var faultCounts: [FaultCount] {
        Self.ordered(faults).map { FaultCount(code: $0.key, count: $0.value) }
    }

    /// Anomalies that were no alarm by what kept them from it, the greatest number first.
    package var suppressedCounts: [SuppressedCount] {
        Self.ordered(suppressed).map { SuppressedCount(cause: $0.key, count: $0.value) }
    }

    private static func ordered(_ counts: [String: Int64]) -> [(key: String, value: Int64)] {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    }
}
