/// A normalizing flow: a density of rows, given a context, that can be computed and sampled exactly.
///
///     forward   z = f(x; c)        from the data to the latent space
///     density   ln p(x | c) = Σⱼ ln p_base(zⱼ) + log|det ∂z/∂x|
///     inverse   x = f⁻¹(z; c)      a sample, when z is drawn from the base density
///
/// A flow is a value: a copy is a snapshot. Features should be standardized (zero mean, unit
/// variance) by the caller.
public struct Flow<Scalar: FlowScalar>: Sendable {
    /// The number of features of a row, D.
    public let featureCount: Int
    /// The number of columns of the context, C; 0 for none.
    public let contextCount: Int
    /// The recipe and its sizes.
    public let options: FlowOptions
    /// The learned numbers of all layers, one after the other.
    public var parameters: [Scalar] {
        didSet {
            precondition(
                parameters.count == architecture.parameterCount,
                "the flow has \(architecture.parameterCount) parameters")
            cache = WorkingParametersCache()
        }
    }
    /// Whether the layers that start from data have been started.
    var hasStarted = false
    let architecture: Architecture<Scalar>
    /// The parameters as tiles need them; a copy of the flow shares them until it changes its own.
    private var cache = WorkingParametersCache<Scalar>()

    /// A flow that has not been fitted: its couplings are the identity, their hidden layers random.
    ///
    /// - Parameters:
    ///   - featureCount: The number of features of a row. One works too: its conditioners see the
    ///     context alone, so that given the context its density has the base's shape, bent by a spline
    ///     where that is the law.
    ///   - contextCount: The number of columns of the context.
    ///   - options: The recipe and its sizes.
    ///   - generator: Where the hidden layers' start is drawn from.
    /// - Precondition: There is a feature, a coupling layer, a hidden layer and a hidden unit, the
    ///   bounds are positive, and a given partition or window is one of the features.
    public init(
        featureCount: Int, contextCount: Int = 0, options: FlowOptions = .init(),
        using generator: inout some RandomNumberGenerator
    ) {
        precondition(featureCount >= 1, "a flow has at least one feature")
        precondition(contextCount >= 0, "a flow has no negative number of context columns")
        let problem = options.problem(featureCount: featureCount)
        precondition(problem == nil, problem ?? "")
        self.init(
            architecture: Architecture(
                featureCount: featureCount, contextCount: contextCount, options: options),
            options: options)
        var seeded = SeededGenerator(seed: generator.next())
        let architecture = architecture
        parameters.withUnsafeMutableBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return }
            for (layer, offset) in zip(architecture.layers, architecture.offsets) {
                layer.initialize(start + offset, using: &seeded)
            }
        }
    }

    /// A flow whose parameters are all zero.
    init(architecture: Architecture<Scalar>, options: FlowOptions) {
        self.architecture = architecture
        self.options = options
        featureCount = architecture.featureCount
        contextCount = architecture.contextCount
        parameters = [Scalar](repeating: 0, count: architecture.parameterCount)
    }

    /// The log-likelihood `ln p(x | c)` of each row, in nats.
    ///
    /// - Parameters:
    ///   - rows: Rows, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`; nil when the flow has no context.
    ///   - parallel: How to run tiles of rows; the result does not depend on it.
    /// - Returns: A finite number for each row, shape `[N]`; −1e30 for a row whose likelihood is
    ///   lower than that or not a number, as that of a row with a NaN.
    /// - Complexity: O(N · W), with W the number of parameters.
    public func logLikelihood(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parallel: ParallelFor = .serial
    ) -> [Double] {
        var result = [Double](repeating: 0, count: rows.rowCount)
        logLikelihood(rows, context: context, parallel: parallel, into: &result)
        return result
    }

    /// Puts the log-likelihood `ln p(x | c)` of each row into an array that is there already; once
    /// the flow has scored, this allocates nothing.
    ///
    /// - Parameters:
    ///   - rows: Rows, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`; nil when the flow has no context.
    ///   - parallel: How to run tiles of rows; the result does not depend on it.
    ///   - result: The likelihoods, as `logLikelihood(_:context:parallel:)` returns them.
    /// - Precondition: `result` has N elements.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func logLikelihood(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil, parallel: ParallelFor = .serial,
        into result: inout [Double]
    ) {
        result.withUnsafeMutableBufferPointer {
            architecture.logLikelihood(
                rows, context: context, working: cache.get(parameters, of: architecture),
                parallel: parallel, into: $0)
        }
    }

    /// Maps data to the latent space.
    ///
    /// - Parameters:
    ///   - x: Rows of data, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`.
    /// - Returns: Latent rows, shape `[N, D]`, and `log|det ∂z/∂x|` of each, shape `[N]`, in nats.
    public func forward(
        _ x: Matrix<Scalar>, context: Matrix<Scalar>? = nil
    ) -> (z: Matrix<Scalar>, logDet: [Double]) {
        let mapped = architecture.map(
            x, context: context, working: cache.get(parameters, of: architecture), inverse: false)
        return (mapped.rows, mapped.logDet)
    }

    /// Maps latent rows to data.
    ///
    /// - Parameters:
    ///   - z: Latent rows, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`.
    /// - Returns: Rows of data, shape `[N, D]`, and `log|det ∂x/∂z|` of each, shape `[N]`, in nats.
    public func inverse(
        _ z: Matrix<Scalar>, context: Matrix<Scalar>? = nil
    ) -> (x: Matrix<Scalar>, logDet: [Double]) {
        let mapped = architecture.map(
            z, context: context, working: cache.get(parameters, of: architecture), inverse: true)
        return (mapped.rows, mapped.logDet)
    }

    /// Draws rows from the density.
    ///
    /// - Parameters:
    ///   - count: The number of rows, N.
    ///   - context: What is known beside them, shape `[N, C]`.
    ///   - generator: Where the latent rows are drawn from.
    /// - Returns: Rows, shape `[N, D]`.
    public func sample(
        _ count: Int, context: Matrix<Scalar>? = nil,
        using generator: inout some RandomNumberGenerator
    ) -> Matrix<Scalar> {
        var latent = Matrix<Scalar>(rowCount: count, columnCount: featureCount)
        let base = options.base
        latent.storage.withUnsafeMutableBufferPointer { base.fill($0, using: &generator) }
        return inverse(latent, context: context).x
    }
}
