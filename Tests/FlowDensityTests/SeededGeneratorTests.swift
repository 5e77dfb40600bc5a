import FlowDensity
import TestSupport
import Testing

@Suite struct SeededGeneratorTests {
    @Test func aSeedGivesTheSameNumbersEverywhere() {
        // The first outputs of xoshiro256** 1.0 with its state from splitmix64(42).
        var generator = SeededGenerator(seed: 42)
        #expect(
            (0..<3).map { _ in generator.next() } == [
                1_546_998_764_402_558_742, 6_990_951_692_964_543_102,
                12_544_586_762_248_559_009,
            ])
    }

    @Test func normalNumbersHaveTheRightMoments() {
        var generator = SeededGenerator(seed: 1)
        var sums = (0.0, 0.0, 0.0)
        let count = 100_000
        for _ in 0..<count / 2 {
            let (first, second) = generator.nextNormalPair()
            for value in [first, second] {
                sums.0 += value
                sums.1 += value * value
                sums.2 += value * value * value * value
            }
        }
        // Five standard errors of the mean, the variance and the fourth moment.
        expectClose(sums.0 / Double(count), 0, absolute: 0.016)
        expectClose(sums.1 / Double(count), 1, absolute: 0.023)
        expectClose(sums.2 / Double(count), 3, absolute: 0.16)
    }

    @Test func uniformNumbersStayBelowOne() {
        var generator = SeededGenerator(seed: 2)
        let numbers = (0..<10000).map { _ in generator.nextUniform() }
        #expect(numbers.allSatisfy { (0..<1).contains($0) })
        expectClose(numbers.reduce(0, +) / 10000, 0.5, absolute: 0.015)
    }
}
