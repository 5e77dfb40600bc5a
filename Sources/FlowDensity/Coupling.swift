import Foundation

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
    let conditioner: any CouplingNetwork<Scalar>
    /// What every tile asks of the conditioner.
    private let sizes: NetworkSizes
    private let derivedStart: Int

    /// A coupling layer.
    ///
    /// - Parameters:
    ///   - split: Which features are read and which are changed; for a window, position after
    ///     position, with as many features of each kind at every one.
    ///   - contextCount: The number of columns of the context.
    ///   - law: How a feature is changed.
    ///   - hiddenWidth: The units of the conditioner's hidden layers; of a window, at each position.
    ///   - hiddenLayers: The conditioner's hidden layers, or its residual blocks.
    ///   - inputBound: The largest size of a feature that the conditioner sees.
    ///   - isResidual: Whether the conditioner is made of residual blocks.
    ///   - positions: The positions of a window, over which the conditioner slides; 1 for a row.
    ///   - kernelWidth: The positions that a conditioner's layer sees at once, an odd number.
    /// - Precondition: `positions` divides both parts of the split; `kernelWidth` is odd.
    public init(
        split: FeatureSplit, contextCount: Int, law: Law, hiddenWidth: Int, hiddenLayers: Int,
        inputBound: Scalar, isResidual: Bool = false, positions: Int = 1, kernelWidth: Int = 1
    ) {
        precondition(
            positions >= 1 && split.transformed.count % positions == 0
                && split.passedThrough.count % positions == 0,
            "a split of \(positions) positions has as many features of each part at every one")
        self.split = split
        self.contextCount = contextCount
        self.law = law
        self.inputBound = inputBound
        let outputCount = law.numbersPerFeature * split.transformed.count
        if positions == 1 && !isResidual {
            conditioner = Conditioner(
                inputCount: split.passedThrough.count + contextCount, hiddenWidth: hiddenWidth,
                hiddenLayers: hiddenLayers, outputCount: outputCount)
        } else {
            conditioner = SlidingConditioner(
                positions: positions, inputChannels: split.passedThrough.count / positions,
                contextCount: contextCount, outputChannels: outputCount / positions,
                hiddenWidth: hiddenWidth, hiddenLayers: hiddenLayers, kernelWidth: kernelWidth,
                isResidual: isResidual)
        }
        sizes = NetworkSizes(of: conditioner)
        derivedStart = WorkingParameters<Scalar>.aligned(
            conditioner.parameterShapes.reduce(0) { $0 + $1.count })
    }

    /// What the layer is called in a model file.
    public var name: String { "\(law.name)_coupling" }
    /// The feature split, and over windows the conditioner's positions.
    public var structure: [String: [Int]] {
        var structure = [
            "passed_through": split.passedThrough, "transformed": split.transformed,
        ]
        if conditioner.positions > 1 { structure["positions"] = [conditioner.positions] }
        return structure
    }
    /// The number of features of a row.
    public var featureCount: Int { split.featureCount }
    /// Those of the conditioner; the law says how far its last layer steps.
    public var parameterShapes: [ParameterShape] {
        let share = pow(Double(split.transformed.count), -law.learning.stepExponent)
        var shapes = conditioner.parameterShapes
        // The weights and the biases that give the numbers.
        for index in shapes.indices.suffix(2) { shapes[index].stepShare = share }
        return shapes
    }
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
        conditioner.initialize(
            parameters, biasWidth: law.learning.biasWidth, using: &generator)
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
    @_specialize(where Law == MultiplicativeLaw<Float>)
    @_specialize(where Law == MultiplicativeLaw<Double>)
    @_specialize(where Law == SplineLaw<Float>)
    @_specialize(where Law == SplineLaw<Double>)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        condition(tile, parameters: parameters)
        guard sizes.positions == 1 else {
            for (index, feature) in split.transformed.enumerated() {
                law.forward(column(index, of: tile), x: tile.x + feature * tile.stride)
            }
            return
        }
        law.forward(
            column(0, of: tile), stride: tile.stride, features: split.transformed, x: tile.x)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Law == AffineLaw<Float>)
    @_specialize(where Law == AffineLaw<Double>)
    @_specialize(where Law == AdditiveLaw<Float>)
    @_specialize(where Law == AdditiveLaw<Double>)
    @_specialize(where Law == MultiplicativeLaw<Float>)
    @_specialize(where Law == MultiplicativeLaw<Double>)
    @_specialize(where Law == SplineLaw<Float>)
    @_specialize(where Law == SplineLaw<Double>)
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
    @_specialize(where Law == MultiplicativeLaw<Float>)
    @_specialize(where Law == MultiplicativeLaw<Double>)
    @_specialize(where Law == SplineLaw<Float>)
    @_specialize(where Law == SplineLaw<Double>)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let stride = tile.stride
        for (index, feature) in split.transformed.enumerated() {
            law.backward(
                column(index, of: tile), dx: gradient.x + feature * stride,
                logDet: gradient.logDet, numbers: gradient.scratch + place(index) * stride)
        }
        let inputGradient = conditioner.backward(
            rows: tile.rowCount, stride: stride, x: tile.record, dy: gradient.scratch,
            record: tile.record + sizes.inputCount * stride,
            scratch: gradient.scratch + sizes.outputCount * stride,
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
        Scalar._kernels.clampColumns(
            tile.rowCount, stride, split.passedThrough.count, split.passedThrough, inputBound,
            tile.x, tile.record)
        (tile.record + split.passedThrough.count * stride).update(
            from: tile.context, count: contextCount * stride)
        let hidden = tile.record + sizes.inputCount * stride
        conditioner.forward(
            rows: tile.rowCount, stride: stride, x: tile.record,
            y: hidden + sizes.recordCount * stride, record: hidden, keepsRecord: tile.keepsRecord,
            parameters: parameters, derived: parameters + derivedStart)
    }

    /// The transformed features at each position, which is every one of a row.
    private var group: Int { split.transformed.count / sizes.positions }

    /// Where the first number of the `index`-th transformed feature stands among all numbers: each
    /// position has its own, number by number.
    private func place(_ index: Int) -> Int {
        index / group * group * law.numbersPerFeature + index % group
    }

    /// What belongs to the `index`-th transformed feature.
    private func column(_ index: Int, of tile: Tile<Scalar>) -> CouplingColumn<Scalar> {
        let stride = tile.stride
        let numbers = tile.record + (sizes.inputCount + sizes.recordCount) * stride
        let kept = numbers + sizes.outputCount * stride
        return CouplingColumn(
            rowCount: tile.rowCount, numbers: numbers + place(index) * stride,
            step: group * stride, record: kept + index * stride,
            recordStep: split.transformed.count * stride, logDet: tile.logDet)
    }
}

/// The coupling layer of NICE.
public typealias AdditiveCoupling<Scalar: FlowScalar> = Coupling<AdditiveLaw<Scalar>>

/// The coupling layer of RealNVP and Glow.
public typealias AffineCoupling<Scalar: FlowScalar> = Coupling<AffineLaw<Scalar>>

/// The coupling layer that scales alone.
public typealias MultiplicativeCoupling<Scalar: FlowScalar> = Coupling<MultiplicativeLaw<Scalar>>

/// The coupling layer of neural spline flows.
public typealias SplineCoupling<Scalar: FlowScalar> = Coupling<SplineLaw<Scalar>>
