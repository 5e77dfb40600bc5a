import Foundation

/// Puts the points of long rows together into records on a grid of time.
///
/// A record holds for each series its newest value in the step, or the one before it that is not too
/// old. It is given when a point of a later step comes, and the lateness that is allowed has passed
/// between the times of the two: no clock but that of the points is looked at, so the same points give the
/// same records, however they are cut into batches. A step without a point gives no record.
///
/// A point that lies further ahead than a value lasts is believed once the next one does not lie
/// before it, so that a single wrong time does not close all steps up to it.
///
/// It is a value of bounded size, and what a checkpoint holds of rows that are in no record yet.
public struct LongAssembler: Sendable, Hashable, Codable {
    /// How many series there may be.
    public static let seriesLimit = Schema.featureLimit
    /// The longest name of a series, in bytes.
    static let nameLimitBytes = 256
    /// After so many points in a row that are more than a day late, the clock was set back.
    static let oldLimit = 1_000
    private static let oldMicroseconds: Int64 = 86_400_000_000

    /// What the names and the rhythm of the records follow from.
    public let shape: LongRows
    /// The series, in the order of their first appearance or as they were settled.
    public private(set) var columns: [String] = []
    /// What became of points that are in no record.
    public private(set) var counts: PointCounts
    /// Whether a series was left out because there were too many, or because of its name.
    public var hasLeftOut = false

    /// The newest value of each series in the steps that are closed.
    private var last = Readings()
    /// Steps that points may still come for, ascending.
    private var open: [OpenStep] = []
    private var newest: Int64?
    /// Steps that begin before this are closed.
    private var closedBefore = Int64.min
    /// A point far ahead that waits for the next one.
    private var held: HeldPoint?
    /// Points that came late since the newest that did not.
    public private(set) var lateRun = 0
    /// Of these, the newest that were more than a day late.
    private var oldRun = 0

    private struct OpenStep: Sendable, Hashable, Codable {
        var start: Int64
        var origin: RecordOrigin
        var cells = Readings()
    }

    private struct HeldPoint: Sendable, Hashable, Codable {
        var time: Int64
        var values: [Int: Double]
        var origin: RecordOrigin
    }

    /// A step that is closed.
    struct Step: Sendable, Hashable {
        /// When it begins, in microseconds since 1970.
        var start: Int64
        /// A value for each column of that moment; NaN where there is none.
        var values: [Double]
        /// The first point that came of it.
        var origin: RecordOrigin
        /// The line of the batch that closed it.
        var lineIndex: Int
    }

    /// What a batch has brought.
    public struct Outcome: Sendable {
        var steps: [Step] = []
        /// Lines that are no points, and points whose time is not believed.
        public var faults: [RowFault] = []

        /// How many steps were closed.
        public var stepCount: Int { steps.count }

        /// The columns that have a value in a step.
        ///
        /// - Parameter columns: Those of the assembler.
        public func present(inStep index: Int, of columns: [String]) -> [String] {
            zip(columns, steps[index].values).filter { !$0.1.isNaN }.map(\.0)
        }

        /// The values of these columns, in their order.
        public func numbers(inStep index: Int) -> [Double] {
            steps[index].values.filter { !$0.isNaN }
        }
    }

    /// An assembler that has seen nothing.
    ///
    /// - Parameters:
    ///   - shape: Of the rows.
    ///   - counts: What to count on from.
    public init(_ shape: LongRows, counts: PointCounts = PointCounts()) {
        self.shape = shape
        self.counts = counts
    }

    /// Takes the lines of a batch in.
    ///
    /// - Parameters:
    ///   - batch: The lines, in the input's order.
    ///   - decoder: That of the input.
    ///   - rows: How rows are put together; of the assembler's shape.
    ///   - admitsNew: Whether a series that is not known becomes a column.
    ///   - excluded: Series that become none all the same.
    /// - Returns: The steps that are closed by it.
    /// - Throws: `IngestError` if the header lacks a column; then nothing has changed.
    public mutating func take(
        _ batch: LineBatch, with decoder: inout LongDecoder, as rows: LongRows, admitsNew: Bool,
        except excluded: Set<String> = []
    ) throws(IngestError) -> Outcome {
        // While columns are open, none of them is known to hold numbers only: not even those of this batch.
        let points = try decoder.decode(batch, columns: admitsNew ? [] : columns)
        var outcome = Outcome()
        outcome.faults = points.faults
        var places: [String: Int] = [:]
        for (place, name) in columns.enumerated() { places[name] = place }
        let columnOfName = points.names.map { name in
            places[name] ?? (admitsNew && !excluded.contains(name) ? admit(name) : nil)
        }
        let grid = Grid(rows)
        for point in points.points {
            var values: [Int: Double] = [:]
            for cell in points.cells[point.cells] {
                guard let column = columnOfName[cell.name] else { continue }
                values[column] = cell.value
            }
            guard !values.isEmpty else {
                counts.unknown += 1
                continue
            }
            let line = batch.lines[point.lineIndex]
            let origin = RecordOrigin(
                input: batch.inputName, line: line.number, offset: line.offset)
            take(
                HeldPoint(time: point.time, values: values, origin: origin), on: grid,
                lineIndex: point.lineIndex, into: &outcome)
        }
        return outcome
    }

