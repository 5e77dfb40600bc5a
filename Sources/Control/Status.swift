import Foundation

/// What the daemon is doing: the answer to `GET /v1/status`.
public struct StatusReport: Sendable, Hashable, Codable {
    /// The daemon's version.
    public var version: String
    /// Its process number.
    public var pid: Int32
    /// Since when it runs, in seconds.
    public var uptimeSecs: Double
    /// When the report was made.
    public var time: Date
    /// The configuration file.
    public var configuration: String
    /// Where its state is.
    public var stateDirectory: String
    /// The core that OpenBLAS was set up for.
    public var blasCore: String
    /// What a person should know though no stream is at fault: a failed reload, a full disk.
    public var warnings: [String]
    /// The streams, in the order of the configuration.
    public var streams: [StreamStatus]

    /// Makes a report.
    public init(
        version: String = FlowguardVersion.current, pid: Int32, uptimeSecs: Double, time: Date,
        configuration: String, stateDirectory: String, blasCore: String, warnings: [String],
        streams: [StreamStatus]
    ) {
        self.version = version
        self.pid = pid
        self.uptimeSecs = uptimeSecs
        self.time = time
        self.configuration = configuration
        self.stateDirectory = stateDirectory
        self.blasCore = blasCore
        self.warnings = warnings
        self.streams = streams
    }
}

/// What a stream does now.
public enum StreamState: String, Sendable, Hashable, Codable, CaseIterable {
    /// Its source is not there yet, or has sent nothing.
    case waiting
    /// It gathers records for its first model.
    case learning
    /// Its records are scored.
    case watching
    /// Something keeps it from going on; `lastError` says what. It tries again by itself.
    case failing
    /// It has ended.
    case stopped
}

/// One stream, at a glance.
public struct StreamStatus: Sendable, Hashable, Codable {
    /// The stream's name.
    public var name: String
    /// `file`, `directory`, `socket`, `datagram`, `pipe` or `stdin`.
    public var sourceKind: String
    /// The source's path.
    public var source: String
    /// `csv` or `ndjson`.
    public var format: String
    /// What it does now.
    public var state: StreamState
    /// Records taken in since the stream was first seen.
    public var recordsTotal: Int64
    /// Records a second, over the last minute or so.
    public var recordsPerSec: Double
    /// Lines that went to the quarantine since the stream was first seen.
    public var faultsTotal: Int64
    /// The same by their reason, greatest first.
    public var faults: [FaultCount]
    /// The quarantine file.
    public var quarantine: String?
    /// Anomalies since the stream was first seen.
    public var anomaliesTotal: Int64
    /// Anomalies found in the last 24 hours.
    public var anomaliesLastDay: Int64
    /// The false alarms that were asked for.
    public var asked: AlarmRate
    /// The alarms that there are; `nil` before there is anything to measure.
    public var measured: MeasuredAlarms?
    /// The largest p-value that begins an episode while alarms are more than asked for; `nil`: the threshold alone decides.
    public var largestAlarmingPValue: Double?
    /// Where normal ends; `nil` before the first model.
    public var threshold: ThresholdMessage?
    /// The model that serves; `nil` before the first one.
    public var model: ModelMessage?
    /// The fit that waits or runs.
    public var fit: FitProgressMessage?
    /// The newest fit that ended.
    public var lastFit: FitMessage?
    /// When the next fit begins by itself, at the earliest; `nil`: there is none, or it waits for records alone.
    public var nextFitAt: Date?
    /// Records that must come before that fit; `nil`: there are enough.
    public var nextFitRecords: Int64?
    /// How far the first model is; `nil` once there is one.
    public var learning: LearningProgress?
    /// Bytes of the source that are not committed yet.
    public var backlogBytes: Int64
    /// Clients on the socket.
    public var connections: Int
    /// Clients that were turned away since the daemon's start, because there were too many.
    public var refusedConnections: Int?
    /// Records that left the training window before there was a model to score them.
    public var unscoredTotal: Int64?
    /// Gaps in time: steps far longer than the usual ones, after which a record was judged without its past.
    public var gapsTotal: Int64?
    /// Lines of clients that could not be taken: before a stop, or after an error that closed the socket.
    public var lostTotal: Int64?
    /// Lines that were dropped because clients were ahead and `overflow` is `drop_oldest`.
    public var droppedTotal: Int64?
    /// Lines that clients sent again though they were committed.
    public var duplicatesTotal: Int64?
    /// Long rows that are in no record; `nil` where each line is a record.
    public var points: PointsMessage?
    /// The keys of the stream; `nil` for a stream without.
    public var keys: KeysMessage?
    /// Bytes of clients' lines that wait on disk.
    public var spooledBytes: Int64?
    /// Files of a directory that could not be read, since the stream was first seen.
    public var failedFiles: Int?
    /// How changes of files are learned of: `inotify` or `polling`.
    public var watchMode: String?
    /// Anomalies that were no alarm because of the budget, a rule, a maintenance window or a label, by what kept them from it, the
    /// greatest number first.
    public var suppressed: [SuppressedCount]?
    /// How far its records have moved from those that the model learned from; `nil` before the first model.
    public var drift: DriftMessage?
    /// What people have said of its anomalies.
    public var labels: LabelCounts?
    /// When the newest record arrived.
    public var lastRecordAt: Date?
    /// While it is `waiting`: what for.
    public var waitingFor: String?
    /// What keeps it from going on, or went wrong last.
    public var lastError: StreamProblem?
    /// The episode that has not ended.
    public var openEpisode: EpisodeMessage?

