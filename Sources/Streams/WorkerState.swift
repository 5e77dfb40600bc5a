import Detection
import Foundation
import Ingest
import Settings

/// Everything of a stream that a crash must not lose, beside the tables.
///
/// It is committed with the anomalies and the source's offset in one transaction, so that all of them are of the same
/// instant.
package struct WorkerState: Encodable {
    /// What the features came from; other choices in the configuration begin a new schema.
    struct SchemaBasis: Codable, Equatable {
        var features: [String]?
        var categories: [String]?
        var exclude: [String]
        var missing: MissingPolicies?
        var time: String?
        /// `nil` where each line is a record.
        var longRows: LongRows?
        /// `nil` where the records are of one series.
        var key: String?

        init(_ configuration: StreamConfiguration) {
            features = configuration.features
            categories = configuration.categories.isEmpty ? nil : configuration.categories
            exclude = configuration.exclude
            missing = configuration.detectorOptions.missing
            time = configuration.timeColumn
            longRows = configuration.longRows?.shape
            key = configuration.key?.column
        }
    }

    /// Who chose the threshold, and by what.
    package enum ThresholdChoice: Codable, Equatable {
        case configured
        case logLikelihood(Double)
        case budget(AlarmBudget)
    }

    /// What has happened since the stream was first seen.
    package struct Counters: Sendable {
        package var records: Int64 = 0
        package var scored: Int64 = 0
        package var anomalies: Int64 = 0
        package var faults: [String: Int64] = [:]
        /// Records that left the window before there was a model to score them.
        package var unscored: Int64 = 0
        /// Gaps in time: the records after them were judged without their past.
        package var gaps: Int64 = 0
        /// Lines that a socket's clients had sent and that could not be taken before the end.
        package var lost: Int64 = 0
        /// Lines that were dropped because the clients were ahead, as the configuration allows.
        package var dropped: Int64 = 0
        /// Lines that clients had sent before and that were committed already.
        package var duplicates: Int64 = 0
        /// Files of a directory that went to `failed`.
        package var failedFiles: Int64 = 0
        /// Anomalies that were no alarm, by what kept them from it.
        package var suppressed: [String: Int64] = [:]

        package var suppressedTotal: Int64 { suppressed.values.reduce(0, +) }
        package var faultTotal: Int64 { faults.values.reduce(0, +) }

        /// Takes over what the judgement of one key's records has changed.
        mutating func addJudgement(from before: Counters, to after: Counters) {
            scored += after.scored - before.scored
            anomalies += after.anomalies - before.anomalies
            unscored += after.unscored - before.unscored
            gaps += after.gaps - before.gaps
            for (cause, count) in after.suppressed {
                let change = count - before.suppressed[cause, default: 0]
                if change > 0 { suppressed[cause, default: 0] += change }
            }
        }
    }

    var schema: Schema?
    var basis: SchemaBasis
    /// What decides about the columns while they may still change.
    var tally: SchemaTally?
    /// The training window's file; each shape of the window has its own.
    var windowGeneration = 0
    var windowCapacity: Int
    var windowTotal: Int64 = 0
    /// The running number of the oldest record that waits for the first model; `nil` when a model serves.
    var pendingFrom: Int64? = 0
    /// Where those records came from.
    var waitingInputs = InputChanges()
    /// What the serving model remembers of the newest records.
    var context = ContextState()
    /// The newest anomalies as they should have read.
    var expectedPast = ExpectedPast()
    var episodes: EpisodeTracker
    /// How much rarer an anomaly must be to alarm, because there were more than asked for.
    var pace = AlarmPace()
    /// Records inside episodes: they stay out of the next fit.
    var excluded = ExcludedRanges()
    /// Records without a time of their own that arrived during maintenance.
    var maintained = ExcludedRanges()
    /// Such records that arrived while the user kept them out of fits.
    var withheld = ExcludedRanges()
    var counters = Counters()
    var quarantineBytes: Int64 = 0
    /// What is committed of the clients that number their lines.
    var clients = ClientNumbers()
    /// Long rows that are in no record yet.
    var assembler: LongAssembler?
    /// Where reading goes on in the spool of a socket.
    var spool: SpoolPosition?
    var choice = ThresholdChoice.configured
    /// A threshold set by hand that the next one's reason must tell about.
    var droppedLogLikelihood: Double?
    /// Models up to this number read other features, and their anomalies' records are of another window.
    var formerModelID: Int64 = 0
    /// Records up to this number took part in the serving model's fit, or were there for its choice.
    var fittedThrough: Int64 = 0
    /// When the newest fit ended, in epoch seconds, and how many records there were then.
    var lastFitAt: Double?
    var lastFitTotal: Int64 = 0
    /// How far the stream's history was read.
    var history = HistoryState()
    /// How far the newest records have moved from those that the serving model learned from.
    var drift: DriftState?
    /// The greatest index of a feature when a fit last dealt with it.
    var answeredDriftIndex = 0.0
    /// Fits because of a drift that came one after the other, less the periodic ones that found none.
    var driftFits = 0
    var lastRecordAt: Double?
    var rate = ArrivalRate()
    /// The budget and the rate that the threshold was made from.
    var budget: AlarmBudget?
    var thresholdRecordsPerDay = 0.0
    /// The anomalies of late, as long as the same number of them is asked for.
    var recentAlarms = RecentAlarms()
    /// Some of the stream's keys have records that wait for its first model.
    var keysWait = false
    /// The stream's model that judges the records of this key.
    var borrowedModel: Int64?

    /// A stream that is seen for the first time.
    init(_ configuration: StreamConfiguration) {
        basis = SchemaBasis(configuration)
        windowCapacity = Self.capacity(for: configuration)
        episodes = EpisodeTracker(cooldownSecs: configuration.cooldown.inSeconds)
    }

    /// Records that the window's file holds: two batches more than a fit takes, so that writing a batch never overwrites a
    /// record that a crash could still need.
    static func capacity(for configuration: StreamConfiguration) -> Int {
        configuration.fit.windowRecords + 2 * BatchLimits().lines
    }

    /// The form that the store keeps.
    ///
    /// A number that is not finite has its own text there: it must not keep a batch from being committed for ever.
    func stored() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return try Array(encoder.encode(self))
    }

    /// Reads that form.
    init(stored bytes: [UInt8]) throws {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        self = try decoder.decode(WorkerState.self, from: Data(bytes))
    }

    /// Whether the alarms have a budget; a log-likelihood that a person set has none.
    var hasBudget: Bool {
        if case .logLikelihood = choice { return false }
        return true
    }

    /// Records that wait for the first model.
    var pendingCount: Int64 { pendingFrom.map { max(0, windowTotal - $0) } ?? 0 }
}

