import Control
import Foundation
import Ingest
import Settings
import Streams
import TestSupport
import Testing

/// A history goes through the daemon's own worker, by the clock of its records.
struct ReplayTests {
    let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// The stream of a configuration with these lines in it.
    private func stream(_ lines: String) throws -> StreamConfiguration {
        let path = try folder.write(
            """
            streams:
              - name: pump
                source: {file: \(folder.file("none.csv"))}
                model: {members: 1}
            \(lines)
            """, to: "flowguard.yaml")
        return try #require(try FlowguardConfiguration(path: path).streams.first)
    }

    /// Rows of two readings; those in `faults` lie off the line that the others lie on.
    private func rows(
        _ range: Range<Int>, step: Double = 10, isTimed: Bool = true, faults: Range<Int> = 0..<0
    ) -> String {
        var generator = Generator(state: 7)
        var text = isTimed ? "time,a,b,label\n" : "a,b,label\n"
        for row in 0..<range.upperBound {
            let a = generator.next()
            let b = 2 * a + 0.1 * generator.next() + (faults.contains(row) ? 3 : 0)
            guard range.contains(row) else { continue }
            if isTimed { text += "\(1_700_000_000 + step * Double(row))," }
            text += "\(a),\(b),\(faults.contains(row) ? 1 : 0)\n"
        }
        return text
    }

    private struct Generator {
        var state: UInt64

        /// The sum of uniform numbers, about normal.
        mutating func next() -> Double {
            (0..<6).reduce(0.0) { sum, _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return sum + Double(state >> 11) * 0x1p-53 - 0.5
            }
        }
    }

    private func replay(
        _ stream: StreamConfiguration, _ files: [String], label: String? = "label",
        recordsPerDay: Double = 86_400
    ) async throws -> (history: ReplayHistory, summary: ReplaySummary) {
        let request = Replay.Request(
            stream: stream, files: files, label: label, recordsPerDay: recordsPerDay)
        let history = try await Replay(request).run()
        return (history, ReplaySummary(history, of: request))
    }

    @Test func fitsBeginAtTheRecordsWhereTheyAreDue() async throws {
        let file = try folder.write(rows(0..<1_300), to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 1h}")
        let (_, summary) = try await replay(stream, [file])
        let began = summary.fits.all.map { $0.queuedAt.timeIntervalSince1970 - 1_700_000_000 }
        // The 300th record, and then each hour: 360 records.
        #expect(began == [2_990, 6_590, 10_190])
        #expect(summary.fits.all.map(\.trigger) == ["first", "periodic", "periodic"])
        #expect(summary.fits.all.first?.recordCount == 300)
        #expect(summary.records.total == 1_300)
        #expect(summary.records.scored == 1_300)
        #expect(summary.records.scoredAfterwards == 300)
    }

    @Test func aStreamThatAlwaysWandersIsFittedLessAndLess() async throws {
        var generator = Generator(state: 3)
        var text = "time,a,b\n"
        var level = 0.0
        for row in 0..<2_400 {
            level += 0.0015
            let values = (1...2).map { Double($0) * level + generator.next() }
            text += "\(1_700_000_000 + 60 * row),\(values[0]),\(values[1])\n"
        }
        let file = try folder.write(text, to: "h.csv")
        let stream = try stream(
            """
                fit: {first_after_records: 300, every: 24h}
                context: {windows: []}
            """)
        let fits = try await replay(stream, [file], label: nil).summary.fits.all
        var pauses: [Double] = []
        for (former, next) in zip(fits, fits.dropFirst()) {
            guard next.trigger == "drift" else { break }
            pauses.append(next.queuedAt.timeIntervalSince(former.queuedAt))
        }
        // A quarter of the day, then half of it.
        try #require(pauses.count >= 2, "\(fits.map(\.trigger))")
        #expect(pauses[0] >= 21_600 && pauses[0] < 43_200 && pauses[1] >= 43_200, "\(pauses)")
    }

