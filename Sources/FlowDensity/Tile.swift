import Synchronization

/// A few rows on their way through the layers of a flow, in memory that the caller owns.
///
/// The rows stand in columns: feature `j` of row `r` is `x[j * stride + r]`, so that each feature is
/// contiguous and rows fill the lanes of a vector. Memory behind `rowCount`, up to `stride`, is
/// there and may be overwritten.
public struct Tile<Scalar: FlowScalar> {
    /// The distance between features: the number of rows, rounded up to what the kernels touch.
    public let stride: Int
    /// The number of rows that the tile holds at present.
    public var rowCount: Int
    /// The features, `[featureCount, stride]`; a layer maps them in place.
    public var x: UnsafeMutablePointer<Scalar>
    /// What is known beside the features, `[contextCount, stride]`, within the conditioners' bound.
    public var context: UnsafeMutablePointer<Scalar>
    /// The log-determinant so far of each row, `[stride]`; a layer adds its own.
    public var logDet: UnsafeMutablePointer<Double>
    /// Where a layer keeps what its backward pass needs, `[recordCount, stride]`.
    public var record: UnsafeMutablePointer<Scalar>
    /// Whether a backward pass follows; if not, `record` is room that a layer may use as it likes.
    public let keepsRecord: Bool
}

/// A tile as a backward pass sees it: the gradients of the loss, and room to work.
public struct GradientTile<Scalar: FlowScalar> {
    /// The gradient by the features, `[featureCount, stride]`: by those after the layer when its
    /// backward pass begins, by those before it when it ends.
    public var x: UnsafeMutablePointer<Scalar>
    /// The gradient by the log-determinant of each row, `[stride]`.
    public var logDet: UnsafePointer<Scalar>
    /// Room that a layer may use while its backward pass runs, `[scratchCount, stride]`.
    public var scratch: UnsafeMutablePointer<Scalar>
    /// The gradient by the layer's parameters; a layer adds to it.
    public var parameters: UnsafeMutablePointer<Scalar>
}

/// The memory that one tile needs on its way through a flow; allocated once and used again.
///
/// One thread uses a workspace at a time, which is why it may be handed from one to another.
final class Workspace<Scalar: FlowScalar>: @unchecked Sendable {
    /// The most rows in a tile.
    ///
    /// 96 is a multiple of the kernels' blocks of rows at every level, and keeps the activations of
    /// a conditioner in the second-level cache.
    static var tileRows: Int { 96 }

    private let memory: UnsafeMutablePointer<Scalar>
    private let logDet: UnsafeMutablePointer<Double>
    private let recordStart: Int
    private let gradientStart: Int
    private let featureCount: Int
    private let keepsRecords: Bool
    /// That of the tile which is held at present.
    private var stride = Workspace.tileRows

    /// - Parameters:
    ///   - recordCount: Scalars per row that are kept: the largest layer's for a forward pass, the sum
    ///     over all layers when a backward pass follows.
    ///   - scratchCount: Scalars per row that backward passes work in; `nil` when none follows.
    init(featureCount: Int, contextCount: Int, recordCount: Int, scratchCount: Int?) {
        let stride = Self.tileRows
        self.featureCount = featureCount
        keepsRecords = scratchCount != nil
        recordStart = (featureCount + contextCount) * stride
        gradientStart = recordStart + recordCount * stride
        let count = gradientStart + (featureCount + 1 + (scratchCount ?? 0)) * stride
        memory = .allocate(capacity: count)
        memory.initialize(repeating: 0, count: count)
        logDet = .allocate(capacity: stride)
        logDet.initialize(repeating: 0, count: stride)
    }

    deinit {
        memory.deallocate()
        logDet.deallocate()
    }

    /// The tile, with `rowCount` rows and log-determinants of zero.
    ///
    /// Few rows stand close together, where the caches hold them best.
    func tile(rowCount: Int) -> Tile<Scalar> {
        let stride = WorkingParameters<Scalar>.aligned(rowCount)
        self.stride = stride
        logDet.update(repeating: 0, count: stride)
        return Tile(
            stride: stride, rowCount: rowCount, x: memory,
            context: memory + featureCount * stride, logDet: logDet, record: memory + recordStart,
            keepsRecord: keepsRecords)
    }

    /// The gradient of each row's log-likelihood, `[stride]`.
    var rowGradient: UnsafeMutablePointer<Scalar> {
        memory + gradientStart + featureCount * stride
    }

    /// The gradients that belong to the tile.
    func gradientTile(parameters: UnsafeMutablePointer<Scalar>) -> GradientTile<Scalar> {
        GradientTile(
            x: memory + gradientStart, logDet: UnsafePointer(rowGradient),
            scratch: memory + gradientStart + (featureCount + 1) * stride, parameters: parameters)
    }
}

/// The workspaces of a flow that are not in use: scoring allocates none once it has run.
final class WorkspacePool<Scalar: FlowScalar>: Sendable {
    private let featureCount: Int
    private let contextCount: Int
    private let recordCount: Int
    private let idle = Mutex<[Workspace<Scalar>]>([])

    init(featureCount: Int, contextCount: Int, recordCount: Int) {
        self.featureCount = featureCount
        self.contextCount = contextCount
        self.recordCount = recordCount
    }

    /// Runs `body` with a workspace that nobody else uses meanwhile.
    func withWorkspace(_ body: (Workspace<Scalar>) -> Void) {
        let workspace =
            idle.withLock { $0.popLast() }
            ?? Workspace(
                featureCount: featureCount, contextCount: contextCount, recordCount: recordCount,
                scratchCount: nil)
        body(workspace)
        idle.withLock { $0.append(workspace) }
    }
}
