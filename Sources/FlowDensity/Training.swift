import RealModule

extension Flow {
    /// Fits the flow by maximum likelihood with Adam.
    ///
    /// A new flow is started from the data first (ActNorm); a fitted one goes on from where it
    /// is. The parameters that are judged and kept are the running average of the weights; the
    /// best by the held-out rows stay in the flow. A loss that is not finite sets the fit back to
    /// the best parameters so far, with a smaller step, a few times.
    ///
    /// The same seed gives the same bits, whatever `parallel` is: a minibatch is cut into a fixed
    /// number of shards, each with a random sequence and a gradient of its own, and the gradients
    /// are added in their order.
    ///
    /// - Parameters:
    ///   - rows: Rows to learn from, shape `[N, D]`.
    ///   - context: What is known beside them, shape `[N, C]`.
    ///   - heldOut: Rows to judge by, shape `[M, D]`, taken as they are, without noise.
    ///   - heldOutContext: What is known beside those, shape `[M, C]`.
    ///   - noise: Noise for the rows to learn from.
    ///   - options: How to fit.
    ///   - generator: Where minibatches and noise are drawn from.
    ///   - parallel: How to run shards and tiles.
    ///   - progress: Is told of each step; returns false to end the fit.
    /// - Throws: `tooFewRows`, `notFinite` or `diverged`; the flow is then as it was before.
    public mutating func fit(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>? = nil, heldOut: Matrix<Scalar>,
        heldOutContext: Matrix<Scalar>? = nil, noise: TrainingNoise<Scalar>? = nil,
        options: TrainingOptions = .init(), using generator: inout some RandomNumberGenerator,
        parallel: ParallelFor = .serial, progress: (TrainingReport) -> Bool = { _ in true }
    ) throws(FlowDensityError) -> TrainingSummary {
        architecture.check(rows, context: context)
        architecture.check(heldOut, context: heldOutContext)
        precondition(
            noise.map { $0.uniform.count == featureCount } ?? true,
            "noise needs both widths for each of the \(featureCount) features")
        precondition(
            options.maximumSteps >= 1 && options.batchSize >= 1 && options.evaluateEverySteps >= 1
                && options.patience >= 1, "a fit has at least one step, row, look and patience")
        precondition(
            options.learningRate > 0 && options.gradientNormLimit > 0 && options.weightDecay >= 0,
            "a fit's step and gradient limit are positive")
        precondition(
            (0..<1).contains(options.averageDecay) && (0..<1).contains(options.trimFraction),
            "a decay and a share are at least 0 and below 1")
        try Self.checkFinite(rows, set: "training")
        try Self.checkFinite(heldOut, set: "held-out")
        try context.map { context throws(FlowDensityError) in
            try Self.checkFinite(context, set: "training context")
        }
        try heldOutContext.map { context throws(FlowDensityError) in
            try Self.checkFinite(context, set: "held-out context")
        }
        BLASCore.prepare()
        var start = parameters
        let seed = generator.next()
        if !hasStarted {
            start = Self.started(
                start, architecture: architecture, rows: rows, context: context, noise: noise,
                seed: seed)
        }
        var trainer = Trainer(
            architecture: architecture, start: start,
            batches: MinibatchSource(rows: rows, context: context, noise: noise, seed: seed),
            heldOut: heldOut, heldOutContext: heldOutContext, options: options,
            parallel: parallel)
        let summary = try trainer.run(progress: progress)
        parameters = trainer.best
        hasStarted = true
        return summary
    }

    private static func checkFinite(
        _ rows: Matrix<Scalar>, set: String
    ) throws(FlowDensityError) {
        guard rows.rowCount > 0 else { throw .tooFewRows(set: set, needed: 1, found: 0) }
        if let index = rows.storage.firstIndex(where: { !$0.isFinite }) {
            throw .notFinite(
                set: set, row: index / rows.columnCount, column: index % rows.columnCount)
        }
    }

    /// Lets each layer in turn set itself by the rows that reach it.
    private static func started(
        _ parameters: [Scalar], architecture: Architecture<Scalar>, rows: Matrix<Scalar>,
        context: Matrix<Scalar>?, noise: TrainingNoise<Scalar>?, seed: UInt64
    ) -> [Scalar] {
        let largest = 4096
        var parameters = parameters
        var indices = Array(0..<rows.rowCount)
        var generator = SeededGenerator(seed: seed, stream: .max)
        indices.shuffle(using: &generator)
        let chosen = Array(indices.prefix(largest)).sorted()
        var reached = rows.selectingRows(chosen)
        if let noise { noise.add(to: &reached, using: &generator) }
        let reachedContext = context?.selectingRows(chosen)
        for (layer, offset) in zip(architecture.layers, architecture.offsets) {
            parameters.withUnsafeMutableBufferPointer { buffer in
                if let start = buffer.baseAddress { layer.start(start + offset, from: reached) }
            }
            let alone = Architecture(
                layers: [layer], featureCount: architecture.featureCount,
                contextCount: architecture.contextCount, contextBound: architecture.contextBound)
            let own = Array(parameters[offset..<offset + layer.parameterCount])
            reached =
                alone.map(
                    reached, context: reachedContext, working: alone.working(own), inverse: false
                ).rows
        }
        return parameters
    }
}

/// One fit: the state of the optimiser, and the best parameters so far.
struct Trainer<Scalar: FlowScalar> {
    /// A fit that diverges goes on with this share of its step size.
    static var restartFactor: Double { 0.25 }
    /// A fit goes on after diverging so often at most.
    static var restartLimit: Int { 6 }
    /// The step size falls to this share of itself.
    static var finalShare: Double { 0.01 }

