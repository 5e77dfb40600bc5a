import Foundation
import Ingest

/// The last records of a stream: what a density with lags or windows looks back on.
///
/// It holds raw values, so that it outlives a change of the model, and is stored with the checkpoint, so that a restarted daemon
/// scores the next record as if it had never stopped.
public struct ContextState: Sendable, Hashable, Codable {
    private var values: [Double] = []
    private var times: [Double] = []
    private var featureCount = 0
    /// How many records in a row each feature has repeated its reading, up to the newest; empty for none.
    private var repeats: [Int32] = []

    /// An empty context, as before a stream's first record.
    public init() {}

    private enum CodingKeys: CodingKey {
        case values, times, featureCount
        /// As bytes.
        case packedValues, packedTimes
        /// Left out where nothing repeats.
        case repeats
    }

    /// Restores a context; one of an early build has no times, so no gap is found in it.
    public init(from decoder: any Swift.Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        featureCount = try container.decode(Int.self, forKey: .featureCount)
        if let bytes = try container.decodeIfPresent(Data.self, forKey: .packedValues) {
            values = Self.unpacked(bytes)
            times = Self.unpacked(try container.decode(Data.self, forKey: .packedTimes))
        } else {
            values = try container.decode([Double].self, forKey: .values)
            let rowCount = featureCount > 0 ? values.count / featureCount : 0
            times =
                try container.decodeIfPresent([Double?].self, forKey: .times)?.map { $0 ?? .nan }
                ?? [Double](repeating: .nan, count: rowCount)
        }
        repeats = try container.decodeIfPresent([Int32].self, forKey: .repeats) ?? []
        let count = featureCount > 0 ? values.count / featureCount : 0
        guard featureCount >= 0, values.count == count * featureCount, times.count == count else {
            throw DecodingError.dataCorruptedError(
                forKey: .values, in: container,
                debugDescription: "the rows of the context are not whole")
        }
    }

    /// Writes the numbers as bytes: a checkpoint is written with each batch, and a list of them takes fifty times as long.
    public func encode(to encoder: any Swift.Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(Self.packed(values), forKey: .packedValues)
        try container.encode(Self.packed(times), forKey: .packedTimes)
        try container.encode(featureCount, forKey: .featureCount)
        if repeats.contains(where: { $0 > 0 }) { try container.encode(repeats, forKey: .repeats) }
    }

    /// The eight bytes of each number, the lowest first.
    static func packed(_ numbers: [Double]) -> Data {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 * numbers.count)
        for number in numbers {
            for place in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: number.bitPattern >> (8 * UInt64(place))))
            }
        }
        return Data(bytes)
    }

    static func unpacked(_ data: Data) -> [Double] {
        let bytes = Array(data)
        return stride(from: 0, to: bytes.count - 7, by: 8).map { start in
            let bits = (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[start + $1]) << (8 * $1) }
            return Double(bitPattern: bits)
        }
    }

    /// The newest rows with their times, oldest first; none when they are of another width.
    func rows(featureCount: Int) -> (values: [Double], times: [Double]) {
        guard featureCount == self.featureCount, featureCount > 0 else { return ([], []) }
        return (values, times)
    }

    /// The newest row; `nil` when there is none of this width.
    func lastRow(featureCount: Int) -> [Double]? {
        let values = rows(featureCount: featureCount).values
        return values.isEmpty ? nil : Array(values.suffix(featureCount))
    }

    /// Counts for how many records in a row each feature has repeated its reading, and keeps the counts behind the last.
    ///
    /// - Parameters:
    ///   - records: Those that come next, with their gaps filled.
    ///   - gaps: The features that were missing, for the rows where any were.
    ///   - body: Takes each row with its counts by feature.
    mutating func countRepeats(
        of records: RecordBatch, gaps: [Int: [Int]],
        body: (_ row: Int, _ counts: [Int32]) -> Void = { _, _ in }
    ) {
        let before = lastRow(featureCount: records.schema.features.count)
        records.countRepeats(&repeats, after: before?[...], gaps: gaps, body: body)
    }

    /// The same with no more than so many rows.
    func newest(_ count: Int) -> ContextState {
        var context = self
        let excess = max(times.count - count, 0)
        context.times.removeFirst(excess)
        context.values.removeFirst(excess * featureCount)
        return context
    }

    /// The same with other values in some of the rows.
    ///
    /// - Parameter rows: By how many rows they lie back, 1 being the newest.
    /// - Returns: `nil` where none of these is there.
    func replacing(_ rows: [Int: ArraySlice<Double>]) -> ContextState? {
        var replaced = self
        var isReplaced = false
        for (distance, row) in rows where distance <= times.count && row.count == featureCount {
            let first = (times.count - distance) * featureCount
            replaced.values.replaceSubrange(first..<(first + featureCount), with: row)
            isReplaced = true
        }
        return isReplaced ? replaced : nil
    }

    /// The context of a row in the middle of a batch that begins after this one.
    ///
    /// - Parameter records: With their gaps filled.
    func before(row: Int, of records: RecordBatch) -> ContextState {
        let beginning = records.beginnings.last { $0 <= row }
        var context = beginning == nil ? self : ContextState()
        let first = max(beginning ?? 0, row - DetectorOptions.maximumLags)
        if first < row { context.advance(past: records.rows(first..<row)) }
        return context
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
