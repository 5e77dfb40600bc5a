import FlowDensity
import TestSupport
import Testing

/// Sizes and seeds that every layer is checked with.
private let cases: [(features: Int, context: Int, seed: UInt64)] = [1, 2, 3, 8].flatMap {
    features in
    [0, 2].flatMap { context in
        (0..<4).map { (features, context, UInt64($0)) }
    }
}

@Suite struct LayerTests {
    @Test(arguments: cases)
    func affineCouplingObeysTheContract(features: Int, context: Int, seed: UInt64) {
        for layer in 0..<4 {
            let coupling = AffineCoupling<Double>(
                split: .alternating(featureCount: features, layer: layer), contextCount: context,
                law: AffineLaw(logScaleBound: 2), hiddenWidth: 5, hiddenLayers: 1 + layer % 3,
                inputBound: 8)
            BijectorContract(coupling, contextCount: context, seed: seed).check()
        }
    }

    @Test(arguments: cases)
    func additiveCouplingObeysTheContract(features: Int, context: Int, seed: UInt64) {
        for layer in 0..<4 {
            let coupling = AdditiveCoupling<Double>(
                split: .alternating(featureCount: features, layer: layer), contextCount: context,
                law: AdditiveLaw(), hiddenWidth: 5, hiddenLayers: 1 + layer % 3, inputBound: 8)
            BijectorContract(coupling, contextCount: context, seed: seed).check()
        }
    }

    @Test(arguments: cases)
    func normsAndLinearMapsObeyTheContract(features: Int, context: Int, seed: UInt64) {
        BijectorContract(
            ActNorm<Double>(featureCount: features), contextCount: context, seed: seed
        ).check()
        BijectorContract(
            DiagonalScaling<Double>(featureCount: features), contextCount: context, seed: seed
        ).check()
        BijectorContract(
            InvertibleLinear<Double>(featureCount: features, layer: Int(seed)),
            contextCount: context, seed: seed
        ).check()
    }

    @Test func additiveCouplingPreservesVolume() {
        var generator = SeededGenerator(seed: 3)
        let coupling = AdditiveCoupling<Double>(
            split: .alternating(featureCount: 4, layer: 0), contextCount: 0, law: AdditiveLaw(),
            hiddenWidth: 8, hiddenLayers: 2, inputBound: 8)
        let parameters = (0..<coupling.parameterCount).map { _ in generator.nextNormalPair().0 }
        let rows = Matrix<Double>.normal(rowCount: 50, columnCount: 4, using: &generator)
        let (z, logDet) = coupling.forward(rows, parameters: parameters)
        #expect(logDet.allSatisfy { $0 == 0 })
        #expect(z != rows)
    }

    @Test func actNormStartsWithZeroMeanAndUnitVariance() {
        var generator = SeededGenerator(seed: 4)
        var rows = Matrix<Double>.normal(rowCount: 500, columnCount: 2, using: &generator)
        for row in 0..<500 {
            rows[row, 0] = 3 + 5 * rows[row, 0]
            rows[row, 1] = -2 + 0.01 * rows[row, 1]
        }
        let layer = ActNorm<Double>(featureCount: 2)
        var parameters = [Double](repeating: 0, count: 4)
        layer.start(&parameters, from: rows)
        let z = layer.forward(rows, parameters: parameters).z
        for feature in 0..<2 {
            let column = (0..<500).map { z[$0, feature] }
            let mean = column.reduce(0, +) / 500
            expectClose(mean, 0, absolute: 1e-9)
            expectClose(column.reduce(0) { $0 + $1 * $1 } / 500, 1, absolute: 1e-9)
        }
    }

    @Test func actNormOfAConstantFeatureStaysBounded() {
        let rows = Matrix<Double>(rowCount: 20, columnCount: 1, repeating: 7)
        let layer = ActNorm<Double>(featureCount: 1)
        var parameters = [0.0, 0.0]
        layer.start(&parameters, from: rows)
        let (z, logDet) = layer.forward(rows, parameters: parameters)
        #expect(z.storage.allSatisfy { abs($0) < 1e-9 })
        expectClose(logDet[0], 6, absolute: 1e-9)
    }

    @Test func alternatingSplitsHoldEachFeatureOnce() {
        for features in 1...9 {
            for layer in 0..<8 {
                let split = FeatureSplit.alternating(featureCount: features, layer: layer)
                #expect(
                    (split.passedThrough + split.transformed).sorted() == Array(0..<features))
            }
        }
        #expect(FeatureSplit.alternating(featureCount: 1, layer: 1).transformed == [0])
        let first = FeatureSplit.alternating(featureCount: 5, layer: 0)
        #expect(first.passedThrough == [0, 1, 2] && first.transformed == [3, 4])
        let third = FeatureSplit.alternating(featureCount: 5, layer: 3)
        #expect(third.passedThrough == [1, 3] && third.transformed == [0, 2, 4])
    }

    @Test func aSplitThatLosesAFeatureIsRefused() async {
        await #expect(processExitsWith: .failure) {
            _ = FeatureSplit(passedThrough: [0], transformed: [2])
        }
    }
}
