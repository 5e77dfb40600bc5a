import Detection
import FlowDensity
import Foundation
import Ingest
import Testing

/// A fit that goes on from a former detector: what it costs, and that its p-values stay honest.
@Suite struct WarmFitTests {
    private static let all = Fixture.machine(4_000, seed: 1)
    private static let former = Result {
        try Detector.fit(all.rows(0..<2_000), options: DetectorOptions(seed: 5)).detector
    }

    private func fit(
        _ records: RecordBatch, numbers: RecordNumbers = .consecutive, from former: Detector,
        parallel: ParallelFor = .serial
    ) throws -> (detector: Detector, summary: FitSummary) {
        try Detector.fit(
            records, options: DetectorOptions(seed: 5), numbers: numbers, from: former,
            parallel: parallel)
    }

    @Test func aWarmFitTakesAFractionOfTheStepsAndIsNoWorse() throws {
        let records = Self.all.rows(400..<2_400)
        let cold = try Detector.fit(records, options: DetectorOptions(seed: 5))
        let warm = try fit(records, from: Self.former.get())
        #expect(cold.summary.isWarm == false && warm.summary.isWarm == true)
        #expect(warm.summary.coldReason == nil)
        #expect(warm.summary.steps * 2 < cold.summary.steps)
        let fresh = Fixture.machine(10_000, seed: 2)
        func mean(_ detector: Detector) -> Double {
            var state = ContextState()
            let scores = detector.score(fresh, state: &state).logLikelihood.sorted()
            // A hundredth, the least likely, would decide alone.
            return scores.dropFirst(100).reduce(0, +) / 9_900
        }
        #expect(mean(warm.detector) > mean(cold.detector) - 0.02)
    }

