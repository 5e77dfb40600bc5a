import Control
import Detection
import Foundation
import Ingest
import Settings
import Store
import Synchronization

/// A model in service, with its threshold.
struct ServingModel: Sendable {
    var detector: Detector
    var threshold: Threshold
    var thresholdReason: String
    var thresholdSince: Double
    var row: ModelRow
}

/// A fit that waits or runs, or the newest that ended.
struct FitSnapshot: Sendable {
    var id: Int64
    var state: FitState
    var trigger: String
    var queuedAt: Double
    var startedAt: Double?
    var endedAt: Double?
    var progress: FitProgress?
    var message: String?
}

/// What the rest of the daemon may know of a stream, without waiting for its worker.
struct StreamSnapshot: Sendable {
    var phase = StreamState.waiting
    var counters = WorkerState.Counters()
    var recordsPerSec = 0.0
    var recordsPerDay = 0.0
    var askedProbability: Double?
    /// Whether a person set the threshold, instead of the configuration.
    var isThresholdByHand = false
    /// Records scored and anomalies found since the threshold holds.
    var scoredSinceThreshold: Int64 = 0
    var anomaliesSinceThreshold: Int64 = 0
    var serving: ServingModel?
    var schema: Schema?
    var fit: FitSnapshot?
    var pending: Int64 = 0
    var needed: Int64 = 0
    var lastRecordAt: Double?
    var lastError: StreamProblem?
    var openEpisode: EpisodeTracker.Episode?
    var nextFitAt: Double?
    var batchesTotal: Int64 = 0
    var batchSecsTotal = 0.0
}

/// The side of a worker that others see: its snapshot, its source, and the wish that it stop.
final class StreamBoard: Sendable {
    private struct Content {
        var snapshot = StreamSnapshot()
        var source: (any LineSource)?
        /// Clients that former sources turned away.
        var refusedBefore = 0
        var busySince: ContinuousClock.Instant?
        var stoppingSince: ContinuousClock.Instant?
        var hasStarted = false
    }

    let configuration: StreamConfiguration
    private let content = Mutex(Content())

    init(_ configuration: StreamConfiguration) { self.configuration = configuration }

    var snapshot: StreamSnapshot { content.withLock(\.snapshot) }

    func update(_ change: (inout StreamSnapshot) -> Void) {
        content.withLock { change(&$0.snapshot) }
    }

    /// How a source does.
    struct Inflow {
        /// Bytes of the file that are not read yet.
        var backlogBytes: Int64
        /// Clients on the socket.
        var connections: Int
        /// Clients that were turned away since the start, because there were too many.
        var refusedConnections: Int
        /// Whether nothing waits to be read.
        var isCaughtUp: Bool
    }

    /// How far a file is behind, and how many clients a socket has.
    var inflow: Inflow {
        let (source, before) = content.withLock { ($0.source, $0.refusedBefore) }
        return Inflow(
            backlogBytes: source?.backlogBytes() ?? 0, connections: source?.connectionCount() ?? 0,
            refusedConnections: before + Self.refused(source),
            isCaughtUp: source?.isCaughtUp() ?? false)
    }

    private static func refused(_ source: (any LineSource)?) -> Int {
        (source as? SocketSource)?.refusedConnectionCount() ?? 0
    }

    /// Takes the source in; a worker that is to stop gets it stopped.
    func attach(_ source: (any LineSource)?) {
        let isStopping = content.withLock { content in
            content.refusedBefore += Self.refused(content.source)
            content.source = source
            return content.stoppingSince != nil
        }
        if isStopping { source?.stop() }
    }

    /// How long a worker that is to stop may go on taking what its clients have sent.
    private static let stopLimit = Duration.milliseconds(2_500)

    /// Whether the worker is to stop.
    var isStopping: Bool { content.withLock { $0.stoppingSince != nil } }

    /// Whether it is to stop, and has had the time to do so.
    var isStopOverdue: Bool {
        content.withLock { content in
            content.stoppingSince.map { .now - $0 > Self.stopLimit } ?? false
        }
    }

    /// Asks the worker to end soon: its source, its waits and its fit.
    func stop() {
        let source = content.withLock { content in
            content.stoppingSince = content.stoppingSince ?? .now
            return content.source
        }
        source?.stop()
    }

    /// Whether the source was opened once, with or without success.
    var hasStarted: Bool {
        get { content.withLock(\.hasStarted) }
        set { content.withLock { $0.hasStarted = newValue } }
    }

    /// Says that work began, went on (`true`) or ended (`false`).
    func beat(isBusy: Bool) {
        content.withLock { $0.busySince = isBusy ? .now : nil }
    }

    /// How long the worker has been busy without a sign of progress.
    var stalledFor: Duration {
        content.withLock { $0.busySince.map { .now - $0 } ?? .zero }
    }
}
