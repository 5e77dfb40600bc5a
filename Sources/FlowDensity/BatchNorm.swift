import RealModule

/// Batch normalization as a layer of a flow: each feature less its running mean, over its running
/// deviation.
///
///     forward          zⱼ = (xⱼ − μⱼ) / √(vⱼ + ε)
///     inverse          xⱼ = zⱼ √(vⱼ + ε) + μⱼ
///     log-determinant  log|det ∂z/∂x| = −½ Σⱼ ln(vⱼ + ε)
///     backward         x̄ⱼ = z̄ⱼ / √(vⱼ + ε)
///     after a step     μ ← ρ μ + (1 − ρ) μ̂      v ← ρ v + (1 − ρ) v̂
///
/// μ and v are running averages of the minibatches' means μ̂ and variances v̂. In training, as in
/// use, the layer works with those that it had when the step began: the density that is learned is
/// the density that is scored, and a row's gradient does not depend on the rows beside it. The first
/// rows set them.
///
/// They lie among the parameters as statistics, which the optimiser leaves alone. In their places of
/// the gradient `backward` sums what moves them, with the weight `wᵣ = −ℓ̄ᵣ` of each row, so that they
/// too come from the whole minibatch in a fixed order, whatever the number of threads:
///
///     at μ   Σ wᵣ (μ − xᵣ) = μ − μ̂          at v   Σ wᵣ (v − (xᵣ − μ)²) = v − v̂ − (μ − μ̂)²
///
/// - Note: The paper's running averages hold the minibatch itself with weight 1 − ρ, and the
///   gradient goes through that share; here they lag by one step, so that there is no such share.
///
/// Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", 2017, §3.7 and
/// appendix E, <https://arxiv.org/abs/1605.08803>.
public struct BatchNorm<Scalar: FlowScalar>: Bijector {
    /// The ε that is added to a variance.
    public static var epsilon: Double { 1e-5 }
    /// The share ρ of a running average that stays in a step.
    public static var momentum: Double { 0.98 }

    /// What the layer is called in a model file.
    public var name: String { "batchnorm" }
    /// The number of features that the layer maps.
    public var featureCount: Int { channels.featureCount }
    /// The shape of the windows, where there is one.
    public var structure: [String: [Int]] { channels.structure }
    /// Which features share their statistics.
    let channels: Channels
    /// The running mean (μ) and variance (v) of each channel.
    public var parameterShapes: [ParameterShape] {
        [
            ParameterShape(name: "running_mean", shape: [channels.count], isStatistic: true),
            ParameterShape(name: "running_variance", shape: [channels.count], isStatistic: true),
        ]
    }
    /// The input is kept.
    public var recordCount: Int { featureCount }

    /// A layer for rows of `featureCount` features, or for windows of as many channels by positions.
    ///
    /// - Precondition: `positions` divides `featureCount`.
    public init(featureCount: Int, positions: Int = 1) {
        channels = Channels(featureCount: featureCount, positions: positions)
    }

    /// Sets the layer to the identity, but for ε.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        parameters.update(repeating: 0, count: channels.count)
        (parameters + channels.count).update(repeating: 1, count: channels.count)
    }

    /// Sets the statistics to those of these rows.
    public func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>) {
        for channel in 0..<channels.count {
            let (mean, variance) = channels.moments(of: rows, channel: channel)
            parameters[channel] = Scalar(mean)
            parameters[channels.count + channel] = Scalar(variance)
        }
    }

    /// `ln √(v + ε)`.
    private func logDeviation(_ variance: Scalar) -> Double {
        0.5 * Double.log(max(Double(variance), 0) + Self.epsilon)
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        tile.record.update(from: tile.x, count: featureCount * tile.stride)
        var logDet = 0.0
        for channel in 0..<channels.count {
            let logDeviation = logDeviation(parameters[channels.count + channel])
            logDet -= Double(channels.positions) * logDeviation
            let scale = Scalar(Double.exp(-logDeviation))
            for feature in channels.features(of: channel) {
                Scalar._kernels.scaleShift(
                    tile.rowCount, scale, -parameters[channel] * scale,
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
            let logDeviation = logDeviation(parameters[channels.count + channel])
            logDet += Double(channels.positions) * logDeviation
            let deviation = Scalar(Double.exp(logDeviation))
            for feature in channels.features(of: channel) {
                Scalar._kernels.scaleShift(
                    tile.rowCount, deviation, parameters[channel], tile.x + feature * tile.stride)
            }
        }
        Scalar._kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Carries gradients from the latent side to the data's side, and sums what moves the statistics.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        for channel in 0..<channels.count {
            let mean = Double(parameters[channel])
            let variance = Double(parameters[channels.count + channel])
            let scale = Scalar(Double.exp(-logDeviation(Scalar(variance))))
            var byMean = 0.0
            var byVariance = 0.0
            for feature in channels.features(of: channel) {
                let x = tile.record + feature * tile.stride
                for row in 0..<tile.rowCount {
                    let weight = -Double(gradient.logDet[row])
                    let distance = Double(x[row]) - mean
                    byMean -= weight * distance
                    byVariance += weight * (variance - distance * distance)
                }
                Scalar._kernels.scaleShift(
                    tile.rowCount, scale, 0, gradient.x + feature * tile.stride)
            }
            let share = 1 / Double(channels.positions)
            gradient.parameters[channel] += Scalar(share * byMean)
            gradient.parameters[channels.count + channel] += Scalar(share * byVariance)
        }
    }

    /// Moves the running mean and variance towards those of a minibatch.
    public func follow(
        _ parameters: UnsafeMutablePointer<Scalar>, gradient: UnsafePointer<Scalar>
    ) {
        let share = Scalar(1 - Self.momentum)
        for channel in 0..<channels.count {
            let lag = gradient[channel]
            let variance = parameters[channels.count + channel]
            let ofBatch = max(variance - gradient[channels.count + channel] - lag * lag, 0)
            parameters[channel] -= share * lag
            parameters[channels.count + channel] = variance + share * (ofBatch - variance)
        }
    }
}
