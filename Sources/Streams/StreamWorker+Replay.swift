import Detection
import FlowDensity
import Foundation
import Ingest
import Settings

/// What is different for the worker of a replayed stream.
struct ReplayEnvironment: Sendable {
    /// Splits the fits: nothing else waits for the cores.
    var parallel: ParallelFor
    /// Told of records once their judgement is committed.
    var observe: @Sendable (JudgedRecords) -> Void
}

/// Records with what came of them.
struct JudgedRecords: Sendable {
    /// A record that was found to be an anomaly.
    struct Anomaly: Sendable {
        var row: Int
        var episode: Int64?
    }

    /// The key that they are of, if any.
    var key: String?
    /// The running number of the first among all records of the stream, or of the key, from 0.
    var first: Int64
    var logLikelihood: [Double]
    var pValue: [Double]
    /// The threshold that they were held against.
    var threshold: Threshold
    /// Whether they had waited for the first model.
    var hadWaited: Bool
    var anomalies: [Anomaly] = []

    init(key: String?, first: Int64, scores: Scores, threshold: Threshold, hadWaited: Bool) {
        self.key = key
        self.first = first
        self.threshold = threshold
        self.hadWaited = hadWaited
        logLikelihood = scores.logLikelihood
        pValue = scores.pValue
    }
}

extension StreamWorker {
    /// At most so many records go by before it is looked whether something is due that cannot be foreseen; the daemon looks
    /// every second.
    private static let mostRecordsAtOnce = 256

    /// Takes all records of a source as they would have arrived: what is due between two of them is done there, and fits run
    /// to their end while the clock stands.
    ///
    /// - Parameters:
    ///   - clock: The worker's.
    ///   - labels: Reads the labels of the records.
    ///   - records: Takes the records in.
    /// - Throws: What goes wrong first; nothing is tried again.
    func replay(
        _ source: any LineSource, clock: RecordedClock, labels: LabelColumn?,
        into records: ReplayedRecords
    ) async throws {
        var labels = labels
        try openState()
        while !board.isStopping, let batch = try await source.next() {
            guard let decoded = try await decode(batch) else { continue }
            let arrivals = clock.arrivals(of: decoded.records.times)
            let keys = configuration.key.map { key in
                decoded.records.rowCount > 0 ? decoded.records.keys(inCategory: key.column) : []
            }
            records.admit(
                decoded, of: batch, at: arrivals, keys: keys, labels: try labels?.labels(of: batch))
            var row = 0
            var fault = 0
            repeat {
                let end = row + countUntilDue(arrivals[row...], keys: keys?[row...])
                var piece = DecodedBatch(records: decoded.records.rows(row..<end), faults: [])
                piece.origins = decoded.origins.map { Array($0[row..<end]) }
                piece.assembler = decoded.assembler
                let isLast = end == arrivals.count
                while fault < decoded.faults.count,
                    isLast
                        || decoded.faults[fault].lineIndex < decoded.records.lineIndices[end]
                {
                    piece.faults.append(decoded.faults[fault])
                    fault += 1
                }
                try await take(piece, of: batch, arrivals: Array(arrivals[row..<end]), clock: clock)
                row = end
            } while row < arrivals.count && !board.isStopping
        }
        await closeKeys()
    }

    private func take(
        _ piece: DecodedBatch, of batch: LineBatch, arrivals: [StreamInstant], clock: RecordedClock
    ) async throws {
        guard let last = arrivals.last else {
            // Long rows may wait for those that complete them.
            if !piece.faults.isEmpty || piece.assembler != nil { try commit(piece, of: batch) }
            return
        }
        let before = clock.now
        clock.advance(to: last)
        try commit(piece, of: batch, arrivals: arrivals)
        state.rate.observe(records: Int64(arrivals.count), seconds: last.uptime - before.uptime)
        doWhatIsDue()
        await fitTask?.value
        try await finishKeys()
        if let failure { throw failure }
    }

    /// Does what is due for keys now; as many fits as are due, one after the other.
    private func finishKeys() async throws {
        guard configuration.key != nil else { return }
        await serveWaitingKeys()
        var hasBegun = true
        while hasBegun, failure == nil, !board.isStopping {
            doWhatIsDueForKeys()
            hasBegun = false
            for (_, worker) in keys.inTurn {
                guard let task = await worker.fitTask else { continue }
                hasBegun = true
                await task.value
                if let failure = await worker.failure { throw failure }
            }
        }
    }

    /// How many of the next records go by until something is due.
    ///
    /// - Parameter keys: The key of each, if the stream has some.
    private func countUntilDue(
        _ arrivals: ArraySlice<StreamInstant>, keys: ArraySlice<String>?
    ) -> Int {
        var count = 0
        var ofKeys: [String: Int64] = [:]
        for (row, instant) in zip(arrivals.indices, arrivals.prefix(Self.mostRecordsAtOnce)) {
            count += 1
            if isRateCheckDue(at: instant.uptime)
                || dueTrigger(at: instant.time, records: state.windowTotal + Int64(count)) != nil
            {
                break
            }
            guard let key = keys?[row] else { continue }
            ofKeys[key, default: 0] += 1
            if isFitDue(ofKey: key, at: instant.time, further: ofKeys[key] ?? 0) { break }
        }
        return count
    }

    /// Whether a key in memory is to be fitted when so many more of its records have come.
    private func isFitDue(ofKey key: String, at time: Double, further count: Int64) -> Bool {
        guard serving != nil, let worker = keys.workerInMemory(of: key) else { return false }
        return worker.assumeIsolated {
            $0.dueTrigger(at: time, records: $0.state.windowTotal + count) != nil
        }
    }
}