    @Test func alarmsKeepToTheBudgetWhenNormalMoves() async throws {
        // From the 1,000th record on the second reading strays three times as far as when it was learned.
        var generator = Generator(state: 11)
        var text = "time,a,b\n"
        for row in 0..<9_000 {
            let a = generator.next()
            let b = 2 * a + (row < 1_000 ? 0.1 : 0.3) * generator.next()
            text += "\(1_700_000_000 + 10 * row),\(a),\(b)\n"
        }
        let file = try folder.write(text, to: "h.csv")
        // Those that are ten times rarer than asked for always alarm; weak ones get what they leave of the budget.
        func weakEpisodes(_ alarm: String) async throws -> (count: Int, heldBack: Int) {
            let stream = try stream(
                """
                    fit: {first_after_records: 1000, every: never}
                    context: {windows: []}
                    alarm: {\(alarm), cooldown: 1s}
                """)
            let (history, summary) = try await replay(stream, [file], label: nil)
            return (
                summary.episodes.count { $0.peakPValue > 0.0005 },
                Int(history.counters.suppressed["budget"] ?? 0)
            )
        }
        let kept = try await weakEpisodes("false_alarm_probability: 0.005")
        #expect(kept.count > 5 && kept.count < 45, "less than 45 asked, \(kept.count) found")
        #expect(kept.heldBack > 500, "\(kept.heldBack) held back")
    }

    @Test func whatARuleKeepsQuietIsQuietToItsEnd() async throws {
        // Three readings of one thing that moves slowly; five of the second are too low.
        var generator = Generator(state: 5)
        var text = "time,a,b,c\n"
        var level = 0.0
        for row in 0..<1_400 {
            level = 0.95 * level + 0.3 * generator.next()
            let values = (0..<3).map { _ in level + 0.03 * generator.next() }
            let fault = (1_200..<1_205).contains(row) ? 4.0 : 0
            text += "\(1_700_000_000 + 60 * row),\(values[0]),\(values[1] - fault),\(values[2])\n"
        }
        let file = try folder.write(text, to: "h.csv")
        func history(_ rules: String) async throws -> ReplayHistory {
            try await replay(
                stream(
                    """
                        fit: {first_after_records: 1000, every: never}
                        context: {windows: [3, 9, 27]}
                        alarm: {false_alarm_probability: 0.001\(rules)}
                    """), [file], label: nil
            ).history
        }
        let told = try await history("").counters
        #expect(told.anomalies >= 5)
        #expect(told.suppressed["after-effect"] ?? 0 >= 1, "\(told)")
        let quiet = try await history(", rules: [{feature: b, only: above}]").counters
        #expect(quiet.suppressed["b only above"] ?? 0 >= 4, "\(quiet)")
        #expect(quiet.anomalies <= told.anomalies - 4, "\(quiet)")
    }

