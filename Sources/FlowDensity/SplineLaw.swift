/// A monotone rational-quadratic spline: the law that bends a feature, not only scales and shifts it.
///
/// `[−B, B]` is cut into K bins. The conditioner gives their widths `w`, heights `h` and the slopes
/// `δ` at the inner knots; the slope is 1 at both ends and outside, where the law is the identity.
/// In the bin from the knot `(xₖ, zₖ)` on, with `ξ = (x − xₖ)/wₖ`, `s = hₖ/wₖ`, `q = ξ(1 − ξ)`,
///
///     d                = s + (δₖ₊₁ + δₖ − 2s) q
///     g                = δₖ₊₁ ξ² + 2s q + δₖ (1 − ξ)²
///     forward          z = zₖ + hₖ (s ξ² + δₖ q) / d
///     inverse          ξ = 2c / (−b − √(b² − 4ac)), with y = z − zₖ and
///                      a = hₖ(s − δₖ) + y(δₖ₊₁ + δₖ − 2s), b = hₖδₖ − y(δₖ₊₁ + δₖ − 2s), c = −s y
///     log-determinant  ln(s² g / d²)
///     backward         by the chain rule through ξ, s, δₖ, δₖ₊₁, hₖ and the knot, then through
///                      the softmax of sizes and the softplus of slopes; docs/maths.md has it whole
///
/// Numbers of zero give the identity, so that a coupling begins as one.
///
/// - Note: The conditioner's numbers are K raw widths, K raw heights (a softmax of each, no share
///   below 0.001) and K − 1 raw slopes (a softplus, shifted so that 0 gives 1, at least 0.001).
///
/// Source: Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", 2019, §3.1,
/// <https://arxiv.org/abs/1906.04032>.
public struct SplineLaw<Scalar: FlowScalar>: CouplingLaw {
    /// The number of bins, K.
    public let binCount: Int
    /// The bound B within which the law bends.
    public let bound: Scalar
    /// What the law is called in a model file.
    public var name: String { "spline" }
    /// Widths, heights and inner slopes.
    public var numbersPerFeature: Int { 3 * binCount - 1 }
    /// The input x; sizes and slopes take the place of the conditioner's numbers.
    public var recordsPerFeature: Int { 1 }
    /// The 3K − 1 numbers of a feature move together.
    public var learning: LawLearning { LawLearning(stepExponent: 1.5, biasWidth: 2) }

    /// The law with its bins.
    ///
    /// - Precondition: There are 2 to 256 bins, and the bound is positive.
    public init(binCount: Int, bound: Scalar) {
        precondition((2...256).contains(binCount), "a spline has 2 to 256 bins")
        precondition(bound > 0, "a spline's bound is positive")
        self.binCount = binCount
        self.bound = bound
    }

    /// Maps a feature from the data's side to the latent side.
    public func forward(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        column.record.update(from: x, count: column.rowCount)
        Scalar._kernels.splineForward(
            column.rowCount, binCount, bound, column.step, column.numbers, x, column.logDet)
    }

    /// Maps a feature from the latent side to the data's side.
    public func inverse(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        Scalar._kernels.splineInverse(
            column.rowCount, binCount, bound, column.step, column.numbers, x, column.logDet)
    }

    /// Carries the gradient by a feature back through `forward`.
    public func backward(
        _ column: CouplingColumn<Scalar>, dx: UnsafeMutablePointer<Scalar>,
        logDet: UnsafePointer<Scalar>, numbers: UnsafeMutablePointer<Scalar>
    ) {
        Scalar._kernels.splineBackward(
            column.rowCount, binCount, bound, column.step, column.numbers, column.record, logDet,
            dx, numbers)
    }
}
