import FlowDensity
import Foundation
import Testing

/// A kind of layer, made for rows of any size: what the contract is checked for.
enum LayerKind: String, CaseIterable, Sendable {
    case actNorm, batchNorm, diagonalScaling, invertibleLinear
    case additive, multiplicative, affine, spline
    case deepAffine, clampedAffine, residualAdditive, residualSpline, givenSplit

    /// The layer of this kind.
    func make<Scalar: FlowScalar>(
        _: Scalar.Type, features: Int, context: Int, seed: UInt64
    ) -> any Bijector<Scalar> {
        let layer = Int(seed)
        func coupling<Law: CouplingLaw<Scalar>>(
            _ law: Law, layers: Int = 1, split: FeatureSplit? = nil, inputBound: Scalar = 8,
            isResidual: Bool = false
        ) -> any Bijector<Scalar> {
            Coupling(
                split: split ?? .alternating(featureCount: features, layer: layer),
                contextCount: context, law: law, hiddenWidth: 5, hiddenLayers: layers,
                inputBound: inputBound, isResidual: isResidual)
        }
        switch self {
        case .actNorm: return ActNorm<Scalar>(featureCount: features)
        case .batchNorm: return BatchNorm<Scalar>(featureCount: features)
        case .diagonalScaling: return DiagonalScaling<Scalar>(featureCount: features)
        case .invertibleLinear:
            return InvertibleLinear<Scalar>(featureCount: features, layer: layer)
        case .additive: return coupling(AdditiveLaw())
        case .multiplicative: return coupling(MultiplicativeLaw(logScaleBound: 2))
        case .affine: return coupling(AffineLaw(logScaleBound: 2))
        case .spline: return coupling(SplineLaw(binCount: 2 + 2 * layer, bound: 3))
        case .deepAffine: return coupling(AffineLaw(logScaleBound: 2), layers: 3)
        case .clampedAffine:
            // Half of the features lie beyond the bound, where their gradient ends.
            return coupling(AffineLaw(logScaleBound: 2), inputBound: 1)
        case .residualAdditive: return coupling(AdditiveLaw(), layers: 2, isResidual: true)
        case .residualSpline:
            return coupling(SplineLaw(binCount: 5, bound: 4), layers: 1, isResidual: true)
        case .givenSplit:
            let partition = FeaturePartition.given([
                Array((0..<features).reversed().dropLast()), [],
            ])
            return coupling(
                AffineLaw(logScaleBound: 1),
                split: partition.split(featureCount: features, layer: layer))
        }
    }
}

/// A kind of layer over windows.
enum WindowLayerKind: String, CaseIterable, Sendable {
    case actNorm, batchNorm, invertibleLinear, squeeze
    case checkerboardAffine, checkerboardSpline, channelAdditive, channelAffine, residualAffine

    /// The layer of this kind, or nil where the window does not allow it.
    func make<Scalar: FlowScalar>(
        _: Scalar.Type, channels: Int, length: Int, context: Int, seed: UInt64
    ) -> (any Bijector<Scalar>)? {
        let layer = Int(seed)
        let features = channels * length
        func coupling<Law: CouplingLaw<Scalar>>(
            _ split: FeatureSplit, _ positions: Int, _ law: Law, isResidual: Bool = false
        ) -> any Bijector<Scalar> {
            Coupling(
                split: split, contextCount: context, law: law, hiddenWidth: 4, hiddenLayers: 2,
                inputBound: 8, isResidual: isResidual, positions: positions, kernelWidth: 3)
        }
        func checkerboard() -> FeatureSplit {
            .checkerboard(channels: channels, length: length, layer: layer)
        }
        func channelSplit() -> FeatureSplit {
            .channels(channels, length: length, layer: layer)
        }
        let affine = AffineLaw<Scalar>(logScaleBound: 2)
        switch self {
        case .actNorm: return ActNorm<Scalar>(featureCount: features, positions: length)
        case .batchNorm: return BatchNorm<Scalar>(featureCount: features, positions: length)
        case .invertibleLinear:
            return InvertibleLinear<Scalar>(
                featureCount: features, layer: layer, positions: length)
        case .squeeze: return Squeeze<Scalar>(channels: channels, length: length)
        case .checkerboardAffine: return coupling(checkerboard(), length / 2, affine)
        case .checkerboardSpline:
            return coupling(checkerboard(), length / 2, SplineLaw(binCount: 4, bound: 3))
        case .channelAdditive:
            return channels < 2 ? nil : coupling(channelSplit(), length, AdditiveLaw())
        case .channelAffine: return channels < 2 ? nil : coupling(channelSplit(), length, affine)
        case .residualAffine:
            return coupling(checkerboard(), length / 2, affine, isResidual: true)
        }
    }
}

