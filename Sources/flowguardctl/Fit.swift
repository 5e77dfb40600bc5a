import ArgumentParser
import Control
import Detection
import FlowDensity
import Foundation
import Ingest
import Settings
import Streams

/// Learns a model from records of normal operation, without the daemon.
struct FitCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "fit",
        abstract: "Learn a model from records.",
        discussion: """
            Every numeric column is a feature unless --features or --exclude say otherwise, but one \
            that counts the records or that most of them lack; every column of true and false is a \
            category; columns of text are categories where --categories \
            names them. Lines that are no records are skipped and told. The same records, options and seed give the \
            same model file on the same kind of CPU. No daemon is needed.

            EXAMPLES
              flowguardctl fit --output pump.model < normal.csv
              flowguardctl fit -o pump.model --exclude device_id --seed 7 < normal.csv
              flowguardctl fit -o m.model --categories mode --missing median < normal.csv
              flowguardctl fit -o pump.model --format ndjson --family glow < normal.json
              flowguardctl fit -o pump.model --config f.yaml --stream pump-7 < normal.csv
              flowguardctl fit -o pump.model jan.csv.gz feb.csv.gz
              flowguardctl fit -o new.model --from pump.model jan.csv.gz feb.csv.gz mar.csv.gz
            """)

    @Argument(
        help: ArgumentHelp(
            "The records, gzip and zstd included. (default: standard input)", valueName: "file"))
    var files: [String] = []

    @Option(
        name: [.short, .long],
        help: ArgumentHelp(
            "The model file to write; /dev/stdout and named pipes take it too.", valueName: "model")
    )
    var output: String

    @Option(
        help: ArgumentHelp(
            "The flows' family. (default: nice)", valueName: "family"))
    var family: FlowFamily?

    @Option(
        help: ArgumentHelp(
            "How many flows the density is the mean of, 1 to 16. (default: 16 for little data, else 4; 2 for much)",
            valueName: "count"))
    var members: Int?

    @Option(
        help: ArgumentHelp(
            "Coupling layers of each flow, 1 to 32. (default: 4 for little data, else 6)",
            valueName: "count"))
    var couplingLayers: Int?

    @Option(
        help: ArgumentHelp(
            "Units of each hidden layer, 1 to 512. (default: 32 for little data, else 64; 96 for more than 24 features)",
            valueName: "count"))
    var hiddenWidth: Int?

    @Option(
        help: ArgumentHelp(
            "Go on from the flows of this model, fitted to some of these records or to former ones: quicker. (default: begin from nothing)",
            valueName: "model"))
    var from: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Seed of all random numbers. (default: 0)", valueName: "number"))
    var seed: UInt64?

    @Option(
        help: ArgumentHelp(
            "How long the training may take, in seconds: what is learned by then is kept. (default: until it has learned)",
            valueName: "seconds"))
    var timeLimit: Double?

    @Option(
        help: ArgumentHelp(
            "The features, separated by commas. (default: every numeric column)",
            valueName: "columns"))
    var features: String?

    @Option(
        help: ArgumentHelp(
            "The columns whose values are texts, separated by commas. (default: those of true and false)",
            valueName: "columns"))
    var categories: String?

    @Option(
        help: ArgumentHelp(
            "The column that tells machines apart whose records are mixed: the past of each is its own.",
            valueName: "column"))
    var key: String?

    @Option(
        help: ArgumentHelp(
            "Columns that are neither features nor categories.", valueName: "columns"))
    var exclude: String?

    @Option(
        help: ArgumentHelp(
            "What stands in for a missing value: median or previous; reject: the line is skipped. (default: reject)",
            valueName: "policy"))
    var missing: MissingPolicy?

    @Option(
        help: ArgumentHelp(
            "The time column. (default: a column named time, timestamp, datetime, date, ts or @timestamp)",
            valueName: "column"))
    var time: String?

    @Option(
        help: ArgumentHelp(
            "The share of normal records that may be taken for anomalies. (default: 0.001)",
            valueName: "share"))
    var falseAlarmProbability: Double?

    @Option(
        help: ArgumentHelp(
            "Take format, columns, family, budget and time limit from a stream of this configuration.",
            valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("The stream in the configuration.", valueName: "name"))
    var stream: String?

    @Flag(help: "One JSON document on standard output: what was learned, and how well.")
    var json = false

    @OptionGroup var input: InputOptions
    @OptionGroup var threads: ThreadOptions

    func validate() throws {
        try WholeFile.validateName(output, of: "--output")
        if let timeLimit, !(0.1...86_400).contains(timeLimit) {
            throw ValidationError(
                "--time-limit: expected seconds from 0.1 to 86400, found \(timeLimit)")
        }
        let sizes = [
            ("--members", members, DetectorOptions.maximumMembers),
            ("--coupling-layers", couplingLayers, DetectorOptions.maximumCouplingLayers),
            ("--hidden-width", hiddenWidth, DetectorOptions.maximumHiddenWidth),
        ]
        for case (let name, let count?, let most) in sizes where !(1...most).contains(count) {
            throw ValidationError("\(name): expected a number from 1 to \(most), found \(count)")
        }
        try NamedStream.validate(config: config, stream: stream)
        if let value = falseAlarmProbability {
            guard value > 0, value <= AlarmBudget.largestProbability else {
                throw ValidationError(
                    "--false-alarm-probability: expected a number above 0 and up to "
                        + "\(AlarmBudget.largestProbability), found \(value)")
            }
            guard value >= AlarmBudget.leastProbability else {
                throw ValidationError(
                    "--false-alarm-probability: expected at least "
                        + "\(AlarmBudget.leastProbability), found \(value)")
            }
        }
        let lists = [
            ("--features", features), ("--categories", categories), ("--key", key),
            ("--exclude", exclude),
        ]
        for (name, columns) in lists {
            if let columns, InputOptions.names(columns).contains("") {
                throw ValidationError(
                    "\(name): expected column names separated by commas, found '\(columns)'")
            }
        }
        var roles: [String: String] = [:]
        for (name, columns) in lists {
            for column in columns.map(InputOptions.names) ?? [] {
                if let other = roles.updateValue(name, forKey: column), other != name {
                    throw ValidationError(
                        "\(other) and \(name): expected '\(column)' in one of them, found it in both"
                    )
                }
            }
        }
    }

    func execute() async throws {
        let configured = try NamedStream.read(config: config, stream: stream)
        let source = try input.source(
            files, base: configured?.format, limits: BatchLimits(lines: 65_536, bytes: 8 << 20))
        try configured?.requireFormat(source.format)
        try WholeFile.requireWritable(output)
        let former = try from.map { try Detector(decoding: try WholeFile.read($0), name: $0) }
        let start = ContinuousClock.now
        let core = BLASCore.prepare()
        var progress = Progress(linesElsewhere: false)
        defer { progress.finish() }
        let policies =
            missing.map { MissingPolicies(standard: $0) } ?? configured?.detectorOptions.missing
        let key = key ?? configured?.key?.column
        let named = categories.map(InputOptions.names) ?? configured?.categories ?? []
        var reader = RecordReader(
            source: source,
            features: features.map(InputOptions.names) ?? configured?.features,
            categories: named.filter { $0 != key }, key: key,
            exclude: exclude.map(InputOptions.names) ?? configured?.exclude ?? [],
            missing: policies ?? MissingPolicies(), time: time ?? configured?.timeColumn)
        for (name, value) in [("--categories", categories), ("--key", self.key)]
        where configured?.longRows != nil && value != nil {
            throw CommandFailure(
                "\(name): long rows hold numbers, not texts",
                hint: "leave \(name) out", status: .usage)
        }
        if let configured, configured.longRows != nil {
            try await reader.readLongRows(of: configured, showing: &progress)
        } else {
            try await reader.readAll(showing: &progress)
        }
        progress.finish()
        reader.faults.finish()
        var options = options(configured, reader.records)
        options.missing = policies
        options.key = key
        let records = key.map { reader.records.grouped(byCategory: $0) } ?? reader.records
        if records.rowCount < Detector.minimumRows, reader.faults.total > records.rowCount {
            throw CommandFailure(
                DetectionError.tooFewRows(
                    found: records.rowCount, needed: Detector.minimumRows
                ).description, hint: reader.faults.remedy)
        }
        let fitted = try Detector.fit(
            records, options: options, from: former, parallel: threads.parallel,
            timeLimit: timeLimit.map { .seconds($0) } ?? configured?.fit.timeLimit
        ) { state in
            progress.show(
                fraction: state.fraction, phase: state.phase.rawValue,
                detail: state.phase == .training
                    ? "step \(state.step) of at most \(state.stepLimit)" : "")
            return true
        }
        progress.finish()
        try WholeFile.write(fitted.detector.encoded(), to: output)
        let elapsed = start.duration(to: .now)
        let report = FitReport(
            model: output, detector: fitted.detector, summary: fitted.summary,
            faults: reader.faults, leftOut: reader.leftOut, rising: reader.rising,
            points: reader.counts,
            seconds: elapsed.inSeconds,
            blasCore: core)
        if json {
            try StandardOutput.write(json: ControlJSON.encode(report, pretty: true))
        } else {
            StandardError.write(report.text)
        }
    }

    private func options(
        _ configured: StreamConfiguration?, _ records: RecordBatch
    ) -> DetectorOptions {
        var options = configured?.detectorOptions ?? DetectorOptions()
        if let family { options.family = family }
        if let members { options.members = members }
        if let couplingLayers { options.couplingLayers = couplingLayers }
        if let hiddenWidth { options.hiddenWidth = hiddenWidth }
        if let seed { options.seed = seed }
        if let falseAlarmProbability {
            options.falseAlarmProbability = falseAlarmProbability
        } else if let configured {
            options.falseAlarmProbability = configured.budget.probability(
                recordsPerDay: RecordRate.perDay(times: records.times))
        }
        return options
    }
}

