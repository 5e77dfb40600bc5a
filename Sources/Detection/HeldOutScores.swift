import FlowDensity
import Foundation

/// The scores of calibration rows by flows that had not seen them, in nats and data units.
package struct HeldOutScores {
    /// The flows that will serve.
    let memberCount: Int
    var scores: [Double] = []
    /// The row of each.
    var rows: [Int] = []
    /// How records at the beginning of a stream are scored, by the number of windows that are full.
    ///
    /// The means that are not known are guessed, and what is guessed breaks relations that measured means keep: such
    /// records have lower scores, and must not be alarms for that.
    var begun: [[Double]] = []

    init(memberCount: Int) { self.memberCount = memberCount }

    mutating func add(
        _ rows: Encoder.Rows, _ split: Split, _ encoder: Encoder, _ flows: [Flow<Float>],
        seed: UInt64, _ parallel: ParallelFor
    ) {
        let units = encoder.logScaleSum
        let densities = self.densities(
            flows, rows.x.selectingRows(split.calibration),
            context: rows.context?.selectingRows(split.calibration), parallel)
        for (density, row) in zip(densities, split.calibration) {
            let score = density - units + rows.discrete.logProbability(row)
            guard score.isFinite else { continue }
            scores.append(score)
            self.rows.append(row)
        }
        guard let windows = encoder.windows else { return }
        if begun.isEmpty { begun = windows.lengths.map { _ in [] } }
        let chosen = split.calibration.filter { rows.unsettled[$0] == nil }
        var generator = SeededGenerator(seed: seed)
        let context = rows.context?.selectingRows(chosen)
        let readings = encoder.readings(rows.records, after: ContextState())
        for fullCount in windows.lengths.indices {
            let beginning = encoder.begun(
                readings, rows: chosen, fullCount: fullCount, using: &generator)
            let densities = self.densities(flows, beginning.x, context: context, parallel)
            begun[fullCount] += densities.indices.map {
                densities[$0] - units - beginning.penalty[$0]
                    + rows.discrete.logProbability(chosen[$0])
            }.filter(\.isFinite)
        }
    }

    /// The log-likelihoods of rows, in nats and standardised units, as all flows that will serve would give them.
    private func densities(
        _ flows: [Flow<Float>], _ x: Matrix<Float>, context: Matrix<Float>?,
        _ parallel: ParallelFor
    ) -> [Double] {
        Self.lifted(
            FlowMixture(flows).memberLogLikelihoods(x, context: context, parallel: parallel),
            memberCount: memberCount)
    }

    /// What all flows together would give rows that these ones, some of them, had not seen.
    ///
    /// The logarithm of a mean of K densities lies above the mean of their logarithms, and the more so the more there are:
    /// where their variance is v, by v (1 − 1/K) / 2. The rise from one flow to these tells of that from these to all.
    ///
    /// - Parameters:
    ///   - members: The log-likelihoods of the rows under each of these flows, in nats.
    ///   - memberCount: The number of all flows.
    /// - Returns: The log-likelihood of each row; that of these flows' mixture when they are all, or one.
    package static func lifted(_ members: [[Double]], memberCount: Int) -> [Double] {
        var densities = FlowMixture<Float>.logMean(members)
        let (some, all) = (Double(members.count), Double(memberCount))
        guard some > 1, some < all else { return densities }
        let further = (1 / some - 1 / all) / (1 - 1 / some)
        for row in densities.indices {
            let mean = members.reduce(0) { $0 + $1[row] } / some
            densities[row] += min(further * (densities[row] - mean), log(all / some))
        }
        return densities
    }
}
