/// Rows to learn from, in the order in which a fit draws them, and the noise that they get.
struct MinibatchSource<Scalar: FlowScalar>: Sendable {
    let rows: Matrix<Scalar>
    let context: Matrix<Scalar>?
    let noise: TrainingNoise<Scalar>?
    let seed: UInt64
    /// The rows of the present minibatch.
    private(set) var batch: [Int] = []
    private var order: [Int]
    private var drawn: Int
    private var generator: SeededGenerator

    init(
        rows: Matrix<Scalar>, context: Matrix<Scalar>?, noise: TrainingNoise<Scalar>?,
        seed: UInt64
    ) {
        self.rows = rows
        self.context = context
        self.noise = noise
        self.seed = seed
        order = Array(0..<rows.rowCount)
        drawn = order.count
        generator = SeededGenerator(seed: seed, stream: 0)
    }

    var rowCount: Int { rows.rowCount }

    /// Draws the next minibatch, each row once before any comes again.
    mutating func draw(_ count: Int) {
        batch.removeAll(keepingCapacity: true)
        batch.reserveCapacity(count)
        while batch.count < count {
            if drawn == order.count {
                order.shuffle(using: &generator)
                drawn = 0
            }
            let taken = min(count - batch.count, order.count - drawn)
            batch += order[drawn..<drawn + taken]
            drawn += taken
        }
    }

    /// Puts rows into a tile, with their noise.
    func load(
        _ indices: ArraySlice<Int>, into tile: Tile<Scalar>, using generator: inout SeededGenerator
    ) {
        let features = rows.columnCount
        rows.storage.withUnsafeBufferPointer { table in
            for (row, index) in indices.enumerated() {
                for feature in 0..<features {
                    tile.x[feature * tile.stride + row] = table[index * features + feature]
                }
            }
        }
        if let context {
            let columns = context.columnCount
            context.storage.withUnsafeBufferPointer { table in
                for (row, index) in indices.enumerated() {
                    for column in 0..<columns {
                        tile.context[column * tile.stride + row] = table[index * columns + column]
                    }
                }
            }
        }
        guard let noise else { return }
        for feature in 0..<features {
            noise.add(
                to: UnsafeMutableBufferPointer(
                    start: tile.x + feature * tile.stride, count: indices.count),
                feature: feature, using: &generator)
        }
    }
}

extension TrainingNoise {
    /// Adds noise to some values of a feature.
    fileprivate func add(
        to values: UnsafeMutableBufferPointer<Scalar>, feature: Int,
        using generator: inout SeededGenerator
    ) {
        let width = uniform[feature]
        if width > 0 {
            for index in values.indices {
                values[index] += width * Scalar(generator.nextUniform() - 0.5)
            }
        }
        let deviation = gaussian[feature]
        guard deviation > 0 else { return }
        var index = 0
        while index < values.count {
            let (first, second) = generator.nextNormalPair()
            values[index] += deviation * Scalar(first)
            if index + 1 < values.count { values[index + 1] += deviation * Scalar(second) }
            index += 2
        }
    }

    /// Adds noise to all rows.
    func add(to rows: inout Matrix<Scalar>, using generator: inout SeededGenerator) {
        var column = [Scalar](repeating: 0, count: rows.rowCount)
        for feature in 0..<rows.columnCount {
            for row in 0..<rows.rowCount { column[row] = rows[row, feature] }
            column.withUnsafeMutableBufferPointer {
                add(to: $0, feature: feature, using: &generator)
            }
            for row in 0..<rows.rowCount { rows[row, feature] = column[row] }
        }
    }
}

/// The gradient of a minibatch's loss, computed in shards whose number depends on the batch size
/// alone, and added in their order.
struct ShardedGradient<Scalar: FlowScalar> {
    /// A shard has so many rows at least, where the batch has.
    static var smallestShard: Int { 64 }
    static var largestShardCount: Int { 8 }
    /// The parameters whose gradients are added at a time.
    private static var partLength: Int { 32_768 }

    private let architecture: Architecture<Scalar>
    private var batches: MinibatchSource<Scalar>
    private let batchSize: Int
    private let trimFraction: Double
    private let shards: [Shard]

    /// The memory of one shard; one thread uses it at a time.
    private final class Shard: @unchecked Sendable {
        let range: Range<Int>
        let workspace: Workspace<Scalar>
        let gradient: UnsafeMutableBufferPointer<Scalar>
        var lossSum = 0.0

        init(range: Range<Int>, architecture: Architecture<Scalar>) {
            self.range = range
            workspace = architecture.trainingWorkspace()
            gradient = .allocate(capacity: architecture.parameterCount)
            gradient.initialize(repeating: 0)
        }

        deinit {
            gradient.deallocate()
        }
    }

    init(
        architecture: Architecture<Scalar>, batches: MinibatchSource<Scalar>, batchSize: Int,
        trimFraction: Double
    ) {
        self.architecture = architecture
        self.batches = batches
        self.batchSize = batchSize
        self.trimFraction = trimFraction
        let count = min(Self.largestShardCount, max(1, batchSize / Self.smallestShard))
        shards = (0..<count).map { index in
            Shard(
                range: index * batchSize / count..<(index + 1) * batchSize / count,
                architecture: architecture)
        }
    }

