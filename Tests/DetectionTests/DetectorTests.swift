import Detection
import FlowDensity
import Foundation
import Ingest
import Testing

@Suite struct DetectorTests {
    private func score(_ detector: Detector, _ records: RecordBatch) -> Scores {
        var state = ContextState()
        return detector.score(records, state: &state)
    }

    /// The entropy of the machine's four varying sensors is known.
    ///
    /// Three are normal; `level`, normal with deviation 1 on a grid of 0.5, is within a hundredth of that.
    /// The fit may lose 0.4 nats: its noise of 0.08 deviations is as wide as `power`'s own deviation of 0.3.
    @Test func heldOutLogLikelihoodIsNearTheEntropyOfTheData() throws {
        let detector = try Fixture.machineDetector.get()
        let scores = score(detector, Fixture.machine(20_000, seed: 2)).logLikelihood
        let mean = scores.reduce(0, +) / Double(scores.count)
        let perFeature = 0.5 * log(2 * .pi * M_E)
        let entropy = 4 * perFeature + log(4.0) + log(2.0) + log(0.3) + log(1.0)
        #expect(
            mean < -entropy + 0.05 && mean > -entropy - 0.4, "mean \(mean), entropy \(entropy)")
    }

    @Test func falseAlarmRateOnFreshRecordsIsTheOneAskedFor() throws {
        let detector = try Fixture.machineDetector.get()
        let fresh = score(detector, Fixture.machine(40_000, seed: 3))
        for probability in [0.05, 0.01] {
            let threshold = detector.threshold(falseAlarmProbability: probability)
            let alarms = fresh.logLikelihood.indices.count {
                fresh.isAnomaly($0, threshold: threshold)
            }
            let share = Double(alarms) / 40_000
            // 750 calibration rows: the rank of the threshold is a beta variable, 99 % within 2.6 deviations.
            let deviation = (probability * (1 / 750.0 + 1 / 40_000.0)).squareRoot()
            #expect(
                abs(share - probability) < 2.6 * deviation, "asked \(probability), got \(share)")
        }
    }

    /// Of few records each calibrates flows that had not seen it, and their p-values hold for fresh ones.
    @Test func everyOneOfFewRecordsTeachesAndCalibrates() throws {
        let records = Fixture.machine(400, seed: 5)
        let (detector, summary) = try Detector.fit(records, options: DetectorOptions())
        #expect(summary.trainingRows == 400 && summary.calibrationRows == 400)
        #expect(detector.memberCount == 16)
        let fresh = score(detector, Fixture.machine(20_000, seed: 6))
        for probability in [0.1, 0.02] {
            let share = Double(fresh.pValue.count { $0 < probability }) / 20_000
            // 400 calibration rows, 99 % within 2.6 deviations; the flows that serve are a little better than those that
            // calibrate, so that as few as two thirds of the alarms asked for come.
            let deviation = (probability * (1 / 400.0 + 1 / 20_000.0)).squareRoot()
            #expect(
                share < probability + 2.6 * deviation
                    && share > 0.67 * probability - 2.6 * deviation,
                "asked \(probability), got \(share)")
        }
        // Who asks for a number of flows gets it, and a quarter of the records calibrates.
        var options = DetectorOptions()
        options.members = 2
        let plain = try Detector.fit(records, options: options)
        #expect(plain.detector.memberCount == 2 && plain.summary.calibrationRows == 100)
    }

    @Test func sizeOfTheFlowsIsTheUsersChoice() throws {
        let records = Fixture.machine(300, seed: 5)
        func fit(_ layers: Int?, _ width: Int?, from former: Detector? = nil) throws
            -> (detector: Detector, summary: FitSummary)
        {
            var options = DetectorOptions(members: 1)
            options.couplingLayers = layers
            options.hiddenWidth = width
            return try Detector.fit(records, options: options, from: former)
        }
        let fits = try [2, 4, 6].map { try fit($0, 8) }
        let counts = fits.map(\.detector.parameterCount)
        #expect(counts[1] > counts[0] && counts[2] - counts[1] == counts[1] - counts[0])
        // What the data's size chooses.
        #expect(try fit(4, 32).detector.parameterCount == fit(nil, nil).detector.parameterCount)
        let other = try fit(4, 16, from: fits[1].detector)
        #expect(other.summary.isWarm == false)
        #expect(other.detector.parameterCount > counts[1])
    }

    @Test func aFitThatRunsOutOfTimeKeepsWhatItHasLearned() throws {
        // Long enough for some steps of each flow, too short for all of them.
        let records = Fixture.machine(5_000, seed: 1)
        let (detector, summary) = try Detector.fit(
            records, options: DetectorOptions(), timeLimit: .milliseconds(200))
        #expect(summary.stopReason == "time limit")
        #expect(
            summary.notes.last?.hasPrefix("the time limit of 0.2 s ended the training of ") == true)
        #expect(detector.memberCount == 4)
        let scores = score(detector, records).logLikelihood
        #expect(scores.allSatisfy { $0.isFinite })
    }

    @Test func faultThatNoSingleColumnShowsIsCaughtAndItsSensorNamed() throws {
        let detector = try Fixture.machineDetector.get()
        let normal = Fixture.machine(1, seed: 9)
        let fault = score(detector, Fixture.record([50, 20, 73, 3, 10], like: normal))
        let verdicts = detector.verdicts(
            fault, threshold: detector.threshold(falseAlarmProbability: 1e-3))
        let verdict = try #require(verdicts.first)
        #expect(verdict.reasonCode == .improbable && verdict.tail == .low)
        #expect(verdict.pValue < 1e-3)
        let power = try #require(verdict.features.first { $0.name == "power" })
        #expect(abs(power.expected.number - 70) < 0.6, "expected \(power.expected)")
        #expect(verdict.features.prefix(3).map(\.name).contains("power"))
        #expect(power.contribution > 5)
        let level = try #require(verdict.features.first { $0.name == "level" })
        #expect(level.contribution < 1)
    }

    @Test func expectedValueIsToldToTheDigitInWhichItDiffers() throws {
        var generator = SeededGenerator(seed: 3)
        var records = RecordBatch(schema: Schema(features: ["bath", "other"], time: nil))
        for _ in 0..<600 {
            records.append([
                -273.1 + 0.002 * Fixture.normal(&generator), Fixture.normal(&generator),
            ])
        }
        let detector = try Detector.fit(records, options: DetectorOptions(members: 1)).detector
        var fault = RecordBatch(schema: records.schema)
        fault.append([-273.118, 0])
        let verdict = try #require(
            detector.verdicts(
                score(detector, fault),
                threshold: detector.threshold(falseAlarmProbability: 1e-3)
            ).first)
        let words = verdict.summary.split(separator: " ")
        #expect(verdict.summary.hasPrefix("bath -273.118 where -273.1"), "\(verdict.summary)")
        let told = try #require(words.count > 3 ? Double(words[3]) : nil)
        let expected = try #require(verdict.features.first).expected.number
        #expect(abs(told - expected) < 0.002, "\(verdict.summary)")
    }

    @Test func recordPushedOutwardNeverBecomesMoreLikely() throws {
        let detector = try Fixture.machineDetector.get()
        let base = Fixture.machine(1, seed: 31)
        for feature in [0, 1, 2, 4] {
            for direction in [-1.0, 1.0] {
                var last = Double.infinity
                for step in 0..<60 {
                    var values = base.values
                    values[feature] += direction * (25 + Double(step * step) * 5)
                    let value = score(detector, Fixture.record(values, like: base)).logLikelihood[0]
                    #expect(value < last, "feature \(feature), step \(step)")
                    last = value
                }
            }
        }
    }

    @Test(arguments: [1e300, -1e300, 1.7e308, .leastNonzeroMagnitude, 0])
    func scoresAreFiniteForEveryFiniteValue(value: Double) throws {
        let detector = try Fixture.machineDetector.get()
        let base = Fixture.machine(1, seed: 4)
        let scores = score(
            detector, Fixture.record([value, value, value, value, value], like: base))
        #expect(scores.logLikelihood[0].isFinite)
        #expect(scores.pValue[0] >= 0 && scores.pValue[0] < 0.01)
    }

    @Test func changeOfAConstantFeatureIsAnAnomalyWithItsOwnReason() throws {
        let detector = try Fixture.machineDetector.get()
        let base = Fixture.machine(1, seed: 6)
        let scores = score(detector, Fixture.record([50, 20, 70, 4, 10], like: base))
        let verdict = try #require(
            detector.verdicts(
                scores, threshold: detector.threshold(falseAlarmProbability: 1e-4)
            ).first)
        #expect(verdict.reasonCode == .constantChanged)
        #expect(verdict.features.first?.name == "mode")
        #expect(verdict.features.first?.expected == .number(3))
        #expect(verdict.summary.hasPrefix("mode 4 where 3 was expected"))
        #expect(detector.summary.notes.contains { $0.contains("'mode' is always 3") })
        #expect(detector.summary.notes.contains { $0.contains("'level' moves in steps of 0.5") })
    }

    /// A sentence that says "7 where 7 was expected", or zero where ten was, explains nothing.
    @Test func sentencesTellValuesThatAreFarOrHardlyApart() throws {
        let detector = try Fixture.machineDetector.get()
        let base = Fixture.machine(1, seed: 6)
        func summary(_ record: [Double]) throws -> String {
            let verdicts = detector.verdicts(
                score(detector, Fixture.record(record, like: base)),
                threshold: detector.threshold(falseAlarmProbability: 1e-4))
            return try #require(verdicts.first).summary
        }
        let near = try summary([50, 20, 70, 3.0000001, 10])
        #expect(near.hasPrefix("mode 3.0000001 where 3 was expected"), "\(near)")
        for far in [4_294_967_295, 1e308] {
            let text = try summary([far, 20, 70, 3, 10])
            let words = text.split(separator: " ")
            let place = try #require(words.firstIndex(of: "where"))
            let expected = try #require(Double(words[place + 1]))
            #expect(expected > 1 && expected < 1_000, "\(text)")
        }
    }

    @Test func likelihoodOfARecordDoesNotDependOnItsBatch() throws {
        let detector = try Fixture.machineDetector.get()
        let records = Fixture.machine(5_000, seed: 8)
        let whole = score(detector, records).logLikelihood
        var state = ContextState()
        let threaded = detector.score(records, state: &state, parallel: .threads(2)).logLikelihood
        #expect(whole == threaded)
        for row in stride(from: 0, to: 5_000, by: 97) {
            let alone = score(detector, records.rows(row..<(row + 1))).logLikelihood[0]
            #expect(abs(alone - whole[row]) < 1e-4, "row \(row)")
        }
    }

    @Test func contextCarriesOverFromBatchToBatch() throws {
        let records = Fixture.temperature(2_000, seed: 1)
        let detector = try Detector.fit(records, options: DetectorOptions(seed: 2)).detector
        #expect(detector.windows == [3, 9, 27])
        #expect(detector.calendar == [.hourOfDay])
        let whole = score(detector, records).logLikelihood
        var state = ContextState()
        var pieces: [Double] = []
        var row = 0
        var size = 1
        while row < 2_000 {
            let end = min(row + size, 2_000)
            pieces += detector.score(records.rows(row..<end), state: &state).logLikelihood
            let stored = try JSONEncoder().encode(state)
            state = try JSONDecoder().decode(ContextState.self, from: stored)
            (row, size) = (end, size % 13 + 1)
        }
        for (i, (a, b)) in zip(whole, pieces).enumerated() {
            #expect(abs(a - b) < 1e-4, "row \(i)")
        }
    }

    @Test func jumpOfASingleSensorIsJudgedGivenItsRecentPast() throws {
        let records = Fixture.temperature(3_000, seed: 1)
        let detector = try Detector.fit(records, options: DetectorOptions(seed: 2)).detector
        var state = ContextState()
        _ = detector.score(records, state: &state)
        let last = records.values[2_999]
        // Well within the daily range, but a jump of 3 degrees in five minutes.
        let value = last > 20 ? last - 3 : last + 3
        let jump = Fixture.record([value], like: records, time: records.times[2_999] + 300)
        let scores = detector.score(jump, state: &state)
        let verdict = try #require(
            detector.verdicts(
                scores, threshold: detector.threshold(falseAlarmProbability: 1e-3)
            ).first)
        #expect(abs(verdict.features[0].expected.number - last) < 1)
    }

    @Test func modelFileGivesTheSameBitsBack() throws {
        let detector = try Fixture.machineDetector.get()
        let bytes = detector.encoded()
        let copy = try Detector(decoding: bytes, name: "copy")
        #expect(copy.encoded() == bytes)
        let records = Fixture.machine(200, seed: 12)
        #expect(score(detector, records).logLikelihood == score(copy, records).logLikelihood)
        #expect(score(detector, records).pValue == score(copy, records).pValue)
        #expect(copy.summary == detector.summary)
    }

    @Test func sameSeedGivesTheSameBitsWithOneAndTwoThreads() throws {
        let records = Fixture.machine(800, seed: 1)
        let options = DetectorOptions(seed: 77)
        let one = try Detector.fit(records, options: options).detector.encoded()
        let two = try Detector.fit(records, options: options, parallel: .threads(2)).detector
            .encoded()
        #expect(one == two)
        let other = try Detector.fit(records, options: DetectorOptions(seed: 78)).detector.encoded()
        #expect(one != other)
    }

    @Test func samplesLookLikeTheRecords() throws {
        let detector = try Fixture.machineDetector.get()
        let drawn = detector.sample(4_000, seed: 1)
        let rows = (0..<drawn.rowCount).map { Array(drawn.row($0)) }
        #expect(rows.count == 4_000)
        #expect(rows.allSatisfy { $0[3] == 3 })
        let mean = rows.reduce(0) { $0 + $1[0] } / 4_000
        #expect(abs(mean - 50) < 0.6)
        let residual = rows.map { $0[2] - $0[0] - $0[1] }
        let deviation = (residual.reduce(0) { $0 + $1 * $1 } / 4_000).squareRoot()
        // 0.3 in the data, and the noise of the training on top.
        #expect(deviation < 1.2, "deviation \(deviation)")
        #expect(rows.allSatisfy { ($0[4] * 2).rounded() == $0[4] * 2 })
        #expect(detector.sample(10, seed: 1).values == detector.sample(10, seed: 1).values)
    }
}

