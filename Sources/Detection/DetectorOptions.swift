import FlowDensity

/// A calendar reading that conditions the density.
public enum CalendarFeature: String, Sendable, Hashable, Codable, CaseIterable {
    /// The time of day as a point on a circle.
    case hourOfDay = "hour_of_day"
    /// The time of the week as a point on a circle.
    case dayOfWeek = "day_of_week"

    /// The period of the circle, in seconds.
    var periodSecs: Double {
        switch self {
        case .hourOfDay: return 86_400
        case .dayOfWeek: return 604_800
        }
    }
}

/// What a user may choose about a detector; every default fits the data's size.
public struct DetectorOptions: Sendable, Hashable, Codable {
    /// The family of the flows; `nice` by default.
    public var family: FlowFamily
    /// How many flows the density is the mean of.
    ///
    /// The default, `nil`, is chosen at the fit: 16 for fewer than 500 rows without categories and gaps, of which each
    /// calibrates those that had not seen it; then 4, and 2 from 20,000 training rows on, where they agree.
    public var members: Int?
    /// How many coupling layers each flow has; of Glow, how many steps.
    ///
    /// The default, `nil`, is chosen at the fit: 4 for fewer than 1,000 training rows, else 6.
    public var couplingLayers: Int?
    /// How many units each of a conditioner's hidden layers has.
    ///
    /// The default, `nil`, is chosen at the fit: 32 for fewer than 1,000 training rows, else 64; 96 for more than 24 features.
    public var hiddenWidth: Int?
    /// The seed of everything random in a fit; 0 by default.
    public var seed: UInt64
    /// How many former records condition the density of a record.
    ///
    /// The default, `nil`, is chosen at the fit: 4 for a single feature with times and no windows, else 0.
    public var lags: Int?
    /// Lengths in records of the trailing windows whose means are judged with the record, ascending.
    ///
    /// The default, `nil`, is chosen at the fit, by `FitPlan.windows`.
    public var windows: [Int]?
    /// Which calendar readings condition the density.
    ///
    /// The default, `nil`, is chosen at the fit: those under which held-out records are clearly more likely.
    public var calendar: [CalendarFeature]?
    /// The zone of the calendar, by its name in the time-zone database; UTC by default.
    public var timeZone: String?
    /// The probability that a normal record is called an anomaly; 0.001 by default.
    public var falseAlarmProbability: Double
    /// What is done about values that are missing.
    ///
    /// The default, `nil`, is that a record must have every value.
    public var missing: MissingPolicies?
    /// The column that told apart the machines whose records the fit learned from.
    ///
    /// The default, `nil`, is that they were of one series.
    public var key: String?

    /// The largest number of members.
    public static let maximumMembers = 16
    /// The largest number of coupling layers.
    public static let maximumCouplingLayers = 32
    /// The largest width of a hidden layer.
    public static let maximumHiddenWidth = 512
    /// The largest number of lags, and the longest window.
    public static let maximumLags = 64
    /// The largest number of windows.
    public static let maximumWindows = 4

    /// Makes options; each argument has the default described at its property.
    public init(
        family: FlowFamily = .nice, members: Int? = nil, seed: UInt64 = 0, lags: Int? = nil,
        windows: [Int]? = nil, calendar: [CalendarFeature]? = nil, timeZone: String? = nil,
        falseAlarmProbability: Double = 1e-3, missing: MissingPolicies? = nil
    ) {
        self.family = family
        self.members = members
        self.seed = seed
        self.lags = lags
        self.windows = windows
        self.calendar = calendar
        self.timeZone = timeZone
        self.falseAlarmProbability = falseAlarmProbability
        self.missing = missing
    }
}

/// The size of the flow and the length of its training, from the size of the data.
///
/// Unless a user chooses otherwise, the weights of the largest stay below 1.5 MiB, so that a single record is scored from the L2 cache.
struct FitPlan {
    var flow: FlowOptions
    var training: TrainingOptions
    /// Width of the Gaussian noise on the training rows, in standard deviations: the fewer rows, the wider.
    var noise: Double
    /// How many flows are fitted.
    var members: Int

