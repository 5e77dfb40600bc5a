/// Part a model plays in its stream.
public enum ModelState: String, Sendable, Hashable, Codable, CaseIterable {
    /// It scores the stream; at most one model of a stream does.
    case serving
    /// It has served, or was kept aside, and can be activated.
    case retired
    /// The fit gate kept it from serving; the reason says why.
    case rejected
}

/// A row of `models`: a fitted detector, whose file lies beside the store.
public struct ModelRow: Sendable, Hashable, Codable {
    /// The model's number; 0 in a new row lets the store choose it.
    public var id: Int64
    /// The stream it belongs to.
    public var stream: String
    /// Its part.
    public var state: ModelState
    /// Why it has this part, as a sentence.
    public var reason: String
    /// The flow's family.
    public var family: String
    /// When its fit ended, in epoch seconds.
    public var fittedAt: Double
    /// When it began to serve last, in epoch seconds.
    public var activatedAt: Double?
    /// When it ceased to serve last, in epoch seconds.
    public var retiredAt: Double?
    /// Records that it was fitted on.
    public var recordCount: Int
    /// Learned numbers in it.
    public var parameterCount: Int
    /// Mean log-likelihood of held-out records, in nats per record.
    public var heldOutLogLikelihood: Double
    /// More figures of the fit and the gate: a JSON object.
    public var metrics: String
    /// The model file's path, relative to the state directory; `nil` once it was pruned.
    public var file: String?
    /// Size of the model file.
    public var fileBytes: Int

    /// Makes a row.
    public init(
        id: Int64 = 0, stream: String, state: ModelState, reason: String, family: String,
        fittedAt: Double, activatedAt: Double? = nil, retiredAt: Double? = nil, recordCount: Int,
        parameterCount: Int, heldOutLogLikelihood: Double, metrics: String = "{}", file: String?,
        fileBytes: Int = 0
    ) {
        self.id = id
        self.stream = stream
        self.state = state
        self.reason = reason
        self.family = family
        self.fittedAt = fittedAt
        self.activatedAt = activatedAt
        self.retiredAt = retiredAt
        self.recordCount = recordCount
        self.parameterCount = parameterCount
        self.heldOutLogLikelihood = heldOutLogLikelihood
        self.metrics = metrics
        self.file = file
        self.fileBytes = fileBytes
    }
}

/// Who set a threshold.
public enum ThresholdKind: String, Sendable, Hashable, Codable, CaseIterable {
    /// Calibration, for a false-alarm probability.
    case calibrated
    /// A person.
    case manual
}

/// A row of `thresholds`: where normal ended for a stream, and from when to when.
public struct ThresholdRow: Sendable, Hashable, Codable {
    /// The row's number; 0 in a new row.
    public var id: Int64
    /// The stream.
    public var stream: String
    /// The model whose log-likelihoods it cuts.
    public var model: Int64
    /// Who set it.
    public var kind: ThresholdKind
    /// Records below are anomalies; in nats.
    public var logLikelihood: Double
    /// Records above are anomalies too, in nats; `nil`: the upper tail is not judged.
    public var upperLogLikelihood: Double?
    /// The share of normal records expected outside.
    public var probability: Double
    /// Since when it holds, in epoch seconds.
    public var validFrom: Double
    /// Until when it held, in epoch seconds; `nil`: it holds.
    public var validTo: Double?
    /// Why it was set, as a sentence.
    public var reason: String

    /// Makes a row.
    public init(
        id: Int64 = 0, stream: String, model: Int64, kind: ThresholdKind, logLikelihood: Double,
        upperLogLikelihood: Double?, probability: Double, validFrom: Double,
        validTo: Double? = nil, reason: String
    ) {
        self.id = id
        self.stream = stream
        self.model = model
        self.kind = kind
        self.logLikelihood = logLikelihood
        self.upperLogLikelihood = upperLogLikelihood
        self.probability = probability
        self.validFrom = validFrom
        self.validTo = validTo
        self.reason = reason
    }
}

