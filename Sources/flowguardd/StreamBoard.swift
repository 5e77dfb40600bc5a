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
        var busySince: ContinuousClock.Instant?
        var isStopping = false
        var hasStarted = false
    }

    let configuration: StreamConfiguration
    private let content = Mutex(Content())

    init(_ configuration: StreamConfiguration) { self.configuration = configuration }

    var snapshot: StreamSnapshot { content.withLock(\.snapshot) }

    func update(_ change: (inout StreamSnapshot) -> Void) {
        content.withLock { change(&$0.snapshot) }
    }

    /// How far a file is behind, and how many clients a socket has.
    var inflow: (backlogBytes: Int64, connections: Int, isCaughtUp: Bool) {
        let source = content.withLock(\.source)
        return (
            source?.backlogBytes() ?? 0, source?.connectionCount() ?? 0,
            source?.isCaughtUp() ?? false
        )
    }

    /// Takes the source in; a worker that is to stop gets it stopped.
    func attach(_ source: (any LineSource)?) {
        let isStopping = content.withLock { content in
            content.source = source
            return content.isStopping
        }
        if isStopping { source?.stop() }
    }

    var isStopping: Bool { content.withLock(\.isStopping) }

    /// Asks the worker to end soon: its source, its waits and its fit.
    func stop() {
        let source = content.withLock { content in
            content.isStopping = true
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
