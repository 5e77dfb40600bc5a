import Detection
import Ingest
import Logging
import Settings
import Store

/// A stream of several machines, told apart by a key: the part of the stream's worker.
///
/// Each key has a worker of its own, on the same thread. The stream's worker reads the source, learns from all records in a
/// window and a model of its own, and gives each key its records; what comes of a batch is committed in one transaction.
/// Calls between these workers need no `await`: they share an executor.
extension StreamWorker {
    /// Keys that fit, or wait for their turn to, at once.
    private static let mostFits = 2

    /// How many keys there are; `nil` for a stream without.
    var keyCounts: KeyCounts? {
        guard configuration.key != nil else { return nil }
        return KeyCounts(
            known: keys.known.count, live: keys.liveCount, alarming: keys.alarming.sorted(),
            fitting: keys.fitCount)
    }

    /// Reads the names of the keys that the store knows.
    func findKeys() throws {
        try environment.directory.makeKeyFolder(name)
        keys.remember(
            try environment.store.keys(stream: name).compactMap { KeyedName.split($0.name).key })
        for text in board.snapshot.keysWithFitWanted.sorted() { keys.awaitFit(of: text) }
    }

    /// What the keys have of their stream.
    private var currentLoan: Loan {
        var budget = configuration.budget
        if case .budget(let chosen) = state.choice { budget = chosen }
        return Loan(
            serving: serving, budget: budget, hasBudget: state.hasBudget,
            recordsPerDay: recordsPerDay, recordCount: state.counters.records)
    }

    /// The worker of a key, from memory or the store; `nil` when there are too many keys.
    private func worker(ofKey text: String) throws -> StreamWorker? {
        if let worker = keys.worker(of: text) { return worker }
        guard let key = configuration.key,
            keys.known.contains(text) || keys.known.count < key.most
        else { return nil }
        let worker = StreamWorker(
            configuration.ofKey(text), environment: environment, thread: thread, above: board)
        let loan = currentLoan
        let isAlarming = try worker.assumeIsolated { worker in
            worker.loan = loan
            // The rate is the stream's, and known: what it was when the key was in memory last may be long ago.
            worker.nextRateCheck = 0
            try worker.openState()
            return worker.state.episodes.open != nil
        }
        board.update { stream in
            let isFitWanted = stream.keysWithFitWanted.remove(text) != nil
            worker.board.update { $0.isFitWanted = isFitWanted }
        }
        keys.admit(worker, of: text, isAlarming: isAlarming)
        return worker
    }

    /// The worker of a key that has had records; `nil` when there is no such key.
    package func worker(ofKnownKey text: String) throws -> StreamWorker? {
        guard configuration.key != nil, keys.known.contains(text) else { return nil }
        guard !board.isStopping else { throw RequestError.stopping(stream: name) }
        let worker = try worker(ofKey: text)
        putAwayKeys(but: worker)
        publish()
        return worker
    }

    // MARK: A batch

    /// Gives each key its records of a batch, and makes ready what becomes of them.
    ///
    /// - Parameter arrivals: When each record came in; `nil`: all of them now.
    /// - Returns: The records of keys that there is room for, what becomes of these keys, and the faults of the others.
    func distribute(
        _ records: RecordBatch, of batch: LineBatch, isHistory: Bool, now: Double,
        arrivals: [StreamInstant]? = nil, into next: inout WorkerState
    ) throws -> Distribution {
        guard let key = configuration.key, records.rowCount > 0, window != nil else {
            return Distribution(records: records, arrivals: arrivals)
        }
        var parts: [KeyPart] = []
        var (taken, alarms): ([Int], Set<Int>) = ([], [])
        var refused: [(row: Int, code: FaultCode)] = []
        for own in records.split(byCategory: key.column) {
            // Many may have to come from the disk.
            board.beat(isBusy: true)
            guard own.isUsable, let worker = try worker(ofKey: own.key) else {
                refused += own.rows.map { ($0, own.isUsable ? .tooManyKeys : .badKey) }
                continue
            }
            let (part, alarmRows) = try prepare(
                worker, of: own.key, own.records, source: batch.inputName, isHistory: isHistory,
                now: now, arrivals: arrivals.map { all in own.rows.map { all[$0] } }, into: &next)
            parts.append(part)
            taken += own.rows
            alarms.formUnion(alarmRows.map { own.rows[$0] })
        }
        if serving == nil, !isHistory { next.keysWait = true }
        taken.sort()
        for (number, row) in taken.enumerated() where alarms.contains(row) {
            next.excluded.exclude(state.windowTotal + Int64(number), joining: false)
        }
        guard !refused.isEmpty else {
            return Distribution(records: records, arrivals: arrivals, parts: parts)
        }
        let faults = refused.map { row, code in
            let line = Int(records.lineIndices[row])
            return RowFault(
                lineIndex: line, lineNumber: batch.lines[line].number,
                offset: records.offsets[row], column: key.column, code: code,
                reason: "column '\(key.column)': expected "
                    + (code == .badKey
                        ? "a text without control characters, found none"
                        : "at most \(key.most) keys, found another"))
        }
        return Distribution(
            records: records.selecting(taken),
            arrivals: arrivals.map { all in taken.map { all[$0] } },
            parts: parts, faults: faults)
    }

