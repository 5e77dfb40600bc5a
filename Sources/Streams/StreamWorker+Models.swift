import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// Files of models that do not serve and are kept.
    private static let keptModels = 10

    // MARK: Opening

    /// Reads what was committed last and opens the files that belong to it.
    func openState() throws {
        let store = environment.store
        let row = try store.checkpoint(stream: name)
        if let row {
            state = try WorkerState(stored: row.state)
            position = row.position
        }
        // A key is made known with its first records.
        isNew = row == nil && loan != nil
        if !isNew { try store.registerStream(name, at: currentTime()) }
        state.episodes.cooldownSecs = configuration.cooldown.inSeconds
        quarantine = Quarantine(
            path: environment.directory.quarantinePath(name), committedSize: state.quarantineBytes)
        if let schema = state.schema { window = try openWindow(schema) }
        try loadLabels()
        try loadModel()
        if let serving, !readsColumns(serving.detector) {
            self.serving = nil
        }
        if serving == nil, state.pendingFrom == nil, let lent = loan?.serving,
            readsColumns(lent.detector)
        {
            serving = lent
        }
        if serving == nil, state.pendingFrom == nil { state.pendingFrom = state.windowTotal }
        if let serving, state.pendingFrom != nil {
            // The model could not be read for a while, and records wait for it.
            try adopt(
                serving.detector, .existing(serving.row), reason: "its file can be read again")
        }
        removeStrayFiles()
        publish()
        board.update { $0.isOpen = true }
        if ownsModel, state.choice == .configured, state.budget != budget {
            try recalibrate("the configuration changed")
        }
        if configuration.key != nil { try findKeys() }
        guard loan == nil else { return }
        logger.info(
            "stream opened",
            metadata: [
                "records": "\(state.counters.records)",
                "model": "\(serving.map { String($0.row.id) } ?? "none")",
                "source": "\(configuration.source.path)",
            ])
    }

    /// Opens the window as the store knows it, moved into a new file if its size was changed.
    private func openWindow(_ schema: Schema) throws -> TrainingWindow {
        let path = environment.directory.windowPath(name, generation: state.windowGeneration)
        let old = try TrainingWindow(path: path, schema: schema, capacity: state.windowCapacity)
        if old.discardedCount > 0 {
            logger.warning(
                "training window made anew",
                metadata: ["path": "\(path)", "records_discarded": "\(old.discardedCount)"])
        }
        old.rewind(to: state.windowTotal)
        let capacity = WorkerState.capacity(for: configuration)
        guard capacity != state.windowCapacity else { return old }
        var next = state
        next.windowGeneration += 1
        next.windowCapacity = capacity
        let newPath = environment.directory.windowPath(name, generation: next.windowGeneration)
        unlink(newPath)
        let new = try TrainingWindow(path: newPath, schema: schema, capacity: capacity)
        // Running numbers go on, so that what is pending or excluded stays so.
        var number = max(0, state.windowTotal - Int64(min(capacity, state.windowCapacity)))
        new.rewind(to: number)
        while number < state.windowTotal {
            guard !board.isStopping else { throw RequestError.stopping(stream: name) }
            let end = min(number + 4_096, state.windowTotal)
            try new.append(old.records(number..<end))
            new.rewind(to: end)
            number = end
        }
        if let from = next.pendingFrom {
            let oldest = next.windowTotal - Int64(capacity)
            next.counters.unscored += max(0, oldest - from)
            next.pendingFrom = max(from, oldest)
        }
        try self.store(next, position: position)
        return new
    }

    /// The serving model's file; when it cannot be read, the newest other one that can.
    private func loadModel() throws {
        guard let row = try environment.store.servingModel(stream: name) else { return }
        do {
            let detector = try readModel(row)
            guard let threshold = try environment.store.currentThreshold(stream: name) else {
                throw RequestError.noModel(stream: name)
            }
            serving = ServingModel(
                detector: detector, threshold: Threshold(threshold),
                thresholdReason: threshold.reason, thresholdSince: threshold.validFrom, row: row)
        } catch let error as StoreError {
            throw error
        } catch {
            // It stands until a fit, or a person, brings another model.
            defer { standingProblem = "\(error)" }
            logger.error(
                "serving model cannot be read",
                metadata: ["model": "\(row.id)", "error": "\(error)"])
            for other in try environment.store.models(stream: name) where other.state == .retired {
                guard let detector = try? readModel(other),
                    readsColumns(detector)
                else { continue }
                try adopt(detector, .existing(other), reason: "model \(row.id) cannot be read")
                return
            }
            // Nothing serves: the next fit is the first one, and does not wait for more records.
            state.lastFitAt = nil
        }
    }

    /// The columns that models read: all but the key.
    var modelSchema: Schema? {
        state.schema.map { schema in
            configuration.key.map { schema.without(category: $0.column) } ?? schema
        }
    }

    /// Whether the serving model was fitted to this worker's own records.
    var ownsModel: Bool { serving.map { $0.row.stream == name } == true }

    /// Whether a model reads the columns that the stream's records have.
    func readsColumns(_ detector: Detector) -> Bool {
        modelSchema.map { detector.schema.hasColumns(of: $0) } == true
    }

    func readModel(_ row: ModelRow) throws -> Detector {
        guard let file = row.file else { throw RequestError.prunedModel(id: row.id) }
        let path = environment.directory.path + "/" + file
        let bytes: [UInt8]
        do {
            bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw StateError.file(path: path, operation: "read", code: errno == 0 ? ENOENT : errno)
        }
        return try Detector(decoding: bytes, name: path)
    }

    /// Files that a crash left between their writing and their transaction.
    private func removeStrayFiles() {
        guard let models = try? environment.store.models(stream: name) else { return }
        let known = Set(models.compactMap(\.file))
        let folder = StateDirectory.modelFolder(name)
        let files = try? FileManager.default.contentsOfDirectory(
            atPath: environment.directory.path + "/" + folder)
        for file in files ?? [] where !known.contains(folder + "/" + file) {
            unlink(environment.directory.path + "/" + folder + "/" + file)
        }
        // The keys' windows share a folder, which may be large.
        guard loan == nil else {
            for former in max(0, state.windowGeneration - 64)..<state.windowGeneration {
                unlink(environment.directory.windowPath(name, generation: former))
            }
            return
        }
        let current = environment.directory.windowPath(name, generation: state.windowGeneration)
        let windows = try? FileManager.default.contentsOfDirectory(
            atPath: environment.directory.path + "/windows")
        for file in windows ?? [] where Self.isWindow(file, of: name) {
            let path = environment.directory.path + "/windows/" + file
            if path != current { unlink(path) }
        }
    }

    /// `name.NUMBER.ring`, and not that of a stream whose name begins alike.
    private static func isWindow(_ file: String, of name: String) -> Bool {
        guard file.hasPrefix(name + "."), file.hasSuffix(".ring") else { return false }
        return Int(file.dropFirst(name.count + 1).dropLast(5)) != nil
    }

    // MARK: Models

    /// Where a model that is to serve comes from.
    enum ModelOrigin {
        case new(ModelRow)
        case existing(ModelRow)

        var row: ModelRow {
            switch self {
            case .new(let row), .existing(let row): return row
            }
        }
    }

    /// Puts a model into service, with its threshold; the records that waited for the first one are scored in the same
    /// transaction.
    ///
    /// - Parameter change: What else becomes true with it.
    func adopt(
        _ detector: Detector, _ origin: ModelOrigin, reason: String,
        change: (inout WorkerState) -> Void = { _ in }
    ) throws {
        guard readsColumns(detector) else {
            throw RequestError.otherFeatures(
                id: origin.row.id, expected: modelSchema?.columns ?? [],
                found: detector.schema.columns)
        }
        let now = currentTime()
        var next = state
        next.drift = nil
        next.answeredDriftIndex = 0
        next.borrowedModel = nil
        // Whoever puts one into service before the series are known has chosen them.
        if configuration.longRows != nil, serving == nil { next.tally = nil }
        change(&next)
        var made = makeThreshold(detector, choice: next.choice)
        if let dropped = next.droppedLogLikelihood {
            made.reason +=
                "; the log-likelihood \(dropped), set by hand, was dropped: "
                + "the features changed"
            next.droppedLogLikelihood = nil
        }
        noteBudget(in: &next)
        next.thresholdRecordsPerDay = made.recordsPerDay
        var row = origin.row
        row.state = .serving
        row.reason = reason
        row.activatedAt = now
        let model = ServingModel(
            detector: detector, threshold: made.threshold, thresholdReason: made.reason,
            thresholdSince: now, row: row)
        var findings = Findings()
        if let from = next.pendingFrom {
            // Those of keys are scored by the workers of these, one after the other.
            if configuration.key == nil {
                try scorePending(from: from, with: model, now: now, into: &next, &findings)
            }
            next.pendingFrom = nil
        }
        let activation = ModelActivation(
            model: {
                switch origin {
                case .new(let row): .new(row)
                case .existing(let row): .existing(row.id)
                }
            }(), reason: reason,
            threshold: thresholdRow(made.threshold, reason: made.reason, model: row.id, now: now))
        try store(next, position: position, findings: findings, activation: activation)
        serving = model
        standingProblem = nil
        hasGivenUpWaiting = false
        publish()
        logger.notice(
            "model serves",
            metadata: [
                "model": "\(row.id)", "reason": "\(reason)", "threshold": "\(made.reason)",
                "pending_anomalies": "\(findings.anomalies.count)",
            ])
        prune()
    }

    /// Scores the records that arrived before there was a model, in their order, from the window.
    func scorePending(
        from: Int64, with model: ServingModel, now: Double, into next: inout WorkerState,
        _ findings: inout Findings
    ) throws {
        guard let window else { return }
        next.context = ContextState()
        next.expectedPast = ExpectedPast()
        let context = max(0, from - Int64(DetectorOptions.maximumLags))..<from
        model.detector.skip(try window.records(context), state: &next.context)
        var number = from
        while number < next.windowTotal {
            let end = min(number + 4_096, next.windowTotal)
            guard !board.isStopping else { throw RequestError.stopping(stream: name) }
            let records = try window.records(number..<end)
            next.counters.unscored += (end - number) - Int64(records.rowCount)
            let (first, inputs) = (number, next.waitingInputs)
            let scored = ScoredBatch(records, by: model.detector, after: next.context)
            judge(
                records, scored, with: model, firstNumber: first, now: now, into: &next, &findings
            ) {
                inputs.input(of: first + Int64($0)) ?? configuration.source.path
            }
            board.beat(isBusy: true)
            number = end
        }
        next.waitingInputs = InputChanges()
        board.beat(isBusy: false)
    }

    /// Removes the files of models that are too many.
    func prune() {
        do {
            let files = try environment.store.pruneModels(stream: name, keeping: Self.keptModels)
            for file in files { unlink(environment.directory.path + "/" + file) }
        } catch {
            logger.warning("old models not removed", metadata: ["error": "\(error)"])
        }
    }

    /// Puts a former model back into service, by a person's wish.
    package func activate(model id: Int64) throws -> ModelRow {
        guard !board.isStopping else { throw RequestError.stopping(stream: name) }
        try requireLoan()
        guard let row = try environment.store.model(id: id), row.stream == name else {
            throw RequestError.unknownModel(id: id, stream: name)
        }
        if serving?.row.id == id { return row }
        let detector = try readModel(row)
        guard let schema = modelSchema, window != nil else {
            throw RequestError.notOpen(stream: name)
        }
        guard detector.schema.hasColumns(of: schema) else {
            throw RequestError.otherFeatures(
                id: id, expected: schema.columns, found: detector.schema.columns)
        }
        try adopt(detector, .existing(row), reason: "activated by hand")
        return serving?.row ?? row
    }
}
