import RealModule

/// A scale for each feature: NICE's last layer, which lets a flow of volume-preserving layers
/// give its features different weights.
///
///     forward          zⱼ = xⱼ · exp(sⱼ)
///     inverse          xⱼ = zⱼ · exp(−sⱼ)
///     log-determinant  log|det ∂z/∂x| = Σⱼ sⱼ
///     backward         x̄ⱼ = z̄ⱼ · exp(sⱼ)     s̄ⱼ = Σ (z̄ⱼ · xⱼ · exp(sⱼ) + ℓ̄)
///
/// - Note: `s = c·tanh(ŝ/c)` with ActNorm's bound; the paper leaves it open.
///
/// Source: Dinh, Krueger, Bengio, "NICE", 2014, §3.3, <https://arxiv.org/abs/1410.8516>.
public struct DiagonalScaling<Scalar: FlowScalar>: Bijector {
    /// What the layer is called in a model file.
    public var name: String { "diagonal_scaling" }
    /// The number of features of a row.
    public let featureCount: Int
    /// `log_scale` (ŝ) of each feature.
    public var parameterShapes: [ParameterShape] {
        [ParameterShape(name: "log_scale", shape: [featureCount])]
    }
    /// The input is kept.
    public var recordCount: Int { featureCount }

    private static var bound: Scalar { ActNorm<Scalar>.logScaleBound }

    /// A layer for rows of `featureCount` features.
    public init(featureCount: Int) {
        self.featureCount = featureCount
    }

    /// Sets the layer to the identity.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        parameters.update(repeating: 0, count: parameterCount)
    }

    /// Sets the scale so that these rows come out with unit variance.
    public func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>) {
        let channels = Channels(featureCount: featureCount, positions: 1)
        for feature in 0..<featureCount {
            let start = ActNorm.start(of: rows, channel: feature, of: channels)
            parameters[feature] = start.rawLogScale
        }
    }

    private func logScale(_ raw: Scalar) -> Scalar {
        Self.bound * Scalar.tanh(raw / Self.bound)
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        tile.record.update(from: tile.x, count: featureCount * tile.stride)
        scale(tile, parameters: parameters, sign: 1)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        scale(tile, parameters: parameters, sign: -1)
    }

    private func scale(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>, sign: Scalar) {
        var logDet = 0.0
        for feature in 0..<featureCount {
            let s = sign * logScale(parameters[feature])
            logDet += Double(s)
            Scalar._kernels.scaleShift(
                tile.rowCount, Scalar.exp(s), 0, tile.x + feature * tile.stride)
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
        let logDetSum = kernels.sum(tile.rowCount, gradient.logDet)
        for feature in 0..<featureCount {
            let s = logScale(parameters[feature])
            let share = s / Self.bound
            let scale = Scalar.exp(s)
            let dz = gradient.x + feature * tile.stride
            let x = tile.record + feature * tile.stride
            let scaleGradient = kernels.dot(tile.rowCount, dz, x) * Double(scale) + logDetSum
            gradient.parameters[feature] += Scalar(scaleGradient) * (1 - share * share)
            kernels.scaleShift(tile.rowCount, scale, 0, dz)
        }
    }
}
