import Control
import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

/// What every worker shares.
package struct WorkerEnvironment: Sendable {
    package let store: StateStore
    let directory: StateDirectory
    let fitTurns: FitTurns
    let logger: Logger
    /// Sockets that systemd opened.
    let activated: ActivatedSockets
    /// What workers leave to those that come after them.
    package let inputs = HeldInputs()
    /// Told the number of the newest anomaly after each transaction that has some.
    let announce: @Sendable (_ newestAnomaly: Int64) -> Void
    let clock: any StreamClock
    /// Set when a stream is replayed.
    let replay: ReplayEnvironment?

    package init(
        store: StateStore, directory: StateDirectory, fitTurns: FitTurns, logger: Logger,
        activated: ActivatedSockets = ActivatedSockets(),
        announce: @escaping @Sendable (_ newestAnomaly: Int64) -> Void
    ) {
        self.store = store
        self.directory = directory
        self.fitTurns = fitTurns
        self.logger = logger
        self.activated = activated
        self.announce = announce
        clock = SystemClock()
        replay = nil
    }

    /// What the worker of a replayed stream has.
    init(
        store: StateStore, directory: StateDirectory, clock: any StreamClock,
        replay: ReplayEnvironment
    ) {
        self.store = store
        self.directory = directory
        self.clock = clock
        self.replay = replay
        activated = ActivatedSockets()
        fitTurns = FitTurns()
        logger = Logger(label: "replay", factory: { _ in SwiftLogNoOpLogHandler() })
        announce = { _ in }
    }
}