/// A value in a reason: a JSON number, string or null.
public enum ReasonValue: Sendable, Hashable, Codable {
    /// A feature's value.
    case number(Double)
    /// A category's value.
    case text(String)
    /// No value.
    case missing

    /// Reads a number, a string or null.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .missing
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else {
            self = .number(try container.decode(Double.self))
        }
    }

    /// Writes a number, a string or null.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .number(let number): try container.encode(number)
        case .text(let text): try container.encode(text)
        case .missing: try container.encodeNil()
        }
    }

    /// The same with a number that SQLite and JSON can hold.
    var storable: ReasonValue {
        if case .number(let number) = self { return .number(number.storable) }
        return self
    }
}

/// What one feature or category has to do with an anomaly.
public struct ReasonRow: Sendable, Hashable, Codable {
    /// The feature's name.
    public var name: String
    /// Its value in the record.
    public var value: ReasonValue
    /// The value that the model expected.
    public var expected: ReasonValue
    /// How much of the improbability it explains, in nats.
    public var contribution: Double

    /// Makes a reason.
    public init(
        name: String, value: ReasonValue, expected: ReasonValue, contribution: Double
    ) {
        self.name = name
        self.value = value
        self.expected = expected
        self.contribution = contribution
    }
}

/// An anomaly that the store is to number.
public struct NewAnomaly: Sendable, Hashable, Codable {
    /// When it was found, in epoch seconds.
    public var detectedAt: Double
    /// The record's own time, in epoch seconds; `nil`: it has none.
    public var recordTime: Double?
    /// The file's path or the client's name.
    public var source: String
    /// Byte offset of the record's first byte in the source.
    public var sourceOffset: Int64
    /// `ln p(record)` in nats.
    public var logLikelihood: Double
    /// The log-likelihood that it crossed, in nats.
    public var threshold: Double
    /// Calibrated p-value.
    public var pValue: Double
    /// The tail, `low` or `high`.
    public var tail: String
    /// The reason as a word.
    public var reasonCode: String
    /// The model that scored it.
    public var model: Int64
    /// Number of the stream's episode that it is in.
    public var episode: Int64?
    /// Every feature, the greatest contribution first.
    public var reasons: [ReasonRow]
    /// The reason as a sentence.
    public var summary: String
    /// Running number of the record in the stream's training window; `nil` in rows of former versions.
    public var recordNumber: Int64?

    /// Makes an anomaly.
    public init(
        detectedAt: Double, recordTime: Double?, source: String, sourceOffset: Int64,
        logLikelihood: Double, threshold: Double, pValue: Double, tail: String,
        reasonCode: String, model: Int64, episode: Int64?, reasons: [ReasonRow], summary: String,
        recordNumber: Int64? = nil
    ) {
        self.detectedAt = detectedAt
        self.recordTime = recordTime
        self.source = source
        self.sourceOffset = sourceOffset
        self.logLikelihood = logLikelihood
        self.threshold = threshold
        self.pValue = pValue
        self.tail = tail
        self.reasonCode = reasonCode
        self.model = model
        self.episode = episode
        self.reasons = reasons
        self.summary = summary
        self.recordNumber = recordNumber
    }
}

/// A row of `anomalies`.
public struct AnomalyRow: Sendable, Hashable, Codable {
    /// Its number: a later one is greater, and none is used twice.
    public var id: Int64
    /// The stream.
    public var stream: String
    /// What was found.
    public var anomaly: NewAnomaly
    /// Whether it is the first one of its episode, as far as the query asks.
    public var beginsEpisode: Bool
    /// What a person said of it.
    public var label: LabelRow?

    /// Makes a row.
    public init(
        id: Int64, stream: String, anomaly: NewAnomaly, beginsEpisode: Bool = false,
        label: LabelRow? = nil
    ) {
        self.id = id
        self.stream = stream
        self.anomaly = anomaly
        self.beginsEpisode = beginsEpisode
        self.label = label
    }
}

