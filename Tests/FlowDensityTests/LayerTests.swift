import FlowDensity
import Foundation
import TestSupport
import Testing

/// Every kind of layer, with its sizes.
private let cases: [(kind: LayerKind, features: Int, context: Int)] =
    LayerKind.allCases.flatMap { kind in
        [1, 2, 3, 8, 64].flatMap { features in [0, 2].map { (kind, features, $0) } }
    }

/// Every kind of layer over windows, with its shapes.
private let windowCases: [(kind: WindowLayerKind, channels: Int, length: Int, context: Int)] =
    WindowLayerKind.allCases.flatMap { kind in
        [(1, 2), (1, 8), (2, 4), (3, 6), (4, 16)].flatMap { shape in
            [0, 2].map { (kind, shape.0, shape.1, $0) }
        }
    }

@Suite struct LayerTests {
    @Test(arguments: cases)
    func aLayerObeysTheContract(kind: LayerKind, features: Int, context: Int) {
        // Seeds choose splits, too: halves and parity, each both ways round.
        for seed in UInt64(0)..<(features > 8 ? 2 : 4) {
            let contract = BijectorContract(
                kind.make(Double.self, features: features, context: context, seed: seed),
                contextCount: context, seed: seed)
            contract.check()
            contract.checkFloat(
                kind.make(Float.self, features: features, context: context, seed: seed))
        }
    }

