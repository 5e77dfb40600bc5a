/// The recipes for a flow.
public enum FlowFamily: String, Sendable, Codable, CaseIterable {
    /// Additive couplings and a diagonal scaling (Dinh, Krueger, Bengio 2014).
    case nice
    /// Affine couplings with ActNorm between them (Dinh, Sohl-Dickstein, Bengio 2016).
    case realnvp
    /// ActNorm, invertible linear map, affine coupling (Kingma, Dhariwal 2018).
    case glow
}

/// The shape of a flow; the defaults suit tables of a few to some dozens of features.
public struct FlowOptions: Sendable, Hashable, Codable {
    /// Which recipe; the default is `realnvp`.
    public var family: FlowFamily = .realnvp
    /// The number of coupling layers; the default is 6.
    public var couplingLayers: Int = 6
    /// The width of the conditioners' hidden layers; the default is 64.
    public var hiddenWidth: Int = 64
    /// The number of the conditioners' hidden layers; the default is 2.
    public var hiddenLayers: Int = 2
    /// A coupling's log-scale stays within plus and minus this; the default is 2.
    public var logScaleBound: Double = 2
    /// Conditioners see features and context within plus and minus this; the default is 8.
    public var conditionerInputBound: Double = 8

    /// The defaults.
    public init() {}

    /// The largest number of layers, hidden layers and hidden units that a flow may have.
    static let largestSide = 65_536
}
