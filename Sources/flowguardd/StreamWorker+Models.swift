import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

/// What a person asked of a stream and cannot have.
enum RequestError: Error, CustomStringConvertible {
    case noModel(stream: String)
    case unknownModel(id: Int64, stream: String)
    case prunedModel(id: Int64)
    case otherFeatures(id: Int64, expected: [String], found: [String])
    case noRecords(stream: String, needed: Int, found: Int64)
    case notOpen(stream: String)

    var description: String {
        switch self {
        case .noModel(let stream):
            return "stream '\(stream)' has no model yet"
        case .unknownModel(let id, let stream):
            return "stream '\(stream)' has no model \(id)"
        case .prunedModel(let id):
            return "model \(id) is too old: its file was removed"
        case .otherFeatures(let id, let expected, let found):
            return "model \(id) reads the features \(found.joined(separator: ", ")), "
                + "the stream has \(expected.joined(separator: ", "))"
        case .noRecords(let stream, let needed, let found):
            return "a fit needs at least \(needed) records, stream '\(stream)' has \(found)"
        case .notOpen(let stream):
            return "stream '\(stream)' is not open yet"
        }
    }

    var hint: String {
        switch self {
        case .noModel(let stream), .notOpen(let stream):
            return "see flowguardctl status \(stream)"
        case .unknownModel(_, let stream):
            return "flowguardctl model list \(stream) shows those there are"
        case .prunedModel: return "choose a newer model"
        case .otherFeatures: return "the features changed since: fit a new model"
        case .noRecords: return "wait for more records"
        }
    }
}

extension StreamWorker {
    /// Files of models that do not serve and are kept.
    private static let keptModels = 10
    /// A threshold follows the measured rate of records once it is this factor off.
    private static let rateTolerance = 1.25

    // MARK: Opening

