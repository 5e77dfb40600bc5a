/// How a coupling layer changes a transformed feature: invertible in the feature, shaped by the
/// numbers that the conditioner gives for it.
///
/// Works on one feature, a column of `rows` scalars, at a time. Its numbers stand in columns `step`
/// scalars apart, and may be replaced by what the backward pass reads.
public protocol CouplingLaw<Scalar>: Sendable {
    /// The scalar that the law computes with.
    associatedtype Scalar: FlowScalar

    /// What the law is called in a model file, such as "affine".
    var name: String { get }
    /// The numbers that the conditioner gives for each transformed feature.
    var numbersPerFeature: Int { get }
    /// Columns per transformed feature that `forward` keeps for `backward`.
    var recordsPerFeature: Int { get }
    /// How couplings of this law begin and learn.
    var learning: LawLearning { get }

    /// Maps a feature from the data's side to the latent side.
    func forward(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>)
    /// Maps features whose columns follow each other, `stride` apart, from the data's side to the
    /// latent side; what `forward` of one after the other gives, to the bit.
    ///
    /// - Parameters:
    ///   - first: What belongs to the first of the features.
    ///   - stride: The distance from a feature's columns to the next feature's, in scalars.
    ///   - features: Which columns of `x` they are.
    ///   - x: On the data's side at first, on the latent side at the end.
    func forward(
        _ first: CouplingColumn<Scalar>, stride: Int, features: [Int],
        x: UnsafeMutablePointer<Scalar>)
    /// Maps a feature from the latent side to the data's side.
    func inverse(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>)
    /// Carries the gradient by a feature back through `forward`.
    ///
    /// - Parameters:
    ///   - column: The same as in `forward`, which has been called.
    ///   - dx: By the latent feature at first, by the data's feature at the end.
    ///   - logDet: The gradient by each row's log-determinant.
    ///   - numbers: The gradient by the conditioner's numbers, columns `column.step` apart.
    func backward(
        _ column: CouplingColumn<Scalar>, dx: UnsafeMutablePointer<Scalar>,
        logDet: UnsafePointer<Scalar>, numbers: UnsafeMutablePointer<Scalar>)
}

/// How couplings of a law begin and learn; the values were found by measuring, see `docs/decisions/0021`.
public struct LawLearning: Sendable {
    /// By which power of the number of transformed features the steps of the layer that gives the numbers are divided.
    ///
    /// The log-determinant is a sum over those features: an equal step of each of their numbers would change it more, the
    /// more there are. One half is right where the changes are independent.
    public var stepExponent: Double
    /// The deviation of the biases with which the conditioner's first layer begins.
    ///
    /// Its ReLUs bend as far from the middle of standardised features. In later hidden layers biases are by this factor as
    /// wide as weights.
    public var biasWidth: Double

    /// The values.
    public init(stepExponent: Double, biasWidth: Double) {
        self.stepExponent = stepExponent
        self.biasWidth = biasWidth
    }
}

extension CouplingLaw {
    /// Maps features from the data's side to the latent side, one after the other.
    public func forward(
        _ first: CouplingColumn<Scalar>, stride: Int, features: [Int],
        x: UnsafeMutablePointer<Scalar>
    ) {
        var column = first
        for feature in features {
            forward(column, x: x + feature * stride)
            column.numbers += stride
            column.record += stride
        }
    }
}

/// Where a coupling law finds what belongs to one feature.
public struct CouplingColumn<Scalar: FlowScalar> {
    /// The number of rows.
    public var rowCount: Int
    /// The conditioner's first number of each row.
    public var numbers: UnsafeMutablePointer<Scalar>
    /// The distance to the next number's column.
    public var step: Int
    /// What the law keeps, columns `recordStep` apart.
    public var record: UnsafeMutablePointer<Scalar>
    /// The distance to the next kept column.
    public var recordStep: Int
    /// The log-determinant of each row so far.
    public var logDet: UnsafeMutablePointer<Double>
}

