import Detection
import FlowDensity
import Foundation
import Testing

/// Flows that take turns are fewer where they calibrate than where they serve: what that changes of a score.
@Suite struct HeldOutScoresTests {
    @Test func theRiseToTheMeanOfTwoTellsOfThatToFour() throws {
        // Of ln 1 and ln 3 the mean is ln 3 / 2, and that of the densities ln 2; the variance falls by half once more.
        let lifted = HeldOutScores.lifted([[0, 5], [log(3.0), 5]], memberCount: 4)
        #expect(abs(lifted[0] - (log(2.0) + (log(2.0) - log(3.0) / 2) / 2)) < 1e-12)
        #expect(abs(lifted[1] - 5) < 1e-12, "flows that agree lift nothing")
    }

    @Test func noLiftIsGreaterThanThatOfARowOneFlowAloneKnows() {
        let lifted = HeldOutScores.lifted([[0], [-1_000]], memberCount: 8)
        #expect(abs(lifted[0] - (log(0.5) + log(4.0))) < 1e-12)
    }

    @Test func allFlowsOrOneAreTheirOwnMixture() {
        let members = [[0.5, -2], [1, -7], [-3, -2]]
        #expect(
            HeldOutScores.lifted(members, memberCount: 3) == FlowMixture<Float>.logMean(members))
        #expect(HeldOutScores.lifted([[0.5, -2]], memberCount: 16) == [0.5, -2])
    }

    /// Log-densities that vary between flows by a deviation of half a nat, as those of small tables do.
    @Test func fourFlowsTellWhatSixteenWouldGive() {
        var generator = SeededGenerator(seed: 7)
        let rowCount = 4_000
        var sixteen = [[Double]](repeating: Array(repeating: 0, count: rowCount), count: 16)
        for member in sixteen.indices {
            for row in 0..<rowCount {
                sixteen[member][row] = 0.5 * generator.nextNormalPair().0
            }
        }
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        let all = mean(FlowMixture<Float>.logMean(sixteen))
        let some = Array(sixteen.prefix(4))
        let lifted = mean(HeldOutScores.lifted(some, memberCount: 16))
        let plain = mean(FlowMixture<Float>.logMean(some))
        #expect(abs(lifted - all) < 0.01, "\(lifted), not \(all)")
        #expect(all - plain > 0.015, "without the lift they fall short: \(plain), not \(all)")
    }
}
