import Foundation
import Ingest

/// For how many records in a row a feature keeps its reading in normal operation.
///
/// A repeat is a reading that is exactly the one before it. The longest runs of repeats among the training rows are known; beyond them
/// the probability of a run falls along a Pareto tail as heavy as any that is fitted to scores, for runs come in bursts: a room's
/// temperature stands still all night.
struct RepeatLaw: Sendable, Hashable, Codable {
    /// The repeats of the longest runs, the longest first; at most `mostRuns`.
    let longest: [Int]
    /// Readings at which the feature rests: however long it does, it is not stuck.
    let resting: [Double]
    /// Training rows.
    let rowCount: Int

    private static let mostRuns = 100
    /// Four equal readings in a row are the least that is called stuck: a record may come twice.
    private static let leastRepeats = 3
    /// ξ.
    private static let shape = 0.5

    /// Runs that are no longer than this are usual.
    var usual: Int {
        max(longest.count == Self.mostRuns ? longest[Self.mostRuns - 1] : 0, Self.leastRepeats - 1)
    }

    /// The probability that a record ends so many repeats, or more.
    func probability(_ repeats: Int) -> Double {
        guard repeats > usual else { return 1 }
        let total = Double(rowCount + 1)
        let most = longest.first ?? 0
        guard repeats > most else {
            return Double(1 + longest.reduce(0) { $0 + max($1 - repeats + 1, 0) }) / total
        }
        // A feature that never repeats, or by the clock, is not believed to be that regular.
        let least = longest.last ?? 0
        let mean = Double(longest.reduce(0) { $0 + $1 - least }) / Double(max(longest.count, 1))
        let scale = max(mean, 0.1 * Double(max(most, 1)))
        return pow(1 + Self.shape * Double(repeats - most) / scale, -1 / Self.shape) / total
    }

    private init(longest: [Int], resting: [Double], rowCount: Int) {
        self.longest = longest
        self.resting = resting
        self.rowCount = rowCount
    }

    /// Learns from the repeats of each run, in any order.
    ///
    /// A sensor that was stuck in training would hide the next time. So the longest run is left out where as many rows would have
    /// one like it, by the other runs, one time in a hundred.
    init(runs: [Int], resting: [Double], rowCount: Int) {
        let sorted = runs.sorted(by: >)
        let others = RepeatLaw(
            longest: Array(sorted.dropFirst().prefix(Self.mostRuns)), resting: resting,
            rowCount: rowCount)
        guard let longest = sorted.first,
            others.probability(longest) * Double(rowCount) >= 0.01
        else {
            self = others
            return
        }
        self.init(
            longest: Array(sorted.prefix(Self.mostRuns)), resting: resting, rowCount: rowCount)
    }

    /// Whether it may come of training rows.
    var isSound: Bool {
        rowCount > 0 && resting.allSatisfy(\.isFinite) && longest.count <= Self.mostRuns
            && longest.allSatisfy { (1..<rowCount).contains($0) }
            && zip(longest, longest.dropFirst()).allSatisfy { $0 >= $1 }
    }
}

/// A record that ends a run of repeats which is longer than usual.
struct Standstill: Sendable, Hashable {
    /// A run, and how it compares.
    struct Run: Sendable, Hashable {
        /// How many records in a row are the same.
        var records: Int
        /// The same of the longest run among the training rows.
        var usual: Int
        /// The p-value of the run alone, within the budget of all.
        var pValue: Double
    }

    /// The features that stand still, by their index.
    var features: [Int: Run] = [:]
    /// Of the record as a whole.
    var record: Run?

    /// The p-value of the record.
    var pValue: Double {
        features.values.reduce(record?.pValue ?? 1) { min($0, $1.pValue) }
    }

    /// The runs alone that are as rare as this; `nil` where none is.
    func within(_ probability: Double) -> Standstill? {
        guard pValue <= probability else { return nil }
        return Standstill(
            features: features.filter { $0.value.pValue <= probability },
            record: record.flatMap { $0.pValue <= probability ? $0 : nil })
    }
}

/// How long the features of a stream keep their readings, each of them and all at once.
///
/// It tells a sensor, or a whole machine, that has frozen: what it reads may be as likely as ever, and a density finds nothing in it.
struct Repeats: Sendable, Hashable, Codable {
    /// Of the features that vary, in the order of `Encoder.active`.
    let features: [RepeatLaw]
    /// Of records that repeat as a whole; `nil` with a single feature.
    let record: RepeatLaw?

    /// A feature rests at a reading that alone repeats in so large a share of the rows.
    private static let restingShare = 0.1

