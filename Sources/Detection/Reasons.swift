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

extension FeatureReason {
    /// How far a number lies above what was expected of it; `nil` for anything but numbers.
    public var change: Double? {
        guard case (.number(let value), .number(let expected)) = (value, expected) else {
            return nil
        }
        return value - expected
    }
}

/// Why a record is an anomaly, as a word for programs.
public enum ReasonCode: String, Sendable, Hashable, Codable, CaseIterable {
    /// Less likely than the threshold allows.
    case improbable
    /// More likely than normal records are: a zeroed sensor, or several readings that are one.
    case tooLikely = "too_likely"
    /// Readings that are likely, and the same for longer than they ever were: a sensor that has frozen.
    case stuck
    /// The level of a feature over the longest window is off, more than its last reading is.
    case levelShifted = "level_shifted"
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

extension Verdict {
    /// The features that its summary names; none where no feature alone explains anything.
    public var namedFeatures: [FeatureReason] { features.named(for: reasonCode) }
}

extension [FeatureReason] {
    /// The features that a summary names.
    ///
    /// - Precondition: The greatest contribution comes first.
    public func named(for code: ReasonCode) -> [FeatureReason] {
        switch code {
        case .tooLikely: []
        case .stuck: filter { $0.contribution > 0 }
        case .constantChanged, .improbable, .levelShifted, .neverSeen: named
        }
    }

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
    /// - Parameter parallel: Runs the anomalies; their verdicts do not depend on it.
    /// - Complexity: A normal record costs nothing; an anomaly, about 36 rows of the flow a feature.
    public func verdicts(
        _ scores: Scores, threshold: Threshold, parallel: ParallelFor = .serial
    ) -> [Verdict] {
        let anomalies = scores.logLikelihood.indices.filter {
            scores.isAnomaly($0, threshold: threshold)
        }
        return parallel.map(anomalies.count) {
            verdict(scores, row: anomalies[$0], threshold: threshold)
        }
    }

    private func verdict(_ scores: Scores, row: Int, threshold: Threshold) -> Verdict {
        let value = scores.logLikelihood[row]
        let standstill = scores.standstill(of: row, threshold: threshold)
        let likelihoodTail = scores.likelihoodTail(of: row, threshold: threshold)
        if let standstill, likelihoodTail == nil, scores.rows.breakCount(row) == 0 {
            return stuckVerdict(scores, row: row, threshold: threshold, standstill)
        }
        let tail = likelihoodTail ?? .low
        let low = scores.lowThreshold(of: row, threshold)
        let crossed = tail == .low ? low : threshold.upperLogLikelihood ?? value
        let changed = scores.rows.changedConstants[row] ?? []
        let new = (scores.rows.discrete.neverSeen[row] ?? []).map {
            encoder.discrete.columns[$0].name
        }
        let found = reasons(scores, row: row, changed: changed)
        let features = combined(found.map(\.reason), discreteReasons(scores, row: row))
        let levels = Dictionary(
            uniqueKeysWithValues: found.compactMap { reason in
                reason.level.map { (reason.reason.name, $0) }
            })
        let isLevel = features.first.map { levels[$0.name] != nil } ?? false
        let code: ReasonCode =
            !changed.isEmpty
            ? .constantChanged
            : !new.isEmpty
                ? .neverSeen
                : tail == .high ? .tooLikely : isLevel ? .levelShifted : .improbable
        return Verdict(
            row: row, logLikelihood: value, threshold: crossed, pValue: scores.pValue[row],
            tail: tail, reasonCode: code, features: features,
            summary: sentence(
                code: code, features: features, levels: levels, neverSeen: new,
                shortfall: abs(crossed - value))
                + aside(standstill, of: features))
    }

    /// One way in which a feature might have been otherwise.
    private enum Change {
        /// This reading alone.
        case reading(Double)
        /// The reading and the window before it, all by as much.
        case level(Double)
    }

    /// The mean of a feature over the longest window, and what it should be.
    private struct Level {
        var value: Double
        var expected: Double
    }

    /// What came of looking for a better value of a feature.
    private struct Search {
        var expected: Double
        var gain = 0.0
        /// Where it is the level that is strange.
        var level: Level?
    }

