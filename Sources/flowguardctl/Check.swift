import ArgumentParser
import Control
import Foundation
import Ingest
import Settings

/// The stream that `--config` and `--stream` name together, where both may be left out.
enum NamedStream {
    static func validate(config: String?, stream: String?) throws(ValidationError) {
        guard (config == nil) == (stream == nil) else {
            throw ValidationError("--config and --stream: expected both or neither, found one")
        }
    }

    static func read(config: String?, stream: String?) throws -> StreamConfiguration? {
        guard let config, let stream else { return nil }
        return try FlowguardConfiguration(path: config).stream(named: stream)
    }
}

extension FlowguardConfiguration {
    /// The stream of this name; its absence is told with the names that there are.
    func stream(named name: String) throws(CommandFailure) -> StreamConfiguration {
        if let found = streams.first(where: { $0.name == name }) { return found }
        let names = streams.map(\.name).joined(separator: ", ")
        throw CommandFailure(
            "\(path): there is no stream '\(name)'", hint: "the streams are: \(names)")
    }
}

/// Validates a configuration, or shows how a file of records is understood.
struct CheckCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check a configuration file, or show how a file of records is understood.",
        discussion: """
            A configuration is good (exit 0), or every problem in it is told (exit 78). With \
            --source it is records that are looked at: their format, columns, steps, missing \
            values, the rhythm of their times, and the first of them as a model would see them. \
            With --config and --stream they are read as that stream has them: so long rows are \
            shown as the records that they make.

            EXAMPLES
              flowguardctl check /etc/flowguard/flowguard.yaml
              flowguardctl check --source pump.csv
              flowguardctl check --source old.csv.gz --time-zone Europe/Berlin --json
              flowguardctl check --source long.csv --config f.yaml --stream pump-7
            """)

    @Argument(help: "The configuration file.")
    var file: String?

    @Option(
        help: ArgumentHelp(
            "A file of records, gzip and zstd included; - is standard input.", valueName: "file"))
    var source: String?

    @Option(
        help: ArgumentHelp(
            "Read the source as a stream of this configuration has it.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("The stream in the configuration.", valueName: "name"))
    var stream: String?

    @Flag(help: "One JSON document: the streams or the problems; of records, all that is told.")
    var json = false

    @OptionGroup var input: InputOptions

    func validate() throws {
        guard (file == nil) != (source == nil) else {
            throw ValidationError(
                "expected a configuration file or --source, found \(file == nil ? "neither" : "both")"
            )
        }
        try NamedStream.validate(config: config, stream: stream)
        guard config == nil || source != nil else {
            throw ValidationError("--config: expected --source with it, found none")
        }
    }

    /// What `--json` prints.
    private struct Verdict: Encodable {
        struct Problem: Encodable {
            var line: Int
            var column: Int
            var message: String
            var hint: String?
        }

        var file: String
        var isGood: Bool
        var streams: [String]
        var problems: [Problem]
    }

    func execute() async throws {
        if let source {
            try await check(source: source)
        } else if let file {
            try check(file)
        }
    }

    private func check(source: String) async throws {
        var configured = try NamedStream.read(config: config, stream: stream)
        let opened = try input.source(
            [source], base: configured?.format,
            limits: BatchLimits(lines: 16_384, bytes: 4 << 20), isQuiet: true)
        try configured?.requireFormat(opened.format)
        configured?.format = opened.format
        let report = try await SourceReport(opened, as: configured)
        if json {
            try StandardOutput.write(json: ControlJSON.encode(report, pretty: true))
        } else {
            try StandardOutput.write(SourceView(terminal: .output, report: report).text)
        }
    }

    private func check(_ file: String) throws {
        let names: [String]
        do {
            names = try FlowguardConfiguration(path: file).streams.map(\.name)
        } catch {
            if json, case .problems(let problems) = error {
                let all = problems.map {
                    Verdict.Problem(
                        line: $0.line, column: $0.column, message: $0.message, hint: $0.hint)
                }
                try write(Verdict(file: file, isGood: false, streams: [], problems: all))
            }
            throw error
        }
        if json {
            try write(Verdict(file: file, isGood: true, streams: names, problems: []))
        } else {
            try StandardOutput.write(
                "\(file): good, \(Format.plural(names.count, "stream"))\n")
        }
    }

    private func write(_ verdict: Verdict) throws {
        try StandardOutput.write(json: ControlJSON.encode(verdict, pretty: true))
    }
}
