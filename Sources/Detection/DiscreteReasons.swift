import FlowDensity
import Ingest

extension Detector {
    /// Contribution and expected value of every discrete column: each is changed to the value that makes the record
    /// likeliest, with the others held.
    ///
    /// A category changes what the flows are given too, so that a mode that does not fit the readings is found.
    ///
    /// - Complexity: About 33 rows of the flow a category; of a category's values, the most frequent are tried.
    func discreteReasons(_ scores: Scores, row: Int) -> [FeatureReason] {
        let discrete = encoder.discrete
        let width = discrete.columns.count
        guard width > 0 else { return [] }
        let rows = scores.rows
        let codes = Array(rows.discrete.codes[(row * width)..<((row + 1) * width)])
        let tried = discrete.columns.map { 0..<$0.otherSlot }
        let densities = densities(of: tried, in: scores, row: row)
        let current = rows.discrete.logProbability(row)
        let never = rows.discrete.neverSeen[row] ?? []
        var next = 1
        return discrete.columns.enumerated().map { i, column in
            var best = (gain: 0.0, code: codes[i])
            for code in tried[i] {
                var changed = codes
                changed[i] = code
                var gain = discrete.logProbability(changed[...]) - current
                if column.kind == .category {
                    gain += densities[next] - densities[0]
                    next += 1
                }
                if never.contains(i) { gain += constantPenalty }
                if gain > best.gain, code != codes[i] { best = (gain, code) }
            }
            return FeatureReason(
                name: column.name, value: cell(column, in: rows, row: row),
                expected: best.code < column.unseen
                    ? Self.value(column.levels[best.code]) : cell(column, in: rows, row: row),
                contribution: best.gain)
        }
    }

    /// `ln p` of the row's values: given what the record holds, then given each value that a category could have.
    private func densities(of tried: [Range<Int>], in scores: Scores, row: Int) -> [Double] {
        guard let context = scores.rows.context else { return [] }
        let discrete = encoder.discrete
        let categories = discrete.columns.indices.filter { discrete.columns[$0].kind == .category }
        let count = 1 + categories.reduce(0) { $0 + tried[$1].count }
        var known = context.selectingRows([Int](repeating: row, count: count))
        let start = encoder.contextCount - discrete.contextCount
        var next = 1
        for i in categories {
            let place = start + discrete.contextStart(of: i)
            for code in tried[i] {
                discrete.write(code, ofColumn: i, into: &known, row: next, at: place)
                next += 1
            }
        }
        return flows.logLikelihood(
            scores.rows.x.selectingRows([Int](repeating: row, count: count)), context: known)
    }

    /// What the record holds.
    func cell(_ column: DiscreteColumn, in rows: Encoder.Rows, row: Int) -> CellValue {
        switch column.kind {
        case .category:
            guard let place = schema.categories.firstIndex(of: column.name) else { return .missing }
            return Self.value(rows.records.categories.text(row: row, column: place))
        case .presence:
            let isMissing = (rows.gaps[row] ?? []).contains { schema.features[$0] == column.name }
            return isMissing ? .missing : .text(DiscreteColumn.present)
        }
    }

    private static func value(_ text: String?) -> CellValue { text.map { .text($0) } ?? .missing }

    /// The reasons of the features with those of the discrete columns, the greatest contribution first.
    ///
    /// That a feature has a value, or none, is told of the feature.
    func combined(_ features: [FeatureReason], _ discrete: [FeatureReason]) -> [FeatureReason] {
        var all = features
        for (column, reason) in zip(encoder.discrete.columns, discrete) {
            guard column.kind == .presence else {
                all.append(reason)
                continue
            }
            guard let j = all.firstIndex(where: { $0.name == reason.name }),
                reason.contribution > all[j].contribution
            else { continue }
            all[j].contribution = reason.contribution
            if reason.expected == .missing { all[j].expected = .missing }
        }
        return all.sorted { $0.contribution > $1.contribution }
    }
}