    /// The Euclidean norm of the gradient by the parameters that are learned.
    var norm: Double {
        withTotal { gradient in
            architecture.learned.reduce(0) { sum, parameters in
                let places = parameters.places
                return sum
                    + Scalar._kernels.sumOfSquares(places.count, gradient + places.lowerBound)
            }.squareRoot()
        }
    }

    /// Calls `body` with the gradient, summed over all shards.
    func withTotal<Result>(_ body: (UnsafePointer<Scalar>) -> Result) -> Result {
        guard let total = shards[0].gradient.baseAddress else {
            var nothing = Scalar.zero
            return body(&nothing)
        }
        return body(UnsafePointer(total))
    }

    /// Computes loss and gradient of the next minibatch.
    ///
    /// - Returns: The mean of −ln p over the rows that are not trimmed away, in nats.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    mutating func compute(
        working: WorkingParameters<Scalar>, step: Int, parallel: ParallelFor
    ) -> Double {
        batches.draw(batchSize)
        let batch = batches.batch
        let weights =
            trimFraction > 0
            ? keptRows(batch, working: working, step: step, parallel: parallel) : nil
        let keptCount = weights.map { Int($0.reduce(0, +)) } ?? batchSize
        let rowWeight = Scalar(1 / Double(keptCount))
        let architecture = architecture
        forEachTile(batch, step: step, parallel: parallel) { shard, tile, range in
            guard let gradient = shard.gradient.baseAddress else { return }
            if range.lowerBound == shard.range.lowerBound {
                shard.gradient.update(repeating: 0)
                shard.lossSum = 0
            }
            architecture.forwardAndBackward(
                tile, workspace: shard.workspace, working: working, gradient: gradient
            ) { latent, x, rowGradients in
                let features = architecture.featureCount
                architecture.base.addLogDensity(of: latent, featureCount: features)
                rowGradients.update(repeating: 0, count: latent.stride)
                for (row, place) in range.enumerated() {
                    let weight = weights?[place] ?? 1
                    guard weight > 0 else { continue }
                    shard.lossSum -= latent.logDet[row]
                    rowGradients[row] = -rowWeight
                }
                architecture.base.backward(
                    latent, featureCount: features, rowGradient: rowGradients, dx: x)
            }
        }
        addShards(parallel: parallel)
        return shards.reduce(0) { $0 + $1.lossSum } / Double(keptCount)
    }

    /// Adds the gradients of all shards to the first, in their order: a part after the other, each
    /// so short that its sum stays in the cache.
    private func addShards(parallel: ParallelFor) {
        guard shards.count > 1 else { return }
        let shards = shards
        let count = architecture.parameterCount
        parallel((count + Self.partLength - 1) / Self.partLength) { part in
            let first = part * Self.partLength
            guard let total = shards[0].gradient.baseAddress else { return }
            for index in 1..<shards.count {
                guard let gradient = shards[index].gradient.baseAddress else { continue }
                Scalar._kernels.add(
                    min(Self.partLength, count - first), gradient + first, total + first)
            }
        }
    }

    /// 1 for each row of the batch that stays, 0 for the share of lowest density.
    private func keptRows(
        _ batch: [Int], working: WorkingParameters<Scalar>, step: Int, parallel: ParallelFor
    ) -> [Double] {
        let architecture = architecture
        var densities = [Double](repeating: 0, count: batch.count)
        densities.withUnsafeMutableBufferPointer { densities in
            nonisolated(unsafe) let densities = densities
            forEachTile(batch, step: step, parallel: parallel) { _, tile, range in
                architecture.forward(tile, working: working)
                architecture.base.addLogDensity(
                    of: tile, featureCount: architecture.featureCount)
                for (row, place) in range.enumerated() {
                    let density = tile.logDet[row]
                    densities[place] = density.isNaN ? -.infinity : density
                }
            }
        }
        let dropped = min(batch.count - 1, Int(Double(batch.count) * trimFraction))
        let byDensity = densities.indices.sorted {
            densities[$0] == densities[$1] ? $0 < $1 : densities[$0] < densities[$1]
        }
        var weights = [Double](repeating: 1, count: batch.count)
        for place in byDensity.prefix(dropped) { weights[place] = 0 }
        return weights
    }

    /// Calls `body` with each tile of the batch, loaded with its noise, and its places in the batch.
    ///
    /// The tiles of a shard come in their order; the noise depends on seed, step and shard alone.
    private func forEachTile(
        _ batch: [Int], step: Int, parallel: ParallelFor,
        _ body: @Sendable (Shard, Tile<Scalar>, Range<Int>) -> Void
    ) {
        let shards = shards
        let batches = batches
        let architecture = architecture
        let tileRows = Workspace<Scalar>.tileRows
        parallel(shards.count) { index in
            let shard = shards[index]
            var generator = SeededGenerator(
                seed: batches.seed, stream: UInt64(step) << 8 | UInt64(index))
            for start in stride(
                from: shard.range.lowerBound, to: shard.range.upperBound, by: tileRows)
            {
                let range = start..<min(start + tileRows, shard.range.upperBound)
                let tile = shard.workspace.tile(rowCount: range.count)
                batches.load(batch[range], into: tile, using: &generator)
                architecture.clampContext(of: tile)
                body(shard, tile, range)
            }
        }
    }
}
