import Detection
import Ingest
import Settings
import Store

/// The next batch of a file, taken and decoded while the one before it is scored and committed.
struct BatchAhead: Sendable {
    /// What the source gave.
    let batch: LineBatch
    /// What its lines hold, and its input's decoder behind them; `nil` where there was no decoder yet.
    let decoded: (batch: DecodedBatch, decoder: RecordDecoder)?
    /// Of the decoders that it was made with.
    let generation: Int
}

/// The scores of a batch that was decoded ahead, with what they are the scores of.
struct ScoresAhead: Sendable {
    let batch: ScoredBatch
    /// The number of the model.
    let model: Int64
    /// The running number of the first record.
    let firstNumber: Int64
    /// Of the decoders that the records were made with.
    let generation: Int
}

extension StreamWorker {
    /// The source's next batch: the one that was taken ahead, if one was.
    func nextBatch(of source: any LineSource) async throws -> LineBatch? {
        (ahead, scoresAhead) = (nil, nil)
        guard let task = aheadTask else { return try await source.next() }
        let scoring = scoresAheadTask
        (aheadTask, scoresAheadTask) = (nil, nil)
        ahead = try await task.value
        scoresAhead = await scoring?.value
        return ahead?.batch
    }

    /// Counts a file's batch as backlog until it is committed.
    func beginBacklog(of batch: LineBatch) {
        guard configuration.source.isFile else { return }
        board.update { ($0.underwayBytes, $0.aheadBytes) = (Int64(batch.bytes.count), 0) }
    }

    /// A batch is none any more that its source takes back, or has done with.
    func endBacklog() { board.update { $0.underwayBytes = 0 } }

    /// Begins to take and decode the batch after this one, where the file is known to hold one.
    ///
    /// What is taken ahead and never committed is read again: the file's place is committed with the batch. Other sources
    /// give what they cannot give again, or must be told which input of theirs has failed, so theirs is not taken ahead.
    func lookAhead(in source: any LineSource) {
        guard aheadTask == nil, let source = source as? FileSource, source.backlogBytes() > 0,
            configuration.longRows == nil
        else { return }
        let decoders = inputs.compactMapValues(\.decoder)
        let generation = decoderGeneration
        aheadTask = Task.detached { [board] in
            guard let batch = try await source.next() else { return nil }
            board.noteAhead(Int64(batch.bytes.count), of: source)
            var decoder = decoders[batch.input]
            // What it throws is thrown when the batch has its turn, and is decoded then.
            let decoded = try? decoder?.decode(batch)
            return BatchAhead(
                batch: batch, decoded: decoded.flatMap { batch in decoder.map { (batch, $0) } },
                generation: generation)
        }
    }

    /// What was decoded ahead of this batch, unless the columns are others since.
    func takeDecodedAhead() -> (batch: DecodedBatch, decoder: RecordDecoder)? {
        defer { ahead = nil }
        guard let ahead, ahead.generation == decoderGeneration else { return nil }
        return ahead.decoded
    }

    /// Begins to score the next batch as soon as it is decoded, if one is taken ahead: only what its records are worth to
    /// the model, which what is decided about those before does not change.
    ///
    /// - Parameters:
    ///   - number: The running number of its first record.
    ///   - context: What the model remembers before it.
    func scoreAhead(from number: Int64, after context: ContextState, with serving: ServingModel) {
        guard scoresAheadTask == nil, let aheadTask else { return }
        let (detector, model) = (serving.detector, serving.row.id)
        scoresAheadTask = Task.detached {
            guard let ahead = try? await aheadTask.value, let decoded = ahead.decoded else {
                return nil
            }
            return ScoresAhead(
                batch: ScoredBatch(decoded.batch.records, by: detector, after: context),
                model: model, firstNumber: number, generation: ahead.generation)
        }
    }

    /// The scores of the batch under way, if they were made ahead, under this model and of these columns.
    func takeScoredAhead(with serving: ServingModel) -> ScoredBatch? {
        defer { scoresAhead = nil }
        guard let scoresAhead, scoresAhead.model == serving.row.id,
            scoresAhead.firstNumber == state.windowTotal,
            scoresAhead.generation == decoderGeneration
        else { return nil }
        return scoresAhead.batch
    }

    /// Forgets what was taken ahead of a source that is left.
    func forgetAhead() {
        (aheadTask, ahead) = (nil, nil)
        (scoresAheadTask, scoresAhead) = (nil, nil)
    }
}