    /// Makes ready what becomes of a key, and takes its counts into those of the stream.
    ///
    /// - Parameter records: `nil`: only those that have waited for the stream's model.
    private func prepare(
        _ worker: StreamWorker, of key: String, _ records: RecordBatch?, source: String,
        isHistory: Bool, now: Double, arrivals: [StreamInstant]? = nil,
        into next: inout WorkerState
    ) throws -> (part: KeyPart, alarmRows: [Int]) {
        guard let schema = modelSchema else { throw RequestError.notOpen(stream: name) }
        let (loan, tally) = (currentLoan, state.tally)
        let ready = try worker.assumeIsolated { worker in
            worker.loan = loan
            try worker.follow(schema, tally: tally)
            return try worker.prepare(
                records, source: source, isHistory: isHistory, now: now, arrivals: arrivals)
        }
        next.counters.addJudgement(from: ready.before, to: ready.after)
        next.recentAlarms.observe(
            records: ready.after.scored - ready.before.scored,
            anomalies: ready.after.anomalies - ready.before.anomalies,
            recordsPerDay: shownRecordsPerDay)
        return (KeyPart(key: key, worker: worker, commit: ready.commit), ready.alarmRows)
    }

    /// Sends keys to the disk that are more than may be in memory.
    ///
    /// - Parameter wanted: One that stays.
    func putAwayKeys(but wanted: StreamWorker? = nil) {
        guard let key = configuration.key else { return }
        let surplus = keys.removeSurplus(beyond: key.live) { worker in
            worker !== wanted && worker.assumeIsolated { $0.fitTask == nil }
        }
        for (text, worker) in surplus {
            let trigger = worker.assumeIsolated { worker in
                worker.putAway()
                return worker.fitTrigger
            }
            if trigger == Self.requestedTrigger {
                board.update { _ = $0.keysWithFitWanted.insert(text) }
            }
            if trigger != nil { keys.awaitFit(of: text) }
        }
    }

    /// Ends the workers of all keys.
    func closeKeys() async {
        for (text, worker) in keys.removeAll() {
            worker.board.stop()
            await worker.fitTask?.value
            await worker.putAway()
            if worker.hasCutOffFit { board.update { _ = $0.keysWithFitWanted.insert(text) } }
        }
    }

    // MARK: The clock

    /// Has the stream's first model judge the records that keys, in memory or not, hold for it.
    func serveWaitingKeys() async {
        guard configuration.key != nil, state.keysWait, serving != nil else { return }
        defer { publish() }
        do {
            for text in keys.known.sorted() {
                guard !board.isStopping, serving != nil else { return }
                try serveWaiting(text)
                putAwayKeys()
                await Task.yield()
            }
            var next = state
            next.keysWait = false
            try store(next, position: position)
        } catch {
            failing(error)
        }
    }

    private func serveWaiting(_ text: String) throws {
        guard let worker = try worker(ofKey: text),
            worker.assumeIsolated({ $0.state.pendingFrom != nil })
        else { return }
        var next = state
        let ready = try prepare(
            worker, of: text, nil, source: configuration.source.path, isHistory: false,
            now: currentTime(), into: &next)
        try store(next, position: position, parts: [ready.part])
    }

    /// Begins fits of keys and makes their thresholds anew, each when its time has come.
    func doWhatIsDueForKeys() {
        guard configuration.key != nil, serving != nil, !board.isStopping else { return }
        let loan = currentLoan
        var live = keys.inTurn
        var fits = live.count { $0.worker.assumeIsolated { $0.fitTask != nil } }
        if fits < Self.mostFits, let waiting = nextOnDisk() {
            live.removeAll { $0.key == waiting.key }
            // Those in memory and those on disk take turns at being the first.
            isDisksTurn.toggle()
            live.insert(waiting, at: isDisksTurn ? 0 : live.count)
        }
        for (key, worker) in live {
            let mayFit = fits < Self.mostFits
            let hasBegun = worker.assumeIsolated { worker in
                worker.take(loan)
                worker.recalibrateWhenDue()
                guard mayFit, worker.fitTask == nil else { return false }
                worker.fitWhenDue()
                return worker.fitTask != nil
            }
            guard hasBegun else { continue }
            fits += 1
            // The others have their turn before it is this one's again.
            keys.nextToFit = key + "\0"
        }
        // What was looked at goes back, also when no batch comes.
        putAwayKeys()
        guard fits != keys.fitCount else { return }
        keys.fitCount = fits
        publish()
    }

