import Control
import Detection
import Foundation
import Ingest
import Settings
import Store
import Synchronization

/// A model in service, with its threshold.
package struct ServingModel: Sendable {
    package var detector: Detector
    package var threshold: Threshold
    package var thresholdReason: String
    package var thresholdSince: Double
    package var row: ModelRow
}

/// A fit that waits or runs, or the newest that ended.
package struct FitSnapshot: Sendable {
    package var id: Int64
    package var state: FitState
    package var trigger: String
    package var queuedAt: Double
    package var startedAt: Double?
    package var endedAt: Double?
    package var progress: FitProgress?
    package var message: String?
}

/// What a fit waits for that begins by itself.
package struct NextFit: Sendable {
    /// When it begins at the earliest, in epoch seconds.
    package var time: Double
    /// Records that must come before; 0: there are enough.
    package var missingRecords: Int64
}

/// What the test of the scores says.
package struct ScoreDrift: Sendable {
    /// The logarithm of the odds against chance, in nats.
    package var evidenceNats: Double
    /// Records since the scores began to differ.
    package var records: Int64
    /// Whether that is enough.
    package var isBig: Bool
    /// Whether too little was seen to say that they have not changed.
    package var isTooEarly: Bool
}

/// The keys of a stream, by number.
package struct KeyCounts: Sendable {
    /// Those that have had a record.
    package var known: Int
    /// Those in memory.
    package var live: Int
    /// Those in memory with an open episode, sorted.
    package var alarming: [String]
    /// Those whose fit waits or runs, as of the last second.
    package var fitting: Int
}

/// What the rest of the daemon may know of a stream, without waiting for its worker.
package struct StreamSnapshot: Sendable {
    package var phase = StreamState.waiting
    /// Whether the counters and the model are those of the store, and not of a worker that has not read it yet.
    package var isOpen = false
    package var counters = WorkerState.Counters()
    /// What became of rows beside those in records; `nil` where each line is a record.
    package var pointCounts: PointCounts?
    /// Dropped lines of the source that are among the counters.
    package var countedDrops: Int64 = 0
    /// Failed files of the source that are among the counters.
    package var countedFailures: Int64 = 0
    package var recordsPerSec = 0.0
    package var recordsPerDay = 0.0
    /// Whether it is of one key of a stream.
    package var isKey = false
    package var askedProbability: Double?
    /// The largest p-value that begins an episode while alarms are more than asked for; `nil`: the threshold decides.
    package var largestAlarmingPValue: Double?
    /// Whether a person set the threshold, instead of the configuration.
    package var isThresholdByHand = false
    /// The anomalies of late.
    package var recentAlarms = RecentAlarms()
    package var serving: ServingModel?
    /// The columns that models read.
    package var schema: Schema?
    package var fit: FitSnapshot?
    /// Whether a fit that a person asked for was cut off, and is to begin anew.
    package var isFitWanted = false
    /// The keys, outside the memory, of which that is so.
    package var keysWithFitWanted: Set<String> = []
    package var pending: Int64 = 0
    package var needed: Int64 = 0
    package var lastRecordAt: Double?
    package var lastError: StreamProblem?
    package var openEpisode: EpisodeTracker.Episode?
    /// The next fit that begins by itself; `nil`: none, or the first one.
    package var nextFit: NextFit?
    /// How far the reading of history is; `nil` before and after.
    package var history: HistoryProgress?
    /// How far each feature has moved, the furthest first.
    package var featureDrift: [FeatureDrift] = []
    /// What speaks for a drift of the scores, and since how many records.
    package var scoreDrift: ScoreDrift?
    /// How many more records must come before it is known how far features have moved.
    package var featureDriftMissing: Int64?
    /// Anomalies that people called false alarms, and those that they confirmed.
    package var falseAlarmCount = 0
    package var confirmedCount = 0
    /// How many keys there are; `nil` for a stream without.
    package var keys: KeyCounts?
    /// Bytes of a file that were taken and are not committed: of the batch under way, and of the one after it.
    package var underwayBytes: Int64 = 0
    package var aheadBytes: Int64 = 0
    package var batchesTotal: Int64 = 0
    package var batchSecsTotal = 0.0
}

