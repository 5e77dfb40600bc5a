/// The layers of a flow, in the order from the data to the latent space.
struct Architecture<Scalar: FlowScalar>: Sendable {
    let layers: [any Bijector<Scalar>]
    /// Where each layer's parameters begin in the flow's buffer.
    let offsets: [Int]
    let parameterCount: Int
    /// Where each layer's parameters begin among the working ones, with what it derives behind them.
    let workingOffsets: [Int]
    let workingCount: Int
    let featureCount: Int
    let contextCount: Int
    /// The size within which the context is handed to the conditioners.
    let contextBound: Scalar
    let workspaces: WorkspacePool<Scalar>

    init(
        layers: [any Bijector<Scalar>], contextCount: Int,
        contextBound: Scalar = .greatestFiniteMagnitude
    ) {
        self.layers = layers
        var offsets: [Int] = []
        var count = 0
        for layer in layers {
            offsets.append(count)
            count += layer.parameterCount
        }
        var workingOffsets: [Int] = []
        var workingCount = 0
        for layer in layers {
            workingOffsets.append(workingCount)
            workingCount +=
                layer.derivedStart + WorkingParameters<Scalar>.aligned(layer.derivedCount)
        }
        self.workingOffsets = workingOffsets
        self.workingCount = workingCount
        self.offsets = offsets
        parameterCount = count
        featureCount = layers.first?.featureCount ?? 0
        self.contextCount = contextCount
        self.contextBound = contextBound
        workspaces = WorkspacePool(
            featureCount: featureCount, contextCount: contextCount,
            recordCount: layers.map(\.recordCount).max() ?? 0)
    }

    /// The recipe of a family.
    init(featureCount: Int, contextCount: Int, options: FlowOptions) {
        var layers: [any Bijector<Scalar>] = []
        for layer in 0..<options.couplingLayers {
            let split = FeatureSplit.alternating(featureCount: featureCount, layer: layer)
            switch options.family {
            case .nice:
                layers.append(
                    Self.coupling(
                        split, contextCount: contextCount, options: options,
                        law: AdditiveLaw()))
            case .realnvp:
                layers.append(ActNorm(featureCount: featureCount))
                layers.append(
                    Self.coupling(
                        split, contextCount: contextCount, options: options,
                        law: AffineLaw(logScaleBound: Scalar(options.logScaleBound))))
            case .glow:
                layers.append(ActNorm(featureCount: featureCount))
                layers.append(InvertibleLinear(featureCount: featureCount, layer: layer))
                layers.append(
                    Self.coupling(
                        split, contextCount: contextCount, options: options,
                        law: AffineLaw(logScaleBound: Scalar(options.logScaleBound))))
            }
        }
        if options.family == .nice { layers.append(DiagonalScaling(featureCount: featureCount)) }
        self.init(
            layers: layers, contextCount: contextCount,
            contextBound: Scalar(options.conditionerInputBound))
    }

    private static func coupling<Law: CouplingLaw<Scalar>>(
        _ split: FeatureSplit, contextCount: Int, options: FlowOptions, law: Law
    ) -> Coupling<Law> {
        Coupling(
            split: split, contextCount: contextCount, law: law, hiddenWidth: options.hiddenWidth,
            hiddenLayers: options.hiddenLayers, inputBound: Scalar(options.conditionerInputBound))
    }
}

extension Flow {
    /// A NICE flow: additive couplings, at the end a diagonal scaling.
    public static func nice(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.nice, features, context, options, seed)
    }

    /// A RealNVP flow: affine couplings with ActNorm before each.
    public static func realNVP(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.realnvp, features, context, options, seed)
    }

    /// A Glow flow: steps of ActNorm, invertible linear map and affine coupling.
    public static func glow(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.glow, features, context, options, seed)
    }

    private static func make(
        _ family: FlowFamily, _ features: Int, _ context: Int, _ options: FlowOptions,
        _ seed: UInt64
    ) -> Flow {
        var options = options
        options.family = family
        var generator = SeededGenerator(seed: seed)
        return Flow(
            featureCount: features, contextCount: context, options: options, using: &generator)
    }
}
