import RealModule

/// An invertible linear map of the features: Glow's 1x1 convolution, of a row; over windows, of the
/// channels at each position.
///
/// `W = P·L·(U + diag σ)` with `P` a fixed permutation, `L` lower triangular with ones on its
/// diagonal, `U` strictly upper triangular and `σ = exp(s)`:
///
///     forward          v = U·x + σ ⊙ x     y = L·v     z = P·y
///     inverse          y = Pᵀ·z     v = L⁻¹·y     x = (U + diag σ)⁻¹·v, by substitution
///     log-determinant  log|det ∂z/∂x| = Σⱼ sⱼ, in O(D); of a window, times its positions
///     backward         ȳ = Pᵀ·z̄     v̄ = Lᵀ·ȳ     L̄ = Σ ȳ·vᵀ     x̄ = Uᵀ·v̄ + σ ⊙ v̄     Ū = Σ v̄·xᵀ
///                      s̄ = Σ v̄ ⊙ x ⊙ σ + ℓ̄
///
/// - Note: The paper begins with a random rotation; here `σ = 1` and the triangles are drawn at random,
///   small, around `L = I`, `U = 0`; `P` is drawn from the layer's number. `s = c·tanh(ŝ/c)` with ActNorm's
///   bound. The diagonal is positive: a change of sign of a latent feature changes no density.
///
/// Source: Kingma, Dhariwal, "Glow", 2018, §3.2, <https://arxiv.org/abs/1807.03039>.
public struct InvertibleLinear<Scalar: FlowScalar>: Bijector {
    /// What the layer is called in a model file.
    public var name: String { "invertible_linear" }
    /// The permutation, and the shape of the windows, where there is one.
    public var structure: [String: [Int]] {
        channels.structure.merging(["permutation": permutation]) { shape, _ in shape }
    }
    /// The number of features that the layer maps.
    public var featureCount: Int { channels.featureCount }
    /// Latent channel `i` is channel `permutation[i]` of `y`.
    public let permutation: [Int]
    /// Which features are mapped together: those of all channels at one position.
    let channels: Channels

    private static var bound: Scalar { ActNorm<Scalar>.logScaleBound }
    private var side: Int { channels.count }
    private var triangleCount: Int { side * (side - 1) / 2 }

    /// `lower` and `upper`, the strict triangles row by row, and `log_scale` (ŝ).
    public var parameterShapes: [ParameterShape] {
        [
            ParameterShape(name: "lower", shape: [triangleCount]),
            ParameterShape(name: "upper", shape: [triangleCount]),
            ParameterShape(name: "log_scale", shape: [side]),
        ]
    }
    /// x, v, y and the two triangles as square matrices, with a row of zeros.
    public var recordCount: Int {
        let square = 2 * side * side + side
        return 3 * featureCount + (square + Self.rows - 1) / Self.rows
    }
    /// v̄, y̅, and the gradient by a triangle as a square matrix.
    public var scratchCount: Int {
        2 * featureCount + (side * side + Self.rows - 1) / Self.rows
    }

    private static var rows: Int { Workspace<Scalar>.tileRows }

    /// The map of the `layer`-th step of a flow, of rows or of windows of as many channels by
    /// positions.
    ///
    /// - Precondition: `positions` divides `featureCount`.
    public init(featureCount: Int, layer: Int, positions: Int = 1) {
        channels = Channels(featureCount: featureCount, positions: positions)
        var generator = SeededGenerator(seed: UInt64(layer))
        permutation = Array(0..<channels.count).shuffled(using: &generator)
    }

