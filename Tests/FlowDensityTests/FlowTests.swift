import FlowDensity
import Foundation
import TestSupport
import Testing

/// A flow whose parameters are all away from where training begins.
func disturbedFlow<Scalar: FlowScalar>(
    _: Scalar.Type, family: FlowFamily, features: Int, context: Int = 0, seed: UInt64,
    couplingLayers: Int = 4, hiddenWidth: Int = 8, deviation: Double = 0.1
) -> Flow<Scalar> {
    var options = FlowOptions()
    options.family = family
    options.couplingLayers = couplingLayers
    options.hiddenWidth = hiddenWidth
    var generator = SeededGenerator(seed: seed)
    var flow = Flow<Scalar>(
        featureCount: features, contextCount: context, options: options, using: &generator)
    for index in flow.parameters.indices {
        flow.parameters[index] += Scalar(deviation * generator.nextNormalPair().0)
    }
    return flow
}

private let cases: [(family: FlowFamily, features: Int, context: Int)] =
    FlowFamily.allCases.flatMap { family in
        [1, 2, 3, 8].flatMap { features in [0, 3].map { (family, features, $0) } }
    }

@Suite struct FlowTests {
    private func rows<Scalar: FlowScalar>(
        _ count: Int, _ columns: Int, seed: UInt64, _: Scalar.Type = Double.self
    ) -> Matrix<Scalar> {
        var generator = SeededGenerator(seed: seed)
        return .normal(rowCount: count, columnCount: columns, using: &generator)
    }

    @Test(arguments: cases)
    func logLikelihoodIsBaseDensityPlusLogDet(family: FlowFamily, features: Int, context: Int) {
        let flow = disturbedFlow(
            Double.self, family: family, features: features, context: context, seed: 1)
        let x = rows(150, features, seed: 2)
        let c = context == 0 ? nil : rows(150, context, seed: 3)
        let (z, logDet) = flow.forward(x, context: c)
        let scores = flow.logLikelihood(x, context: c)
        for row in 0..<x.rowCount {
            let base = (0..<features).reduce(0.0) {
                $0 - 0.5 * (z[row, $1] * z[row, $1] + log(2 * Double.pi))
            }
            expectClose(
                scores[row], base + logDet[row], absolute: 1e-11,
                "\(family), D = \(features), C = \(context)")
        }
        let (back, inverseLogDet) = flow.inverse(z, context: c)
        for index in x.storage.indices {
            expectClose(back.storage[index], x.storage[index], absolute: 1e-9, "\(family)")
        }
        for row in 0..<x.rowCount {
            expectClose(logDet[row] + inverseLogDet[row], 0, absolute: 1e-11, "\(family)")
        }
    }

    @Test(arguments: cases)
    func lossGradientMatchesCentralDifferences(family: FlowFamily, features: Int, context: Int) {
        var flow = disturbedFlow(
            Double.self, family: family, features: features, context: context, seed: 4,
            hiddenWidth: 5)
        let x = rows(100, features, seed: 5)
        let c = context == 0 ? nil : rows(100, context, seed: 6)
        let gradient = flow.lossGradient(x, context: c)
        func loss() -> Double {
            -flow.logLikelihood(x, context: c).reduce(0, +) / Double(x.rowCount)
        }
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<60 {
            let index = Int.random(in: 0..<flow.parameters.count, using: &generator)
            let kept = flow.parameters[index]
            flow.parameters[index] = kept + 1e-6
            let above = loss()
            flow.parameters[index] = kept - 1e-6
            let below = loss()
            flow.parameters[index] = kept
            // A kink of a ReLU between the two points moves a slope over 100 rows by more than
            // rounding does; it is then still within a thousandth.
            expectClose(
                gradient[index], (above - below) / 2e-6, relative: 1e-3, absolute: 1e-6,
                "\(family), D = \(features), C = \(context), parameter \(index)")
        }
    }

    @Test(arguments: FlowFamily.allCases)
    func aRowScoresTheSameInABatchOfAnySize(family: FlowFamily) {
        let flow = disturbedFlow(Float.self, family: family, features: 5, context: 2, seed: 8)
        let x = rows(1000, 5, seed: 9, Float.self)
        let c = rows(1000, 2, seed: 10, Float.self)
        let together = flow.logLikelihood(x, context: c)
        for count in [1, 2, 7, 16, 95, 96, 97, 200] {
            let first = flow.logLikelihood(x.rows(0..<count), context: c.rows(0..<count))
            #expect(first == Array(together[0..<count]), "\(family), \(count) rows")
            let last = flow.logLikelihood(
                x.rows(1000 - count..<1000), context: c.rows(1000 - count..<1000))
            #expect(last == Array(together[(1000 - count)...]), "\(family), \(count) rows")
        }
    }

    @Test(arguments: FlowFamily.allCases)
    func scoresDoNotDependOnTheParallelFor(family: FlowFamily) {
        let flow = disturbedFlow(Float.self, family: family, features: 3, seed: 11)
        let x = rows(2000, 3, seed: 12, Float.self)
        let serial = flow.logLikelihood(x)
        #expect(flow.logLikelihood(x, parallel: .threaded) == serial)
        #expect(flow.logLikelihood(x, parallel: .reversed) == serial)
    }