/// A way to make a flow: each family as it comes, and with each of its options.
struct FlowVariant: Sendable, CustomTestStringConvertible {
    let name: String
    let options: FlowOptions
    /// The window's shape is that of the options; rows have this many features otherwise.
    var windowFeatures: Int? { options.window?.featureCount }

    init(_ name: String, _ family: FlowFamily, _ change: (inout FlowOptions) -> Void = { _ in }) {
        var options = FlowOptions()
        options.family = family
        options.couplingLayers = 4
        options.hiddenWidth = 8
        change(&options)
        self.name = name
        self.options = options
    }

    var testDescription: String { name }

    /// Flows of rows.
    static let rows: [FlowVariant] =
        FlowFamily.allCases.map { FlowVariant($0.rawValue, $0) } + [
            FlowVariant("nice, logistic base", .nice) { $0.base = .logistic },
            FlowVariant("nice, multiplicative law", .nice) { $0.law = .multiplicative },
            FlowVariant("nice, parity", .nice) { $0.partition = .parity },
            FlowVariant("realnvp, batch normalization", .realnvp) {
                $0.normalization = .batchNorm
            },
            FlowVariant("realnvp, residual, halves", .realnvp) {
                $0.conditioner = .residual
                $0.hiddenLayers = 1
                $0.partition = .halves
            },
            FlowVariant("realnvp, spline", .realnvp) { $0.law = .spline },
            FlowVariant("glow, spline, logistic base", .glow) {
                $0.law = .spline
                $0.splineBins = 5
                $0.splineBound = 4
                $0.base = .logistic
            },
            FlowVariant("glow, additive, batch normalization", .glow) {
                $0.law = .additive
                $0.normalization = .batchNorm
            },
            FlowVariant("nice, spline, residual, batch normalization", .nice) {
                $0.law = .spline
                $0.conditioner = .residual
                $0.normalization = .batchNorm
            },
        ]

    /// Flows of windows.
    static let windows: [FlowVariant] =
        FlowFamily.allCases.map { family in
            FlowVariant("\(family.rawValue) over windows", family) {
                $0.window = WindowShape(channels: 3, length: 8)
            }
        } + [
            FlowVariant("realnvp over the shortest windows", .realnvp) {
                $0.window = WindowShape(channels: 1, length: 2, scales: 1, kernelWidth: 1)
            },
            FlowVariant("realnvp over one channel, batch normalization", .realnvp) {
                $0.window = WindowShape(channels: 1, length: 16, scales: 3)
                $0.normalization = .batchNorm
            },
            FlowVariant("glow over short windows, spline, residual", .glow) {
                $0.window = WindowShape(channels: 2, length: 4, scales: 2)
                $0.law = .spline
                $0.conditioner = .residual
                $0.hiddenLayers = 1
                $0.base = .logistic
            },
            FlowVariant("realnvp over windows, one scale, wide kernel", .realnvp) {
                $0.window = WindowShape(channels: 2, length: 6, scales: 1, kernelWidth: 5)
                $0.conditioner = .residual
                $0.hiddenLayers = 1
            },
        ]

    /// All of them.
    static let all = rows + windows

    /// Beyond this size of a feature no conditioner of a disturbed flow sees more of it: from there
    /// on, a row that is pushed outward must become less likely.
    var outermost: Double {
        // Glow's linear maps carry a little of each feature into the others.
        if options.family == .glow { return 1e6 }
        switch options.law ?? (options.family == .nice ? .additive : .affine) {
        case .additive, .spline: return 60
        // Each scale may shrink a feature by exp(−2) to where the next conditioner reads it; in a
        // row every second coupling is one that reads it.
        case .affine, .multiplicative:
            let changes = options.window.map { options.couplingLayers * $0.scales }
            return 60 * exp(2 * Double(changes ?? options.couplingLayers / 2))
        }
    }

    /// A flow of this kind whose parameters are all away from where training begins.
    ///
    /// - Parameter features: The features of a row; a window has its own number.
    func disturbed<Scalar: FlowScalar>(
        _: Scalar.Type, features: Int, context: Int = 0, seed: UInt64, deviation: Double = 0.1
    ) -> Flow<Scalar> {
        var generator = SeededGenerator(seed: seed)
        var flow = Flow<Scalar>(
            featureCount: windowFeatures ?? features, contextCount: context, options: options,
            using: &generator)
        for index in flow.parameters.indices {
            flow.parameters[index] += Scalar(deviation * generator.nextNormalPair().0)
        }
        return flow
    }
}

extension Matrix {
    /// The same numbers in another scalar.
    func converted<Other: FlowScalar>(to _: Other.Type) -> Matrix<Other> {
        Matrix<Other>(
            rowCount: rowCount, columnCount: columnCount, storage: storage.map { Other($0) })
    }
}