    /// What lasts is learned, and neither the faults before it nor the change itself hide later faults.
    @Test func aNewLevelIsLearnedWithoutMakingTheModelBlind() async throws {
        var generator = Generator(state: 5)
        var text = "time,a,b\n"
        let faults = [1_100, 1_250, 1_400, 1_550].map { $0..<($0 + 12) }
        for row in 0..<3_600 {
            let a = generator.next() + (row < 1_700 ? 0 : 12)
            let isFault = faults.contains { $0.contains(row) } || (3_500..<3_510).contains(row)
            let b = 2 * a + 0.1 * generator.next() + (isFault ? 3 : 0)
            text += "\(1_700_000_000 + 60 * row),\(a),\(b)\n"
        }
        let file = try folder.write(text, to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 1000, every: 4h}")
        let (_, summary) = try await replay(stream, [file], label: nil)
        let messages = summary.fits.all.compactMap(\.message)
        #expect(
            messages.contains {
                $0.contains("which last, are taken as the new normal") && $0.contains("explains")
            }, "\(messages)")
        let fault = 1_700_000_000.0 + 60 * 3_500
        #expect(
            summary.episodes.contains { abs($0.startedAt.timeIntervalSince1970 - fault) < 600 },
            "\(summary.episodes) \(messages)")
        // Once learned it stays so.
        #expect(
            summary.episodes.count { $0.startedAt.timeIntervalSince1970 > fault - 86_400 } < 10,
            "\(summary.episodes)")
    }

    @Test func eachKeyHasItsOwnFitsEpisodesAndWindows() async throws {
        // Two machines in turn at levels of their own; a third has few records. One fault of each of the two, at the same time.
        var generator = Generator(state: 5)
        var text = "time,machine,a,b,label\n"
        for row in 0..<900 {
            for (machine, level) in [("x", 0.0), ("y", 20.0), ("z", -20.0)]
            where machine != "z" || row % 10 == 0 {
                let a = generator.next()
                let isFault = machine != "z" && (machine == "x" ? 700..<705 : 702..<704) ~= row
                let b = 2 * a + 0.1 * generator.next() + (isFault ? 3 : 0)
                text += "\(1_700_000_000 + 10 * row),\(machine),\(a + level),\(b + level),"
                text += isFault ? "1\n" : "0\n"
            }
        }
        let file = try folder.write(text, to: "h.csv")
        let stream = try stream(
            """
                key: machine
                fit: {first_after_records: 400, every: never}
                alarm: {false_alarm_probability: 0.0001}
            """)
        let (history, summary) = try await replay(stream, [file])
        #expect(summary.records.total == 1_890)
        #expect(summary.records.scored == 1_890)
        // Those before the stream's first model, which the 400th record of all begins.
        #expect(summary.records.scoredAfterwards == 400)
        let fits = Dictionary(grouping: summary.fits.all, by: \.key)
        #expect(fits.keys.count == 3)
        // Each begins at the 400th record of its own.
        for machine in ["x", "y"] {
            let first = try #require(fits[machine]?.first)
            #expect(first.queuedAt.timeIntervalSince1970 == 1_700_003_990)
            // The newest quarter tells whether it explains them better than the stream's model.
            #expect(first.recordCount == 300)
            #expect(fits[machine]?.last?.state == "accepted")
        }
        let keys = try #require(summary.keys)
        #expect(keys.map(\.key) == ["x", "y", "z"])
        #expect(keys.map(\.records) == [900, 900, 90])
        #expect(keys.map { $0.ownModelAt != nil } == [true, true, false])
        #expect(summary.features == ["a", "b"])

        let labels = try #require(summary.labels)
        #expect(labels.windows.map(\.key) == ["x", "y"])
        #expect(labels.windows.map(\.scored) == [5, 2])
        #expect(labels.windowsHit == 2)
        let hits = summary.episodes.filter { $0.isLabelled == true }
        #expect(Set(hits.map(\.key)) == ["x", "y"])
        #expect(labels.falseEpisodes == summary.episodes.count - hits.count)
        #expect(
            keys.map(\.episodes)
                == keys.map { key in summary.episodes.count { $0.key == key.key } })
        // Each record carries what became of it, not of another key's.
        for record in history.records where record.judgement?.isAnomaly == true {
            let episode = try #require(record.episode)
            #expect(
                summary.episodes.contains { $0.key == record.key && $0.sequence == episode.content }
            )
        }
        #expect(
            history.records.filter { $0.label == true }.allSatisfy {
                $0.judgement?.isAnomaly == true
            })
    }

    @Test func aFitWaitsForEnoughNewRecords() async throws {
        let file = try folder.write(rows(0..<900, step: 300), to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 1h}")
        let (_, summary) = try await replay(stream, [file])
        // An hour has twelve records, but a hundred are needed: the 400th, the 500th, ...
        let began = summary.fits.all.map {
            Int(($0.queuedAt.timeIntervalSince1970 - 1_700_000_000) / 300) + 1
        }
        #expect(began == [300, 400, 500, 600, 700, 800, 900])
    }

    @Test func recordsWithoutATimeComeAtTheRateThatIsGiven() async throws {
        let file = try folder.write(rows(0..<700, isTimed: false), to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 1h}")
        // Ten seconds from record to record, as above.
        let (_, summary) = try await replay(stream, [file], recordsPerDay: 8_640)
        #expect(
            summary.fits.all.map { $0.queuedAt.timeIntervalSince1970.rounded() } == [3_000, 6_600])
        #expect(summary.recordsPerDay == 8_640)
        #expect(summary.timeColumn == nil)
        let last = try #require(summary.thresholds.last)
        #expect(last.reason.contains("records a day"), "the rate was measured: \(last.reason)")
        // At one a second no hour passes.
        let (_, slow) = try await replay(stream, [file])
        #expect(slow.fits.all.count == 1)
    }

    @Test func theSameHistoryGivesTheSameOutcome() async throws {
        let file = try folder.write(rows(0..<900, faults: 600..<620), to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 1h}")
        let (_, first) = try await replay(stream, [file])
        let (_, second) = try await replay(stream, [file])
        #expect(try ControlJSON.encode(first) == ControlJSON.encode(second))
        #expect(!first.episodes.isEmpty)
    }

    @Test func aHistoryMayBeCutIntoFiles() async throws {
        let whole = try folder.write(rows(0..<900, faults: 600..<620), to: "h.csv")
        let one = try folder.write(rows(0..<450, faults: 600..<620), to: "1.csv")
        let two = try folder.write(rows(450..<900, faults: 600..<620), to: "2.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 1h}")
        let (_, first) = try await replay(stream, [whole])
        let (history, second) = try await replay(stream, [one, two])
        #expect(second.files == [one, two])
        #expect(history.records.last?.input == 1)
        #expect(history.records.last?.line == 451)
        #expect(
            try ControlJSON.encode(first.episodes) == ControlJSON.encode(second.episodes))
    }

    @Test func theLabelIsNoFeatureAndItsWindowIsFound() async throws {
        let file = try folder.write(rows(0..<900, faults: 600..<620), to: "h.csv")
        let stream = try stream("    fit: {first_after_records: 300, every: 24h}")
        let (history, summary) = try await replay(stream, [file])
        #expect(summary.features == ["a", "b"])
        let labels = try #require(summary.labels)
        #expect(labels.windows.count == 1)
        #expect(labels.windowsHit == 1)
        #expect(labels.windows.first?.scored == 20)
        #expect(labels.labelled == 20)
        #expect(try #require(labels.auroc) > 0.99)
        let hit = summary.episodes.filter { $0.isLabelled == true }
        #expect(!hit.isEmpty)
        #expect(labels.falseEpisodes == summary.episodes.count - hit.count)
        #expect(history.records[610].judgement?.isAnomaly == true)
    }

    @Test func linesThatAreNoRecordsAreCountedWhereTheyAre() async throws {
        let lines = rows(0..<400).split(separator: "\n").map(String.init)
        let spoiled = lines.enumerated().map { $0.offset % 50 == 49 ? "x,y,z,0" : $0.element }
        let file = try folder.write(spoiled.joined(separator: "\n") + "\n", to: "h.csv")
        let stream = try stream(
            "    features: [a, b]\n    fit: {first_after_records: 300, every: 1h}")
        let (history, summary) = try await replay(stream, [file])
        #expect(summary.records.total == 392)
        #expect(summary.records.faults.map(\.count) == [8])
        #expect(history.records.count == 392)
        #expect(history.records[48].line == 51)
    }

    @Test func aLabelThatIsAFeatureIsRefused() throws {
        let file = try folder.write(rows(0..<10), to: "h.csv")
        let request = Replay.Request(
            stream: try stream("    features: [a, label]"), files: [file], label: "label")
        let error = #expect(throws: ReplayError.self) { _ = try Replay(request) }
        #expect(
            error?.description
                == "label column 'label': expected a column that the model does not see, "
                + "found it under features in the configuration")
    }

    @Test func whatIsNeitherTrueNorFalseIsNoLabel() async throws {
        let text = rows(0..<10).replacing(",0\n", with: ",2\n")
        let file = try folder.write(text, to: "h.csv")
        await #expect(
            throws: IngestError.notALabel(input: file, line: 2, column: "label", found: "'2'")
        ) { _ = try await replay(try stream(""), [file]) }
    }

    @Test(arguments: ["true", "TRUE", "1", "1.0"]) func labelsAreWordsOrNumbers(word: String)
        async throws
    {
        let ndjson = (0..<5).map { "{\"a\":\($0),\"fault\":\($0 == 3 ? word : "false")}" }
        let text =
            word == "TRUE"
            ? "a,fault\n"
                + (0..<5).map { "\($0),\($0 == 3 ? word : "false")" }
                .joined(separator: "\n") : ndjson.joined(separator: "\n")
        let file = try folder.write(text + "\n", to: "h.\(word == "TRUE" ? "csv" : "ndjson")")
        let stream = try stream(
            "    format: \(word == "TRUE" ? "csv" : "ndjson")\n    features: [a]")
        let (history, _) = try await replay(stream, [file], label: "fault")
        #expect(history.records.map(\.label) == [false, false, false, true, false])
    }

    @Test func aHistoryWithoutALabelAtAllIsTold() async throws {
        let file = try folder.write("{\"a\":1}\n{\"a\":2}\n", to: "h.ndjson")
        let error = await #expect(throws: ReplayError.self) {
            _ = try await replay(try stream("    format: ndjson"), [file], label: "fault")
        }
        #expect(
            error?.description
                == "label column 'fault': expected a label in some record, found none")
    }

    @Test func aStoppedReplaySaysSo() async throws {
        let file = try folder.write(rows(0..<900), to: "h.csv")
        let replay = try Replay(Replay.Request(stream: try stream(""), files: [file]))
        replay.stop()
        let error = await #expect(throws: ReplayError.self) { _ = try await replay.run() }
        #expect(error?.description == "the replay was stopped")
    }
}
