import Detection
import FlowDensity
import Foundation
import Ingest
import Testing

/// What a record's recent past adds to its verdict.
@Suite struct StateWindowsTests {
    /// Two independent sensors around a level each, a reading a second.
    private func sensors(_ count: Int, seed: UInt64, from time: Double = 0) -> RecordBatch {
        var generator = SeededGenerator(seed: seed)
        var batch = RecordBatch(schema: Schema(features: ["flow", "pressure"], time: "time"))
        for row in 0..<count {
            batch.append(
                [30 + 2 * Fixture.normal(&generator), 4 + 0.5 * Fixture.normal(&generator)],
                time: time + Double(row), lineIndex: Int32(row), offset: Int64(row))
        }
        return batch
    }

    private func fit(_ windows: [Int]?, _ records: RecordBatch) throws -> Detector {
        try Detector.fit(
            records, options: DetectorOptions(members: 2, seed: 3, windows: windows)
        ).detector
    }

    @Test func windowsFollowTheNumberOfRecordsAndOfFeatures() throws {
        #expect(try fit(nil, sensors(400, seed: 1)).windows == [3, 9])
        #expect(try fit(nil, sensors(1_200, seed: 1)).windows == [3, 9, 27])
        #expect(try fit([], sensors(400, seed: 1)).windows == [])
        let machine = try Fixture.machineDetector.get()
        #expect(machine.windows == [], "records without times have no past")
    }

