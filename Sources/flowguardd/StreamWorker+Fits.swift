import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// New records that make a periodic fit worth its while.
    private static let leastNewRecords: Int64 = 100
    /// Above this share of excluded records the stream has changed for good, and they are learned.
    private static let mostExcludedShare = 0.2
    /// Waiting time after a failed first fit.
    private static let retryFirstFitSecs = 60.0

    // MARK: When

    /// Asks for a fit when the clock or the number of records says so.
    func fitWhenDue() {
        guard fitTask == nil, !board.isStopping, let trigger = dueTrigger else { return }
        do {
            _ = try requestFit(trigger)
        } catch {
            failing(error)
        }
    }

    private var dueTrigger: String? {
        let now = currentTime()
        let arrived = state.windowTotal - state.lastFitTotal
        if serving == nil {
            guard heldCount >= Int64(configuration.fit.firstAfterRecords) else { return nil }
            guard let last = state.lastFitAt else { return "first" }
            let isFull = state.pendingCount >= Int64(configuration.fit.windowRecords)
            let hasGrown = arrived >= max(Self.leastNewRecords, state.lastFitTotal / 4)
            return (hasGrown || isFull) && now - last >= Self.retryFirstFitSecs ? "first" : nil
        }
        guard let next = nextFitTime, now >= next, arrived >= Self.leastNewRecords else {
            return nil
        }
        return "periodic"
    }

    /// When the next periodic fit is due, in epoch seconds.
    var nextFitTime: Double? {
        guard let serving, let every = configuration.fit.every else { return nil }
        return (state.lastFitAt ?? serving.row.fittedAt) + every.inSeconds
    }

    /// Records that a fit could take.
    private var heldCount: Int64 {
        min(state.windowTotal, Int64(configuration.fit.windowRecords))
    }

    // MARK: Asking

    /// Begins a fit, or finds the one that is under way.
    ///
    /// - Parameter trigger: `first`, `periodic` or `requested`.
    /// - Returns: The fit's number, and whether it was under way before.
    func requestFit(_ trigger: String) throws -> (id: Int64, wasUnderway: Bool) {
        if fitTask != nil, let fit = board.snapshot.fit { return (fit.id, true) }
        guard window != nil, heldCount >= Int64(Detector.minimumRows) else {
            throw RequestError.noRecords(
                stream: name, needed: Detector.minimumRows, found: heldCount)
        }
        let now = currentTime()
        let id = try environment.store.beginFit(
            FitRow(stream: name, state: .queued, trigger: trigger, queuedAt: now))
        board.update {
            $0.fit = FitSnapshot(id: id, state: .queued, trigger: trigger, queuedAt: now)
        }
        logger.info("fit requested", metadata: ["fit": "\(id)", "trigger": "\(trigger)"])
        fitTask = Task { await self.runFit(id) }
        return (id, false)
    }

    // MARK: Doing

    private func runFit(_ id: Int64) async {
        await environment.fitTurns.take()
        await runFitInTurn(id)
        await environment.fitTurns.pass()
        fitTask = nil
    }

    private func runFitInTurn(_ id: Int64) async {
        var job: FitJob?
        var result = FitJob.Result.cancelled
        if !board.isStopping {
            do {
                try environment.store.startFit(id: id, at: currentTime())
                job = try makeJob()
            } catch {
                result = .failed("\(error)")
            }
        }
        let through = state.windowTotal
        if let job {
            board.update {
                $0.fit?.state = .running
                $0.fit?.startedAt = currentTime()
            }
            let board = board
            result = await Thread.runInBackground(name: "fit") {
                job.run { progress in
                    board.update { $0.fit?.progress = progress }
                    return !board.isStopping
                }
            }
        }
        let count = job.map(\.training.rowCount)
        do {
            var outcome: FitOutcome?
            try await insist {
                let settled =
                    try outcome ?? self.settle(result, recordCount: count, through: through)
                outcome = settled
                try self.environment.store.finishFit(id: id, settled)
                self.show(settled, of: id)
            }
        } catch {
            logger.error(
                "outcome of a fit not stored", metadata: ["fit": "\(id)", "error": "\(error)"])
        }
    }

    /// Chooses the records: the newest of the window, without those inside episodes.
    private func makeJob() throws -> FitJob {
        guard let window else { throw RequestError.notOpen(stream: name) }
        let champion = serving?.detector
        let total = state.windowTotal
        let range = max(0, total - Int64(configuration.fit.windowRecords))..<total
        let excluded = state.excluded.count(in: range)
        let hasChanged = Double(excluded) > Self.mostExcludedShare * Double(range.count)
        let judging =
            champion == nil ? 0 : Int64(Double(range.count) * FitJob.judgingShare)
        func records(_ part: Range<Int64>) throws -> RecordBatch {
            guard !hasChanged, let schema = state.schema else {
                return try window.records(part)
            }
            var kept = RecordBatch(schema: schema)
            for piece in state.excluded.remainder(of: part) {
                kept.append(contentsOf: try window.records(piece))
            }
            return kept
        }
        var options = configuration.detectorOptions
        options.falseAlarmProbability =
            askedProbability
            ?? configuration.budget.probability(recordsPerDay: measuredRecordsPerDay())
        // What the serving model has learned from would flatter it, as far as there is enough that it has not.
        let split = range.upperBound - judging
        let unseen = max(split, min(state.fittedThrough, total - Self.leastNewRecords))
        return FitJob(
            training: try records(range.lowerBound..<split), newest: try records(unseen..<total),
            before: try window.records(
                max(range.lowerBound, unseen - Int64(DetectorOptions.maximumLags))..<unseen),
            champion: champion, options: options,
            note: hasChanged
                ? "\(excluded) of \(range.count) records lay inside episodes, so that they "
                    + "are taken as the new normal" : nil)
    }

    // MARK: Ending

    /// Puts the model into service, or keeps it aside; after an error everything is as before.
    private func settle(
        _ result: FitJob.Result, recordCount: Int?, through: Int64
    ) throws -> FitOutcome {
        let now = currentTime()
        var outcome = FitOutcome(
            state: .cancelled, endedAt: now, recordCount: recordCount,
            message: "the daemon stopped")
        switch result {
        case .accepted(let detector, let reason, let decision):
            let row = try keep(detector, state: .retired, reason: reason, decision)
            try adopt(detector, .new(row), reason: reason) { next in
                next.fittedThrough = through
                next.lastFitAt = now
                next.lastFitTotal = through
            }
            outcome.state = .accepted
            outcome.model = row.id
            outcome.heldOutLogLikelihood = row.heldOutLogLikelihood
            outcome.message = reason
        case .rejected(let detector, let decision):
            let row = try keep(detector, state: .rejected, reason: decision.reason, decision)
            _ = try environment.store.insertModel(row)
            try noteFit(at: now, through: through)
            outcome.state = .rejected
            outcome.model = row.id
            outcome.heldOutLogLikelihood = row.heldOutLogLikelihood
            outcome.message = decision.reason
            prune()
        case .failed(let message):
            try noteFit(at: now, through: through)
            outcome.state = .failed
            outcome.message = message
            hasGivenUpWaiting = serving == nil
        case .cancelled:
            break
        }
        return outcome
    }

    private func show(_ outcome: FitOutcome, of id: Int64) {
        board.update {
            $0.fit?.state = outcome.state
            $0.fit?.endedAt = outcome.endedAt
            $0.fit?.progress = nil
            $0.fit?.message = outcome.message
        }
        publish()
        logger.notice(
            "fit ended",
            metadata: [
                "fit": "\(id)", "state": "\(outcome.state.rawValue)",
                "message": "\(outcome.message)",
            ])
    }

    private func noteFit(at now: Double, through: Int64) throws {
        var next = state
        next.lastFitAt = now
        next.lastFitTotal = through
        try store(next, position: position)
    }

    /// Writes the model's file, and says what its row will be.
    private func keep(
        _ detector: Detector, state: ModelState, reason: String, _ decision: GateDecision?
    ) throws -> ModelRow {
        let id = try environment.store.reserveModelID(stream: name)
        let path = environment.directory.modelPath(name, id: id)
        let bytes = detector.encoded()
        try StateDirectory.makeFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
        try StateDirectory.writeWhole(bytes, to: path)
        struct Metrics: Encodable {
            var fit: FitSummary
            var gate: GateDecision?
        }
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys]
        let metrics = try encoder.encode(Metrics(fit: detector.summary, gate: decision))
        return ModelRow(
            id: id, stream: name, state: state, reason: reason,
            family: detector.options.family.rawValue, fittedAt: currentTime(),
            recordCount: detector.summary.rowCount, parameterCount: detector.parameterCount,
            heldOutLogLikelihood: detector.summary.heldOutLogLikelihood,
            metrics: String(decoding: metrics, as: UTF8.self),
            file: "models/\(name)/\(id).safetensors", fileBytes: bytes.count)
    }
}
