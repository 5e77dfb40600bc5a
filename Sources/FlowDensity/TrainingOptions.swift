/// How a flow is fitted; the defaults suit a few thousand rows and more.
public struct TrainingOptions: Sendable, Hashable, Codable {
    /// The number of optimiser steps at most; the default is 2000.
    public var maximumSteps: Int = 2000
    /// The rows of a step, capped at the number of training rows; the default is 256.
    public var batchSize: Int = 256
    /// Adam's step size at its highest, from where it falls along a cosine to a hundredth; the
    /// default is 2e-3.
    public var learningRate: Double = 2e-3
    /// The share of each weight that is taken off in a step, times the step size; the default is
    /// 1e-5.
    public var weightDecay: Double = 1e-5
    /// The Euclidean norm to which longer gradients are cut; the default is 5.
    public var gradientNormLimit: Double = 5
    /// The number of steps between two looks at the held-out rows; the default is 50.
    public var evaluateEverySteps: Int = 50
    /// The looks without a better held-out likelihood before the fit ends; the default is 10.
    public var patience: Int = 10
    /// The decay per step of the running average of the weights; the default is 0.995.
    ///
    /// The average is what is judged and kept; 0 keeps the weights themselves.
    public var averageDecay: Double = 0.995
    /// The share of each minibatch, lowest density first, that is left out; the default is 0.
    public var trimFraction: Double = 0

    /// The defaults.
    public init() {}
}

/// Noise added to each training row, drawn anew each time the row is used.
public struct TrainingNoise<Scalar: FlowScalar>: Sendable {
    /// The full width of the uniform noise of each feature (dequantisation); 0 is none.
    public var uniform: [Scalar]
    /// The standard deviation of the Gaussian noise of each feature; 0 is none.
    public var gaussian: [Scalar]

    /// Noise by feature.
    ///
    /// - Precondition: both arrays hold one number for each feature.
    public init(uniform: [Scalar], gaussian: [Scalar]) {
        precondition(
            uniform.count == gaussian.count, "noise needs both widths for each feature")
        self.uniform = uniform
        self.gaussian = gaussian
    }
}

/// How a fit stands after a step.
public struct TrainingReport: Sendable {
    /// The steps done, from 1.
    public var step: Int
    /// The steps that will be done at most.
    public var stepLimit: Int
    /// The mean of −ln p over the rows of the step, with their noise, in nats per row.
    public var trainingLoss: Double
    /// The mean log-likelihood of the held-out rows in nats; only at the steps that look at it.
    public var heldOutLogLikelihood: Double?
    /// The step size of this step.
    public var learningRate: Double
    /// How often the fit was begun again with a smaller step.
    public var restarts: Int
}

/// How a fit ended.
public struct TrainingSummary: Sendable, Codable {
    /// The steps done.
    public var steps: Int
    /// The mean log-likelihood of the held-out rows under the parameters that were kept, in nats.
    public var heldOutLogLikelihood: Double
    /// The step after which the parameters that were kept were taken.
    public var bestStep: Int
    /// How often the fit was begun again with a smaller step.
    public var restarts: Int
    /// Why the fit ended: "patience", "step limit" or "cancelled".
    public var stopReason: String
}
