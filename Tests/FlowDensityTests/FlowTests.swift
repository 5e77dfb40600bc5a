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

/// Every kind of flow, with its sizes.
private let cases: [(variant: FlowVariant, features: Int, context: Int)] =
    FlowVariant.rows.flatMap { variant in
        [1, 2, 3, 8, 64].flatMap { features in [0, 3].map { (variant, features, $0) } }
    } + FlowVariant.windows.flatMap { variant in [0, 3].map { (variant, 0, $0) } }

@Suite struct FlowTests {
    private func rows<Scalar: FlowScalar>(
        _ count: Int, _ columns: Int, seed: UInt64, _: Scalar.Type = Double.self
    ) -> Matrix<Scalar> {
        var generator = SeededGenerator(seed: seed)
        return .normal(rowCount: count, columnCount: columns, using: &generator)
    }

    @Test(arguments: cases)
    func logLikelihoodIsBaseDensityPlusLogDet(
        variant: FlowVariant, features: Int, context: Int
    ) {
        // Less in wide rows, where the numbers that a spline is made of would else be far apart.
        let flow = variant.disturbed(
            Double.self, features: features, context: context, seed: 1,
            deviation: features > 8 ? 0.03 : 0.06)
        let features = flow.featureCount
        let x = rows(150, features, seed: 2)
        let c = context == 0 ? nil : rows(150, context, seed: 3)
        let (z, logDet) = flow.forward(x, context: c)
        let scores = flow.logLikelihood(x, context: c)
        for row in 0..<x.rowCount {
            let base = (0..<features).reduce(0.0) { sum, feature in
                let value = z[row, feature]
                switch variant.options.base {
                case .normal: return sum - 0.5 * (value * value + log(2 * Double.pi))
                case .logistic:
                    return sum - log(1 + exp(value)) - log(1 + exp(-value))
                }
            }
            expectClose(
                scores[row], base + logDet[row], relative: 1e-15,
                absolute: 2e-12 * Double(8 + features),
                "\(variant.name), D = \(features), C = \(context)")
        }
        let (back, inverseLogDet) = flow.inverse(z, context: c)
        for index in x.storage.indices {
            expectClose(back.storage[index], x.storage[index], absolute: 1e-8, "\(variant.name)")
        }
        for row in 0..<x.rowCount {
            expectClose(
                logDet[row] + inverseLogDet[row], 0, absolute: 1e-8, "\(variant.name)")
        }
    }

    @Test(arguments: cases)
    func logDetMatchesTheJacobianOfTheWholeFlow(
        variant: FlowVariant, features: Int, context: Int
    ) {
        let flow = variant.disturbed(
            Double.self, features: features, context: context, seed: 21, deviation: 0.05)
        let features = flow.featureCount
        let x = rows(2, features, seed: 22)
        let c = context == 0 ? nil : rows(2, context, seed: 23)
        let logDet = flow.forward(x, context: c).logDet
        let step = 1e-6
        var jacobians = [[Double]](
            repeating: [Double](repeating: 0, count: features * features), count: 2)
        for input in 0..<features {
            var above = x
            var below = x
            for row in 0..<2 {
                above[row, input] += step
                below[row, input] -= step
            }
            let zAbove = flow.forward(above, context: c).z
            let zBelow = flow.forward(below, context: c).z
            for row in 0..<2 {
                for output in 0..<features {
                    jacobians[row][output * features + input] =
                        (zAbove[row, output] - zBelow[row, output]) / (2 * step)
                }
            }
        }
        for row in 0..<2 {
            // Central differences are good to 1e-9 or so an entry, and 64 by 64 of them add up.
            expectClose(
                logDet[row], logAbsoluteDeterminant(jacobians[row], side: features),
                absolute: 1e-5, "\(variant.name), D = \(features), C = \(context)")
        }
    }

    @Test(arguments: cases)
    func lossGradientMatchesCentralDifferences(
        variant: FlowVariant, features: Int, context: Int
    ) {
        var flow = variant.disturbed(
            Double.self, features: features, context: context, seed: 4, deviation: 0.05)
        let x = rows(100, flow.featureCount, seed: 5)
        let c = context == 0 ? nil : rows(100, context, seed: 6)
        let gradient = flow.lossGradient(x, context: c)
        // A rounding of the largest term, over the step.
        let size = flow.logLikelihood(x, context: c).map(abs).max() ?? 0
        let allowed = max(1e-6, size * 2e-16 / 1e-6)
        func loss() -> Double {
            -flow.logLikelihood(x, context: c).reduce(0, +) / Double(x.rowCount)
        }
        var generator = SeededGenerator(seed: 7)
        let learned = flow.learnedParameters
        let here = loss()
        for _ in 0..<min(60, learned.count) {
            let index = learned[Int.random(in: learned.indices, using: &generator)]
            let kept = flow.parameters[index]
            flow.parameters[index] = kept + 1e-6
            let above = loss()
            flow.parameters[index] = kept - 1e-6
            let below = loss()
            flow.parameters[index] = kept
            // A kink of a ReLU on one side bends the central difference; the other side's is right.
            let slopes = [(above - below) / 2e-6, (above - here) / 1e-6, (here - below) / 1e-6]
            let nearest = slopes.min { abs($0 - gradient[index]) < abs($1 - gradient[index]) }
            expectClose(
                gradient[index], nearest ?? .nan, relative: 1e-3, absolute: 2 * allowed,
                "\(variant.name), D = \(features), C = \(context), parameter \(index)")
        }
    }

