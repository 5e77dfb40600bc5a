import FlowDensity
import Ingest

/// What one feature has to do with an anomaly.
public struct FeatureReason: Sendable, Hashable, Codable {
    /// The feature's name.
    public var name: String
    /// Its value in the record.
    public var value: Double
    /// The most likely value given the record's other features and the context.
    public var expected: Double
    /// How much likelier the record would be with the expected value in its place, in nats; not negative.
    public var contribution: Double

    /// Makes a reason.
    public init(name: String, value: Double, expected: Double, contribution: Double) {
        self.name = name
        self.value = value
        self.expected = expected
        self.contribution = contribution
    }
}

/// Why a record is an anomaly, as a word for programs.
public enum ReasonCode: String, Sendable, Hashable, Codable, CaseIterable {
    /// Less likely than the threshold allows.
    case improbable
    /// More likely than normal records are: a stuck or zeroed sensor.
    case tooLikely = "too_likely"
    /// A feature that had a single value in training has another one.
    case constantChanged = "constant_changed"
}

/// The verdict on one anomalous record.
public struct Verdict: Sendable, Hashable {
    /// The record's place in its batch.
    public var row: Int
    /// `ln p(record)` in nats, data units.
    public var logLikelihood: Double
    /// The log-likelihood that it crossed.
    public var threshold: Double
    /// Its calibrated p-value.
    public var pValue: Double
    /// The side that it fell out of.
    public var tail: Tail
    /// The reason as a word.
    public var reasonCode: ReasonCode
    /// Every feature, the greatest contribution first.
    public var features: [FeatureReason]
    /// The reason as a sentence.
    public var summary: String

    /// Makes a verdict.
    public init(
        row: Int, logLikelihood: Double, threshold: Double, pValue: Double, tail: Tail,
        reasonCode: ReasonCode, features: [FeatureReason], summary: String
    ) {
        self.row = row
        self.logLikelihood = logLikelihood
        self.threshold = threshold
        self.pValue = pValue
        self.tail = tail
        self.reasonCode = reasonCode
        self.features = features
        self.summary = summary
    }
}

extension Verdict {
    /// The features that its summary names; none where no feature alone explains anything.
    public var namedFeatures: [FeatureReason] { tail == .low ? features.named : [] }
}

extension [FeatureReason] {
    /// The greatest, and up to two more that explain at least half of what it does: those that a summary names.
    ///
    /// - Precondition: The greatest contribution comes first.
    public var named: [FeatureReason] {
        guard let first, first.contribution > 0 else { return [] }
        return prefix(3).filter { $0.contribution >= 0.5 * first.contribution }
    }
}

extension Detector {
    /// The anomalies among scored records, each with its reason.
    ///
    /// - Complexity: A normal record costs nothing; an anomaly, about 36 rows of the flow a feature.
    public func verdicts(_ scores: Scores, threshold: Threshold) -> [Verdict] {
        scores.logLikelihood.indices.compactMap { row in
            guard scores.isAnomaly(row, threshold: threshold) else { return nil }
            return verdict(scores, row: row, threshold: threshold)
        }
    }

    private func verdict(_ scores: Scores, row: Int, threshold: Threshold) -> Verdict {
        let value = scores.logLikelihood[row]
        let tail = threshold.tail(of: value) ?? .low
        let crossed =
            tail == .low ? threshold.logLikelihood : threshold.upperLogLikelihood ?? value
        let changed = scores.rows.changedConstants[row] ?? []
        let code: ReasonCode =
            !changed.isEmpty ? .constantChanged : tail == .low ? .improbable : .tooLikely
        let features = reasons(scores, row: row, changed: changed)
        return Verdict(
            row: row, logLikelihood: value, threshold: crossed, pValue: scores.pValue[row],
            tail: tail, reasonCode: code, features: features,
            summary: Self.sentence(
                code: code, features: features, shortfall: abs(crossed - value)))
    }

