/// The recipes for a flow.
public enum FlowFamily: String, Sendable, Codable, CaseIterable {
    /// Additive couplings and a diagonal scaling (Dinh, Krueger, Bengio 2014).
    case nice
    /// Affine couplings with ActNorm between them (Dinh, Sohl-Dickstein, Bengio 2016).
    case realnvp
    /// ActNorm, invertible linear map, affine coupling (Kingma, Dhariwal 2018).
    case glow
}

/// The coupling laws: what a coupling layer does to a feature.
public enum CouplingLawKind: String, Sendable, CaseIterable {
    /// A shift, `AdditiveLaw` (NICE).
    case additive
    /// A scale, `MultiplicativeLaw` (NICE).
    case multiplicative
    /// A scale and a shift, `AffineLaw` (RealNVP, Glow).
    case affine
    /// A monotone rational-quadratic spline, `SplineLaw` (neural spline flows).
    case spline
}

/// What holds the features' size between coupling layers.
public enum FlowNormalization: String, Sendable, CaseIterable {
    /// Nothing (NICE).
    case none
    /// `ActNorm` before each coupling (Glow).
    case actNorm = "actnorm"
    /// `BatchNorm` after each coupling, with running statistics (RealNVP).
    case batchNorm = "batchnorm"
}

/// The networks in coupling layers.
public enum ConditionerKind: String, Sendable, CaseIterable {
    /// Dense layers with ReLU, one after the other.
    case perceptron
    /// Residual blocks of two dense layers each.
    case residual
}

/// The shape of a flow; the defaults suit tables of a few to some dozens of features.
public struct FlowOptions: Sendable, Hashable {
    /// Which recipe; the default is `realnvp`.
    public var family: FlowFamily = .realnvp
    /// The number of coupling layers, over windows at each scale; the default is 6.
    public var couplingLayers: Int = 6
    /// The width of the conditioners' hidden layers; the default is 64.
    public var hiddenWidth: Int = 64
    /// The number of the conditioners' hidden layers, or of their residual blocks; the default is 2.
    public var hiddenLayers: Int = 2
    /// A coupling's log-scale stays within plus and minus this; the default is 2.
    public var logScaleBound: Double = 2
    /// Conditioners see features and context within plus and minus this; the default is 8.
    public var conditionerInputBound: Double = 8

    /// What a coupling layer does; the default is the family's own: additive for NICE, affine else.
    public var law: CouplingLawKind?
    /// How coupling layers part the features of a row; the default is `alternating`.
    ///
    /// Windows are parted as `window` says.
    public var partition: FeaturePartition = .alternating
    /// The density of the latent rows; the default is `normal`.
    public var base: BaseDensity = .normal
    /// What holds the features' size; the default is the family's own: nothing for NICE, else
    /// ActNorm.
    public var normalization: FlowNormalization?
    /// The networks in coupling layers; the default is `perceptron`.
    public var conditioner: ConditionerKind = .perceptron
    /// The bins of a spline coupling, 2 to 256; the default is 8.
    public var splineBins: Int = 8
    /// A spline coupling bends features within plus and minus this; the default is 5.
    public var splineBound: Double = 5
    /// The shape of a row that is a window of a multichannel signal; the default, nil, is a row
    /// without order.
    public var window: WindowShape?

    /// The defaults.
    public init() {}

    /// The coupling law of the recipe.
    var effectiveLaw: CouplingLawKind { law ?? (family == .nice ? .additive : .affine) }

    /// The normalization of the recipe.
    var effectiveNormalization: FlowNormalization {
        normalization ?? (family == .nice ? .none : .actNorm)
    }
}
