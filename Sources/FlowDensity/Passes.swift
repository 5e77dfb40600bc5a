// How tiles of rows go through the layers: the one place that splits rows over a ParallelFor.

extension Architecture {
    static var tileRows: Int { Workspace<Scalar>.tileRows }

    /// Takes a tile through all layers, each keeping its record in the same place.
    func forward(_ tile: Tile<Scalar>, working: WorkingParameters<Scalar>) {
        for (layer, offset) in zip(layers, workingOffsets) {
            layer.forward(tile, parameters: working.start + offset)
        }
    }

    /// Takes a tile back through all layers.
    func inverse(_ tile: Tile<Scalar>, working: WorkingParameters<Scalar>) {
        for index in layers.indices.reversed() {
            layers[index].inverse(tile, parameters: working.start + workingOffsets[index])
        }
    }

    /// Takes a tile through all layers and its gradients back.
    ///
    /// - Parameters:
    ///   - workspace: One that holds the records of all layers.
    ///   - working: The parameters of all layers.
    ///   - gradient: The gradient by the parameters, added to.
    ///   - seed: Fills, from the latent tile, the gradients of the loss by `z` and by each row's
    ///     log-determinant.
    func forwardAndBackward(
        _ tile: Tile<Scalar>, workspace: Workspace<Scalar>, working: WorkingParameters<Scalar>,
        gradient: UnsafeMutablePointer<Scalar>,
        seed: (
            Tile<Scalar>, _ x: UnsafeMutablePointer<Scalar>, _ logDet: UnsafeMutablePointer<Scalar>
        )
            -> Void
    ) {
        var tile = tile
        for (layer, offset) in zip(layers, workingOffsets) {
            layer.forward(tile, parameters: working.start + offset)
            tile.record += layer.recordCount * Self.tileRows
        }
        var gradientTile = workspace.gradientTile(parameters: gradient)
        seed(tile, gradientTile.x, workspace.rowGradient)
        for index in layers.indices.reversed() {
            tile.record -= layers[index].recordCount * Self.tileRows
            gradientTile.parameters = gradient + offsets[index]
            layers[index].backward(
                tile, gradient: gradientTile, parameters: working.start + workingOffsets[index])
        }
    }

    /// A workspace that holds the records of all layers.
    func trainingWorkspace() -> Workspace<Scalar> {
        Workspace(
            featureCount: featureCount, contextCount: contextCount,
            recordCount: layers.map(\.recordCount).reduce(0, +),
            scratchCount: layers.map(\.scratchCount).max() ?? 0)
    }

    /// The gradients on the data's side, given those on the latent side.
    func backward(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>?, parameters: [Scalar],
        latentGradient: Matrix<Scalar>, logDetGradient: [Scalar]
    ) -> (x: Matrix<Scalar>, parameters: [Scalar]) {
        check(rows, context: context)
        BLASCore.prepare()
        let workspace = trainingWorkspace()
        let working = working(parameters)
        let tileRows = Self.tileRows
        var gradient = [Scalar](repeating: 0, count: parameterCount)
        var result = latentGradient
        for first in stride(from: 0, to: rows.rowCount, by: tileRows) {
            let tile = workspace.tile(rowCount: min(tileRows, rows.rowCount - first))
            load(rows, from: first, into: tile.x, tile)
            if let context {
                load(context, from: first, into: tile.context, tile)
                clampContext(of: tile)
            }
            gradient.withUnsafeMutableBufferPointer { gradient in
                guard let gradient = gradient.baseAddress else { return }
                forwardAndBackward(
                    tile, workspace: workspace, working: working, gradient: gradient
                ) { latent, x, logDet in
                    load(latentGradient, from: first, into: x, latent)
                    logDet.update(repeating: 0, count: latent.stride)
                    for row in 0..<latent.rowCount {
                        logDet[row] = logDetGradient[first + row]
                    }
                }
            }
            let back = workspace.gradientTile(parameters: workspace.rowGradient).x
            for row in 0..<tile.rowCount {
                for feature in 0..<featureCount {
                    result[first + row, feature] = back[feature * tile.stride + row]
                }
            }
        }
        return (result, gradient)
    }