    /// Contribution and expected value of every feature: each is moved along the density with the others held.
    ///
    /// The search starts from the quantiles of the training rows and narrows twice around the best. With windows a feature may be
    /// strange by its reading or by its level over the longest one: the change that explains more counts.
    private func reasons(_ scores: Scores, row: Int, changed: [Int]) -> [FoundReason] {
        let record = Array(scores.rows.records.row(row))
        let gaps = scores.rows.gaps[row] ?? []
        var found = record.map { Search(expected: $0) }
        for j in changed {
            found[j] = Search(expected: encoder.columns[j].lower, gain: constantPenalty)
        }
        let state = scores.rows.state(of: row)
        search(scores, row: row, record: record, state: state, &found) { k in
            encoder.columns[encoder.active[k]].quantiles
        } change: { _, value in
            .reading(value)
        }
        if let windows = encoder.windows {
            search(scores, row: row, record: record, state: state, &found) { k in
                windows.isMoving(k) ? windows.parts[windows.levelInput(of: k)].quantiles : []
            } change: { k, value in
                .level(value - state[state.startIndex + windows.levelInput(of: k)])
            }
            tellLevels(&found, scores, row: row, record: record)
        }
        // What stands in for a missing value is nobody's fault.
        return found.indices.map { j in
            let isMissing = gaps.contains(j)
            return FoundReason(
                reason: FeatureReason(
                    name: encoder.schema.features[j],
                    value: isMissing ? .missing : .number(record[j]),
                    expected: .number(found[j].expected),
                    contribution: isMissing ? 0 : found[j].gain),
                level: isMissing ? nil : found[j].level)
        }
    }

    /// Puts the means as they were in the place of those that the model sees, which wild readings are tamed for.
    private func tellLevels(
        _ found: inout [Search], _ scores: Scores, row: Int, record: [Double]
    ) {
        guard found.contains(where: { $0.level != nil }), let windows = encoder.windows else {
            return
        }
        let past = scores.before.before(row: row, of: scores.rows.records)
        let (values, times) = past.rows(featureCount: record.count)
        let runs = Readings.runs(
            times: times + [scores.times[row]], gapSecs: encoder.context.gapSecs, beginnings: [])
        let known = min(runs.last ?? 0, windows.longest - 1)
        for j in found.indices {
            guard var level = found[j].level else { continue }
            let earlier = (times.count - known..<times.count).map { values[$0 * record.count + j] }
            level.value = (earlier.reduce(0, +) + record[j]) / Double(known + 1)
            found[j].level = level
            found[j].expected = encoder.columns[j].snapped(
                record[j] + level.expected - level.value)
        }
    }

    /// The reading that explains most of a record, among some of its features; `nil` where none explains anything.
    ///
    /// Each is moved along the density with the others and the past held.
    func likeliestReading(
        _ scores: Scores, row: Int, among features: [Int]
    ) -> (feature: Int, reading: Double)? {
        let record = Array(scores.rows.records.row(row))
        var found = record.map { Search(expected: $0) }
        search(
            scores, row: row, record: record, state: scores.rows.state(of: row), &found
        ) { k in
            features.contains(encoder.active[k])
                ? encoder.columns[encoder.active[k]].quantiles : []
        } change: { _, value in
            .reading(value)
        }
        guard let best = features.max(by: { found[$0].gain < found[$1].gain }),
            found[best].gain > 0
        else { return nil }
        return (best, found[best].expected)
    }

    /// A reason with what only the sentence tells.
    private struct FoundReason {
        var reason: FeatureReason
        /// Where it is the level that is strange.
        var level: Level?
    }

    /// Tries candidates for every active feature and keeps what explains more than what was found before.
    ///
    /// - Parameters:
    ///   - first: The first candidates of a feature by its place in `active`, ascending.
    ///   - change: What a candidate means.
    private func search(
        _ scores: Scores, row: Int, record: [Double], state: ArraySlice<Double>,
        _ found: inout [Search], first: (Int) -> [Double], change: (Int, Double) -> Change
    ) {
        let active = encoder.active
        let units = encoder.logScaleSum
        let current =
            scores.logLikelihood[row] + Double(scores.rows.breakCount(row)) * constantPenalty
            - scores.rows.discrete.logProbability(row)
        let own = active.indices.map {
            encoder.penalty(ofActive: $0, reading: record[active[$0]], state: state)
        }
        var candidates = active.indices.map(first)
        for round in 0..<3 {
            let changes = candidates.enumerated().map { k, values in values.map { change(k, $0) } }
            let tried = densities(of: changes, in: scores, row: row, record: record, state: state)
            for (k, j) in active.enumerated() {
                guard
                    let top = tried[k].indices.max(by: {
                        tried[k][$0].value < tried[k][$1].value
                    })
                else { continue }
                let others = max(scores.rows.penalty[row] - own[k], 0)
                let gain = tried[k][top].value - units - others - current
                if gain > found[j].gain {
                    found[j] = Search(
                        expected: tried[k][top].reading, gain: gain,
                        level: level(of: k, changed: changes[k][top], state: state))
                }
                guard round < 2 else { continue }
                let low = candidates[k][max(top - 1, 0)]
                let high = candidates[k][min(top + 1, candidates[k].count - 1)]
                candidates[k] = (0..<Column.quantileCount).map {
                    low + (high - low) * Double($0) / Double(Column.quantileCount - 1)
                }
            }
        }
    }

    private func level(of k: Int, changed: Change, state: ArraySlice<Double>) -> Level? {
        guard case .level(let step) = changed, let windows = encoder.windows else { return nil }
        let value = state[state.startIndex + windows.levelInput(of: k)]
        return Level(value: value, expected: value + step)
    }

