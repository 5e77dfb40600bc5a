/// NICE's multiplicative law: a scale alone.
///
///     forward          z = x · exp(s)
///     inverse          x = z · exp(−s)
///     log-determinant  s
///     backward         x̄ = z̄ · exp(s)     s̄ = z̄ · x · exp(s) + ℓ̄
///
/// It is `AffineLaw` without its shift, and runs through the same kernels with a shift of zero.
///
/// - Note: The paper's `g(a; b) = a ⊙ b` asks for `b ≠ 0`; `b = exp(s)` is positive, and
///   `s = c·tanh(ŝ/c)` bounds it.
///
/// Source: Dinh, Krueger, Bengio, "NICE", 2014, §3.2, <https://arxiv.org/abs/1410.8516>.
public struct MultiplicativeLaw<Scalar: FlowScalar>: CouplingLaw {
    /// The bound c of the log-scale.
    public let logScaleBound: Scalar
    /// What the law is called in a model file.
    public var name: String { "multiplicative" }
    /// As of the affine law.
    public var learning: LawLearning { LawLearning(stepExponent: 0.75, biasWidth: 2) }
    /// ŝ.
    public var numbersPerFeature: Int { 1 }
    /// The input x, exp(s), and a shift of zeros.
    public var recordsPerFeature: Int { 3 }

    /// The law with a bound of the log-scale.
    public init(logScaleBound: Scalar) {
        self.logScaleBound = logScaleBound
    }

    /// The column of zeros.
    private func noShift(_ column: CouplingColumn<Scalar>) -> UnsafeMutablePointer<Scalar> {
        let shift = column.record + 2 * column.recordStep
        shift.update(repeating: 0, count: column.rowCount)
        return shift
    }

    /// Maps a feature from the data's side to the latent side.
    public func forward(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        column.record.update(from: x, count: column.rowCount)
        Scalar._kernels.affineForward(
            column.rowCount, logScaleBound, column.numbers, column.record + column.recordStep,
            noShift(column), x, column.logDet)
    }

    /// Maps a feature from the latent side to the data's side.
    public func inverse(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        Scalar._kernels.affineInverse(
            column.rowCount, logScaleBound, column.numbers, noShift(column), x, column.logDet)
    }

    /// Carries the gradient by a feature back through `forward`.
    public func backward(
        _ column: CouplingColumn<Scalar>, dx: UnsafeMutablePointer<Scalar>,
        logDet: UnsafePointer<Scalar>, numbers: UnsafeMutablePointer<Scalar>
    ) {
        // The gradient by the shift, which nobody reads, goes where the shift was.
        Scalar._kernels.affineBackward(
            column.rowCount, logScaleBound, column.numbers, column.record + column.recordStep,
            column.record, logDet, dx, numbers, column.record + 2 * column.recordStep)
    }
}
