import ArgumentParser
import Detection
import FlowDensity
import Foundation
import Ingest

extension RecordFormat: ExpressibleByArgument {}
extension FlowFamily: ExpressibleByArgument {}
extension MissingPolicy: ExpressibleByArgument {}
extension BatchScorer.Output: ExpressibleByArgument {}

/// How the lines of standard input become records.
struct InputOptions: ParsableArguments {
    @Option(
        name: [.customLong("input-format"), .customLong("format")],
        help: ArgumentHelp("The form of the input. (default: csv)", valueName: "format"))
    var inputFormat: RecordFormat?

    @Option(
        help: ArgumentHelp(
            "The character between CSV cells; \\t is a tab. (default: ,)", valueName: "character"))
    var delimiter: String?

    private var delimiterByte: UInt8? {
        let text = delimiter == "\\t" ? "\t" : delimiter ?? ""
        return text.utf8.count == 1 ? text.utf8.first : nil
    }

    func validate() throws {
        if let delimiter, delimiterByte == nil {
            throw ValidationError(
                "--delimiter: expected one ASCII character, found '\(delimiter)'")
        }
    }

    /// The options of this input.
    ///
    /// - Parameter base: What a configuration says; the command line overrides it.
    func format(over base: FormatOptions? = nil) -> FormatOptions {
        var format = base ?? FormatOptions(format: inputFormat ?? .csv)
        if let inputFormat { format.format = inputFormat }
        if let delimiterByte { format.delimiter = delimiterByte }
        return format
    }

    /// Standard input; a person at a keyboard is told what belongs there.
    func source(_ format: FormatOptions, limits: BatchLimits) throws -> DescriptorSource {
        guard isatty(STDIN_FILENO) == 0 else {
            throw CommandFailure(
                "standard input: expected records, found a terminal",
                hint: "give a file: flowguardctl … < records.csv", status: .usage)
        }
        return DescriptorSource(
            descriptor: STDIN_FILENO, name: "standard input", format: format, limits: limits)
    }
}

/// Tells of lines that are no records: the first ones each, the others by their number.
struct FaultReport {
    /// How many are told one by one.
    static let limit = 20

    private(set) var total = 0
    private(set) var first: [String] = []
    private var counts: [FaultCode: Int] = [:]
    private let input: String
    private let consequence: String

    /// - Parameter consequence: What became of the lines: `skipped`, `not scored`.
    init(input: String, consequence: String) {
        self.input = input
        self.consequence = consequence
    }

    mutating func add(_ faults: [RowFault]) {
        for fault in faults {
            total += 1
            counts[fault.code, default: 0] += 1
            guard total <= Self.limit else { continue }
            let place =
                fault.columnNumber.map { "\(fault.lineNumber):\($0)" }
                ?? "\(fault.lineNumber)"
            let text = "\(input):\(place): \(printable(fault.reason))"
            first.append(text)
            StandardError.write("warning: \(text)\n")
        }
    }

    /// Counts by reason, greatest first.
    var byCode: [(code: String, count: Int)] {
        counts.map { ($0.key.rawValue, $0.value) }.sorted { ($1.1, $0.0) < ($0.1, $1.0) }
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

/// The number of threads for the mathematics.
struct ThreadOptions: ParsableArguments {
    @Option(
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