    /// Sets the triangles at random, so that each channel carries something of each other one from
    /// the beginning, and the diagonal to one.
    public func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        let triangles = UnsafeMutableBufferPointer(start: parameters, count: 2 * triangleCount)
        generator.fillNormal(triangles)
        let deviation = Scalar(0.5 / Double(side).squareRoot())
        for place in triangles.indices { triangles[place] *= deviation }
        (parameters + 2 * triangleCount).update(repeating: 0, count: side)
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
        let square = side * side
        return Record(
            x: tile.record, v: tile.record + size, y: tile.record + 2 * size, lower: squares,
            upper: squares + square, zeros: squares + 2 * square)
    }

    /// Writes the triangles out as square matrices, which is what the dense kernels take.
    private func expand(_ parameters: UnsafePointer<Scalar>, into record: Record) {
        record.lower.update(repeating: 0, count: 2 * side * side + side)
        var lower = 0
        var upper = triangleCount
        for row in 0..<side {
            for column in 0..<row {
                record.lower[row * side + column] = parameters[lower]
                lower += 1
            }
            for column in (row + 1)..<side {
                record.upper[row * side + column] = parameters[upper]
                upper += 1
            }
        }
    }

    /// `y = matrix · x` at each position, whose channels stand `positions` columns apart.
    private func multiply(
        _ tile: Tile<Scalar>, _ matrix: UnsafePointer<Scalar>, zeros: UnsafePointer<Scalar>,
        _ x: UnsafeMutablePointer<Scalar>, into y: UnsafeMutablePointer<Scalar>
    ) {
        for position in 0..<channels.positions {
            let place = position * tile.stride
            Scalar._kernels.dense(
                tile.rowCount, channels.positions * tile.stride, side, side, matrix, zeros,
                x + place, y + place, 0)
        }
    }

    /// `dx = matrixᵀ · dy` at each position.
    private func multiplyTransposed(
        _ tile: Tile<Scalar>, _ matrix: UnsafePointer<Scalar>, _ dy: UnsafeMutablePointer<Scalar>,
        into dx: UnsafeMutablePointer<Scalar>
    ) {
        for position in 0..<channels.positions {
            let place = position * tile.stride
            Scalar._kernels.denseBackward(
                tile.rowCount, channels.positions * tile.stride, side, side, matrix, dy + place,
                nil, dx + place)
        }
    }

    /// `to += factor · from`, channel by channel, at all positions.
    private func addScaled(
        _ tile: Tile<Scalar>, _ factor: Scalar, channel source: Int,
        of from: UnsafeMutablePointer<Scalar>, toChannel target: Int,
        of to: UnsafeMutablePointer<Scalar>
    ) {
        for position in 0..<channels.positions {
            Scalar._kernels.addScaled(
                tile.rowCount, factor,
                from + (source * channels.positions + position) * tile.stride,
                to + (target * channels.positions + position) * tile.stride)
        }
    }

    /// Maps a tile from the data's side to the latent side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func forward(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        let kernels = Scalar._kernels
        let run = channels.positions * tile.stride
        let record = record(tile)
        expand(parameters, into: record)
        record.x.update(from: tile.x, count: featureCount * tile.stride)
        multiply(tile, record.upper, zeros: record.zeros, record.x, into: record.v)
        var logDet = 0.0
        for channel in 0..<side {
            let s = logScale(parameters[2 * triangleCount + channel])
            logDet += Double(channels.positions) * Double(s)
            addScaled(
                tile, Scalar.exp(s), channel: channel, of: record.x, toChannel: channel,
                of: record.v)
        }
        multiply(tile, record.lower, zeros: record.zeros, record.v, into: record.y)
        for channel in 0..<side {
            let source = permutation[channel]
            (tile.x + channel * run).update(from: record.y + source * run, count: run)
            addScaled(tile, 1, channel: source, of: record.v, toChannel: channel, of: tile.x)
        }
        kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Maps a tile from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverse(_ tile: Tile<Scalar>, parameters: UnsafePointer<Scalar>) {
        let kernels = Scalar._kernels
        let run = channels.positions * tile.stride
        let record = record(tile)
        expand(parameters, into: record)
        record.y.update(from: tile.x, count: featureCount * tile.stride)
        for channel in 0..<side {
            (tile.x + permutation[channel] * run).update(
                from: record.y + channel * run, count: run)
        }
        for row in 0..<side {
            for column in 0..<row {
                addScaled(
                    tile, -record.lower[row * side + column], channel: column, of: tile.x,
                    toChannel: row, of: tile.x)
            }
        }
        var logDet = 0.0
        for row in (0..<side).reversed() {
            for column in (row + 1)..<side {
                addScaled(
                    tile, -record.upper[row * side + column], channel: column, of: tile.x,
                    toChannel: row, of: tile.x)
            }
            let s = logScale(parameters[2 * triangleCount + row])
            logDet -= Double(channels.positions) * Double(s)
            let scale = Scalar.exp(-s)
            for feature in channels.features(of: row) {
                kernels.scaleShift(tile.rowCount, scale, 0, tile.x + feature * tile.stride)
            }
        }
        kernels.addConstant(tile.rowCount, logDet, tile.logDet)
    }

    /// Carries gradients from the latent side to the data's side.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func backward(
        _ tile: Tile<Scalar>, gradient: GradientTile<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let run = channels.positions * tile.stride
        let record = record(tile)
        let dv = gradient.scratch
        let dy = dv + featureCount * tile.stride
        let square = dy + featureCount * tile.stride

        for channel in 0..<side {
            (dy + permutation[channel] * run).update(
                from: gradient.x + channel * run, count: run)
        }
        multiplyTransposed(tile, record.lower, dy, into: dv)
        for channel in 0..<side {
            addScaled(tile, 1, channel: channel, of: dy, toChannel: channel, of: dv)
        }
        product(tile, dy, record.v, into: square)
        var place = 0
        for row in 0..<side {
            for column in 0..<row {
                gradient.parameters[place] += square[row * side + column]
                place += 1
            }
        }
        product(tile, dv, record.x, into: square)
        for row in 0..<side {
            for column in (row + 1)..<side {
                gradient.parameters[place] += square[row * side + column]
                place += 1
            }
        }
        let logDetSum =
            Double(channels.positions) * Scalar._kernels.sum(tile.rowCount, gradient.logDet)
        multiplyTransposed(tile, record.upper, dv, into: gradient.x)
        for channel in 0..<side {
            let s = logScale(parameters[2 * triangleCount + channel])
            let scale = Scalar.exp(s)
            let share = s / Self.bound
            let own = Double(square[channel * side + channel]) * Double(scale) + logDetSum
            gradient.parameters[place + channel] += Scalar(own) * (1 - share * share)
            addScaled(tile, scale, channel: channel, of: dv, toChannel: channel, of: gradient.x)
        }
    }

    /// `square = left · rightᵀ`, summed over the rows and positions of the tile.
    private func product(
        _ tile: Tile<Scalar>, _ left: UnsafeMutablePointer<Scalar>,
        _ right: UnsafeMutablePointer<Scalar>, into square: UnsafeMutablePointer<Scalar>
    ) {
        square.update(repeating: 0, count: side * side)
        let stride = channels.positions * tile.stride
        for position in 0..<channels.positions {
            Scalar._accumulateProduct(
                ProductSizes(
                    rows: side, columns: side, terms: tile.rowCount, leftStride: stride,
                    rightStride: stride, resultStride: side),
                left: left + position * tile.stride, right: right + position * tile.stride,
                result: square)
        }
    }
}
