import Detection
import Ingest

/// What the configuration file says, with the default of everything that it leaves out.
public struct FlowguardConfiguration: Sendable, Hashable {
    /// The configuration file.
    public var path: String
    /// Where the store, the models and the training windows live.
    ///
    /// The default is `/var/lib/flowguard`.
    public var stateDirectory: String
    /// Where the control socket lives.
    ///
    /// The default is `/run/flowguard`.
    public var runtimeDirectory: String
    /// Where the daemon writes what it found.
    public var log: LogConfiguration
    /// The TCP listener for metrics and readings; `nil`: off, the default.
    public var http: HTTPConfiguration?
    /// The streams to watch, in the order of the file; names differ.
    public var streams: [StreamConfiguration]

    /// The Unix socket of the control API.
    public var controlSocketPath: String { runtimeDirectory + "/control.sock" }
}

/// The `log` section.
public struct LogConfiguration: Sendable, Hashable {
    /// The anomaly log, a JSON object a line.
    ///
    /// The default is `/var/log/flowguard/anomalies.ndjson`.
    public var anomalies: String
}

/// The `http` section.
public struct HTTPConfiguration: Sendable, Hashable {
    /// The address to listen on.
    public var host: String
    /// The TCP port; 0: any free one.
    public var port: Int
}

/// One stream: a source, the records in it and the model of them.
public struct StreamConfiguration: Sendable, Hashable {
    /// The stream's name: letters, digits, `.`, `_` and `-`.
    public var name: String
    /// Where its records come from.
    public var source: SourceConfiguration
    /// Files of its past, as absolute paths and patterns, which it learns from before its source.
    public var history: [String]
    /// How its lines become records.
    public var format: FormatOptions
    /// The time column; `nil`: found by its name, or none.
    public var timeColumn: String?
    /// How rows of one reading each are put together; `nil`: each line is a record, the default.
    public var longRows: LongRows?
    /// The features; `nil`: every numeric column.
    public var features: [String]?
    /// Columns whose values are texts, that of the key last.
    ///
    /// Columns that hold nothing but true and false are categories without being named.
    public var categories: [String]
    /// What tells the parts of the stream apart that have models of their own; `nil`: nothing, the default.
    public var key: KeyConfiguration?
    /// Columns that are neither features nor categories.
    public var exclude: [String]
    /// Family, seed, lags, calendar and policies for missing values of its models; the false-alarm probability follows from `budget`.
    public var detectorOptions: DetectorOptions
    /// When it is fitted, and on what.
    public var fit: FitConfiguration
    /// How many false alarms are bearable.
    ///
    /// The default is 2 a day.
    public var budget: AlarmBudget
    /// Anomalies closer than this are one episode.
    ///
    /// The default is 5 minutes.
    public var cooldown: Duration
    /// What is no reason for an alarm, at most one rule a feature.
    public var alarmRules: [AlarmRule]
    /// When records are scored but neither alarm nor train.
    public var maintenance: [TimeWindow]
}

/// The `fit` section.
public struct FitConfiguration: Sendable, Hashable {
    /// Records before the first fit.
    ///
    /// The default is 2000.
    public var firstAfterRecords: Int
    /// Time between fits; `nil`: only on request.
    ///
    /// The default is one hour.
    public var every: Duration?
    /// Records that the training window holds.
    ///
    /// The default is 100000.
    public var windowRecords: Int
    /// How long a fit may take; `nil`, the default: until it has learned.
    public var timeLimit: Duration?
    /// Records of these times stay out of fits.
    public var exclude: [TimeWindow] = []

    /// The defaults.
    public static let standard = FitConfiguration(
        firstAfterRecords: 2_000, every: .seconds(3_600), windowRecords: 100_000)
}

extension Duration {
    /// Seconds, with their fraction.
    public var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}
