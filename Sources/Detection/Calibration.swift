import Foundation

/// Turns log-likelihoods into p-values by their rank among held-out normal records.
///
/// Within the sample, the conformal rank `p(s) = (1 + #{calibration scores ≤ s}) / (n + 1)`, which is valid for
/// exchangeable records whatever the flow learned. Below the `k`-th lowest score `u`, a generalised Pareto
/// tail over the excesses `e = u − s`:
///
///     p(s) = k / (n + 1) · (1 + ξ e / σ)^(−1/ξ)
///
/// - Note: The shape ξ is kept within [0, 0.5]: no score is impossible, and one far outlier among the
///   calibration records does not lift every tail probability. Where there are few scores, or the tail does not fit the
///   excesses, p is the rank within the sample, and below it falls from `1 / (n + 1)` along a cautious tail: ξ is 0.3, and σ a
///   nat at least and so large that each of the lowest scores has half of its share of the sample or more.
///
/// Sources: Bates et al., "Testing for outliers with conformal p-values", 2023, <https://arxiv.org/abs/2104.08279>;
/// Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017; for the fit, Zhang and
/// Stephens, "A new and efficient estimation method for the generalized Pareto distribution", Technometrics 2009.
public struct ScoreTail: Sendable, Hashable {
    /// The calibration scores, ascending: the low end is the strange one.
    public let sorted: [Double]
    /// How many of the lowest scores the Pareto tail was fitted to; 1 for a cautious one, 0 without any, as of a single score.
    public let tailCount: Int
    /// ξ.
    public let shape: Double
    /// σ, in nats.
    public let scale: Double
    private let ranks: RankIndex

    /// Calibrates on scores in any order.
    ///
    /// - Precondition: At least one score, all finite.
    public init(scores: [Double]) {
        precondition(!scores.isEmpty && scores.allSatisfy(\.isFinite), "finite calibration scores")
        sorted = scores.sorted()
        ranks = RankIndex(sorted)
        let count = Self.tailCount(of: sorted.count)
        if sorted.count >= Self.leastForTail,
            let fit = Self.paretoFit(
                sorted[..<count].map { [origin = sorted[count]] in origin - $0 })
        {
            (tailCount, shape, scale) = (count, fit.shape, fit.scale)
        } else if sorted.count > 1 {
            (tailCount, shape, scale) = (1, Self.heavy, Self.cautiousScale(sorted))
        } else {
            (tailCount, shape, scale) = (0, 0, 0)
        }
    }

    /// The largest ξ that is fitted.
    private static let heaviest = 0.5
    /// The ξ of the heaviest tail that normal records are believed to have.
    private static let heavy = 0.3
    /// With fewer scores no tail is fitted.
    private static let leastForTail = 40

    /// The scale of the cautious tail below the second lowest score, in nats.
    ///
    /// Likelihoods are believed to spread by a nat, whatever few of them say: so much the densities of normal records do in one
    /// dimension already. Seen from further out, a Pareto tail is wider by ξ times the way.
    private static func cautiousScale(_ sorted: [Double]) -> Double {
        let count = min(tailCount(of: sorted.count), sorted.count / 2)
        let origin = sorted[count]
        let widest = sorted[..<count].enumerated().map { rank, score in
            let share = 0.5 * Double(rank + 1) / Double(count)
            return (origin - score) * heavy / (pow(share, -heavy) - 1)
        }.max()
        return max(widest ?? 0, 1) + heavy * (origin - sorted[1])
    }

    /// The scores that a tail is fitted to.
    private static func tailCount(of count: Int) -> Int { min(max(count / 10, 10), 250) }