    /// Makes these the columns; the values of others are forgotten.
    public mutating func settle(on names: [String]) {
        guard columns != names else { return }
        var places: [String: Int] = [:]
        for (place, name) in names.enumerated() { places[name] = place }
        let moved = columns.map { places[$0] }
        func kept<Value>(_ values: [Int: Value]) -> [Int: Value] {
            var kept: [Int: Value] = [:]
            for (column, value) in values { if let place = moved[column] { kept[place] = value } }
            return kept
        }
        last.all = kept(last.all)
        for step in open.indices { open[step].cells.all = kept(open[step].cells.all) }
        open.removeAll { $0.cells.all.isEmpty }
        if let point = held {
            let values = kept(point.values)
            held?.values = values
            if values.isEmpty { held = nil }
        }
        columns = names
    }

    // MARK: Points

    /// The grid in whole microseconds.
    private struct Grid {
        let every: Int64
        let staleAfter: Int64
        let lateBy: Int64

        init(_ rows: LongRows) {
            every = rows.every.microseconds
            staleAfter = rows.staleAfter.microseconds
            lateBy = rows.lateBy.microseconds
        }

        /// The beginning of the step that a time is in.
        func start(_ time: Int64) -> Int64 {
            let rest = time % every
            return time - rest - (rest < 0 ? every : 0)
        }
    }

    private mutating func admit(_ name: String) -> Int? {
        guard columns.count < Self.seriesLimit, name.utf8.count <= Self.nameLimitBytes else {
            hasLeftOut = true
            return nil
        }
        columns.append(name)
        return columns.count - 1
    }

    private mutating func take(
        _ point: HeldPoint, on grid: Grid, lineIndex: Int, into outcome: inout Outcome
    ) {
        let reach = grid.staleAfter + grid.lateBy
        if let before = held {
            held = nil
            if point.time >= before.time - reach {
                add(before, on: grid, lineIndex: lineIndex, into: &outcome)
            } else {
                outcome.faults.append(Self.fault(before, lineIndex: lineIndex))
            }
        }
        if newest.map({ point.time - $0 > reach }) ?? true {
            held = point
        } else {
            add(point, on: grid, lineIndex: lineIndex, into: &outcome)
        }
    }

    private mutating func add(
        _ point: HeldPoint, on grid: Grid, lineIndex: Int, into outcome: inout Outcome
    ) {
        let start = grid.start(point.time)
        guard start >= closedBefore else {
            oldRun = closedBefore - point.time > Self.oldMicroseconds ? oldRun + 1 : 0
            guard oldRun >= Self.oldLimit else {
                counts.late += 1
                lateRun += 1
                return
            }
            return beginAnew(with: point, on: grid, lineIndex: lineIndex, into: &outcome)
        }
        oldRun = 0
        lateRun = 0
        let place = place(of: start, origin: point.origin)
        var isDuplicate = false
        for (column, value) in point.values {
            let known = open[place].cells.all[column]
            if let known, known.time >= point.time {
                isDuplicate = isDuplicate || known.time == point.time
            } else {
                open[place].cells.all[column] = Reading(time: point.time, value: value)
            }
        }
        if isDuplicate { counts.duplicate += 1 }
        let time = max(point.time, newest ?? point.time)
        newest = time
        close(before: grid.start(time - grid.lateBy), on: grid, lineIndex, into: &outcome)
    }

