import RealModule

/// An invertible linear map of the features: Glow's 1x1 convolution, of a row.
///
/// `W = P·L·(U + diag σ)` with `P` a fixed permutation, `L` lower triangular with ones on its
/// diagonal, `U` strictly upper triangular and `σ = exp(s)`:
///
///     forward          v = U·x + σ ⊙ x     y = L·v     z = P·y
///     inverse          y = Pᵀ·z     v = L⁻¹·y     x = (U + diag σ)⁻¹·v, by substitution
///     log-determinant  log|det ∂z/∂x| = Σⱼ sⱼ, in O(D)
///     backward         ȳ = Pᵀ·z̄     v̄ = Lᵀ·ȳ     L̄ = Σ ȳ·vᵀ     x̄ = Uᵀ·v̄ + σ ⊙ v̄     Ū = Σ v̄·xᵀ
///                      s̄ = Σ v̄ ⊙ x ⊙ σ + ℓ̄
///
/// - Note: The paper begins with a random rotation; here `L = I`, `U = 0`, `σ = 1`, so the layer
///   begins as the permutation `P`, drawn from the layer's number. `s = c·tanh(ŝ/c)` with ActNorm's
///   bound. The diagonal is positive: a change of sign of a latent feature changes no density.
///
/// Source: Kingma, Dhariwal, "Glow", 2018, §3.2, <https://arxiv.org/abs/1807.03039>.
public struct InvertibleLinear<Scalar: FlowScalar>: Bijector {
    /// What the layer is called in a model file.
    public var name: String { "invertible_linear" }
    /// The permutation.
    public var structure: [String: [Int]] { ["permutation": permutation] }
    /// The number of features of a row.
    public let featureCount: Int
    /// Latent feature `i` is row `permutation[i]` of `y`.
    public let permutation: [Int]

    private static var bound: Scalar { ActNorm<Scalar>.logScaleBound }
    private var triangleCount: Int { featureCount * (featureCount - 1) / 2 }

    /// `lower` and `upper`, the strict triangles row by row, and `log_scale` (ŝ).
    public var parameterShapes: [ParameterShape] {
        [
            ParameterShape(name: "lower", shape: [triangleCount]),
            ParameterShape(name: "upper", shape: [triangleCount]),
            ParameterShape(name: "log_scale", shape: [featureCount]),
        ]
    }
    /// x, v, y and the two triangles as square matrices, with a row of zeros.
    public var recordCount: Int {
        let square = 2 * featureCount * featureCount + featureCount
        return 3 * featureCount + (square + Self.rows - 1) / Self.rows
    }
    /// v̄, y̅, and the gradient by a triangle as a square matrix.
    public var scratchCount: Int {
        2 * featureCount + (featureCount * featureCount + Self.rows - 1) / Self.rows
    }

    private static var rows: Int { Workspace<Scalar>.tileRows }

    /// The map of the `layer`-th step of a flow.
    public init(featureCount: Int, layer: Int) {
        self.featureCount = featureCount
        var generator = SeededGenerator(seed: UInt64(layer))
        permutation = Array(0..<featureCount).shuffled(using: &generator)
    }

