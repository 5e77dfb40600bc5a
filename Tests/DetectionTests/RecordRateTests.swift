import Detection
import Testing

@Suite struct RecordRateTests {
    private func perDay(_ times: [Double]) -> Double { RecordRate.perDay(times: times) }

    @Test func evenTimesGiveTheirRate() {
        #expect(abs(perDay((0..<1_000).map { 1.7e9 + Double($0) }) - 86_400) < 1)
        #expect(abs(perDay((0..<300).map { 1.7e9 + 3_600 * Double($0) }) - 24) < 0.1)
    }

    @Test func timesThatAreWrongChangeNothing() {
        var times = (0..<1_000).map { 1.7e9 + Double($0) }
        times[10] = 0
        times[500] = 4.1e9
        times[700] = .nan
        times[900] = 1e-300
        #expect(abs(perDay(times) - 86_400) < 900)
    }

    @Test func aPauseIsNoPartOfTheRate() {
        let times = (0..<1_000).map { Double($0) + ($0 < 500 ? 0 : 1e7) }
        #expect(abs(perDay(times) - 86_400) < 900)
    }

    @Test(arguments: [[], [5], [5, 5, 5], [.nan, .infinity], [0, 1e-300]])
    func withoutASpanThereIsNone(times: [Double]) {
        #expect(perDay(times) == 0)
    }
}
