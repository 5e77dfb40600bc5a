import FlowDensity
import Foundation
import Ingest

/// The joint probability of a record's categories and of the pattern of its missing values.
///
/// Each column depends on at most one other, so that the dependencies are a forest (Chow and Liu) and
///
///     ln P(categories, pattern) = Σᵢ ln P(vᵢ | slot of v_parent(i))
///
/// is exact and sums to one. The parents are those of the greatest total mutual information, where it is more than
/// chance would give (BIC).
///
/// Source: Chow, Liu, "Approximating discrete probability distributions with dependence trees", 1968.
struct DiscreteDensity: Sendable, Hashable {
    let columns: [DiscreteColumn]
    /// `ln P` of each column, shape [slots of the parent, levels and unseen].
    private let logProbabilities: [[[Double]]]
    /// The code of each level of each column.
    private let codeOfLevel: [[String?: Int]]
    /// The columns of which a new value is an anomaly.
    private let closed: [Int]

    /// More columns than this, the liveliest first, are not compared with one another.
    private static let comparedColumns = 96
    /// More rows than this are not needed to choose the parents.
    private static let comparedRows = 20_000

    init(columns: [DiscreteColumn]) {
        self.columns = columns
        logProbabilities = columns.map { column in
            column.logProbabilities(
                parentSlotCount: column.parent.map { columns[$0].otherSlot + 1 } ?? 1)
        }
        codeOfLevel = columns.map(\.codeOfLevel)
        closed = columns.indices.filter { columns[$0].isClosed }
    }

    /// Learns from these rows of the records.
    init(fitting records: RecordBatch, rows: [Int]) {
        let schema = records.schema
        var columns: [DiscreteColumn] = []
        var codes: [[Int]] = []
        func add(_ name: String, _ kind: DiscreteColumn.Kind, _ value: (Int) -> String?) {
            let values = rows.map(value)
            let column = DiscreteColumn(name: name, kind: kind, values: values)
            let place = column.codeOfLevel
            codes.append(values.map { place[$0] ?? column.unseen })
            columns.append(column)
        }
        for (index, name) in schema.categories.enumerated() {
            add(name, .category) { records.categories.text(row: $0, column: index) }
        }
        let width = schema.features.count
        for (index, name) in schema.features.enumerated() where schema.optional.contains(name) {
            add(name, .presence) {
                records.values[$0 * width + index].isNaN ? nil : DiscreteColumn.present
            }
        }
        for (child, parent) in Self.parents(columns, codes) {
            var counts: [Int: Int] = [:]
            let levelCount = columns[child].levels.count
            for (own, other) in zip(codes[child], codes[parent]) where own < levelCount {
                counts[columns[parent].slot(other) * levelCount + own, default: 0] += 1
            }
            columns[child].parent = parent
            columns[child].pairs = counts.sorted { $0.key < $1.key }.map {
                .init(slot: $0.key / levelCount, level: $0.key % levelCount, count: $0.value)
            }
        }
        self.init(columns: columns)
    }

    /// The edges of the best forest, by Prim's algorithm.
    private static func parents(
        _ columns: [DiscreteColumn], _ codes: [[Int]]
    ) -> [(child: Int, parent: Int)] {
        var open = columns.indices.filter { !columns[$0].isSettled }
        if open.count > comparedColumns {
            let liveliest = open.sorted {
                (columns[$0].counts[0], $0) < (columns[$1].counts[0], $1)
            }
            open = liveliest.prefix(comparedColumns).sorted()
        }
        var edges: [(child: Int, parent: Int)] = []
        // The best gain of each open column, and the column of the tree that it is with.
        var best: [Int: (gain: Double, parent: Int)] = [:]
        while !open.isEmpty {
            let next =
                open.max {
                    (best[$0]?.gain ?? 0, -$0) < (best[$1]?.gain ?? 0, -$1)
                } ?? open[0]
            open.removeAll { $0 == next }
            if let edge = best[next] { edges.append((next, edge.parent)) }
            for other in open {
                let gain = gain(of: columns[other], codes[other], columns[next], codes[next])
                if gain > best[other]?.gain ?? 0 { best[other] = (gain, next) }
            }
        }
        return edges
    }

