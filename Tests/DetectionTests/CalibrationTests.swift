import Detection
import FlowDensity
import Foundation
import Testing

@Suite struct CalibrationTests {
    private func exponential(_ count: Int, seed: UInt64) -> [Double] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in log(Double.random(in: 1e-12..<1, using: &generator)) }
    }

    @Test func pValueOfFewScoresIsTheirRankAndFallsSlowlyBelowThem() {
        let tail = ScoreTail(scores: (0..<30).map(Double.init))
        #expect(tail.probability(100) == 1)
        #expect(tail.probability(5) == 7.0 / 31)
        #expect(tail.probability(0) == 2.0 / 31)
        #expect(tail.probability(-0.001) < 1.0 / 31 && tail.probability(-0.001) > 0.8 / 31)
        #expect(tail.probability(-100) < 0.1 / 31)
        #expect(tail.probability(-1e13) < tail.probability(-1e6))
        let alone = ScoreTail(scores: [3])
        #expect(alone.probability(-1e13) == 0.5)
    }

    /// A threshold far beyond what so few scores can tell makes fewer false alarms than asked for, not one a sample.
    @Test(arguments: [2, 20, 39, 100]) func thresholdsOfFewScoresKeepToTheBudget(count: Int) {
        let probability = 1e-3
        let shares = (0..<200).map { seed in
            // Of an exponential the share below a threshold is known.
            exp(
                ScoreTail(scores: exponential(count, seed: UInt64(seed)))
                    .threshold(probability: probability))
        }
        let mean = shares.reduce(0, +) / Double(shares.count)
        #expect(mean < 2 * probability, "\(mean)")
    }

    @Test func pValueFallsWithTheScoreAndNeverReachesZero() {
        let tail = ScoreTail(scores: exponential(2_000, seed: 1))
        var last = 1.0
        for step in 0..<400 {
            let probability = tail.probability(-Double(step) * 0.25)
            #expect(probability <= last && probability > 0, "at \(step)")
            last = probability
        }
    }

    /// The tail of an exponential is known: P(score ≤ −x) = exp(−x).
    ///
    /// The median of many samples must find it,
    /// ten times beyond the resolution of each sample; a factor of three is what a 100-point tail can tell.
    @Test func extrapolatesTheTailOfAnExponentialBeyondTheSample() {
        let ratios = (0..<21).map { seed in
            ScoreTail(scores: exponential(1_000, seed: UInt64(seed))).probability(log(1e-4)) / 1e-4
        }.sorted()
        #expect(ratios[10] > 1.0 / 3 && ratios[10] < 3, "median ratio \(ratios[10])")
    }

    @Test(arguments: [0.3, 0.05, 0.01, 1e-3, 1e-4, 1e-6])
    func thresholdIsWhereThePValueCrossesItsProbability(probability: Double) {
        let calibration = Calibration(logLikelihoods: exponential(5_000, seed: 7))
        let threshold = calibration.low.threshold(probability: probability)
        #expect(calibration.low.probability(threshold - 1e-6) <= probability * (1 + 1e-6))
        #expect(calibration.low.probability(threshold + 0.2) > probability)
    }

    /// Conformal validity: over fresh normal scores the share with p ≤ α is α, within the binomial 99.9 % interval
    /// that also counts the calibration sample's own randomness.
    @Test(arguments: [0.1, 0.01, 0.001])
    func shareOfNormalRecordsBelowAlphaIsAlpha(alpha: Double) {
        let calibrationCount = 20_000.0
        let calibration = Calibration(logLikelihoods: exponential(Int(calibrationCount), seed: 11))
        let fresh = exponential(200_000, seed: 12)
        let share =
            Double(fresh.count { calibration.pValue($0).pValue <= alpha }) / Double(fresh.count)
        let deviation = (alpha * (1 / calibrationCount + 1 / Double(fresh.count))).squareRoot()
        #expect(abs(share - alpha) < 3.3 * deviation + 0.1 * alpha, "share \(share)")
    }

    @Test func recordsTooLikelyHaveASmallPValueInTheHighTail() {
        var generator = SeededGenerator(seed: 3)
        let scores = (0..<5_000).map { _ in Double.random(in: -10...(-5), using: &generator) }
        let calibration = Calibration(logLikelihoods: scores)
        let verdict = calibration.pValue(0)
        #expect(verdict.tail == .high)
        #expect(verdict.pValue < 1e-3)
        let threshold = calibration.threshold(falseAlarmProbability: 1e-3)
        #expect(threshold.tail(of: 0) == .high)
        #expect(threshold.tail(of: -7) == nil)
        #expect(threshold.tail(of: -20) == .low)
    }

    @Test func farOutliersDoNotHideTheNextAnomaly() {
        let clean = Calibration(logLikelihoods: exponential(2_000, seed: 5))
        let dirty = Calibration(logLikelihoods: exponential(2_000, seed: 5) + [-5_000, 700])
        #expect(dirty == clean)
    }

    /// One fault lasts for a while and hides nothing; strange records that come again and again are a kind of normal, which
    /// is no false alarm later.
    @Test func outliersThatComeAgainAndAgainAreNormal() {
        let scores = exponential(3_000, seed: 5)
        func calibrated(outliersAt places: [Int], reach: Int = 10) -> Calibration {
            var mixed = scores
            for (index, place) in places.enumerated() { mixed[place] = -5_000 - Double(index) }
            return Calibration(logLikelihoods: mixed, reach: reach)
        }
        let fault = calibrated(outliersAt: Array(1_000..<1_012))
        #expect(fault.pValue(-5_000).pValue < 1e-6)
        let places = Array(stride(from: 100, to: 2_500, by: 200))
        let scattered = calibrated(outliersAt: places)
        #expect(scattered.pValue(-5_000).pValue > 12.0 / 3_001)
        // Records of one episode for windows that are longer.
        #expect(calibrated(outliersAt: places, reach: 200).pValue(-5_000).pValue < 1e-6)
    }

    /// Of normal records, whose tails may be heavy, nearly none is taken for an anomaly.
    @Test(arguments: [0, 0.2, 0.4]) func theTailsOfNormalRecordsAreKept(shape: Double) {
        var generator = SeededGenerator(seed: 9)
        let kept = (0..<200).count { _ in
            let scores = (0..<500).map { _ in
                let uniform = Double.random(in: 1e-12..<1, using: &generator)
                return shape == 0 ? log(uniform) : -pow(uniform, -shape)
            }
            return Calibration(logLikelihoods: scores).low.sorted.count == 500
        }
        #expect(kept >= 190, "nothing is left out of \(kept) of 200")
    }

    @Test func scoresAllEqualStillGiveAThreshold() {
        let calibration = Calibration(logLikelihoods: [Double](repeating: -3, count: 500))
        let threshold = calibration.threshold(falseAlarmProbability: 1e-4)
        #expect(threshold.tail(of: -3) == nil)
        #expect(threshold.tail(of: -4) == nil)
        #expect(threshold.tail(of: -15) == .low)
    }

    @Test func budgetADayBecomesAProbabilityByTheRate() {
        #expect(AlarmBudget.perDay(2).probability(recordsPerDay: 86_400) == 2.0 / 86_400)
        #expect(
            AlarmBudget.perDay(2).probability(recordsPerDay: 4) == AlarmBudget.largestProbability)
        #expect(AlarmBudget.perDay(2).probability(recordsPerDay: 0) == 2.0 / 86_400)
        #expect(AlarmBudget.probability(1e-3).probability(recordsPerDay: 5) == 1e-3)
    }
}