    /// Learns how long features stand still.
    ///
    /// - Parameters:
    ///   - records: In time order; NaN where there is no value.
    ///   - active: The features that vary.
    init(fitting records: RecordBatch, active: [Int]) {
        let rowCount = records.rowCount
        var runs = [[Int]](repeating: [], count: active.count + 1)
        var before = [Int](repeating: 0, count: active.count + 1)
        var held = [[Double: Int]](repeating: [:], count: active.count)
        func take(_ count: Int, place: Int) {
            if count < before[place] { runs[place].append(before[place]) }
            before[place] = count
        }
        var counts: [Int32] = []
        records.countRepeats(&counts, after: nil) { row, counts in
            var least = Int.max
            for (k, j) in active.enumerated() {
                let count = Int(counts[j])
                if count > 0 { held[k][records.value(row, feature: j), default: 0] += 1 }
                take(count, place: k)
                least = min(least, count)
            }
            take(least, place: active.count)
        }
        for place in before.indices { take(0, place: place) }
        features = active.indices.map { k in
            RepeatLaw(
                runs: runs[k],
                resting: held[k].filter { Double($0.value) > Self.restingShare * Double(rowCount) }
                    .keys.sorted(),
                rowCount: rowCount)
        }
        record =
            active.count > 1
            ? RepeatLaw(runs: runs[active.count], resting: [], rowCount: rowCount) : nil
    }

    /// The records that stand still for longer than is usual.
    ///
    /// - Parameters:
    ///   - records: With their gaps filled.
    ///   - gaps: The features that were missing, for the rows where any were.
    ///   - active: The features that vary.
    ///   - state: What came before the first of them; its counts move past them.
    func unusual(
        in records: RecordBatch, gaps: [Int: [Int]], active: [Int], after state: inout ContextState
    ) -> [Int: Standstill] {
        var found: [Int: Standstill] = [:]
        let usual = features.map { Int32($0.usual) }
        let usualRecord = record.map { Int32($0.usual) } ?? .max
        state.countRepeats(of: records, gaps: gaps) { row, counts in
            var least = Int32.max
            var isUnusual = false
            for (k, j) in active.enumerated() {
                if counts[j] > usual[k] { isUnusual = true }
                least = min(least, counts[j])
            }
            guard isUnusual || least > usualRecord else { return }
            let standstill = standstill(of: records.row(row), counts, active: active)
            if standstill.pValue < 1 { found[row] = standstill }
        }
        return found
    }

    private func standstill(
        of reading: ArraySlice<Double>, _ counts: [Int32], active: [Int]
    ) -> Standstill {
        var standstill = Standstill()
        var isResting = true
        var least = Int.max
        for (law, j) in zip(features, active) {
            least = min(least, Int(counts[j]))
            guard !law.resting.contains(reading[reading.startIndex + j]) else { continue }
            isResting = false
            if let run = run(Int(counts[j]), by: law) { standstill.features[j] = run }
        }
        if let record, !isResting { standstill.record = run(least, by: record) }
        return standstill
    }

    /// The run where it is strange at all.
    private func run(_ repeats: Int, by law: RepeatLaw) -> Standstill.Run? {
        let laws = Double(features.count + (record == nil ? 0 : 1))
        let pValue = law.probability(repeats) * laws / Calibration.repeatShare
        guard pValue < 1 else { return nil }
        return Standstill.Run(
            records: repeats + 1, usual: (law.longest.first ?? 0) + 1, pValue: pValue)
    }

    /// Whether it fits so many features that vary, and may come of training rows.
    func isSound(featureCount: Int) -> Bool {
        features.count == featureCount && (record != nil) == (featureCount > 1)
            && features.allSatisfy(\.isSound) && record?.isSound ?? true
    }
}

extension RecordBatch {
    /// Counts for how many records in a row each feature has repeated its reading.
    ///
    /// - Parameters:
    ///   - counts: The repeats before the first record, by feature; then those behind the last. Empty for none.
    ///   - before: The record before the first.
    ///   - gaps: The features that were missing and are filled, for the rows where any were.
    ///   - body: Takes each row with its counts.
    func countRepeats(
        _ counts: inout [Int32], after before: ArraySlice<Double>?, gaps: [Int: [Int]] = [:],
        body: (_ row: Int, _ counts: [Int32]) -> Void = { _, _ in }
    ) {
        let width = schema.features.count
        if counts.count != width { counts = [Int32](repeating: 0, count: width) }
        let beginnings = Set(beginnings)
        for row in 0..<rowCount {
            let own = self.row(row)
            let former = row > 0 ? self.row(row - 1) : before
            if let former, former.count == width, !beginnings.contains(row) {
                for j in 0..<width {
                    let isRepeat = own[own.startIndex + j] == former[former.startIndex + j]
                    counts[j] = isRepeat ? min(counts[j] + 1, 1 << 30) : 0
                }
            } else {
                for j in 0..<width { counts[j] = 0 }
            }
            if !gaps.isEmpty, let missing = gaps[row] {
                for j in missing { counts[j] = 0 }
            }
            body(row, counts)
        }
    }

    /// One value of a record.
    func value(_ row: Int, feature: Int) -> Double { values[row * schema.features.count + feature] }
}