    /// Makes a status of a stream that nothing is known of yet.
    public init(
        name: String, sourceKind: String, source: String, format: String, asked: AlarmRate
    ) {
        self.name = name
        self.sourceKind = sourceKind
        self.source = source
        self.format = format
        self.asked = asked
        state = .waiting
        recordsTotal = 0
        recordsPerSec = 0
        faultsTotal = 0
        faults = []
        anomaliesTotal = 0
        anomaliesLastDay = 0
        backlogBytes = 0
        connections = 0
    }
}

/// What became of long rows that are in no record, since the stream was first seen.
public struct PointsMessage: Sendable, Hashable, Codable {
    /// Rows that came when the step of their time was closed.
    public var lateTotal: Int64
    /// Rows with a value of a series for which there was one of the same time.
    public var duplicateTotal: Int64
    /// Rows without a value of any series that is a feature.
    public var unknownTotal: Int64

    /// Makes a message.
    public init(lateTotal: Int64, duplicateTotal: Int64, unknownTotal: Int64) {
        self.lateTotal = lateTotal
        self.duplicateTotal = duplicateTotal
        self.unknownTotal = unknownTotal
    }
}

/// How often a reason put lines into the quarantine.
public struct FaultCount: Sendable, Hashable, Codable {
    /// The reason as a word.
    public var code: String
    /// How many lines.
    public var count: Int64

    /// Makes a count.
    public init(code: String, count: Int64) {
        self.code = code
        self.count = count
    }
}

/// How many anomalies one thing kept from alarming.
public struct SuppressedCount: Sendable, Hashable, Codable {
    /// `budget`, `maintenance`, a rule such as `pressure only above`, or a label such as `label 4711`.
    public var cause: String
    /// How many anomalies, since the stream was first seen.
    public var count: Int64

    /// Makes a count.
    public init(cause: String, count: Int64) {
        self.cause = cause
        self.count = count
    }
}

/// A budget of false alarms; one of the two is what the user wrote, the other follows where the rate is known.
public struct AlarmRate: Sendable, Hashable, Codable {
    /// So many a day.
    public var perDay: Double?
    /// This share of the normal records.
    public var probability: Double?

    /// Makes a rate.
    public init(perDay: Double?, probability: Double?) {
        self.perDay = perDay
        self.probability = probability
    }
}

/// The alarms of a stream, counted over its newest records.
public struct MeasuredAlarms: Sendable, Hashable, Codable {
    /// Anomalies a day of the records' own time.
    public var perDay: Double?
    /// Share of the scored records.
    public var share: Double
    /// Records that were scored for this.
    public var records: Int64
    /// Days that these records take by the measured rate; `nil` while it is unknown.
    public var days: Double?

    /// Makes a measurement.
    public init(perDay: Double?, share: Double, records: Int64, days: Double? = nil) {
        self.perDay = perDay
        self.share = share
        self.records = records
        self.days = days
    }
}

