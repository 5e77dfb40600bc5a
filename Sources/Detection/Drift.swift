import FlowDensity
import Foundation
import Ingest

/// How far the newest records have moved away from those that the serving model learned from.
///
/// Two measures, both of bounded size and independent of how many records come:
///
/// - of each feature the population stability index of the newest records against the training records,
///   `PSI = Σ (aᵢ − eᵢ) ln(aᵢ / eᵢ)` over bins between the training quantiles, `a` the share of the newest records and `e`
///   that of the training records in a bin;
/// - of the scores a test by betting. Under the model that serves, the p-values of normal records are spread evenly. A
///   gambler bets on each p-value that it is smaller, or greater, than that: `1 + ε (p − ½)` with ε of −1, 0 or 1, the three
///   in equal parts at first and a hundredth of the capital moved between them at each step. While the p-values are even
///   the capital does not grow; it is set back to 1 when it falls below. Reaching `c` by chance takes at least `c` records on
///   average.
///
/// Records of a sensor stream resemble their neighbours, so that a chance run of low p-values is long. Therefore only one
/// record in `2 (1 + ρ) / (1 − ρ)` is bet on, ρ the measured correlation of neighbouring p-values: that far apart they hardly
/// know of each other.
///
/// Sources: Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman, "Retrain or not retrain: conformal test martingales for
/// change-point detection", 2021, <https://arxiv.org/abs/2102.10439>, the simple jumper and its CUSUM form; for the index,
/// Yurdakul, "Statistical properties of population stability index", 2018.
public struct DriftState: Sendable, Hashable, Codable {
    /// A feature has moved much when its index is above this.
    public static let bigIndex = 0.25
    /// The scores have drifted when the capital reaches this: by chance once in a million records.
    public static let bigCapital = 1e6

    /// What the tracker counts of one feature.
    struct Feature: Sendable, Hashable {
        /// Records between this edge and the one before; the last bin has no upper edge.
        var counts: [Int]
    }

    /// Counts are halved when there are more than twice as many.
    private(set) var memory: Int
    /// The same counts of the training records; `nil`: known by their quantiles alone.
    private(set) var reference: [Feature]?
    private(set) var features: [Feature]
    /// Logarithms of the capital of the three bets: on smaller p-values, on none, on greater ones.
    private var bets = [Double](repeating: -log(3.0), count: 3)
    /// Records since the capital was set back to 1 last.
    public private(set) var recordsSinceChange: Int64 = 0
    /// Sums for the mean, the variance and the correlation of neighbours of the p-values.
    private var previous: Double?
    private var neighbours = Neighbours()
    /// Records since the last bet; `nil` in a state of an earlier build.
    private var sinceBet: Double?
    /// Bets since the test began; `nil` in a state of an earlier build.
    private var betCount: Int64?

    private struct Neighbours: Hashable, Codable {
        var count = 0.0
        var squares = 0.0
        var products = 0.0
    }

    /// Share of the capital that moves between the bets at each step.
    private static let jump = 0.01
    /// The fewest records that an index is told of.
    fileprivate static let leastRecords = 200
    /// Where the rate is known so many days are enough for an index: weekly ways of a stream are in them.
    private static let mostDays = 7.0
    /// The fewest bets that can win enough: each by half.
    private static let leastBets = Int64((log(3 * bigCapital) / log(1.5)).rounded(.up))
    /// A correlation below this is none.
    private static let leastCorrelation = 0.05
    /// A correlation beyond this is taken as this.
    private static let mostCorrelation = 0.98

    /// Begins for a model.
    init(features: [Feature], reference: [Feature]?, memory: Int) {
        self.features = features
        self.reference = reference
        self.memory = memory
        betCount = 0
    }

    /// How many records the features' counts hold: the newest ones.
    public var recordCount: Int64 {
        Int64(features.map { $0.counts.reduce(0, +) }.max() ?? 0)
    }