/// A row of `episodes`: anomalies of a stream that follow each other closely.
public struct EpisodeRow: Sendable, Hashable, Codable {
    /// Number of the episode in its stream; the row's key with the stream.
    public var sequence: Int64
    /// Time of the first anomaly, in epoch seconds.
    public var startedAt: Double
    /// Time of the newest anomaly, in epoch seconds.
    public var lastAnomalyAt: Double
    /// Whether the cooldown has passed.
    public var isEnded: Bool
    /// Time of the anomaly furthest beyond its threshold, in epoch seconds.
    public var peakAt: Double
    /// Log-likelihood of that anomaly, in nats.
    public var peakLogLikelihood: Double
    /// Anomalies in it.
    public var anomalyCount: Int
    /// The features that contributed most, greatest first.
    public var topFeatures: [String]

    /// Makes a row.
    public init(
        sequence: Int64, startedAt: Double, lastAnomalyAt: Double, isEnded: Bool, peakAt: Double,
        peakLogLikelihood: Double, anomalyCount: Int, topFeatures: [String]
    ) {
        self.sequence = sequence
        self.startedAt = startedAt
        self.lastAnomalyAt = lastAnomalyAt
        self.isEnded = isEnded
        self.peakAt = peakAt
        self.peakLogLikelihood = peakLogLikelihood
        self.anomalyCount = anomalyCount
        self.topFeatures = topFeatures
    }
}

/// How far a fit has come.
public enum FitState: String, Sendable, Hashable, Codable, CaseIterable {
    /// It waits for its turn.
    case queued
    /// It runs.
    case running
    /// Its model serves, or has served.
    case accepted
    /// The fit gate turned its model down.
    case rejected
    /// It gave no model.
    case failed
    /// It was stopped on purpose.
    case cancelled
    /// The daemon ended before it did.
    case interrupted

    /// Whether nothing more will come of it.
    public var isEnded: Bool { self != .queued && self != .running }
}

/// A row of `fits`.
public struct FitRow: Sendable, Hashable, Codable {
    /// The fit's number; 0 in a new row.
    public var id: Int64
    /// The stream.
    public var stream: String
    /// How far it has come.
    public var state: FitState
    /// What asked for it: `first`, `growth`, `periodic`, `drift`, `requested`.
    public var trigger: String
    /// When it was asked for, in epoch seconds.
    public var queuedAt: Double
    /// When it began, in epoch seconds.
    public var startedAt: Double?
    /// When it ended, in epoch seconds.
    public var endedAt: Double?
    /// Records that it read.
    public var recordCount: Int?
    /// The model that came of it.
    public var model: Int64?
    /// Mean log-likelihood of held-out records, in nats per record.
    public var heldOutLogLikelihood: Double?
    /// How it ended, as a sentence.
    public var message: String?