    /// Each change of a set point made a whole window improbable, so often that the threshold went out to it.
    @Test func aFeatureThatHoldsItsReadingForLongHidesNothing() throws {
        let fitted = try Detector.fit(
            Fixture.setPoint(6_000, seed: 1), options: DetectorOptions(members: 2))
        let detector = fitted.detector
        #expect(detector.windows == [3, 9, 27])
        #expect(
            fitted.summary.notes.contains {
                $0.hasPrefix("'limit' mostly stays as it is for more than 27 records")
            }, "\(fitted.summary.notes)")
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        let span = fitted.summary.heldOutLogLikelihood - threshold.logLikelihood
        #expect(span < 30, "\(span) nats from the mean to the threshold")
        // A change to a known level is normal, a power that does not fit the speed is not.
        var records = Fixture.setPoint(1_500, seed: 2, from: 6_000)
        for row in 1_000..<1_010 { records.values[3 * row + 2] -= 15 }
        var state = ContextState()
        let scores = detector.score(records, state: &state)
        let found = Set(detector.verdicts(scores, threshold: threshold).map(\.row))
        #expect(found.intersection(1_000..<1_010).count >= 8, "\(found.sorted())")
        #expect(found.subtracting(1_000..<1_037).count < 15, "\(found.sorted())")
        // The file tells which features have no means.
        let copy = try Detector(decoding: detector.encoded(), name: "copy")
        var again = ContextState()
        #expect(copy.score(records, state: &again).logLikelihood == scores.logLikelihood)
    }

    /// The density is over the reading and the mean of the one before: its integral over both is 1.
    @Test func densityOfTheStateIntegratesToOne() throws {
        var records = sensors(2_000, seed: 2)
        let one = Schema(features: ["pressure"], time: "time")
        var pressure = RecordBatch(schema: one)
        for row in 0..<records.rowCount {
            pressure.append([records.values[2 * row + 1]], time: Double(row))
        }
        records = pressure
        let detector = try fit([2], records)
        let step = 0.05
        let grid = stride(from: 1.0, through: 7.0, by: step)
        var sum = 0.0
        for before in grid {
            var state = ContextState()
            _ = detector.score(Fixture.record([before], like: records, time: 0), state: &state)
            for value in grid {
                var copy = state
                let record = Fixture.record([value], like: records, time: 1)
                sum += exp(detector.score(record, state: &copy).logLikelihood[0]) * step * step
            }
        }
        #expect(abs(sum - 1) < 0.03, "integral \(sum)")
    }

    @Test func slowShiftThatNoReadingShowsIsFoundByItsLevel() throws {
        let detector = try fit(nil, sensors(4_000, seed: 1))
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        var state = ContextState()
        _ = detector.score(sensors(100, seed: 4), state: &state)
        var shifted = sensors(40, seed: 5, from: 100)
        // Two deviations: one normal reading in twenty is as far out.
        for row in 0..<40 { shifted.values[2 * row + 1] += 1 }
        let verdicts = detector.verdicts(
            detector.score(shifted, state: &state), threshold: threshold)
        let last = try #require(verdicts.last)
        #expect(verdicts.count > 20, "\(verdicts.count) of 40")
        #expect(last.features.first?.name == "pressure")
        #expect(
            last.summary.hasPrefix("pressure around ")
                && last.summary.contains(" for 27 records where "), "\(last.summary)")
        let change = try #require(last.features.first?.change)
        #expect(abs(change - 1) < 0.3, "\(change) above what was expected")
    }

    /// A batch of one: relations that are much tighter than the columns' own spread hold for guessed means too.
    @Test func recordsWithoutAPastAreJudgedByTheirLike() throws {
        var generator = SeededGenerator(seed: 21)
        func pumps(_ count: Int) -> RecordBatch {
            var batch = RecordBatch(schema: Schema(features: ["speed", "flow"], time: "time"))
            var drift = 0.0
            for row in 0..<count {
                drift = 0.98 * drift + Fixture.normal(&generator)
                let speed = 2_000 + 20 * drift
                let flow = speed / 40 + 0.2 * Fixture.normal(&generator)
                batch.append([speed, flow], time: Double(row))
            }
            return batch
        }
        let detector = try fit(nil, pumps(6_000))
        let threshold = detector.threshold(falseAlarmProbability: 0.01)
        let fresh = pumps(2_000)
        func alarms(_ records: RecordBatch) -> Int {
            (0..<records.rowCount).count { row in
                var state = ContextState()
                let scores = detector.score(records.rows(row..<(row + 1)), state: &state)
                return scores.isAnomaly(0, threshold: threshold)
            }
        }
        let normal = alarms(fresh)
        #expect(normal <= 40, "\(normal) of 2,000, 20 expected")
        var faulty = fresh
        for row in 0..<2_000 { faulty.values[2 * row + 1] -= 3 }
        let found = alarms(faulty)
        #expect(found > 1_000, "\(found) of 2,000 faults found")
    }

    /// Of fewer than 40 scores no tail is fitted: far below all of them is an anomaly even so.
    @Test func aFirstRecordBelowAllThatWereSeenIsAnAnomaly() throws {
        let detector = try fit([3], sensors(41, seed: 6))
        let budget = detector.threshold(falseAlarmProbability: 1e-3)
        func verdict(_ record: [Double], _ threshold: Threshold) -> Verdict? {
            var state = ContextState()
            let records = Fixture.record(record, like: sensors(1, seed: 7), time: 0)
            let scores = detector.score(records, state: &state)
            return detector.verdicts(scores, threshold: threshold).first
        }
        let wild = try #require(verdict([1e6, -1e6], budget))
        #expect(wild.tail == .low && wild.pValue < 1e-3)
        #expect(wild.logLikelihood < wild.threshold)
        #expect(verdict([30, 4], budget) == nil)
        // Whoever chose the budget: the same record has the same verdict.
        var byHand = budget
        byHand.kind = .manual
        #expect(verdict([1e6, -1e6], byHand) == wild)
        // A log-likelihood set by hand is what a record is held against, also the first one.
        let low = detector.threshold(logLikelihood: 2 * wild.logLikelihood)
        #expect(verdict([1e6, -1e6], low) == nil)
        let high = detector.threshold(logLikelihood: 1_000)
        #expect(verdict([30, 4], high)?.threshold == 1_000)
    }

    @Test func slowShiftIsALevelAndASpikeIsNot() throws {
        let detector = try fit(nil, sensors(4_000, seed: 1))
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        func codes(_ records: RecordBatch) -> [Int: ReasonCode] {
            var state = ContextState()
            let verdicts = detector.verdicts(
                detector.score(records, state: &state), threshold: threshold)
            return Dictionary(uniqueKeysWithValues: verdicts.map { ($0.row, $0.reasonCode) })
        }
        var shifted = sensors(200, seed: 5)
        for row in 100..<200 { shifted.values[2 * row] += 5 }
        let found = codes(shifted)
        #expect((130..<200).count { found[$0] == .levelShifted } > 35, "\(found)")
        var spiked = sensors(200, seed: 5)
        spiked.values[2 * 150] += 20
        #expect(codes(spiked)[150] == .improbable)
    }

    @Test func startOfAStreamAndTheEndOfAGapAreNoAnomalies() throws {
        let detector = try fit(nil, sensors(4_000, seed: 1))
        let gap = try #require(detector.gapSecs)
        #expect(gap == 10)
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        var alarms = 0
        var seen = 0
        for piece in 0..<100 {
            var state = ContextState()
            let first = sensors(30, seed: UInt64(100 + piece))
            let second = sensors(30, seed: UInt64(300 + piece), from: 30 + 2 * gap)
            for records in [first, second] {
                alarms +=
                    detector.verdicts(
                        detector.score(records, state: &state), threshold: threshold
                    ).count
                seen += records.rowCount
            }
        }
        // 6 are expected of 6,000; windows make neighbours alike.
        #expect(alarms <= 24, "\(alarms) of \(seen)")
    }

    @Test func whatLiesBeforeAGapDoesNotCount() throws {
        let detector = try fit(nil, sensors(4_000, seed: 1))
        let record = Fixture.record([31, 4.2], like: sensors(1, seed: 1), time: 1_000)
        func score(after history: RecordBatch) -> Double {
            var state = ContextState()
            _ = detector.score(history, state: &state)
            return detector.score(record, state: &state).logLikelihood[0]
        }
        let calm = score(after: sensors(40, seed: 7))
        var wild = sensors(40, seed: 8)
        for row in 0..<40 { wild.values[2 * row] += 15 }
        #expect(score(after: wild) == calm)
        wild.times = wild.times.map { $0 + 960 }
        #expect(score(after: wild) < calm - 10)
    }

    @Test func seriesInOneBatchLookBackOnThemselvesAlone() throws {
        // Two machines at two levels, their records mixed: each one's past is its own, in the fit and in the scores.
        let (warm, cold) = (sensors(900, seed: 3), sensors(900, seed: 4))
        var mixed = RecordBatch(
            schema: Schema(
                features: warm.schema.features, categories: ["machine"], time: warm.schema.time))
        for row in 0..<900 {
            mixed.append(warm.row(row), categories: ["warm"], time: warm.times[row])
            mixed.append(cold.row(row).map { $0 + 40 }, categories: ["cold"], time: cold.times[row])
        }
        let detector = try fit([3, 9], mixed.grouped(byCategory: "machine"))
        let parts = mixed.split(byCategory: "machine").map { $0.records.rows(0..<8) }
        var alone: [Double] = []
        var both = RecordBatch(schema: mixed.schema)
        for row in 0..<8 {
            both.append(parts[0].row(row), categories: ["warm"], time: parts[0].times[row])
            both.append(parts[1].row(row), categories: ["cold"], time: parts[1].times[row])
        }
        for part in parts {
            var state = ContextState()
            alone += detector.score(part, state: &state).logLikelihood
        }
        let together = both.grouped(byCategory: "machine")
        var state = ContextState()
        #expect(detector.score(together, state: &state).logLikelihood == alone)
        // Without its mark the second machine would be judged by the last records of the first.
        var unmarked = RecordBatch(schema: together.schema)
        for row in 0..<16 { unmarked.append(together.row(row), time: together.times[row]) }
        var other = ContextState()
        let wrong = detector.score(unmarked, state: &other).logLikelihood
        #expect(wrong[..<8] == alone[..<8])
        #expect(wrong[8] < alone[8] - 10)
    }

    @Test func readingPushedOutwardNeverBecomesMoreLikely() throws {
        let records = sensors(4_000, seed: 1)
        let detector = try fit(nil, records)
        let highest =
            stride(from: 1, to: records.values.count, by: 2)
            .map { records.values[$0] }.max() ?? 0
        var last = Double.infinity
        for excess in stride(from: 0.0, to: 40, by: 0.25) {
            var state = ContextState()
            _ = detector.score(sensors(40, seed: 9), state: &state)
            let record = Fixture.record([30, highest + excess], like: records, time: 40)
            let score = detector.score(record, state: &state).logLikelihood[0]
            #expect(score <= last + 1e-4, "excess \(excess)")
            last = score
        }
    }

    @Test func modelWithOtherWindowsIsJudgedByItsAlarmsAlone() throws {
        let few = try fit([3], sensors(1_500, seed: 6))
        let many = try fit([3, 9], sensors(1_500, seed: 6))
        func judge(_ newest: RecordBatch) -> GateDecision {
            FitGate.judge(
                challenger: many, champion: few, newest: newest, falseAlarmProbability: 1e-3)
        }
        let calm = judge(sensors(600, seed: 12))
        #expect(calm.isAccepted)
        #expect(calm.reason.hasPrefix("it looks back further or less far"), "\(calm.reason)")
        var shifted = sensors(600, seed: 12)
        for row in 0..<600 { shifted.values[2 * row] += 3 }
        let refused = judge(shifted)
        #expect(!refused.isAccepted)
        #expect(refused.reason.hasPrefix("it would alarm on"), "\(refused.reason)")
    }

    @Test func recordsWithoutTimesHaveTheWindowsThatAreAskedFor() throws {
        let detector = try Detector.fit(
            Fixture.machine(600, seed: 3), options: DetectorOptions(members: 1, windows: [3])
        ).detector
        #expect(detector.windows == [3])
        #expect(detector.gapSecs == nil)
    }

    @Test func fileKeepsTheWindows() throws {
        let records = sensors(1_500, seed: 6)
        let detector = try fit(nil, records)
        let restored = try Detector(decoding: detector.encoded(), name: "m")
        #expect(restored.windows == [3, 9, 27])
        var (a, b) = (ContextState(), ContextState())
        #expect(
            detector.score(records, state: &a).logLikelihood
                == restored.score(records, state: &b).logLikelihood)
        #expect(restored.encoded() == detector.encoded())
    }
}