/// Reads all records of an input into memory, and finds the columns by its first lines.
private struct RecordReader {
    let source: FileSequence
    let features: [String]?
    let categories: [String]
    let key: String?
    let exclude: [String]
    let missing: MissingPolicies
    let time: String?
    private(set) var leftOut: [InferredSchema.LeftOut] = []
    private(set) var rising: [String] = []
    private(set) var records = RecordBatch(schema: Schema(features: [], time: nil))
    private(set) var faults = FaultReport(consequence: "skipped")
    /// Of long rows: what became of those in no record.
    private(set) var counts: PointCounts?

    init(
        source: FileSequence, features: [String]?,
        categories: [String], key: String?, exclude: [String], missing: MissingPolicies,
        time: String?
    ) {
        self.source = source
        self.features = features
        self.categories = categories
        self.key = key
        self.exclude = exclude
        self.missing = missing
        self.time = time
    }

    mutating func readAll(showing progress: inout Progress) async throws {
        guard
            let first = try await FirstLines.read(source, atLeast: SchemaInference.lineLimit)
        else {
            throw IngestError.noRecords(input: source.name)
        }
        let format = source.format
        let inferred = try SchemaInference.infer(
            first, format: format, features: features,
            categories: categories + [key].compactMap(\.self), exclude: exclude, time: time)
        (leftOut, rising) = (inferred.leftOut, inferred.rising)
        let schema = missing.applied(to: inferred.schema, key: key)
        var decoder = RecordDecoder(format: format, schema: schema)
        records = RecordBatch(schema: schema)
        var next: LineBatch? = first
        while let batch = next {
            let decoded = try decoder.decode(batch)
            records.append(contentsOf: decoded.records)
            faults.add(decoded.faults, of: batch.inputName)
            // Each file has a header of its own.
            if batch.isLast { decoder = RecordDecoder(format: format, schema: schema) }
            progress.show(
                fraction: nil, phase: "reading",
                detail: Format.plural(records.rowCount, "record"))
            next = try await source.next()
        }
    }

