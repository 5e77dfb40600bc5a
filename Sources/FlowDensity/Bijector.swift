/// A named part of a layer's parameters.
public struct ParameterShape: Sendable, Hashable {
    /// The name in a model file, within the layer.
    public var name: String
    /// The sides, outermost first.
    public var shape: [Int]
    /// Whether these are running statistics, which follow the rows instead of the gradient.
    public var isStatistic = false
    /// The share of a fit's step size by which the optimiser moves these.
    public var stepShare: Double = 1

    /// The number of parameters.
    public var count: Int { shape.reduce(1, *) }
}

/// A layer of a flow: an invertible map of rows whose log-determinant is cheap.
///
/// A layer holds no parameters: those of a whole flow lie in one buffer, and a layer is handed the
/// address of its own. It is written once, in place, on a tile in the caller's memory, and allocates
/// nothing there; `BijectorContract` in the tests is the law that each layer obeys.
///
///     forward    z = f(x)        logDet += log|det ∂z/∂x|
///     inverse    x = f⁻¹(z)      logDet += log|det ∂x/∂z|
///     backward   x̄ = (∂z/∂x)ᵀ z̄ + ℓ̄ ∂logDet/∂x, and the same by the parameters
public protocol Bijector<Scalar>: Sendable {
    /// The scalar that the layer computes with.
    associatedtype Scalar: FlowScalar

    /// What the layer is called in a model file, such as "actnorm".
    var name: String { get }
    /// The number of features that the layer maps: the first ones of a row, the others stay as they
    /// are.
    var featureCount: Int { get }
    /// Index lists that shape the layer and are written to a model file, such as a feature split.
    var structure: [String: [Int]] { get }
    /// The layer's parameters, in the order of their places in the buffer.
    var parameterShapes: [ParameterShape] { get }
    /// Scalars per row that `forward` keeps for `backward`.
    var recordCount: Int { get }
    /// Scalars per row that `backward` needs to work in.
    var scratchCount: Int { get }

    /// Sets parameters to where training begins.
    func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator)
    /// Sets parameters by the rows that reach the layer when training begins; may do nothing.
    func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>)
    /// Scalars that the layer derives from its parameters once, for all tiles that it will map.
    var derivedCount: Int { get }
    /// Fills `derived` from the parameters, behind which it stands when a tile is mapped.
    func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>)
    /// Moves the running statistics among the parameters after a step, by what `backward` summed in
    /// their places of the gradient; does nothing in a layer without any.
    func follow(_ parameters: UnsafeMutablePointer<Scalar>, gradient: UnsafePointer<Scalar>)
    /// Maps a tile from the data's side to the latent side.
    func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>)
    /// Maps a tile from the latent side to the data's side.
    func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>)
    /// Carries gradients from the latent side to the data's side, after `forward` of the same tile.
    func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>)
}

extension Bijector {
    /// The number of the layer's parameters.
    public var parameterCount: Int { parameterShapes.reduce(0) { $0 + $1.count } }

    /// The index lists that shape the layer: none.
    public var structure: [String: [Int]] { [:] }

    /// Where, behind its parameters, a layer finds what it derived from them.
    var derivedStart: Int { WorkingParameters<Scalar>.aligned(parameterCount) }

    /// Nothing is derived.
    public var derivedCount: Int { 0 }

    /// There is nothing to derive.
    public func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>
    ) {}

    /// Scalars per row that `backward` needs to work in: none.
    public var scratchCount: Int { 0 }

    /// Leaves the parameters as they are.
    public func start(_ parameters: UnsafeMutablePointer<Scalar>, from rows: Matrix<Scalar>) {}

    /// There is nothing to move.
    public func follow(
        _ parameters: UnsafeMutablePointer<Scalar>, gradient: UnsafePointer<Scalar>
    ) {}
}

extension Bijector {
    /// Maps rows from the data's side to the latent side.
    ///
    /// - Parameters:
    ///   - x: Rows, shape `[N, D]`.
    ///   - context: What the conditioners see beside the rows, shape `[N, C]`.
    ///   - parameters: The layer's parameters.
    /// - Returns: Rows, shape `[N, D]`, and `log|det ∂z/∂x|` of each, shape `[N]`.
    public func forward(
        _ x: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parameters: [Scalar]
    ) -> (z: Matrix<Scalar>, logDet: [Double]) {
        let alone = Architecture(layers: [self], contextCount: context?.columnCount ?? 0)
        let mapped = alone.map(
            x, context: context, working: alone.working(parameters), inverse: false)
        return (mapped.rows, mapped.logDet)
    }

    /// Maps rows from the latent side to the data's side.
    ///
    /// - Parameters:
    ///   - z: Rows, shape `[N, D]`.
    ///   - context: What the conditioners see beside the rows, shape `[N, C]`.
    ///   - parameters: The layer's parameters.
    /// - Returns: Rows, shape `[N, D]`, and `log|det ∂x/∂z|` of each, shape `[N]`.
    public func inverse(
        _ z: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parameters: [Scalar]
    ) -> (x: Matrix<Scalar>, logDet: [Double]) {
        let alone = Architecture(layers: [self], contextCount: context?.columnCount ?? 0)
        let mapped = alone.map(
            z, context: context, working: alone.working(parameters), inverse: true)
        return (mapped.rows, mapped.logDet)
    }
}

extension Bijector {
    /// Carries gradients from the latent side to the data's side.
    ///
    /// - Parameters:
    ///   - x: Rows of data, shape `[N, D]`.
    ///   - context: What the conditioners see beside the rows, shape `[N, C]`.
    ///   - parameters: The layer's parameters.
    ///   - latentGradient: The gradient of the loss by `z`, shape `[N, D]`.
    ///   - logDetGradient: The gradient of the loss by each row's log-determinant, shape `[N]`.
    /// - Returns: The gradients by `x`, shape `[N, D]`, and by the parameters.
    public func backward(
        _ x: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parameters: [Scalar],
        latentGradient: Matrix<Scalar>, logDetGradient: [Scalar]
    ) -> (x: Matrix<Scalar>, parameters: [Scalar]) {
        Architecture(layers: [self], contextCount: context?.columnCount ?? 0).backward(
            x, context: context, parameters: parameters, latentGradient: latentGradient,
            logDetGradient: logDetGradient)
    }
}

extension Flow {
    /// The places of the parameters that are learned: all but running statistics.
    package var learnedParameters: [Int] { architecture.learned.flatMap { Array($0.places) } }

    /// The gradient by the parameters of the mean of −ln p over some rows.
    package func lossGradient(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil
    ) -> [Scalar] {
        let z = forward(rows, context: context).z
        var latentGradient = z
        let weight = 1 / Scalar(rows.rowCount)
        for index in z.storage.indices {
            latentGradient.storage[index] =
                weight * -architecture.base.slope(at: z.storage[index])
        }
        return architecture.backward(
            rows, context: context, parameters: parameters, latentGradient: latentGradient,
            logDetGradient: [Scalar](repeating: -weight, count: rows.rowCount)
        ).parameters
    }
}
