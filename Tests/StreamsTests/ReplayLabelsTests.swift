import Foundation
import Streams
import Testing

/// Figures beside ones that were worked out by hand.
struct ReplayLabelsTests {
    /// A record a minute; `e` is an anomaly's episode.
    private func record(
        _ minute: Int, _ label: Bool?, p: Double? = 0.5, e: Int64? = nil, input: Int = 0
    ) -> ReplayedRecord {
        ReplayedRecord(
            time: Double(60 * minute), input: input, line: Int64(minute + 2), label: label,
            judgement: p.map {
                ReplayedRecord.Judgement(
                    logLikelihood: 0, pValue: $0, probability: 0.01, isAnomaly: e != nil,
                    episode: e)
            })
    }

    @Test func areaCountsPairsAndTiesHalf() {
        let scores: [(pValue: Double, label: Bool)] = [
            (0.1, true), (0.2, false), (0.3, true), (0.3, false), (0.9, false),
        ]
        // 0.1 beats all three; 0.3 beats one and ties one: (3 + 1.5) of 6 pairs.
        #expect(ReplayLabels.auroc(scores) == 0.75)
        #expect(ReplayLabels.auroc(scores.filter(\.label)) == nil)
        #expect(ReplayLabels.auroc([(0.5, true), (0.5, false), (0.5, false)]) == 0.5)
    }

    @Test func windowsAndFalseAlarms() throws {
        let records = [
            record(0, true, p: nil),  // a window that was not scored
            record(1, false, p: 0.001, e: 1),  // a false alarm
            record(2, true, p: 0.001, e: 2),
            record(3, true),
            record(4, false, p: 0.001, e: 2),  // the same episode goes on
            record(5, true),  // missed
            record(6, true, input: 1),  // another file, another window; missed
            record(7, nil, p: 0.001, e: 3),  // nothing is known of it
            record(8, false),
        ]
        let labels = ReplayLabels(records, recordsPerDay: 10)
        #expect(labels.windows.map(\.isHit) == [nil, true, false, false])
        #expect(labels.windowsScored == 3)
        #expect(labels.windowsHit == 1)
        let hit = try #require(labels.windows.dropFirst().first)
        #expect(
            (hit.from, hit.to) == (
                Date(timeIntervalSince1970: 120), Date(timeIntervalSince1970: 180)
            ))
        #expect(hit.firstAnomalyAt == hit.from)
        // Seven records are scored and labelled; of three anomalies among them one is right.
        #expect(labels.records == 7)
        #expect(labels.labelled == 4)
        #expect(labels.precision == 1.0 / 3)
        #expect(labels.recall == 0.25)
        // Episodes 1 and 3, over four scored records outside of windows, at ten a day.
        #expect(labels.falseEpisodes == 2)
        #expect(labels.falseEpisodesPerDay == 5)
    }

    @Test func nothingFoundIsNoPrecision() {
        let labels = ReplayLabels([record(0, true), record(1, false)], recordsPerDay: 0)
        #expect(labels.precision == nil)
        #expect(labels.recall == 0)
        #expect(labels.falseEpisodesPerDay == nil)
        #expect(labels.windowsHit == 0)
    }
}
