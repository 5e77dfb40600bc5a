import Detection
import FlowDensity
import Foundation
import Ingest
import Settings
import Streams

/// The exit codes.
enum ExitStatus: Int32 {
    case done = 0
    case failed = 1
    case anomaliesFound = 2
    case usage = 64
    case noInput = 66
    case unavailable = 69
    case internalError = 70
    case inputOutput = 74
    case configuration = 78
}

/// Why a command ends, for a person and for a script.
struct CommandFailure: Error, Equatable {
    /// Subject, rule, what was found.
    var message: String
    /// What to do about it.
    var hint: String?
    /// The exit code.
    var status: ExitStatus

    init(_ message: String, hint: String? = nil, status: ExitStatus = .failed) {
        self.message = message
        self.hint = hint
        self.status = status
    }

    /// The lines for standard error.
    var report: String {
        if message.hasPrefix("error: ") { return message + "\n" }
        return "error: \(message)\n" + (hint.map { "hint:  \($0)\n" } ?? "")
    }

    /// The failure that any error amounts to.
    init(_ error: any Error) {
        switch error {
        case let error as CommandFailure: self = error
        case let error as IngestError: self.init(error)
        case let error as DetectionError: self.init(error)
        case let error as ReplayError: self.init(error)
        case let error as FlowDensityError: self.init(error.description)
        case let error as ConfigurationError:
            self.init(
                error.report, status: ExitStatus(rawValue: error.exitCode) ?? .configuration)
        default:
            self.init("\(error)", status: .internalError)
        }
    }

    /// What to do about cells such as `0,84`.
    static let decimalMarkHint = "its numbers have decimal commas: give --decimal-mark ,"

    /// What to do about lines that were not cut into cells; `nil`: they were, or it cannot be told where.
    private static func hint(forUncut columns: [String]) -> String? {
        if columns.first?.hasPrefix("{") == true {
            return "if the records are JSON, give --input-format ndjson"
        }
        guard columns.count == 1 else { return nil }
        return [",", ";", "\t", "|"].first(where: columns[0].contains).map {
            "if \($0 == "\t" ? "a tab" : "'\($0)'") is the delimiter, give --delimiter "
                + ($0 == "\t" ? "'\\t'" : "'\($0)'")
        }
    }

    private init(_ error: IngestError) {
        switch error {
        case .cannotOpen, .cannotRead, .notARegularFile:
            self.init(error.description, status: .inputOutput)
        case .noSuchFile:
            self.init(error.description, status: .noInput)
        case .wideCharacters:
            self.init(error.description, hint: "convert it: iconv -f UTF-16 -t UTF-8")
        case .bareReturns:
            self.init(error.description, hint: "convert it: tr '\\r' '\\n'")
        case .compressed:
            self.init(error.description, hint: "unpack it first")
        case .corrupt, .truncated:
            self.init(error.description, status: .inputOutput)
        case .notALabel:
            self.init(error.description, hint: "name another column with --label")
        case .missingColumns(_, _, let present):
            let hint = "columns are found by name, their order does not matter"
            self.init(
                error.description,
                hint: Self.hint(forUncut: present).map { hint + "; " + $0 } ?? hint)
        case .headerIsNumbers, .headerMissing:
            self.init(
                error.description,
                hint: "put the columns' names into a first line, or give them with --columns")
        case .noRecords:
            self.init(error.description, status: .noInput)
        case .noStep:
            self.init(
                error.description,
                hint: "rows come in the order of their times, and the last step stays open: sort "
                    + "them, or look at series, value and every under long", status: .noInput)
        case .noFrequentSeries:
            self.init(
                error.description,
                hint: "look at every and stale_after under long, or name under features what is to "
                    + "be watched")
        case .noNumericColumns(_, let present, let hasDecimalCommas, let measures):
            let cut = Self.hint(forUncut: present)
            let units =
                measures.isEmpty
                ? nil
                : "\(LeftOutText.list(measures)) looks like numbers with a unit: write them as plain "
                    + "numbers, without unit or marks of thousands"
            self.init(
                error.description, hint: hasDecimalCommas ? Self.decimalMarkHint : cut ?? units)
        default:
            self.init(error.description)
        }
    }

    private init(_ error: ReplayError) {
        switch error {
        case .folder, .state, .store:
            self.init(error.description, hint: error.hint, status: .inputOutput)
        case .labelInUse, .labelOfLongRows, .noLabels, .stopped:
            self.init(error.description, hint: error.hint)
        }
    }

    private init(_ error: DetectionError) {
        switch error {
        case .ingest(let error):
            self.init(error)
        case .tooFewRows:
            self.init(error.description, hint: "gather more records of normal operation")
        case .everyFeatureConstant, .noFeatures:
            self.init(error.description, hint: "name other columns with --features")
        case .modelFile, .unreadableModel:
            self.init(
                error.description,
                hint: "make the model anew with flowguardctl fit, or export it again")
        case .file:
            self.init(error.description, status: .inputOutput)
        default:
            self.init(error.description)
        }
    }
}