extension WorkerState.Counters: Codable {
    /// A counter that an earlier build did not have begins at 0.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        records = try container.decodeIfPresent(Int64.self, forKey: .records) ?? 0
        scored = try container.decodeIfPresent(Int64.self, forKey: .scored) ?? 0
        anomalies = try container.decodeIfPresent(Int64.self, forKey: .anomalies) ?? 0
        faults = try container.decodeIfPresent([String: Int64].self, forKey: .faults) ?? [:]
        unscored = try container.decodeIfPresent(Int64.self, forKey: .unscored) ?? 0
        gaps = try container.decodeIfPresent(Int64.self, forKey: .gaps) ?? 0
        lost = try container.decodeIfPresent(Int64.self, forKey: .lost) ?? 0
        dropped = try container.decodeIfPresent(Int64.self, forKey: .dropped) ?? 0
        duplicates = try container.decodeIfPresent(Int64.self, forKey: .duplicates) ?? 0
        failedFiles = try container.decodeIfPresent(Int64.self, forKey: .failedFiles) ?? 0
        suppressed =
            try container.decodeIfPresent([String: Int64].self, forKey: .suppressed) ?? [:]
    }
}

extension WorkerState: Decodable {
    /// What an earlier build did not know takes its default: a checkpoint is never lost for a new field.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func value<Value: Decodable>(_ key: CodingKeys, or missing: Value) throws -> Value {
            try container.decodeIfPresent(Value.self, forKey: key) ?? missing
        }
        basis = try container.decode(SchemaBasis.self, forKey: .basis)
        windowCapacity = try container.decode(Int.self, forKey: .windowCapacity)
        episodes = try container.decode(EpisodeTracker.self, forKey: .episodes)
        schema = try container.decodeIfPresent(Schema.self, forKey: .schema)
        tally = try container.decodeIfPresent(SchemaTally.self, forKey: .tally)
        windowGeneration = try value(.windowGeneration, or: 0)
        windowTotal = try value(.windowTotal, or: 0)
        pendingFrom = try container.decodeIfPresent(Int64.self, forKey: .pendingFrom)
        waitingInputs = try value(.waitingInputs, or: InputChanges())
        context = try value(.context, or: ContextState())
        expectedPast = try value(.expectedPast, or: ExpectedPast())
        pace = try value(.pace, or: AlarmPace())
        excluded = try value(.excluded, or: ExcludedRanges())
        maintained = try value(.maintained, or: ExcludedRanges())
        withheld = try value(.withheld, or: ExcludedRanges())
        counters = try value(.counters, or: Counters())
        quarantineBytes = try value(.quarantineBytes, or: 0)
        clients = try value(.clients, or: ClientNumbers())
        assembler = try container.decodeIfPresent(LongAssembler.self, forKey: .assembler)
        spool = try container.decodeIfPresent(SpoolPosition.self, forKey: .spool)
        choice = try value(.choice, or: .configured)
        droppedLogLikelihood = try container.decodeIfPresent(
            Double.self, forKey: .droppedLogLikelihood)
        formerModelID = try value(.formerModelID, or: 0)
        fittedThrough = try value(.fittedThrough, or: 0)
        lastFitAt = try container.decodeIfPresent(Double.self, forKey: .lastFitAt)
        lastFitTotal = try value(.lastFitTotal, or: 0)
        lastRecordAt = try container.decodeIfPresent(Double.self, forKey: .lastRecordAt)
        history = try value(.history, or: HistoryState())
        drift = try container.decodeIfPresent(DriftState.self, forKey: .drift)
        answeredDriftIndex = try value(.answeredDriftIndex, or: 0)
        driftFits = try value(.driftFits, or: 0)
        rate = try value(.rate, or: ArrivalRate())
        budget = try container.decodeIfPresent(AlarmBudget.self, forKey: .budget)
        thresholdRecordsPerDay = try value(.thresholdRecordsPerDay, or: 0)
        recentAlarms = try value(.recentAlarms, or: RecentAlarms())
        keysWait = try value(.keysWait, or: false)
        borrowedModel = try container.decodeIfPresent(Int64.self, forKey: .borrowedModel)
    }
}

