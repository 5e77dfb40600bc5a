/// A partition of the features into those that a coupling layer reads and those that it changes.
public struct FeatureSplit: Sendable, Hashable {
    /// The features that pass through unchanged and that the conditioner reads (I₁).
    public let passedThrough: [Int]
    /// The features that are changed (I₂).
    public let transformed: [Int]

    /// A partition given by its parts.
    ///
    /// - Precondition: Each feature is in one part, and one feature at least is transformed.
    public init(passedThrough: [Int], transformed: [Int]) {
        precondition(
            (passedThrough + transformed).sorted()
                == Array(0..<passedThrough.count + transformed.count) && !transformed.isEmpty,
            "a feature split holds each feature once and transforms at least one")
        self.passedThrough = passedThrough
        self.transformed = transformed
    }

    /// The number of features.
    public var featureCount: Int { passedThrough.count + transformed.count }

    /// The split of the n-th coupling layer of a flow: first half by second half and the other way
    /// round, then odd features by even ones and the other way round, and so on.
    ///
    /// One feature alone is always transformed; its conditioner sees the context alone.
    public static func alternating(featureCount: Int, layer: Int) -> FeatureSplit {
        precondition(featureCount >= 1, "a flow has at least one feature")
        let features = Array(0..<featureCount)
        guard featureCount > 1 else { return FeatureSplit(passedThrough: [], transformed: [0]) }
        let isFirst: (Int) -> Bool =
            layer % 4 < 2 ? { $0 < (featureCount + 1) / 2 } : { $0 % 2 == 0 }
        let first = features.filter(isFirst)
        let second = features.filter { !isFirst($0) }
        return layer % 2 == 0
            ? FeatureSplit(passedThrough: first, transformed: second)
            : FeatureSplit(passedThrough: second, transformed: first)
    }
}

/// The general coupling layer: a partition, a coupling law, a conditioner.
///
/// With features split into `a` (passed through) and `b` (transformed), context `c`, law `g` and
/// `numbers = conditioner(clamp(xₐ), c)`:
///
///     forward          zₐ = xₐ      z_b = g(x_b; numbers)
///     inverse          xₐ = zₐ      x_b = g⁻¹(z_b; numbers)
///     log-determinant  log|det ∂z/∂x| = Σⱼ log|∂gⱼ/∂xⱼ|, as the Jacobian is triangular
///     backward         x̄_b, numbers̄ by the law     x̄ₐ = z̄ₐ + conditioner.backward(numbers̄)
///
/// - Note: The conditioner sees features within ±`inputBound` only. Beyond it the numbers stay as
///   they are, so that each feature's map is affine with a positive slope far out, a record pushed
///   outward becomes less likely, and nothing overflows. The papers have no such bound.
///
/// Source: Dinh, Krueger, Bengio, "NICE", 2014, §3.2, <https://arxiv.org/abs/1410.8516>.
public struct Coupling<Law: CouplingLaw>: Bijector {
    /// The scalar that the layer computes with.
    public typealias Scalar = Law.Scalar

    /// Which features are read and which are changed.
    public let split: FeatureSplit
    /// The number of columns of the context.
    public let contextCount: Int
    /// How a feature is changed.
    public let law: Law
    /// The largest size of a feature that the conditioner sees.
    public let inputBound: Scalar
    let conditioner: Conditioner<Scalar>

    /// A coupling layer.
    public init(
        split: FeatureSplit, contextCount: Int, law: Law, hiddenWidth: Int, hiddenLayers: Int,
        inputBound: Scalar
    ) {
        self.split = split
        self.contextCount = contextCount
        self.law = law
        self.inputBound = inputBound
        conditioner = Conditioner(
            inputCount: split.passedThrough.count + contextCount, hiddenWidth: hiddenWidth,
            hiddenLayers: hiddenLayers,
            outputCount: law.numbersPerFeature * split.transformed.count)
    }