    /// How many of the lowest scores so many normal records would not have, but one time in 100.
    ///
    /// The tail is taken for a heavy one, its scale from the median of the excesses, which a few far ones do not move:
    /// σ (2^ξ − 1) / ξ.
    ///
    /// - Parameter sorted: Ascending; at most one in a hundred, and one, are counted.
    static func impossibleCount(_ sorted: [Double]) -> Int {
        guard sorted.count >= leastForTail else { return 0 }
        let count = tailCount(of: sorted.count)
        let scale = commonScale(sorted)
        guard scale > 0 else { return 0 }
        let suspects = sorted[..<(sorted.count / 100 + 1)]
        let isImpossible = { (score: Double) in
            Double(count) * survival(sorted[count] - score, shape: heavy, scale: scale) < 0.01
        }
        return suspects.lastIndex(where: isImpossible).map { $0 + 1 } ?? 0
    }

    /// σ of a heavy tail by the median of the lowest scores, in nats.
    private static func commonScale(_ sorted: [Double]) -> Double {
        let count = tailCount(of: sorted.count)
        return (sorted[count] - sorted[count / 2]) * heavy / (pow(2, heavy) - 1)
    }

    /// Whether the threshold lies where by the tail of most scores a record falls less than a thirtieth as often as asked.
    ///
    /// Some scores are then far below the others, and hide what is stranger than these and less strange than those.
    func isFarOut(probability: Double) -> Bool {
        guard sorted.count >= Self.leastForTail else { return false }
        let scale = Self.commonScale(sorted)
        guard scale > 0 else { return false }
        let count = Self.tailCount(of: sorted.count)
        let excess = max(sorted[count] - threshold(probability: probability), 0)
        let share = Double(count) / Double(sorted.count + 1)
        return 30 * share * Self.survival(excess, shape: Self.heavy, scale: scale) < probability
    }

    /// Restores a tail that was fitted before.
    init(sorted: [Double], tailCount: Int, shape: Double, scale: Double) {
        self.sorted = sorted
        ranks = RankIndex(sorted)
        self.tailCount = tailCount
        self.shape = shape
        self.scale = scale
    }

    /// The probability of a score as low as this one or lower, among normal records.
    public func probability(_ score: Double) -> Double {
        let total = Double(sorted.count + 1)
        let below = countAtMost(score)
        guard tailCount > 0, below < tailCount else { return Double(1 + below) / total }
        let excess = max(sorted[tailCount] - score, 0)
        return max(Double(tailCount) / total * survival(excess), Self.leastProbability)
    }

    /// No score is impossible, also where the tail's own number is too small to be held.
    private static let leastProbability = 1e-300

    /// The score below which a normal record falls with this probability.
    ///
    /// A record is an anomaly when its score is lower than the threshold. A probability beyond the
    /// resolution of a single score gives that.
    public func threshold(probability: Double) -> Double {
        let total = Double(sorted.count + 1)
        if tailCount > 0, probability < Double(tailCount) / total {
            let ratio = max(probability, 1e-300) * total / Double(tailCount)
            let excess =
                shape < 1e-6 ? -scale * log(ratio) : scale / shape * (pow(ratio, -shape) - 1)
            return sorted[tailCount] - excess
        }
        let allowed = Int((probability * total).rounded(.down)) - 1
        return sorted[min(max(allowed, 0), sorted.count - 1)]
    }

    private func survival(_ excess: Double) -> Double {
        Self.survival(excess, shape: shape, scale: scale)
    }

    private static func survival(_ excess: Double, shape: Double, scale: Double) -> Double {
        let ratio = excess / scale
        return shape < 1e-6 ? exp(-ratio) : pow(1 + shape * ratio, -1 / shape)
    }

