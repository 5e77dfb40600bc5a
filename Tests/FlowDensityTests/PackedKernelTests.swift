import FlowDensity
import TestSupport
import Testing

/// The kernels that read packed weights, that sum over rows, and that take all columns at once.
@Suite struct PackedKernelTests {
    private static let stride = 96
    private static let sides = [
        (1, 1), (2, 3), (7, 0), (8, 5), (13, 17), (64, 4), (9, 64), (16, 16), (44, 33), (130, 21),
        (21, 130),
    ]

    private func normals<Scalar: FlowScalar>(
        _ count: Int, seed: UInt64, _: Scalar.Type
    ) -> [Scalar] {
        var generator = SeededGenerator(seed: seed)
        return (0..<max(count, 1)).map { _ in Scalar(generator.nextNormalPair().0) }
    }

    private func panels<Scalar: Leveled>(
        _ kernels: Kernels<Scalar>, _ outputs: Int, _ inputs: Int, _ weights: [Scalar],
        _ bias: [Scalar]
    ) -> [Scalar] {
        let held = Kernels<Scalar>.panelOutputs
        var panels = [Scalar](
            repeating: .nan, count: (outputs + held - 1) / held * held * (inputs + 1))
        kernels.pack(outputs, inputs, weights, bias, &panels)
        return panels
    }

    /// Rows, and a dense layer for them with its panels.
    private func dense<Scalar: Leveled>(
        _ kernels: Kernels<Scalar>, _ outputs: Int, _ inputs: Int
    ) -> (x: [Scalar], weights: [Scalar], bias: [Scalar], panels: [Scalar]) {
        let x = normals(inputs * Self.stride, seed: 3, Scalar.self)
        let weights = normals(outputs * inputs, seed: 4, Scalar.self)
        let bias = normals(outputs, seed: 5, Scalar.self)
        return (x, weights, bias, panels(kernels, outputs, inputs, weights, bias))
    }

    @Test func panelsHoldWeightsInTheOrderOfReading() throws {
        try pack(Float.self)
        try pack(Double.self)
    }