    let architecture: Architecture<Scalar>
    let heldOut: Matrix<Scalar>
    let heldOutContext: Matrix<Scalar>?
    let options: TrainingOptions
    let parallel: ParallelFor

    private(set) var best: [Scalar]
    private var bestScore = -Double.infinity
    private var bestStep = 0
    private var parameters: [Scalar]
    private var average: [Scalar]
    private var first: [Scalar]
    private var second: [Scalar]
    private var gradients: ShardedGradient<Scalar>
    /// The parameters of a step, or their average when that is judged.
    private let working: WorkingParameters<Scalar>
    private var heldOutScores: [Double]
    /// Steps since the optimiser's moments were last zero.
    private var optimizerSteps = 0
    private var restarts = 0
    private var rateFactor = 1.0
    private var lastFiniteLoss: Double?

    init(
        architecture: Architecture<Scalar>, start: [Scalar], batches: MinibatchSource<Scalar>,
        heldOut: Matrix<Scalar>, heldOutContext: Matrix<Scalar>?, options: TrainingOptions,
        parallel: ParallelFor
    ) {
        self.architecture = architecture
        self.heldOut = heldOut
        self.heldOutContext = heldOutContext
        self.options = options
        self.parallel = parallel
        best = start
        parameters = start
        average = start
        first = [Scalar](repeating: 0, count: start.count)
        second = first
        working = WorkingParameters(architecture)
        heldOutScores = [Double](repeating: 0, count: heldOut.rowCount)
        gradients = ShardedGradient(
            architecture: architecture, batches: batches,
            batchSize: min(options.batchSize, batches.rowCount),
            trimFraction: options.trimFraction)
    }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    mutating func run(
        progress: (TrainingReport) -> Bool
    ) throws(FlowDensityError) -> TrainingSummary {
        judge(afterStep: 0)
        var looksWithoutGain = 0
        var step = 0
        var reason = "step limit"
        while step < options.maximumSteps {
            step += 1
            let rate = rateFactor * learningRate(step)
            parameters.withUnsafeBufferPointer { working.set($0, of: architecture) }
            let loss = gradients.compute(working: working, step: step, parallel: parallel)
            let norm = gradients.norm
            guard loss.isFinite, norm.isFinite, loss < -lowestLogLikelihood / 1e10 else {
                try restart(afterStep: step)
                continue
            }
            lastFiniteLoss = loss
            update(rate: rate, norm: norm)
            var report = TrainingReport(
                step: step, stepLimit: options.maximumSteps, trainingLoss: loss,
                heldOutLogLikelihood: nil, learningRate: rate, restarts: restarts)
            if step % options.evaluateEverySteps == 0 || step == options.maximumSteps {
                let (score, isBetter) = judge(afterStep: step)
                report.heldOutLogLikelihood = score
                looksWithoutGain = isBetter ? 0 : looksWithoutGain + 1
            }
            guard progress(report) else {
                if step % options.evaluateEverySteps != 0 { judge(afterStep: step) }
                reason = "cancelled"
                break
            }
            if looksWithoutGain >= options.patience {
                reason = "patience"
                break
            }
        }
        return TrainingSummary(
            steps: step, heldOutLogLikelihood: bestScore, bestStep: bestStep, restarts: restarts,
            stopReason: reason)
    }

    /// A short linear rise, then a cosine from the step size to a hundredth of it.
    private func learningRate(_ step: Int) -> Double {
        let rise = min(50, max(1, options.maximumSteps / 20))
        let share = Double(step - 1) / Double(options.maximumSteps)
        let cosine = Self.finalShare + (1 - Self.finalShare) * 0.5 * (1 + Double.cos(.pi * share))
        return options.learningRate * cosine * min(1, Double(step) / Double(rise))
    }

    private mutating func update(rate: Double, norm: Double) {
        optimizerSteps += 1
        // The average begins short, so that it is not held back by the start of the fit.
        let decay = min(
            options.averageDecay, Double(1 + optimizerSteps) / Double(10 + optimizerSteps))
        var adam = AdamStep(
            count: optimizerSteps, gradientScale: min(1, options.gradientNormLimit / norm),
            learningRate: rate, weightDecay: options.weightDecay, averageDecay: decay)
        gradients.withTotal { gradient in
            for learned in architecture.learned {
                adam.learningRate = rate * learned.stepShare
                Scalar._kernels.adam(
                    learned.places, adam, gradient: gradient, parameters: &parameters,
                    first: &first, second: &second, average: &average)
            }
            architecture.follow(
                gradient, parameters: &parameters, average: &average, averageDecay: decay)
        }
    }

    /// Scores the held-out rows under the average, and keeps it when it is the best so far.
    @discardableResult
    private mutating func judge(afterStep step: Int) -> (score: Double, isBetter: Bool) {
        let (architecture, working, parallel) = (architecture, working, parallel)
        let (heldOut, heldOutContext) = (heldOut, heldOutContext)
        average.withUnsafeBufferPointer { working.set($0, of: architecture) }
        heldOutScores.withUnsafeMutableBufferPointer {
            architecture.logLikelihood(
                heldOut, context: heldOutContext, working: working, parallel: parallel, into: $0)
        }
        let score = heldOutScores.reduce(0, +) / Double(heldOutScores.count)
        guard score > bestScore else { return (score, false) }
        bestScore = score
        bestStep = step
        best = average
        return (score, true)
    }

    private mutating func restart(afterStep step: Int) throws(FlowDensityError) {
        guard restarts < Self.restartLimit else {
            throw .diverged(step: step, lastFiniteLoss: lastFiniteLoss, restarts: restarts)
        }
        restarts += 1
        rateFactor *= Self.restartFactor
        parameters = best
        average = best
        for index in first.indices { first[index] = 0 }
        for index in second.indices { second[index] = 0 }
        optimizerSteps = 0
    }
}