    /// What the layer is called in a model file.
    public var name: String { "\(law.name)_coupling" }
    /// The feature split.
    public var structure: [String: [Int]] {
        ["passed_through": split.passedThrough, "transformed": split.transformed]
    }
    /// The number of features of a row.
    public var featureCount: Int { split.featureCount }
    /// Those of the conditioner.
    public var parameterShapes: [ParameterShape] { conditioner.parameterShapes }
    /// What the conditioner derives.
    public var derivedCount: Int { conditioner.derivedCount }
    /// The conditioner's input, hidden activations and output, and what the law keeps.
    public var recordCount: Int {
        conditioner.inputCount + conditioner.recordCount + conditioner.outputCount
            + law.recordsPerFeature * split.transformed.count
    }
    /// The gradient by the conditioner's output, and the conditioner's own.
    public var scratchCount: Int { conditioner.outputCount + conditioner.scratchCount }

    /// Sets the layer to the identity, with random hidden layers.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        conditioner.initialize(parameters, using: &generator)
    }

    /// Lets the conditioner derive.
    public func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>
    ) {
        conditioner.derive(from: parameters, into: derived)
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Law == AffineLaw<Float>)
    @_specialize(where Law == AffineLaw<Double>)
    @_specialize(where Law == AdditiveLaw<Float>)
    @_specialize(where Law == AdditiveLaw<Double>)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        condition(tile, parameters: parameters)
        for (index, feature) in split.transformed.enumerated() {
            law.forward(column(index, of: tile), x: tile.x + feature * tile.stride)
        }
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Law == AffineLaw<Float>)
    @_specialize(where Law == AffineLaw<Double>)
    @_specialize(where Law == AdditiveLaw<Float>)
    @_specialize(where Law == AdditiveLaw<Double>)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        condition(tile, parameters: parameters)
        for (index, feature) in split.transformed.enumerated() {
            law.inverse(column(index, of: tile), x: tile.x + feature * tile.stride)
        }
    }

    /// Carries gradients from the latent side to the data's side.
    @_specialize(where Law == AffineLaw<Float>)
    @_specialize(where Law == AffineLaw<Double>)
    @_specialize(where Law == AdditiveLaw<Float>)
    @_specialize(where Law == AdditiveLaw<Double>)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let stride = tile.stride
        for (index, feature) in split.transformed.enumerated() {
            law.backward(
                column(index, of: tile), dx: gradient.x + feature * stride,
                logDet: gradient.logDet, numbers: gradient.scratch + index * stride)
        }
        let inputGradient = conditioner.backward(
            rows: tile.rowCount, stride: stride, x: tile.record, dy: gradient.scratch,
            record: tile.record + conditioner.inputCount * stride,
            scratch: gradient.scratch + conditioner.outputCount * stride,
            parameters: parameters, gradient: gradient.parameters)
        for (index, feature) in split.passedThrough.enumerated() {
            Scalar._kernels.clampBackward(
                tile.rowCount, inputBound, tile.record + index * stride,
                inputGradient + index * stride, gradient.x + feature * stride)
        }
    }

    /// Runs the conditioner on the features that pass through and the context.
    private func condition(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        let stride = tile.stride
        for (index, feature) in split.passedThrough.enumerated() {
            Scalar._kernels.clamp(
                tile.rowCount, inputBound, tile.x + feature * stride,
                tile.record + index * stride)
        }
        (tile.record + split.passedThrough.count * stride).update(
            from: tile.context, count: contextCount * stride)
        let hidden = tile.record + conditioner.inputCount * stride
        conditioner.forward(
            rows: tile.rowCount, stride: stride, x: tile.record,
            y: hidden + conditioner.recordCount * stride, record: hidden,
            panels: parameters + derivedStart)
    }

    /// What belongs to the `index`-th transformed feature.
    private func column(_ index: Int, of tile: Tile<Scalar>) -> CouplingColumn<Scalar> {
        let stride = tile.stride
        let count = split.transformed.count
        let numbers =
            tile.record + (conditioner.inputCount + conditioner.recordCount + index) * stride
        let kept =
            tile.record
            + (conditioner.inputCount + conditioner.recordCount + conditioner.outputCount + index)
            * stride
        return CouplingColumn(
            rowCount: tile.rowCount, numbers: numbers, step: count * stride, record: kept,
            recordStep: count * stride, logDet: tile.logDet)
    }
}

/// The coupling layer of NICE.
public typealias AdditiveCoupling<Scalar: FlowScalar> = Coupling<AdditiveLaw<Scalar>>

/// The coupling layer of RealNVP and Glow.
public typealias AffineCoupling<Scalar: FlowScalar> = Coupling<AffineLaw<Scalar>>