    /// How many more records must be counted before the features' indices are told.
    ///
    /// The counts must hold half as many as the model learned from, which are fewer than the memory: a part of a day is
    /// not what the days were.
    ///
    /// - Parameters:
    ///   - learnedCount: Records that the model learned from.
    ///   - recordsPerDay: Their rate; 0 while it is unknown.
    func missingCount(learnedCount: Int, recordsPerDay: Double) -> Int64 {
        var needed = min(Double(learnedCount / 2), Double(memory))
        if recordsPerDay > 0 { needed = min(needed, Self.mostDays * recordsPerDay) }
        return max(0, max(Int64(needed), Int64(Self.leastRecords)) - recordCount)
    }

    /// Whether the test has made so few bets that it could not have found a change.
    public var isTooEarlyForScores: Bool { (betCount ?? Self.leastBets) < Self.leastBets }

    /// The natural logarithm of the capital of the test; 0 while nothing speaks for a drift.
    public var logCapital: Double { max(0, Self.logSum(bets)) }

    /// Whether the scores say that the records have changed.
    public var scoresHaveDrifted: Bool { logCapital >= log(Self.bigCapital) }

    /// Takes in the p-values of records, which normal ones have spread evenly over 0 to 1.
    mutating func observe(pValues: some Sequence<Double>) {
        var capital = Capital(logs: bets)
        for pValue in pValues {
            let p = min(max(pValue, 0), 1)
            let stride = stride(after: p)
            let waited = (sinceBet ?? 0) + 1
            recordsSinceChange += 1
            guard waited >= stride else {
                sinceBet = waited
                continue
            }
            sinceBet = min(waited - stride, 1)
            betCount = betCount.map { $0 + 1 }
            capital.bet(on: p, jump: Self.jump)
            if capital.isLost {
                resetCapital()
                capital = Capital(logs: bets)
            }
        }
        bets = capital.logs
    }

    /// The capital of the three bets in units of some power, so that a step takes no logarithm.
    private struct Capital {
        private var less: Double
        private var even: Double
        private var more: Double
        /// The logarithm of the unit.
        private let top: Double
        /// The whole capital that is 1, less what the rounding takes: the first bet leaves it as it is.
        private let least: Double

        init(logs: [Double]) {
            top = max(logs[0], logs[1], logs[2])
            (less, even, more) = (exp(logs[0] - top), exp(logs[1] - top), exp(logs[2] - top))
            least = exp(-1e-9 - top)
        }

        var logs: [Double] { [top + log(less), top + log(even), top + log(more)] }

        /// Whether the capital has fallen below 1.
        var isLost: Bool { less + even + more <= least }

        mutating func bet(on p: Double, jump: Double) {
            let whole = less + even + more
            // Long before it is more, or less, than a number can hold.
            if !(1e-100...1e100).contains(whole) { self = Capital(logs: logs) }
            let moved = (less + even + more) * jump / 3
            less = (less * (1 - jump) + moved) * (1.5 - p)
            even = even * (1 - jump) + moved
            more = (more * (1 - jump) + moved) * (0.5 + p)
        }
    }

    /// How many records go by from bet to bet, by the correlation of neighbouring p-values.
    private mutating func stride(after p: Double) -> Double {
        let centred = p - 0.5
        defer { previous = centred }
        if let previous {
            neighbours.count += 1
            neighbours.squares += centred * centred
            neighbours.products += centred * previous
            if neighbours.count > 2 * Double(memory) {
                neighbours.count /= 2
                neighbours.squares /= 2
                neighbours.products /= 2
            }
        }
        // A prior of a hundred records that do not depend on each other.
        let correlation = neighbours.products / (neighbours.squares + 100.0 / 12)
        guard correlation > Self.leastCorrelation else { return 1 }
        let rho = min(correlation, Self.mostCorrelation)
        return 2 * (1 + rho) / (1 - rho)
    }

