/// Lays the layers of a flow, from the data to the latent space, as its options say.
struct Recipe<Scalar: FlowScalar> {
    private let options: FlowOptions
    private let contextCount: Int
    private(set) var layers: [any Bijector<Scalar>] = []
    /// Coupling layers so far.
    private var step = 0

    init(featureCount: Int, contextCount: Int, options: FlowOptions) {
        self.options = options
        self.contextCount = contextCount
        if let window = options.window {
            addScales(of: window)
        } else {
            for layer in 0..<options.couplingLayers {
                addStep(options.partition.split(featureCount: featureCount, layer: layer))
            }
        }
        if options.family == .nice { layers.append(DiagonalScaling(featureCount: featureCount)) }
    }

    /// One coupling layer with what belongs before and after it.
    ///
    /// - Parameters:
    ///   - split: The partition of the features that are left.
    ///   - length: The times of a window at this scale; 1 for a row.
    ///   - positions: The positions of the coupling's conditioner.
    private mutating func addStep(_ split: FeatureSplit, length: Int = 1, positions: Int = 1) {
        let features = split.featureCount
        if options.effectiveNormalization == .actNorm {
            layers.append(ActNorm(featureCount: features, positions: length))
        }
        if options.family == .glow {
            layers.append(InvertibleLinear(featureCount: features, layer: step, positions: length))
        }
        let bound = Scalar(options.logScaleBound)
        switch options.effectiveLaw {
        case .additive: addCoupling(split, AdditiveLaw(), positions)
        case .multiplicative: addCoupling(split, MultiplicativeLaw(logScaleBound: bound), positions)
        case .affine: addCoupling(split, AffineLaw(logScaleBound: bound), positions)
        case .spline:
            addCoupling(
                split,
                SplineLaw(binCount: options.splineBins, bound: Scalar(options.splineBound)),
                positions)
        }
        if options.effectiveNormalization == .batchNorm {
            layers.append(BatchNorm(featureCount: features, positions: length))
        }
        step += 1
    }

    private mutating func addCoupling<Law: CouplingLaw<Scalar>>(
        _ split: FeatureSplit, _ law: Law, _ positions: Int
    ) {
        layers.append(
            Coupling(
                split: split, contextCount: contextCount, law: law,
                hiddenWidth: options.hiddenWidth, hiddenLayers: options.hiddenLayers,
                inputBound: Scalar(options.conditionerInputBound),
                isResidual: options.conditioner == .residual, positions: positions,
                kernelWidth: positions == 1 ? 1 : options.window?.kernelWidth ?? 1))
    }

    /// The multi-scale architecture of RealNVP §3.6.
    ///
    /// At each scale couplings over a checkerboard of times, a squeeze, couplings over the channels,
    /// and half of the channels leave for the latent space; at the last scale a checkerboard
    /// alone. Glow squeezes first and has channels alone.
    private mutating func addScales(of window: WindowShape) {
        var channels = window.channels
        var length = window.length
        func squeeze() -> Squeeze<Scalar> { Squeeze(channels: channels, length: length) }
        for scale in 1...window.scales {
            let isLast = scale == window.scales
            if options.family == .glow {
                layers.append(squeeze())
                (channels, length) = (2 * channels, length / 2)
                addChannelSteps(options.couplingLayers, channels, length)
            } else {
                let inChannels = isLast ? 0 : options.couplingLayers / 2
                for layer in 0..<options.couplingLayers - inChannels {
                    addStep(
                        .checkerboard(channels: channels, length: length, layer: layer),
                        length: length, positions: length / 2)
                }
                guard !isLast else { return }
                layers.append(squeeze())
                (channels, length) = (2 * channels, length / 2)
                addChannelSteps(inChannels, channels, length)
            }
            channels /= 2
        }
    }

    private mutating func addChannelSteps(_ count: Int, _ channels: Int, _ length: Int) {
        for layer in 0..<count {
            addStep(
                .channels(channels, length: length, layer: layer), length: length,
                positions: length)
        }
    }
}

extension Architecture {
    /// The recipe of a family.
    init(featureCount: Int, contextCount: Int, options: FlowOptions) {
        let recipe = Recipe<Scalar>(
            featureCount: featureCount, contextCount: contextCount, options: options)
        self.init(
            layers: recipe.layers, featureCount: featureCount, contextCount: contextCount,
            contextBound: Scalar(options.conditionerInputBound), base: options.base)
    }
}

extension FlowOptions {
    /// What keeps rows of `featureCount` features from having such a flow, or nil.
    func problem(featureCount: Int) -> String? {
        if couplingLayers < 1 || hiddenLayers < 1 || hiddenWidth < 1 {
            return "a flow has at least one coupling layer, hidden layer and hidden unit"
        }
        if !(logScaleBound > 0 && conditionerInputBound > 0 && splineBound > 0) {
            return "the bounds of a flow are positive"
        }
        if !(2...256).contains(splineBins) {
            return "a spline has 2 to 256 bins, found \(splineBins)"
        }
        if !partition.isValid(featureCount: featureCount, couplingLayers: couplingLayers) {
            return "a given partition names features of the row, has a coupling layer for each of "
                + "its lists, and leaves no feature as it was in all of them"
        }
        guard let window else { return nil }
        if let problem = window.problem { return problem }
        return window.featureCount == featureCount
            ? nil
            : "a window of \(window.channels) channels by \(window.length) times has "
                + "\(window.featureCount) features, the row has \(featureCount)"
    }
}
