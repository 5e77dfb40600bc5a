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
            #expect(numbers(a.common(with: b)) == numbers(a).intersection(numbers(b)))
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
        // The first of them see the old level and the new one.
        #expect(selection.training == [100..<500, 564..<900])
        #expect(selection.adopted == [564..<900])
        #expect(
            selection.note == """
                400 of 800 records lay inside episodes: 336 of these, which last, are taken as the new \
                normal, 64 stay out; 200 records were kept out by the user
                """)
    }

    @Test func isolatedFaultsStayOutBesideANewNormal() {
        // Faults, an episode in two parts that is over, and a level that goes on.
        let excluded: RecordRanges = [
            100..<140, 300..<301, 500..<505, 1_200..<1_400, 1_420..<1_600, 4_000..<5_000,
        ]
        let selection = FitSelection(
            total: 5_000, limit: 5_000, excluded: excluded, withheld: [], fittedThrough: 3_900)
        // With the level the others are less than a fifth.
        #expect(selection.adopted == [4_064..<5_000])
        let learned = selection.training + selection.newest
        #expect(learned.common(with: Array(excluded.dropLast())).isEmpty)
        let tighter = FitSelection(
            total: 5_000, limit: 5_000,
            excluded: [0..<10, 500..<2_000, 2_050..<2_400, 4_000..<4_800], withheld: [],
            fittedThrough: nil)
        #expect(tighter.adopted == [564..<2_000, 2_050..<2_336])
        #expect(tighter.training == [10..<500, 564..<2_336, 2_400..<4_000, 4_800..<5_000])
        #expect(
            tighter.note == """
                2660 of 5000 records lay inside episodes: 1722 of these, which last, are taken as the \
                new normal, 938 stay out
                """)
    }

    @Test func soManyShortEpisodesAreHowTheStreamIs() {
        let excluded: RecordRanges = (0..<10).map { Int64(100 * $0)..<Int64(100 * $0 + 30) }
        let selection = FitSelection(
            total: 1_000, limit: 1_000, excluded: excluded, withheld: [], fittedThrough: nil)
        #expect(selection.training == [0..<1_000])
        #expect(
            selection.note == """
                300 of 1000 records lay inside episodes: none lasts, and so many are how the stream is, so \
                that all are learned
                """)
    }

    @Test func aLongEpisodeThatIsNoAlarmIsLearnedWithoutTheChangeAtItsEnds() {
        let selection = FitSelection(
            total: 5_000, limit: 5_000, excluded: [1_000..<1_500, 3_000..<3_010, 4_000..<4_020],
            readmitted: [1_000..<1_500, 3_000..<3_010], withheld: [], fittedThrough: nil)
        #expect(selection.training == [0..<1_000, 1_064..<1_436, 1_500..<4_000, 4_020..<5_000])
        #expect(selection.note == nil)
    }

    @Test func newestRecordsThatJudgeAreUsableOnes() {
        let selection = FitSelection(
            total: 1_000, limit: 1_000, excluded: [], withheld: [900..<1_000], fittedThrough: 400)
        #expect(selection.newest == [800..<900])
        #expect(selection.training == [0..<800])
    }
}
