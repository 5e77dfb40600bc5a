import Detection
import FlowDensity
import Foundation
import Ingest
import Logging
import Settings
import Store

/// The outcome of scored records, on its way into the store.
struct Findings {
    var anomalies: [NewAnomaly] = []
    private(set) var episodes: [Int64: EpisodeRow] = [:]
    /// What to tell people, in order.
    private(set) var events: [EpisodeTracker.Event] = []
    /// The scored records themselves, where a replay asks for them.
    var judged: [JudgedRecords] = []

    var episodeRows: [EpisodeRow] { episodes.values.sorted { $0.sequence < $1.sequence } }

    mutating func take(_ event: EpisodeTracker.Event) {
        switch event {
        case .started(let episode):
            events.append(event)
            episodes[episode.sequence] = EpisodeRow(episode, isEnded: false)
        case .extended(let episode):
            episodes[episode.sequence] = EpisodeRow(episode, isEnded: false)
        case .ended(let episode):
            events.append(event)
            episodes[episode.sequence] = EpisodeRow(episode, isEnded: true)
        }
    }
}

extension EpisodeRow {
    package init(_ episode: EpisodeTracker.Episode, isEnded: Bool) {
        self.init(
            sequence: episode.sequence, startedAt: episode.startedAt,
            lastAnomalyAt: episode.lastAt, isEnded: isEnded, peakAt: episode.peakAt,
            peakLogLikelihood: episode.peakLogLikelihood, anomalyCount: episode.anomalyCount,
            topFeatures: episode.topFeatures)
    }
}

extension ReasonValue {
    fileprivate init(_ value: CellValue) {
        switch value {
        case .number(let number): self = .number(number)
        case .text(let text): self = .text(text)
        case .missing: self = .missing
        }
    }
}

/// Records under a model: what depends on nothing but them, the model and the records before.
struct ScoredBatch: Sendable {
    let scores: Scores
    /// How many of them come after a gap in time.
    let gapCount: Int
    /// What the model remembers behind them.
    let context: ContextState

    /// - Parameter before: What the model remembers of the records before.
    init(_ records: RecordBatch, by detector: Detector, after before: ContextState) {
        var state = before
        gapCount = detector.gapCount(records, after: before)
        scores = detector.score(
            records, state: &state, parallel: StreamWorker.cores(for: records.rowCount))
        context = state
    }
}

extension StreamWorker {
    /// Runs parts of a batch on all cores; what comes of them does not depend on it.
    ///
    /// - Parameter count: How many records or lines there are: for a few, waking a thread would take longer than their work.
    static func cores(for count: Int) -> ParallelFor {
        count < 512 ? .serial : .threads(coreCount)
    }

    /// Asked once: the answer is read from files of the system.
    private static let coreCount = ProcessInfo.processInfo.activeProcessorCount

    /// Scores a batch and makes it permanent: window, then one transaction, then the anomaly log.
    ///
    /// After an error everything is as before, and the call may be repeated.
    ///
    /// - Parameters:
    ///   - isHistory: It is learned, and not scored.
    ///   - error: What is wrong with the batch as a whole, for the status.
    ///   - arrivals: When each record came in; `nil`: all of them now.
    /// - Returns: How many of its lines were no records.
    @discardableResult
    func commit(
        _ decoded: DecodedBatch, of batch: LineBatch, isHistory: Bool = false,
        error: (any Error)? = nil, arrivals: [StreamInstant]? = nil
    ) throws -> Int {
        board.beat(isBusy: true)
        let begin = ContinuousClock.now
        let now = currentTime()
        var next = state
        var findings = Findings()
        let given = try distribute(
            decoded.records, of: batch, isHistory: isHistory, now: now, arrivals: arrivals,
            into: &next)
        try takeIn(
            given.records, source: batch.inputName, origins: decoded.origins,
            isHistory: isHistory, now: now, arrivals: given.arrivals, into: &next, &findings)
        next.assembler = decoded.assembler ?? next.assembler
        if isHistory { next.history.line = batch.lines.last?.number ?? next.history.line }
        if !isHistory { note(batch, in: &next) }
        let faults =
            given.faults.isEmpty
            ? decoded.faults
            : (decoded.faults + given.faults).sorted { $0.lineIndex < $1.lineIndex }
        let after = try setAside(faults, of: batch, now: now, into: &next)
        let newPosition = batch.resume.map(SourcePosition.init) ?? position
        let drops = next.counters.dropped - state.counters.dropped
        try store(
            next, position: newPosition, findings: findings, file: newPosition,
            parts: given.parts)
        countedDrops += drops
        quarantine = after
        board.update {
            $0.batchesTotal += 1
            $0.batchSecsTotal += (ContinuousClock.now - begin).inSeconds
            $0.underwayBytes = 0
        }
        putAwayKeys()
        // An empty batch, as of a client that leaves, says nothing of the lines before.
        if error != nil || !batch.lines.isEmpty { inputFailure = error }
        publish()
        return faults.count { $0.origin == nil }
    }