    /// Mutual information of two columns' slots over the rows in nats, less what chance would give.
    private static func gain(
        of a: DiscreteColumn, _ aCodes: [Int], _ b: DiscreteColumn, _ bCodes: [Int]
    ) -> Double {
        let (width, height) = (a.otherSlot + 1, b.otherSlot + 1)
        var joint = [Double](repeating: 0, count: width * height)
        let stride = max(1, aCodes.count / comparedRows)
        var total = 0.0
        for row in Swift.stride(from: 0, to: aCodes.count, by: stride) {
            joint[b.slot(bCodes[row]) * width + a.slot(aCodes[row])] += 1
            total += 1
        }
        var aTotals = [Double](repeating: 0, count: width)
        var bTotals = [Double](repeating: 0, count: height)
        for i in joint.indices {
            aTotals[i % width] += joint[i]
            bTotals[i / width] += joint[i]
        }
        var information = 0.0
        for i in joint.indices where joint[i] > 0 {
            information +=
                joint[i] * log(joint[i] * total / (aTotals[i % width] * bTotals[i / width]))
        }
        let used = (aTotals.count { $0 > 0 }, bTotals.count { $0 > 0 })
        return information - 0.5 * Double((used.0 - 1) * (used.1 - 1)) * log(total)
    }

    /// What records of a batch hold in these columns.
    struct Rows: Sendable {
        /// The codes, row-major, shape [rows, columns].
        var codes: [Int] = []
        /// `ln P(categories, pattern)` of each row; empty where there are no columns.
        var logProbability: [Double] = []
        /// For the rows with values that were never seen, where each such value is an anomaly: the columns.
        var neverSeen: [Int: [Int]] = [:]

        /// Adds the rows of the next part of the batch.
        mutating func append(_ other: Rows, from row: Int) {
            codes += other.codes
            logProbability += other.logProbability
            for (place, columns) in other.neverSeen { neverSeen[row + place] = columns }
        }

        /// `ln P(categories, pattern)` of a row; 0 where there are no columns.
        func logProbability(_ row: Int) -> Double {
            logProbability.isEmpty ? 0 : logProbability[row]
        }
    }

    /// Looks up a batch.
    ///
    /// - Parameter gaps: For each row with missing features, which ones.
    func rows(of records: RecordBatch, gaps: [Int: [Int]]) -> Rows {
        guard !columns.isEmpty else { return Rows() }
        let width = columns.count
        var rows = Rows()
        rows.codes = [Int](repeating: 0, count: records.rowCount * width)
        for (i, column) in columns.enumerated() {
            let levels = codeOfLevel[i]
            func put(_ value: Int, row: Int) { rows.codes[row * width + i] = value }
            switch column.kind {
            case .category:
                guard let place = records.schema.categories.firstIndex(of: column.name) else {
                    continue
                }
                let texts = records.categories.texts
                var known = [Int](repeating: -1, count: texts.count)
                let missing = levels[nil] ?? column.unseen
                for row in 0..<records.rowCount {
                    let code = Int(
                        records.categories.codes[row * records.categories.columnCount + place])
                    guard code >= 0 else {
                        put(missing, row: row)
                        continue
                    }
                    if known[code] < 0 { known[code] = levels[texts[code]] ?? column.unseen }
                    put(known[code], row: row)
                }
            case .presence:
                let feature = records.schema.features.firstIndex(of: column.name)
                let present = levels[DiscreteColumn.present] ?? column.unseen
                let missing = levels[nil] ?? column.unseen
                for row in 0..<records.rowCount { put(present, row: row) }
                for (row, features) in gaps where features.contains(where: { $0 == feature }) {
                    put(missing, row: row)
                }
            }
        }
        rows.logProbability = (0..<records.rowCount).map { row in
            logProbability(rows.codes[(row * width)..<((row + 1) * width)])
        }
        for i in closed {
            let unseen = columns[i].unseen
            for row in 0..<records.rowCount where rows.codes[row * width + i] == unseen {
                rows.neverSeen[row, default: []].append(i)
            }
        }
        return rows
    }

    /// `ln P` of one record's codes.
    func logProbability(_ codes: ArraySlice<Int>) -> Double {
        columns.indices.reduce(0) { sum, i in
            let slot = columns[i].parent.map { columns[$0].slot(codes[codes.startIndex + $0]) } ?? 0
            return sum + logProbabilities[i][slot][codes[codes.startIndex + i]]
        }
    }

    // MARK: Context

    /// How many numbers of the context tell these columns.
    var contextCount: Int { columns.reduce(0) { $0 + $1.contextCount } }

    /// Whether each value has the place in the context that it has in another density's.
    func hasSlots(of other: DiscreteDensity) -> Bool {
        columns.count == other.columns.count
            && zip(columns, other.columns).allSatisfy { own, other in
                own.name == other.name && own.kind == other.kind
                    && own.levels.prefix(DiscreteColumn.slotLimit)
                        == other.levels.prefix(DiscreteColumn.slotLimit)
            }
    }

    /// Where a column's numbers begin in the context of `rows(of:gaps:)`.
    func contextStart(of column: Int) -> Int {
        columns[..<column].reduce(0) { $0 + $1.contextCount }
    }