/// One stream: reads its source, scores what arrives, commits, and fits.
///
/// The worker has a thread of its own. A batch is handled without a suspension in between, so that a new model, a threshold
/// or a question always comes between two batches. What must survive a crash is in `state`, and it changes only together with
/// the store: a method makes the next state, commits it, and keeps it if that went well; else nothing has happened, and it
/// is tried again.
package actor StreamWorker {
    package nonisolated let name: String
    package nonisolated let board: StreamBoard
    package nonisolated let configuration: StreamConfiguration
    let environment: WorkerEnvironment
    let logger: Logger
    let thread: WorkerThread

    var state: WorkerState
    var position: SourcePosition?
    var window: TrainingWindow?
    var quarantine: Quarantine?
    var serving: ServingModel?
    var fitTask: Task<Void, Never>?
    /// Anomalies that people called false alarms: what is like them is no alarm.
    var falseAlarms: [FalseAlarm] = []
    /// The index of the feature that has moved furthest, as it was told last.
    var worstDriftIndex = 0.0
    /// No fit of the full window has worked: reading goes on, and the oldest records leave the window unscored.
    var hasGivenUpWaiting = false
    /// The first model has learned from less than half of the records that were there: the next fit does not wait.
    var isFirstModelOutgrown = false
    /// What went wrong for good, and is told as long as the daemon runs.
    var standingProblem: String?
    /// What went wrong last.
    var failure: (any Error)?
    /// Why the input could not be read, or its lines not be taken, until it is known to be well again.
    var inputFailure: (any Error)?
    /// When the rate of records is to be looked at again, by the clock's uptime in seconds.
    var nextRateCheck: Double
    /// The source's input has ended for good.
    var hasEnded = false
    /// Lines that the source dropped and that are counted in the state.
    var countedDrops: Int64 = 0
    /// Files that the source gave up and that are counted in the state.
    var countedFailures: Int64 = 0
    /// What the log says of the spool.
    var toldSpoolLosses = SpoolLosses()
    /// Lines of the batch under way that its client sent before.
    var duplicatesUnderway: Int64 = 0
    var inputs: [Int: OpenInput] = [:]
    /// Counts how often the decoders were forgotten.
    var decoderGeneration = 0
    /// Takes and decodes the next batch of a file meanwhile.
    var aheadTask: Task<BatchAhead?, any Error>?
    /// The batch under way, if it was taken ahead.
    var ahead: BatchAhead?
    /// Scores the next batch meanwhile, once it is decoded.
    var scoresAheadTask: Task<ScoresAhead?, Never>?
    /// The scores of the batch under way, if it was scored ahead.
    var scoresAhead: ScoresAhead?
    /// The keys of the stream, each with a worker on this one's thread.
    var keys = LiveKeys()
    /// What the stream lends to this worker, which is that of one of its keys.
    var loan: Loan?
    /// Whether a key on disk comes before those in memory when the next fit begins.
    var isDisksTurn = false
    /// What becomes of this key with the batch under way.
    var prepared: (next: WorkerState, findings: Findings)?
    /// Whether the store may not know the name yet.
    var isNew = false

    /// What is kept of an input from batch to batch.
    struct OpenInput {
        /// The header line, from which another decoder can begin.
        var header: [UInt8]?
        var decoder: RecordDecoder?
        var longDecoder: LongDecoder?
    }

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        thread.asUnownedSerialExecutor()
    }

    /// - Parameter former: The worker that ended for this one, which goes on with its work.
    package init(
        _ configuration: StreamConfiguration, environment: WorkerEnvironment,
        after former: StreamWorker? = nil
    ) {
        self.init(
            configuration, environment: environment, thread: WorkerThread(name: configuration.name))
        let isFitWanted = former?.hasCutOffFit == true
        let keys = former?.board.snapshot.keysWithFitWanted ?? []
        board.update {
            $0.isFitWanted = isFitWanted
            $0.keysWithFitWanted = keys
        }
    }

    /// The worker of a stream, or of one of its keys, which has the thread of the stream's.
    init(
        _ configuration: StreamConfiguration, environment: WorkerEnvironment, thread: WorkerThread,
        above: StreamBoard? = nil
    ) {
        self.configuration = configuration
        self.environment = environment
        self.thread = thread
        name = configuration.name
        board = StreamBoard(configuration, above: above)
        var logger = environment.logger
        logger[metadataKey: "stream"] = "\(configuration.name)"
        self.logger = logger
        state = WorkerState(configuration)
        nextRateCheck = environment.clock.now.uptime + 60
    }

    /// Works until `board.stop()`.
    package func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.readUntilStopped() }
            group.addTask { await self.tickUntilStopped() }
        }
        await fitTask?.value
        await closeKeys()
        flushWindow()
        board.update { $0.phase = .stopped }
        logger.info("stream stopped", metadata: ["records": "\(state.counters.records)"])
    }

    /// Brings the window's content to the disk.
    func flushWindow() {
        do {
            try window?.flush()
        } catch {
            logger.warning("training window not flushed", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Reading

    /// Opens the state and then the source, again and again after an error.
    private func readUntilStopped() async {
        var delay = Duration.milliseconds(500)
        var isOpen = false
        while !board.isStopping {
            do {
                if !isOpen {
                    try openState()
                    isOpen = true
                }
                try await readHistory()
                if !board.isStopping, !hasEnded { try await readSource() }
                if !board.isStopping { await pause(.seconds(1)) }
                delay = .milliseconds(500)
            } catch {
                failing(error)
                board.hasStarted = true
                await pause(delay)
                delay = min(delay * 2, .seconds(10))
            }
        }
        board.hasStarted = true
    }

    /// Decodes a batch and commits it, however often that must be tried.
    ///
    /// - Parameters:
    ///   - isHistory: It is learned, and not scored.
    ///   - onDecoded: Called between the two.
    /// - Returns: How many of its lines were no records.
    @discardableResult
    func take(
        _ batch: LineBatch, isHistory: Bool = false, onDecoded: () -> Void = {}
    ) async throws -> Int {
        guard let decoded = try await decode(batch, isHistory: isHistory) else {
            return batch.lines.count
        }
        onDecoded()
        return try await insist { try self.commit(decoded, of: batch, isHistory: isHistory) }
    }

    /// Makes records of a batch's lines.
    ///
    /// - Returns: `nil` when the batch as a whole was refused, and that was committed.
    func decode(_ batch: LineBatch, isHistory: Bool = false) async throws -> DecodedBatch? {
        defer { if batch.isLast { inputs[batch.input] = nil } }
        var input = inputs[batch.input] ?? OpenInput()
        input.header = batch.header ?? input.header
        inputs[batch.input] = input
        var titled = batch
        titled.header = input.header
        if let rows = configuration.longRows {
            return try await assemble(batch, titled: titled, as: rows, isHistory: isHistory)
        }
        let tallyBefore = state.tally
        if isHistory || configuration.source.isFile {
            try settleSchema(by: titled)
        } else {
            try await insist { try self.settleSchema(by: titled) }
        }
        guard let schema = state.schema, hasKey(schema) else {
            if batch.lines.isEmpty {
                return DecodedBatch(
                    records: RecordBatch(schema: Schema(features: [], time: nil)), faults: [])
            }
            try await refuse(batch, reason: failure as? IngestError, isHistory: isHistory)
            return nil
        }
        if let ready = takeDecodedAhead() {
            inputs[batch.input]?.decoder = ready.decoder
            return ready.batch
        }
        let known = inputs[batch.input]?.decoder
        var decoder = known ?? RecordDecoder(format: configuration.format, schema: schema)
        let decoded: DecodedBatch
        do {
            let cores = Self.cores(for: batch.lines.count)
            decoded = try decoder.decode(known == nil ? titled : batch) { cores($0, $1) }
        } catch {
            // A file's batch comes again: it is not to be tallied twice.
            if isHistory || configuration.source.isFile, let tallyBefore {
                state.tally = tallyBefore
            }
            try await refuse(batch, reason: error, isHistory: isHistory)
            return nil
        }
        inputs[batch.input]?.decoder = decoder
        return decoded
    }

    /// Whether the columns hold the key, if there is to be one.
    private func hasKey(_ schema: Schema) -> Bool {
        configuration.key.map { schema.categories.contains($0.column) } ?? true
    }

    /// Another source gives inputs of its own.
    func forgetInputs() {
        inputs = [:]
        forgetAhead()
    }

    /// What is left of an input is given again, as another one.
    func forgetInput(_ input: Int) { inputs[input] = nil }

    /// The features are others now.
    func forgetDecoders() {
        for input in inputs.keys { inputs[input]?.decoder = nil }
        decoderGeneration += 1
    }

    /// A batch whose header lacks what is needed.
    ///
    /// A file stays where it is, so that nothing of it is lost when the configuration is mended; it is opened anew after a
    /// while. The lines of a client go to the quarantine: others share its socket.
    func refuse(
        _ batch: LineBatch, reason: IngestError?, isHistory: Bool
    ) async throws {
        let error = reason ?? .noRecords(input: batch.inputName)
        if isHistory || configuration.source.isFile { throw error }
        failing(error)
        let faults = batch.lines.indices.map { index in
            RowFault(
                lineIndex: index, lineNumber: batch.lines[index].number,
                offset: batch.lines[index].offset, code: .missingColumn, reason: "\(error)")
        }
        let schema = state.schema ?? Schema(features: [], time: nil)
        let refused = DecodedBatch(records: RecordBatch(schema: schema), faults: faults)
        try await insist { try self.commit(refused, of: batch, error: error) }
    }

    /// Repeats what the world may refuse for a while: a full disk, a locked store.
    @discardableResult
    func insist<Value>(_ body: () throws -> Value) async throws -> Value {
        var delay = Duration.milliseconds(250)
        while true {
            do {
                return try body()
            } catch {
                if case RequestError.stopping = error { throw error }
                failing(error)
                if board.isStopping || environment.replay != nil { throw error }
                board.beat(isBusy: false)
                await pause(delay)
                delay = min(delay * 2, .seconds(5))
            }
        }
    }

    /// Before the first model, holds the source back when the window is full of records that wait to be scored.
    func waitForRoom() async {
        let limit = Int64(configuration.fit.windowRecords)
        while serving == nil, state.pendingCount >= limit, !hasGivenUpWaiting, !board.isStopping {
            board.beat(isBusy: false)
            await pause(.milliseconds(50))
        }
    }

    // MARK: Clock

    private func tickUntilStopped() async {
        var last = ContinuousClock.now
        var lastRecords: Int64 = 0
        while !board.isStopping {
            await pause(.seconds(1))
            let now = ContinuousClock.now
            let elapsed = (now - last).inSeconds
            let arrived = state.counters.records - lastRecords
            if lastRecords > 0 || arrived == 0 {
                if board.inflow.isCaughtUp {
                    state.rate.observe(records: arrived, seconds: elapsed)
                }
                let rate = Double(arrived) / max(elapsed, 1e-3)
                board.update { $0.recordsPerSec += 0.3 * (rate - $0.recordsPerSec) }
            }
            lastRecords = state.counters.records
            last = now
            tellOfSpool()
            noticeRecovery()
            if window != nil {
                doWhatIsDue()
                await serveWaitingKeys()
                doWhatIsDueForKeys()
            }
        }
    }

    /// Begins a fit and makes the threshold anew, each when its time has come.
    func doWhatIsDue() {
        fitWhenDue()
        recalibrateWhenDue()
    }

    /// Epoch seconds, now.
    func currentTime() -> Double { environment.clock.now.time }

    /// Sleeps, but not beyond a wish to stop.
    func pause(_ duration: Duration) async {
        let end = ContinuousClock.now + duration
        while !board.isStopping {
            let rest = end - .now
            guard rest > .zero else { return }
            try? await Task.sleep(for: min(rest, .milliseconds(100)))
        }
    }

    // MARK: Telling

    /// Shows an error in the status, and logs it when it is a new one.
    func failing(_ error: any Error) {
        failure = error
        let text = "\(error)"
        let hint = hint(for: error)
        var isNew = false
        board.update { snapshot in
            isNew = snapshot.lastError?.message != text
            snapshot.phase = .failing
            snapshot.lastError = StreamProblem(
                message: text, hint: hint, time: Date())
        }
        if isNew { logger.error("stream is failing", metadata: ["error": "\(text)"]) }
    }

    private func hint(for error: any Error) -> String? {
        switch error {
        case let error as StoreError: return error.hint
        case let error as StateError: return error.hint
        case let error as RequestError: return error.hint
        case let error as HistoryError: return error.hint
        case IngestError.missingColumns, IngestError.noNumericColumns:
            return "mend features, time or delimiter in the configuration and reload, or "
                + (configuration.source.isFile ? "replace the file" : "what the clients send")
        case IngestError.headerIsNumbers:
            return "give the names under columns in the configuration and reload, or put them into "
                + "a first line"
        case IngestError.wideCharacters, IngestError.bareReturns:
            return "let its writer write lines of UTF-8, or convert it"
        case IngestError.timeUnreadable, IngestError.noTimeColumn:
            return "mend column and pattern under time in the configuration and reload"
        case IngestError.noFrequentSeries:
            return "mend every or stale_after under long, or name under features what is to be "
                + "watched, and reload"
        case IngestError.corrupt, IngestError.truncated:
            return "put a whole file there, or take it out of history and reload"
        case IngestError.compressed: return "unpack it, and name the unpacked file"
        case DetectionError.file(_, _, ENOSPC, _): return "free some space"
        default: return nil
        }
    }

    /// Shows the state to the rest of the daemon.
    func publish() {
        let state = state
        let serving = serving
        let inputProblem = inputFailure.map { (message: "\($0)", hint: hint(for: $0)) }
        let phase: StreamState =
            inputProblem != nil
            ? .failing
            : hasEnded
                ? .stopped
                : state.counters.records == 0 && state.windowTotal == 0
                    ? .waiting : serving == nil ? .learning : .watching
        let needed = Int64(configuration.fit.firstAfterRecords)
        // What is held is of other columns than those that the next record brings.
        let held = isSchemaCurrent ? heldCount : 0
        let recordsPerDay = shownRecordsPerDay
        let (countedDrops, countedFailures) = (countedDrops, countedFailures)
        let pointCounts = pointCounts
        let keyCounts = keyCounts
        let isKey = loan != nil
        let modelSchema = modelSchema
        let asked = askedProbability
        let standing = standingProblem ?? longRowsProblem
        let nextFit = nextFit
        let featureDrift = featureDrift
        worstDriftIndex = featureDrift.first?.index ?? 0
        let featureDriftMissing = featureDriftMissing
        let scoreDrift = serving.map {
            ScoreDrift(state.drift ?? $0.detector.driftState())
        }
        board.update { snapshot in
            snapshot.phase = phase
            let problem =
                inputProblem?.message ?? standing
                ?? snapshot.fit.flatMap { $0.state == .failed ? $0.message : nil }
            if problem != snapshot.lastError?.message {
                snapshot.lastError = problem.map {
                    StreamProblem(message: $0, hint: inputProblem?.hint, time: Date())
                }
            }
            snapshot.counters = state.counters
            snapshot.pointCounts = pointCounts
            snapshot.keys = keyCounts
            snapshot.countedDrops = countedDrops
            snapshot.countedFailures = countedFailures
            snapshot.serving = serving
            snapshot.schema = modelSchema
            snapshot.pending = serving == nil ? held : needed
            snapshot.needed = needed
            snapshot.lastRecordAt = state.lastRecordAt
            snapshot.openEpisode = state.episodes.open
            snapshot.nextFit = nextFit
            snapshot.featureDrift = featureDrift
            snapshot.featureDriftMissing = featureDriftMissing
            snapshot.scoreDrift = scoreDrift
            snapshot.recordsPerDay = recordsPerDay
            snapshot.isKey = isKey
            snapshot.askedProbability = asked
            snapshot.largestAlarmingPValue = largestAlarmingPValue
            snapshot.isThresholdByHand = state.choice != .configured
            snapshot.recentAlarms = state.recentAlarms
        }
    }
}

extension FilePosition {
    init(_ position: SourcePosition) {
        self.init(
            path: position.path, device: position.device, inode: position.inode,
            prefixHash: position.prefixHash, prefixLength: position.prefixLength,
            offset: position.offset, lineNumber: position.lineNumber,
            modifiedAt: position.modifiedAt)
    }
}

extension SourcePosition {
    init(_ position: FilePosition) {
        self.init(
            path: position.path, device: position.device, inode: position.inode,
            prefixHash: position.prefixHash, prefixLength: position.prefixLength,
            offset: position.offset, lineNumber: position.lineNumber,
            modifiedAt: position.modifiedAt)
    }
}
