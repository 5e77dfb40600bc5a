import ArgumentParser
import Control
import Detection
import FlowDensity
import Foundation
import Ingest
import Settings

extension FormatName: ExpressibleByArgument {}
extension TimeUnit: ExpressibleByArgument {}
extension FlowFamily: ExpressibleByArgument {}
extension MissingPolicy: ExpressibleByArgument {}
extension BatchScorer.Output: ExpressibleByArgument {}

/// How the lines of an input become records.
struct InputOptions: ParsableArguments {
    @Option(
        name: [.customLong("input-format"), .customLong("format")],
        help: ArgumentHelp(
            "The form of the input. (default: told by the first lines)", valueName: "format"))
    var inputFormat: FormatName?

    @Option(
        help: ArgumentHelp(
            "The character between CSV cells; \\t is a tab. (default: ,)", valueName: "character"))
    var delimiter: String?

    @Option(
        help: ArgumentHelp(
            "The character within numbers of CSV, . or a comma. (default: .)",
            valueName: "character"))
    var decimalMark: String?

    @Option(
        help: ArgumentHelp(
            "The character that comments in CSV begin with. (default: none)",
            valueName: "character"))
    var comment: String?

    @Option(
        help: ArgumentHelp(
            "The names of the columns of CSV without a header line, separated by commas.",
            valueName: "names"))
    var columns: String?

    @Option(
        help: ArgumentHelp(
            "How times are written, as for strptime: '%d.%m.%Y %T'. (default: ISO 8601 or epoch)",
            valueName: "pattern"))
    var timePattern: String?

    @Option(
        help: ArgumentHelp(
            "What times that are numbers count. (default: told by their size; ns for influx)",
            valueName: "unit"))
    var timeUnit: TimeUnit?

    @Option(
        help: ArgumentHelp(
            "Whose clocks show times without a zone. (default: UTC)", valueName: "zone"))
    var timeZone: String?

    private func byte(_ text: String?) -> UInt8? {
        let text = text == "\\t" ? "\t" : text ?? ""
        return text.utf8.count == 1 ? text.utf8.first : nil
    }

    func validate() throws {
        let characters = [
            ("--delimiter", delimiter), ("--decimal-mark", decimalMark), ("--comment", comment),
        ]
        for (name, text) in characters {
            if let text, byte(text) == nil {
                throw ValidationError("\(name): expected one ASCII character, found '\(text)'")
            }
        }
        if let decimalMark, ![".", ","].contains(decimalMark) {
            throw ValidationError("--decimal-mark: expected . or a comma, found '\(decimalMark)'")
        }
        if let comment, comment == delimiter ?? (inputFormat == .tsv ? "\t" : ",") {
            throw ValidationError("--comment: the delimiter '\(comment)' cannot begin comments too")
        }
        if let timePattern, let problem = TimeFormat.problem(inPattern: timePattern) {
            switch problem {
            case .unknownPart(let part):
                throw ValidationError("--time-pattern: '\(part)' means nothing in '\(timePattern)'")
            case .noDate:
                throw ValidationError(
                    "--time-pattern: expected year, month and day in '\(timePattern)'")
            }
        }
        if let timeZone, TimeZone(identifier: timeZone) == nil {
            throw ValidationError(
                "--time-zone: expected a name such as Europe/Berlin, found '\(timeZone)'")
        }
        if timePattern != nil, timeUnit != nil {
            throw ValidationError(
                "--time-pattern and --time-unit: expected one of them, found both")
        }
    }

    /// The options of this input.
    ///
    /// - Parameter base: What a configuration says; the command line overrides it.
    /// - Returns: `nil` where neither says what the format is.
    func format(over base: FormatOptions?) -> FormatOptions? {
        guard var format = inputFormat?.options ?? base else { return nil }
        if let inputFormat, let base, inputFormat.format == base.format {
            format = base
            if inputFormat == .tsv { format.delimiter = 0x09 }
        }
        adjust(&format)
        return format
    }

    /// Puts what the command line says over a format.
    func adjust(_ format: inout FormatOptions) {
        if let mark = byte(decimalMark) {
            format.decimalMark = mark
            if mark == format.delimiter { format.delimiter = UInt8(ascii: ";") }
        }
        if let delimiter = byte(delimiter) { format.delimiter = delimiter }
        if let comment = byte(comment) { format.comment = comment }
        if let columns { format.columns = Self.names(columns) }
        if let timePattern { format.time.pattern = timePattern }
        if let timeUnit { format.time.unit = timeUnit }
        if let timeZone { format.time.zone = timeZone }
    }

