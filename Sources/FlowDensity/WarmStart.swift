// A fit that begins where a former one ended.

extension Flow {
    /// A flow that begins where a fitted one ended: `fit` goes on from its parameters.
    ///
    /// What layers learned from their first rows (ActNorm, batch normalization) is kept as it is. The rows to come must
    /// be standardized as the former's were: its parameters mean nothing in other coordinates.
    ///
    /// - Parameters:
    ///   - former: The fitted flow.
    ///   - featureCount: The number of features of the rows to come.
    ///   - contextCount: The number of columns of their context.
    ///   - options: The recipe and sizes that are asked for.
    /// - Throws: `otherFlow` when the former flow has another shape or recipe, `notFitted` when it was never fitted.
    public init(
        from former: Flow, featureCount: Int, contextCount: Int = 0, options: FlowOptions
    ) throws(FlowDensityError) {
        guard former.hasStarted else { throw .notFitted }
        let asked = FlowShape(featureCount, contextCount, options)
        let found = FlowShape(former.featureCount, former.contextCount, former.options)
        for (place, wanted) in asked.properties.enumerated()
        where found.properties[place].value != wanted.value {
            throw .otherFlow(
                property: wanted.name, found: found.properties[place].value, expected: wanted.value)
        }
        self = former
    }
}

/// What two flows must share for one to go on from the other, each in words.
private struct FlowShape {
    let properties: [(name: String, value: String)]

    init(_ featureCount: Int, _ contextCount: Int, _ options: FlowOptions) {
        properties = [
            ("features", "\(featureCount)"),
            ("context columns", "\(contextCount)"),
            ("family", options.family.rawValue),
            ("coupling layers", "\(options.couplingLayers)"),
            ("hidden width", "\(options.hiddenWidth)"),
            ("hidden layers", "\(options.hiddenLayers)"),
            ("bound of the log-scale", "\(options.logScaleBound)"),
            ("bound of the conditioners' input", "\(options.conditionerInputBound)"),
            ("coupling law", options.effectiveLaw.rawValue),
            ("partition", options.partition.description),
            ("base", options.base.rawValue),
            ("normalization", options.effectiveNormalization.rawValue),
            ("conditioner", options.conditioner.rawValue),
            ("spline bins", "\(options.splineBins)"),
            ("spline bound", "\(options.splineBound)"),
            (
                "window",
                options.window.map {
                    "\($0.channels) by \($0.length), \($0.scales) scales, kernels of \($0.kernelWidth)"
                } ?? "none"
            ),
        ]
    }
}

extension TrainingOptions {
    /// The share of the steps, and of the step size, that a flow needs which goes on from a fitted one.
    private static let warmShare = (steps: 0.25, learningRate: 0.5)

    /// The same options for a flow that goes on from a fitted one: a fourth of the steps, of half the size.
    ///
    /// The fit still ends sooner where the held-out rows gain nothing more, and keeps the parameters that it began with
    /// where no step makes them better.
    public var forWarmStart: TrainingOptions {
        var options = self
        options.maximumSteps = max(1, Int(Double(maximumSteps) * Self.warmShare.steps))
        options.learningRate *= Self.warmShare.learningRate
        return options
    }
}