    /// Calls `body` with each tile of rows, loaded from the table, and the index of its first row.
    private func forEachTile(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>?, parallel: ParallelFor,
        _ body: @Sendable (Tile<Scalar>, Int) -> Void
    ) {
        check(rows, context: context)
        let tileRows = Self.tileRows
        let tileCount = (rows.rowCount + tileRows - 1) / tileRows
        parallel(tileCount) { index in
            workspaces.withWorkspace { workspace in
                let first = index * tileRows
                let tile = workspace.tile(rowCount: min(tileRows, rows.rowCount - first))
                load(rows, from: first, into: tile.x, tile)
                if let context {
                    load(context, from: first, into: tile.context, tile)
                    clampContext(of: tile)
                }
                body(tile, first)
            }
        }
    }

    /// Brings the context of a tile within the conditioners' bound.
    func clampContext(of tile: Tile<Scalar>) {
        for column in 0..<contextCount {
            let values = tile.context + column * tile.stride
            Scalar._kernels.clamp(tile.rowCount, contextBound, values, values)
        }
    }

    func load(
        _ table: Matrix<Scalar>, from first: Int, into columns: UnsafeMutablePointer<Scalar>,
        _ tile: Tile<Scalar>
    ) {
        table.storage.withUnsafeBufferPointer { storage in
            guard let start = storage.baseAddress else { return }
            Scalar._kernels.loadTile(
                tile.rowCount, tile.stride, table.columnCount, start + first * table.columnCount,
                columns)
        }
    }

    /// The parameters must be the layers', the rows the parameters', the context the rows'.
    func check(_ rows: Matrix<Scalar>, context: Matrix<Scalar>?) {
        precondition(
            rows.columnCount == featureCount,
            "the flow has \(featureCount) features, the rows have \(rows.columnCount)")
        precondition(
            (context?.columnCount ?? 0) == contextCount,
            "the flow has \(contextCount) context columns, found \(context?.columnCount ?? 0)")
        precondition(
            context.map { $0.rowCount == rows.rowCount } ?? true,
            "each row needs a row of context")
    }

    /// Parameters as tiles need them.
    func working(_ parameters: [Scalar]) -> WorkingParameters<Scalar> {
        let working = WorkingParameters(self)
        parameters.withUnsafeBufferPointer { working.set($0, of: self) }
        return working
    }

    /// The rows and log-determinants on the other side of the layers.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func map(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>?, working: WorkingParameters<Scalar>,
        inverse: Bool, parallel: ParallelFor = .serial
    ) -> (rows: Matrix<Scalar>, logDet: [Double]) {
        var mapped = rows
        var logDet = [Double](repeating: 0, count: rows.rowCount)
        mapped.storage.withUnsafeMutableBufferPointer { mapped in
            logDet.withUnsafeMutableBufferPointer { logDet in
                // Each tile writes to rows of its own.
                nonisolated(unsafe) let mapped = mapped
                nonisolated(unsafe) let logDet = logDet
                forEachTile(rows, context: context, parallel: parallel) { tile, first in
                    guard let table = mapped.baseAddress, let sums = logDet.baseAddress else {
                        return
                    }
                    if inverse {
                        self.inverse(tile, working: working)
                    } else {
                        self.forward(tile, working: working)
                    }
                    Scalar._kernels.storeTile(
                        tile.rowCount, tile.stride, featureCount, tile.x,
                        table + first * featureCount)
                    (sums + first).update(from: tile.logDet, count: tile.rowCount)
                }
            }
        }
        return (mapped, logDet)
    }

    /// The log-likelihood of each row, in nats, put into as many places.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func logLikelihood(
        _ rows: Matrix<Scalar>, context: Matrix<Scalar>?, working: WorkingParameters<Scalar>,
        parallel: ParallelFor, into result: UnsafeMutableBufferPointer<Double>
    ) {
        precondition(
            result.count == rows.rowCount,
            "\(rows.rowCount) rows have no room in \(result.count) places")
        // Each tile writes to places of its own.
        nonisolated(unsafe) let result = result
        forEachTile(rows, context: context, parallel: parallel) { tile, first in
            forward(tile, working: working)
            base.addLogDensity(of: tile, featureCount: featureCount)
            for row in 0..<tile.rowCount {
                let value = tile.logDet[row]
                // The comparison is false for NaN.
                result[first + row] = value > lowestLogLikelihood ? value : lowestLogLikelihood
            }
        }
    }
}

/// What a row scores whose log-likelihood is lower than this or not a number; far below any that
/// a finite row has, and finite, so that sums of scores stay finite.
package let lowestLogLikelihood = -1e30