    @Test(arguments: FlowVariant.all)
    func aRowScoresTheSameInABatchOfAnySize(variant: FlowVariant) {
        let flow = variant.disturbed(Float.self, features: 5, context: 2, seed: 8)
        let x = rows(1000, flow.featureCount, seed: 9, Float.self)
        let c = rows(1000, 2, seed: 10, Float.self)
        let together = flow.logLikelihood(x, context: c)
        for count in [1, 2, 7, 16, 95, 96, 97, 200] {
            let first = flow.logLikelihood(x.rows(0..<count), context: c.rows(0..<count))
            #expect(first == Array(together[0..<count]), "\(variant.name), \(count) rows")
            let last = flow.logLikelihood(
                x.rows(1000 - count..<1000), context: c.rows(1000 - count..<1000))
            #expect(last == Array(together[(1000 - count)...]), "\(variant.name), \(count) rows")
        }
    }

    @Test func scoresFollowTheParametersAndNotThoseOfACopy() {
        let variant = FlowVariant.all[0]
        var flow = variant.disturbed(Float.self, features: 5, seed: 8)
        let other = variant.disturbed(Float.self, features: 5, seed: 9)
        let x = rows(20, flow.featureCount, seed: 10, Float.self)
        let before = flow.logLikelihood(x)
        let copy = flow
        flow.parameters = other.parameters
        #expect(flow.logLikelihood(x) == other.logLikelihood(x))
        #expect(flow.logLikelihood(x) != before)
        #expect(copy.logLikelihood(x) == before)
        var into = [Double](repeating: .nan, count: 20)
        copy.logLikelihood(x, into: &into)
        #expect(into == before)
    }

    @Test(arguments: FlowVariant.all)
    func scoresDoNotDependOnTheParallelFor(variant: FlowVariant) {
        let flow = variant.disturbed(Float.self, features: 3, seed: 11)
        let x = rows(2000, flow.featureCount, seed: 12, Float.self)
        let serial = flow.logLikelihood(x)
        #expect(flow.logLikelihood(x, parallel: .threaded) == serial)
        #expect(flow.logLikelihood(x, parallel: .reversed) == serial)
    }

    @Test(arguments: FlowVariant.all)
    func floatAgreesWithDouble(variant: FlowVariant) {
        let flow = variant.disturbed(
            Float.self, features: 8, context: 2, seed: 13, deviation: 0.05)
        var reference = variant.disturbed(Double.self, features: 8, context: 2, seed: 13)
        reference.parameters = flow.parameters.map(Double.init)
        let x = rows(500, flow.featureCount, seed: 14, Float.self)
        let c = rows(500, 2, seed: 15, Float.self)
        let scores = flow.logLikelihood(x, context: c)
        let exact = reference.logLikelihood(
            x.converted(to: Double.self), context: c.converted(to: Double.self))
        for row in 0..<500 {
            // Some hundred Float roundings of numbers up to 10, each 6e-8 relative.
            expectClose(scores[row], exact[row], relative: 1e-5, absolute: 1e-4, variant.name)
        }
    }