    /// `ln p` of the record with each change made, less what the changed feature then pays, and the feature's reading after it; in one call
    /// of the flows.
    private func densities(
        of changes: [[Change]], in scores: Scores, row: Int, record: [Double],
        state: ArraySlice<Double>
    ) -> [[(value: Double, reading: Double)]] {
        let width = encoder.inputCount
        let count = changes.reduce(0) { $0 + $1.count }
        let base = scores.rows.x.rows(row..<(row + 1)).storage
        var x = Matrix<Float>(rowCount: count, columnCount: width)
        var costs: [(penalty: Double, reading: Double)] = []
        for (k, tried) in changes.enumerated() {
            for change in tried {
                let next = costs.count
                for i in 0..<width { x.storage[next * width + i] = base[i] }
                costs.append(
                    apply(change, to: k, record: record, state: state) { input, value in
                        x.storage[next * width + input] = value
                    })
            }
        }
        let context = scores.rows.context.map {
            $0.selectingRows([Int](repeating: row, count: count))
        }
        let densities = flows.logLikelihood(x, context: context)
        var next = 0
        return changes.map { tried in
            tried.map { _ in
                defer { next += 1 }
                return (densities[next] - costs[next].penalty, costs[next].reading)
            }
        }
    }

    /// Makes a change to the flow's inputs, and says what the feature pays and reads after it.
    private func apply(
        _ change: Change, to k: Int, record: [Double], state: ArraySlice<Double>,
        set: (Int, Float) -> Void
    ) -> (penalty: Double, reading: Double) {
        let column = encoder.columns[encoder.active[k]]
        let before = record[encoder.active[k]]
        let reading: Double
        switch change {
        case .reading(let value): reading = column.snapped(value)
        case .level(let step): reading = column.snapped(before + step)
        }
        let penalty = encoder.rewrite(active: k, reading: reading, state: state) { windows, part in
            switch change {
            case .reading:
                return windows.stateChange(
                    reading - column.clamped(before), of: k, part: part)
            case .level(let step): return part == windows.lengths.count ? step : 0
            }
        } set: { input, value in
            set(input, value)
        }
        return (penalty, reading)
    }

    private func sentence(
        code: ReasonCode, features: [FeatureReason], levels: [String: Level], neverSeen: [String],
        shortfall: Double
    ) -> String {
        guard code != .tooLikely else {
            return "every reading is more typical than normal records are: a stuck or zeroed sensor"
        }
        guard let first = features.first, first.contribution > 0 else {
            return "the combination of all features is improbable"
        }
        let parts = features.named.enumerated().map { i, feature in
            clause(
                feature, level: levels[feature.name], isNew: neverSeen.contains(feature.name))
                + (i == 0 ? Self.share(feature.contribution, of: shortfall) : "")
        }
        return parts.joined(separator: ", or ")
    }

    /// One feature's part of the sentence.
    private func clause(_ feature: FeatureReason, level: Level?, isNew: Bool) -> String {
        if let level, let longest = encoder.windows?.longest {
            func short(_ value: Double) -> String {
                NumberText.short(Self.significant(value, beside: level.value))
            }
            return "\(feature.name) around \(short(level.value)) for \(longest) records "
                + "where \(short(level.expected)) was expected"
        }
        switch (feature.value, feature.expected) {
        case (.missing, _):
            return "\(feature.name) is missing" + (isNew ? ", it never was" : "")
        case (.text(let text), _) where isNew:
            return "\(feature.name) '\(text)' was never seen"
        case (.number(let value), .number(let expected)):
            let short = NumberText.short(Self.significant(expected, beside: value))
            // A change in a digit that is not shown otherwise.
            let found = NumberText.short(value)
            return
                "\(feature.name) \(found == short ? "\(value)" : found) where \(short) was expected"
        case (let value, let expected):
            return "\(feature.name) \(Self.words(value)) where \(Self.words(expected)) was expected"
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

    /// Four significant digits of the greater number are enough for an expectation, and two of its own, unless it is next to nothing;
    /// more, up to six, where the two are closer than that.
    private static func significant(_ expected: Double, beside value: Double) -> Double {
        let size = abs(expected)
        let magnitude = min(max(size, abs(value)), size < 1e-6 ? .infinity : 100 * size)
        guard magnitude > 0, magnitude.isFinite else { return expected }
        var unit = 1.0
        while unit * 1_000 > magnitude, unit > 1e-12 { unit /= 10 }
        while unit * 10_000 <= magnitude, unit < 1e12 { unit *= 10 }
        let difference = abs(value - expected)
        var digits = 4
        while unit > difference / 5, digits < 6, unit > 1e-12 {
            (unit, digits) = (unit / 10, digits + 1)
        }
        let rounded =
            unit < 1
            ? (expected / unit).rounded() / (1 / unit).rounded()
            : (expected / unit).rounded() * unit
        return rounded
    }
}
