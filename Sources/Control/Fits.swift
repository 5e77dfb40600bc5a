import Foundation

/// The daemon's answer to `retrain`.
public struct RetrainReply: Sendable, Hashable, Codable {
    /// The stream.
    public var stream: String
    /// Number of the fit that will tell the outcome; it may be one that was already under way.
    public var fit: Int64
    /// Whether a fit was already waiting or running.
    public var wasUnderway: Bool

    /// Makes a reply.
    public init(stream: String, fit: Int64, wasUnderway: Bool) {
        self.stream = stream
        self.fit = fit
        self.wasUnderway = wasUnderway
    }
}

/// A fit that waits or runs.
public struct FitProgressMessage: Sendable, Hashable, Codable {
    /// The fit's number.
    public var id: Int64
    /// `queued` or `running`.
    public var state: String
    /// `encoding`, `training` or `calibrating`.
    public var phase: String?
    /// Step of the training.
    public var step: Int
    /// Steps at most.
    public var stepLimit: Int
    /// Share of the fit that is done at least, 0 to 1.
    public var fraction: Double
    /// Until it ends, at the latest; in seconds.
    public var etaSecs: Double?
    /// Mean log-likelihood of held-out records so far, in nats per record.
    public var heldOutLogLikelihood: Double?
    /// When it began to run.
    public var startedAt: Date?

    /// Makes a message.
    public init(
        id: Int64, state: String, phase: String? = nil, step: Int = 0, stepLimit: Int = 0,
        fraction: Double = 0, etaSecs: Double? = nil, heldOutLogLikelihood: Double? = nil,
        startedAt: Date? = nil
    ) {
        self.id = id
        self.state = state
        self.phase = phase
        self.step = step
        self.stepLimit = stepLimit
        self.fraction = fraction
        self.etaSecs = etaSecs
        self.heldOutLogLikelihood = heldOutLogLikelihood
        self.startedAt = startedAt
    }
}

/// A fit as the store remembers it.
public struct FitMessage: Sendable, Hashable, Codable {
    /// The fit's number.
    public var id: Int64
    /// `queued`, `running`, `accepted`, `rejected`, `failed`, `cancelled` or `interrupted`.
    public var state: String
    /// What asked for it: `first`, `growth`, `periodic`, `drift`, `requested`.
    public var trigger: String
    /// When it was asked for.
    public var queuedAt: Date
    /// When it began.
    public var startedAt: Date?
    /// When it ended.
    public var endedAt: Date?
    /// Records that it read.
    public var recordCount: Int?
    /// The model that came of it.
    public var model: Int64?
    /// Mean log-likelihood of held-out records, in nats per record.
    public var heldOutLogLikelihood: Double?
    /// How it ended, as a sentence.
    public var message: String?

    /// Whether nothing more will come of it.
    public var isEnded: Bool { state != "queued" && state != "running" }

    /// Makes a message.
    public init(
        id: Int64, state: String, trigger: String, queuedAt: Date, startedAt: Date? = nil,
        endedAt: Date? = nil, recordCount: Int? = nil, model: Int64? = nil,
        heldOutLogLikelihood: Double? = nil, message: String? = nil
    ) {
        self.id = id
        self.state = state
        self.trigger = trigger
        self.queuedAt = queuedAt
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.recordCount = recordCount
        self.model = model
        self.heldOutLogLikelihood = heldOutLogLikelihood
        self.message = message
    }
}