/// NICE's law: a shift, which preserves volume.
///
///     forward          z = x + t
///     inverse          x = z − t
///     log-determinant  0
///     backward         x̄ = z̄     t̄ = z̄
///
/// Source: Dinh, Krueger, Bengio, "NICE: non-linear independent components estimation", 2014, §3.2,
/// <https://arxiv.org/abs/1410.8516>.
public struct AdditiveLaw<Scalar: FlowScalar>: CouplingLaw {
    /// What the law is called in a model file.
    public var name: String { "additive" }
    /// The shift t.
    public var numbersPerFeature: Int { 1 }
    /// Nothing is kept.
    public var recordsPerFeature: Int { 0 }
    /// Independent changes, and few bends.
    public var learning: LawLearning { LawLearning(stepExponent: 0.5, biasWidth: 1) }

    /// The law.
    public init() {}

    /// Maps a feature from the data's side to the latent side.
    public func forward(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        Scalar._kernels.addScaled(column.rowCount, 1, column.numbers, x)
    }

    /// Maps a feature from the latent side to the data's side.
    public func inverse(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        Scalar._kernels.addScaled(column.rowCount, -1, column.numbers, x)
    }

    /// Carries the gradient by a feature back through `forward`.
    public func backward(
        _ column: CouplingColumn<Scalar>, dx: UnsafeMutablePointer<Scalar>,
        logDet: UnsafePointer<Scalar>, numbers: UnsafeMutablePointer<Scalar>
    ) {
        numbers.update(from: dx, count: column.rowCount)
    }
}

/// RealNVP's law: a scale and a shift.
///
///     forward          z = x · exp(s) + t
///     inverse          x = (z − t) · exp(−s)
///     log-determinant  s
///     backward         x̄ = z̄ · exp(s)     s̄ = z̄ · x · exp(s) + ℓ̄     t̄ = z̄
///
/// - Note: `s = c·tanh(ŝ/c)` bounds the scale to `exp(±c)`; the paper leaves the bound open. The
///   conditioner gives ŝ, whose gradient is `s̄ · (1 − (s/c)²)`.
///
/// Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", 2017, §3.2,
/// <https://arxiv.org/abs/1605.08803>.
public struct AffineLaw<Scalar: FlowScalar>: CouplingLaw {
    /// The bound c of the log-scale.
    public let logScaleBound: Scalar
    /// What the law is called in a model file.
    public var name: String { "affine" }
    /// ŝ and t.
    public var numbersPerFeature: Int { 2 }
    /// The input x and exp(s).
    public var recordsPerFeature: Int { 2 }
    /// Of more features and with more bends than shifts.
    public var learning: LawLearning { LawLearning(stepExponent: 0.75, biasWidth: 2) }

    /// The law with a bound of the log-scale.
    public init(logScaleBound: Scalar) {
        self.logScaleBound = logScaleBound
    }

    /// Maps a feature from the data's side to the latent side.
    public func forward(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        column.record.update(from: x, count: column.rowCount)
        Scalar._kernels.affineForward(
            column.rowCount, logScaleBound, column.numbers, column.record + column.recordStep,
            column.numbers + column.step, x, column.logDet)
    }

    /// Maps features from the data's side to the latent side, all in one pass.
    public func forward(
        _ first: CouplingColumn<Scalar>, stride: Int, features: [Int],
        x: UnsafeMutablePointer<Scalar>
    ) {
        Scalar._kernels.affineForwardColumns(
            first.rowCount, stride, features.count, features, logScaleBound, first.numbers,
            first.record + first.recordStep, first.numbers + first.step, first.record, x,
            first.logDet)
    }

    /// Maps a feature from the latent side to the data's side.
    public func inverse(_ column: CouplingColumn<Scalar>, x: UnsafeMutablePointer<Scalar>) {
        Scalar._kernels.affineInverse(
            column.rowCount, logScaleBound, column.numbers, column.numbers + column.step, x,
            column.logDet)
    }

    /// Carries the gradient by a feature back through `forward`.
    public func backward(
        _ column: CouplingColumn<Scalar>, dx: UnsafeMutablePointer<Scalar>,
        logDet: UnsafePointer<Scalar>, numbers: UnsafeMutablePointer<Scalar>
    ) {
        Scalar._kernels.affineBackward(
            column.rowCount, logScaleBound, column.numbers, column.record + column.recordStep,
            column.record, logDet, dx, numbers, numbers + column.step)
    }
}
