import FlowDensity
import Ingest

extension Encoder {
    /// Copies beyond the training rows, as a share of them.
    private static let hiddenShare = 0.25

    /// Training rows, and behind them copies of some in which a category is hidden or a value is missing.
    ///
    /// So the flows learn the density given a category that was never seen, and given each value that may be missing: in
    /// a copy one category, drawn anew each time, has the place of all rare values in the context, or one optional
    /// feature has what stands in for it.
    ///
    /// - Parameters:
    ///   - all: Every row, in the stream's order.
    ///   - chosen: Those that train.
    func trainingRows(
        _ all: Rows, chosen: [Int], using generator: inout SeededGenerator
    ) -> (x: Matrix<Float>, context: Matrix<Float>?) {
        guard !discrete.columns.isEmpty, let context = all.context, !chosen.isEmpty else {
            return (all.x.selectingRows(chosen), all.context?.selectingRows(chosen))
        }
        let copyCount = max(1, Int(Double(chosen.count) * Self.hiddenShare))
        let copied = (0..<copyCount).map { _ in
            chosen[Int.random(in: chosen.indices, using: &generator)]
        }
        var x = all.x.selectingRows(chosen + copied)
        var known = context.selectingRows(chosen + copied)
        let start = contextCount - discrete.contextCount
        for (offset, source) in copied.enumerated() {
            let row = chosen.count + offset
            let i = Int.random(in: discrete.columns.indices, using: &generator)
            let column = discrete.columns[i]
            let place = start + discrete.contextStart(of: i)
            switch column.kind {
            case .category:
                discrete.write(column.unseen, ofColumn: i, into: &known, row: row, at: place)
            case .presence:
                let missing = column.levels.firstIndex(of: nil) ?? column.unseen
                discrete.write(missing, ofColumn: i, into: &known, row: row, at: place)
                guard let feature = schema.features.firstIndex(of: column.name),
                    let k = active.firstIndex(of: feature)
                else { continue }
                let isPrevious = self.missing[column.name] == .previous && source > 0
                let stand =
                    isPrevious
                    ? all.records.values[(source - 1) * columns.count + feature]
                    : columns[feature].median
                let inside = columns[feature].clamped(stand)
                let before = columns[feature].clamped(
                    all.records.values[source * columns.count + feature])
                _ = rewrite(
                    active: k, reading: inside, state: all.state(of: source)
                ) { windows, part in
                    windows.stateChange(inside - before, of: k, part: part)
                } set: { input, value in
                    x[row, input] = value
                }
            }
        }
        return (x, known)
    }
}