    /// Sets the layer to its permutation.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        parameters.update(repeating: 0, count: parameterCount)
    }

    private func logScale(_ raw: Scalar) -> Scalar {
        Self.bound * Scalar.tanh(raw / Self.bound)
    }

    /// The places of the tile's record that the layer uses.
    private struct Record {
        var x, v, y, lower, upper, zeros: UnsafeMutablePointer<Scalar>
    }

    private func record(_ tile: Tile<Scalar>) -> Record {
        let size = featureCount * tile.stride
        let squares = tile.record + 3 * size
        let square = featureCount * featureCount
        return Record(
            x: tile.record, v: tile.record + size, y: tile.record + 2 * size, lower: squares,
            upper: squares + square, zeros: squares + 2 * square)
    }

    /// Writes the triangles out as square matrices, which is what the dense kernels take.
    private func expand(_ parameters: UnsafePointer<Scalar>, into record: Record) {
        let square = featureCount * featureCount
        record.lower.update(repeating: 0, count: 2 * square + featureCount)
        var lower = 0
        var upper = triangleCount
        for row in 0..<featureCount {
            for column in 0..<row {
                record.lower[row * featureCount + column] = parameters[lower]
                lower += 1
            }
            for column in (row + 1)..<featureCount {
                record.upper[row * featureCount + column] = parameters[upper]
                upper += 1
            }
        }
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        let kernels = Scalar._kernels
        let stride = tile.stride
        let record = record(tile)
        expand(parameters, into: record)
        record.x.update(from: tile.x, count: featureCount * stride)
        kernels.dense(
            tile.rowCount, stride, featureCount, featureCount, record.upper, record.zeros,
            record.x, record.v, 0)
        var logDet = 0.0
        for feature in 0..<featureCount {
            let s = logScale(parameters[2 * triangleCount + feature])
            logDet += Double(s)
            kernels.addScaled(
                tile.rowCount, Scalar.exp(s), record.x + feature * stride,
                record.v + feature * stride)
        }
        kernels.dense(
            tile.rowCount, stride, featureCount, featureCount, record.lower, record.zeros,
            record.v, record.y, 0)
        for feature in 0..<featureCount {
            let source = permutation[feature] * stride
            let z = tile.x + feature * stride
            z.update(from: record.y + source, count: tile.rowCount)
            kernels.addScaled(tile.rowCount, 1, record.v + source, z)
        }
        kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        let kernels = Scalar._kernels
        let stride = tile.stride
        let record = record(tile)
        expand(parameters, into: record)
        record.y.update(from: tile.x, count: featureCount * stride)
        for feature in 0..<featureCount {
            (tile.x + permutation[feature] * stride).update(
                from: record.y + feature * stride, count: tile.rowCount)
        }
        for row in 0..<featureCount {
            for column in 0..<row {
                kernels.addScaled(
                    tile.rowCount, -record.lower[row * featureCount + column],
                    tile.x + column * stride, tile.x + row * stride)
            }
        }
        var logDet = 0.0
        for row in (0..<featureCount).reversed() {
            for column in (row + 1)..<featureCount {
                kernels.addScaled(
                    tile.rowCount, -record.upper[row * featureCount + column],
                    tile.x + column * stride, tile.x + row * stride)
            }
            let s = logScale(parameters[2 * triangleCount + row])
            logDet -= Double(s)
            kernels.scaleShift(tile.rowCount, Scalar.exp(-s), 0, tile.x + row * stride)
        }
        kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Carries gradients from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        let stride = tile.stride
        let size = featureCount * stride
        let record = record(tile)
        let dv = gradient.scratch
        let dy = gradient.scratch + size
        let square = gradient.scratch + 2 * size

        for feature in 0..<featureCount {
            (dy + permutation[feature] * stride).update(
                from: gradient.x + feature * stride, count: tile.rowCount)
        }
        kernels.denseBackward(
            tile.rowCount, stride, featureCount, featureCount, record.lower, dy, nil, dv)
        for feature in 0..<featureCount {
            kernels.addScaled(tile.rowCount, 1, dy + feature * stride, dv + feature * stride)
        }
        product(tile, dy, record.v, into: square)
        var place = 0
        for row in 0..<featureCount {
            for column in 0..<row {
                gradient.parameters[place] += square[row * featureCount + column]
                place += 1
            }
        }
        product(tile, dv, record.x, into: square)
        for row in 0..<featureCount {
            for column in (row + 1)..<featureCount {
                gradient.parameters[place] += square[row * featureCount + column]
                place += 1
            }
        }
        let logDetSum = kernels.sum(tile.rowCount, gradient.logDet)
        kernels.denseBackward(
            tile.rowCount, stride, featureCount, featureCount, record.upper, dv, nil, gradient.x)
        for feature in 0..<featureCount {
            let s = logScale(parameters[2 * triangleCount + feature])
            let scale = Scalar.exp(s)
            let share = s / Self.bound
            let own = Double(square[feature * featureCount + feature]) * Double(scale) + logDetSum
            gradient.parameters[place + feature] += Scalar(own) * (1 - share * share)
            kernels.addScaled(
                tile.rowCount, scale, dv + feature * stride, gradient.x + feature * stride)
        }
    }

    /// `square = left · rightᵀ`, summed over the rows of the tile.
    private func product(
        _ tile: Tile<Scalar>, _ left: UnsafeMutablePointer<Scalar>,
        _ right: UnsafeMutablePointer<Scalar>, into square: UnsafeMutablePointer<Scalar>
    ) {
        square.update(repeating: 0, count: featureCount * featureCount)
        Scalar._accumulateProduct(
            ProductSizes(
                rows: featureCount, columns: featureCount, terms: tile.rowCount,
                leftStride: tile.stride, rightStride: tile.stride, resultStride: featureCount),
            left: left, right: right, result: square)
    }
}
