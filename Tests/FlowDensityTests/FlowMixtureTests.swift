import FlowDensity
import Foundation
import TestSupport
import Testing

@Suite struct FlowMixtureTests {
    private func mixture<Scalar: FlowScalar>(
        _: Scalar.Type, features: Int, context: Int = 0
    ) -> FlowMixture<Scalar> {
        FlowMixture(
            zip(FlowFamily.allCases, 1...).map { family, seed in
                disturbedFlow(
                    Scalar.self, family: family, features: features, context: context,
                    seed: UInt64(seed), deviation: 0.3)
            })
    }

    @Test(arguments: [(1, 0), (2, 3), (8, 0)])
    func densityIsTheMeanOfTheMembers(features: Int, context: Int) {
        let mixture = mixture(Double.self, features: features, context: context)
        var generator = SeededGenerator(seed: 9)
        let x = Matrix<Double>.normal(
            rowCount: 200, columnCount: features, using: &generator)
        let c =
            context == 0
            ? nil
            : Matrix<Double>.normal(rowCount: 200, columnCount: context, using: &generator)
        let members = mixture.members.map { $0.logLikelihood(x, context: c) }
        let scores = mixture.logLikelihood(x, context: c)
        let threaded = mixture.logLikelihood(x, context: c, parallel: .threaded)
        for row in 0..<200 {
            let mean = members.reduce(0) { $0 + exp($1[row]) } / Double(members.count)
            expectClose(scores[row], log(mean), absolute: 1e-11, "D = \(features)")
        }
        #expect(scores == threaded)
    }

    @Test func rowsThatNoMemberKnowsAreFiniteAndOrdered() {
        let mixture = mixture(Float.self, features: 2)
        let x = Matrix<Float>(
            rowCount: 4, columnCount: 2, storage: [0, 0, 40, -40, 1e20, 0, .nan, 0])
        let scores = mixture.logLikelihood(x)
        let areFinite = scores.allSatisfy(\.isFinite)
        #expect(areFinite)
        #expect(scores[0] > scores[1] && scores[1] > scores[2] && scores[2] >= scores[3])
    }

    /// The integral over a grid that holds nearly all of the mass.
    @Test func densityIntegratesToOne() {
        let mixture = mixture(Double.self, features: 1)
        let step = 0.01
        let x = Matrix<Double>(
            rowCount: 40_001, columnCount: 1, storage: (-20_000...20_000).map { Double($0) * step })
        let mass = mixture.logLikelihood(x).reduce(0) { $0 + exp($1) } * step
        expectClose(mass, 1, absolute: 1e-6, "mass")
    }

    @Test func samplesComeFromEveryMember() {
        var near = disturbedFlow(Double.self, family: .nice, features: 1, seed: 1, deviation: 0)
        var far = near
        // NICE with one feature is a shift by the last bias of each coupling.
        let bias = near.parameters.count - 2
        near.parameters[bias] = -20
        far.parameters[bias] = 20
        let mixture = FlowMixture([near, far])
        var generator = SeededGenerator(seed: 5)
        let drawn = mixture.sample(2_000, using: &generator).storage
        let low = drawn.count { $0 < 0 }
        // Within five deviations of a fair coin's 1,000.
        #expect(abs(low - 1_000) < 112, "\(low)")
        let areNear = drawn.allSatisfy { abs(abs($0) - 20) < 6 }
        #expect(areNear)
        let again = mixture.logLikelihood(
            Matrix(rowCount: 100, columnCount: 1, storage: Array(drawn.prefix(100))))
        #expect((again.min() ?? -.infinity) > -20)
    }

    @Test func fileGivesTheSameBits() throws {
        let mixture = mixture(Float.self, features: 3, context: 2)
        var file = TensorFile()
        mixture.write(into: &file)
        let read = try FlowMixture<Float>(
            reading: TensorFile(decoding: file.encoded(), name: "m.safetensors"))
        #expect(read.members.map(\.parameters) == mixture.members.map(\.parameters))
        #expect(read.members.map(\.options) == mixture.members.map(\.options))
    }

    @Test(arguments: ["0", "65", "two", "-1"])
    func memberCountIsNotBelieved(text: String) {
        var file = TensorFile()
        mixture(Float.self, features: 2).write(into: &file)
        file.metadata["flow.members"] = text
        let error = #expect(throws: FlowDensityError.self) {
            try FlowMixture<Float>(reading: file)
        }
        #expect(error?.description.contains("a whole number from 1 to 64") == true)
    }

    @Test func membersOfOtherFeaturesAreRefused() {
        var file = TensorFile()
        mixture(Float.self, features: 2).write(into: &file)
        disturbedFlow(Float.self, family: .nice, features: 3, seed: 4).write(
            into: &file, prefix: "flow.1.")
        let error = #expect(throws: FlowDensityError.self) {
            try FlowMixture<Float>(reading: file)
        }
        #expect(error?.description.contains("flow.1.features") == true)
    }
}
