import Streams
import Testing

@Suite struct RecordRangesTests {
    /// Ranges as the set of their numbers.
    private func numbers(_ ranges: RecordRanges) -> Set<Int64> { Set(ranges.flatMap { Array($0) }) }

    @Test func differencesAndUnionsAreThoseOfTheSets() {
        var random = SystemRandomNumberGenerator.seeded(7)
        for _ in 0..<300 {
            func ranges() -> RecordRanges {
                var made: RecordRanges = []
                for _ in 0..<Int64.random(in: 0...5, using: &random) {
                    let start = Int64.random(in: 0...40, using: &random)
                    made.append(start..<(start + Int64.random(in: 0...9, using: &random)))
                }
                return RecordRanges().union(made)
            }
            let (a, b) = (ranges(), ranges())
            let rest = a.subtracting(b)
            #expect(numbers(rest) == numbers(a).subtracting(numbers(b)), "\(a) \(b)")
            #expect(rest.recordCount == Int64(numbers(rest).count))
            #expect(numbers(a.union(b)) == numbers(a).union(numbers(b)))
            #expect(numbers(a.clipped(to: 10..<20)) == numbers(a).intersection(10..<20))
        }
    }
}

extension SystemRandomNumberGenerator {
    fileprivate static func seeded(_ seed: UInt64) -> Steps { Steps(state: seed) }
}

/// Numbers that are the same at each run.
private struct Steps: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 31)
    }
}

@Suite struct FitSelectionTests {
    @Test func whatTheUserKeepsOutStaysOutWhateverItsShare() {
        let selection = FitSelection(
            total: 1_000, limit: 1_000, excluded: [0..<50], withheld: [100..<600],
            fittedThrough: nil)
        #expect(selection.training == [50..<100, 600..<1_000])
        #expect(selection.note == "500 records were kept out by the user")
    }

    @Test func manyRecordsInsideEpisodesAreANewNormalButNotThoseThatTheUserKeepsOut() {
        let selection = FitSelection(
            total: 1_000, limit: 1_000, excluded: [500..<1_000], withheld: [0..<100, 900..<1_000],
            fittedThrough: nil)
        #expect(selection.training == [100..<900])
        #expect(
            selection.note == """
                400 of 800 records lay inside episodes, so that they are taken as the new normal; \
                200 records were kept out by the user
                """)
    }

    @Test func newestRecordsThatJudgeAreUsableOnes() {
        let selection = FitSelection(
            total: 1_000, limit: 1_000, excluded: [], withheld: [900..<1_000], fittedThrough: 400)
        #expect(selection.newest == [800..<900])
        #expect(selection.training == [0..<800])
    }
}
