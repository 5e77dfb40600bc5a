/// The channels of a window, each with its features at all positions.
///
/// Feature `c · positions + t` is channel `c` at position `t`. A row is a window of one position, its
/// features are its channels.
struct Channels: Sendable, Hashable {
    /// The number of channels.
    let count: Int
    /// The number of positions.
    let positions: Int

    init(featureCount: Int, positions: Int) {
        precondition(
            positions >= 1 && featureCount % positions == 0,
            "\(featureCount) features are no channels of \(positions) positions")
        count = featureCount / positions
        self.positions = positions
    }

    var featureCount: Int { count * positions }

    /// What a model file says about a layer over windows.
    var structure: [String: [Int]] { positions == 1 ? [:] : ["shape": [count, positions]] }

    /// The features of a channel.
    func features(of channel: Int) -> Range<Int> {
        channel * positions..<(channel + 1) * positions
    }

    /// Mean and variance of a channel over rows and positions.
    func moments<Scalar>(
        of rows: Matrix<Scalar>, channel: Int
    ) -> (mean: Double, variance: Double) {
        let count = Double(max(rows.rowCount * positions, 1))
        var mean = 0.0
        for row in 0..<rows.rowCount {
            for feature in features(of: channel) { mean += Double(rows[row, feature]) }
        }
        mean /= count
        var variance = 0.0
        for row in 0..<rows.rowCount {
            for feature in features(of: channel) {
                let distance = Double(rows[row, feature]) - mean
                variance += distance * distance
            }
        }
        return (mean, variance / count)
    }
}
