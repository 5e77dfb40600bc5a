import Ingest

/// The last records of a stream: what a density with lags or windows looks back on.
///
/// It holds raw values, so that it outlives a change of the model, and is stored with the checkpoint, so that a restarted daemon
/// scores the next record as if it had never stopped.
public struct ContextState: Sendable, Hashable, Codable {
    private var values: [Double] = []
    private var times: [Double] = []
    private var featureCount = 0

    /// An empty context, as before a stream's first record.
    public init() {}

    /// Restores a context; one of an earlier build has no times, so no gap is found in it.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        values = try container.decode([Double].self, forKey: .values)
        featureCount = try container.decode(Int.self, forKey: .featureCount)
        let count = featureCount > 0 ? values.count / featureCount : 0
        times =
            try container.decodeIfPresent([Double].self, forKey: .times)
            ?? [Double](repeating: .nan, count: count)
        guard featureCount >= 0, values.count == count * featureCount, times.count == count else {
            throw DecodingError.dataCorruptedError(
                forKey: .values, in: container,
                debugDescription: "the rows of the context are not whole")
        }
    }

    /// The newest rows with their times, oldest first; none when they are of another width.
    func rows(featureCount: Int) -> (values: [Double], times: [Double]) {
        guard featureCount == self.featureCount, featureCount > 0 else { return ([], []) }
        return (values, times)
    }

    /// Takes the rows of a batch in and keeps the newest.
    ///
    /// As many rows are kept as any model may look back on, so that the next model may look back further than this one.
    public mutating func advance(past records: RecordBatch) {
        let count = records.schema.features.count
        if count != featureCount {
            values = []
            times = []
            featureCount = count
        }
        let kept = DetectorOptions.maximumLags
        values.append(contentsOf: records.values.suffix(kept * count))
        times.append(contentsOf: records.times.suffix(kept))
        if times.count > kept {
            values.removeFirst(values.count - kept * count)
            times.removeFirst(times.count - kept)
        }
    }
}