    /// Calibration rows that some former flow had learned from would make p-values of fresh records too small.
    ///
    /// - Parameter gap: Records in the middle of the window that are left out, as those of an episode are.
    @Test(arguments: [0, 60] as [Int64])
    func pValuesStayHonestAlongAChainOfFits(gap: Int64) throws {
        var detector = try Self.former.get()
        for step in 1...5 {
            let start = Int64(step * 380)
            let parts = [start..<(start + 700), (start + 700 + gap)..<(start + 2_000 + gap)]
            var records = RecordBatch(schema: Self.all.schema)
            for part in parts {
                records.append(
                    contentsOf: Self.all.rows(Int(part.lowerBound)..<Int(part.upperBound)))
            }
            let fitted = try fit(records, numbers: .ranges(parts), from: detector)
            #expect(fitted.summary.isWarm == true, "step \(step)")
            detector = fitted.detector
        }
        let fresh = Fixture.machine(20_000, seed: 3)
        var state = ContextState()
        let pValues = detector.score(fresh, state: &state).pValue
        for probability in [0.1, 0.05] {
            let share = Double(pValues.count { $0 < probability }) / 20_000
            // 500 calibration rows, 99 % within 2.6 deviations.
            let deviation = (probability * (1 / 500.0 + 1 / 20_000.0)).squareRoot()
            #expect(
                abs(share - probability) < 2.6 * deviation, "asked \(probability), got \(share)")
        }
    }

    @Test func aChainKnowsTheRecordsOfAllItsFits() throws {
        var options = DetectorOptions(seed: 5)
        options.members = 1
        let first = Self.all.rows(0..<800)
        var second = Fixture.machine(800, seed: 7)
        let one = try Detector.fit(first, options: options).detector
        let next = try Detector.fit(second, options: options, from: one)
        #expect(next.summary.isWarm == true, "\(next.summary.coldReason ?? "")")
        // What the first model learned from comes again, in a place that its numbers do not have.
        second.append(contentsOf: first)
        let again = try Detector.fit(second, options: options, from: next.detector).summary
        #expect(
            again.coldReason
                == "it cannot be told which of the records the former model learned from")
    }

    @Test func recordsThatAreLikeOthersTellNothingOfTheirNumbers() throws {
        var options = DetectorOptions(seed: 5)
        options.members = 1
        // Each record twice: by none of them can its place be found again.
        let twice = Self.all.rows(0..<400).selecting((0..<800).map { $0 % 400 })
        let former = try Detector.fit(twice, options: options).detector
        let again = try Detector.fit(twice, options: options, from: former).summary
        #expect(
            again.coldReason
                == "it cannot be told which of the records the former model learned from")
    }

    @Test func eachTenthFitBeginsFromNothing() throws {
        var options = DetectorOptions(seed: 5)
        options.members = 1
        var detector = try Detector.fit(Self.all.rows(0..<600), options: options).detector
        var isWarm: [Bool?] = []
        for step in 1...11 {
            let fitted = try Detector.fit(
                Self.all.rows(step..<step + 600), options: options, from: detector)
            isWarm.append(fitted.summary.isWarm)
            if fitted.summary.isWarm == false {
                #expect(fitted.summary.coldReason == "9 fits went on from the one before")
            }
            detector = fitted.detector
        }
        #expect(isWarm == [Bool](repeating: true, count: 9) + [false, true])
    }

    @Test func theSameSeedGivesTheSameBitsWithAnyNumberOfThreads() throws {
        let records = Self.all.rows(400..<2_400)
        let one = try fit(records, from: Self.former.get()).detector.encoded()
        for threads in [2, 4] {
            let other = try fit(records, from: Self.former.get(), parallel: .threads(threads))
            #expect(other.detector.encoded() == one, "\(threads) threads")
        }
    }

    @Test func aModelFileIsAsGoodAStartAsTheModel() throws {
        let former = try Self.former.get()
        let copy = try Detector(decoding: former.encoded(), name: "copy")
        let records = Self.all.rows(400..<2_400)
        #expect(
            try fit(records, from: copy).detector.encoded()
                == fit(records, from: former).detector.encoded())
    }

    @Test func aFitThatCannotGoOnIsTheFitFromNothingAndSaysWhy() throws {
        let former = try Self.former.get()
        let records = Self.all.rows(400..<2_400)
        func reason(
            _ records: RecordBatch, numbers: RecordNumbers = .consecutive, from former: Detector
        ) throws -> String? {
            let fitted = try fit(records, numbers: numbers, from: former)
            #expect(fitted.summary.isWarm == false)
            #expect(fitted.detector.summary == fitted.summary)
            return fitted.summary.coldReason
        }
        // Their order is another: some have learned, and nobody can tell which.
        var shuffled = RecordBatch(schema: records.schema)
        for row in (0..<records.rowCount).reversed() { shuffled.append(records.row(row)) }
        #expect(
            try reason(shuffled, from: former)
                == "it cannot be told which of the records the former model learned from")
        #expect(
            try reason(records, numbers: .unknown, from: former)
                == "records are damaged or missing")
        #expect(
            try reason(Self.all.rows(0..<450), from: former) == "the records are too few")
        #expect(
            try reason(Fixture.machine(5_000, seed: 1), from: former)
                == "the number of records is another by far")
        var moved = RecordBatch(schema: records.schema)
        for row in 0..<records.rowCount {
            var values = Array(records.row(row))
            values[0] += 20
            moved.append(values)
        }
        #expect(
            try reason(moved, numbers: .ranges([5_000..<7_000]), from: former)
                == "'speed' has moved too far")
        let narrow = try #require(
            records.reduced(to: Schema(features: ["speed", "load", "power"], time: nil)))
        #expect(try reason(narrow, from: former) == "other columns are read")
        let turns = try Detector.fit(Self.all.rows(0..<400), options: DetectorOptions()).detector
        #expect(
            try reason(records, from: turns)
                == "the former model does not tell which records it learned from")
        var glow = DetectorOptions(seed: 5)
        glow.family = .glow
        let other = try Detector.fit(records, options: glow, from: former).summary
        #expect(other.coldReason?.contains("family: expected glow, found nice") == true)
    }

    @Test func aFitFromNothingDoesNotDependOnTheModelThatItCouldNotUse() throws {
        let records = Self.all.rows(400..<2_400)
        let plain = try Detector.fit(
            records, options: DetectorOptions(seed: 5), numbers: .unknown)
        let refused = try fit(records, numbers: .unknown, from: Self.former.get())
        let fresh = Fixture.machine(500, seed: 4)
        var (one, two) = (ContextState(), ContextState())
        #expect(
            plain.detector.score(fresh, state: &one).logLikelihood
                == refused.detector.score(fresh, state: &two).logLikelihood)
    }

    @Test func categoriesKeepTheirPlacesOrTheFitBeginsFromNothing() throws {
        let records = Fixture.modes(3_000, seed: 1)
        var options = DetectorOptions(seed: 5)
        options.missing = Fixture.modePolicies
        options.members = 1
        let former = try Detector.fit(records.rows(0..<2_500), options: options).detector
        let warm = try Detector.fit(records.rows(500..<3_000), options: options, from: former)
        #expect(warm.summary.isWarm == true, "\(warm.summary.coldReason ?? "")")
        var other = RecordBatch(schema: records.schema)
        for row in 0..<2_500 {
            let mode = records.categories.text(row: row, column: 0)
            other.append(
                records.row(row),
                categories: [
                    mode == "idle" ? "rest" : mode, records.categories.text(row: row, column: 1),
                ])
        }
        let cold = try Detector.fit(
            other, options: options, numbers: .ranges([9_000..<11_500]), from: former
        ).summary
        #expect(
            cold.coldReason == "the categories have other values, or another order of frequency")
    }

    @Test func blocksOutOfTheirBoundsAreRefused() throws {
        var file = try TensorFile(decoding: Self.former.get().encoded(), name: "m")
        let text = try #require(file.metadata["detector"])
        #expect(text.contains("\"length\":40,"))
        for length in ["0", "-40", "4000000000"] {
            file.metadata["detector"] = text.replacingOccurrences(
                of: "\"length\":40,", with: "\"length\":\(length),")
            #expect(
                throws: DetectionError.modelFile(
                    name: "m", reason: "the blocks of its records are out of their bounds")
            ) { try Detector(decoding: file.encoded(), name: "m") }
        }
    }
}
