import Detection
import Ingest
import Settings
import Store

/// What a stream lends to each of its keys.
struct Loan: Sendable {
    /// The stream's model, learned from the records of all keys: it judges those of keys that have none of their own.
    var serving: ServingModel?
    /// The alarms that are bearable in the whole stream.
    var budget: AlarmBudget
    /// Whether that holds for keys that borrow the model; not where a person has set a log-likelihood.
    var hasBudget: Bool
    /// Records of the whole stream a day; 0 while unknown.
    var recordsPerDay: Double
    /// Records of the whole stream so far.
    var recordCount: Int64
}

/// What becomes of the records of a batch whose stream has keys.
struct Distribution {
    /// The records that there is room for.
    var records: RecordBatch
    /// When each came in; `nil`: all of them now.
    var arrivals: [StreamInstant]?
    var parts: [KeyPart] = []
    /// The records of other keys.
    var faults: [RowFault] = []
}

/// What becomes of one key with the batch under way.
struct KeyPart {
    let key: String
    let worker: StreamWorker
    let commit: StreamCommit
}

/// The keys of a stream: those in memory with their workers, and the names of all.
struct LiveKeys {
    private var workers: [String: StreamWorker] = [:]
    private var lastUses: [String: Int64] = [:]
    private var useCount: Int64 = 0
    /// Every key that has had a record.
    private(set) var known: Set<String> = []
    /// Those in memory with an open episode.
    private(set) var alarming: Set<String> = []
    /// Fits of keys that wait or run, as of the last second.
    var fitCount = 0
    /// The key at which the next round of fits begins.
    var nextToFit = ""
    /// Keys that left the memory when a fit of them was due, in this order.
    private var awaitingFit: [String] = []
    private var isAwaitingFit: Set<String> = []

    /// The number of workers.
    var liveCount: Int { workers.count }

    /// The workers, by their keys from `nextToFit` on and round.
    var inTurn: [(key: String, worker: StreamWorker)] {
        let sorted = workers.sorted { $0.key < $1.key }.map { (key: $0.key, worker: $0.value) }
        return sorted.filter { $0.key >= nextToFit } + sorted.filter { $0.key < nextToFit }
    }

    /// The worker of a key in memory, which counts as used now.
    mutating func worker(of key: String) -> StreamWorker? {
        guard let worker = workers[key] else { return nil }
        use(key)
        return worker
    }

    /// The worker of a key in memory, which is only looked at.
    func workerInMemory(of key: String) -> StreamWorker? { workers[key] }

    private mutating func use(_ key: String) {
        useCount += 1
        lastUses[key] = useCount
    }

    mutating func admit(_ worker: StreamWorker, of key: String, isAlarming: Bool) {
        workers[key] = worker
        known.insert(key)
        use(key)
        note(key, isAlarming: isAlarming)
    }

    mutating func note(_ key: String, isAlarming: Bool) {
        if isAlarming { alarming.insert(key) } else { alarming.remove(key) }
    }

    mutating func remember(_ keys: some Sequence<String>) { known.formUnion(keys) }

    /// Takes workers out, those first that were not used for the longest time, until no more than so many are left.
    mutating func removeSurplus(
        beyond limit: Int, where mayLeave: (StreamWorker) -> Bool
    ) -> [(key: String, worker: StreamWorker)] {
        guard workers.count > limit else { return [] }
        var removed: [(key: String, worker: StreamWorker)] = []
        for (key, _) in lastUses.sorted(by: { $0.value < $1.value }) {
            guard workers.count > limit else { break }
            guard let worker = workers[key], mayLeave(worker) else { continue }
            workers[key] = nil
            lastUses[key] = nil
            alarming.remove(key)
            removed.append((key, worker))
        }
        return removed
    }

    mutating func awaitFit(of key: String) {
        if isAwaitingFit.insert(key).inserted { awaitingFit.append(key) }
    }

    /// The key that has waited for a fit for the longest time, outside the memory; it waits no more.
    mutating func nextAwaitingFit() -> String? {
        guard !awaitingFit.isEmpty else { return nil }
        let key = awaitingFit.removeFirst()
        isAwaitingFit.remove(key)
        return key
    }

    mutating func removeAll() -> [String: StreamWorker] {
        defer {
            workers = [:]
            lastUses = [:]
            alarming = []
        }
        return workers
    }
}
