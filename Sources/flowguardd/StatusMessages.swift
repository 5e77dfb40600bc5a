import Control
import Detection
import Foundation
import Ingest
import Settings
import Store
import Streams

/// From the worker's board and the store's rows to the control API's messages.
enum StatusMessages {
    /// A stream at a glance; asks the store for what the board does not hold.
    static func status(of worker: StreamWorker, store: StateStore, quarantine: String)
        throws -> StreamStatus
    {
        let snapshot = worker.board.snapshot
        let inflow = worker.board.inflow
        let configuration = worker.configuration
        var status = StreamStatus(
            name: worker.name, sourceKind: configuration.source.kind,
            source: configuration.source.path, format: configuration.format.format.rawValue,
            asked: snapshot.asked(by: configuration))
        status.state = worker.board.phase
        status.recordsTotal = snapshot.counters.records
        status.recordsPerSec = (snapshot.recordsPerSec * 10).rounded() / 10
        status.faultsTotal = snapshot.counters.faultTotal
        status.faults = snapshot.counters.faultCounts
        status.quarantine = snapshot.counters.faultTotal > 0 ? quarantine : nil
        status.anomaliesTotal = snapshot.counters.anomalies
        status.anomaliesLastDay = Int64(
            try store.anomalyCount(
                stream: worker.name, withKeys: configuration.key != nil,
                since: Date().timeIntervalSince1970 - 86_400))
        if let key = configuration.key, let counts = snapshot.keys {
            status.keys = KeysMessage(
                column: key.column, known: counts.known, live: counts.live,
                modelled: try store.modelledKeyCount(stream: worker.name),
                alarming: counts.alarming)
        }
        status.measured = measured(snapshot)
        status.largestAlarmingPValue = snapshot.largestAlarmingPValue
        status.threshold = snapshot.serving.map { threshold($0) }
        status.model = snapshot.serving.map { ModelMessage($0.row) }
        status.fit = snapshot.fit.flatMap { progress($0) }
        status.lastFit = try store.fits(stream: worker.name, limit: 3)
            .first { $0.state.isEnded }.map { FitMessage($0) }
        if let next = snapshot.nextFit {
            let (time, now) = (Date(timeIntervalSince1970: next.time), Date())
            let isOfRecords = next.missingRecords > 0
            status.nextFitRecords = isOfRecords ? next.missingRecords : nil
            // It was worked out with the newest records, which may be long ago.
            status.nextFitAt = isOfRecords && time <= now ? nil : max(time, now)
        }
        if snapshot.serving == nil {
            let missing = Double(max(0, snapshot.needed - snapshot.pending))
            status.learning = LearningProgress(
                have: snapshot.pending, need: snapshot.needed,
                etaSecs: snapshot.recordsPerSec > 0.01 ? missing / snapshot.recordsPerSec : nil,
                history: snapshot.history.map {
                    HistoryMessage(
                        file: $0.file, filesDone: $0.filesDone, files: $0.files,
                        bytesDone: $0.bytesDone, bytes: $0.bytes, records: $0.records,
                        etaSecs: $0.etaSecs)
                })
        }
        status.backlogBytes = inflow.backlogBytes
        status.connections = inflow.connections
        status.refusedConnections = inflow.refusedConnections
        status.unscoredTotal = snapshot.counters.unscored
        status.gapsTotal = snapshot.counters.gaps
        status.lostTotal = snapshot.counters.lost
        status.droppedTotal = worker.board.droppedLines
        status.duplicatesTotal = snapshot.counters.duplicates
        status.points = snapshot.pointCounts.map { PointsMessage($0) }
        status.spooledBytes = inflow.spooledBytes
        status.failedFiles = Int(worker.board.failedFiles)
        status.watchMode = inflow.watchMode
        status.suppressed = snapshot.counters.suppressedCounts
        status.drift = drift(snapshot)
        status.labels = LabelCounts(
            falseAlarms: snapshot.falseAlarmCount, confirmed: snapshot.confirmedCount)
        status.lastRecordAt = snapshot.lastRecordAt.map { Date(timeIntervalSince1970: $0) }
        if status.state == .waiting { status.waitingFor = waitingFor(configuration.source) }
        status.lastError =
            snapshot.lastError
            ?? inflow.problem.map { StreamProblem(message: $0, time: Date()) }
        status.openEpisode = snapshot.openEpisode.map {
            EpisodeMessage(EpisodeRow($0, isEnded: false))
        }
        return status
    }

    private static func drift(_ snapshot: StreamSnapshot) -> DriftMessage? {
        guard let scores = snapshot.scoreDrift else { return nil }
        return DriftMessage(
            features: snapshot.featureDrift.map {
                DriftMessage.Feature(
                    name: $0.name, stabilityIndex: ($0.index * 10_000).rounded() / 10_000,
                    isBig: $0.index > DriftState.bigIndex)
            },
            scoreEvidenceNats: (scores.evidenceNats * 1_000).rounded() / 1_000,
            scoresChanged: scores.isBig, scoresChangedRecords: scores.records,
            featureRecordsMissing: snapshot.featureDriftMissing,
            isTooEarlyForScores: scores.isTooEarly)
    }

