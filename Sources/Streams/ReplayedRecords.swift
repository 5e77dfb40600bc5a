import Detection
import Ingest
import Synchronization

/// A record of a replay with what came of it.
package struct ReplayedRecord: Sendable {
    /// What the stream made of it.
    package struct Judgement: Sendable {
        package var logLikelihood: Double
        package var pValue: Double
        /// The threshold's false-alarm probability: what the p-value is held against.
        package var probability: Double
        /// Whether it had waited for the first model.
        package var hadWaited: Bool
        package var isAnomaly = false
        /// The episode that it is an anomaly of.
        package var episode: Int64?

        package init(
            logLikelihood: Double, pValue: Double, probability: Double, hadWaited: Bool = false,
            isAnomaly: Bool = false, episode: Int64? = nil
        ) {
            self.logLikelihood = logLikelihood
            self.pValue = pValue
            self.probability = probability
            self.hadWaited = hadWaited
            self.isAnomaly = isAnomaly
            self.episode = episode
        }
    }

    /// Its own time, or when it arrived by the assumed rate; epoch seconds.
    package var time: Double
    /// The file that it comes from.
    package var input: Int
    /// Its line there, from 1.
    package var line: Int64
    /// Whether it is known to be an anomaly; `nil` where nothing is known.
    package var label: Bool?
    /// `nil`: it was never scored.
    package var judgement: Judgement?

    package init(
        time: Double, input: Int, line: Int64, label: Bool?, judgement: Judgement? = nil
    ) {
        self.time = time
        self.input = input
        self.line = line
        self.label = label
        self.judgement = judgement
    }
}

/// Gathers the records of a replay, from the worker's thread.
final class ReplayedRecords: Sendable {
    private struct Content {
        var records: [ReplayedRecord] = []
        var inputNames: [String] = []
        var isInputOpen = false
    }

    private let content = Mutex(Content())

    var all: [ReplayedRecord] { content.withLock(\.records) }
    var inputNames: [String] { content.withLock(\.inputNames) }

    /// Takes in the records of a batch before they are judged.
    ///
    /// - Parameter labels: A label for each line of the batch, if there are labels.
    func admit(
        _ decoded: DecodedBatch, of batch: LineBatch, at arrivals: [StreamInstant],
        labels: [Bool?]?
    ) {
        let records = decoded.records
        content.withLock { content in
            if !content.isInputOpen { content.inputNames.append(batch.inputName) }
            content.isInputOpen = !batch.isLast
            for row in 0..<records.rowCount {
                let line = Int(records.lineIndices[row])
                let time = records.times[row]
                content.records.append(
                    ReplayedRecord(
                        time: time.isFinite ? time : arrivals[row].time,
                        input: decoded.origins.flatMap {
                            content.inputNames.lastIndex(of: $0[row].input)
                        } ?? content.inputNames.count - 1,
                        line: decoded.origins?[row].line ?? batch.lines[line].number,
                        label: labels?[line]))
            }
        }
    }

    /// Notes what was found about records that were admitted before.
    func judge(_ judged: JudgedRecords) {
        content.withLock { content in
            let first = Int(judged.first)
            for row in judged.pValue.indices where content.records.indices.contains(first + row) {
                content.records[first + row].judgement = ReplayedRecord.Judgement(
                    logLikelihood: judged.logLikelihood[row], pValue: judged.pValue[row],
                    probability: judged.threshold.probability, hadWaited: judged.hadWaited)
            }
            for anomaly in judged.anomalies {
                content.records[first + anomaly.row].judgement?.isAnomaly = true
                content.records[first + anomaly.row].judgement?.episode = anomaly.episode
            }
        }
    }
}