    /// Reads rows of one reading each, as the stream puts them together.
    mutating func readLongRows(
        of configured: StreamConfiguration, showing progress: inout Progress
    ) async throws {
        var stream = configured
        stream.format = source.format
        stream.features = features
        stream.exclude = exclude
        stream.detectorOptions.missing = missing
        stream.timeColumn = time
        guard var reader = LongRowsReader(stream) else { return }
        while let batch = try await source.next() {
            take(try reader.read(batch))
            progress.show(
                fraction: nil, phase: "reading",
                detail: Format.plural(records.rowCount, "record"))
        }
        take(try reader.finish(input: source.name))
        counts = reader.counts
        leftOut = reader.leftOut
    }

    private mutating func take(_ pieces: [LongRowsReader.Piece]) {
        for piece in pieces {
            let found = piece.decoded.records
            if records.rowCount == 0 {
                records = found
            } else if found.rowCount > 0 {
                records.append(contentsOf: found)
            }
            faults.add(piece.decoded.faults, of: piece.input)
        }
    }
}

/// What was learned, and how well.
struct FitReport: Encodable {
    /// Lines of the input that are no records.
    struct Skipped: Encodable {
        var count: Int
        var reasons: [String]
    }

    var model: String
    var family: String
    var seed: UInt64
    var features: [String]
    var categories: [String]
    /// Columns of the input that the model does not read.
    var leftOut: [String]
    var time: String?
    var lags: Int
    var windows: [Int]
    var records: Int
    var skipped: Skipped
    var trainingRecords: Int
    var validationRecords: Int
    var calibrationRecords: Int
    var members: Int
    var parameters: Int
    var steps: Int
    var stopReason: String
    /// Whether the flows began from those of a former model.
    var warm: Bool
    /// Why they began from nothing although a former model was given.
    var coldReason: String?
    var heldOutLogLikelihood: Double
    var threshold: Double
    var upperThreshold: Double?
    var falseAlarmProbability: Double
    var notes: [String]
    var secs: Double
    var blasCore: String

