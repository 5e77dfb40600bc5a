import Control
import Detection
import Foundation
import Ingest
import Settings
import Streams

/// What is understood of a file of records.
struct SourceReport: Encodable {
    /// A column, and what it is to a model.
    struct Column: Encodable {
        var name: String
        /// `time`, `feature`, `category`, `key` or `left_out`.
        var role: String
        /// What its cells hold: numbers, true and false, texts, times.
        var content: String
        var step: Double?
        var lower: Double?
        var median: Double?
        var upper: Double?
        var missing: Int?
        /// The most frequent values of a category.
        var values: [String]?
    }

    struct Time: Encodable {
        var column: String
        var first: Date
        var last: Date
        var stepSecs: Double
        var steadyShare: Double
        var longestGapSecs: Double
        var backwards: Int
        var repeated: Int
    }

    struct Fault: Encodable {
        var line: Int64
        var reason: String
    }

    /// A record, and what the flows see of it.
    struct Row: Encodable {
        var time: Date?
        var values: [Double?]
        var categories: [String?]
        var encoded: [Double?]
    }

    var file: String
    var format: String
    var delimiter: String?
    var decimalMark: String?
    var comment: String?
    var timePattern: String?
    var timeUnit: String?
    var timeZone: String?
    var records: Int
    /// Whether that is all of the file.
    var isWhole: Bool
    var missingValues: [String]
    var columns: [Column] = []
    var time: Time?
    var faults: Int
    var firstFaults: [Fault]
    var rows: [Row] = []
    /// What a person may want to look at.
    var notes: [String] = []
    /// Lines for the configuration of a stream.
    var configuration: [String] = []

    /// How many records are looked at.
    static let recordLimit = 10_000
    /// How many are shown.
    static let rowLimit = 5

    private let options: FormatOptions

    private enum CodingKeys: String, CodingKey {
        case file, format, delimiter, decimalMark, comment, timePattern, timeUnit, timeZone
        case records, isWhole, missingValues, columns, time, faults, firstFaults, rows, notes
        case configuration
    }

    /// Reads the first records of a source.
    ///
    /// - Parameter stream: How they are read; `nil`: as they show themselves.
    init(_ source: FileSequence, as stream: StreamConfiguration? = nil) async throws {
        var options = source.format
        options.missingValues += source.detected?.missing ?? []
        self.options = options
        file = source.name
        format = options.format.rawValue
        let isCSV = options.format == .csv
        delimiter = isCSV ? String(Character(UnicodeScalar(options.delimiter))) : nil
        decimalMark = isCSV ? String(Character(UnicodeScalar(options.decimalMark))) : nil
        comment = options.comment.map { String(Character(UnicodeScalar($0))) }
        timePattern = options.time.pattern
        timeUnit = options.time.unit?.rawValue
        timeZone = options.time.zone
        missingValues = options.missingValues
        let lines = try await FirstLines.read(
            source, atLeast: Self.recordLimit + 1, holdingUpTo: 64 << 20)
        guard let batch = lines else { throw IngestError.noRecords(input: source.name) }
        var sample = batch
        isWhole = batch.isLast && batch.lines.count <= Self.recordLimit
        sample.lines = Array(batch.lines.prefix(Self.recordLimit))
        var decoded: DecodedBatch
        var leftOut: [InferredSchema.LeftOut] = []
        var rising: [String] = []
        if let stream, var reader = LongRowsReader(stream.allowingGaps) {
            decoded = try Self.longRows(of: sample, with: &reader)
            leftOut = reader.leftOut
            notes.append(
                "\(Format.plural(sample.lines.count, "row")) of one reading each, "
                    + "put together every \(stream.longRows?.step ?? "")"
                    + (PointsMessage(reader.counts).text.map { "; \($0)" } ?? ""))
        } else {
            let inferred = try SchemaInference.infer(
                batch, format: options, features: stream?.features,
                categories: stream?.categories ?? [], exclude: stream?.exclude ?? [],
                time: stream?.timeColumn)
            leftOut = inferred.leftOut
            rising = inferred.rising
            var schema = inferred.schema
            schema.optional = Set(schema.columns)
            var decoder = RecordDecoder(format: options, schema: schema)
            decoded = try decoder.decode(sample)
        }
        records = decoded.records.rowCount
        faults = decoded.faults.count
        firstFaults = decoded.faults.prefix(3).map {
            Fault(line: $0.lineNumber, reason: $0.reason)
        }
        describe(decoded.records, of: stream, leftOut: leftOut)
        note(source.detected, decoded, leftOut: leftOut)
        if let note = LeftOutText.note(rising: rising) { notes.append(note) }
        if stream == nil { configuration = configurationLines() }
    }

