import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// New records that make a periodic fit worth its while: so many, and one for so many held.
    private static let leastNewRecords: Int64 = 100
    private static let leastNewShare: Int64 = 20
    /// Records that are read at once, before others may use the worker.
    private static let chunkRecords: Int64 = 16_384
    /// Waiting time after a failed first fit.
    private static let retryFirstFitSecs = 60.0
    /// The trigger of a fit that a person asked for.
    package static let requestedTrigger = "requested"
    static let periodicTrigger = "periodic"
    private static let firstTrigger = "first"

    // MARK: When

    /// Asks for a fit when the clock or the number of records says so.
    func fitWhenDue() {
        guard fitTask == nil, !board.isStopping, isSchemaCurrent, !isSchemaReconsidered,
            !awaitsHistory, let trigger = fitTrigger
        else { return }
        do {
            _ = try requestFit(trigger)
        } catch {
            failing(error)
        }
    }

    /// What calls for a fit now, if anything does.
    var fitTrigger: String? {
        wantedTrigger ?? dueTrigger(at: currentTime(), records: state.windowTotal)
    }

    /// The fit that was cut off, when there are records for it.
    private var wantedTrigger: String? {
        board.snapshot.isFitWanted && heldCount >= Int64(Detector.minimumRows)
            ? Self.requestedTrigger : nil
    }

    /// What is left of a worker that has ended: whether a fit that was asked for did not come to its end.
    ///
    /// The others are due again by themselves.
    package nonisolated var hasCutOffFit: Bool {
        let snapshot = board.snapshot
        let isCutOff = snapshot.fit.map {
            $0.trigger == Self.requestedTrigger && (!$0.state.isEnded || $0.state == .cancelled)
        }
        return snapshot.isFitWanted || isCutOff == true
    }

    /// What calls for a fit, if anything does.
    ///
    /// - Parameters:
    ///   - now: Epoch seconds.
    ///   - total: Records there are then.
    func dueTrigger(at now: Double, records total: Int64) -> String? {
        let missing = missingRecords(of: total)
        if !ownsModel {
            guard missing == 0 else { return nil }
            guard let last = state.lastFitAt else { return Self.firstTrigger }
            return Self.seconds(since: last, at: now) >= Self.retryFirstFitSecs
                ? Self.firstTrigger : nil
        }
        guard let passed = secondsSinceFit(at: now), let every = configuration.fit.every?.inSeconds,
            total - state.lastFitTotal >= Self.leastNewRecords
        else { return nil }
        if passed >= every, missing == 0 { return Self.periodicTrigger }
        if isFirstModelOutgrown { return "growth" }
        return passed >= driftPause(every: every) && driftWantsFit ? Self.driftTrigger : nil
    }

    /// Records that must come before a first or periodic fit is worth its while; 0: there are enough.
    ///
    /// - Parameter total: Records there are.
    private func missingRecords(of total: Int64) -> Int64 {
        let arrived = total - state.lastFitTotal
        let window = Int64(configuration.fit.windowRecords)
        let least = Self.leastNewRecords - arrived
        if !ownsModel {
            let tooFew = Int64(configuration.fit.firstAfterRecords) - min(total, window)
            let isFull = total - (state.pendingFrom ?? total) >= window
            guard state.lastFitAt != nil, !isFull else { return max(0, tooFew) }
            return max(0, tooFew, least, min(state.lastFitTotal, window) / 4 - arrived)
        }
        // Of those that come, each is one more that the share is taken of, until the window is full.
        let share = Self.leastNewShare
        let growing = (total - share * arrived - 1) / (share - 1)
        return max(0, least, min(growing, window / share - arrived))
    }

    /// Seconds since a fit; endless where the clock has been set back to before it, so that it need not come there again.
    private static func seconds(since fit: Double, at now: Double) -> Double {
        fit <= now ? now - fit : .infinity
    }

    /// Seconds since the newest fit; `nil` while no model serves.
    private func secondsSinceFit(at now: Double) -> Double? {
        serving.map { Self.seconds(since: state.lastFitAt ?? $0.row.fittedAt, at: now) }
    }

    /// What the next fit waits for that begins by itself; `nil`: there is none, or it is the first of a stream.
    var nextFit: NextFit? {
        let now = currentTime()
        let missing = missingRecords(of: state.windowTotal)
        if !ownsModel {
            guard let last = state.lastFitAt else {
                return serving.map { _ in NextFit(time: now, missingRecords: missing) }
            }
            let rest = Self.retryFirstFitSecs - Self.seconds(since: last, at: now)
            return NextFit(time: now + max(0, rest), missingRecords: missing)
        }
        guard let passed = secondsSinceFit(at: now), let every = configuration.fit.every?.inSeconds
        else { return nil }
        return NextFit(time: now + max(0, every - passed), missingRecords: missing)
    }

    /// Records that a fit could take.
    var heldCount: Int64 {
        min(state.windowTotal, Int64(configuration.fit.windowRecords))
    }

    // MARK: Asking

    /// Begins a fit, or finds the one that is under way.
    ///
    /// - Parameter trigger: `first`, `growth`, `periodic`, `drift` or `requested`.
    /// - Returns: The fit's number, and whether it was under way before.
    package func requestFit(_ trigger: String) throws -> (id: Int64, wasUnderway: Bool) {
        guard !board.isStopping else { throw RequestError.stopping(stream: name) }
        try requireLoan()
        if fitTask != nil, let fit = board.snapshot.fit { return (fit.id, true) }
        guard window != nil, heldCount >= Int64(Detector.minimumRows) else {
            throw RequestError.noRecords(
                stream: name, needed: Detector.minimumRows, found: heldCount)
        }
        guard isSchemaCurrent, !isSchemaReconsidered else {
            throw RequestError.featuresAwaited(stream: name)
        }
        let now = currentTime()
        let id = try environment.store.beginFit(
            FitRow(stream: name, state: .queued, trigger: trigger, queuedAt: now))
        board.update {
            $0.fit = FitSnapshot(id: id, state: .queued, trigger: trigger, queuedAt: now)
            $0.isFitWanted = false
        }
        isFirstModelOutgrown = false
        // From now on the features stay as they are.
        state.tally = nil
        logger.info("fit requested", metadata: ["fit": "\(id)", "trigger": "\(trigger)"])
        fitTask = Task { await self.runFit(id) }
        return (id, false)
    }

    // MARK: Doing

    private func runFit(_ id: Int64) async {
        let board = board
        var ended = (job: nil as FitJob?, result: FitJob.Result.cancelled)
        if await environment.fitTurns.take(while: { !board.isStopping }) {
            ended = await compute(id)
            await environment.fitTurns.pass()
        }
        await conclude(id, ended.result, of: ended.job)
        fitTask = nil
    }

    /// Fits and judges, without a change of what serves.
    private func compute(_ id: Int64) async -> (job: FitJob?, result: FitJob.Result) {
        let job: FitJob
        do {
            try environment.store.startFit(id: id, at: currentTime())
            guard let made = try await makeJob() else { return (nil, .cancelled) }
            job = made
        } catch {
            return (nil, .failed("\(error)"))
        }
        let now = currentTime()
        board.update {
            $0.fit?.state = .running
            $0.fit?.startedAt = now
        }
        let board = board
        let parallel = environment.replay?.parallel ?? .serial
        let result = await Thread.runInBackground(name: "fit") {
            job.run(parallel: parallel) { progress in
                board.update { $0.fit?.progress = progress }
                return !board.isStopping
            }
        }
        return (job, result)
    }

    /// Reads the records that a fit needs; `nil` when the worker is to stop.
    ///
    /// Batches are handled in between; what they add to the window, or make of it, is for the next fit.
    private func makeJob() async throws -> FitJob? {
        guard let window, let schema = state.schema else {
            throw RequestError.notOpen(stream: name)
        }
        let labels = try labelledRecords()
        let withheld = try await userWithheld(in: window).union(labels.confirmed)
        guard !board.isStopping else { return nil }
        let champion = serving
        let selection = FitSelection(
            total: learnableTotal, limit: configuration.fit.windowRecords,
            excluded: state.excluded.ranges, readmitted: labels.readmitted, withheld: withheld,
            fittedThrough: champion.map { _ in state.fittedThrough },
            changed: board.snapshot.fit?.trigger == Self.driftTrigger ? changedRecords : nil)
        var options = configuration.detectorOptions
        // A log-likelihood set by hand asks for none: the budget's own is that of the configuration.
        options.falseAlarmProbability =
            askedProbability ?? budget.probability(recordsPerDay: measuredRecordsPerDay())
        options.key = configuration.key?.column
        var job = FitJob(
            training: RecordBatch(schema: schema), newest: RecordBatch(schema: schema),
            before: try window.records(selection.before), champion: champion?.detector,
            options: options, timeLimit: configuration.fit.timeLimit,
            championID: champion?.row.id, selection: selection)
        for part in selection.training {
            guard try await read(part, of: window, into: &job.training) else { return nil }
        }
        for part in selection.newest {
            guard try await read(part, of: window, into: &job.newest) else { return nil }
        }
        if let key = configuration.key { job.group(by: key.column) }
        let wanted = selection.training.recordCount + selection.newest.recordCount
        let missing = wanted - Int64(job.training.rowCount + job.newest.rowCount)
        if missing > 0 {
            job.selection.tell("\(missing) records of the training window are damaged or missing")
            logger.warning(
                "records of the training window are damaged or missing",
                metadata: ["path": "\(window.path)", "records": "\(missing)"])
        }
        return job
    }

    /// Records from the first to the last that a fit may learn from: all there are.
    ///
    /// But the first fit of a stream learns from those that it is due with, and from the history: what a file holds beyond them is
    /// judged by its model, as it would have been had it come one by one. Faults that are learned are not found.
    private var learnableTotal: Int64 {
        guard serving == nil, state.lastFitAt == nil,
            board.snapshot.fit?.trigger == Self.firstTrigger
        else { return state.windowTotal }
        let due = max(Int64(configuration.fit.firstAfterRecords), state.pendingFrom ?? 0)
        return min(state.windowTotal, due)
    }

    /// Reads records in chunks; `false` when the worker is to stop.
    private func read(
        _ part: Range<Int64>, of window: TrainingWindow, into records: inout RecordBatch
    ) async throws -> Bool {
        var next = part.lowerBound
        while next < part.upperBound {
            guard !board.isStopping else { return false }
            let end = min(next + Self.chunkRecords, part.upperBound)
            records.append(contentsOf: try window.records(next..<end))
            next = end
            await Task.yield()
        }
        return true
    }

    // MARK: Ending

    /// Stores how a fit ended, however often that must be tried.
    private func conclude(_ id: Int64, _ result: FitJob.Result, of job: FitJob?) async {
        do {
            let outcome = try await settle(result, of: job)
            try await insist { try self.environment.store.finishFit(id: id, outcome) }
            show(outcome, of: id)
        } catch {
            logger.error(
                "outcome of a fit not stored", metadata: ["fit": "\(id)", "error": "\(error)"])
            try? environment.store.finishFit(
                id: id,
                FitOutcome(state: .cancelled, endedAt: currentTime(), message: stopText))
        }
    }

    private var stopText: String {
        board.isReload ? "the configuration was reloaded" : "the daemon stopped"
    }

    /// Puts the model into service, or keeps it aside.
    ///
    /// Each step is repeated by itself until it works, so that a full disk leaves one model file, not many. What else keeps the
    /// file from being written may last: then the fit has failed, and is tried again as others are.
    private func settle(
        _ result: FitJob.Result, of job: FitJob?
    ) async throws -> FitOutcome {
        let now = currentTime()
        let through = job?.selection.total ?? state.windowTotal
        var outcome = FitOutcome(
            state: .cancelled, endedAt: now, recordCount: job?.training.rowCount,
            message: stopText)
        func reject(_ row: ModelRow, because reason: String) async throws {
            var row = row
            row.state = .rejected
            row.reason = reason
            try await insist { _ = try self.environment.store.insertModel(row) }
            try await insist { try self.noteFit(at: now, through: through) }
            outcome.state = .rejected
            outcome.message = reason
            prune()
        }
        func fail(_ message: String) async throws {
            try await insist { try self.noteFit(at: now, through: through) }
            outcome.state = .failed
            outcome.message = message
        }
        func keep(_ detector: Detector, _ decision: GateDecision?) async throws -> ModelRow {
            let id = try await insist {
                try self.environment.store.reserveModelID(stream: self.name)
            }
            let kept: Result<ModelRow, StateError> = try await insist {
                do {
                    return .success(try self.keep(detector, decision, as: id))
                } catch let error as StateError where !error.isFullDisk {
                    return .failure(error)
                }
            }
            let row = try kept.get()
            outcome.model = row.id
            outcome.heldOutLogLikelihood = row.heldOutLogLikelihood
            return row
        }
        do {
            switch result {
            case .accepted(let detector, _, _, _) where !isOfStream(detector),
                .rejected(let detector, _) where !isOfStream(detector):
                outcome.state = .failed
                outcome.message = "the stream's features changed while the fit ran"
            case .accepted(let detector, let drift, let reason, let decision):
                let row = try await keep(detector, decision)
                let objection = try await insist {
                    try self.adoptUnlessReplaced(
                        detector, drift, row, reason: reason, of: job, at: now)
                }
                if let objection {
                    try await reject(row, because: objection)
                } else {
                    outcome.state = .accepted
                    outcome.message = reason
                    isFirstModelOutgrown =
                        job?.champion == nil && state.windowTotal >= 2 * through
                }
            case .rejected(let detector, let decision):
                try await reject(keep(detector, decision), because: decision.reason)
            case .failed(let message):
                try await fail(message)
                // More records than the window holds cannot help: those that come are taken in.
                if serving == nil, job?.selection.isWholeWindow == true { hasGivenUpWaiting = true }
            case .cancelled:
                break
            }
        } catch let error as StateError where !error.isFullDisk {
            try await fail("its model cannot be stored: \(error)")
        }
        return outcome
    }

    private func isOfStream(_ detector: Detector) -> Bool {
        isSchemaCurrent && readsColumns(detector)
    }

    /// Puts a new model into service, unless what it was compared with is gone.
    ///
    /// - Returns: Why it was not put into service; `nil`: it was.
    private func adoptUnlessReplaced(
        _ detector: Detector, _ drift: DriftState, _ row: ModelRow, reason: String,
        of job: FitJob?, at now: Double
    ) throws -> String? {
        guard serving?.row.id == job?.championID else {
            return "another model was put into service while this one was fitted"
        }
        guard isOfStream(detector) else {
            return "the stream's features changed while the fit ran"
        }
        let through = job?.selection.total ?? state.windowTotal
        try adopt(detector, .new(row), reason: reason) { next in
            noteDriftFit(in: &next)
            next.drift = drift
            next.fittedThrough = through
            // What the model has learned as normal stays so, also once it is no more than the share that is a fault.
            next.excluded.readmit(job?.selection.adopted ?? [])
            next.lastFitAt = now
            next.lastFitTotal = through
        }
        return nil
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
        noteDriftFit(in: &next)
        next.drift?.resetScores()
        next.answeredDriftIndex = worstDriftIndex
        try store(next, position: position)
    }

    /// Writes the model's file, and says what its row will be.
    private func keep(
        _ detector: Detector, _ decision: GateDecision?, as id: Int64
    ) throws -> ModelRow {
        let file = StateDirectory.modelFile(name, id: id)
        let path = environment.directory.path + "/" + file
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
            id: id, stream: name, state: .retired, reason: "fitted",
            family: detector.options.family.rawValue, fittedAt: currentTime(),
            recordCount: detector.summary.rowCount, parameterCount: detector.parameterCount,
            heldOutLogLikelihood: detector.summary.heldOutLogLikelihood,
            metrics: String(decoding: metrics, as: UTF8.self),
            file: file, fileBytes: bytes.count)
    }
}
