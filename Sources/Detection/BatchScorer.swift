import FlowDensity
import Ingest

/// Scores lines and writes them out again with their verdicts, a batch at a time and in input order.
///
/// `flowguardctl score` and the control API's `score` are this same code. Every data line gives one output line; one that cannot be
/// scored keeps its place with empty scores. What the input has by a name that the output adds is left out: each name is there once.
public struct BatchScorer {
    /// The form of the output.
    public enum Output: String, Sendable, Hashable, Codable, CaseIterable {
        /// The input's columns (of NDJSON and points: the keys of the first batch) and `log_likelihood,p_value,anomaly`.
        case csv
        /// The input's keys and the same three.
        case ndjson
        /// The input's points with three more fields; for an input of points only.
        case influx
        /// The log-likelihood alone.
        case scores

        /// The output that is closest to an input.
        public static func like(_ format: RecordFormat) -> Output {
            switch format {
            case .csv: .csv
            case .ndjson: .ndjson
            case .influx: .influx
            }
        }
    }

    /// What came of a batch.
    public struct Result: Sendable {
        /// Whole lines.
        public var output: [UInt8]
        /// The lines that could not be scored, and why.
        public var faults: [RowFault]
        /// How many records were anomalies.
        public var anomalyCount: Int
        /// How many lines were scored.
        public var scoredCount: Int
    }

    /// The column that tells series apart; `nil`: all records are of one.
    public private(set) var key: String?

    /// What the input has by names that the output adds, and was left out of it.
    public var replaced: [String] { added.filter(found.contains) }

    /// Keys of the input that CSV output has no column for, as they were not in its first batch.
    ///
    /// Their values are left out of it. At most a hundred, sorted.
    public var withoutColumn: [String] { late.sorted() }

    private let detector: Detector
    private let threshold: Threshold
    private let format: FormatOptions
    private let output: Output
    private let explains: Bool
    private let requiresKey: Bool
    /// The names that the output adds to those of the input.
    private let added: [String]
    /// Those of them that the input has.
    private var found: Set<String> = []
    /// Keys without a column in CSV output.
    private var late: Set<String> = []
    private static let lateLimit = 100
    private var decoder: RecordDecoder
    /// What is remembered of each series.
    private var states: [String: ContextState] = [:]
    /// Series that are remembered; of more, those that a batch has no record of begin anew.
    private static let mostSeries = 10_000
    private var hasWrittenHeader = false
    /// The columns of the output where the input has none: the keys of the first batch.
    private var keyColumns: [String] = []
    private var keyPlaces: [String: Int] = [:]
    /// The most keys that become columns; the model's own come in any case.
    private static let keyColumnLimit = 4_096

    /// Makes a scorer for one input.
    ///
    /// - Parameters:
    ///   - explains: Anomalies get their reasons, in the form of the anomaly log. The default is false.
    ///   - key: The column that tells series apart, each with a past of its own; records without a text in it are one more. The
    ///     default is that all records are of one.
    ///   - requiresKey: Whether a header must have this column; else the records under one without it are of one series. The
    ///     default is false.
    /// - Precondition: Only NDJSON output has a place for reasons, and only points become points.
    public init(
        detector: Detector, threshold: Threshold, format: FormatOptions, output: Output,
        explains: Bool = false, key: String? = nil, requiresKey: Bool = false
    ) {
        precondition(!explains || output == .ndjson, "reasons need NDJSON output")
        precondition(output != .influx || format.format == .influx, "points are made of points")
        self.detector = detector
        self.threshold = threshold
        self.format = format
        self.output = output
        self.explains = explains
        self.key = key
        self.requiresKey = requiresKey
        added = Self.added(to: output, explains: explains)
        var schema = detector.schema
        if let key {
            schema.categories.append(key)
            schema.optional.insert(key)
        }
        decoder = RecordDecoder(format: format, schema: schema)
    }

    private static func added(to output: Output, explains: Bool) -> [String] {
        let reasons = explains ? ["threshold", "tail", "features", "summary"] : []
        switch output {
        case .scores: return []
        case .csv, .influx: return LineWriter.scores
        case .ndjson: return LineWriter.scores + reasons + ["reason"]
        }
    }

