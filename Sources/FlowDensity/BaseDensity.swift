import RealModule

/// The density of the latent rows: independent features, each of the same shape.
///
///     normal           ln p(z) = −z²/2 − ½ ln 2π                 ∂ ln p/∂z = −z
///     logistic         ln p(z) = −|z| − 2 ln(1 + exp(−|z|))      ∂ ln p/∂z = −tanh(z/2)
///
/// Both fall from 0 outward, so that what lies beyond all data never becomes more likely. The
/// logistic density falls like exp(−|z|): a row far out costs in proportion to its distance, not to
/// its square.
///
/// Source: Dinh, Krueger, Bengio, "NICE", 2014, §3.4, <https://arxiv.org/abs/1410.8516>.
public enum BaseDensity: String, Sendable, Hashable, CaseIterable {
    /// The standard normal density.
    case normal
    /// The standard logistic density, of variance π²/3.
    case logistic

    /// Adds the log-density of a latent tile's rows to `tile.logDet`.
    func addLogDensity<Scalar>(of tile: Tile<Scalar>, featureCount: Int) {
        let kernels = Scalar._kernels
        let density = self == .normal ? kernels.normalLogDensity : kernels.logisticLogDensity
        density(tile.rowCount, tile.stride, featureCount, tile.x, tile.logDet)
    }

    /// Sets `dx` to the gradient by a latent tile, given `rowGradient`, that by each row's
    /// log-density.
    func backward<Scalar>(
        _ tile: Tile<Scalar>, featureCount: Int, rowGradient: UnsafePointer<Scalar>,
        dx: UnsafeMutablePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        let backward = self == .normal ? kernels.normalBackward : kernels.logisticBackward
        backward(tile.rowCount, tile.stride, featureCount, rowGradient, tile.x, dx)
    }

    /// `∂ ln p/∂z` of one feature.
    func slope<Scalar: FlowScalar>(at z: Scalar) -> Scalar {
        self == .normal ? -z : -Scalar.tanh(z / 2)
    }

    /// Fills a buffer with independent draws.
    func fill<Scalar: FlowScalar>(
        _ values: UnsafeMutableBufferPointer<Scalar>,
        using generator: inout some RandomNumberGenerator
    ) {
        switch self {
        case .normal:
            generator.fillNormal(values)
        case .logistic:
            for index in values.indices {
                // The middle of one of 2⁵² equal parts of (0, 1): never 0, and never rounded to 1.
                let share = (Double(generator.next() >> 12) + 0.5) * 0x1p-52
                values[index] = Scalar(Double.log(share) - Double.log(onePlus: -share))
            }
        }
    }
}