    private func countAtMost(_ score: Double) -> Int {
        var (low, high) = ranks.range(of: score)
        while low < high {
            let middle = (low + high) / 2
            if sorted[middle] <= score { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Shape and scale by the quasi-posterior mean of Zhang and Stephens; `nil` where the fit is bad.
    private static func paretoFit(_ excesses: [Double]) -> (shape: Double, scale: Double)? {
        let x = excesses.filter { $0 > 0 }.sorted()
        guard x.count >= 8, let largest = x.last else { return nil }
        let mean = x.reduce(0, +) / Double(x.count)
        let quartile = x[max(Int((Double(x.count) / 4 + 0.5).rounded(.down)) - 1, 0)]
        guard mean > 0, quartile > 0, largest / mean < 1e6 else { return nil }
        // Excesses are scaled by their mean: log-likelihoods may be of any size.
        let scaled = x.map { $0 / mean }
        let gridCount = 30 + Int(Double(x.count).squareRoot())
        var thetas: [Double] = []
        var logWeights: [Double] = []
        for j in 1...gridCount {
            let spread = 1 - (Double(gridCount) / (Double(j) - 0.5)).squareRoot()
            let theta = mean / largest + spread / (3 * quartile / mean)
            let k = scaled.reduce(0) { $0 + log1p(-theta * $1) } / Double(x.count)
            guard theta != 0, k != 0, -theta / k > 0 else { continue }
            thetas.append(theta)
            logWeights.append(Double(x.count) * (log(-theta / k) - k - 1))
        }
        guard let top = logWeights.max(), top.isFinite else { return nil }
        let weights = logWeights.map { exp($0 - top) }
        let theta = zip(thetas, weights).reduce(0) { $0 + $1.0 * $1.1 } / weights.reduce(0, +)
        var shape = scaled.reduce(0) { $0 + log1p(-theta * $1) } / Double(x.count)
        var scale = -shape / theta
        // A weak prior towards the exponential tail, worth ten observations, steadies short tails.
        shape = shape * Double(x.count) / Double(x.count + 10)
        if !(shape.isFinite && scale.isFinite && scale > 0) || shape < 0 { (shape, scale) = (0, 1) }
        shape = min(shape, heaviest)
        let result = (shape: shape, scale: scale * mean)
        return coversFarEnd(x, shape: result.shape, scale: result.scale) ? result : nil
    }

    /// Whether the fit gives the far excesses about the probability that they have in the sample, or more.
    ///
    /// A tail that ends sooner than the fitted one only makes p-values cautious; one that reaches further would make
    /// false alarms.
    private static func coversFarEnd(_ x: [Double], shape: Double, scale: Double) -> Bool {
        [(x.count / 10, 0.5), (max(x.count / 50, 3), 0.25)].allSatisfy { rank, slack in
            let index = x.count - 1 - min(rank, x.count - 1)
            return survival(x[index], shape: shape, scale: scale)
                >= slack * Double(x.count - index) / Double(x.count)
        }
    }
}

/// Where to look for a score among the sorted ones: a grid of cells, and how many scores lie before each.
///
/// A record has three ranks looked up. A search over all scores would cost as much as the flow does.
private struct RankIndex: Sendable, Hashable {
    private let lowest: Double
    /// Cells per nat.
    private let rate: Double
    /// How many scores lie before each cell; the last entry counts all.
    private let starts: [Int32]

    /// The grid spans the middle of the scores: a far outlier must not leave all others in one cell.
    init(_ sorted: [Double]) {
        let margin = sorted.count / 100
        lowest = sorted[margin]
        let span = sorted[sorted.count - 1 - margin] - lowest
        let cellCount = min(2 * sorted.count, 1 << 13)
        rate = Double(cellCount) / span
        // A file may hold scores so far apart that their distance is no number.
        guard rate.isFinite, rate > 0 else {
            starts = [0, Int32(sorted.count)]
            return
        }
        var starts = [Int32](repeating: 0, count: cellCount + 1)
        for score in sorted {
            starts[Self.cell(score, lowest, rate, cellCount) + 1] += 1
        }
        for cell in 0..<cellCount { starts[cell + 1] += starts[cell] }
        self.starts = starts
    }

    /// The places between which the first score above this one is.
    ///
    /// A greater score is never in an earlier cell, so that the scores of earlier cells are lower than this one, and those of
    /// later cells are higher.
    func range(of score: Double) -> (low: Int, high: Int) {
        let cell = starts.count == 2 ? 0 : Self.cell(score, lowest, rate, starts.count - 1)
        return (Int(starts[cell]), Int(starts[cell + 1]))
    }

    private static func cell(
        _ score: Double, _ lowest: Double, _ rate: Double, _ count: Int
    ) -> Int {
        Int(min(max((score - lowest) * rate, 0), Double(count - 1)))
    }
}

/// Both tails of the log-likelihood of normal records, within one false-alarm budget.
///
/// The low tail holds the improbable records, the high tail those that are too likely (a zeroed sensor); it gets a twentieth of
/// the budget, and so do readings that stand still (`Repeats`). The p-value is the smaller of `p_low / 0.9` and
/// `p_high / 0.05`, and at most that of a standstill: at most α of the normal records have one of α or less.
public struct Calibration: Sendable, Hashable {
    /// The share of the budget that belongs to the low tail.
    public static let lowShare = 0.9
    /// That of the high tail.
    public static let highShare = 0.05
    /// That of readings which stand still.
    public static let repeatShare = 0.05

    /// Over log-likelihoods.
    public let low: ScoreTail
    /// Over negated log-likelihoods.
    public let high: ScoreTail

    /// Calibrates on the log-likelihoods of held-out normal records.
    ///
    /// Some of them may be anomalies that nobody knew of, and would hide the next of their kind. At each end the scores, one in
    /// a hundred and one at most, are left out that no tail like that of the others has, if they are few episodes: one in a
    /// thousand records and one at most. Scores as strange that come again and again are a rare kind of normal: without
    /// them each of its records would be a false alarm, whatever was asked for.
    ///
    /// - Parameters:
    ///   - rows: Where the records lie in time; `nil`: one after the other.
    ///   - reach: The rows by which records of one episode are apart at most.
    /// - Precondition: At least one log-likelihood, all finite; as many rows.
    public init(logLikelihoods: [Double], rows: [Int]? = nil, reach: Int = 10) {
        let rows = rows ?? Array(logLikelihoods.indices)
        precondition(rows.count == logLikelihoods.count, "a row for each score")
        let order = logLikelihoods.indices.sorted { logLikelihoods[$0] < logLikelihoods[$1] }
        let sorted = order.map { logLikelihoods[$0] }
        let faults = { (count: Int, suspects: [Int]) in
            let places = suspects.prefix(count).map { rows[$0] }.sorted()
            let episodes = zip(places, places.dropFirst()).count { $1 - $0 > reach } + 1
            return episodes <= max(sorted.count / 1000, 1) ? count : 0
        }
        let lowest = faults(ScoreTail.impossibleCount(sorted), order)
        let highest = faults(
            ScoreTail.impossibleCount(sorted.reversed().map { -$0 }), order.reversed())
        let kept = sorted[lowest..<sorted.count - highest]
        low = ScoreTail(scores: Array(kept))
        high = ScoreTail(scores: kept.map { -$0 })
    }

    init(low: ScoreTail, high: ScoreTail) {
        self.low = low
        self.high = high
    }

    /// The two-sided p-value of a log-likelihood, and the tail that it comes from.
    public func pValue(_ logLikelihood: Double) -> (pValue: Double, tail: Tail) {
        pValue(logLikelihood, lowProbability: low.probability(logLikelihood))
    }

    /// The same where the probability of the low tail is known.
    func pValue(
        _ logLikelihood: Double, lowProbability: Double
    ) -> (pValue: Double, tail: Tail) {
        let low = lowProbability / Self.lowShare
        let high = high.probability(-logLikelihood) / Self.highShare
        return low <= high ? (min(low, 1), .low) : (min(high, 1), .high)
    }

    /// The thresholds that spend this false-alarm probability.
    public func threshold(falseAlarmProbability: Double) -> Threshold {
        Threshold(
            kind: .calibrated,
            logLikelihood: low.threshold(probability: falseAlarmProbability * Self.lowShare),
            upperLogLikelihood: -high.threshold(
                probability: falseAlarmProbability * Self.highShare),
            probability: falseAlarmProbability)
    }
}
