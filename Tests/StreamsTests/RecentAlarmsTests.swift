import Streams
import Testing

@Suite struct RecentAlarmsTests {
    private func observed(
        batches: Int, of records: Int64, anomalies: (Int) -> Int64, perDay: Double
    ) -> RecentAlarms {
        var recent = RecentAlarms()
        for batch in 0..<batches {
            recent.observe(records: records, anomalies: anomalies(batch), recordsPerDay: perDay)
        }
        return recent
    }

    /// A week's silence follows weeks with an anomaly in each hundred.
    @Test func oldCountsFadeWithinWeeks() {
        let perDay = 14_400.0
        let loud = observed(batches: 28 * 144, of: 100, anomalies: { _ in 1 }, perDay: perDay)
        #expect(abs(loud.anomalies / loud.records - 0.01) < 1e-12)
        #expect(loud.records >= 7 * perDay && loud.records <= 14 * perDay)
        let quiet = observed(
            batches: 56 * 144, of: 100, anomalies: { $0 < 28 * 144 ? 1 : 0 }, perDay: perDay)
        #expect(quiet.anomalies / quiet.records < 0.001)
        #expect(quiet.anomalies > 0)
    }

    @Test(arguments: [(10, 10_000), (0, 14 * 86_400)] as [(Double, Double)])
    func soManyRecordsAreRememberedHoweverFewComeInADay(perDay: Double, most: Double) {
        let count = Int(most / 100)
        let full = observed(batches: count, of: 100, anomalies: { _ in 0 }, perDay: perDay)
        #expect(full.records == most)
        let more = observed(batches: count + 1, of: 100, anomalies: { _ in 0 }, perDay: perDay)
        #expect(more.records == (most + 100) / 2)
    }
}
