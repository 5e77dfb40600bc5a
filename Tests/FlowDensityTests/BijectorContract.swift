import FlowDensity
import Foundation
import TestSupport
import Testing

/// The laws that every layer obeys, checked in Double; `checkFloat` holds the layer in Float to it.
struct BijectorContract {
    /// At most so many parameters have their gradient checked, drawn at random where there are more.
    static let checkedParameters = 250

    let layer: any Bijector<Double>
    let contextCount: Int
    let seed: UInt64
    let parameters: [Double]
    let rows: Matrix<Double>
    let context: Matrix<Double>?

    init(_ layer: any Bijector<Double>, contextCount: Int, seed: UInt64) {
        self.layer = layer
        self.contextCount = contextCount
        self.seed = seed
        var generator = SeededGenerator(seed: seed)
        var parameters = [Double](repeating: 0, count: layer.parameterCount)
        parameters.withUnsafeMutableBufferPointer { buffer in
            if let start = buffer.baseAddress { layer.initialize(start, using: &generator) }
        }
        // Far from where training begins; a spline of such random numbers would have slopes so small
        // that no rounding or difference is precise enough to check it by.
        let deviation = layer.name == "spline_coupling" ? 0.05 : 0.3
        for index in parameters.indices {
            parameters[index] += deviation * generator.nextNormalPair().0
        }
        self.parameters = parameters
        // Some features beyond the bounds of splines, too.
        rows = .normal(
            rowCount: 5, columnCount: layer.featureCount, deviation: 1.5, using: &generator)
        context =
            contextCount == 0
            ? nil : .normal(rowCount: 5, columnCount: contextCount, using: &generator)
    }

    private var what: String {
        "\(layer.name), D = \(layer.featureCount), C = \(contextCount), seed \(seed)"
    }

    func check() {
        inverseUndoesForward()
        logDetMatchesNumericalJacobian()
        backwardMatchesCentralDifferences()
        batchEqualsItsRows()
    }

    private func forward(
        _ rows: Matrix<Double>, _ parameters: [Double]
    ) -> (z: Matrix<Double>, logDet: [Double]) {
        layer.forward(rows, context: context, parameters: parameters)
    }

    private func inverseUndoesForward() {
        let (z, logDet) = forward(rows, parameters)
        let (x, inverseLogDet) = layer.inverse(z, context: context, parameters: parameters)
        for index in x.storage.indices {
            // A few roundings of numbers of the size of z, stretched by at most exp(2).
            expectClose(
                x.storage[index], rows.storage[index], relative: 1e-10, absolute: 1e-11,
                "\(what): inverse of forward")
        }
        for row in 0..<rows.rowCount {
            expectClose(
                logDet[row] + inverseLogDet[row], 0, absolute: 1e-11, "\(what): log-dets' sum")
        }
    }

    private func logDetMatchesNumericalJacobian() {
        let count = layer.featureCount
        let (_, logDet) = forward(rows, parameters)
        let step = 1e-6
        var jacobians = [[Double]](
            repeating: [Double](repeating: 0, count: count * count), count: rows.rowCount)
        for input in 0..<count {
            var above = rows
            var below = rows
            for row in 0..<rows.rowCount {
                above[row, input] += step
                below[row, input] -= step
            }
            let zAbove = forward(above, parameters).z
            let zBelow = forward(below, parameters).z
            for row in 0..<rows.rowCount {
                for output in 0..<count {
                    jacobians[row][output * count + input] =
                        (zAbove[row, output] - zBelow[row, output]) / (2 * step)
                }
            }
        }
        for row in 0..<rows.rowCount {
            // Central differences of step 1e-6 in Double are good to about 1e-9 an entry.
            expectClose(
                logDet[row], logAbsoluteDeterminant(jacobians[row], side: count), absolute: 1e-6,
                "\(what): log-determinant of row \(row)")
        }
    }

