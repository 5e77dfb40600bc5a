import ArgumentParser
import Control
import Detection
import FlowDensity
import Foundation
import Ingest

/// Where a model comes from: a file, or a stream of the daemon.
struct ModelOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Use the model that serves this stream of the daemon, and its threshold.",
            valueName: "name"))
    var stream: String?

    @Option(
        help: ArgumentHelp(
            "Use this model file, of fit or model export; no daemon is needed.",
            valueName: "file"))
    var model: String?

    func validate() throws {
        if let stream { try StreamName.validate(stream, "--stream") }
        guard (stream == nil) != (model == nil) else {
            throw ValidationError(
                "expected one of --stream and --model, found \(stream == nil ? "none" : "both")")
        }
    }

    /// A detector, the threshold that belongs to it, and how its stream's records are written.
    struct Loaded {
        var detector: Detector
        var threshold: Threshold
        /// `nil` for a model file, which knows nothing of it.
        var format: FormatOptions?
        /// Whether the stream puts rows of one reading each together; here records are whole.
        var isOfLongRows = false
    }

    func load(_ client: ControlClient) async throws -> Loaded {
        if let model {
            let detector = try Detector(decoding: try WholeFile.read(model), name: model)
            let probability = detector.options.falseAlarmProbability
            return Loaded(
                detector: detector,
                threshold: detector.threshold(falseAlarmProbability: probability))
        }
        let name = stream ?? ""
        let path = Route.stream(name)
        // A model that begins to serve between the two questions has another threshold.
        for _ in 0..<3 {
            let detail = try await client.get(StreamDetail.self, path)
            let status = detail.status
            guard let model = status.model, let threshold = status.threshold else {
                throw CommandFailure(
                    "stream '\(name)' has no model yet",
                    hint: "flowguardctl status \(StreamName.quoted(name)) tells how far it is")
            }
            guard threshold.model == model.id else { continue }
            let file = try await client.bytes(.get, Route.modelFile(name, String(model.id)))
            let detector = try Detector(
                decoding: Array(file), name: "\(model.id) of stream '\(name)'")
            return Loaded(
                detector: detector,
                threshold: Threshold(
                    kind: Threshold.Kind(rawValue: threshold.kind) ?? .calibrated,
                    logLikelihood: threshold.logLikelihood,
                    upperLogLikelihood: threshold.upperLogLikelihood,
                    probability: threshold.probability),
                format: Self.format(of: detail), isOfLongRows: detail.isOfLongRows == true)
        }
        throw CommandFailure("stream '\(name)' changes its model just now", hint: "try again")
    }

    /// CSV as the stream has it, but with a header of its own: columns are found by name.
    private static func format(of detail: StreamDetail) -> FormatOptions {
        var format = FormatOptions(format: .csv)
        if let byte = detail.delimiter?.utf8.first { format.delimiter = byte }
        if let missing = detail.missingValues { format.missingValues = missing }
        if let byte = detail.decimalMark?.utf8.first { format.decimalMark = byte }
        format.time.pattern = detail.timePattern
        format.time.unit = detail.timeUnit.flatMap(TimeUnit.init(rawValue:))
        format.time.zone = detail.timeZone
        return format
    }
}

