import Synchronization

/// The parameters of a flow as tiles need them: behind those of each layer stands what the layer
/// derived from them, such as the weights in the order in which they are read.
///
/// Made once for many tiles, and read by several threads at once.
final class WorkingParameters<Scalar: FlowScalar>: @unchecked Sendable {
    /// Where the first layer's parameters begin; the others' at the architecture's `workingOffsets`.
    let start: UnsafeMutablePointer<Scalar>

    /// Room for the parameters of an architecture.
    init(_ architecture: Architecture<Scalar>) {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: max(architecture.workingCount, 1) * MemoryLayout<Scalar>.stride,
            alignment: 64)
        start = memory.bindMemory(to: Scalar.self, capacity: architecture.workingCount)
        start.initialize(repeating: 0, count: architecture.workingCount)
    }

    deinit {
        start.deallocate()
    }

    /// Takes over parameters, and lets the layers derive from them.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func set(_ parameters: UnsafeBufferPointer<Scalar>, of architecture: Architecture<Scalar>) {
        precondition(
            parameters.count == architecture.parameterCount,
            "the layers have \(architecture.parameterCount) parameters, found \(parameters.count)")
        guard let first = parameters.baseAddress else { return }
        for index in architecture.layers.indices {
            let range = architecture.parameterRange(ofLayer: index)
            let own = start + architecture.workingOffsets[index]
            own.update(from: first + range.lowerBound, count: range.count)
            architecture.layers[index].derive(from: own, into: own + Self.aligned(range.count))
        }
    }

    /// A number of scalars, rounded up to whole cache lines and to the rows that kernels touch.
    static func aligned(_ count: Int) -> Int {
        let unit = Kernels<Scalar>.panelOutputs
        return (count + unit - 1) / unit * unit
    }
}

/// The working parameters of a flow whose parameters stay: made when first needed.
final class WorkingParametersCache<Scalar: FlowScalar>: Sendable {
    private let made = Mutex<WorkingParameters<Scalar>?>(nil)

    /// Those of the flow, the same at every call.
    func get(
        _ parameters: [Scalar], of architecture: Architecture<Scalar>
    ) -> WorkingParameters<Scalar> {
        made.withLock { made in
            if let made { return made }
            let working = WorkingParameters(architecture)
            parameters.withUnsafeBufferPointer { working.set($0, of: architecture) }
            made = working
            return working
        }
    }
}