    @Test(arguments: windowCases)
    func aLayerOverWindowsObeysTheContract(
        kind: WindowLayerKind, channels: Int, length: Int, context: Int
    ) {
        for seed in UInt64(0)..<2 {
            guard
                let wide = kind.make(
                    Double.self, channels: channels, length: length, context: context, seed: seed),
                let narrow = kind.make(
                    Float.self, channels: channels, length: length, context: context, seed: seed)
            else { continue }
            let contract = BijectorContract(wide, contextCount: context, seed: seed)
            contract.check()
            contract.checkFloat(narrow)
        }
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

    @Test func batchNormFollowsTheMinibatches() {
        var generator = SeededGenerator(seed: 5)
        let layer = BatchNorm<Double>(featureCount: 4, positions: 2)
        var parameters = [1.0, -1, 4, 0.5]
        let rows = Matrix<Double>.normal(rowCount: 300, columnCount: 4, using: &generator)
        // A row without weight, such as one that is trimmed away, moves nothing.
        var weights = [Double](repeating: -1 / 250.0, count: 250)
        weights += [Double](repeating: 0, count: 50)
        let gradient = layer.backward(
            rows, parameters: parameters, latentGradient: rows, logDetGradient: weights
        ).parameters
        let before = parameters
        layer.follow(&parameters, gradient: gradient)
        for channel in 0..<2 {
            let values = (0..<250).flatMap { row in
                [rows[row, 2 * channel], rows[row, 2 * channel + 1]]
            }
            let mean = values.reduce(0, +) / 500
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 500
            let momentum = BatchNorm<Double>.momentum
            expectClose(
                parameters[channel], momentum * before[channel] + (1 - momentum) * mean,
                absolute: 1e-12)
            expectClose(
                parameters[2 + channel],
                momentum * before[2 + channel] + (1 - momentum) * variance, absolute: 1e-12)
        }
    }

    @Test func batchNormStartsWithZeroMeanAndUnitVariance() {
        var generator = SeededGenerator(seed: 6)
        let rows = Matrix<Double>.normal(
            rowCount: 400, columnCount: 3, deviation: 7, using: &generator)
        let layer = BatchNorm<Double>(featureCount: 3)
        var parameters = [Double](repeating: 0, count: 6)
        layer.start(&parameters, from: rows)
        let z = layer.forward(rows, parameters: parameters).z
        for feature in 0..<3 {
            let column = (0..<400).map { z[$0, feature] }
            expectClose(column.reduce(0, +) / 400, 0, absolute: 1e-9)
            // ε is 1e-5 of a variance of 49.
            expectClose(column.reduce(0) { $0 + $1 * $1 } / 400, 1, absolute: 1e-6)
        }
    }

    @Test func aSqueezeKeepsEvenTimesInTheLowerChannels() {
        let layer = Squeeze<Double>(channels: 2, length: 4)
        let row = Matrix<Double>(
            rowCount: 1, columnCount: 8, storage: [00, 01, 02, 03, 10, 11, 12, 13])
        let z = layer.forward(row, parameters: []).z
        #expect(z.storage == [00, 02, 10, 12, 01, 03, 11, 13])
    }

    @Test func plainMatricesHaveTheDeterminantOfTheFactors() {
        // W as one matrix, its log|det| by LU with pivots: what P·L·(U + diag s) must equal.
        for side in [1, 2, 3, 8, 64] {
            let layer = InvertibleLinear<Double>(featureCount: side, layer: 3)
            var generator = SeededGenerator(seed: UInt64(side))
            let parameters = (0..<layer.parameterCount).map { _ in
                0.3 * generator.nextNormalPair().0
            }
            let triangle = side * (side - 1) / 2
            var product = [Double](repeating: 0, count: side * side)
            func lower(_ row: Int, _ column: Int) -> Double {
                row == column
                    ? 1 : row > column ? parameters[row * (row - 1) / 2 + column] : 0
            }
            func upper(_ row: Int, _ column: Int) -> Double {
                if row == column { return exp(8 * tanh(parameters[2 * triangle + row] / 8)) }
                guard column > row else { return 0 }
                return parameters[
                    triangle + row * (2 * side - row - 1) / 2 + column - row - 1]
            }
            for row in 0..<side {
                for column in 0..<side {
                    for k in 0...min(layer.permutation[row], column) {
                        product[row * side + column] +=
                            lower(layer.permutation[row], k) * upper(k, column)
                    }
                }
            }
            let rows = Matrix<Double>.normal(rowCount: 4, columnCount: side, using: &generator)
            let (z, logDet) = layer.forward(rows, parameters: parameters)
            let plain = logAbsoluteDeterminant(product, side: side)
            for row in 0..<4 {
                expectClose(logDet[row], plain, relative: 1e-9, absolute: 1e-9, "side \(side)")
                for output in 0..<side {
                    let sum = (0..<side).reduce(0) {
                        $0 + product[output * side + $1] * rows[row, $1]
                    }
                    expectClose(z[row, output], sum, relative: 1e-9, absolute: 1e-9)
                }
            }
        }
    }

    @Test func couplingsBeginAsTheIdentity() {
        // Their last layer is zero, so that a new flow is its normalization and linear maps alone.
        var generator = SeededGenerator(seed: 8)
        for kind in [
            LayerKind.additive, .multiplicative, .affine, .spline, .residualSpline, .deepAffine,
        ] {
            let layer = kind.make(Double.self, features: 6, context: 2, seed: 1)
            var parameters = [Double](repeating: 0, count: layer.parameterCount)
            parameters.withUnsafeMutableBufferPointer { buffer in
                if let start = buffer.baseAddress {
                    layer.initialize(start, using: &generator)
                }
            }
            #expect(parameters.contains { $0 != 0 }, "\(kind): hidden layers begin at random")
            let rows = Matrix<Double>.normal(rowCount: 50, columnCount: 6, using: &generator)
            let context = Matrix<Double>.normal(rowCount: 50, columnCount: 2, using: &generator)
            let (z, logDet) = layer.forward(rows, context: context, parameters: parameters)
            for index in rows.storage.indices {
                expectClose(z.storage[index], rows.storage[index], absolute: 1e-12, "\(kind)")
            }
            for value in logDet { expectClose(value, 0, absolute: 1e-12, "\(kind)") }
        }
    }

    @Test func aSplineIsMonotoneAndTheIdentityFarOut() {
        let layer = SplineCoupling<Double>(
            split: FeatureSplit(passedThrough: [], transformed: [0]), contextCount: 0,
            law: SplineLaw(binCount: 8, bound: 5), hiddenWidth: 1, hiddenLayers: 1, inputBound: 8)
        for seed in UInt64(0)..<20 {
            var generator = SeededGenerator(seed: seed)
            let parameters = (0..<layer.parameterCount).map { _ in
                4 * generator.nextNormalPair().0
            }
            let count = 4001
            let points = (0..<count).map { -10 + 20 * Double($0) / Double(count - 1) }
            let (z, logDet) = layer.forward(
                Matrix(rowCount: count, columnCount: 1, storage: points), parameters: parameters)
            #expect(zip(z.storage, z.storage.dropFirst()).allSatisfy { $0 < $1 }, "seed \(seed)")
            for (point, place) in zip(points, points.indices) where abs(point) >= 5 {
                #expect(z.storage[place] == point && logDet[place] == 0, "seed \(seed)")
            }
        }
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

    @Test func partitionsAreReadAsTheyAreWritten() {
        let partitions: [FeaturePartition] = [
            .alternating, .halves, .parity, .given([[0, 2], [1]]), .given([[], [0]]),
        ]
        for partition in partitions {
            #expect(FeaturePartition(partition.description) == partition)
            #expect(partition.isValid(featureCount: 3, couplingLayers: 2))
            for layer in 0..<5 {
                #expect(partition.split(featureCount: 3, layer: layer).featureCount == 3)
            }
        }
        #expect(FeaturePartition("0,x") == nil)
        for lists in [[], [[0, 0]], [[3]], [[0], [0, 1]], [[0, 1, 2], []], [[-1]]] {
            #expect(
                !FeaturePartition.given(lists).isValid(featureCount: 3, couplingLayers: 4),
                "\(lists)")
        }
        // Two lists for one coupling layer: the second would never be used.
        #expect(
            !FeaturePartition.given([[0], [1, 2]]).isValid(featureCount: 3, couplingLayers: 1))
    }

    @Test func splitsOfWindowsHoldEachFeatureOnce() {
        let board = FeatureSplit.checkerboard(channels: 2, length: 4, layer: 0)
        #expect(board.passedThrough == [0, 4, 2, 6] && board.transformed == [1, 5, 3, 7])
        let channels = FeatureSplit.channels(3, length: 2, layer: 1)
        #expect(channels.passedThrough == [4, 5] && channels.transformed == [0, 2, 1, 3])
    }

    @Test func aSplitThatLosesAFeatureIsRefused() async {
        await #expect(processExitsWith: .failure) {
            _ = FeatureSplit(passedThrough: [0], transformed: [2])
        }
        // Three features at two positions, as many of each part at both: there is no such split.
        await #expect(processExitsWith: .failure) {
            _ = AdditiveCoupling<Double>(
                split: FeatureSplit(passedThrough: [0], transformed: [1, 2]), contextCount: 0,
                law: AdditiveLaw(), hiddenWidth: 2, hiddenLayers: 1, inputBound: 8, positions: 2)
        }
    }
}