    private func pack<Scalar: Leveled>(_: Scalar.Type) throws {
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for (outputs, inputs) in Self.sides {
                let weights = normals(outputs * inputs, seed: 1, Scalar.self)
                let bias = normals(outputs, seed: 2, Scalar.self)
                let panels = panels(kernels, outputs, inputs, weights, bias)
                let held = Kernels<Scalar>.panelOutputs
                for place in panels.indices {
                    let (panel, within) = place.quotientAndRemainder(
                        dividingBy: held * (inputs + 1))
                    let output = panel * held + within % held
                    let input = within / held - 1
                    let wanted: Scalar =
                        output >= outputs
                        ? 0 : input < 0 ? bias[output] : weights[output * inputs + input]
                    #expect(panels[place] == wanted, "\(level) [\(outputs), \(inputs)] \(place)")
                }
            }
        }
    }

    @Test func packedWeightsGiveTheBitsOfWeightsInPlace() throws {
        try packed(Float.self)
        try packed(Double.self)
    }

    @Test func oneRowHasTheBitsThatItHasInATile() throws {
        try row(Float.self)
        try row(Double.self)
    }

    private func row<Scalar: Leveled>(_: Scalar.Type) throws {
        let held = Kernels<Scalar>.panelOutputs
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for (outputs, inputs) in Self.sides {
                let (x, weights, bias, panels) = dense(kernels, outputs, inputs)
                let close = (0..<inputs).map { x[$0 * Self.stride] }
                for relu in [Int32(0), 1] {
                    var wanted = [Scalar](repeating: .nan, count: outputs * Self.stride)
                    kernels.dense(
                        1, Self.stride, outputs, inputs, weights, bias, x, &wanted, relu)
                    let about = "\(level) \(Scalar.self) [\(outputs), \(inputs)]"
                    // Both ends in columns, both close together; what lies behind stays as it was.
                    var column = [Scalar](repeating: 7, count: outputs * Self.stride)
                    kernels.denseRow(
                        outputs, inputs, panels, x, Self.stride, &column, Self.stride, relu)
                    let whole = (outputs + held - 1) / held * held
                    var row = [Scalar](repeating: 7, count: whole + 1)
                    kernels.denseRow(outputs, inputs, panels, close, 1, &row, 1, relu)
                    for output in 0..<outputs {
                        let place = output * Self.stride
                        #expect(column[place] == wanted[place], "\(about)")
                        #expect(column[place + 1] == 7, "\(about)")
                        #expect(row[output] == wanted[place], "\(about)")
                    }
                    #expect(row[whole] == 7, "\(about)")
                }
            }
        }
    }

    private func packed<Scalar: Leveled>(_: Scalar.Type) throws {
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for (outputs, inputs) in Self.sides {
                let (x, weights, bias, panels) = dense(kernels, outputs, inputs)
                for rows in [1, 2, 4, 5, 8, 16, 17, 32, 33, 48, 90, 96] {
                    for relu in [Int32(0), 1] {
                        var wanted = [Scalar](repeating: .nan, count: outputs * Self.stride)
                        var found = wanted
                        kernels.dense(
                            rows, Self.stride, outputs, inputs, weights, bias, x, &wanted, relu)
                        kernels.densePacked(
                            rows, Self.stride, outputs, inputs, panels, x, &found, relu)
                        for output in 0..<outputs {
                            for row in 0..<rows {
                                let place = output * Self.stride + row
                                #expect(
                                    found[place] == wanted[place],
                                    "\(level) \(Scalar.self) [\(outputs), \(inputs)] rows \(rows)")
                            }
                        }
                    }
                }
            }
        }
    }

    @Test func weightGradientsAreThoseOfTheirReferenceAndOfOpenBLAS() throws {
        BLASCore.prepare()
        try weightGradient(Float.self)
        try weightGradient(Double.self)
    }

    private func weightGradient<Scalar: Leveled>(_: Scalar.Type) throws {
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for (outputs, inputs) in Self.sides {
                let x = normals(inputs * Self.stride, seed: 6, Scalar.self)
                let dy = normals(outputs * Self.stride, seed: 7, Scalar.self)
                let before = normals(outputs * inputs, seed: 8, Scalar.self)
                for rows in [1, 15, 16, 63, 96] {
                    // The sum of the sizes of all terms, each off by a rounding or two.
                    let allowed = 4 * Scalar.rounding * Double(8 * (rows + 2))
                    var room = [Scalar](repeating: .nan, count: 144 * Self.stride)
                    var found = before
                    kernels.weightGradient(
                        rows, Self.stride, outputs, inputs, dy, x, &room, &found)
                    var product = before
                    if inputs > 0 {
                        Scalar._accumulateProduct(
                            ProductSizes(
                                rows: outputs, columns: inputs, terms: rows,
                                leftStride: Self.stride, rightStride: Self.stride,
                                resultStride: inputs),
                            left: dy, right: x, result: &product)
                    }
                    for output in 0..<outputs {
                        for input in 0..<inputs {
                            let place = output * inputs + input
                            var sum = Double(before[place])
                            for row in 0..<rows {
                                sum +=
                                    Double(dy[output * Self.stride + row])
                                    * Double(x[input * Self.stride + row])
                            }
                            let about = "\(level) \(Scalar.self) [\(outputs), \(inputs)] \(rows)"
                            expectClose(Double(found[place]), sum, absolute: allowed, about)
                            expectClose(
                                Double(found[place]), Double(product[place]), absolute: allowed,
                                about)
                        }
                    }
                }
            }
        }
    }

    @Test func rowSumsOfManyFeaturesAreThoseOfTheirReference() throws {
        try rowSums(Float.self)
        try rowSums(Double.self)
    }

    private func rowSums<Scalar: Leveled>(_: Scalar.Type) throws {
        let x = normals(40 * Self.stride, seed: 12, Scalar.self)
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for features in [1, 15, 16, 17, 40] {
                for rows in [1, 16, 61, 96] {
                    var sums = [Scalar](repeating: 0.5, count: features)
                    kernels.rowSums(rows, Self.stride, features, x, &sums)
                    for feature in 0..<features {
                        let column = (0..<rows).map { Double(x[feature * Self.stride + $0]) }
                        expectClose(
                            Double(sums[feature]), 0.5 + column.reduce(0, +),
                            absolute: 400 * Scalar.rounding, "\(level) \(features) \(rows)")
                    }
                }
            }
        }
    }

    @Test func allColumnsAtOnceGiveTheBitsOfOneAfterTheOther() throws {
        try columns(Float.self)
        try columns(Double.self)
    }

    private func columns<Scalar: Leveled>(_: Scalar.Type) throws {
        let stride = Self.stride
        let features = [3, 0, 7, 8, 1, 21, 20, 19, 18, 17, 2, 4, 5, 6, 9, 10, 11, 12]
        let count = features.count
        let raw = normals(count * stride, seed: 9, Scalar.self).map { 3 * $0 }
        let shift = normals(count * stride, seed: 10, Scalar.self)
        let start = normals(22 * stride, seed: 11, Scalar.self)
        for level in KernelLevel.available {
            let kernels = try #require(Scalar.kernels(at: level))
            for rows in [1, 2, 3, 7, 16, 40, 96] {
                var (s, scale, kept, x) = (raw, raw, raw, start)
                var logDet = [Double](repeating: 0.25, count: stride)
                kernels.affineForwardColumns(
                    rows, stride, count, features, 2, &s, &scale, shift, &kept, &x, &logDet)
                var clamped = raw
                kernels.clampColumns(rows, stride, count, features, 0.5, start, &clamped)
                var alone = [Double](repeating: 0.25, count: stride)
                for (index, feature) in features.enumerated() {
                    func column(_ values: [Scalar], _ place: Int) -> [Scalar] {
                        Array(values[place * stride..<(place + 1) * stride])
                    }
                    var (ownS, ownScale) = (column(raw, index), column(raw, index))
                    var ownX = column(start, feature)
                    kernels.affineForward(
                        rows, 2, &ownS, &ownScale, column(shift, index), &ownX, &alone)
                    for row in 0..<rows {
                        let place = index * stride + row
                        #expect(s[place] == ownS[row] && scale[place] == ownScale[row])
                        #expect(x[feature * stride + row] == ownX[row], "\(level) rows \(rows)")
                        #expect(kept[place] == start[feature * stride + row])
                        let value = start[feature * stride + row]
                        #expect(clamped[place] == min(max(value, -0.5), 0.5))
                    }
                }
                for row in 0..<rows { #expect(logDet[row] == alone[row], "\(level) rows \(rows)") }
                let untouched = Set(0..<22).subtracting(features)
                for feature in untouched {
                    #expect(
                        x[feature * stride..<(feature + 1) * stride]
                            == start[feature * stride..<(feature + 1) * stride])
                }
            }
        }
    }
}
