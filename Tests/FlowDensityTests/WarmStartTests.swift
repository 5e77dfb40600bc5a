import FlowDensity
import Foundation
import Testing

/// Rows whose second feature follows the square of the first.
private func waves(_ count: Int, seed: UInt64) -> Matrix<Float> {
    var generator = SeededGenerator(seed: seed)
    var rows = Matrix<Float>(rowCount: count, columnCount: 3)
    for row in 0..<count {
        let (first, second) = generator.nextNormalPair()
        rows[row, 0] = Float(first)
        rows[row, 1] = Float(0.7 * (first * first - 1) + 0.2 * second)
        rows[row, 2] = Float(0.9 * second + 0.3 * generator.nextNormalPair().0)
    }
    return rows
}

private func variant(_ family: FlowFamily, _ normalization: FlowNormalization? = nil) -> FlowOptions
{
    var options = FlowOptions()
    options.family = family
    options.normalization = normalization
    options.couplingLayers = 4
    options.hiddenWidth = 32
    return options
}

private func training(steps: Int) -> TrainingOptions {
    var options = TrainingOptions()
    options.maximumSteps = steps
    options.patience = 100
    return options
}

@Suite struct WarmStartTests {
    /// Every recipe with a layer that starts from data, and one without.
    private static let variants = [
        variant(.nice), variant(.realnvp), variant(.glow), variant(.realnvp, .batchNorm),
    ]

    private func fitted(
        _ options: FlowOptions, _ rows: Matrix<Float>, heldOut: Matrix<Float>, steps: Int = 1_000
    ) throws -> (flow: Flow<Float>, summary: TrainingSummary) {
        var generator = SeededGenerator(seed: 3)
        var flow = Flow<Float>(featureCount: 3, options: options, using: &generator)
        let summary = try flow.fit(
            rows, heldOut: heldOut, options: training(steps: steps), using: &generator)
        return (flow, summary)
    }

    @Test(arguments: variants)
    func aQuarterOfTheStepsReachesWhatAFitFromNothingDoes(options: FlowOptions) throws {
        let rows = waves(6_000, seed: 1)
        let heldOut = waves(3_000, seed: 2)
        let former = try fitted(options, rows.rows(0..<5_000), heldOut: heldOut).flow
        let cold = try fitted(options, rows.rows(1_000..<6_000), heldOut: heldOut).summary
        var warm = try Flow(from: former, featureCount: 3, options: options)
        var generator = SeededGenerator(seed: 4)
        let summary = try warm.fit(
            rows.rows(1_000..<6_000), heldOut: heldOut,
            options: training(steps: 1_000).forWarmStart, using: &generator)
        #expect(summary.steps <= 250)
        // A start that was thrown away would cost more than a nat.
        #expect(
            summary.heldOutLogLikelihood > cold.heldOutLogLikelihood - 0.02,
            "\(summary.heldOutLogLikelihood) against \(cold.heldOutLogLikelihood)")
    }

    @Test(arguments: variants)
    func aFitThatGainsNothingKeepsItsStart(options: FlowOptions) throws {
        let heldOut = waves(1_000, seed: 2)
        let former = try fitted(options, waves(4_000, seed: 1), heldOut: heldOut).flow
        var warm = try Flow(from: former, featureCount: 3, options: options)
        var generator = SeededGenerator(seed: 4)
        // Rows of another density make the held-out ones less likely at each look.
        var others = waves(2_000, seed: 5)
        for row in 0..<others.rowCount { others[row, 1] = 3 - others[row, 1] }
        let summary = try warm.fit(
            others, heldOut: heldOut, options: training(steps: 200).forWarmStart, using: &generator)
        #expect(summary.bestStep == 0)
        #expect(warm.parameters == former.parameters)
    }

    @Test(arguments: variants)
    func theSameSeedGivesTheSameBitsInAnyOrderOfTheWork(options: FlowOptions) throws {
        let heldOut = waves(500, seed: 2)
        let former = try fitted(options, waves(2_000, seed: 1), heldOut: heldOut, steps: 50).flow
        func goOn(_ parallel: ParallelFor) throws -> [Float] {
            var warm = try Flow(from: former, featureCount: 3, options: options)
            var generator = SeededGenerator(seed: 9)
            _ = try warm.fit(
                waves(2_000, seed: 6), heldOut: heldOut, options: training(steps: 200).forWarmStart,
                using: &generator, parallel: parallel)
            return warm.parameters
        }
        let serial = try goOn(.serial)
        // Thousands of numbers would not be told apart in a message.
        let (hasLearned, threaded, reversed) = (
            serial != former.parameters, try goOn(.threaded), try goOn(.reversed)
        )
        #expect(hasLearned)
        let isSame = threaded == serial && reversed == serial
        #expect(isSame)
    }

    @Test func aFlowOfAnotherShapeIsRefusedAndSaysWhichPartDiffers() throws {
        let former = try fitted(variant(.nice), waves(500, seed: 1), heldOut: waves(200, seed: 2))
            .flow
        var wide = variant(.nice)
        wide.hiddenWidth = 64
        #expect(
            throws: FlowDensityError.otherFlow(
                property: "hidden width", found: "32", expected: "64")
        ) { try Flow(from: former, featureCount: 3, options: wide) }
        #expect(
            throws: FlowDensityError.otherFlow(property: "features", found: "3", expected: "4")
        ) { try Flow(from: former, featureCount: 4, options: variant(.nice)) }
        #expect(
            throws: FlowDensityError.otherFlow(
                property: "context columns", found: "0", expected: "2")
        ) { try Flow(from: former, featureCount: 3, contextCount: 2, options: variant(.nice)) }
        #expect(
            throws: FlowDensityError.otherFlow(property: "family", found: "nice", expected: "glow")
        ) { try Flow(from: former, featureCount: 3, options: variant(.glow)) }
        #expect(
            FlowDensityError.otherFlow(property: "hidden width", found: "32", expected: "64")
                .description
                == "a fit goes on from a flow of the same shape: hidden width: expected 64, found 32"
        )
    }

    @Test func aFlowThatWasNeverFittedIsRefused() {
        var generator = SeededGenerator(seed: 1)
        let fresh = Flow<Float>(featureCount: 3, options: variant(.glow), using: &generator)
        #expect(throws: FlowDensityError.notFitted) {
            try Flow(from: fresh, featureCount: 3, options: variant(.glow))
        }
    }
}
