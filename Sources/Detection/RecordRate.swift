/// The rate of records by their own times.
public enum RecordRate {
    /// Beyond this the times cannot be meant as they are read.
    private static let mostPerSecond = 1e9
    /// The times are cut into about so many pieces of equal count.
    private static let pieces = 20

    /// Records a day; 0 when it cannot be told.
    ///
    /// It is the rate of the median piece: a few times that are wrong, a pause, or a jump from old records to new ones do
    /// not change it. Where that piece has no length, because many records share a time, the middle nine tenths count.
    public static func perDay(times: [Double]) -> Double {
        let sorted = times.filter(\.isFinite).sorted()
        guard sorted.count > 1 else { return 0 }
        let step = max(1, sorted.count / pieces)
        let spans = stride(from: 0, to: sorted.count - step, by: step)
            .map { sorted[$0 + step] - sorted[$0] }.sorted()
        let cut = sorted.count / pieces
        let middle = sorted.count - 1 - 2 * cut
        let rates = [
            Double(step) / spans[spans.count / 2],
            Double(middle) / (sorted[sorted.count - 1 - cut] - sorted[cut]),
        ]
        return rates.first { $0.isFinite && $0 <= mostPerSecond }.map { $0 * 86_400 } ?? 0
    }
}
