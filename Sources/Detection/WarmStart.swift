import FlowDensity
import Ingest

/// Why a fit that was to go on from a former model begins from nothing.
struct ColdReason: Error {
    /// In words, as the end of "it begins from nothing: …".
    var text: String

    init(_ text: String) { self.text = text }
}

/// What is known of the running numbers of the records that a fit is given.
public enum RecordNumbers: Sendable, Hashable {
    /// They follow one another; which of them a former fit had is found by what they hold.
    case consecutive
    /// Their numbers in the order of the records, ascending, in a count that former fits share.
    case ranges([Range<Int64>])
    /// Nothing: a record among them may be missing.
    case unknown

    /// One number for each record; `nil`: they are not known, or are not as many.
    func counted(_ rowCount: Int) -> [Int64]? {
        switch self {
        case .consecutive:
            return (0..<rowCount).map(Int64.init)
        case .ranges(let ranges):
            guard ranges.reduce(0, { $0 + $1.count }) == rowCount else { return nil }
            return ranges.flatMap { Array($0) }
        case .unknown:
            return nil
        }
    }
}

/// What a fit learns by: the parts of the records, the encoder, and the flows that it begins from.
struct FitGround {
    var split: Split
    var encoder: Encoder
    /// The records' parts, for the next fit; `nil` where they go by places, or quarters take turns.
    var lineage: Lineage?
    /// The former flows, in order; empty: the fit begins from nothing.
    var flows: [Flow<Float>] = []

    /// So many fits may follow one from nothing, each from the one before.
    static let mostWarmFits = 9
    /// A column whose center has moved by more of its deviations than this has changed.
    private static let mostShift = 0.5
    /// A column whose deviation is so many times the former, or the other way round, has changed.
    private static let mostStretch = 1.5

    /// The ground of a fit from nothing.
    init(
        _ records: RecordBatch, numbers: RecordNumbers, rows: [Int], context: ContextPlan,
        windows: [Int], options: DetectorOptions
    ) {
        split = Split(rows: rows)
        if let numbers = numbers.counted(records.rowCount), let first = rows.first {
            let blocks = Blocks(rowCount: rows.count, origin: numbers[first])
            let numbered = Split(rows: rows, numbers: numbers, blocks: blocks)
            if numbered.isBalanced {
                split = numbered
                lineage = Lineage(records, numbers: numbers, blocks: blocks)
            }
        }
        encoder = Encoder(
            fitting: records, context: context, windows: windows,
            missing: options.missing ?? MissingPolicies(),
            discrete: DiscreteDensity(fitting: records, rows: split.learning))
    }

    /// The ground of a fit that goes on from a former detector.
    ///
    /// - Throws: Why that cannot be.
    init(
        _ records: RecordBatch, numbers given: RecordNumbers, rows: [Int], context: ContextPlan,
        windows: [Int], options: DetectorOptions, former: Detector
    ) throws(ColdReason) {
        guard let known = former.lineage else {
            throw ColdReason("the former model does not tell which records it learned from")
        }
        guard known.warmFits < Self.mostWarmFits else {
            throw ColdReason("\(known.warmFits) fits went on from the one before")
        }
        guard former.schema == records.schema else { throw ColdReason("other columns are read") }
        guard former.options.missing == options.missing else {
            throw ColdReason("missing values are filled in another way")
        }
        guard former.windows == windows, former.lags == context.lags,
            options.calendar.map({ $0 == former.calendar }) ?? true,
            former.encoder.context.timeZone == context.timeZone
        else {
            throw ColdReason("the records are judged with another past or calendar")
        }
        guard known.blocks.fit(rowCount: rows.count) else {
            throw ColdReason("the number of records is another by far")
        }
        var found = given
        if case .consecutive = given {
            guard let first = known.firstNumber(of: records) else {
                throw ColdReason(
                    "it cannot be told which of the records the former model learned from")
            }
            found = .ranges([first..<(first + Int64(records.rowCount))])
        }
        guard let numbers = found.counted(records.rowCount) else {
            throw ColdReason("records are damaged or missing")
        }
        split = Split(rows: rows, numbers: numbers, blocks: known.blocks)
        guard split.isBalanced, !split.takesTurns else {
            throw ColdReason("the records are too few")
        }
        lineage = Lineage(records, numbers: numbers, blocks: known.blocks, former: known)
        var plan = context
        plan.calendar = former.calendar
        let fitted = Encoder(
            fitting: records, context: plan, windows: windows,
            missing: options.missing ?? MissingPolicies(),
            discrete: DiscreteDensity(fitting: records, rows: split.learning))
        encoder = try fitted.standardised(as: former.encoder)
        flows = former.flows.members
    }

    /// Makes sure that the former flows are those that the plan asks for.
    ///
    /// - Throws: Why they are not.
    func check(_ plan: FitPlan) throws(ColdReason) {
        guard !flows.isEmpty else { return }
        guard flows.count == plan.members else {
            throw ColdReason("the density is the mean of \(plan.members) flows, not \(flows.count)")
        }
        for flow in flows {
            do {
                _ = try Flow(
                    from: flow, featureCount: encoder.inputCount,
                    contextCount: encoder.contextCount, options: plan.flow)
            } catch {
                throw ColdReason("\(error)")
            }
        }
    }

    /// Whether a column is still about as it was.
    static func isAbout(_ column: Column, _ former: Column) -> Bool {
        let stretch = column.scale / former.scale
        return abs(column.center - former.center) <= mostShift * former.scale
            && stretch <= mostStretch && stretch * mostStretch >= 1
    }
}

extension Encoder {
    /// The same encoder in the coordinates of a former one, which its flows know.
    ///
    /// - Throws: What has changed too much for that.
    func standardised(as former: Encoder) throws(ColdReason) -> Encoder {
        guard active == former.active, inputs.count == former.inputs.count else {
            throw ColdReason("other features vary")
        }
        guard discrete.hasSlots(of: former.discrete) else {
            throw ColdReason("the categories have other values, or another order of frequency")
        }
        for (place, column) in inputs.enumerated()
        where !FitGround.isAbout(column, former.inputs[place]) {
            let name = schema.features[active[place % active.count]]
            throw ColdReason("'\(name)' has moved too far")
        }
        for (place, column) in columns.enumerated() where !column.isConstant {
            guard FitGround.isAbout(column, former.columns[place]) else {
                throw ColdReason("'\(schema.features[place])' has moved too far")
            }
        }
        guard windows?.moving == former.windows?.moving else {
            throw ColdReason("other features hold their readings for long")
        }
        func kept(_ columns: [Column], _ former: [Column]) -> [Column] {
            zip(columns, former).map { column, former in
                var column = column
                if !column.isConstant {
                    (column.center, column.scale) = (former.center, former.scale)
                }
                return column
            }
        }
        return Encoder(
            schema: schema, columns: kept(columns, former.columns), context: context,
            windows: windows.map { own in
                StateWindows(
                    lengths: own.lengths, moving: own.moving, width: active.count,
                    parts: kept(own.parts, former.inputs),
                    recovery: own.recovery)
            }, missing: missing, discrete: discrete)
    }
}
