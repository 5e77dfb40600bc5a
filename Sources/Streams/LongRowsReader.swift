import Ingest
import Settings

/// Reads long rows of whole files as the daemon would, for commands that need no daemon.
package struct LongRowsReader {
    /// Records and faults of lines that were read.
    package struct Piece {
        /// The input of the lines.
        package var input: String
        package var decoded: DecodedBatch
    }

    private let configuration: StreamConfiguration
    private let rows: LongRows
    private var assembler: LongAssembler
    private var decoder: LongDecoder?
    private var tally: SchemaTally?
    /// What was read before the columns were settled.
    private var waiting: [(input: String, outcome: LongAssembler.Outcome)] = []
    private var stepCount = 0
    /// The columns of the records, once they are settled.
    package private(set) var schema: Schema?
    /// Columns that count the records, and are left out for it.
    package private(set) var leftOut: [InferredSchema.LeftOut] = []

    /// What became of rows that are in no record.
    package var counts: PointCounts { assembler.counts }

    /// A reader for a stream's files; `nil` for a stream whose lines are records.
    package init?(_ configuration: StreamConfiguration) {
        guard let rows = configuration.longRows else { return nil }
        self.configuration = configuration
        self.rows = rows
        assembler = LongAssembler(rows.shape)
        if let features = configuration.features {
            assembler.settle(on: features)
            schema = configuration.allowingMissing(
                in: Schema(features: features, time: configuration.longRowsTime))
        } else {
            tally = SchemaTally()
        }
    }

    /// Takes lines in, the first of each file with its header.
    ///
    /// - Returns: The faults of the lines, and the records that are complete, once it is settled which columns they have.
    package mutating func read(_ batch: LineBatch) throws(IngestError) -> [Piece] {
        var current =
            decoder
            ?? LongDecoder(
                rows, format: configuration.format, time: configuration.longRowsTime ?? "")
        var outcome = try assembler.take(
            batch, with: &current, as: rows, admitsNew: schema == nil,
            except: Set(configuration.exclude))
        // Each file has a header of its own.
        decoder = batch.isLast ? nil : current
        stepCount += outcome.stepCount
        tally?.add(outcome, columns: assembler.columns)
        guard tally?.isComplete == false else {
            waiting.append((batch.inputName, outcome))
            return take()
        }
        let faults = DecodedBatch(
            records: RecordBatch(schema: Schema(features: [], time: nil)), faults: outcome.faults)
        outcome.faults = []
        waiting.append((batch.inputName, outcome))
        return [Piece(input: batch.inputName, decoded: faults)]
    }

    /// The records that are left when all files are read; the last step of all has none.
    ///
    /// - Throws: `noStep` when there is no record, `noFrequentSeries` when no series is a column.
    package mutating func finish(input: String) throws(IngestError) -> [Piece] {
        guard stepCount > 0 else { throw .noStep(input: input, late: counts.late) }
        let pieces = take()
        guard schema != nil else {
            throw .noFrequentSeries(input: input, present: assembler.columns)
        }
        return pieces
    }

    private mutating func take() -> [Piece] {
        schema = schema ?? tally?.schema(of: configuration)
        guard let schema else { return [] }
        leftOut = tally?.rowNumbers(of: configuration) ?? leftOut
        tally = nil
        let pieces = waiting.map {
            Piece(
                input: $0.input,
                decoded: assembler.records(of: $0.outcome, as: rows, schema: schema))
        }
        waiting = []
        assembler.settle(on: schema.features)
        return pieces
    }
}