    /// The windows of records with times that the user left open: 3, 9 and 27, as far as there is enough to learn from.
    ///
    /// Forty records for each record of the longest window; at most 64 inputs of the flow.
    static func windows(rowCount: Int, featureCount: Int) -> [Int] {
        for count in stride(from: 3, to: 0, by: -1) {
            let windows = Array([3, 9, 27].prefix(count))
            if windows[count - 1] * 40 <= rowCount, (count + 1) * featureCount <= 64 {
                return windows
            }
        }
        return []
    }

    /// - Parameter isSeries: Whether the rows are readings in time. Their relations are often tighter than those of
    ///   a table's columns, and noise as wide as they are would hide a break of them.
    init(options: DetectorOptions, rowCount: Int, featureCount: Int, isSeries: Bool) {
        flow = FlowOptions()
        flow.family = options.family
        members = min(
            max(options.members ?? (rowCount < 20_000 ? 4 : 2), 1), DetectorOptions.maximumMembers)
        training = TrainingOptions()
        let width = 0.15 * (500 / Double(max(rowCount, 1))).squareRoot()
        noise = min(max(width, 0.03), 0.15) * (isSeries ? 0.4 : 1)
        switch rowCount {
        case ..<1_000:
            flow.couplingLayers = 4
            flow.hiddenWidth = 32
            training.maximumSteps = 1_500
            training.batchSize = 128
        case ..<20_000:
            flow.couplingLayers = 6
            flow.hiddenWidth = 64
            training.maximumSteps = 2_000
            training.batchSize = 256
        default:
            flow.couplingLayers = 6
            flow.hiddenWidth = 64
            training.maximumSteps = 4_000
            training.batchSize = 512
        }
        if featureCount > 24 {
            flow.hiddenWidth = max(flow.hiddenWidth, 96)
        }
        flow.couplingLayers = options.couplingLayers ?? flow.couplingLayers
        flow.hiddenWidth = options.hiddenWidth ?? flow.hiddenWidth
    }
}

/// How far a fit has come.
public struct FitProgress: Sendable, Hashable {
    /// The parts of a fit, in order.
    public enum Phase: String, Sendable, Hashable, Codable, CaseIterable {
        /// Column statistics and standardised rows.
        case encoding
        /// Maximum-likelihood steps.
        case training
        /// Scores of the held-out records.
        case calibrating
    }

    /// The part of the fit that is under way.
    public var phase: Phase
    /// Training steps done.
    public var step: Int
    /// Training steps at most; early stopping may end sooner.
    public var stepLimit: Int
    /// The newest mean log-likelihood of the validation rows in nats per record, in standardised units.
    public var heldOutLogLikelihood: Double?

    /// The done share of the whole, 0 to 1.
    public var fraction: Double {
        switch phase {
        case .encoding: return 0
        case .training: return 0.02 + 0.95 * Double(step) / Double(max(stepLimit, 1))
        case .calibrating: return 0.97
        }
    }
}

/// What came of a fit.
public struct FitSummary: Sendable, Hashable, Codable {
    /// Records given to the fit.
    public var rowCount: Int
    /// Records that some flow learned from.
    public var trainingRows: Int
    /// Records that decided when to stop.
    public var validationRows: Int
    /// Records that calibrate the p-values, each by flows that had not seen it.
    public var calibrationRows: Int
    /// Training steps taken.
    public var steps: Int
    /// Mean log-likelihood of the calibration records, in nats per record and data units.
    public var heldOutLogLikelihood: Double
    /// Why the training ended.
    public var stopReason: String
    /// What a user should know about the columns, a sentence each.
    public var notes: [String]
    /// Whether the flows began from those of a former model; `nil` in a model of an earlier build.
    public var isWarm: Bool?
    /// Why the flows began from nothing although there was a former model.
    public var coldReason: String?
}