    /// The records that long rows make.
    private static func longRows(
        of sample: LineBatch, with reader: inout LongRowsReader
    ) throws -> DecodedBatch {
        let pieces = try reader.read(sample) + reader.finish(input: sample.inputName)
        var all = DecodedBatch(
            records: RecordBatch(schema: reader.schema ?? Schema(features: [], time: nil)),
            faults: [])
        for piece in pieces {
            if piece.decoded.records.rowCount > 0 {
                all.records.append(contentsOf: piece.decoded.records)
            }
            all.faults += piece.decoded.faults
        }
        return all
    }

    private mutating func describe(
        _ records: RecordBatch, of stream: StreamConfiguration?,
        leftOut: [InferredSchema.LeftOut]
    ) {
        let schema = records.schema
        let width = schema.features.count
        if let name = schema.time {
            columns.append(Column(name: name, role: "time", content: "times"))
            if let profile = TimeProfile(times: records.times) {
                time = Time(
                    column: name, first: Date(timeIntervalSince1970: profile.first),
                    last: Date(timeIntervalSince1970: profile.last), stepSecs: profile.step,
                    steadyShare: profile.steadyShare, longestGapSecs: profile.longestGap,
                    backwards: profile.backwards, repeated: profile.repeated)
            }
        }
        var profiles: [ColumnProfile?] = []
        for (index, name) in schema.features.enumerated() {
            let values = (0..<records.rowCount).map { records.values[$0 * width + index] }
            let profile = ColumnProfile(values: values)
            profiles.append(profile)
            columns.append(
                Column(
                    name: name, role: "feature", content: "numbers",
                    step: profile.flatMap { $0.step > 0 ? $0.step : nil }, lower: profile?.lower,
                    median: profile?.median, upper: profile?.upper, missing: profile?.missing))
        }
        for (index, name) in schema.categories.enumerated() {
            let texts = (0..<records.rowCount).map {
                records.categories.text(row: $0, column: index)
            }
            let counts = Dictionary(texts.compactMap(\.self).map { ($0, 1) }, uniquingKeysWith: +)
            columns.append(
                Column(
                    name: name, role: name == stream?.key?.column ? "key" : "category",
                    content: stream?.categories.contains(name) == true
                        ? "texts" : "true and false",
                    missing: texts.count { $0 == nil },
                    values: counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(5)
                        .map(\.key)))
        }
        columns += leftOut.map {
            Column(
                name: $0.name, role: "left_out",
                content: $0.content == .text
                    ? "texts" : $0.content.rawValue.replacing("_", with: " "))
        }
        rows = (0..<min(Self.rowLimit, records.rowCount)).map { row in
            let values = Array(records.row(row))
            return Row(
                time: records.times[row].isFinite
                    ? Date(timeIntervalSince1970: records.times[row]) : nil,
                values: values.map { $0.isFinite ? $0 : nil },
                categories: schema.categories.indices.map {
                    records.categories.text(row: row, column: $0)
                },
                encoded: zip(values, profiles).map { value, profile in
                    value.isFinite ? profile?.encoded(value) : nil
                })
        }
    }