    private func backwardMatchesCentralDifferences() {
        var generator = SeededGenerator(seed: seed &+ 1000)
        let zWeights = Matrix<Double>.normal(
            rowCount: rows.rowCount, columnCount: layer.featureCount, using: &generator)
        let logDetWeights = (0..<rows.rowCount).map { _ in generator.nextNormalPair().0 }
        func loss(_ rows: Matrix<Double>, _ parameters: [Double]) -> Double {
            let (z, logDet) = forward(rows, parameters)
            return zip(z.storage, zWeights.storage).reduce(0) { $0 + $1.0 * $1.1 }
                + zip(logDet, logDetWeights).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let gradients = layer.backward(
            rows, context: context, parameters: parameters, latentGradient: zWeights,
            logDetGradient: logDetWeights)
        var bends = 0
        for index in rows.storage.indices {
            bends += expectSlope(gradients.x.storage[index], "\(what): gradient by input \(index)")
            { step in
                var moved = rows
                moved.storage[index] += step
                return loss(moved, parameters)
            }
        }
        for index in checkedIndices(using: &generator) {
            bends += expectSlope(
                gradients.parameters[index], "\(what): gradient by parameter \(index)"
            ) {
                var moved = parameters
                moved[index] += $0
                return loss(rows, moved)
            }
        }
        // A gradient that is wrong is so in many places; a bend lies within a step by chance.
        #expect(bends <= 2, "\(what): \(bends) gradients are no central differences")
    }

    /// Expects a gradient to be the central difference of a loss.
    ///
    /// Where a ReLU bends within the step, a shorter one is tried, which roundings make less precise.
    ///
    /// - Returns: 1 where a shorter one was tried, else 0.
    private func expectSlope(
        _ gradient: Double, _ what: @autoclosure () -> String, loss: (_ step: Double) -> Double
    ) -> Int {
        func slope(_ step: Double) -> Double { (loss(step) - loss(-step)) / (2 * step) }
        let central = slope(1e-6)
        if abs(gradient - central) <= 1e-7 + 1e-6 * max(abs(gradient), abs(central)) { return 0 }
        expectClose(gradient, slope(1e-8), relative: 1e-4, absolute: 1e-5, what())
        return 1
    }

    /// The parameters that have a gradient, or some of them where there are many.
    private func checkedIndices(using generator: inout SeededGenerator) -> [Int] {
        var learned: [Int] = []
        var place = 0
        for shape in layer.parameterShapes {
            if !shape.isStatistic { learned += place..<place + shape.count }
            place += shape.count
        }
        return Array(learned.shuffled(using: &generator).prefix(Self.checkedParameters))
    }

    /// The same layer in Float agrees with it in Double, forward and backward, and is undone.
    func checkFloat(_ narrow: any Bijector<Float>) {
        let narrowRows = rows.converted(to: Float.self)
        let narrowContext = context?.converted(to: Float.self)
        let narrowParameters = parameters.map { Float($0) }
        // The same numbers for both: those that a Float holds.
        let wideRows = narrowRows.converted(to: Double.self)
        let wideContext = narrowContext?.converted(to: Double.self)
        let wideParameters = narrowParameters.map { Double($0) }
        let exact = layer.forward(wideRows, context: wideContext, parameters: wideParameters)
        let found = narrow.forward(
            narrowRows, context: narrowContext, parameters: narrowParameters)
        let back = narrow.inverse(
            found.z, context: narrowContext, parameters: narrowParameters)
        // Some dozens of roundings of 6e-8, of numbers up to about 10, and stretched by a slope.
        for index in exact.z.storage.indices {
            expectClose(
                Double(found.z.storage[index]), exact.z.storage[index], relative: 2e-5,
                absolute: 2e-5, "\(what): z in Float")
            expectClose(
                Double(back.x.storage[index]), wideRows.storage[index], relative: 1e-3,
                absolute: 1e-3, "\(what): inverse of forward in Float")
        }
        // The way there and back is as good as the way there; the way back alone is stretched by
        // small slopes and by triangles.
        let again = narrow.forward(back.x, context: narrowContext, parameters: narrowParameters)
        for index in found.z.storage.indices {
            expectClose(
                Double(again.z.storage[index]), Double(found.z.storage[index]), relative: 4e-5,
                absolute: 4e-5, "\(what): forward of inverse in Float")
        }
        for row in exact.logDet.indices {
            let scale = Double(layer.featureCount)
            expectClose(
                found.logDet[row], exact.logDet[row], relative: 2e-5, absolute: 1e-5 * scale,
                "\(what): log-determinant in Float")
            expectClose(
                found.logDet[row] + back.logDet[row], 0, absolute: 2e-4 * scale,
                "\(what): log-dets' sum in Float")
        }
        let ones = [Double](repeating: 1, count: rows.rowCount)
        let slope = layer.backward(
            wideRows, context: wideContext, parameters: wideParameters,
            latentGradient: wideRows, logDetGradient: ones)
        let narrowSlope = narrow.backward(
            narrowRows, context: narrowContext, parameters: narrowParameters,
            latentGradient: narrowRows, logDetGradient: ones.map { Float($0) })
        let largest = slope.parameters.map(abs).max() ?? 0
        for index in slope.parameters.indices {
            expectClose(
                Double(narrowSlope.parameters[index]), slope.parameters[index], relative: 1e-4,
                absolute: 1e-4 * (1 + largest), "\(what): gradient \(index) in Float")
        }
        for index in slope.x.storage.indices {
            expectClose(
                Double(narrowSlope.x.storage[index]), slope.x.storage[index], relative: 1e-4,
                absolute: 1e-3, "\(what): gradient by input \(index) in Float")
        }
    }

    private func batchEqualsItsRows() {
        let together = forward(rows, parameters)
        for row in 0..<rows.rowCount {
            let alone = layer.forward(
                rows.rows(row..<row + 1), context: context?.rows(row..<row + 1),
                parameters: parameters)
            #expect(alone.z.storage == together.z.rows(row..<row + 1).storage, "\(what)")
            #expect(alone.logDet[0] == together.logDet[row], "\(what)")
        }
    }
}

extension Matrix {
    /// A matrix of normal numbers around 0.
    static func normal(
        rowCount: Int, columnCount: Int, deviation: Double = 1,
        using generator: inout SeededGenerator
    ) -> Matrix {
        var matrix = Matrix(rowCount: rowCount, columnCount: columnCount)
        for index in matrix.storage.indices {
            matrix.storage[index] = Scalar(deviation * generator.nextNormalPair().0)
        }
        return matrix
    }
}

/// `log|det|` of a square matrix, by elimination with pivots.
func logAbsoluteDeterminant(_ matrix: [Double], side: Int) -> Double {
    var matrix = matrix
    var sum = 0.0
    for column in 0..<side {
        let pivot = (column..<side).max {
            abs(matrix[$0 * side + column]) < abs(matrix[$1 * side + column])
        }
        guard let pivot else { return sum }
        for k in 0..<side { matrix.swapAt(column * side + k, pivot * side + k) }
        let head = matrix[column * side + column]
        sum += log(abs(head))
        for row in (column + 1)..<side {
            let factor = matrix[row * side + column] / head
            for k in column..<side { matrix[row * side + k] -= factor * matrix[column * side + k] }
        }
    }
    return sum
}