    /// Makes a row.
    public init(
        id: Int64 = 0, stream: String, state: FitState, trigger: String, queuedAt: Double,
        startedAt: Double? = nil, endedAt: Double? = nil, recordCount: Int? = nil,
        model: Int64? = nil, heldOutLogLikelihood: Double? = nil, message: String? = nil
    ) {
        self.id = id
        self.stream = stream
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

/// Where in a file a stream goes on, and which file that is.
public struct SourcePosition: Sendable, Hashable, Codable {
    /// The file's path.
    public var path: String
    /// Number of the device that holds it.
    public var device: UInt64
    /// Number of the file on the device.
    public var inode: UInt64
    /// Hash of its first bytes.
    public var prefixHash: String
    /// How many bytes were hashed.
    public var prefixLength: Int
    /// Byte offset of the first record that is not committed.
    public var offset: Int64
    /// Physical lines before that offset.
    public var lineNumber: Int64
    /// When the file had been written last, in epoch nanoseconds; `nil` in what earlier builds stored.
    public var modifiedAt: Int64?

    /// Makes a position.
    public init(
        path: String, device: UInt64, inode: UInt64, prefixHash: String, prefixLength: Int,
        offset: Int64, lineNumber: Int64, modifiedAt: Int64? = nil
    ) {
        self.modifiedAt = modifiedAt
        self.path = path
        self.device = device
        self.inode = inode
        self.prefixHash = prefixHash
        self.prefixLength = prefixLength
        self.offset = offset
        self.lineNumber = lineNumber
    }
}

/// A row of `checkpoints`: everything that a stream's worker needs to go on after a crash.
public struct CheckpointRow: Sendable, Hashable, Codable {
    /// When it was taken, in epoch seconds.
    public var takenAt: Double
    /// Where to go on; `nil` for sources without a position.
    public var position: SourcePosition?
    /// Records ever appended to the training window.
    public var windowTotal: Int64
    /// Records taken in.
    public var recordsTotal: Int64
    /// Anomalies found.
    public var anomaliesTotal: Int64
    /// Lines that went to the quarantine.
    public var faultsTotal: Int64
    /// What the worker remembers, in a form of its own.
    public var state: [UInt8]

    /// Makes a checkpoint.
    public init(
        takenAt: Double, position: SourcePosition?, windowTotal: Int64, recordsTotal: Int64,
        anomaliesTotal: Int64, faultsTotal: Int64, state: [UInt8]
    ) {
        self.takenAt = takenAt
        self.position = position
        self.windowTotal = windowTotal
        self.recordsTotal = recordsTotal
        self.anomaliesTotal = anomaliesTotal
        self.faultsTotal = faultsTotal
        self.state = state
    }
}

/// A model that begins to serve, with its threshold.
public struct ModelActivation: Sendable, Hashable {
    /// Which model.
    public enum Choice: Sendable, Hashable {
        /// One that the store does not have yet; its state becomes `serving`.
        case new(ModelRow)
        /// One that the store has.
        case existing(Int64)
    }

    /// Which model.
    public var model: Choice
    /// Why it begins to serve, as a sentence.
    public var reason: String
    /// Its threshold; `validFrom` is the time of the change, and the store fills in `model`.
    public var threshold: ThresholdRow

    /// Makes an activation.
    public init(model: Choice, reason: String, threshold: ThresholdRow) {
        self.model = model
        self.reason = reason
        self.threshold = threshold
    }
}

/// Everything that changes with a batch of records: all of it is stored, or nothing.
public struct StreamCommit: Sendable, Hashable {
    /// The stream.
    public var stream: String
    /// Whether the store may not know the stream yet; it is made known at the time of its checkpoint.
    public var isNew = false
    /// A model that serves from this batch on; it is stored first, so that the anomalies may name it.
    public var activation: ModelActivation?
    /// A threshold that holds from now on, for the model that serves already; an activation brings its own.
    public var threshold: ThresholdRow?
    /// Episodes that began, grew or ended; those of a known number are replaced.
    public var episodes: [EpisodeRow]
    /// Anomalies in the order of their records.
    public var anomalies: [NewAnomaly]
    /// Where to go on after this batch.
    public var checkpoint: CheckpointRow?
    /// Where to go on in one of several files of the stream, which is replaced by its path.
    public var file: SourcePosition?

    /// Makes a commit.
    public init(
        stream: String, activation: ModelActivation? = nil, threshold: ThresholdRow? = nil,
        episodes: [EpisodeRow] = [], anomalies: [NewAnomaly] = [],
        checkpoint: CheckpointRow? = nil, file: SourcePosition? = nil
    ) {
        self.stream = stream
        self.file = file
        self.activation = activation
        self.threshold = threshold
        self.episodes = episodes
        self.anomalies = anomalies
        self.checkpoint = checkpoint
    }
}

/// What the store knows of one key of a stream.
public struct KeyRow: Sendable, Hashable {
    /// `STREAM/KEY`.
    public var name: String
    /// When it was committed last, in epoch seconds.
    public var lastSeenAt: Double
    /// Records of it.
    public var recordsTotal: Int64
    /// Anomalies among them.
    public var anomaliesTotal: Int64
    /// Its own serving model; `nil`: that of the stream serves.
    public var model: Int64?
}