    /// Begins the test of the scores anew, after a fit that answered it.
    public mutating func resetScores() {
        resetCapital()
        betCount = 0
    }

    private mutating func resetCapital() {
        for i in bets.indices { bets[i] = -log(3.0) }
        recordsSinceChange = 0
    }

    /// Adds to the counts of a feature's bins.
    mutating func count(feature: Int, _ more: [Int]) {
        for (bin, count) in more.enumerated() { features[feature].counts[bin] += count }
    }

    /// Halves what is old.
    mutating func age() {
        for j in features.indices where features[j].counts.reduce(0, +) > 2 * memory {
            // Rounded up, so that as many as the memory stay.
            for i in features[j].counts.indices {
                features[j].counts[i] = (features[j].counts[i] + 1) / 2
            }
        }
    }

    /// `ln Σ exp`.
    private static func logSum(_ terms: [Double]) -> Double {
        let top = terms.max() ?? 0
        return top + log(terms.reduce(0) { $0 + exp($1 - top) })
    }
}

extension DriftState.Feature: Codable {
    private enum CodingKeys: CodingKey {
        case counts
    }

    /// Reads the counts as a text, or as the list that earlier builds wrote.
    init(from decoder: any Swift.Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard let text = try? container.decode(String.self, forKey: .counts) else {
            counts = try container.decode([Int].self, forKey: .counts)
            return
        }
        let numbers = text.split(separator: " ").map { Int($0) }
        counts = numbers.compactMap(\.self)
        guard counts.count == numbers.count else {
            throw DecodingError.dataCorruptedError(
                forKey: .counts, in: container, debugDescription: "the counts are not all numbers")
        }
    }

    /// Writes the counts as one text: a checkpoint is written with each batch, and a list takes thirty times as long.
    func encode(to encoder: any Swift.Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(counts.map { String($0) }.joined(separator: " "), forKey: .counts)
    }
}

/// How far one feature has moved.
public struct FeatureDrift: Sendable, Hashable, Codable {
    /// The feature.
    public var name: String
    /// Its population stability index; above `DriftState.bigIndex` is a big change.
    public var index: Double
}

/// Bins of a feature: the different values among its training quantiles, and the share of training records in each.
struct DriftBins: Sendable {
    /// The greatest value of each bin but the last.
    var edges: [Double] = []
    var shares: [Double] = []

    init(_ column: Column) {
        let quantiles = column.quantiles
        let steps = Double(quantiles.count - 1)
        var below = 0.0
        for (i, value) in quantiles.enumerated() where i > 0 && i < quantiles.count - 1 {
            guard value < quantiles[quantiles.count - 1], quantiles[i + 1] > value else { continue }
            // A value that several records share goes on to somewhere before the next rank.
            let share = (Double(i) + (column.step > 0 ? 0.5 : 0)) / steps
            edges.append(value)
            shares.append(share - below)
            below = share
        }
        shares.append(1 - below)
    }

    /// The number of edges below the value: there are few, and a count without branches is the fastest search.
    func bin(of value: Double) -> Int {
        var below = 0
        for edge in edges { below += value > edge ? 1 : 0 }
        return below
    }

    /// The index of these counts.
    ///
    /// - Parameter reference: Counts of the training records; `nil`: the shares by the quantiles.
    func index(_ counts: [Int], reference: [Int]?) -> Double {
        zip(Self.shares(counts), reference.map(Self.shares) ?? shares).reduce(0) { sum, bin in
            sum + (bin.0 - bin.1) * log(bin.0 / bin.1)
        }
    }

    /// Half a record is added to each bin, so that an empty one is not infinitely far.
    private static func shares(_ counts: [Int]) -> [Double] {
        let total = Double(counts.reduce(0, +)) + 0.5 * Double(counts.count)
        return counts.map { (Double($0) + 0.5) / total }
    }
}