    /// Where the step is among those that are open; it is made if there was no point of it.
    private mutating func place(of start: Int64, origin: RecordOrigin) -> Int {
        // Nearly all points are of the newest step.
        let place = (open.lastIndex { $0.start <= start } ?? -1)
        if place >= 0, open[place].start == start { return place }
        open.insert(OpenStep(start: start, origin: origin), at: place + 1)
        return place + 1
    }

    private mutating func close(
        before boundary: Int64, on grid: Grid, _ lineIndex: Int, into outcome: inout Outcome
    ) {
        guard boundary > closedBefore else { return }
        closedBefore = boundary
        let count = open.prefix { $0.start < boundary }.count
        for step in open[..<count] {
            for (column, reading) in step.cells.all { last.all[column] = reading }
            var values = [Double](repeating: .nan, count: columns.count)
            let end = step.start + grid.every
            for (column, reading) in last.all where end - reading.time <= grid.staleAfter {
                values[column] = reading.value
            }
            outcome.steps.append(
                Step(
                    start: step.start, values: values, origin: step.origin, lineIndex: lineIndex))
        }
        open.removeFirst(count)
    }

    /// The clock was set back: what is open is given, and the grid begins at this point.
    private mutating func beginAnew(
        with point: HeldPoint, on grid: Grid, lineIndex: Int, into outcome: inout Outcome
    ) {
        close(before: .max, on: grid, lineIndex, into: &outcome)
        closedBefore = .min
        newest = nil
        last = Readings()
        oldRun = 0
        lateRun = 0
        held = point
    }

    private static func fault(_ point: HeldPoint, lineIndex: Int) -> RowFault {
        RowFault(
            lineIndex: lineIndex, lineNumber: point.origin.line, offset: point.origin.offset,
            code: .badTime,
            reason: "expected a time near those of the rows around it, found \(text(point.time))",
            origin: point.origin)
    }

    private static func text(_ time: Int64) -> String {
        Date(timeIntervalSince1970: Double(time) / 1e6).formatted(.iso8601)
    }

    // MARK: Records

    /// Makes records of steps.
    ///
    /// - Parameters:
    ///   - outcome: What a batch has brought.
    ///   - rows: How they were put together.
    ///   - schema: The columns of the records.
    /// - Returns: The records and where each begins, and beside the faults of the batch those of steps that lack a value.
    public func records(
        of outcome: Outcome, as rows: LongRows, schema: Schema
    ) -> DecodedBatch {
        var places: [String: Int] = [:]
        for (place, name) in columns.enumerated() { places[name] = place }
        let columnOfFeature = schema.features.map { places[$0] }
        let isNeeded = schema.features.map { !schema.optional.contains($0) }
        var batch = DecodedBatch(records: RecordBatch(schema: schema), faults: outcome.faults)
        var origins: [RecordOrigin] = []
        for step in outcome.steps {
            let values = columnOfFeature.map { column in
                column.flatMap { step.values.indices.contains($0) ? step.values[$0] : nil } ?? .nan
            }
            let lacking = values.indices.filter { isNeeded[$0] && values[$0].isNaN }
            guard lacking.isEmpty else {
                let names = lacking.map { schema.features[$0] }
                batch.faults.append(Self.fault(step, lacks: names, rows))
                continue
            }
            batch.records.append(
                values, time: Double(step.start) / 1e6, lineIndex: Int32(step.lineIndex),
                offset: step.origin.offset)
            origins.append(step.origin)
        }
        batch.origins = origins
        // Faults of steps lie between those of lines.
        batch.faults = batch.faults.enumerated()
            .sorted { ($0.element.lineIndex, $0.offset) < ($1.element.lineIndex, $1.offset) }
            .map(\.element)
        return batch
    }

    private static func fault(_ step: Step, lacks names: [String], _ rows: LongRows) -> RowFault {
        let shown = names.prefix(3).map { Printable.quoted(Array($0.utf8)) }
            .joined(separator: ", ")
        let more = names.count > 3 ? " and \(names.count - 3) more" : ""
        let microseconds = rows.staleAfter.microseconds
        let age =
            microseconds % 1_000_000 == 0
            ? "\(microseconds / 1_000_000)" : "\(Double(microseconds) / 1e6)"
        return RowFault(
            lineIndex: step.lineIndex, lineNumber: step.origin.line, offset: step.origin.offset,
            column: names[0], code: .incompleteStep,
            reason: "the step from \(text(step.start)): expected values of \(shown)\(more) "
                + "that are at most \(age) s old, found none",
            origin: step.origin)
    }
}