    @Test(arguments: FlowVariant.all)
    func rowsFarOutScoreLowAndFinite(variant: FlowVariant) {
        let flow = variant.disturbed(
            Float.self, features: 4, context: 1, seed: 16, deviation: 0.05)
        let features = flow.featureCount
        var generator = SeededGenerator(seed: 17)
        let center = flow.logLikelihood(
            .init(rowCount: 1, columnCount: features),
            context: .init(rowCount: 1, columnCount: 1))[0]
        for size in [Float(1e3), 1e6, 1e15, .greatestFiniteMagnitude] {
            var x = Matrix<Float>.normal(
                rowCount: 100, columnCount: features, using: &generator)
            for index in x.storage.indices { x.storage[index] *= min(size, 1e37) }
            let c = Matrix<Float>(rowCount: 100, columnCount: 1, repeating: size)
            let scores = flow.logLikelihood(x, context: c)
            #expect(
                scores.allSatisfy { $0.isFinite && $0 < center }, "\(variant.name), \(size)")
        }
        for value in [Float.nan, .infinity, -.infinity] {
            let x = Matrix<Float>(rowCount: 3, columnCount: features, repeating: value)
            let c = Matrix<Float>(rowCount: 3, columnCount: 1)
            #expect(
                flow.logLikelihood(x, context: c) == [-1e30, -1e30, -1e30], "\(variant.name)")
        }
    }

    @Test(arguments: FlowVariant.all)
    func aRowPushedOutwardNeverBecomesMoreLikely(variant: FlowVariant) {
        let start = variant.outermost
        for seed in UInt64(0)..<4 {
            let flow = variant.disturbed(Double.self, features: 3, seed: seed)
            let features = flow.featureCount
            var generator = SeededGenerator(seed: seed)
            for _ in 0..<max(2, 40 / features) {
                let row = Matrix<Double>.normal(
                    rowCount: 1, columnCount: features, using: &generator)
                for feature in 0..<features {
                    for sign in [-1.0, 1.0] {
                        var path = Matrix<Double>(rowCount: 60, columnCount: features)
                        for step in 0..<60 {
                            for other in 0..<features { path[step, other] = row[0, other] }
                            path[step, feature] = sign * start * pow(1.2, Double(step))
                        }
                        let scores = flow.logLikelihood(path)
                        #expect(
                            zip(scores, scores.dropFirst()).allSatisfy { $0 >= $1 },
                            "\(variant.name), seed \(seed), feature \(feature)")
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

    @Test func samplesOfALogisticBaseAreLogistic() {
        // One layer that is the identity: the sample is the base's own.
        var options = FlowOptions()
        options.couplingLayers = 1
        options.base = .logistic
        options.normalization = FlowNormalization.none
        let flow = Flow<Double>.realNVP(features: 1, options: options)
        var generator = SeededGenerator(seed: 24)
        let count = 40000
        let sample = flow.sample(count, using: &generator).storage
        let mean = sample.reduce(0, +) / Double(count)
        let variance = sample.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
        // Five standard errors; the fourth moment of the logistic density is 7π⁴/15.
        let exact = Double.pi * Double.pi / 3
        let fourth = 7 * pow(Double.pi, 4) / 15
        expectClose(mean, 0, absolute: 5 * exact.squareRoot() / 200)
        expectClose(variance, exact, absolute: 5 * (fourth - exact * exact).squareRoot() / 200)
        for quantile in [-3.0, -1, 0, 0.5, 2] {
            let share = Double(sample.count { $0 < quantile }) / Double(count)
            expectClose(share, 1 / (1 + exp(-quantile)), absolute: 5 * 0.5 / 200)
        }
    }

    @Test(arguments: FlowVariant.all)
    func samplesComeFromTheDensity(variant: FlowVariant) {
        // Of two features, the share of samples in a box is the integral of the density over it.
        let flow = variant.disturbed(Double.self, features: 2, seed: 25, deviation: 0.05)
        let features = flow.featureCount
        var generator = SeededGenerator(seed: 26)
        let count = 8000
        let sample = flow.sample(count, using: &generator)
        if features == 2 {
            let sides = (0..<2).map { feature in
                let column = (0..<count).map { sample[$0, feature] }.sorted()
                return (low: column[count / 5], high: column[count * 7 / 10])
            }
            let inside = (0..<count).count { row in
                (0..<2).allSatisfy { feature in
                    (sides[feature].low..<sides[feature].high).contains(sample[row, feature])
                }
            }
            let steps = 150
            var grid = Matrix<Double>(rowCount: steps * steps, columnCount: 2)
            for index in 0..<steps * steps {
                for (feature, place) in [index / steps, index % steps].enumerated() {
                    let (low, high) = sides[feature]
                    grid[index, feature] =
                        low + (high - low) * (Double(place) + 0.5) / Double(steps)
                }
            }
            let area = (sides[0].high - sides[0].low) * (sides[1].high - sides[1].low)
            let integral =
                flow.logLikelihood(grid).reduce(0) { $0 + exp($1) } * area
                / Double(steps * steps)
            // Five standard errors of a share.
            expectClose(
                Double(inside) / Double(count), integral,
                absolute: 5 * (integral / Double(count)).squareRoot(), variant.name)
        }
        // The latent rows of a sample have the moments of the base.
        let z = flow.forward(sample).z
        let variance = variant.options.base == .normal ? 1 : Double.pi * Double.pi / 3
        for feature in 0..<features {
            let column = (0..<count).map { z[$0, feature] }
            let mean = column.reduce(0, +) / Double(count)
            let found = column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
            // Five standard errors of each.
            expectClose(
                mean, 0, absolute: 5 * (variance / Double(count)).squareRoot(), variant.name)
            expectClose(
                found, variance, absolute: 5 * variance * (3.2 / Double(count)).squareRoot(),
                variant.name)
        }
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
        await #expect(processExitsWith: .failure) {
            var options = FlowOptions()
            options.window = WindowShape(channels: 2, length: 6)
            _ = Flow<Float>.realNVP(features: 12, options: options)
        }
    }
}