    /// Takes records into the window, judged where a model serves.
    ///
    /// The records of keys are judged by the workers of these.
    func takeIn(
        _ records: RecordBatch, source: String, origins: [RecordOrigin]? = nil, isHistory: Bool,
        now: Double, arrivals: [StreamInstant]? = nil, into next: inout WorkerState,
        _ findings: inout Findings
    ) throws {
        if isHistory {
            try learn(records, in: window, into: &next)
        } else if records.rowCount > 0, let window {
            window.rewind(to: state.windowTotal)
            withhold(records, firstNumber: state.windowTotal, in: &next) {
                arrivals?[$0].time ?? now
            }
            if configuration.key == nil {
                let input = { (row: Int) in origins?[row].input ?? source }
                if let serving {
                    let scored =
                        takeScoredAhead(with: serving)
                        ?? ScoredBatch(records, by: serving.detector, after: next.context)
                    scoreAhead(
                        from: state.windowTotal + Int64(records.rowCount), after: scored.context,
                        with: serving)
                    judge(
                        records, scored, with: serving, firstNumber: state.windowTotal, now: now,
                        arrivals: arrivals, into: &next, &findings, input: input)
                } else {
                    // Without origins all are of one.
                    for row in 0..<(origins?.count ?? 1) {
                        next.waitingInputs.note(state.windowTotal + Int64(row), input: input(row))
                    }
                }
            }
            try window.append(records, parallel: Self.cores(for: records.rowCount))
            next.windowTotal = window.total
            next.lastRecordAt = records.times.last { $0.isFinite } ?? now
            next.counters.records += Int64(records.rowCount)
            if serving == nil { dropUnheld(&next) }
        }
        let oldest = next.windowTotal - Int64(next.windowCapacity)
        next.excluded.forget(before: oldest)
        next.maintained.forget(before: oldest)
        next.withheld.forget(before: oldest)
    }

    /// One transaction with everything that belongs together; then it is so.
    ///
    /// - Parameter parts: What becomes of keys of the stream at the same time.
    func store(
        _ next: WorkerState, position newPosition: SourcePosition?, findings: Findings = Findings(),
        activation: ModelActivation? = nil, threshold: ThresholdRow? = nil,
        file: SourcePosition? = nil, parts: [KeyPart] = []
    ) throws {
        var own = try streamCommit(next, position: newPosition, findings)
        own.activation = activation
        own.threshold = threshold
        own.file = followsFiles ? file : nil
        let ids = try environment.store.commit([own] + parts.map(\.commit))
        state = next
        position = newPosition
        isNew = false
        for part in parts {
            keys.note(part.key, isAlarming: part.worker.assumeIsolated { $0.conclude() })
        }
        if let newest = ids.joined().max() { environment.announce(newest) }
        observe(findings)
        tell(findings.events)
    }

    /// Shows a replay what is committed.
    func observe(_ findings: Findings) {
        for records in findings.judged { environment.replay?.observe(records) }
    }

    /// What the store is to hold of a next state.
    func streamCommit(
        _ next: WorkerState, position newPosition: SourcePosition?, _ findings: Findings
    ) throws -> StreamCommit {
        let blob = try next.stored()
        let checkpoint = CheckpointRow(
            takenAt: currentTime(), position: newPosition, windowTotal: next.windowTotal,
            recordsTotal: next.counters.records, anomaliesTotal: next.counters.anomalies,
            faultsTotal: next.counters.faultTotal, state: blob)
        var commit = StreamCommit(
            stream: name, episodes: findings.episodeRows, anomalies: findings.anomalies,
            checkpoint: checkpoint)
        commit.isNew = isNew
        return commit
    }

    /// Whether files are read on; also of a single one the place is kept by itself, so that a pattern in its stead finds it.
    private var followsFiles: Bool {
        if case .file = configuration.source { return true }
        return false
    }