    /// Contribution and expected value of every feature: each is moved along the density with the others held.
    ///
    /// The search starts from the quantiles of the training rows and narrows twice around the best.
    private func reasons(_ scores: Scores, row: Int, changed: [Int]) -> [FeatureReason] {
        let width = encoder.columns.count
        let record = Array(scores.records.values[(row * width)..<((row + 1) * width)])
        var best = record
        var gain = [Double](repeating: 0, count: width)
        for j in changed {
            best[j] = encoder.columns[j].lower
            gain[j] = constantPenalty
        }
        let units = encoder.logScaleSum
        let current = scores.logLikelihood[row] + Double(changed.count) * constantPenalty
        var candidates = encoder.active.map { encoder.columns[$0].quantiles }
        for round in 0..<3 {
            let densities = densities(of: candidates, in: scores, row: row)
            for (k, j) in encoder.active.enumerated() {
                let tried = candidates[k]
                guard let top = tried.indices.max(by: { densities[k][$0] < densities[k][$1] })
                else { continue }
                let column = encoder.columns[j]
                let excess = otherPenalty(scores, row: row, feature: j, record: record)
                let improved = densities[k][top] - units - excess - current
                if improved > gain[j] {
                    gain[j] = improved
                    best[j] = tried[top]
                }
                guard round < 2 else { continue }
                let low = tried[max(top - 1, 0)]
                let high = tried[min(top + 1, tried.count - 1)]
                candidates[k] = (0..<Column.quantileCount).map {
                    column.snapped(
                        low + (high - low) * Double($0) / Double(Column.quantileCount - 1))
                }
            }
        }
        return encoder.schema.features.indices.map {
            FeatureReason(
                name: encoder.schema.features[$0], value: record[$0], expected: best[$0],
                contribution: gain[$0])
        }.sorted { $0.contribution > $1.contribution }
    }

    /// What the other features pay for lying beyond the training range.
    private func otherPenalty(
        _ scores: Scores, row: Int, feature: Int, record: [Double]
    ) -> Double {
        let column = encoder.columns[feature]
        let inside = min(max(record[feature], column.lower), column.upper)
        let own = Encoder.rangePenalty(excess: abs(record[feature] - inside) / column.scale)
        return record[feature] == inside
            ? scores.rows.penalty[row] : max(scores.rows.penalty[row] - own, 0)
    }

    /// `ln p` of the record with each candidate in its feature's place, in one call of the flows.
    private func densities(of candidates: [[Double]], in scores: Scores, row: Int) -> [[Double]] {
        let width = encoder.active.count
        let count = candidates.reduce(0) { $0 + $1.count }
        let base = scores.rows.x.rows(row..<(row + 1)).storage
        var x = Matrix<Float>(rowCount: count, columnCount: width)
        var next = 0
        for (k, values) in candidates.enumerated() {
            let column = encoder.columns[encoder.active[k]]
            for value in values {
                for i in 0..<width { x.storage[next * width + i] = base[i] }
                x.storage[next * width + k] = Float((value - column.center) / column.scale)
                next += 1
            }
        }
        let context = scores.rows.context.map {
            $0.selectingRows([Int](repeating: row, count: count))
        }
        let densities = flows.logLikelihood(x, context: context)
        next = 0
        return candidates.map { values in
            defer { next += values.count }
            return Array(densities[next..<(next + values.count)])
        }
    }

    private static func sentence(
        code: ReasonCode, features: [FeatureReason], shortfall: Double
    ) -> String {
        switch code {
        case .tooLikely:
            return "every reading is more typical than normal records are: a stuck or zeroed sensor"
        case .constantChanged, .improbable:
            guard let first = features.first, first.contribution > 0 else {
                return "the combination of all features is improbable"
            }
            let parts = features.named.enumerated().map { i, feature in
                let expected = NumberText.short(
                    significant(feature.expected, beside: feature.value))
                return
                    "\(feature.name) \(NumberText.short(feature.value)) where \(expected) was expected"
                    + (i == 0 ? share(feature.contribution, of: shortfall) : "")
            }
            return parts.joined(separator: ", or ")
        }
    }

    /// How much of the way beyond the threshold the expected value would take back.
    private static func share(_ contribution: Double, of shortfall: Double) -> String {
        guard shortfall > 0 else { return "" }
        let whole = NumberText.nats(shortfall)
        return contribution >= shortfall
            ? " (all of \(whole) nats)" : " (\(NumberText.nats(contribution)) of \(whole) nats)"
    }

    /// Four significant digits are enough for an expectation.
    private static func significant(_ expected: Double, beside value: Double) -> Double {
        let magnitude = max(abs(expected), abs(value))
        guard magnitude > 0, magnitude.isFinite else { return expected }
        var unit = 1.0
        while unit * 1_000 > magnitude, unit > 1e-12 { unit /= 10 }
        while unit * 10_000 <= magnitude, unit < 1e12 { unit *= 10 }
        let rounded =
            unit < 1
            ? (expected / unit).rounded() / (1 / unit).rounded()
            : (expected / unit).rounded() * unit
        return rounded
    }
}
