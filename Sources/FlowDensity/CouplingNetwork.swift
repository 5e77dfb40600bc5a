/// The network of a coupling layer: from the features that pass through, and the context, to the
/// numbers by which the law changes the others.
///
/// Works on the columns of a tile, as layers do, and keeps its parameters where they do.
protocol CouplingNetwork<Scalar>: Sendable {
    associatedtype Scalar: FlowScalar

    /// Columns of the input: features position after position, then the context.
    var inputCount: Int { get }
    /// Columns of the output: numbers position after position.
    var outputCount: Int { get }
    /// The positions of a window; 1 for a row.
    var positions: Int { get }
    /// The network's parameters, in the order of their places.
    var parameterShapes: [ParameterShape] { get }
    /// Columns that `forward` keeps for `backward`.
    var recordCount: Int { get }
    /// Columns that `backward` needs to work in.
    var scratchCount: Int { get }

    /// Sets hidden layers at random and the last one to zero, so that a coupling layer begins as
    /// the identity.
    ///
    /// - Parameter biasWidth: How wide hidden biases are, see ``LawLearning/biasWidth``.
    func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, biasWidth: Double,
        using generator: inout SeededGenerator)
    /// Scalars that the network derives from its parameters once, for all tiles.
    var derivedCount: Int { get }
    /// Fills `derived` from the parameters.
    func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>)
    /// `y = network(x)`, with what the network derived from its parameters.
    ///
    /// - Parameter keepsRecord: Whether `record` must hold what `backward` needs; else it is room to work in.
    func forward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        record: UnsafeMutablePointer<Scalar>, keepsRecord: Bool, parameters: UnsafePointer<Scalar>,
        derived: UnsafePointer<Scalar>)
    /// Adds the gradients by the parameters, after `forward` of the same rows.
    ///
    /// - Returns: The gradient by the input's features, in `scratch`, in the order of the input.
    func backward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, dy: UnsafePointer<Scalar>,
        record: UnsafePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>,
        parameters: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
    ) -> UnsafePointer<Scalar>
}

extension CouplingNetwork {
    /// Nothing is derived.
    var derivedCount: Int { 0 }

    /// There is nothing to derive.
    func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>
    ) {}
}

/// The sizes of a network, kept beside it: to ask an existential costs more than a few rows do.
struct NetworkSizes: Sendable {
    let inputCount: Int
    let outputCount: Int
    let recordCount: Int
    let positions: Int

    init(of network: some CouplingNetwork) {
        inputCount = network.inputCount
        outputCount = network.outputCount
        recordCount = network.recordCount
        positions = network.positions
    }
}