    static func names(_ list: String) -> [String] {
        list.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.trimmingCharacters(in: .whitespaces)
        }
    }

    /// Files, or standard input without any; a person at a keyboard is told what belongs there.
    ///
    /// - Parameters:
    ///   - base: What a configuration says of the format; else the first lines do.
    ///   - isQuiet: Whether nothing is said of a format that is not as usual.
    func source(
        _ files: [String], base: FormatOptions?, limits: BatchLimits, isQuiet: Bool = false
    ) throws -> FileSequence {
        let paths = files.isEmpty ? ["-"] : files
        guard !paths.contains("-") || isatty(STDIN_FILENO) == 0 else {
            throw CommandFailure(
                "standard input: expected records, found a terminal",
                hint: "give a file: flowguardctl … < records.csv", status: .usage)
        }
        let source = try FileSequence(
            paths, format: format(over: base), adjust: adjust, limits: limits)
        if !isQuiet, source.detected != nil, source.format != FormatOptions(format: .csv) {
            StandardError.write(
                "note: \(source.name): read as \(FormatText.summary(of: source.format))\n")
        }
        return source
    }
}

/// Tells of lines that are no records: the first ones each, the others by their number.
struct FaultReport {
    /// How many are told one by one.
    static let limit = 20

    private(set) var total = 0
    private(set) var first: [String] = []
    private var counts: [FaultCode: Int] = [:]
    /// Lines that lack a value, by the column that they lack it in.
    private var gaps: [String: Int] = [:]
    /// The input of the newest one.
    private var input = ""
    private let consequence: String

    /// - Parameter consequence: What became of the lines: `skipped`, `not scored`.
    init(consequence: String) {
        self.consequence = consequence
    }

    mutating func add(_ faults: [RowFault], of input: String) {
        self.input = input
        for fault in faults {
            total += 1
            counts[fault.code, default: 0] += 1
            if fault.code == .missingValue, let column = fault.column {
                gaps[column, default: 0] += 1
            }
            guard total <= Self.limit else { continue }
            let place =
                fault.columnNumber.map { "\(fault.lineNumber):\($0)" }
                ?? "\(fault.lineNumber)"
            let text = "\(fault.origin?.input ?? input):\(place): \(printable(fault.reason))"
            first.append(text)
            StandardError.write("warning: \(text)\n")
        }
    }

    /// Counts by reason, greatest first.
    var byCode: [(code: String, count: Int)] {
        counts.map { ($0.key.rawValue, $0.value) }.sorted { ($1.1, $0.0) < ($0.1, $1.0) }
    }

    /// What to do where most lines are no records.
    var remedy: String {
        guard let column = gaps.max(by: { ($0.value, $1.key) < ($1.value, $0.key) })?.key,
            2 * (counts[.missingValue] ?? 0) > total
        else { return "most lines are no records: more of them do not help, the reasons above do" }
        return "most lines have no value of '\(column)': --missing median fills the gaps, "
            + "--exclude \(column) leaves the column out"
    }

    /// A last line when not all were told.
    func finish() {
        guard total > Self.limit else { return }
        let reasons = byCode.map { "\(Format.count($0.count)) \($0.code)" }
            .joined(separator: ", ")
        StandardError.write(
            "warning: \(input): \(Format.plural(total, "line")) \(consequence): \(reasons)\n")
    }
}

extension StreamConfiguration {
    /// Throws if long rows are to be read in a format that the stream's are not in.
    func requireFormat(_ format: FormatOptions) throws(CommandFailure) {
        guard longRows != nil, format.format != self.format.format else { return }
        throw CommandFailure(
            "--input-format: the long rows of stream '\(name)' are \(self.format.format.rawValue), "
                + "found \(format.format.rawValue)",
            hint: "leave --input-format out, or describe such rows in a configuration",
            status: .usage)
    }
}

extension PointsMessage {
    /// Rows that are in no record, in words; `nil`: there are none.
    var text: String? {
        let parts = [
            (lateTotal, "late"), (duplicateTotal, "at the time of another"),
            (unknownTotal, "of no known series"),
        ]
        let shown = parts.filter { $0.0 > 0 }.map { "\(Format.count($0.0)) \($0.1)" }
        return shown.isEmpty ? nil : shown.joined(separator: ", ")
    }
}

/// The number of threads for the mathematics.
struct ThreadOptions: ParsableArguments {
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Threads; the result does not depend on it. (default: one a core)",
            valueName: "count"))
    var threads: Int?

    func validate() throws {
        if let threads, threads < 1 || threads > 1_024 {
            throw ValidationError("--threads: expected a number from 1 to 1024, found \(threads)")
        }
    }

    var parallel: ParallelFor {
        .threads(threads ?? max(1, ProcessInfo.processInfo.activeProcessorCount))
    }
}