    /// Scores the lines of a batch.
    ///
    /// - Throws: `ingest` when the header lacks a column that the model needs.
    public mutating func process(
        _ batch: LineBatch, parallel: ParallelFor = .serial
    ) throws(DetectionError) -> Result {
        let decoded: DecodedBatch
        do {
            decoded = try decode(batch)
        } catch {
            throw .ingest(error)
        }
        let judged = judge(decoded.records, parallel: parallel)
        let isFirst = !hasWrittenHeader
        hasWrittenHeader = true
        if isFirst, format.format != .csv, output == .csv {
            keyColumns = keys(of: batch)
            for (place, name) in keyColumns.enumerated() { keyPlaces[name] = place }
        }
        var writer = LineWriter(
            batch: batch, format: format, output: output, schema: detector.schema,
            columns: decoder.columnNames ?? keyColumns, places: keyPlaces, added: added)
        if isFirst { writer.writeHeader() }
        var reasons: [Int: RowFault] = [:]
        for fault in decoded.faults where reasons[fault.lineIndex] == nil {
            reasons[fault.lineIndex] = fault
        }
        var record = 0
        var anomalies = 0
        for line in batch.lines.indices {
            let isScored =
                record < decoded.records.rowCount
                && Int(decoded.records.lineIndices[record]) == line
            guard isScored else {
                writer.write(line: line, fault: reasons[line])
                continue
            }
            if judged.isAnomaly[record] { anomalies += 1 }
            writer.write(
                line: line, logLikelihood: judged.logLikelihood[record],
                pValue: judged.pValue[record], isAnomaly: judged.isAnomaly[record],
                verdict: judged.verdicts[record])
            record += 1
        }
        found.formUnion(writer.replaced)
        for name in writer.withoutColumn where late.count < Self.lateLimit { late.insert(name) }
        return Result(
            output: writer.bytes, faults: decoded.faults, anomalyCount: anomalies,
            scoredCount: record)
    }

    /// Decodes a batch; where the header lacks the key, and may, all records are of one series from here on.
    private mutating func decode(_ batch: LineBatch) throws(IngestError) -> DecodedBatch {
        do throws(IngestError) {
            return try decoder.decode(batch)
        } catch {
            guard !requiresKey, let key, case .missingColumns(_, [key], _) = error else {
                throw error
            }
            self.key = nil
            decoder = RecordDecoder(format: format, schema: detector.schema)
            return try decoder.decode(batch)
        }
    }

    /// What the detector says of the records of a batch, in their order.
    private struct Judged {
        var logLikelihood: [Double]
        var pValue: [Double]
        var isAnomaly: [Bool]
        /// By row; only where reasons are asked for.
        var verdicts: [Int: Verdict] = [:]

        init(count: Int) {
            logLikelihood = [Double](repeating: 0, count: count)
            pValue = logLikelihood
            isAnomaly = [Bool](repeating: false, count: count)
        }
    }

    /// Judges each series by its own past.
    private mutating func judge(_ records: RecordBatch, parallel: ParallelFor) -> Judged {
        var judged = Judged(count: records.rowCount)
        guard let key else {
            take(records, of: "", rows: Array(0..<records.rowCount), parallel, into: &judged)
            return judged
        }
        let series = records.split(byCategory: key)
        for one in series {
            take(one.records, of: one.key, rows: one.rows, parallel, into: &judged)
        }
        if states.count > Self.mostSeries {
            let newest = Set(series.map(\.key))
            states = states.filter { newest.contains($0.key) }
        }
        return judged
    }

    /// - Parameter rows: Where the records lie in the batch.
    private mutating func take(
        _ records: RecordBatch, of series: String, rows: [Int], _ parallel: ParallelFor,
        into judged: inout Judged
    ) {
        let scores = detector.score(
            records, state: &states[series, default: ContextState()], parallel: parallel)
        for (index, row) in rows.enumerated() {
            judged.logLikelihood[row] = scores.logLikelihood[index]
            judged.pValue[row] = scores.pValue[index]
            judged.isAnomaly[row] = scores.isAnomaly(index, threshold: threshold)
        }
        guard explains else { return }
        for verdict in detector.verdicts(scores, threshold: threshold, parallel: parallel) {
            judged.verdicts[rows[verdict.row]] = verdict
        }
    }