    /// Decides about scored records in the order of the stream, and gathers what is to be stored.
    ///
    /// - Parameters:
    ///   - firstNumber: The running number of the first record in the training window.
    ///   - arrivals: When each record came in; `nil`: all of them now.
    ///   - input: The name of a record's input, by its place among these.
    func judge(
        _ records: RecordBatch, _ scored: ScoredBatch, with serving: ServingModel,
        firstNumber: Int64, now: Double, arrivals: [StreamInstant]? = nil,
        into next: inout WorkerState, _ findings: inout Findings, input: (Int) -> String
    ) {
        let (detector, scores) = (serving.detector, scored.scores)
        next.counters.gaps += Int64(scored.gapCount)
        next.context = scored.context
        let verdicts = detector.verdicts(
            scores, threshold: serving.threshold, parallel: Self.cores(for: records.rowCount))
        var upcoming = verdicts[...]
        var alarms: Int64 = 0
        var judged = JudgedRecords(
            key: KeyedName.split(name).key,
            first: firstNumber + state.counters.records - state.windowTotal, scores: scores,
            threshold: serving.threshold, hadWaited: arrivals == nil)
        for row in 0..<records.rowCount {
            var verdict = upcoming.first?.row == row ? upcoming.popFirst() : nil
            let recordTime = records.times[row].isFinite ? records.times[row] : nil
            let arrival = arrivals?[row].time ?? now
            let number = firstNumber + Int64(row)
            if let found = verdict,
                let cause = afterEffect(found, in: scores, number: number, by: serving, &next)
                    ?? suppression(of: found, time: recordTime, number: number, in: next)
                    ?? overBudget(found, at: recordTime ?? arrival, in: next)
            {
                next.counters.suppressed[cause, default: 0] += 1
                verdict = nil
            }
            let openBefore = next.episodes.open?.sequence
            for event in next.episodes.observe(time: recordTime ?? arrival, verdict: verdict) {
                findings.take(event)
            }
            if hasBudget(next) {
                let begins = verdict != nil && next.episodes.open?.sequence != openBefore
                next.pace.observe(
                    beginsEpisode: begins, probability: serving.threshold.probability)
            }
            guard let verdict else { continue }
            alarms += 1
            let episode = next.episodes.open?.sequence
            judged.anomalies.append(JudgedRecords.Anomaly(row: row, episode: episode))
            next.excluded.exclude(number, joining: episode == openBefore)
            findings.anomalies.append(
                NewAnomaly(
                    detectedAt: arrival, recordTime: recordTime,
                    source: input(row),
                    sourceOffset: records.offsets[row], logLikelihood: verdict.logLikelihood,
                    threshold: verdict.threshold, pValue: verdict.pValue,
                    tail: verdict.tail.rawValue, reasonCode: verdict.reasonCode.rawValue,
                    model: serving.row.id, episode: episode,
                    reasons: verdict.features.map {
                        ReasonRow(
                            name: $0.name, value: ReasonValue($0.value),
                            expected: ReasonValue($0.expected),
                            contribution: $0.contribution)
                    }, summary: verdict.summary, recordNumber: number))
        }
        if serving.row.stream == name {
            observeDrift(scores, firstNumber: firstNumber, with: detector, in: &next)
        }
        if environment.replay != nil { findings.judged.append(judged) }
        let count = Int64(records.rowCount)
        next.counters.scored += count
        next.counters.anomalies += alarms
        next.recentAlarms.observe(
            records: count, anomalies: alarms, recordsPerDay: shownRecordsPerDay)
    }

    /// Records that have left the window before a model could score them are counted, never forgotten silently.
    private func dropUnheld(_ next: inout WorkerState) {
        let oldest = next.windowTotal - Int64(next.windowCapacity)
        guard let from = next.pendingFrom, from < oldest else { return }
        // Those of keys are held, or counted, by the workers of these.
        if configuration.key == nil { next.counters.unscored += oldest - from }
        next.pendingFrom = oldest
    }

    /// Writes the lines that became no records to the quarantine, and counts them.
    private func setAside(
        _ faults: [RowFault], of batch: LineBatch, now: Double, into next: inout WorkerState
    ) throws -> Quarantine? {
        guard !faults.isEmpty, var after = quarantine else { return quarantine }
        let date = Date(timeIntervalSince1970: now)
        try after.append(
            faults.map { fault in
                Quarantine.Entry(
                    time: date, source: fault.origin?.input ?? batch.inputName,
                    line: fault.lineNumber,
                    offset: fault.offset, column: fault.column, columnNumber: fault.columnNumber,
                    code: fault.code.rawValue, reason: fault.reason,
                    text: fault.origin == nil
                        ? Quarantine.text(of: batch.content(ofLine: fault.lineIndex)) : "")
            })
        for fault in faults { next.counters.faults[fault.code.rawValue, default: 0] += 1 }
        next.quarantineBytes = after.size
        return after
    }

    /// An episode is told twice: when it begins and when it has ended.
    func tell(_ events: [EpisodeTracker.Event]) {
        for event in events.suffix(20) {
            switch event {
            case .started(let episode):
                logger.notice(
                    "episode started",
                    metadata: [
                        "episode": "\(episode.sequence)",
                        "features": "\(episode.topFeatures.joined(separator: ","))",
                    ])
            case .ended(let episode):
                logger.notice(
                    "episode ended",
                    metadata: [
                        "episode": "\(episode.sequence)",
                        "anomalies": "\(episode.anomalyCount)",
                        "features": "\(episode.topFeatures.joined(separator: ","))",
                    ])
            case .extended:
                break
            }
        }
    }
}
