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
    /// Its key, where the stream has some.
    package var key: String?
    /// Whether it is known to be an anomaly; `nil` where nothing is known.
    package var label: Bool?
    /// `nil`: it was never scored.
    package var judgement: Judgement?

    package init(
        time: Double, input: Int, line: Int64, key: String? = nil, label: Bool?,
        judgement: Judgement? = nil
    ) {
        self.time = time
        self.input = input
        self.line = line
        self.key = key
        self.label = label
        self.judgement = judgement
    }

    /// The episode that it is an anomaly of; each key counts its own.
    package var episode: OfKey<Int64>? {
        judgement?.episode.map { OfKey(key: key, $0) }
    }
}

/// What belongs to a key of a stream, or to the stream as a whole.
@dynamicMemberLookup
package struct OfKey<Content> {
    /// `nil`: the stream as a whole.
    package var key: String?
    package var content: Content

    package init(key: String?, _ content: Content) {
        self.key = key
        self.content = content
    }

    package subscript<Value>(dynamicMember path: KeyPath<Content, Value>) -> Value {
        content[keyPath: path]
    }
}

extension OfKey: Sendable where Content: Sendable {}
extension OfKey: Equatable where Content: Equatable {}
extension OfKey: Hashable where Content: Hashable {}

/// As the content, with a `key` beside its fields.
extension OfKey: Codable where Content: Codable {
    private enum CodingKeys: String, CodingKey {
        case key
    }

    package init(from decoder: any Decoder) throws {
        key = try decoder.container(keyedBy: CodingKeys.self).decodeIfPresent(
            String.self, forKey: .key)
        content = try Content(from: decoder)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeIfPresent(key, forKey: .key)
        try content.encode(to: encoder)
    }
}

/// Gathers the records of a replay, from the worker's thread.
final class ReplayedRecords: Sendable {
    private struct Content {
        var records: [ReplayedRecord] = []
        /// The places of each key's records.
        var places: [String: [Int]] = [:]
        var inputNames: [String] = []
        var isInputOpen = false
    }

    private let content = Mutex(Content())

    var all: [ReplayedRecord] { content.withLock(\.records) }
    var inputNames: [String] { content.withLock(\.inputNames) }

    /// Takes in the records of a batch before they are judged.
    ///
    /// - Parameters:
    ///   - keys: The key of each record, if the stream has some.
    ///   - labels: A label for each line of the batch, if there are labels.
    func admit(
        _ decoded: DecodedBatch, of batch: LineBatch, at arrivals: [StreamInstant],
        keys: [String]?, labels: [Bool?]?
    ) {
        let records = decoded.records
        content.withLock { content in
            if !content.isInputOpen { content.inputNames.append(batch.inputName) }
            content.isInputOpen = !batch.isLast
            for row in 0..<records.rowCount {
                let line = Int(records.lineIndices[row])
                let time = records.times[row]
                if let keys {
                    content.places[keys[row], default: []].append(content.records.count)
                }
                content.records.append(
                    ReplayedRecord(
                        time: time.isFinite ? time : arrivals[row].time,
                        input: decoded.origins.flatMap {
                            content.inputNames.lastIndex(of: $0[row].input)
                        } ?? content.inputNames.count - 1,
                        line: decoded.origins?[row].line ?? batch.lines[line].number,
                        key: keys?[row], label: labels?[line]))
            }
        }
    }

    /// Notes what was found about records that were admitted before.
    func judge(_ judged: JudgedRecords) {
        content.withLock { content in
            let first = Int(judged.first)
            let places = judged.key.map { content.places[$0] ?? [] }
            func place(_ row: Int) -> Int { places?[first + row] ?? first + row }
            let known = places?.count ?? content.records.count
            for row in judged.pValue.indices where first + row < known {
                content.records[place(row)].judgement = ReplayedRecord.Judgement(
                    logLikelihood: judged.logLikelihood[row], pValue: judged.pValue[row],
                    probability: judged.threshold.probability, hadWaited: judged.hadWaited)
            }
            for anomaly in judged.anomalies {
                content.records[place(anomaly.row)].judgement?.isAnomaly = true
                content.records[place(anomaly.row)].judgement?.episode = anomaly.episode
            }
        }
    }
}
