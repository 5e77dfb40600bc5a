import Foundation
import Ingest

/// The newest anomalies of a stream as they should have read, for a look at what came after them without them.
///
/// A record is judged together with the readings before it, so a wild one makes the normal ones after it improbable for as many records as the
/// longest window holds. Only whether they alarm depends on this, never a likelihood.
public struct ExpectedPast: Sendable, Hashable {
    /// Running numbers of the records, ascending.
    private var numbers: [Int64] = []
    /// Their features as they should have been, shape [records, features].
    private var values: [Double] = []
    /// The newest record whose readings stood still.
    private var standstill: Int64?

    /// A past without anomalies.
    public init() {}

    /// Notes how a record should have read, and forgets what no model looks back on from there.
    ///
    /// - Parameter row: All of its features.
    public mutating func note(_ number: Int64, row: [Double]) {
        if values.count != numbers.count * row.count { (numbers, values) = ([], []) }
        let stale = numbers.prefix { $0 <= number - Int64(DetectorOptions.maximumLags) }.count
        numbers.removeFirst(stale)
        values.removeFirst(stale * row.count)
        numbers.append(number)
        values += row
    }

    /// Notes a record whose readings stood still: what they were, nobody knows.
    public mutating func noteStandstill(_ number: Int64) { standstill = number }

    /// The past of a record without what stood still, and all before it; `nil` where nothing did.
    ///
    /// - Parameters: As those of `replacing`.
    func withoutStandstill(
        in context: ContextState, before number: Int64, reach: Int
    ) -> ContextState? {
        guard let standstill, (number - Int64(reach)..<number).contains(standstill) else {
            return nil
        }
        return context.newest(Int(number - standstill - 1))
    }

    /// The past of a record with what was expected in the place of anomalies.
    ///
    /// - Parameters:
    ///   - context: What lies before the record.
    ///   - number: The record's running number.
    ///   - reach: How many records are looked back on.
    /// - Returns: `nil` where none of these was an anomaly.
    func replacing(in context: ContextState, before number: Int64, reach: Int) -> ContextState? {
        guard let newest = numbers.last, newest >= number - Int64(reach) else { return nil }
        let width = values.count / numbers.count
        var rows: [Int: ArraySlice<Double>] = [:]
        for (index, own) in numbers.enumerated() where own < number {
            rows[Int(number - own)] = values[(index * width)..<((index + 1) * width)]
        }
        return context.replacing(rows)
    }
}

extension ExpectedPast: Codable {
    private enum CodingKeys: CodingKey {
        case numbers, values, standstill
    }

    /// Restores what was written.
    public init(from decoder: any Swift.Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        numbers = try container.decode([Int64].self, forKey: .numbers)
        values = ContextState.unpacked(try container.decode(Data.self, forKey: .values))
        standstill = try container.decodeIfPresent(Int64.self, forKey: .standstill)
        guard numbers.isEmpty ? values.isEmpty : values.count % numbers.count == 0 else {
            throw DecodingError.dataCorruptedError(
                forKey: .values, in: container, debugDescription: "the rows are not whole")
        }
    }

    /// Writes the numbers as bytes, as those of the context.
    public func encode(to encoder: any Swift.Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(numbers, forKey: .numbers)
        try container.encode(ContextState.packed(values), forKey: .values)
        try container.encodeIfPresent(standstill, forKey: .standstill)
    }
}

extension Detector {
    /// What an anomaly is once the anomalies before it are taken out of its past.
    public enum Standing: Sendable, Hashable {
        /// None: it was only their after-effect.
        case afterEffect
        /// Still one.
        ///
        /// - Parameter expected: Its features as they should have been; `nil` where its past is as strange as itself, as when a
        ///   level shifts slowly.
        case own(expected: [Double]?)
        /// Still one, as its readings stand still: for those after it they are none.
        case stuck
    }

    /// How many records before one have a part in its likelihood.
    private var reach: Int { max((windows.last ?? 1) - 1, encoder.context.lags) }

    /// Judges an anomaly again, with what was expected in the place of the anomalies before it.
    ///
    /// - Parameters:
    ///   - number: The record's running number.
    ///   - past: The anomalies before it.
    /// - Complexity: About 36 rows of the flow for each of at most three features.
    public func standing(
        of verdict: Verdict, in scores: Scores, number: Int64, past: ExpectedPast,
        threshold: Threshold
    ) -> Standing {
        guard scores.standstill(of: verdict.row, threshold: threshold) == nil else { return .stuck }
        guard reach > 0, verdict.tail == .low else { return .own(expected: nil) }
        let row = verdict.row
        var before = scores.before.before(row: row, of: scores.rows.records)
        var record = scores.rows.records.rows(row..<(row + 1))
        let gaps = scores.rows.gaps[row].map { [0: $0] } ?? [:]
        if let moving = past.withoutStandstill(in: before, before: number, reach: reach) {
            before = moving
            guard score(record, gaps: gaps, after: before).isAnomaly(0, threshold: threshold) else {
                return .afterEffect
            }
        }
        let replaced = past.replacing(in: before, before: number, reach: reach)
        if replaced == nil, verdict.reasonCode == .levelShifted { return .own(expected: nil) }
        let after = replaced ?? before
        var again = score(record, gaps: gaps, after: after)
        guard again.isAnomaly(0, threshold: threshold) else { return .afterEffect }
        // What is named is what may be wrong: the features beside it only look so.
        var suspects = verdict.features.named.compactMap {
            encoder.schema.features.firstIndex(of: $0.name)
        }
        while let best = likeliestReading(again, row: 0, among: suspects) {
            record.values[best.feature] = best.reading
            suspects.removeAll { $0 == best.feature }
            again = score(record, gaps: gaps, after: after)
            if !again.isAnomaly(0, threshold: threshold) { return .own(expected: record.values) }
        }
        return .own(expected: after.lastRow(featureCount: encoder.columns.count))
    }
}
