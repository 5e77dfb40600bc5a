import Detection
import Ingest
import Settings

extension StreamWorker {
    /// Makes records of the long rows of a batch and those that waited for them.
    ///
    /// What still waits then is in the assembler, which is committed together with the records: so the place in the source
    /// and the acknowledgements to clients are those of the batch, as if each row were a record.
    ///
    /// - Parameter titled: The batch with the header of its input.
    /// - Returns: `nil` when the batch as a whole was refused, and that was committed.
    func assemble(
        _ batch: LineBatch, titled: LineBatch, as rows: LongRows, isHistory: Bool
    ) async throws -> DecodedBatch? {
        let isOpen =
            configuration.features == nil
            && (isSchemaOpen || isSchemaReconsidered || !isSchemaCurrent)
        var assembler = currentAssembler(rows, isOpen: isOpen)
        let hadLeftOut = assembler.hasLeftOut
        if !isSchemaCurrent { assembler.hasLeftOut = false }
        let known = inputs[batch.input]?.longDecoder
        var decoder =
            known
            ?? LongDecoder(
                rows, format: configuration.format, time: configuration.longRowsTime ?? "")
        let outcome: LongAssembler.Outcome
        do {
            outcome = try assembler.take(
                known == nil ? titled : batch, with: &decoder, as: rows, admitsNew: isOpen,
                except: Set(configuration.exclude))
        } catch {
            try await refuse(batch, reason: error, isHistory: isHistory)
            return nil
        }
        inputs[batch.input]?.longDecoder = decoder
        let (columns, input) = (assembler.columns, batch.inputName)
        if isHistory || configuration.source.isFile {
            try settleSchema(by: outcome, of: columns, input: input, hadLeftOut: hadLeftOut)
        } else {
            try await insist {
                try self.settleSchema(
                    by: outcome, of: columns, input: input, hadLeftOut: hadLeftOut)
            }
        }
        // Without a step nothing was decided by it.
        if !isSchemaCurrent { assembler.hasLeftOut = assembler.hasLeftOut || hadLeftOut }
        var decoded = DecodedBatch(
            records: RecordBatch(schema: Schema(features: [], time: nil)), faults: outcome.faults)
        if let schema = schemaOfRows {
            decoded = assembler.records(of: outcome, as: rows, schema: schema)
        }
        if let schema = state.schema, isSchemaCurrent, !isSchemaOpen, !isSchemaReconsidered {
            assembler.settle(on: schema.features)
        }
        decoded.assembler = assembler
        return decoded
    }

    /// What is known of rows of this shape; the counts go on whatever their shape.
    private func currentAssembler(_ rows: LongRows, isOpen: Bool) -> LongAssembler {
        var assembler = LongAssembler(
            rows.shape, counts: state.assembler?.counts ?? PointCounts())
        if let known = state.assembler, known.shape == rows.shape { assembler = known }
        if let features = configuration.features { assembler.settle(on: features) }
        if isOpen {
            let excluded = Set(configuration.exclude)
            assembler.settle(on: assembler.columns.filter { !excluded.contains($0) })
        }
        return assembler
    }

    /// The schema of the records before, if they were made of rows of this shape: those of other rows have other columns.
    private var schemaOfRows: Schema? {
        state.basis.longRows == configuration.longRows?.shape ? state.schema : nil
    }

    /// Whether the columns that the model reads may all stay.
    private var mayModelStay: Bool {
        guard serving != nil, let schema = schemaOfRows else { return false }
        let same = Schema(
            features: schema.features, categories: schema.categories,
            time: configuration.longRowsTime)
        return configuration.allowingMissing(in: same) == schema
            && Set(schema.features).isDisjoint(with: configuration.exclude)
    }

    /// Finds the features by the first steps, and again when the configuration chooses others.
    ///
    /// A model that reads none that are excluded now serves until the steps have told which features there are.
    ///
    /// - Parameter hadLeftOut: Whether others than the columns before may have room now.
    private func settleSchema(
        by outcome: LongAssembler.Outcome, of columns: [String], input: String, hadLeftOut: Bool
    ) throws {
        guard outcome.stepCount > 0 else { return }
        guard state.schema == nil || !isSchemaCurrent || isSchemaOpen || isSchemaReconsidered else {
            return
        }
        if let features = configuration.features {
            let schema = Schema(features: features, time: configuration.longRowsTime)
            return try use(configuration.allowingMissing(in: schema), tally: nil)
        }
        if !isSchemaCurrent, !hadLeftOut, let adapted = adaptedSchema {
            return try use(adapted, tally: nil)
        }
        var tally = (isSchemaCurrent ? state.tally : nil) ?? SchemaTally()
        grow(&tally) { $0.add(outcome, columns: columns) }
        if !tally.isComplete, mayModelStay {
            state.basis = WorkerState.SchemaBasis(configuration)
            state.tally = tally
            return
        }
        guard let schema = tally.schema(of: configuration) ?? schemaOfRows else {
            let error = IngestError.noFrequentSeries(input: input, present: columns)
            if configuration.source.isFile { throw error }
            return failing(error)
        }
        try use(schema, tally: tally.isComplete ? nil : tally)
    }

    /// What became of rows that are in no record; `nil` where each line is a record.
    var pointCounts: PointCounts? {
        configuration.longRows.map { _ in state.assembler?.counts ?? PointCounts() }
    }

    /// Of so many rows in a row that are late, a person is told.
    private static let mostLate = 1_000

    /// What a person should know of the rows, though records are made of them.
    var longRowsProblem: String? {
        guard configuration.longRows != nil, let assembler = state.assembler else { return nil }
        if assembler.lateRun >= Self.mostLate {
            return
                "long rows: expected rows in the order of their times, found \(assembler.lateRun) "
                + "in a row that came when the step of their time was closed"
        }
        guard configuration.features == nil, assembler.hasLeftOut else { return nil }
        return
            "long rows: expected at most \(LongAssembler.seriesLimit) series with names of at most "
            + "256 bytes, found more, which are left out: name under features what is to be watched"
    }
}

extension StreamConfiguration {
    /// The name of the time of long rows; `nil` where each line is a record.
    package var longRowsTime: String? {
        longRows == nil
            ? nil : format.format == .influx ? RecordFormat.influxTime : timeColumn
    }
}
