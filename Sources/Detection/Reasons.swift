import FlowDensity
import Ingest

/// What a cell of a record holds.
public enum CellValue: Sendable, Hashable {
    /// A feature's value.
    case number(Double)
    /// A category's value.
    case text(String)
    /// Nothing.
    case missing
}

/// What one feature or category has to do with an anomaly.
public struct FeatureReason: Sendable, Hashable {
    /// The feature's name.
    public var name: String
    /// Its value in the record.
    public var value: CellValue
    /// The most likely value given the record's other features and the context.
    public var expected: CellValue
    /// How much likelier the record would be with the expected value in its place, in nats; not negative.
    public var contribution: Double

    /// Makes a reason.
    public init(name: String, value: CellValue, expected: CellValue, contribution: Double) {
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
    /// A category has a value that is new to a closed set, or a feature that always had a value has none.
    case neverSeen = "never_seen"
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
        let new = (scores.rows.discrete.neverSeen[row] ?? []).map {
            encoder.discrete.columns[$0].name
        }
        let code: ReasonCode =
            !changed.isEmpty
            ? .constantChanged
            : !new.isEmpty ? .neverSeen : tail == .low ? .improbable : .tooLikely
        let features = combined(
            reasons(scores, row: row, changed: changed), discreteReasons(scores, row: row))
        return Verdict(
            row: row, logLikelihood: value, threshold: crossed, pValue: scores.pValue[row],
            tail: tail, reasonCode: code, features: features,
            summary: Self.sentence(
                code: code, features: features, neverSeen: new, shortfall: abs(crossed - value)))
    }

    /// Contribution and expected value of every feature: each is moved along the density with the others held.
    ///
    /// The search starts from the quantiles of the training rows and narrows twice around the best.
    private func reasons(_ scores: Scores, row: Int, changed: [Int]) -> [FeatureReason] {
        let width = encoder.columns.count
        let record = Array(scores.rows.records.values[(row * width)..<((row + 1) * width)])
        let gaps = scores.rows.gaps[row] ?? []
        var best = record
        var gain = [Double](repeating: 0, count: width)
        for j in changed {
            best[j] = encoder.columns[j].lower
            gain[j] = constantPenalty
        }
        let units = encoder.logScaleSum
        let current =
            scores.logLikelihood[row] + Double(scores.rows.breakCount(row)) * constantPenalty
            - scores.rows.discrete.logProbability(row)
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
        // What stands in for a missing value is nobody's fault.
        return encoder.schema.features.indices.map { j in
            let isMissing = gaps.contains(j)
            return FeatureReason(
                name: encoder.schema.features[j],
                value: isMissing ? .missing : .number(record[j]), expected: .number(best[j]),
                contribution: isMissing ? 0 : gain[j])
        }
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
        code: ReasonCode, features: [FeatureReason], neverSeen: [String], shortfall: Double
    ) -> String {
        switch code {
        case .tooLikely:
            return "every reading is more typical than normal records are: a stuck or zeroed sensor"
        case .constantChanged, .improbable, .neverSeen:
            guard let first = features.first, first.contribution > 0 else {
                return "the combination of all features is improbable"
            }
            // More features join the sentence while they explain a good part of what the first one does.
            let named = features.prefix(3).filter {
                $0.contribution >= 0.5 * first.contribution
            }
            let parts = named.enumerated().map { i, feature in
                clause(feature, isNew: neverSeen.contains(feature.name))
                    + (i == 0 ? share(feature.contribution, of: shortfall) : "")
            }
            return parts.joined(separator: ", or ")
        }
    }

    /// One feature's part of the sentence.
    private static func clause(_ feature: FeatureReason, isNew: Bool) -> String {
        switch (feature.value, feature.expected) {
        case (.missing, _):
            return "\(feature.name) is missing" + (isNew ? ", it never was" : "")
        case (.text(let text), _) where isNew:
            return "\(feature.name) '\(text)' was never seen"
        case (.number(let value), .number(let expected)):
            let short = NumberText.short(significant(expected, beside: value))
            return "\(feature.name) \(NumberText.short(value)) where \(short) was expected"
        case (let value, let expected):
            return "\(feature.name) \(words(value)) where \(words(expected)) was expected"
        }
    }

    private static func words(_ value: CellValue) -> String {
        switch value {
        case .number(let number): NumberText.short(number)
        case .text(let text): "'\(text)'"
        case .missing: "no value"
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