    @Test(arguments: FlowFamily.allCases)
    func floatAgreesWithDouble(family: FlowFamily) {
        let flow = disturbedFlow(
            Float.self, family: family, features: 8, context: 2, seed: 13, hiddenWidth: 32)
        var reference = disturbedFlow(
            Double.self, family: family, features: 8, context: 2, seed: 13, hiddenWidth: 32)
        reference.parameters = flow.parameters.map(Double.init)
        let x = rows(500, 8, seed: 14, Float.self)
        let c = rows(500, 2, seed: 15, Float.self)
        let scores = flow.logLikelihood(x, context: c)
        let exact = reference.logLikelihood(widened(x), context: widened(c))
        for row in 0..<500 {
            // Some hundred Float roundings of numbers up to 10, each 6e-8 relative.
            expectClose(scores[row], exact[row], relative: 1e-5, absolute: 1e-4, "\(family)")
        }
    }

    private func widened(_ matrix: Matrix<Float>) -> Matrix<Double> {
        Matrix(
            rowCount: matrix.rowCount, columnCount: matrix.columnCount,
            storage: matrix.storage.map(Double.init))
    }

    @Test(arguments: FlowFamily.allCases)
    func rowsFarOutScoreLowAndFinite(family: FlowFamily) {
        let flow = disturbedFlow(
            Float.self, family: family, features: 4, context: 1, seed: 16, couplingLayers: 8,
            hiddenWidth: 64, deviation: 0.05)
        var generator = SeededGenerator(seed: 17)
        let center = flow.logLikelihood(
            .init(rowCount: 1, columnCount: 4), context: .init(rowCount: 1, columnCount: 1))[0]
        for size in [Float(1e3), 1e6, 1e15, .greatestFiniteMagnitude] {
            var x = Matrix<Float>.normal(rowCount: 100, columnCount: 4, using: &generator)
            for index in x.storage.indices { x.storage[index] *= min(size, 1e37) }
            let c = Matrix<Float>(rowCount: 100, columnCount: 1, repeating: size)
            let scores = flow.logLikelihood(x, context: c)
            #expect(scores.allSatisfy { $0.isFinite && $0 < center }, "\(family), \(size)")
        }
        for value in [Float.nan, .infinity, -.infinity] {
            let x = Matrix<Float>(rowCount: 3, columnCount: 4, repeating: value)
            let c = Matrix<Float>(rowCount: 3, columnCount: 1)
            #expect(flow.logLikelihood(x, context: c) == [-1e30, -1e30, -1e30])
        }
    }

    @Test(arguments: FlowFamily.allCases)
    func aRowPushedOutwardNeverBecomesMoreLikely(family: FlowFamily) {
        // Glow's linear maps carry a little of each feature into the others, so that the last
        // conditioner sees no more of a change only a long way out.
        let start = family == .glow ? 1e6 : 60
        for seed in UInt64(0)..<5 {
            let flow = disturbedFlow(Double.self, family: family, features: 3, seed: seed)
            var generator = SeededGenerator(seed: seed)
            for _ in 0..<20 {
                let row = Matrix<Double>.normal(rowCount: 1, columnCount: 3, using: &generator)
                for feature in 0..<3 {
                    for sign in [-1.0, 1.0] {
                        var path = Matrix<Double>(rowCount: 60, columnCount: 3)
                        for step in 0..<60 {
                            for other in 0..<3 { path[step, other] = row[0, other] }
                            path[step, feature] = sign * start * pow(1.2, Double(step))
                        }
                        let scores = flow.logLikelihood(path)
                        #expect(
                            zip(scores, scores.dropFirst()).allSatisfy { $0 >= $1 },
                            "\(family), seed \(seed), feature \(feature)")
                    }
                }
            }
        }
    }

    @Test func theFirstFlowIsCloseToTheStandardNormal() {
        let flow = Flow<Double>.realNVP(features: 2)
        let score = flow.logLikelihood(Matrix(rowCount: 1, columnCount: 2, storage: [1, -2]))[0]
        expectClose(score, -2.5 - log(2 * Double.pi), absolute: 1e-12)
    }

    @Test func noRowsScoreToNothing() {
        let flow = Flow<Float>.nice(features: 2)
        #expect(flow.logLikelihood(Matrix(rowCount: 0, columnCount: 2)).isEmpty)
        var generator = SeededGenerator(seed: 1)
        #expect(flow.sample(0, using: &generator).rowCount == 0)
    }

    @Test func samplesHaveTheMomentsOfTheDensity() {
        // An affine map of the standard normal: mean 3 and deviation 0.5.
        var options = FlowOptions()
        options.couplingLayers = 1
        var flow = Flow<Double>.realNVP(features: 1, options: options)
        // ActNorm: z = x · exp(s) + b with exp(s) = 2, b = −6.
        flow.parameters[0] = 8 * atanh(log(2.0) / 8)
        flow.parameters[1] = -6
        var generator = SeededGenerator(seed: 20)
        let sample = flow.sample(20000, using: &generator).storage
        let mean = sample.reduce(0, +) / 20000
        let variance = sample.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20000
        // Five standard errors.
        expectClose(mean, 3, absolute: 5 * 0.5 / 141)
        expectClose(variance, 0.25, absolute: 5 * 0.25 * 0.01)
    }

    @Test func wrongColumnCountsAreRefused() async {
        await #expect(processExitsWith: .failure) {
            _ = Flow<Float>.realNVP(features: 2).logLikelihood(
                Matrix(rowCount: 1, columnCount: 3))
        }
        await #expect(processExitsWith: .failure) {
            _ = Flow<Float>.realNVP(features: 2, context: 1).logLikelihood(
                Matrix(rowCount: 1, columnCount: 2))
        }
        await #expect(processExitsWith: .failure) {
            _ = Flow<Float>.realNVP(features: 0)
        }
    }
}