extension Detector {
    /// The most features that are tracked.
    private static let mostTrackedFeatures = 256

    /// A tracker that has seen nothing.
    ///
    /// Its memory is half as many records as the model learned from, at least 500 and at most 50000.
    ///
    /// - Parameter training: The records that the model learned from, where they are at hand. The default is the shares
    ///   by their quantiles, which are rough for values on a grid.
    public func driftState(training: RecordBatch? = nil) -> DriftState {
        let bins = encoder.columns.prefix(Self.mostTrackedFeatures).map { DriftBins($0) }
        let empty = bins.map {
            DriftState.Feature(counts: [Int](repeating: 0, count: $0.shares.count))
        }
        var reference: [DriftState.Feature]?
        if let training {
            var counted = empty
            let width = encoder.columns.count
            for row in 0..<training.rowCount {
                for (j, bins) in bins.enumerated() {
                    let value = training.values[row * width + j]
                    if value.isFinite { counted[j].counts[bins.bin(of: value)] += 1 }
                }
            }
            reference = counted
        }
        return DriftState(
            features: empty, reference: reference,
            memory: min(max(summary.rowCount / 2, 500), 50_000))
    }

    /// Takes in scored records.
    ///
    /// - Parameters:
    ///   - state: Of this detector; another's begins anew.
    ///   - parallel: Runs the features; the counts do not depend on it.
    ///   - isWanted: Whether a record counts, by its place in the batch.
    public func observeDrift(
        _ scores: Scores, in state: inout DriftState, parallel: ParallelFor = .serial,
        where isWanted: (Int) -> Bool
    ) {
        let bins = encoder.columns.prefix(Self.mostTrackedFeatures).map { DriftBins($0) }
        if state.features.map(\.counts.count) != bins.map(\.shares.count) { state = driftState() }
        let width = encoder.columns.count
        let wanted = scores.logLikelihood.indices.filter(isWanted)
        let values = scores.rows.records.values
        let counts = parallel.map(bins.count) { j in
            let bins = bins[j]
            var counts = [Int](repeating: 0, count: bins.shares.count)
            for row in wanted {
                let value = values[row * width + j]
                if value.isFinite { counts[bins.bin(of: value)] += 1 }
            }
            return counts
        }
        for (j, counts) in counts.enumerated() { state.count(feature: j, counts) }
        state.observe(pValues: wanted.lazy.map { scores.lowProbability[$0] }.filter { !$0.isNaN })
        state.age()
    }

    /// How many more records must come before `featureDrift` tells anything.
    ///
    /// - Parameter recordsPerDay: The rate of records; 0 while it is unknown.
    public func featureDriftMissing(_ state: DriftState, recordsPerDay: Double = 0) -> Int64 {
        state.missingCount(learnedCount: summary.rowCount, recordsPerDay: recordsPerDay)
    }

    /// How far each feature has moved, the furthest first; none while too few records were seen.
    ///
    /// - Parameter recordsPerDay: The rate of records; 0 while it is unknown.
    public func featureDrift(
        _ state: DriftState, recordsPerDay: Double = 0
    ) -> [FeatureDrift] {
        let bins = encoder.columns.prefix(Self.mostTrackedFeatures).map { DriftBins($0) }
        guard state.features.map(\.counts.count) == bins.map(\.shares.count),
            featureDriftMissing(state, recordsPerDay: recordsPerDay) == 0
        else { return [] }
        return bins.indices.compactMap { j -> FeatureDrift? in
            let counts = state.features[j].counts
            // A constant feature has one bin: any change of it is an anomaly.
            guard bins[j].shares.count > 1, counts.reduce(0, +) >= DriftState.leastRecords else {
                return nil
            }
            return FeatureDrift(
                name: encoder.schema.features[j],
                index: bins[j].index(counts, reference: state.reference?[j].counts))
        }.sorted { ($1.index, $0.name) < ($0.index, $1.name) }
    }
}
