/// Half the length, twice the channels: times in pairs, the first of each pair in the lower half of
/// the channels, the second in the upper half.
///
///     forward          z[c, t] = x[c, 2t]     z[C + c, t] = x[c, 2t + 1]
///     inverse          the same the other way round
///     log-determinant  0, as the layer permutes features
///     backward         x̄[c, 2t] = z̄[c, t]     x̄[c, 2t + 1] = z̄[C + c, t]
///
/// - Note: The paper stacks the four pixels of a square channel by channel; here the lower half of
///   the channels is the window at half the rate, which is what goes on to the next scale.
///
/// Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", 2017, §3.6,
/// <https://arxiv.org/abs/1605.08803>.
public struct Squeeze<Scalar: FlowScalar>: Bijector {
    /// The number of channels before.
    public let channels: Int
    /// The number of times before.
    public let length: Int

    /// What the layer is called in a model file.
    public var name: String { "squeeze" }
    /// The channels and times before the layer.
    public var structure: [String: [Int]] { ["shape": [channels, length]] }
    /// The number of features that the layer maps.
    public var featureCount: Int { channels * length }
    /// There is nothing to learn.
    public var parameterShapes: [ParameterShape] { [] }
    /// Room to permute in.
    public var recordCount: Int { featureCount }
    /// Room to permute in.
    public var scratchCount: Int { featureCount }

    /// A layer for windows of an even length.
    public init(channels: Int, length: Int) {
        precondition(
            channels >= 1 && length >= 2 && length % 2 == 0, "an even length can be squeezed")
        self.channels = channels
        self.length = length
    }

    /// There is nothing to set.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {}

    /// Where a feature goes.
    private func target(_ feature: Int) -> Int {
        let (channel, time) = feature.quotientAndRemainder(dividingBy: length)
        return (time % 2 * channels + channel) * (length / 2) + time / 2
    }

    private func permute(
        _ x: UnsafeMutablePointer<Scalar>, room: UnsafeMutablePointer<Scalar>, stride: Int,
        isForward: Bool
    ) {
        room.update(from: x, count: featureCount * stride)
        for feature in 0..<featureCount {
            let target = target(feature)
            let (from, to) = isForward ? (feature, target) : (target, feature)
            (x + to * stride).update(from: room + from * stride, count: stride)
        }
    }

    /// Maps a tile from the data's side to the latent side.
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        permute(tile.x, room: tile.record, stride: tile.stride, isForward: true)
    }

    /// Maps a tile from the latent side to the data's side.
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        permute(tile.x, room: tile.record, stride: tile.stride, isForward: false)
    }

    /// Carries gradients from the latent side to the data's side.
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        permute(gradient.x, room: gradient.scratch, stride: tile.stride, isForward: false)
    }
}