    /// The key on disk that has waited longest for a fit, if it still is due; at most so many are looked at in a second.
    private func nextOnDisk() -> (key: String, worker: StreamWorker)? {
        do {
            for _ in 0..<20 {
                guard let text = keys.nextAwaitingFit(), let worker = try worker(ofKey: text) else {
                    return nil
                }
                if worker.assumeIsolated({ $0.fitTrigger != nil }) { return (text, worker) }
            }
        } catch {
            failing(error)
        }
        return nil
    }
}

/// The part of a key's worker.
extension StreamWorker {
    /// What becomes of this key, and how its counts change.
    struct Ready: Sendable {
        var commit: StreamCommit
        /// Which of the records are anomalies.
        var alarmRows: [Int]
        var before: WorkerState.Counters
        var after: WorkerState.Counters
    }

    /// Takes over the columns of the stream.
    fileprivate func follow(_ schema: Schema, tally: SchemaTally?) throws {
        if schema != state.schema || !isSchemaCurrent || (tally == nil) != (state.tally == nil) {
            try use(schema, tally: tally)
        }
    }

    /// Judges and keeps records; it holds once the stream has committed it and calls `conclude`.
    ///
    /// - Parameter records: `nil`: only those that have waited for a model.
    fileprivate func prepare(
        _ records: RecordBatch?, source: String, isHistory: Bool, now: Double,
        arrivals: [StreamInstant]?
    ) throws -> Ready {
        var next = state
        var findings = Findings()
        try borrow(into: &next, &findings, now: now)
        let waited = findings.anomalies.count
        if let records {
            try takeIn(
                records, source: source, isHistory: isHistory, now: now, arrivals: arrivals,
                into: &next, &findings)
        }
        prepared = (next, findings)
        return Ready(
            commit: try streamCommit(next, position: nil, findings),
            alarmRows: findings.anomalies.dropFirst(waited).compactMap { anomaly in
                anomaly.recordNumber.map { Int($0 - state.windowTotal) }
            }, before: state.counters, after: next.counters)
    }

    /// Shows what the stream lends now, also while no record comes.
    fileprivate func take(_ newest: Loan) {
        let before = serving?.threshold
        loan = newest
        guard !ownsModel, serving != nil, let model = newest.serving, readsColumns(model.detector),
            model.threshold != before
        else { return }
        serving = model
        publish()
    }

    /// Has the stream's model judge the records of this key, as long as it has none of its own.
    private func borrow(
        into next: inout WorkerState, _ findings: inout Findings, now: Double
    ) throws {
        guard !ownsModel else { return }
        guard let model = loan?.serving, readsColumns(model.detector) else {
            serving = nil
            next.pendingFrom = next.pendingFrom ?? next.windowTotal
            return
        }
        if next.borrowedModel != model.row.id {
            next.borrowedModel = model.row.id
            // It learned from the records of this key, too.
            next.fittedThrough = next.windowTotal
            next.drift = nil
        }
        noteBudget(in: &next)
        if let from = next.pendingFrom {
            try scorePending(from: from, with: model, now: now, into: &next, &findings)
            next.pendingFrom = nil
        }
        serving = model
    }

    /// What was made ready is committed.
    ///
    /// - Returns: Whether the key is in an episode.
    func conclude() -> Bool {
        if let (next, findings) = prepared {
            state = next
            isNew = false
            prepared = nil
            observe(findings)
            tell(findings.events)
            publish()
        }
        return state.episodes.open != nil
    }

    /// Refuses what makes a model of its own serve while the key has records that wait for that of the stream: these are
    /// counted, and kept out of fits, together with the stream.
    func requireLoan() throws {
        if let loan, loan.serving == nil {
            throw RequestError.noModel(stream: KeyedName.split(name).stream)
        }
    }

    /// The key leaves the memory: nothing is asked of this worker any more.
    ///
    /// Its window is not brought to the disk more than that of any stream is at a commit: it is wound back to what the store has.
    fileprivate func putAway() { board.stop() }
}
