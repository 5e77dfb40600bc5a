import FlowDensity
import Foundation
import TestSupport
import Testing

/// A rational-quadratic spline in plain Swift, in the form in which the paper gives it.
private struct ReferenceSpline {
    var edges: [Double]
    var values: [Double]
    var slopes: [Double]

    /// From raw numbers: widths, heights and inner slopes.
    init(raw: [Double], bins: Int, bound: Double) {
        func knots(_ raw: ArraySlice<Double>) -> [Double] {
            let sum = raw.reduce(0) { $0 + exp($1) }
            var knots = [-bound]
            for value in raw {
                let share = 0.001 + (1 - 0.001 * Double(bins)) * exp(value) / sum
                knots.append((knots.last ?? 0) + 2 * bound * share)
            }
            return knots
        }
        edges = knots(raw[..<bins])
        values = knots(raw[bins..<2 * bins])
        let shift = log(exp(0.999) - 1)
        slopes = [1] + raw[(2 * bins)...].map { 0.001 + log(1 + exp($0 + shift)) } + [1]
    }

    /// The value at `x` within the bound, and the logarithm of the slope there.
    func callAsFunction(_ x: Double) -> (z: Double, logSlope: Double) {
        let bin = (edges.dropLast().lastIndex { $0 <= x }) ?? 0
        let width = edges[bin + 1] - edges[bin]
        let height = values[bin + 1] - values[bin]
        let s = height / width
        let xi = (x - edges[bin]) / width
        let (left, right) = (slopes[bin], slopes[bin + 1])
        let denominator = s + (right + left - 2 * s) * xi * (1 - xi)
        let z = values[bin] + height * (s * xi * xi + left * xi * (1 - xi)) / denominator
        let top = right * xi * xi + 2 * s * xi * (1 - xi) + left * (1 - xi) * (1 - xi)
        return (z, log(s * s * top / (denominator * denominator)))
    }
}

@Suite struct SplineKernelTests {
    @Test func splineKernelsMatchTheirReference() throws {
        try spline(Float.self, allowed: 2e-4)
        try spline(Double.self, allowed: 1e-11)
    }

