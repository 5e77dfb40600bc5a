/// The layers of a flow, in the order from the data to the latent space, and the density there.
struct Architecture<Scalar: FlowScalar>: Sendable {
    let layers: [any Bijector<Scalar>]
    let base: BaseDensity
    /// Where each layer's parameters begin in the flow's buffer.
    let offsets: [Int]
    let parameterCount: Int
    /// Where each layer's parameters begin among the working ones, with what it derives behind them.
    let workingOffsets: [Int]
    let workingCount: Int
    /// Where the parameters lie that the optimiser learns: all but running statistics.
    let learned: [LearnedParameters]
    /// Where the running statistics lie.
    private let statisticRanges: [Range<Int>]
    let featureCount: Int
    let contextCount: Int
    /// The size within which the context is handed to the conditioners.
    let contextBound: Scalar
    let workspaces: WorkspacePool<Scalar>

    /// - Parameter featureCount: The features of a row, where it is more than what the first layer
    ///   maps.
    init(
        layers: [any Bijector<Scalar>], featureCount: Int? = nil, contextCount: Int,
        contextBound: Scalar = .greatestFiniteMagnitude, base: BaseDensity = .normal
    ) {
        self.layers = layers
        self.base = base
        var offsets: [Int] = []
        var learned: [LearnedParameters] = []
        var statistics: [Range<Int>] = []
        var count = 0
        for layer in layers {
            offsets.append(count)
            for parameter in layer.parameterShapes {
                let end = count + parameter.count
                if parameter.isStatistic {
                    statistics.append(count..<end)
                } else if let last = learned.last, last.places.upperBound == count,
                    last.stepShare == parameter.stepShare
                {
                    learned[learned.count - 1].places = last.places.lowerBound..<end
                } else {
                    learned.append(
                        LearnedParameters(places: count..<end, stepShare: parameter.stepShare))
                }
                count = end
            }
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
        self.learned = learned
        statisticRanges = statistics
        self.featureCount = featureCount ?? layers.first?.featureCount ?? 0
        self.contextCount = contextCount
        self.contextBound = contextBound
        workspaces = WorkspacePool(
            featureCount: self.featureCount, contextCount: contextCount,
            recordCount: layers.map(\.recordCount).max() ?? 0)
    }

    /// Where a layer's parameters lie in the flow's buffer.
    func parameterRange(ofLayer index: Int) -> Range<Int> {
        offsets[index]..<(index + 1 < offsets.count ? offsets[index + 1] : parameterCount)
    }

    /// Moves the running statistics of all layers after a step, and their average with them.
    func follow(
        _ gradient: UnsafePointer<Scalar>, parameters: UnsafeMutablePointer<Scalar>,
        average: UnsafeMutablePointer<Scalar>, averageDecay: Double
    ) {
        for (layer, offset) in zip(layers, offsets) {
            layer.follow(parameters + offset, gradient: gradient + offset)
        }
        for range in statisticRanges {
            for place in range {
                average[place] += (parameters[place] - average[place]) * Scalar(1 - averageDecay)
            }
        }
    }
}

/// Parameters that lie together and that the optimiser learns alike.
struct LearnedParameters {
    /// Where they lie in the flow's buffer.
    var places: Range<Int>
    /// The share of the step size by which they move.
    var stepShare: Double
}
