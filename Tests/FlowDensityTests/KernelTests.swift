import FlowDensity
import Foundation
import TestSupport
import Testing

/// A scalar whose kernels can be had at every level.
protocol Leveled: FlowScalar {
    static func kernels(at level: KernelLevel) -> Kernels<Self>?
    /// Roundings of one operation, relative.
    static var rounding: Double { get }
}

extension Float: Leveled {
    static func kernels(at level: KernelLevel) -> Kernels<Float>? { .at(level) }
    static var rounding: Double { 6e-8 }
}

extension Double: Leveled {
    static func kernels(at level: KernelLevel) -> Kernels<Double>? { .at(level) }
    static var rounding: Double { 1.2e-16 }
}

@Suite struct KernelTests {
    private func forEachLevel(_ body: (KernelLevel) throws -> Void) rethrows {
        for level in KernelLevel.available { try body(level) }
    }

    private func normals<Scalar: FlowScalar>(
        _ count: Int, seed: UInt64, _: Scalar.Type
    ) -> [Scalar] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Scalar(generator.nextNormalPair().0) }
    }

    @Test func theHighestLevelIsInUse() {
        #expect(KernelLevel.available.contains(.baseline))
        if ProcessInfo.processInfo.environment["FLOWGUARD_KERNELS"] == nil {
            #expect(KernelLevel.inUse == KernelLevel.available.last)
        }
        if BLASCore.hasAVX2 { #expect(KernelLevel.available.contains(.avx2)) }
        print("kernel levels tested: \(KernelLevel.available)")
    }

    @Test func denseMatchesItsReference() throws {
        try dense(Float.self)
        try dense(Double.self)
    }

    private func dense<Scalar: Leveled>(_: Scalar.Type) throws {
        let stride = 96
        for (outputs, inputs) in [(1, 1), (2, 3), (7, 0), (8, 5), (13, 17), (64, 4), (9, 64)] {
            let x = normals(max(inputs, 1) * stride, seed: 1, Scalar.self)
            let weights = normals(max(outputs * inputs, 1), seed: 2, Scalar.self)
            let bias = normals(outputs, seed: 3, Scalar.self)
            let dy = normals(outputs * stride, seed: 4, Scalar.self)
            // The sum of the sizes of all terms, each off by a rounding or two.
            let allowed = 4 * Scalar.rounding * Double(8 * (max(inputs, outputs) + 2))
            for rows in [1, 2, 7, 8, 15, 16, 17, 24, 31, 48, 95, 96] {
                try forEachLevel { level in
                    let kernels = try #require(Scalar.kernels(at: level))
                    for relu in [Int32(0), 1] {
                        var y = [Scalar](repeating: 0, count: outputs * stride)
                        kernels.dense(
                            rows, stride, outputs, inputs, weights, bias, x, &y, relu)
                        for o in 0..<outputs {
                            for r in 0..<rows {
                                var sum = Double(bias[o])
                                for i in 0..<inputs {
                                    sum +=
                                        Double(weights[o * inputs + i])
                                        * Double(x[i * stride + r])
                                }
                                if relu == 1 { sum = max(sum, 0) }
                                expectClose(
                                    Double(y[o * stride + r]), sum, absolute: allowed,
                                    "\(level) \(Scalar.self) [\(outputs), \(inputs)] rows \(rows)")
                            }
                        }
                    }
                    guard inputs > 0 else { return }
                    for isMasked in [false, true] {
                        var dx = [Scalar](repeating: 0, count: inputs * stride)
                        if isMasked {
                            kernels.denseBackward(
                                rows, stride, outputs, inputs, weights, dy, x, &dx)
                        } else {
                            kernels.denseBackward(
                                rows, stride, outputs, inputs, weights, dy, nil, &dx)
                        }
                        for i in 0..<inputs {
                            for r in 0..<rows {
                                var sum = 0.0
                                for o in 0..<outputs {
                                    sum +=
                                        Double(weights[o * inputs + i])
                                        * Double(dy[o * stride + r])
                                }
                                if isMasked && x[i * stride + r] <= 0 { sum = 0 }
                                expectClose(
                                    Double(dx[i * stride + r]), sum, absolute: allowed,
                                    "\(level) \(Scalar.self) back [\(outputs), \(inputs)]")
                            }
                        }
                    }
                }
            }
        }
    }

    @Test func expAndTanhAreAccurate() throws {
        // Two roundings of Float, and three of Double.
        try elementary(Float.self, expError: 1.8e-7, tanhError: 2.4e-7)
        try elementary(Double.self, expError: 4.5e-16, tanhError: 6e-16)
    }

    private func elementary<Scalar: Leveled>(
        _: Scalar.Type, expError: Double, tanhError: Double
    ) throws {
        var points: [Scalar] = (-4000...4000).map { Scalar($0) / 200 }
        points += normals(1000, seed: 5, Scalar.self).map { $0 * 1e-4 }
        points += [0, -0.0, 1e-30, 0.6249, 0.625, 0.6251, -0.625, 80, -80, 50, -50]
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            var result = points
            kernels.exp(points.count, points, &result)
            for (x, y) in zip(points, result) {
                expectClose(
                    Double(y), exp(Double(x)), relative: expError, "\(level) exp(\(x))")
            }
            kernels.tanh(points.count, points, &result)
            for (x, y) in zip(points, result) {
                expectClose(
                    Double(y), tanh(Double(x)), relative: tanhError, "\(level) tanh(\(x))")
            }
            let extremes: [Scalar] = [
                .infinity, -.infinity, .nan, 1e30, -1e30, .greatestFiniteMagnitude,
            ]
            var edge = extremes
            kernels.exp(edge.count, extremes, &edge)
            #expect(edge[0] == .infinity && edge[1] == 0 && edge[2].isNaN)
            #expect(edge[3] == .infinity && edge[4] == 0 && edge[5] == .infinity)
            kernels.tanh(edge.count, extremes, &edge)
            #expect(edge[0] == 1 && edge[1] == -1 && edge[2].isNaN)
            #expect(edge[3] == 1 && edge[4] == -1 && edge[5] == 1)
        }
    }

    @Test func couplingKernelsMatchTheirReference() throws {
        try coupling(Float.self)
        try coupling(Double.self)
    }

    private func coupling<Scalar: Leveled>(_: Scalar.Type) throws {
        let raw = normals(96, seed: 6, Scalar.self).map { 3 * $0 }
        let t = normals(96, seed: 7, Scalar.self)
        let x = normals(96, seed: 8, Scalar.self)
        let dl = normals(96, seed: 9, Scalar.self)
        let dz = normals(96, seed: 10, Scalar.self)
        let allowed = 200 * Scalar.rounding
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for rows in [1, 5, 16, 33, 96] {
                var s = raw
                var scale = raw
                var z = x
                var logDet = [Double](repeating: 0.5, count: 96)
                kernels.affineForward(rows, 2, &s, &scale, t, &z, &logDet)
                var back = z
                var again = raw
                var inverseLogDet = [Double](repeating: 0, count: 96)
                kernels.affineInverse(rows, 2, &again, t, &back, &inverseLogDet)
                var dx = dz
                var ds = dz
                var dt = dz
                kernels.affineBackward(rows, 2, s, scale, x, dl, &dx, &ds, &dt)
                for r in 0..<rows {
                    let logScale = 2 * tanh(Double(raw[r]) / 2)
                    let factor = exp(logScale)
                    let g = Double(dz[r])
                    expectClose(Double(s[r]), logScale, absolute: allowed, "\(level)")
                    expectClose(Double(scale[r]), factor, absolute: allowed, "\(level)")
                    expectClose(
                        Double(z[r]), Double(x[r]) * factor + Double(t[r]), absolute: allowed)
                    expectClose(logDet[r], 0.5 + logScale, absolute: allowed)
                    expectClose(inverseLogDet[r], -logScale, absolute: allowed)
                    expectClose(Double(back[r]), Double(x[r]), absolute: allowed)
                    expectClose(Double(dx[r]), g * factor, absolute: allowed)
                    expectClose(Double(dt[r]), g)
                    let scaleGradient = g * Double(x[r]) * factor + Double(dl[r])
                    expectClose(
                        Double(ds[r]), scaleGradient * (1 - logScale * logScale / 4),
                        absolute: allowed)
                }
            }
        }
    }

    @Test func passesOverATileMatchTheirReference() throws {
        try passes(Float.self)
        try passes(Double.self)
    }

    private func passes<Scalar: Leveled>(_: Scalar.Type) throws {
        let stride = 48
        let features = 3
        let table = normals(stride * features, seed: 11, Scalar.self)
        let y = normals(stride * features, seed: 12, Scalar.self)
        let allowed = 100 * Scalar.rounding
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for rows in [1, 4, 13, 16, 37, 48] {
                var tile = [Scalar](repeating: .nan, count: stride * features)
                kernels.loadTile(rows, stride, features, table, &tile)
                for r in 0..<rows {
                    for f in 0..<features {
                        #expect(tile[f * stride + r] == table[r * features + f])
                    }
                }
                for r in rows..<(rows + 15) / 16 * 16 { #expect(tile[r] == 0) }
                var stored = [Scalar](repeating: 0, count: rows * features)
                kernels.storeTile(rows, stride, features, tile, &stored)
                #expect(stored == Array(table.prefix(rows * features)))

                var logistic = [Double](repeating: 1, count: stride)
                kernels.logisticLogDensity(rows, stride, features, y, &logistic)
                var logisticGradient = y
                kernels.logisticBackward(rows, stride, features, table, y, &logisticGradient)
                var joined = y
                kernels.addReLU(rows, table, &joined)
                var masked = y
                kernels.addWherePositive(rows, table, y, &masked)
                for r in 0..<rows {
                    var sum = 1.0
                    for f in 0..<features {
                        let value = Double(y[f * stride + r])
                        sum -= log(1 + exp(value)) + log(1 + exp(-value))
                        expectClose(
                            Double(logisticGradient[f * stride + r]),
                            -Double(table[r]) * tanh(value / 2), absolute: allowed)
                    }
                    expectClose(logistic[r], sum, absolute: allowed)
                    expectClose(
                        Double(joined[r]), max(Double(y[r]) + Double(table[r]), 0),
                        absolute: allowed)
                    #expect(masked[r] == y[r] + (table[r] > 0 ? y[r] : 0))
                }

                var sums = [Scalar](repeating: 1, count: features)
                kernels.rowSums(rows, stride, features, y, &sums)
                var density = [Double](repeating: 1, count: stride)
                kernels.normalLogDensity(rows, stride, features, y, &density)
                var gradient = y
                kernels.normalBackward(rows, stride, features, table, y, &gradient)
                for f in 0..<features {
                    let column = (0..<rows).map { Double(y[f * stride + $0]) }
                    expectClose(Double(sums[f]), 1 + column.reduce(0, +), absolute: allowed)
                    for r in 0..<rows {
                        #expect(gradient[f * stride + r] == -table[r] * y[f * stride + r])
                    }
                }
                for r in 0..<rows {
                    let squares = (0..<features).reduce(0.0) {
                        $0 + Double(y[$1 * stride + r]) * Double(y[$1 * stride + r])
                    }
                    expectClose(
                        density[r], 1 - 0.5 * squares - 1.5 * log(2 * Double.pi),
                        absolute: 1e-13)
                }
                let dot = kernels.dot(rows, table, y)
                let sum = kernels.sum(rows, y)
                expectClose(
                    dot, (0..<rows).reduce(0.0) { $0 + Double(table[$1]) * Double(y[$1]) },
                    absolute: 1e-12)
                expectClose(sum, (0..<rows).reduce(0.0) { $0 + Double(y[$1]) }, absolute: 1e-12)

                var clamped = y
                kernels.clamp(rows, 0.5, y, &clamped)
                var dx = table
                kernels.clampBackward(rows, 0.5, clamped, y, &dx)
                var shifted = y
                kernels.scaleShift(rows, 2, 0.25, &shifted)
                var added = y
                kernels.addScaled(rows, -3, table, &added)
                var logDet = [Double](repeating: 1, count: stride)
                kernels.addConstant(rows, 0.5, &logDet)
                for r in 0..<rows {
                    #expect(clamped[r] == min(max(y[r], -0.5), 0.5))
                    #expect(dx[r] == table[r] + (abs(y[r]) < 0.5 ? y[r] : 0))
                    expectClose(Double(shifted[r]), 2 * Double(y[r]) + 0.25, absolute: allowed)
                    expectClose(
                        Double(added[r]), Double(y[r]) - 3 * Double(table[r]), absolute: allowed)
                    #expect(logDet[r] == 1.5)
                }
                #expect(logDet[rows...].allSatisfy { $0 == 1 })
            }
        }
    }

    @Test func adamMatchesItsReference() throws {
        try adam(Float.self)
        try adam(Double.self)
    }

    private func adam<Scalar: Leveled>(_: Scalar.Type) throws {
        let count = 37
        let gradient = normals(count, seed: 13, Scalar.self)
        let start = normals(count, seed: 14, Scalar.self)
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            var parameters = start
            var first = [Scalar](repeating: 0, count: count)
            var second = first
            var average = start
            var reference = start.map(Double.init)
            var m = [Double](repeating: 0, count: count)
            var v = m
            var mean = reference
            for step in 1...5 {
                let adam = AdamStep(
                    count: step, gradientScale: 0.5, learningRate: 0.1, weightDecay: 0.01,
                    averageDecay: 0.9)
                kernels.adam(
                    0..<count, adam, gradient: gradient, parameters: &parameters, first: &first,
                    second: &second, average: &average)
                for i in 0..<count {
                    let g = Double(gradient[i]) * 0.5
                    m[i] = 0.9 * m[i] + 0.1 * g
                    v[i] = 0.999 * v[i] + 0.001 * g * g
                    let unbiased = m[i] / (1 - pow(0.9, Double(step)))
                    let root = (v[i] / (1 - pow(0.999, Double(step)))).squareRoot()
                    reference[i] -= 0.1 * unbiased / (root + 1e-8) + 0.1 * 0.01 * reference[i]
                    mean[i] = 0.9 * mean[i] + 0.1 * reference[i]
                }
            }
            for i in 0..<count {
                // (1 − 0.999) of a Float is off by 5e-5, which the correction takes back only in part.
                let allowed = Scalar.self == Float.self ? 2e-5 : 1e-13
                expectClose(
                    Double(parameters[i]), reference[i], absolute: allowed, "\(level) \(i)")
                expectClose(Double(average[i]), mean[i], absolute: allowed, "\(level) \(i)")
            }
            var sum = start
            kernels.add(count, gradient, &sum)
            for i in 0..<count { #expect(sum[i] == start[i] + gradient[i]) }
            expectClose(
                kernels.sumOfSquares(count, gradient),
                gradient.reduce(0.0) { $0 + Double($1) * Double($1) }, absolute: 1e-10)
        }
    }

    @Test func openBLASUsesTheKernelsOfThisCPU() {
        let core = BLASCore.prepare()
        print("OpenBLAS core: \(core)")
        #expect(!core.isEmpty)
        if BLASCore.hasAVX2 && ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] == nil {
            #expect(!["Prescott", "Core2", "Nehalem"].contains(core))
        }
    }
}