    private func spline<Scalar: Leveled>(_: Scalar.Type, allowed: Double) throws {
        let stride = 48
        for (bins, bound) in [(2, 1.0), (3, 4), (8, 3), (31, 5)] {
            let columns = 3 * bins - 1
            var generator = SeededGenerator(seed: UInt64(bins))
            func normals(_ count: Int, _ deviation: Double) -> [Scalar] {
                (0..<count).map { _ in Scalar(deviation * generator.nextNormalPair().0) }
            }
            let raw = normals(columns * stride, 1)
            var x = normals(stride, bound / 2)
            x[3] = Scalar(-bound)
            x[4] = Scalar(bound)
            x[5] = .nan
            x[6] = .infinity
            let dl = normals(stride, 1)
            let dz = normals(stride, 1)
            for level in KernelLevel.available {
                let kernels = try #require(Scalar.kernels(at: level))
                for rows in [1, 13, 16, 48] {
                    var numbers = raw
                    var z = x
                    var logDet = [Double](repeating: 0, count: stride)
                    kernels.splineForward(
                        rows, bins, Scalar(bound), stride, &numbers, &z, &logDet)
                    var again = raw
                    var back = z
                    var inverseLogDet = [Double](repeating: 0, count: stride)
                    kernels.splineInverse(
                        rows, bins, Scalar(bound), stride, &again, &back, &inverseLogDet)
                    var dx = dz
                    var dn = raw
                    kernels.splineBackward(
                        rows, bins, Scalar(bound), stride, numbers, x, dl, &dx, &dn)
                    for r in 0..<rows {
                        let point = Double(x[r])
                        guard abs(point) < bound else {
                            #expect(z[r] == x[r] || (z[r].isNaN && x[r].isNaN))
                            #expect(dx[r] == dz[r] && logDet[r] == 0)
                            for k in 0..<columns { #expect(dn[k * stride + r] == 0) }
                            continue
                        }
                        let own = (0..<columns).map { Double(raw[$0 * stride + r]) }
                        func value(_ raw: [Double], _ x: Double) -> (Double, loss: Double) {
                            let (z, logSlope) = ReferenceSpline(
                                raw: raw, bins: bins, bound: bound)(x)
                            return (z, Double(dz[r]) * z + Double(dl[r]) * logSlope)
                        }
                        let exact = ReferenceSpline(raw: own, bins: bins, bound: bound)(point)
                        let what = "\(level) \(Scalar.self), \(bins) bins, row \(r)"
                        expectClose(Double(z[r]), exact.z, absolute: allowed, what)
                        expectClose(
                            logDet[r], exact.logSlope, absolute: 10 * allowed, what)
                        // A slope as low as 0.001 stretches a rounding by a thousand.
                        expectClose(Double(back[r]), point, absolute: 100 * allowed, what)
                        // Slopes of the reference, good to about 1e-8.
                        let step = 1e-6
                        let slope =
                            (value(own, point + step).loss - value(own, point - step).loss)
                            / (2 * step)
                        let gradientAllowed = max(10 * allowed, 1e-6)
                        expectClose(
                            Double(dx[r]), slope, relative: gradientAllowed,
                            absolute: gradientAllowed, what)
                        for k in 0..<columns {
                            var above = own
                            var below = own
                            above[k] += step
                            below[k] -= step
                            let slope =
                                (value(above, point).loss - value(below, point).loss)
                                / (2 * step)
                            expectClose(
                                Double(dn[k * stride + r]), slope, relative: gradientAllowed,
                                absolute: gradientAllowed, "\(what), number \(k)")
                        }
                    }
                }
            }
        }
    }

    @Test func anInverseDoesNotCancelInSteepBins() throws {
        // Bins that begin flat and end steep, or the other way round: there one form of the
        // quadratic's root loses all its digits.
        let stride = 4096
        let bins = 2
        for knot in [Float(-6), 300] {
            var raw = [Float](repeating: 0, count: (3 * bins - 1) * stride)
            for r in 0..<stride { raw[2 * bins * stride + r] = knot }
            let x = (0..<stride).map { Float(-2 + 4 * (Double($0) + 0.5) / Double(stride)) }
            for level in KernelLevel.available {
                let kernels = try #require(Float.kernels(at: level))
                var numbers = raw
                var z = x
                var logDet = [Double](repeating: 0, count: stride)
                kernels.splineForward(stride, bins, 2, stride, &numbers, &z, &logDet)
                var again = raw
                var back = z
                kernels.splineInverse(stride, bins, 2, stride, &again, &back, &logDet)
                for r in 0..<stride {
                    let slope = exp(
                        Double(
                            ReferenceSpline(
                                raw: (0..<3 * bins - 1).map { Double(raw[$0 * stride + r]) },
                                bins: bins,
                                bound: 2)(Double(x[r])).logSlope))
                    // Some roundings of z, over the slope.
                    expectClose(
                        Double(back[r]), Double(x[r]), absolute: 1e-6 * (1 + 1 / slope),
                        "\(level), knot \(knot), row \(r)")
                }
            }
        }
    }

    @Test func logAndSoftplusAreAccurate() throws {
        try elementary(Float.self, error: 2e-7)
        try elementary(Double.self, error: 4e-16)
    }

    private func elementary<Scalar: Leveled>(_: Scalar.Type, error: Double) throws {
        let exponents = (-1200...1200).map { Double($0) / 33 }
        let positive = exponents.map { Scalar(exp($0)) } + [1, 0.70710678, 0.7071068, 2, 0.5]
        let points = exponents.map { Scalar($0) } + [0, -0.0, 1e-20, 80, -80]
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            var result = positive
            kernels.log(positive.count, positive, &result)
            for (x, y) in zip(positive, result) {
                expectClose(
                    Double(y), log(Double(x)), relative: error, absolute: error / 2,
                    "\(level) log(\(x))")
            }
            result = points
            kernels.softplus(points.count, points, &result)
            for (x, y) in zip(points, result) {
                let exact = max(Double(x), 0) + log1p(exp(-abs(Double(x))))
                expectClose(
                    Double(y), exact, relative: 2 * error, "\(level) softplus(\(x))")
            }
        }
    }
}