    /// Reads what was committed last and opens the files that belong to it.
    func openState() throws {
        let store = environment.store
        try store.registerStream(name, at: currentTime())
        if let row = try store.checkpoint(stream: name) {
            state = try JSONDecoder().decode(WorkerState.self, from: Data(row.state))
            position = row.position
        }
        state.episodes.cooldownSecs = configuration.cooldown.inSeconds
        quarantine = Quarantine(
            path: environment.directory.quarantinePath(name), committedSize: state.quarantineBytes)
        if let schema = state.schema { window = try openWindow(schema) }
        try loadModel()
        if let serving, serving.detector.schema.features != state.schema?.features {
            self.serving = nil
        }
        if serving == nil, state.pendingFrom == nil { state.pendingFrom = state.windowTotal }
        if serving != nil, state.pendingFrom != nil { state.pendingFrom = nil }
        removeStrayFiles()
        publish()
        if serving != nil, state.choice == .configured, state.budget != configuration.budget {
            try recalibrate("the configuration changed")
        }
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
            standingProblem = "\(error)"
            logger.error(
                "serving model cannot be read",
                metadata: ["model": "\(row.id)", "error": "\(error)"])
            for other in try environment.store.models(stream: name) where other.state == .retired {
                guard let detector = try? readModel(other),
                    detector.schema.features == state.schema?.features
                else { continue }
                try adopt(detector, .existing(other), reason: "model \(row.id) cannot be read")
                return
            }
        }
    }

    func readModel(_ row: ModelRow) throws -> Detector {
        guard let file = row.file else { throw RequestError.prunedModel(id: row.id) }
        let path = environment.directory.path + "/" + file
        let bytes: [UInt8]
        do {
            bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw DaemonError.file(path: path, operation: "read", code: errno == 0 ? ENOENT : errno)
        }
        return try Detector(decoding: bytes, name: path)
    }

    /// Files that a crash left between their writing and their transaction.
    private func removeStrayFiles() {
        guard let models = try? environment.store.models(stream: name) else { return }
        let known = Set(models.compactMap(\.file))
        let folder = "models/" + name
        let files = try? FileManager.default.contentsOfDirectory(
            atPath: environment.directory.path + "/" + folder)
        for file in files ?? [] where !known.contains(folder + "/" + file) {
            unlink(environment.directory.path + "/" + folder + "/" + file)
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

    // MARK: Schema

    /// Finds the features by the first batch, and again when the configuration chooses others.
    func settleSchema(by batch: LineBatch) throws {
        let basis = WorkerState.SchemaBasis(configuration)
        guard state.schema == nil || state.basis != basis else { return }
        guard !batch.lines.isEmpty else { return }
        let found: Schema
        do {
            found = try SchemaInference.infer(
                batch, format: configuration.format, features: configuration.features,
                exclude: configuration.exclude, time: configuration.timeColumn)
        } catch {
            // A client's lines go to the quarantine; a file waits.
            if case .file = configuration.source { throw error }
            failing(error)
            return
        }
        var next = state
        next.basis = basis
        if let old = state.schema, old != found {
            if let serving {
                try environment.store.setModelState(
                    id: serving.row.id, state: .retired, reason: "the stream's features changed",
                    at: currentTime())
            }
            next.counters.unscored += state.pendingCount
            next.windowGeneration += 1
            next.windowTotal = 0
            next.pendingFrom = 0
            next.context = ContextState()
            next.excluded = ExcludedRanges()
            next.fittedThrough = 0
            next.lastFitTotal = 0
            next.choice = .configured
            serving = nil
            window = nil
        }
        next.schema = found
        next.windowCapacity = WorkerState.capacity(for: configuration)
        if window == nil || next.windowGeneration != state.windowGeneration {
            let path = environment.directory.windowPath(name, generation: next.windowGeneration)
            window = try TrainingWindow(path: path, schema: found, capacity: next.windowCapacity)
            window?.rewind(to: next.windowTotal)
        }
        state = next
        logger.info(
            "features found",
            metadata: [
                "features": "\(found.features.joined(separator: ","))",
                "time": "\(found.time ?? "none")",
            ])
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
        let now = currentTime()
        var next = state
        change(&next)
        let made = makeThreshold(detector, choice: next.choice)
        next.budget = configuration.budget
        next.thresholdRecordsPerDay = made.recordsPerDay
        next.scoredSinceThreshold = 0
        next.anomaliesSinceThreshold = 0
        var row = origin.row
        row.state = .serving
        row.reason = reason
        row.activatedAt = now
        let model = ServingModel(
            detector: detector, threshold: made.threshold, thresholdReason: made.reason,
            thresholdSince: now, row: row)
        var findings = Findings()
        if let from = next.pendingFrom {
            try scorePending(from: from, with: model, now: now, into: &next, &findings)
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
    private func scorePending(
        from: Int64, with model: ServingModel, now: Double, into next: inout WorkerState,
        _ findings: inout Findings
    ) throws {
        guard let window else { return }
        next.context = ContextState()
        var number = from
        while number < next.windowTotal {
            let end = min(number + 4_096, next.windowTotal)
            let records = try window.records(number..<end)
            next.counters.unscored += (end - number) - Int64(records.rowCount)
            score(
                records, with: model, source: configuration.source.path, firstNumber: number,
                now: now, into: &next, &findings)
            board.beat(isBusy: true)
            number = end
        }
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
    func activate(model id: Int64) throws -> ModelRow {
        guard let row = try environment.store.model(id: id), row.stream == name else {
            throw RequestError.unknownModel(id: id, stream: name)
        }
        if serving?.row.id == id { return row }
        let detector = try readModel(row)
        guard let schema = state.schema, window != nil else {
            throw RequestError.notOpen(stream: name)
        }
        guard detector.schema.features == schema.features else {
            throw RequestError.otherFeatures(
                id: id, expected: schema.features, found: detector.schema.features)
        }
        try adopt(detector, .existing(row), reason: "activated by hand")
        return serving?.row ?? row
    }

    // MARK: Thresholds

    /// Sets or resets the threshold, by a person's wish.
    func setThreshold(_ choice: WorkerState.ThresholdChoice) throws -> ServingModel {
        guard serving != nil else { throw RequestError.noModel(stream: name) }
        try recalibrate(
            choice == .configured ? "reset to the configuration" : nil, choice: choice)
        guard let serving else { throw RequestError.noModel(stream: name) }
        return serving
    }

    /// Makes the threshold of the serving model anew.
    ///
    /// - Parameter cause: What called for it, beside the choice itself.
    func recalibrate(_ cause: String?, choice: WorkerState.ThresholdChoice? = nil) throws {
        guard var model = serving else { return }
        var next = state
        next.choice = choice ?? next.choice
        let made = makeThreshold(model.detector, choice: next.choice)
        let reason = (cause.map { $0 + ": " } ?? "") + made.reason
        let now = currentTime()
        next.budget = configuration.budget
        next.thresholdRecordsPerDay = made.recordsPerDay
        next.scoredSinceThreshold = 0
        next.anomaliesSinceThreshold = 0
        try store(
            next, position: position,
            threshold: thresholdRow(made.threshold, reason: reason, model: model.row.id, now: now))
        model.threshold = made.threshold
        model.thresholdReason = reason
        model.thresholdSince = now
        serving = model
        publish()
        logger.notice("threshold set", metadata: ["reason": "\(reason)"])
    }

    /// A budget a day follows the rate of the records; a threshold by hand stays.
    func recalibrateWhenDue() {
        guard ContinuousClock.now >= nextRateCheck, serving != nil,
            case .perDay = configuration.budget, state.choice == .configured
        else { return }
        nextRateCheck = .now + (state.thresholdRecordsPerDay > 0 ? .seconds(3_600) : .seconds(60))
        let rate = measuredRecordsPerDay()
        let before = state.thresholdRecordsPerDay
        guard rate > 0 else { return }
        let ratio = before > 0 ? max(rate / before, before / rate) : .infinity
        guard ratio > Self.rateTolerance else { return }
        do {
            try recalibrate("the rate of records was measured")
        } catch {
            failing(error)
        }
    }

    /// The threshold that the choice asks of a detector, and why it is what it is.
    private func makeThreshold(
        _ detector: Detector, choice: WorkerState.ThresholdChoice
    ) -> (threshold: Threshold, reason: String, recordsPerDay: Double) {
        let rate = measuredRecordsPerDay()
        switch choice {
        case .configured:
            let threshold = detector.threshold(
                falseAlarmProbability: configuration.budget.probability(recordsPerDay: rate))
            return (threshold, Self.text(of: configuration.budget, recordsPerDay: rate), rate)
        case .budget(let budget):
            var threshold = detector.threshold(
                falseAlarmProbability: budget.probability(recordsPerDay: rate))
            threshold.kind = .manual
            return (threshold, "set by hand: " + Self.text(of: budget, recordsPerDay: rate), rate)
        case .logLikelihood(let value):
            return (
                detector.threshold(logLikelihood: value), "set by hand: log-likelihood \(value)",
                rate
            )
        }
    }

    private static func text(of budget: AlarmBudget, recordsPerDay rate: Double) -> String {
        switch budget {
        case .probability(let value):
            return "false-alarm probability \(value)"
        case .perDay(let count):
            let asked = count == count.rounded() ? String(Int(count)) : String(count)
            let measured =
                rate > 0
                ? "\(Int(rate.rounded())) records a day"
                : "one record a second, the rate is not measured yet"
            return "\(asked) false alarms a day at \(measured)"
        }
    }

    private func thresholdRow(
        _ threshold: Threshold, reason: String, model: Int64, now: Double
    ) -> ThresholdRow {
        ThresholdRow(
            stream: name, model: model,
            kind: threshold.kind == .manual ? .manual : .calibrated,
            logLikelihood: threshold.logLikelihood,
            upperLogLikelihood: threshold.upperLogLikelihood,
            probability: threshold.probability, validFrom: now, reason: reason)
    }

    /// Records a day by their own times in the newest part of the window, else by their arrival; 0 while unknown.
    func measuredRecordsPerDay() -> Double {
        guard state.schema?.time != nil, let window else { return state.rate.recordsPerDay }
        let newest = max(0, state.windowTotal - 10_000)..<max(0, state.windowTotal)
        let records = try? window.records(newest)
        return RecordRate.perDay(times: records?.times ?? [])
    }

    /// What the status shows beside the budget.
    var recordsPerDay: Double {
        state.thresholdRecordsPerDay > 0 ? state.thresholdRecordsPerDay : state.rate.recordsPerDay
    }

    /// The probability that the budget amounts to.
    var askedProbability: Double? {
        switch state.choice {
        case .configured: configuration.budget.probability(recordsPerDay: recordsPerDay)
        case .budget(let budget): budget.probability(recordsPerDay: recordsPerDay)
        case .logLikelihood: serving?.threshold.probability
        }
    }
}

extension Threshold {
    init(_ row: ThresholdRow) {
        self.init(
            kind: row.kind == .manual ? .manual : .calibrated, logLikelihood: row.logLikelihood,
            upperLogLikelihood: row.upperLogLikelihood, probability: row.probability)
    }
}