/// The inputs that records in a row came from, by the first record of each.
struct InputChanges: Codable, Equatable {
    private var starts: [Int64] = []
    private var names: [String] = []

    /// Of more changes than this the oldest are forgotten.
    static let limit = 512

    /// Notes where the records from this one on came from.
    mutating func note(_ number: Int64, input: String) {
        guard names.last != input else { return }
        starts.append(number)
        names.append(input)
        if starts.count > Self.limit {
            starts.removeFirst()
            names.removeFirst()
        }
    }

    /// Where a record came from, if it is known.
    func input(of number: Int64) -> String? {
        starts.lastIndex { $0 <= number }.map { names[$0] }
    }

    /// The same inputs under other running numbers.
    func shifted(by distance: Int64) -> InputChanges {
        var shifted = self
        for index in shifted.starts.indices { shifted.starts[index] += distance }
        return shifted
    }
}

/// Running numbers of records that are out of the next fit.
struct ExcludedRanges: Codable, Equatable {
    private(set) var starts: [Int64] = []
    private(set) var ends: [Int64] = []

    /// Above this, the two nearest ranges become one.
    static let limit = 512

    /// Excludes a record; with `joining`, also everything since the one excluded before.
    mutating func exclude(_ number: Int64, joining: Bool) {
        if let last = ends.last, joining || number <= last {
            ends[ends.count - 1] = max(last, number + 1)
            return
        }
        starts.append(number)
        ends.append(number + 1)
        guard starts.count > Self.limit else { return }
        let gaps = starts.indices.dropFirst().min {
            starts[$0] - ends[$0 - 1] < starts[$1] - ends[$1 - 1]
        }
        if let gaps {
            ends.remove(at: gaps - 1)
            starts.remove(at: gaps)
        }
    }

    /// Takes records back that count as normal from now on.
    ///
    /// Where they were the newest an empty range stays, from which an episode that goes on is joined.
    mutating func readmit(_ records: RecordRanges) {
        let end = ends.last
        let rest = ranges.subtracting(records)
        starts = rest.map(\.lowerBound)
        ends = rest.map(\.upperBound)
        guard let end, ends.last != end else { return }
        starts.append(end)
        ends.append(end)
    }

    /// Forgets what lies before this record.
    mutating func forget(before number: Int64) {
        let count = ends.prefix { $0 <= number }.count
        starts.removeFirst(count)
        ends.removeFirst(count)
    }

    /// The ranges, in order.
    var ranges: RecordRanges { zip(starts, ends).map { $0..<$1 }.filter { !$0.isEmpty } }

    /// Whether a record is out.
    func contains(_ number: Int64) -> Bool {
        zip(starts, ends).contains { $0 <= number && number < $1 }
    }
}

/// The rate at which records arrive while the stream is not behind, for streams without a time column.
struct ArrivalRate: Codable, Equatable {
    private(set) var records = 0.0
    private(set) var seconds = 0.0

    /// Less than this is no measurement.
    static let leastSeconds = 60.0
    /// The older half of a memory this long counts half.
    private static let memorySeconds = 86_400.0

    /// Takes in an interval in which the stream was not behind.
    mutating func observe(records count: Int64, seconds elapsed: Double) {
        guard elapsed > 0 else { return }
        records += Double(count)
        seconds += elapsed
        if seconds > 2 * Self.memorySeconds {
            records /= 2
            seconds /= 2
        }
    }

    /// Records a day; 0 while it is unknown.
    var recordsPerDay: Double {
        seconds >= Self.leastSeconds ? records / seconds * 86_400 : 0
    }
}

/// How many of the newest records are anomalies, whatever models found them.
package struct RecentAlarms: Codable, Equatable, Sendable {
    package private(set) var records = 0.0
    package private(set) var anomalies = 0.0

    /// The older half of so many days of records counts half, and that of so many records at least.
    private static let memoryDays = 14.0
    private static let leastMemory = 10_000.0

    package init() {}

    /// Takes in scored records.
    ///
    /// - Parameter recordsPerDay: The measured rate; not positive while it is unknown, which is taken as one a second.
    package mutating func observe(
        records count: Int64, anomalies found: Int64, recordsPerDay: Double
    ) {
        records += Double(count)
        anomalies += Double(found)
        let memory = Self.memoryDays * (recordsPerDay > 0 ? recordsPerDay : 86_400)
        if records > max(memory, Self.leastMemory) {
            records /= 2
            anomalies /= 2
        }
    }
}
