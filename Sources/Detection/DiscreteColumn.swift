import Foundation

/// One discrete variable of a record: a category, or whether an optional feature has a value.
///
/// With `N` training rows, `k` distinct values and `nᵥ` rows of the value `v`, Ristad's natural law of succession
///
///     P(v)      = (nᵥ + 1)(N + 1 − k) / (N² + N + 2k)      a value that was seen
///     P(unseen) = k (k + 1) / (N² + N + 2k)                all others together
///
/// which sums to one. A closed set of values leaves about `(k / N)²` for a new one; where most rows have a value of their
/// own, a new one is nearly certain.
///
/// Source: Ristad, "A natural law of succession", 1995, <https://arxiv.org/abs/cmp-lg/9508012>.
struct DiscreteColumn: Sendable, Hashable, Codable {
    enum Kind: String, Sendable, Hashable, Codable {
        /// A category column; a cell without a value is a value of its own.
        case category
        /// Whether a feature has a value.
        case presence
    }

    /// Rows of one value of this column under one slot of the column that it depends on.
    struct Pair: Sendable, Hashable, Codable {
        var slot: Int
        var level: Int
        var count: Int
    }

    /// The category, or the feature.
    var name: String
    var kind: Kind
    /// The values by their frequency, the most frequent first, equal ones by their text; `nil`: no value.
    var levels: [String?]
    /// Training rows of each.
    var counts: [Int]
    /// How many values there were, also those beyond `levelLimit`.
    var distinctCount: Int
    /// Training rows.
    var rowCount: Int
    /// The column that it depends on most; `nil`: on none.
    var parent: Int?
    /// Rows by the parent's slot and this column's level, ascending.
    var pairs: [Pair]

    private enum CodingKeys: String, CodingKey {
        case name, kind, levels, counts
        case distinctCount = "distinct_count"
        case rowCount = "row_count"
        case parent, pairs
    }

    /// The most frequent values are told apart, so many at most; rarer ones count as unseen.
    static let levelLimit = 1_024
    /// The most frequent values have a place of their own in the context, so many at most; the others share one.
    static let slotLimit = 32
    /// The text of a feature that has a value.
    static let present = "present"

    /// Counts the values of the training rows.
    init(name: String, kind: Kind, values: [String?]) {
        var countOfLevel: [String?: Int] = [:]
        for value in values { countOfLevel[value, default: 0] += 1 }
        let ordered = countOfLevel.sorted {
            ($1.value, $0.key ?? "", $0.key == nil ? 0 : 1)
                < ($0.value, $1.key ?? "", $1.key == nil ? 0 : 1)
        }
        self.name = name
        self.kind = kind
        levels = ordered.prefix(Self.levelLimit).map(\.key)
        counts = ordered.prefix(Self.levelLimit).map(\.value)
        distinctCount = ordered.count
        rowCount = values.count
        parent = nil
        pairs = []
    }

    /// The code of all values that are no level.
    var unseen: Int { levels.count }
    /// The code of each level.
    var codeOfLevel: [String?: Int] {
        Dictionary(zip(levels, levels.indices), uniquingKeysWith: { first, _ in first })
    }
    /// The slot of all values that have none of their own.
    var otherSlot: Int { min(levels.count, Self.slotLimit) }
    /// Whether every value has the same slot in every record so far: nothing can depend on it.
    var isSettled: Bool { levels.count == 1 }

    /// The slot of a level: itself, or that of the others.
    func slot(_ code: Int) -> Int { min(code, otherSlot) }

    /// How many numbers of the context tell the value.
    var contextCount: Int { kind == .presence ? 1 : otherSlot }

    /// Whether a new value is rarer than one in as many records as were learned: then each is an anomaly.
    var isClosed: Bool {
        distinctCount == levels.count && unseenProbability * Double(rowCount) < 1
    }

    /// What a user should know about it; `nil`: nothing.
    var note: String? {
        switch kind {
        case .presence:
            guard let place = levels.firstIndex(of: nil) else { return nil }
            return levels.count == 1
                ? "'\(name)' has no value in the training rows: one that comes is an anomaly"
                : "'\(name)' is missing in \(Self.percent(Double(counts[place]) / Double(rowCount))) "
                    + "of the training rows"
        case .category:
            let kept =
                distinctCount > Self.slotLimit
                ? ", of which the other columns tell the \(Self.slotLimit) most frequent apart" : ""
            let new =
                isClosed
                ? "a new one is an anomaly"
                : "a new one is expected in \(Self.percent(unseenProbability)) of the records"
            return
                "'\(name)' has \(distinctCount) \(distinctCount == 1 ? "value" : "values")\(kept); "
                + new
        }
    }

    private static func percent(_ share: Double) -> String {
        String(format: "%.2g %%", 100 * share)
    }

    /// P(v) of each level, and behind them that of all other values together; they sum to one.
    var marginal: [Double] {
        let (n, k) = (Double(rowCount), Double(distinctCount))
        let whole = n * n + n + 2 * k
        let rest = Double(rowCount - counts.reduce(0, +) + distinctCount - levels.count)
        return counts.map { (Double($0) + 1) * (n + 1 - k) / whole }
            + [(k * (k + 1) + rest * (n + 1 - k)) / whole]
    }

    private var unseenProbability: Double { marginal[levels.count] }

    /// `ln P(v | slot of the parent)`, shape [slots, levels and unseen]; one slot without a parent.
    ///
    /// The same law within the rows of a slot; what it leaves for values that were not seen there is shared by these in
    /// proportion to `marginal`. A slot without rows has the marginal.
    func logProbabilities(parentSlotCount: Int) -> [[Double]] {
        let marginal = marginal
        guard parent != nil else { return [marginal.map { log($0) }] }
        var countsOfSlot = [[Int]](
            repeating: [Int](repeating: 0, count: levels.count), count: parentSlotCount)
        for pair in pairs { countsOfSlot[pair.slot][pair.level] = pair.count }
        return countsOfSlot.map { counts in
            let n = Double(counts.reduce(0, +))
            let k = Double(counts.count { $0 > 0 })
            guard n > 0 else { return marginal.map { log($0) } }
            let whole = n * n + n + 2 * k
            // The unseen slot is never counted, so that something is always left to share.
            let unshared = zip(counts, marginal).reduce(marginal[levels.count]) {
                $0 + ($1.0 > 0 ? 0 : $1.1)
            }
            let share = k * (k + 1) / whole / unshared
            return marginal.indices.map { level in
                let count = level < counts.count ? counts[level] : 0
                return count > 0
                    ? log((Double(count) + 1) * (n + 1 - k) / whole)
                    : log(share) + log(marginal[level])
            }
        }
    }
}