/// Scores records of a file or on standard input.
struct ScoreCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "score",
        abstract: "Score records.",
        discussion: """
            One output line for each data line, in input order, written as the input arrives. CSV out \
            is the input's columns and log_likelihood,p_value,anomaly; scores is the log-likelihood \
            alone. Columns are matched by name; those that the model does not know pass through. What \
            the input has by a name that the output adds is left out, and a note says so. A \
            line that cannot be scored keeps its place with empty scores, and its reason goes to \
            standard error; where no line at all can be, the exit code is 1. With --stream, CSV and times are read as the stream has them. Where the model learned from \
            several machines that a column tells apart, each is judged by its own past; with --key, by that column. \
            With --explain an anomaly has its features, with the value that was expected of \
            each and what it contributes in nats, and a summary in words, as in the anomaly log.

            EXAMPLES
              flowguardctl score --model pump.model < batch.csv > scored.csv
              flowguardctl score --stream pump-7 --output-format scores < batch.csv
              flowguardctl score --model pump.model --fail-on-anomaly < today.csv
              flowguardctl score --model pump.model --explain < today.csv | grep true
              flowguardctl score --model pump.model a.csv.gz | awk -F, '$NF == 1'
              telegraf --once | flowguardctl score --model cpu.model --format influx
            """)

    @Argument(
        help: ArgumentHelp(
            "The records, gzip and zstd included. (default: standard input)", valueName: "file"))
    var file: String?

    @OptionGroup var model: ModelOptions
    @OptionGroup var input: InputOptions

    @Option(
        help: ArgumentHelp(
            "The column that tells machines apart whose records are mixed: the past of each is its own. (default: that of the fit, where the input has it)",
            valueName: "column"))
    var key: String?

    @Option(
        help: ArgumentHelp(
            "The form of the output. (default: that of the input; ndjson with --explain)",
            valueName: "format"))
    var outputFormat: BatchScorer.Output?

    @Flag(help: "Tell of each anomaly why it is one; NDJSON output only.")
    var explain = false

    @Flag(help: "Exit with 2 if a record is an anomaly.")
    var failOnAnomaly = false

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        guard !explain || (outputFormat ?? .ndjson) == .ndjson else {
            throw ValidationError(
                "--explain: expected --output-format ndjson, found \(outputFormat?.rawValue ?? "")")
        }
    }

    func execute() async throws {
        BLASCore.prepare()
        let loaded = try await model.load(connection.client)
        let (detector, threshold) = (loaded.detector, loaded.threshold)
        let source = try input.source(
            [file].compactMap(\.self), base: loaded.format,
            limits: BatchLimits(lines: 16_384, bytes: 4 << 20))
        let format = source.format
        guard !loaded.isOfLongRows || format.format != .influx else {
            throw CommandFailure(
                "the stream puts points together, score takes whole records: expected csv or "
                    + "ndjson, found influx", hint: "replay takes the points", status: .usage)
        }
        guard outputFormat != .influx || format.format == .influx else {
            throw CommandFailure(
                "--output-format: influx is for points, the input is \(format.format.rawValue)",
                status: .usage)
        }
        var scorer = BatchScorer(
            detector: detector, threshold: threshold, format: format,
            output: outputFormat ?? (explain ? .ndjson : .like(format.format)),
            explains: explain, key: key ?? detector.options.key, requiresKey: key != nil)
        let learnedKey = scorer.key
        let parallel = threads.parallel
        var faults = FaultReport(consequence: "not scored")
        var anomalies = 0
        var scored = 0
        var isEmpty = true
        var hasDecimalCommas = false
        while let batch = try await source.next() {
            isEmpty = isEmpty && batch.lines.isEmpty && batch.header == nil
            guard !batch.lines.isEmpty || batch.header != nil else { continue }
            let result: BatchScorer.Result
            do {
                result = try scorer.process(batch, parallel: parallel)
            } catch {
                throw loaded.isOfLongRows ? Self.explained(error) : error
            }
            try StandardOutput.write(result.output)
            if scored == 0, !hasDecimalCommas, !result.faults.isEmpty {
                hasDecimalCommas = SchemaInference.hasDecimalCommas(batch, format: format)
            }
            faults.add(result.faults, of: batch.inputName)
            anomalies += result.anomalyCount
            scored += result.scoredCount
        }
        faults.finish()
        if !scorer.replaced.isEmpty {
            let names = scorer.replaced.map { "'\($0)'" }.joined(separator: ", ")
            StandardError.write(
                "note: \(source.name): what it has as \(names) is left out, that of the score stands "
                    + "there\n")
        }
        if !scorer.withoutColumn.isEmpty {
            let names = scorer.withoutColumn.prefix(10).map { "'\(printable($0))'" }
            StandardError.write(
                "note: \(source.name): CSV has no column for "
                    + names.joined(separator: ", ")
                    + (scorer.withoutColumn.count > 10 ? " and others" : "")
                    + ", which the first lines do not have; --output-format ndjson keeps all\n")
        }
        if let learnedKey, scorer.key == nil {
            StandardError.write(
                "note: \(source.name): scored as one series: it has no column "
                    + "'\(printable(learnedKey))', by which the model was fitted\n")
        }
        guard !isEmpty else {
            throw CommandFailure(
                "\(source.name): expected records, found nothing", status: .noInput)
        }
        if Terminal.error.isInteractive {
            StandardError.write(
                "\(Format.plural(scored, "record")) scored, "
                    + (anomalies == 1 ? "1 anomaly" : "\(Format.count(anomalies)) anomalies")
                    + (faults.total > 0
                        ? ", \(Format.plural(faults.total, "line")) not scored\n" : "\n"))
        }
        guard scored > 0 || faults.total == 0 else {
            throw CommandFailure(
                "\(source.name): expected records that can be scored, found none in "
                    + Format.plural(faults.total, "line"),
                hint: hasDecimalCommas ? CommandFailure.decimalMarkHint : nil)
        }
        if failOnAnomaly, anomalies > 0 { throw ExitCode(ExitStatus.anomaliesFound.rawValue) }
    }

    /// Columns that are not there may be in rows, as the stream has them.
    private static func explained(_ error: DetectionError) -> any Error {
        guard case .ingest(let reason) = error, case .missingColumns = reason else { return error }
        return CommandFailure(
            reason.description,
            hint: "the stream puts long rows together, score takes whole records: a column a "
                + "series; replay takes the rows")
    }
}