    init(
        model: String, detector: Detector, summary: FitSummary, faults: FaultReport,
        leftOut: [InferredSchema.LeftOut], rising: [String], points: PointCounts?, seconds: Double,
        blasCore: String
    ) {
        self.model = model
        self.blasCore = blasCore
        family = detector.options.family.rawValue
        seed = detector.options.seed
        features = detector.schema.features
        categories = detector.schema.categories
        self.leftOut = leftOut.map(\.name)
        time = detector.schema.time
        lags = detector.lags
        windows = detector.windows
        records = summary.rowCount
        skipped = Skipped(count: faults.total, reasons: faults.first)
        trainingRecords = summary.trainingRows
        validationRecords = summary.validationRows
        calibrationRecords = summary.calibrationRows
        members = detector.memberCount
        parameters = detector.parameterCount
        steps = summary.steps
        stopReason = summary.stopReason
        warm = summary.isWarm ?? false
        coldReason = summary.coldReason
        heldOutLogLikelihood = summary.heldOutLogLikelihood
        let probability = detector.options.falseAlarmProbability
        let limits = detector.threshold(falseAlarmProbability: probability)
        threshold = limits.logLikelihood
        upperThreshold = limits.upperLogLikelihood
        falseAlarmProbability = probability
        notes =
            summary.notes + Self.notes(on: leftOut, time: time)
            + [LeftOutText.note(rising: rising)].compactMap(\.self)
            + (points.flatMap { PointsMessage($0).text }.map { ["of the rows \($0)"] } ?? [])
        secs = (seconds * 1_000).rounded() / 1_000
    }

    /// What a record is judged with, in words; empty when it is judged alone.
    private var lookback: String {
        var parts: [String] = []
        if lags > 0 { parts.append("on \(Format.plural(lags, "record"))") }
        if !windows.isEmpty {
            let lengths = windows.map(String.init).joined(separator: " and ")
            parts.append("at the means of \(lengths) records")
        }
        return parts.joined(separator: ", ")
    }

    /// What could be done with the columns that are left out.
    private static func notes(
        on leftOut: [InferredSchema.LeftOut], time: String?
    ) -> [String] {
        let texts = leftOut.filter { $0.content == .text }.map(\.name)
        let times = leftOut.filter { $0.content == .times }.map(\.name)
        return
            LeftOutText.notes(on: leftOut, time: time)
            + (texts.isEmpty
                ? []
                : [
                    "left out, as texts: \(LeftOutText.list(texts)); --categories \(texts.prefix(8).joined(separator: ",")) "
                        + "makes them categories"
                ])
            + (times.isEmpty
                ? []
                : [
                    "left out, as times: \(LeftOutText.list(times))"
                        + (time == nil ? "; --time \(times[0]) makes it the time" : "")
                ])
    }

    /// The same for a person.
    var text: String {
        var facts = [
            (
                "records",
                // In turns each record has every part.
                trainingRecords == validationRecords
                    ? "\(Format.count(records)): each quarter calibrates flows of the others"
                    : "\(Format.count(records)): \(Format.count(trainingRecords)) to learn from, "
                        + "\(Format.count(validationRecords)) to stop by, "
                        + "\(Format.count(calibrationRecords)) to calibrate by"
            )
        ]
        if skipped.count > 0 {
            facts.append(("skipped", Format.plural(skipped.count, "line")))
        }
        facts += [
            ("features", features.joined(separator: ", ") + (time.map { "; time in \($0)" } ?? ""))
        ]
        if warm {
            facts.append(("began", "from the flows of the former model"))
        } else if let coldReason {
            facts.append(("began", "from nothing: \(coldReason)"))
        }
        let past = lookback
        if !past.isEmpty { facts.append(("looks back", past)) }
        facts += [
            (
                "model",
                "\(family), \(Format.plural(members, "flow")), "
                    + "\(Format.plural(parameters, "parameter")), "
                    + "\(Format.plural(steps, "step")) (\(stopReason))"
            ),
            ("held out", "\(Format.nats(heldOutLogLikelihood)) nats a record"),
            (
                "threshold",
                "log-likelihood below \(Format.nats(threshold))"
                    + (upperThreshold.map { " or above \(Format.nats($0))" } ?? "")
                    + " nats, for a false-alarm probability of "
                    + Format.probability(falseAlarmProbability)
            ),
        ]
        if !categories.isEmpty {
            facts.insert(("categories", categories.joined(separator: ", ")), at: facts.count - 3)
        }
        if !notes.isEmpty { facts.append(("notes", notes.joined(separator: "; "))) }
        facts.append(("time", Format.significant(secs, digits: 3) + " s"))
        let terminal = Terminal.error
        return terminal.paint(model, .bold) + "\n"
            + facts.map { label, value in
                terminal.paint(label.padding(toLength: 11, withPad: " ", startingAt: 0), .dim)
                    + Paragraph.wrap(printable(value), width: terminal.width - 11, indent: 11)
                    + "\n"
            }.joined()
    }
}