/// The side of a worker that others see: its snapshot, its source, and the wish that it stop.
package final class StreamBoard: Sendable {
    private struct Content {
        var snapshot = StreamSnapshot()
        var source: (any LineSource)?
        /// Clients that former sources turned away.
        var refusedBefore = 0
        var busySince: ContinuousClock.Instant?
        var stoppingSince: ContinuousClock.Instant?
        var isReload = false
        var hasStarted = false
    }

    let configuration: StreamConfiguration
    private let content = Mutex(Content())
    /// The board of the stream that this key is of.
    private let above: StreamBoard?

    init(_ configuration: StreamConfiguration, above: StreamBoard? = nil) {
        self.configuration = configuration
        self.above = above
    }

    package var snapshot: StreamSnapshot { content.withLock(\.snapshot) }

    /// What the stream does now; a pattern of which a file cannot be read is failing, though the others are read.
    package var phase: StreamState {
        let (phase, source) = content.withLock { ($0.snapshot.phase, $0.source) }
        return phase != .stopped && (source as? FileSetSource)?.problem() != nil ? .failing : phase
    }

    func update(_ change: (inout StreamSnapshot) -> Void) {
        content.withLock { change(&$0.snapshot) }
    }

    /// How a source does.
    package struct Inflow {
        /// Bytes of the file that are not committed yet.
        package var backlogBytes: Int64
        /// Clients on the socket.
        package var connections: Int
        /// Clients that were turned away since the start, because there were too many.
        package var refusedConnections: Int
        /// Lines that the source has dropped since it was opened.
        package var droppedLines: Int64
        /// Bytes that wait on disk to be taken.
        package var spooledBytes: Int64
        /// What had waited there and was not given.
        package var spoolLosses: SpoolLosses
        /// How it learns of changes: `inotify` or `polling`; `nil` for what is no file.
        package var watchMode: String?
        /// What keeps the source from a part of its work.
        package var problem: String?
        /// Files that went to `failed` since the source was opened.
        package var failedFiles: Int
        /// Whether nothing waits to be read.
        package var isCaughtUp: Bool
    }

    /// How far a file is behind, and how many clients a socket has.
    package var inflow: Inflow {
        let (source, before, taken) = content.withLock {
            ($0.source, $0.refusedBefore, $0.snapshot.underwayBytes + $0.snapshot.aheadBytes)
        }
        let socket = source as? SocketSource
        return Inflow(
            backlogBytes: (source?.backlogBytes() ?? 0) + taken,
            connections: source?.connectionCount() ?? 0,
            refusedConnections: before + Self.refused(source),
            droppedLines: socket?.droppedLineCount() ?? 0,
            spooledBytes: socket?.spooledByteCount() ?? 0,
            spoolLosses: socket?.spoolLosses() ?? SpoolLosses(), watchMode: source?.watchMode(),
            problem: source?.problem().map { "\($0)" },
            failedFiles: (source as? DirectorySource)?.failedFileCount() ?? 0,
            isCaughtUp: source?.isCaughtUp() ?? false)
    }

    /// Lines that were dropped since the stream was first seen, also those that no commit has counted yet.
    package var droppedLines: Int64 {
        let snapshot = snapshot
        return snapshot.counters.dropped + max(0, inflow.droppedLines - snapshot.countedDrops)
    }

    /// Files that went to `failed` since the stream was first seen, also those that no commit has counted yet.
    package var failedFiles: Int64 {
        let snapshot = snapshot
        return snapshot.counters.failedFiles
            + max(0, Int64(inflow.failedFiles) - snapshot.countedFailures)
    }

    private static func refused(_ source: (any LineSource)?) -> Int {
        (source as? SocketSource)?.refusedConnectionCount() ?? 0
    }

    /// Takes the source in; a worker that is to stop gets it stopped.
    func attach(_ source: (any LineSource)?) {
        let isStopping = content.withLock { content in
            content.refusedBefore += Self.refused(content.source)
            content.source = source
            (content.snapshot.underwayBytes, content.snapshot.aheadBytes) = (0, 0)
            return content.stoppingSince != nil
        }
        if isStopping { source?.stop() }
    }

    /// Notes how much was taken of a source ahead, unless that was left meanwhile.
    func noteAhead(_ bytes: Int64, of source: FileSource) {
        content.withLock { content in
            guard let current = content.source as? FileSource, current === source else { return }
            content.snapshot.aheadBytes = bytes
        }
    }

    /// How long a worker that is to stop may go on taking what its clients have sent.
    private static let stopLimit = Duration.milliseconds(2_500)

    /// Whether the worker is to stop.
    package var isStopping: Bool {
        above?.isStopping == true || content.withLock { $0.stoppingSince != nil }
    }

    /// Whether it is to stop, and has had the time to do so.
    var isStopOverdue: Bool {
        content.withLock { content in
            content.stoppingSince.map { .now - $0 > Self.stopLimit } ?? false
        }
    }

    /// Whether it is to stop because its stream has another configuration, or none.
    var isReload: Bool { above?.isReload == true || content.withLock(\.isReload) }

    /// Asks the worker to end soon: its source, its waits and its fit.
    ///
    /// - Parameter isReload: The daemon goes on, with another configuration.
    package func stop(isReload: Bool = false) {
        let source = content.withLock { content in
            content.isReload = content.isReload || isReload
            content.stoppingSince = content.stoppingSince ?? .now
            return content.source
        }
        source?.stop()
    }

    /// Whether the source was opened once, with or without success.
    package var hasStarted: Bool {
        get { content.withLock(\.hasStarted) }
        set { content.withLock { $0.hasStarted = newValue } }
    }

    /// Says that work began, went on (`true`) or ended (`false`).
    func beat(isBusy: Bool) {
        content.withLock { $0.busySince = isBusy ? .now : nil }
    }

    /// How long the worker has been busy without a sign of progress.
    package var stalledFor: Duration {
        content.withLock { $0.busySince.map { .now - $0 } ?? .zero }
    }
}
