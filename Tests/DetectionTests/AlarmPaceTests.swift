import Detection
import FlowDensity
import Foundation
import Testing

@Suite struct AlarmPaceTests {
    /// How many episodes begin when normal records have p-values `u ^ power`: 1 is calibrated, more is too small.
    ///
    /// - Parameter rarest: None is smaller than this.
    private func episodes(
        power: Double, records: Int, probability: Double, rarest: Double = 0
    ) -> Int {
        var pace = AlarmPace()
        var generator = SeededGenerator(seed: 1)
        return (0..<records).count { _ in
            let drawn = pow(Double.random(in: 0..<1, using: &generator), power)
            let pValue = drawn < rarest ? 1 : drawn
            let begins =
                pValue <= probability && pace.allows(pValue: pValue, probability: probability)
            pace.observe(beginsEpisode: begins, probability: probability)
            return begins
        }
    }

    @Test func budgetIsKeptWhereNormalHasMoved() {
        // Without the pace 4.6 % of the records would alarm: 9,300 where 2,000 were asked for.
        let found = episodes(power: 1.5, records: 200_000, probability: 0.01, rarest: 0.001)
        #expect(found > 1_700 && found < 2_100, "2,000 asked, \(found) found")
    }

    @Test func littleIsLostWhereNormalIsAsItWas() {
        let found = episodes(power: 1, records: 400_000, probability: 0.01)
        #expect(found > 2_800 && found < 4_200, "4,000 asked, \(found) found")
    }

    @Test func rareAnomaliesAlwaysAlarmAndLeaveLessToWeakOnes() {
        var pace = AlarmPace()
        for _ in 0..<100 {
            #expect(pace.allows(pValue: 0.9e-4, probability: 1e-3))
            pace.observe(beginsEpisode: true, probability: 1e-3)
        }
        #expect(!pace.allows(pValue: 1.1e-4, probability: 1e-3))
        #expect(pace.allows(pValue: 0.99e-4, probability: 1e-3))
        // However many they were: the budget of six alarms later weak ones have theirs again.
        for _ in 0..<6_000 { pace.observe(beginsEpisode: false, probability: 1e-3) }
        #expect(pace.allows(pValue: 9e-4, probability: 1e-3))
    }

    @Test func valuesThatWereNeverSeenAlarmAndLeaveLessToWeakAnomalies() {
        var pace = AlarmPace()
        for _ in 0..<100 {
            #expect(pace.allows(pValue: 1.0 / 101, probability: 1e-3))
            pace.observe(beginsEpisode: true, probability: 1e-3)
        }
        #expect(!pace.allows(pValue: 5e-4, probability: 1e-3))
    }

    @Test func quietTimeForgives() {
        var pace = AlarmPace()
        for _ in 0..<5 { pace.observe(beginsEpisode: true, probability: 1e-3) }
        #expect(!pace.allows(pValue: 5e-4, probability: 1e-3))
        // The budget earns one alarm in a thousand records.
        for _ in 0..<5_000 { pace.observe(beginsEpisode: false, probability: 1e-3) }
        #expect(pace.strictness == 0)
        #expect(pace.allows(pValue: 1e-3, probability: 1e-3))
    }
}