/// How far the records for the first fit are gathered.
public struct LearningProgress: Sendable, Hashable, Codable {
    /// Records that there are.
    public var have: Int64
    /// Records that the first fit wants.
    public var need: Int64
    /// Until then, at the present rate; in seconds.
    public var etaSecs: Double?
    /// The reading of history, while it goes on.
    public var history: HistoryMessage?

    /// Makes a progress.
    public init(have: Int64, need: Int64, etaSecs: Double?, history: HistoryMessage? = nil) {
        self.have = have
        self.need = need
        self.etaSecs = etaSecs
        self.history = history
    }
}

/// How far the reading of a stream's history is.
public struct HistoryMessage: Sendable, Hashable, Codable {
    /// The file that is being read.
    public var file: String
    /// Files that were read.
    public var filesDone: Int
    /// Files that there are.
    public var files: Int
    /// Bytes that were read.
    public var bytesDone: Int64
    /// Bytes of all files.
    public var bytes: Int64
    /// Records in what was read.
    public var records: Int64
    /// Until all is read, at the present rate; in seconds.
    public var etaSecs: Double?

    /// Makes a message.
    public init(
        file: String, filesDone: Int, files: Int, bytesDone: Int64, bytes: Int64, records: Int64,
        etaSecs: Double?
    ) {
        self.file = file
        self.filesDone = filesDone
        self.files = files
        self.bytesDone = bytesDone
        self.bytes = bytes
        self.records = records
        self.etaSecs = etaSecs
    }
}

/// Something that went wrong with a stream.
public struct StreamProblem: Sendable, Hashable, Codable {
    /// Subject, rule, what was found.
    public var message: String
    /// What to do about it.
    public var hint: String?
    /// When it happened last.
    public var time: Date

    /// Makes a problem.
    public init(message: String, hint: String? = nil, time: Date) {
        self.message = message
        self.hint = hint
        self.time = time
    }
}

/// Anomalies that follow each other closely.
public struct EpisodeMessage: Sendable, Hashable, Codable {
    /// Its number in the stream.
    public var sequence: Int64
    /// Time of the first anomaly.
    public var startedAt: Date
    /// Time of the newest anomaly.
    public var lastAnomalyAt: Date
    /// Whether the cooldown has passed.
    public var isEnded: Bool
    /// Time of the anomaly furthest beyond its threshold.
    public var peakAt: Date
    /// Log-likelihood of that anomaly, in nats.
    public var peakLogLikelihood: Double
    /// Anomalies in it.
    public var anomalyCount: Int
    /// The features that contributed most, greatest first.
    public var topFeatures: [String]

    /// Makes a message.
    public init(
        sequence: Int64, startedAt: Date, lastAnomalyAt: Date, isEnded: Bool, peakAt: Date,
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

/// One stream in detail: the answer to `GET /v1/streams/{name}`.
public struct StreamDetail: Sendable, Hashable, Codable {
    /// The stream at a glance.
    public var status: StreamStatus
    /// The columns of numbers that the model sees; empty while they are not known.
    public var features: [String]
    /// The columns of texts that it sees; `nil` from an earlier daemon.
    public var categories: [String]?
    /// The time column.
    public var timeColumn: String?
    /// The character between two cells; CSV only.
    public var delimiter: String?
    /// The cells that mean "no value"; CSV only.
    public var missingValues: [String]?
    /// The character between whole and fraction of a number; CSV only.
    public var decimalMark: String?
    /// How times are written, where the configuration says it.
    public var timePattern: String?
    /// The unit of times that are numbers, where the configuration says it.
    public var timeUnit: String?
    /// The place whose clocks show the times, where the configuration says it.
    public var timeZone: String?
    /// Whether its records are put together of rows of one reading each; `nil` from an earlier daemon.
    public var isOfLongRows: Bool?
    /// The newest fits, newest first.
    public var fits: [FitMessage]
    /// The newest episodes, newest first.
    public var episodes: [EpisodeMessage]

    /// Makes a detail.
    public init(
        status: StreamStatus, features: [String], categories: [String]? = nil,
        timeColumn: String?, fits: [FitMessage], episodes: [EpisodeMessage]
    ) {
        self.status = status
        self.features = features
        self.categories = categories
        self.timeColumn = timeColumn
        self.fits = fits
        self.episodes = episodes
    }
}