    /// The keys of NDJSON lines and points in the order of their appearance, the model's among them in any case.
    private func keys(of batch: LineBatch) -> [String] {
        var seen: Set<String> = []
        var keys: [String] = []
        for line in batch.lines.indices {
            let cells = KeyedCells.split(batch.content(ofLine: line), format, detector.schema)
            for cell in cells
            where keys.count < Self.keyColumnLimit && seen.insert(cell.name).inserted {
                keys.append(cell.name)
            }
        }
        let needed = [detector.schema.time].compactMap(\.self) + detector.schema.columns
        return keys + needed.filter { seen.insert($0).inserted }
    }
}

/// Writes one line of input with its scores, in any of the output forms.
private struct LineWriter {
    let batch: LineBatch
    let format: FormatOptions
    let output: BatchScorer.Output
    let schema: Schema
    let columns: [String]
    /// Where each key of an NDJSON object or a point goes.
    let places: [String: Int]
    /// What the output adds, and leaves out of the input.
    let added: [String]
    /// What the input has of that.
    private(set) var replaced: Set<String>
    /// What the input has and no column is for.
    private(set) var withoutColumn: Set<String> = []
    /// The places of the columns that are written.
    private let kept: [Int]
    /// Whether a member of an NDJSON object or a point may have to be left out: most inputs name nothing like it.
    private let mayReplaceMembers: Bool
    private(set) var bytes: [UInt8] = []

    init(
        batch: LineBatch, format: FormatOptions, output: BatchScorer.Output, schema: Schema,
        columns: [String], places: [String: Int], added: [String]
    ) {
        self.batch = batch
        self.format = format
        self.output = output
        self.schema = schema
        self.columns = columns
        self.places = places
        self.added = added
        replaced = Set(columns).intersection(added)
        kept = columns.indices.filter { !added.contains(columns[$0]) }
        // A key may be written with escapes.
        mayReplaceMembers =
            format.format != .csv && (added + ["\\u"]).contains { batch.holds($0) }
        bytes.reserveCapacity(batch.bytes.count + 32 * batch.lines.count)
    }

    static let scores = ["log_likelihood", "p_value", "anomaly"]

    mutating func writeHeader() {
        guard output == .csv else { return }
        if format.format == .csv, kept.count == columns.count, let header = batch.header {
            bytes.append(contentsOf: header)
        } else {
            append(cells: columns)
        }
        for name in Self.scores {
            bytes.append(format.delimiter)
            bytes.append(contentsOf: name.utf8)
        }
        bytes.append(UInt8(ascii: "\n"))
    }