    /// What a stream without a record waits for.
    private static func waitingFor(_ source: SourceConfiguration) -> String {
        switch source {
        case .socket(let socket):
            return "no client has sent a record to \(socket.path) yet"
        case .datagram(let path), .pipe(let path):
            return "nobody has written a record to \(path) yet"
        case .standardInput:
            return "no record has come by standard input yet"
        case .directory(let path):
            return "no file has been in \(path) yet"
        case .file(let path) where FileSetSource.isPattern(path):
            return "no file that \(path) matches has a complete record yet"
        case .file(let path):
            var information = stat()
            guard stat(path, &information) == 0 else { return "\(path) is not there yet" }
            return information.st_size == 0
                ? "\(path) is empty" : "\(path) has no complete record yet"
        }
    }

    /// A stream in detail.
    static func detail(of worker: StreamWorker, store: StateStore, quarantine: String)
        throws -> StreamDetail
    {
        let schema = worker.board.snapshot.schema
        var detail = StreamDetail(
            status: try status(of: worker, store: store, quarantine: quarantine),
            features: schema?.features ?? [], categories: schema?.categories,
            timeColumn: schema?.time,
            fits: try store.fits(stream: worker.name, limit: 20).map { FitMessage($0) },
            episodes: try store.episodes(stream: worker.name, limit: 20).map { EpisodeMessage($0) })
        let format = worker.configuration.format
        if format.format == .csv {
            detail.delimiter = String(UnicodeScalar(format.delimiter))
            detail.missingValues = format.missingValues
            detail.decimalMark = String(UnicodeScalar(format.decimalMark))
        }
        detail.isOfLongRows = worker.configuration.longRows != nil
        detail.timePattern = format.time.pattern
        detail.timeUnit = format.time.unit?.rawValue
        detail.timeZone = format.time.zone
        return detail
    }

    /// The keys of a stream.
    static func keys(of worker: StreamWorker, store: StateStore) throws -> KeyList {
        KeyList(
            stream: worker.name, column: worker.configuration.key?.column,
            keys: try store.keys(stream: worker.name).map { row in
                KeyList.Key(
                    key: KeyedName.split(row.name).key ?? "", recordsTotal: row.recordsTotal,
                    anomaliesTotal: row.anomaliesTotal,
                    lastSeenAt: Date(timeIntervalSince1970: row.lastSeenAt), model: row.model)
            })
    }

    /// The thresholds of a stream.
    static func thresholds(of worker: StreamWorker, store: StateStore) throws -> ThresholdReport {
        let snapshot = worker.board.snapshot
        let rows = try store.thresholds(stream: worker.name, limit: 20)
        return ThresholdReport(
            stream: worker.name, current: snapshot.serving.map { threshold($0) },
            asked: snapshot.asked(by: worker.configuration), measured: measured(snapshot),
            earlier: rows.filter { $0.validTo != nil }.map { ThresholdMessage($0) })
    }

    private static func measured(_ snapshot: StreamSnapshot) -> MeasuredAlarms? {
        let recent = snapshot.recentAlarms
        guard snapshot.serving != nil, recent.records > 0 else { return nil }
        let share = recent.anomalies / recent.records
        let rate = snapshot.recordsPerDay
        return MeasuredAlarms(
            perDay: rate > 0 ? share * rate : nil, share: share,
            records: Int64(recent.records.rounded()), days: rate > 0 ? recent.records / rate : nil)
    }

    private static func threshold(_ serving: ServingModel) -> ThresholdMessage {
        ThresholdMessage(
            model: serving.row.id, kind: serving.threshold.kind.rawValue,
            logLikelihood: serving.threshold.logLikelihood,
            upperLogLikelihood: serving.threshold.upperLogLikelihood,
            probability: serving.threshold.probability,
            validFrom: Date(timeIntervalSince1970: serving.thresholdSince),
            reason: serving.thresholdReason)
    }

    private static func progress(_ fit: FitSnapshot) -> FitProgressMessage? {
        guard !fit.state.isEnded else { return nil }
        let fraction = fit.progress?.fraction ?? 0
        var eta: Double?
        if let startedAt = fit.startedAt, fraction > 0.02 {
            eta = (Date().timeIntervalSince1970 - startedAt) * (1 - fraction) / fraction
        }
        return FitProgressMessage(
            id: fit.id, state: fit.state.rawValue, phase: fit.progress?.phase.rawValue,
            step: fit.progress?.step ?? 0, stepLimit: fit.progress?.stepLimit ?? 0,
            fraction: fraction, etaSecs: eta,
            heldOutLogLikelihood: fit.progress?.heldOutLogLikelihood,
            startedAt: fit.startedAt.map { Date(timeIntervalSince1970: $0) })
    }
}
