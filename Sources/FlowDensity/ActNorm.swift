import RealModule

/// Scale and shift of each feature, set by the first rows to zero mean and unit variance.
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
    public let featureCount: Int
    /// `log_scale` (ŝ) and `shift` (b) of each feature.
    public var parameterShapes: [ParameterShape] {
        [
            ParameterShape(name: "log_scale", shape: [featureCount]),
            ParameterShape(name: "shift", shape: [featureCount]),
        ]
    }
    /// The input is kept.
    public var recordCount: Int { featureCount }

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

    /// Sets scale and shift so that these rows come out with zero mean and unit variance.
    public func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>) {
        for feature in 0..<featureCount {
            let start = Self.start(of: rows, feature: feature)
            parameters[feature] = start.rawLogScale
            parameters[featureCount + feature] = start.shift
        }
    }

    /// The ŝ and the shift that give a feature of these rows zero mean and unit variance.
    static func start(
        of rows: Matrix<Scalar>, feature: Int
    ) -> (rawLogScale: Scalar, shift: Scalar) {
        let count = Double(max(rows.rowCount, 1))
        var mean = 0.0
        for row in 0..<rows.rowCount { mean += Double(rows[row, feature]) }
        mean /= count
        var variance = 0.0
        for row in 0..<rows.rowCount {
            let distance = Double(rows[row, feature]) - mean
            variance += distance * distance
        }
        let bound = Double(logScaleBound)
        // Within three quarters of the bound, where a step of training still moves ŝ.
        let target = -0.5 * Double.log(max(variance / count, 1e-30))
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
        for feature in 0..<featureCount {
            let s = logScale(parameters[feature])
            logDet += Double(s)
            Scalar._kernels.scaleShift(
                tile.rowCount, Scalar.exp(s), parameters[featureCount + feature],
                tile.x + feature * tile.stride)
        }
        Scalar._kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        var logDet = 0.0
        for feature in 0..<featureCount {
            let s = logScale(parameters[feature])
            logDet -= Double(s)
            let scale = Scalar.exp(-s)
            Scalar._kernels.scaleShift(
                tile.rowCount, scale, -parameters[featureCount + feature] * scale,
                tile.x + feature * tile.stride)
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
            let share = s / Self.logScaleBound
            let scale = Scalar.exp(s)
            let dz = gradient.x + feature * tile.stride
            let x = tile.record + feature * tile.stride
            gradient.parameters[featureCount + feature] += Scalar(kernels.sum(tile.rowCount, dz))
            let scaleGradient = kernels.dot(tile.rowCount, dz, x) * Double(scale) + logDetSum
            gradient.parameters[feature] += Scalar(scaleGradient) * (1 - share * share)
            kernels.scaleShift(tile.rowCount, scale, 0, dz)
        }
    }
}