    /// Writes a column's value into a context: all zeros for the most frequent one, else a one in its slot's place.
    func write(
        _ code: Int, ofColumn i: Int, into context: inout Matrix<Float>, row: Int, at start: Int
    ) {
        let column = columns[i]
        for k in 0..<column.contextCount { context[row, start + k] = 0 }
        let place = column.kind == .presence ? min(code, 1) : column.slot(code)
        if place > 0 { context[row, start + place - 1] = 1 }
    }

    /// The context of rows, behind what else there is of it.
    func context(_ rows: Rows, rowCount: Int, behind other: Matrix<Float>?) -> Matrix<Float>? {
        let width = contextCount
        guard width > 0 else { return other }
        let before = other?.columnCount ?? 0
        var context = Matrix<Float>(rowCount: rowCount, columnCount: before + width)
        if let other {
            for row in 0..<rowCount {
                for k in 0..<before { context[row, k] = other[row, k] }
            }
        }
        var start = before
        for (i, column) in columns.enumerated() {
            for row in 0..<rowCount where rows.codes[row * columns.count + i] > 0 {
                write(
                    rows.codes[row * columns.count + i], ofColumn: i, into: &context, row: row,
                    at: start)
            }
            start += column.contextCount
        }
        return context
    }

    // MARK: Sampling

    /// Draws the codes of a record; a value that was never seen is not drawn.
    func sample(using generator: inout some RandomNumberGenerator) -> [Int] {
        var codes = [Int?](repeating: nil, count: columns.count)
        // Each turn draws at least the columns whose parents are drawn.
        while codes.contains(nil) {
            for (i, column) in columns.enumerated() where codes[i] == nil {
                var slot = 0
                if let parent = column.parent {
                    guard let code = codes[parent] else { continue }
                    slot = columns[parent].slot(code)
                }
                let weights = logProbabilities[i][slot].dropLast().map { exp($0) }
                var rest = Double.random(in: 0..<1, using: &generator) * weights.reduce(0, +)
                codes[i] =
                    weights.firstIndex { weight in
                        rest -= weight
                        return rest < 0
                    } ?? 0
            }
        }
        return codes.compactMap(\.self)
    }

    /// The cells that codes stand for: the texts of the categories, and which features have a value.
    func cells(_ codes: [Int], of schema: Schema) -> (categories: [String?], hasValue: [Bool]) {
        var categories: [String?] = []
        var lacking: Set<String> = []
        for (column, code) in zip(columns, codes) {
            switch column.kind {
            case .category: categories.append(column.levels[code])
            case .presence: if column.levels[code] == nil { lacking.insert(column.name) }
            }
        }
        return (categories, schema.features.map { !lacking.contains($0) })
    }
}

extension DiscreteDensity {
    /// Restores what a file holds.
    ///
    /// - Returns: `nil` where the columns do not fit the schema or one another.
    init?(restoring columns: [DiscreteColumn], of schema: Schema) {
        let categories = columns.filter { $0.kind == .category }.map(\.name)
        let features = columns.filter { $0.kind == .presence }.map(\.name)
        guard categories == schema.categories,
            features == schema.features.filter({ schema.optional.contains($0) }),
            columns.allSatisfy({ Self.isWhole($0, among: columns) }),
            columns.indices.allSatisfy({ Self.hasRoot($0, columns) })
        else { return nil }
        self.init(columns: columns)
    }

    private static func isWhole(_ column: DiscreteColumn, among all: [DiscreteColumn]) -> Bool {
        var slots = 0
        if let parent = column.parent {
            guard all.indices.contains(parent) else { return false }
            slots = all[parent].otherSlot + 1
        }
        guard (1..<1 << 40).contains(column.rowCount) else { return false }
        return (1...DiscreteColumn.levelLimit).contains(column.levels.count)
            && Set(column.levels).count == column.levels.count
            && column.counts.count == column.levels.count
            && column.counts.allSatisfy { (1...column.rowCount).contains($0) }
            && (column.levels.count...max(column.levels.count, column.rowCount)).contains(
                column.distinctCount)
            && column.counts.reduce(0, +) <= column.rowCount
            && column.pairs.allSatisfy {
                (0..<slots).contains($0.slot) && column.levels.indices.contains($0.level)
                    && (1...column.rowCount).contains($0.count)
            }
    }

    /// Whether the parents lead to a column without one.
    private static func hasRoot(_ column: Int, _ columns: [DiscreteColumn]) -> Bool {
        var next = columns[column].parent
        var steps = 0
        while let parent = next, steps <= columns.count {
            next = columns[parent].parent
            steps += 1
        }
        return steps <= columns.count
    }
}