@Suite struct DetectorErrorTests {
    @Test func tooFewRowsSayHowManyAreNeeded() {
        #expect(throws: DetectionError.tooFewRows(found: 39, needed: 40)) {
            try Detector.fit(Fixture.machine(39, seed: 1), options: DetectorOptions())
        }
        #expect(
            DetectionError.tooFewRows(found: 39, needed: 40).description
                == "a fit needs at least 40 usable rows, found 39")
    }

    @Test func constantFeaturesOnlyAreRefused() {
        var batch = RecordBatch(schema: Schema(features: ["a", "b"], time: nil))
        for row in 0..<200 {
            batch.append([1, 2], time: .nan, lineIndex: Int32(row), offset: 0)
        }
        #expect(throws: DetectionError.everyFeatureConstant(features: ["a", "b"])) {
            try Detector.fit(batch, options: DetectorOptions())
        }
    }

    @Test func cancelledFitThrows() {
        #expect(throws: DetectionError.cancelled) {
            try Detector.fit(Fixture.machine(500, seed: 1), options: DetectorOptions()) {
                $0.step < 60
            }
        }
    }

    @Test func degenerateColumnsDoNotBreakAFit() throws {
        var generator = SeededGenerator(seed: 1)
        var batch = RecordBatch(
            schema: Schema(features: ["a", "copy", "sum", "rare", "huge", "sign"], time: nil))
        for row in 0..<600 {
            let a = Fixture.normal(&generator)
            let b = Double.random(in: 0..<1, using: &generator)
            batch.append(
                [
                    a, a, 2 * a + 1, row % 200 == 0 ? 1 : 0, 1e12 + 1e3 * b,
                    b < 0.5 ? 1 : -1,
                ], time: .nan, lineIndex: Int32(row), offset: 0)
        }
        let detector = try Detector.fit(batch, options: DetectorOptions()).detector
        var state = ContextState()
        let scores = detector.score(batch, state: &state)
        #expect(scores.logLikelihood.allSatisfy { $0.isFinite })
        #expect(detector.summary.heldOutLogLikelihood.isFinite)
    }

    @Test func fileCutAnywhereOrDamagedIsRefusedWithItsName() throws {
        let bytes = try Fixture.machineDetector.get().encoded()
        for length in stride(from: 0, to: bytes.count, by: max(bytes.count / 60, 1)) {
            let error = try #require(throws: DetectionError.self) {
                try Detector(decoding: Array(bytes[..<length]), name: "pump.model")
            }
            #expect(error.description.hasPrefix("model pump.model"), "\(error)")
        }
        for place in stride(from: 8, to: bytes.count, by: max(bytes.count / 60, 1)) {
            var damaged = bytes
            damaged[place] ^= 0x40
            #expect(throws: DetectionError.self) {
                try Detector(decoding: damaged, name: "pump.model")
            }
        }
    }

    @Test func fileOfAnotherVersionSaysBothVersions() throws {
        var file = try TensorFile(decoding: Fixture.machineDetector.get().encoded(), name: "m")
        file.metadata["detector_version"] = "9"
        let error = try #require(throws: DetectionError.self) {
            try Detector(decoding: file.encoded(), name: "m")
        }
        #expect(
            error.description
                == "model m: it has detector version 9, this build reads versions 2 to 4")
        file.metadata["detector_version"] = nil
        let other = try #require(throws: DetectionError.self) {
            try Detector(decoding: file.encoded(), name: "m")
        }
        #expect(other.description == "model m: it is a tensor file but holds no detector")
    }

    @Test func aColumnOfOneValueIsNoDeviationFromItself() throws {
        for value in [0.1, 12.345, -7e-9, 3] {
            let profile = try #require(
                ColumnProfile(values: [Double](repeating: value, count: 300)))
            #expect(profile.encoded(value) == 0)
        }
    }
}
