import Detection
import FlowDensity
import Foundation
import Testing

@Suite struct AlarmPaceTests {
    /// How many episodes begin when normal records have p-values `u ^ power`: 1 is calibrated, more is too small.
    private func episodes(power: Double, records: Int, probability: Double) -> Int {
        var pace = AlarmPace()
        var generator = SeededGenerator(seed: 1)
        return (0..<records).count { _ in
            let pValue = pow(Double.random(in: 0..<1, using: &generator), power)
            let begins =
                pValue <= probability && pace.allows(pValue: pValue, probability: probability)
            pace.observe(beginsEpisode: begins, probability: probability)
            return begins
        }
    }

    @Test func budgetIsKeptWhereNormalHasMoved() {
        // Without the pace 4.6 % of the records would alarm: 9,300 where 2,000 were asked for.
        let found = episodes(power: 1.5, records: 200_000, probability: 0.01)
        #expect(found > 1_700 && found < 2_100, "2,000 asked, \(found) found")
    }

    @Test func littleIsLostWhereNormalIsAsItWas() {
        let found = episodes(power: 1, records: 400_000, probability: 0.01)
        #expect(found > 3_000 && found < 4_200, "4,000 asked, \(found) found")
    }

    @Test func rareAnomaliesAlwaysAlarmAndQuietTimeForgives() {
        var pace = AlarmPace()
        for _ in 0..<1_000 { pace.observe(beginsEpisode: true, probability: 1e-3) }
        #expect(!pace.allows(pValue: 1.1e-5, probability: 1e-3))
        #expect(pace.allows(pValue: 0.99e-5, probability: 1e-3))
        // The budget earns one alarm in a thousand records; each takes back a tenth of a nat.
        for _ in 0..<47_000 { pace.observe(beginsEpisode: false, probability: 1e-3) }
        #expect(pace.strictness == 0)
        #expect(pace.allows(pValue: 1e-3, probability: 1e-3))
    }
}
