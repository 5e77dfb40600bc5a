import RealModule

/// Scale and shift of each feature, set by the first rows to zero mean and unit variance; over windows,
/// of each channel.
///
///     forward          zⱼ = xⱼ · exp(sⱼ) + bⱼ
///     inverse          xⱼ = (zⱼ − bⱼ) · exp(−sⱼ)
///     log-determinant  log|det ∂z/∂x| = Σⱼ sⱼ
///     backward         x̄ⱼ = z̄ⱼ · exp(sⱼ)     b̄ⱼ = Σ z̄ⱼ     s̄ⱼ = Σ (z̄ⱼ · xⱼ · exp(sⱼ) + ℓ̄)
///
/// A bar is the gradient of the loss; sums run over rows.
///
/// - Note: `s = c·tanh(ŝ/c)` with `c = 8` bounds the scale, so that a feature that is constant
///   cannot drive the likelihood to infinity; the paper leaves it open.
///
/// Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", 2018, §3.1,
/// <https://arxiv.org/abs/1807.03039>.
public struct ActNorm<Scalar: FlowScalar>: Bijector {
    /// The bound of the log-scale.
    public static var logScaleBound: Scalar { 8 }

    /// What the layer is called in a model file.
    public var name: String { "actnorm" }
    /// The number of features of a row.
    public var featureCount: Int { channels.featureCount }
    /// The shape of the windows, where there is one.
    public var structure: [String: [Int]] { channels.structure }
    /// Which features share scale and shift.
    let channels: Channels
    /// `log_scale` (ŝ) and `shift` (b) of each channel.
    public var parameterShapes: [ParameterShape] {
        [
            ParameterShape(name: "log_scale", shape: [channels.count]),
            ParameterShape(name: "shift", shape: [channels.count]),
        ]
    }
    /// The input is kept.
    public var recordCount: Int { featureCount }

    /// A layer for rows of `featureCount` features, or for windows of as many channels by positions,
    /// where all features of a channel share scale and shift.
    ///
    /// - Precondition: `positions` divides `featureCount`.
    public init(featureCount: Int, positions: Int = 1) {
        channels = Channels(featureCount: featureCount, positions: positions)
    }

    /// Sets the layer to the identity.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        parameters.update(repeating: 0, count: parameterCount)
    }

    /// Sets scale and shift so that these rows come out with zero mean and unit variance.
    public func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>) {
        for channel in 0..<channels.count {
            let start = Self.start(of: rows, channel: channel, of: channels)
            parameters[channel] = start.rawLogScale
            parameters[channels.count + channel] = start.shift
        }
    }

    /// The ŝ and the shift that give a channel of these rows zero mean and unit variance.
    static func start(
        of rows: Matrix<Scalar>, channel: Int, of channels: Channels
    ) -> (rawLogScale: Scalar, shift: Scalar) {
        let (mean, variance) = channels.moments(of: rows, channel: channel)
        let bound = Double(logScaleBound)
        // Within three quarters of the bound, where a step of training still moves ŝ.
        let target = -0.5 * Double.log(max(variance, 1e-30))
        let logScale = min(max(target, -0.75 * bound), 0.75 * bound)
        return (
            Scalar(bound * Double.atanh(logScale / bound)), Scalar(-mean * Double.exp(logScale))
        )
    }

    private func logScale(_ raw: Scalar) -> Scalar {
        Self.logScaleBound * Scalar.tanh(raw / Self.logScaleBound)
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        tile.record.update(from: tile.x, count: featureCount * tile.stride)
        var logDet = 0.0
        for channel in 0..<channels.count {
            let s = logScale(parameters[channel])
            logDet += Double(channels.positions) * Double(s)
            let scale = Scalar.exp(s)
            for feature in channels.features(of: channel) {
                Scalar._kernels.scaleShift(
                    tile.rowCount, scale, parameters[channels.count + channel],
                    tile.x + feature * tile.stride)
            }
        }
        Scalar._kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        var logDet = 0.0
        for channel in 0..<channels.count {
            let s = logScale(parameters[channel])
            logDet -= Double(channels.positions) * Double(s)
            let scale = Scalar.exp(-s)
            for feature in channels.features(of: channel) {
                Scalar._kernels.scaleShift(
                    tile.rowCount, scale, -parameters[channels.count + channel] * scale,
                    tile.x + feature * tile.stride)
            }
        }
        Scalar._kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Carries gradients from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        let logDetSum =
            Double(channels.positions) * kernels.sum(tile.rowCount, gradient.logDet)
        for channel in 0..<channels.count {
            let s = logScale(parameters[channel])
            let share = s / Self.logScaleBound
            let scale = Scalar.exp(s)
            var byShift = 0.0
            var byScale = 0.0
            for feature in channels.features(of: channel) {
                let dz = gradient.x + feature * tile.stride
                byShift += kernels.sum(tile.rowCount, dz)
                byScale += kernels.dot(tile.rowCount, dz, tile.record + feature * tile.stride)
                kernels.scaleShift(tile.rowCount, scale, 0, dz)
            }
            gradient.parameters[channels.count + channel] += Scalar(byShift)
            let scaleGradient = byScale * Double(scale) + logDetSum
            gradient.parameters[channel] += Scalar(scaleGradient) * (1 - share * share)
        }
    }
}