    mutating func write(
        line: Int, logLikelihood: Double, pValue: Double, isAnomaly: Bool, verdict: Verdict?
    ) {
        switch output {
        case .scores:
            NumberText.append(logLikelihood: logLikelihood, to: &bytes)
        case .csv:
            writeInput(line, isWhole: true)
            let start = bytes.count
            bytes.append(format.delimiter)
            NumberText.append(logLikelihood: logLikelihood, to: &bytes)
            bytes.append(format.delimiter)
            NumberText.append(pValue: pValue, to: &bytes)
            bytes.append(format.delimiter)
            bytes.append(UInt8(ascii: isAnomaly ? "1" : "0"))
            if format.decimalMark != UInt8(ascii: ".") { localize(from: start) }
        case .influx:
            let content = point(of: line)
            let end = PointText.fieldsEnd(of: content) ?? content.endIndex
            bytes.append(contentsOf: content[..<end])
            bytes.append(contentsOf: ",log_likelihood=".utf8)
            NumberText.append(logLikelihood: logLikelihood, to: &bytes)
            bytes.append(contentsOf: ",p_value=".utf8)
            NumberText.append(pValue: pValue, to: &bytes)
            bytes.append(contentsOf: (isAnomaly ? ",anomaly=true" : ",anomaly=false").utf8)
            bytes.append(contentsOf: content[end...])
        case .ndjson:
            openObject(line: line)
            bytes.append(contentsOf: "\"log_likelihood\":".utf8)
            NumberText.append(logLikelihood: logLikelihood, to: &bytes)
            bytes.append(contentsOf: ",\"p_value\":".utf8)
            NumberText.append(pValue: pValue, to: &bytes)
            bytes.append(
                contentsOf: (isAnomaly ? ",\"anomaly\":true" : ",\"anomaly\":false").utf8)
            if let verdict { append(reasons: verdict) }
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: "\n"))
    }

    /// Writes the numbers from an index on as the input does.
    private mutating func localize(from start: Int) {
        for index in start..<bytes.count where bytes[index] == UInt8(ascii: ".") {
            bytes[index] = format.decimalMark
        }
    }

    /// The members of the anomaly log that tell why.
    private mutating func append(reasons verdict: Verdict) {
        bytes.append(contentsOf: ",\"threshold\":".utf8)
        NumberText.append(logLikelihood: verdict.threshold, to: &bytes)
        bytes.append(contentsOf: ",\"tail\":\"\(verdict.tail.rawValue)\",\"features\":[".utf8)
        for (i, feature) in verdict.features.enumerated() {
            bytes.append(contentsOf: (i == 0 ? "{\"name\":" : ",{\"name\":").utf8)
            append(json: feature.name)
            bytes.append(contentsOf: ",\"value\":".utf8)
            append(json: feature.value) { "\($0)" }
            bytes.append(contentsOf: ",\"expected\":".utf8)
            append(json: feature.expected, number: NumberText.short)
            bytes.append(contentsOf: ",\"contribution\":".utf8)
            NumberText.append(logLikelihood: feature.contribution, to: &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(contentsOf: "],\"summary\":".utf8)
        append(json: verdict.summary)
    }

    private mutating func append(json value: CellValue, number: (Double) -> String) {
        switch value {
        case .number(let value): bytes.append(contentsOf: number(value).utf8)
        case .text(let text): append(json: text)
        case .missing: bytes.append(contentsOf: "null".utf8)
        }
    }

    /// A line that cannot be scored keeps its place, and what it holds as far as that can be told.
    mutating func write(line: Int, fault: RowFault?) {
        switch output {
        case .scores:
            break
        case .influx:
            bytes.append(contentsOf: point(of: line))
        case .csv:
            writeInput(line, isWhole: false)
            bytes.append(contentsOf: repeatElement(format.delimiter, count: Self.scores.count))
        case .ndjson:
            if format.format != .ndjson || JSONMembers.split(content(of: line)) != nil {
                openObject(line: line)
            } else {
                bytes.append(UInt8(ascii: "{"))
            }
            let reason = fault?.reason ?? "the line could not be read"
            bytes.append(
                contentsOf: "\"log_likelihood\":null,\"p_value\":null,\"anomaly\":null,\"reason\":"
                    .utf8)
            append(json: reason)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: "\n"))
    }

    /// The input's cells: a CSV line as it is, the values of an NDJSON object or a point in the order of the header.
    ///
    /// - Parameter isWhole: Whether a CSV line is known to have a cell a column; else it is cut or filled up, so that the scores
    ///   stay in their columns.
    private mutating func writeInput(_ line: Int, isWhole: Bool) {
        guard format.format != .csv else {
            let content = content(of: line)
            if isWhole, kept.count == columns.count {
                bytes.append(contentsOf: content)
            } else {
                append(cells: CSVCells.split(content, delimiter: format.delimiter))
            }
            return
        }
        var cells = [String](repeating: "", count: columns.count)
        for cell in KeyedCells.split(content(of: line), format, schema) {
            guard let place = places[cell.name] else {
                withoutColumn.insert(cell.name)
                continue
            }
            cells[place] = cell.text
        }
        append(cells: cells)
    }

    private func content(of line: Int) -> ArraySlice<UInt8> {
        let line = batch.lines[line]
        return batch.bytes[line.start..<(line.start + line.count)]
    }

    /// The point of the line without what the output adds.
    private mutating func point(of line: Int) -> ArraySlice<UInt8> {
        let content = content(of: line)
        guard mayReplaceMembers, let members = PointText.members(of: content) else {
            return content
        }
        let names = Set(members.map(\.name)).intersection(added)
        guard !names.isEmpty else { return content }
        replaced.formUnion(names)
        return PointText.point(content, without: names)
    }

    /// The object of the line up to where the scores go.
    private mutating func openObject(line: Int) {
        if format.format == .ndjson {
            let content = content(of: line)
            if mayReplaceMembers, let members = JSONMembers.split(content),
                members.contains(where: { added.contains($0.name) })
            {
                open(members)
                return
            }
            guard let end = content.lastIndex(of: UInt8(ascii: "}")),
                let start = content.firstIndex(of: UInt8(ascii: "{")), start < end
            else {
                bytes.append(UInt8(ascii: "{"))
                return
            }
            bytes.append(contentsOf: content[..<end])
            let isEmpty = content[(start + 1)..<end].allSatisfy { $0 == 0x20 || $0 == 0x09 }
            if !isEmpty { bytes.append(UInt8(ascii: ",")) }
            return
        }
        bytes.append(UInt8(ascii: "{"))
        if format.format == .influx {
            for member in PointText.members(of: content(of: line)) ?? [] {
                guard keeps(member.name) else { continue }
                append(json: member.name)
                bytes.append(UInt8(ascii: ":"))
                if member.isText
                    || (member.text != "true" && member.text != "false"
                        && !isJSONNumber(member.text))
                {
                    append(json: member.text)
                } else {
                    bytes.append(contentsOf: member.text.utf8)
                }
                bytes.append(UInt8(ascii: ","))
            }
            return
        }
        let cells = CSVCells.split(content(of: line), delimiter: format.delimiter)
        for (name, cell) in zip(columns, cells) where !added.contains(name) {
            append(json: name)
            bytes.append(UInt8(ascii: ":"))
            let cell =
                format.decimalMark != UInt8(ascii: ".") && schema.features.contains(name)
                ? cell.replacing(",", with: ".") : cell
            if schema.features.contains(name), Double(cell)?.isFinite == true, isJSONNumber(cell) {
                bytes.append(contentsOf: cell.utf8)
            } else {
                append(json: cell)
            }
            bytes.append(UInt8(ascii: ","))
        }
    }

    /// An object with the members that are kept, up to where the scores go.
    private mutating func open(_ members: [JSONMembers.Member]) {
        bytes.append(UInt8(ascii: "{"))
        for member in members where keeps(member.name) {
            append(json: member.name)
            bytes.append(UInt8(ascii: ":"))
            bytes.append(contentsOf: member.value)
            bytes.append(UInt8(ascii: ","))
        }
    }

    /// Whether the input's own value of a name is written; it is noted if not.
    private mutating func keeps(_ name: String) -> Bool {
        guard added.contains(name) else { return true }
        replaced.insert(name)
        return false
    }

    /// `.5`, `+1` and `0x10` are numbers to others, not to JSON.
    private func isJSONNumber(_ text: String) -> Bool {
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        guard let first = digits.first, first.isASCII, first.isNumber else { return false }
        if first == "0", digits.dropFirst().first?.isNumber == true { return false }
        return !text.hasSuffix(".") && !text.contains("x") && !text.contains("X")
            && !text.contains(".e") && !text.contains(".E")
    }

    /// The cells of the columns that are kept; those that a line lacks are empty.
    private mutating func append(cells: [String]) {
        for (i, place) in kept.enumerated() {
            if i > 0 { bytes.append(format.delimiter) }
            if place < cells.count { append(cell: cells[place]) }
        }
    }

    private mutating func append(cell name: String) {
        let needsQuotes = name.utf8.contains {
            $0 == format.delimiter || $0 == UInt8(ascii: "\"") || $0 == 0x0A || $0 == 0x0D
        }
        guard needsQuotes else {
            bytes.append(contentsOf: name.utf8)
            return
        }
        bytes.append(UInt8(ascii: "\""))
        for byte in name.utf8 {
            if byte == UInt8(ascii: "\"") { bytes.append(byte) }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func append(json text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0..<0x20:
                let hex = Array("0123456789abcdef".utf8)
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(hex[Int(byte >> 4)])
                bytes.append(hex[Int(byte & 15)])
            default:
                bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