    /// What may not be meant as it is understood.
    private mutating func note(
        _ detected: DetectedFormat?, _ decoded: DecodedBatch, leftOut: [InferredSchema.LeftOut]
    ) {
        if let suspects = detected?.suspects, !suspects.isEmpty {
            let list = suspects.joined(separator: ", ")
            notes.append(
                "\(list) is far from all other values: if it means \"no value\", name it under "
                    + "missing_values")
        }
        if let patterns = detected?.ambiguousTime, patterns.count > 1 {
            notes.append(
                "times fit \(patterns.joined(separator: " and ")): say which one with "
                    + "--time-pattern")
        }
        if time == nil {
            let candidates = leftOut.filter { $0.content == .times }.map { "'\($0.name)'" }
            notes.append(
                candidates.isEmpty
                    ? "no time: records are judged without the hour, and rates by their arrival"
                    : "no time by its name: \(candidates.joined(separator: ", ")) holds times, "
                        + "name it with time: {column: …}")
        } else if leftOut.contains(where: { $0.content == .times }) {
            notes.append("a second time tells a model little: send the duration instead")
        }
        notes += LeftOutText.notes(on: leftOut, time: time?.column)
        let texts = leftOut.filter { $0.content == .text }.map { "'\($0.name)'" }
        if !texts.isEmpty {
            notes.append(
                "left out, as texts: \(texts.prefix(8).joined(separator: ", "))"
                    + (texts.count > 8 ? " and \(texts.count - 8) more" : "")
                    + "; categories: makes a model see them")
        }
        let featureCount = columns.count { $0.role == "feature" }
        if time != nil, !texts.isEmpty, featureCount == 1 {
            notes.append(
                "if each row is a reading of one series, which \(texts[0]) names, long: puts the "
                    + "series together")
        }
        if let time, !texts.isEmpty, featureCount > 1, 2 * time.repeated > records {
            notes.append(
                "most records have the time of the one before: if \(texts[0]) names the machine "
                    + "that each is of, key: judges each machine by itself")
        }
        let gaps = columns.filter { $0.role == "feature" && ($0.missing ?? 0) > 0 }
        if !gaps.isEmpty {
            notes.append(
                "records with a missing value go to the quarantine unless missing: median or "
                    + "previous is set")
        }
        let constant = columns.filter { $0.lower != nil && $0.lower == $0.upper }
        if constant.count == featureCount, records > 1 {
            notes.append(
                "every feature has a single value: there is nothing to learn from yet, and no fit "
                    + "before one changes")
        } else if !constant.isEmpty, records > 1 {
            let list = constant.prefix(8).map { "'\($0.name)'" }.joined(separator: ", ")
            notes.append("always the same: \(list); any change of it will be an anomaly")
        }
        if let time, time.backwards > 0 {
            notes.append(
                "\(Format.plural(time.backwards, "record")) with a time before that of the one before"
            )
        }
    }

    /// What a stream's configuration needs to read it so.
    private func configurationLines() -> [String] {
        let usual = FormatName.named(by: file) ?? .csv
        var lines: [String] = []
        let isTabbed = options.format == .csv && options.delimiter == 0x09
        let name = isTabbed ? FormatName.tsv.rawValue : options.format.rawValue
        if name != usual.rawValue { lines.append("format: \(name)") }
        if options.format == .csv {
            if options.decimalMark == UInt8(ascii: ",") { lines.append("decimal_mark: \",\"") }
            let isImplied = options.decimalMark == UInt8(ascii: ",") && options.delimiter == 0x3B
            if !isTabbed, !isImplied, options.delimiter != UInt8(ascii: ",") {
                lines.append("delimiter: \"\(Character(UnicodeScalar(options.delimiter)))\"")
            }
            if let comment { lines.append("comment: \"\(comment)\"") }
            if let columns = options.columns {
                lines.append("columns: [\(columns.joined(separator: ", "))]")
            }
        }
        let time = [
            timePattern.map { "pattern: \"\($0)\"" }, timeUnit.map { "unit: \($0)" },
            timeZone.map { "zone: \($0)" },
        ].compactMap(\.self)
        if !time.isEmpty { lines.append("time: {\(time.joined(separator: ", "))}") }
        if options.missingValues != FormatOptions(format: .csv).missingValues {
            let texts = options.missingValues.map { "\"\($0)\"" }
            lines.append("missing_values: [\(texts.joined(separator: ", "))]")
        }
        return lines
    }

    /// The format in words.
    var formatSummary: String { FormatText.summary(of: options) }
}

extension StreamConfiguration {
    /// The stream with records that may lack any value, so that what lacks one is shown.
    fileprivate var allowingGaps: StreamConfiguration {
        var copy = self
        copy.detectorOptions.missing = MissingPolicies(standard: .median)
        return copy
    }
}

extension LongRows {
    /// The step of the grid in words.
    fileprivate var step: String {
        every < .seconds(1)
            ? "\(Int((every.inSeconds * 1_000).rounded())) ms" : Format.duration(every.inSeconds)
    }
}

/// The first lines of an input, which may come in dribs and drabs.
enum FirstLines {
    /// Waits for lines.
    ///
    /// - Parameters:
    ///   - count: How many are enough; fewer come at the end of the input.
    ///   - bytes: How many bytes are enough, if their lines are fewer.
    static func read(
        _ source: FileSequence, atLeast count: Int, holdingUpTo bytes: Int = .max
    ) async throws -> LineBatch? {
        guard var gathered = try await source.next() else { return nil }
        while gathered.lines.count < count, gathered.bytes.count < bytes, !gathered.isLast,
            let more = try await source.next()
        {
            let shift = gathered.bytes.count
            gathered.bytes += more.bytes
            gathered.lines += more.lines.map { line in
                var line = line
                line.start += shift
                return line
            }
            gathered.header = gathered.header ?? more.header
            gathered.isLast = more.isLast
        }
        return gathered
    }
}