/// Which calendar readings a fit chooses, and how they are read off the clock.
@Suite struct CalendarTests {
    private func fit(_ records: RecordBatch, zone: String? = nil) throws -> Detector {
        try Detector.fit(
            records, options: DetectorOptions(members: 1, seed: 1, timeZone: zone)
        ).detector
    }

    @Test func hourIsChosenWhereItTellsSomething() throws {
        #expect(try fit(Fixture.temperature(2_000, seed: 1)).calendar == [.hourOfDay])
        var flat = Fixture.temperature(2_000, seed: 1)
        var generator = SeededGenerator(seed: 2)
        flat.values = flat.values.map { _ in 20 + Fixture.normal(&generator) }
        #expect(try fit(flat).calendar == [])
    }

    /// In Berlin the clocks go forward on 2024-03-31: work that begins at 8 does so an hour earlier in UTC.
    @Test func summerTimeMovesNoAlarms() throws {
        let midnight = 1_709_250_000.0  // 2024-03-01 00:40 CET
        var records = RecordBatch(schema: Schema(features: ["load"], time: "time"))
        var generator = SeededGenerator(seed: 4)
        var later = records
        let zone = try #require(TimeZone(identifier: "Europe/Berlin"))
        for row in 0..<(45 * 96) {
            let time = midnight + 900 * Double(row)
            let local = time + Double(zone.secondsFromGMT(for: Date(timeIntervalSince1970: time)))
            let hour = (local / 3_600).truncatingRemainder(dividingBy: 24)
            let load = (8..<18).contains(hour) ? 80.0 : 20.0
            let value = load + 3 * Fixture.normal(&generator)
            if row < 29 * 96 {
                records.append([value], time: time)
            } else if row > 31 * 96 {
                later.append([value], time: time)
            }
        }
        func alarms(_ zone: String?) throws -> Int {
            let detector = try fit(records, zone: zone)
            #expect(detector.calendar.first == .hourOfDay)
            var state = ContextState()
            _ = detector.score(records, state: &state)
            return detector.verdicts(
                detector.score(later, state: &state),
                threshold: detector.threshold(falseAlarmProbability: 1e-3)
            ).count
        }
        let local = try alarms("Europe/Berlin")
        let utc = try alarms(nil)
        #expect(local <= 40 && utc >= 5 * local, "Berlin \(local), UTC \(utc)")
    }
}
