import CFlowKernels
import COpenBLAS
public import RealModule

/// The scalars that a flow can be made of: Float for work, Double for laws and references.
public protocol FlowScalar: Real, BinaryFloatingPoint, Sendable {
    /// The hot loops for this scalar, for the best instruction set of this CPU.
    static var _kernels: Kernels<Self> { get }
    /// `result[m, n] += left[m, k] · right[n, k]ᵀ`, row-major with the given distances of rows.
    static func _accumulateProduct(
        _ sizes: ProductSizes, left: UnsafePointer<Self>, right: UnsafePointer<Self>,
        result: UnsafeMutablePointer<Self>)
    /// The element type that stands for this scalar in a tensor file.
    static var _elementType: TensorFile.ElementType { get }
    /// A tensor of these scalars.
    static func _tensor(_ values: [Self], shape: [Int]) -> TensorFile.Tensor
}

/// The sizes of a matrix product `[m, k] · [n, k]ᵀ`.
public struct ProductSizes: Sendable {
    var rows: Int
    var columns: Int
    var terms: Int
    var leftStride: Int
    var rightStride: Int
    var resultStride: Int

    package init(
        rows: Int, columns: Int, terms: Int, leftStride: Int, rightStride: Int, resultStride: Int
    ) {
        self.rows = rows
        self.columns = columns
        self.terms = terms
        self.leftStride = leftStride
        self.rightStride = rightStride
        self.resultStride = resultStride
    }
}

/// What a step of Adam needs to know beside the gradient.
///
/// Source: Kingma, Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1,
/// <https://arxiv.org/abs/1412.6980>; weight decay as in Loshchilov, Hutter, "Decoupled weight decay
/// regularization", 2019, algorithm 2.
package struct AdamStep: Sendable {
    package static let firstDecay = 0.9
    package static let secondDecay = 0.999
    package static let epsilon = 1e-8

    /// The number of the step, from 1.
    package var count: Int
    /// What the gradient is multiplied by first.
    package var gradientScale: Double
    package var learningRate: Double
    package var weightDecay: Double
    /// The decay of the running average of the weights.
    package var averageDecay: Double

    package init(
        count: Int, gradientScale: Double, learningRate: Double, weightDecay: Double,
        averageDecay: Double
    ) {
        self.count = count
        self.gradientScale = gradientScale
        self.learningRate = learningRate
        self.weightDecay = weightDecay
        self.averageDecay = averageDecay
    }
}

/// An instruction-set level that the kernels are compiled for.
package enum KernelLevel: Int, CaseIterable, Sendable {
    case baseline, avx2, avx512

    /// The level that is in use in this process.
    package static var inUse: KernelLevel { KernelLevel(rawValue: Int(fg_level())) ?? .baseline }

    /// The levels that this CPU has.
    package static var available: [KernelLevel] {
        allCases.filter { $0.rawValue <= Int(fg_highest_level()) }
    }
}

/// The hot loops, one set for each scalar and instruction-set level.
///
/// Tiles hold their rows in columns: `x[feature * stride + row]`; see CFlowKernels.h for what each
/// does and how far past the last row it may touch. All are plain C functions, without state: that is
/// why a set may be shared.
public final class Kernels<Scalar: FlowScalar>: @unchecked Sendable {
    /// Outputs in a panel of packed weights.
    package static var panelOutputs: Int { Int(FG_PANEL) }

    package let dense:
        (
            _ rows: Int, _ stride: Int, _ outputs: Int, _ inputs: Int,
            _ weights: UnsafePointer<Scalar>, _ bias: UnsafePointer<Scalar>,
            _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>, _ relu: Int32
        ) -> Void
    package let denseBackward:
        (
            _ rows: Int, _ stride: Int, _ outputs: Int, _ inputs: Int,
            _ weights: UnsafePointer<Scalar>, _ dy: UnsafePointer<Scalar>,
            _ mask: UnsafePointer<Scalar>?, _ dx: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let pack:
        (
            _ outputs: Int, _ inputs: Int, _ weights: UnsafePointer<Scalar>,
            _ bias: UnsafePointer<Scalar>, _ panels: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let densePacked:
        (
            _ rows: Int, _ stride: Int, _ outputs: Int, _ inputs: Int,
            _ panels: UnsafePointer<Scalar>, _ x: UnsafePointer<Scalar>,
            _ y: UnsafeMutablePointer<Scalar>, _ relu: Int32
        ) -> Void
    package let denseRow:
        (
            _ outputs: Int, _ inputs: Int, _ panels: UnsafePointer<Scalar>,
            _ x: UnsafePointer<Scalar>, _ xStep: Int, _ y: UnsafeMutablePointer<Scalar>,
            _ yStep: Int, _ relu: Int32
        ) -> Void
    package let weightGradient:
        (
            _ rows: Int, _ stride: Int, _ outputs: Int, _ inputs: Int,
            _ dy: UnsafePointer<Scalar>, _ x: UnsafePointer<Scalar>,
            _ room: UnsafeMutablePointer<Scalar>, _ gradient: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let rowSums:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ x: UnsafePointer<Scalar>,
            _ sums: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let clamp:
        (
            _ rows: Int, _ bound: Scalar, _ x: UnsafePointer<Scalar>,
            _ y: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let clampColumns:
        (
            _ rows: Int, _ stride: Int, _ count: Int, _ features: UnsafePointer<Int>,
            _ bound: Scalar, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let clampBackward:
        (
            _ rows: Int, _ bound: Scalar, _ y: UnsafePointer<Scalar>, _ dy: UnsafePointer<Scalar>,
            _ dx: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let affineForward:
        (
            _ rows: Int, _ bound: Scalar, _ s: UnsafeMutablePointer<Scalar>,
            _ scale: UnsafeMutablePointer<Scalar>, _ t: UnsafePointer<Scalar>,
            _ x: UnsafeMutablePointer<Scalar>, _ logDet: UnsafeMutablePointer<Double>
        ) -> Void
    package let affineForwardColumns:
        (
            _ rows: Int, _ stride: Int, _ count: Int, _ features: UnsafePointer<Int>,
            _ bound: Scalar, _ s: UnsafeMutablePointer<Scalar>,
            _ scale: UnsafeMutablePointer<Scalar>, _ t: UnsafePointer<Scalar>,
            _ kept: UnsafeMutablePointer<Scalar>, _ x: UnsafeMutablePointer<Scalar>,
            _ logDet: UnsafeMutablePointer<Double>
        ) -> Void
    package let affineInverse:
        (
            _ rows: Int, _ bound: Scalar, _ s: UnsafeMutablePointer<Scalar>,
            _ t: UnsafePointer<Scalar>, _ x: UnsafeMutablePointer<Scalar>,
            _ logDet: UnsafeMutablePointer<Double>
        ) -> Void
    package let affineBackward:
        (
            _ rows: Int, _ bound: Scalar, _ s: UnsafePointer<Scalar>,
            _ scale: UnsafePointer<Scalar>, _ x: UnsafePointer<Scalar>,
            _ dl: UnsafePointer<Scalar>, _ dx: UnsafeMutablePointer<Scalar>,
            _ ds: UnsafeMutablePointer<Scalar>, _ dt: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let scaleShift:
        (
            _ rows: Int, _ scale: Scalar, _ shift: Scalar, _ x: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let addScaled:
        (
            _ rows: Int, _ factor: Scalar, _ x: UnsafePointer<Scalar>,
            _ y: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let addConstant:
        (_ rows: Int, _ value: Double, _ logDet: UnsafeMutablePointer<Double>) -> Void
    package let dot: (_ rows: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafePointer<Scalar>) -> Double
    package let sum: (_ rows: Int, _ x: UnsafePointer<Scalar>) -> Double
    package let normalLogDensity:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ x: UnsafePointer<Scalar>,
            _ logDensity: UnsafeMutablePointer<Double>
        ) -> Void
    package let normalBackward:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ rowGradient: UnsafePointer<Scalar>,
            _ x: UnsafePointer<Scalar>, _ dx: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let logisticLogDensity:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ x: UnsafePointer<Scalar>,
            _ logDensity: UnsafeMutablePointer<Double>
        ) -> Void
    package let logisticBackward:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ rowGradient: UnsafePointer<Scalar>,
            _ x: UnsafePointer<Scalar>, _ dx: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let splineForward:
        (
            _ rows: Int, _ bins: Int, _ bound: Scalar, _ step: Int,
            _ numbers: UnsafeMutablePointer<Scalar>, _ x: UnsafeMutablePointer<Scalar>,
            _ logDet: UnsafeMutablePointer<Double>
        ) -> Void
    package let splineInverse:
        (
            _ rows: Int, _ bins: Int, _ bound: Scalar, _ step: Int,
            _ numbers: UnsafeMutablePointer<Scalar>, _ x: UnsafeMutablePointer<Scalar>,
            _ logDet: UnsafeMutablePointer<Double>
        ) -> Void
    package let splineBackward:
        (
            _ rows: Int, _ bins: Int, _ bound: Scalar, _ step: Int,
            _ numbers: UnsafePointer<Scalar>, _ x: UnsafePointer<Scalar>,
            _ dl: UnsafePointer<Scalar>, _ dx: UnsafeMutablePointer<Scalar>,
            _ dn: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let addReLU:
        (_ rows: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>) -> Void
    package let addWherePositive:
        (
            _ rows: Int, _ mask: UnsafePointer<Scalar>, _ dy: UnsafePointer<Scalar>,
            _ dx: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let loadTile:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ table: UnsafePointer<Scalar>,
            _ x: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let storeTile:
        (
            _ rows: Int, _ stride: Int, _ features: Int, _ x: UnsafePointer<Scalar>,
            _ table: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let exp:
        (_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>) ->
            Void
    package let tanh:
        (_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>) ->
            Void
    package let log:
        (_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>) ->
            Void
    package let softplus:
        (_ count: Int, _ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>) ->
            Void
    package let add:
        (
            _ count: Int, _ addend: UnsafePointer<Scalar>, _ sum: UnsafeMutablePointer<Scalar>
        ) -> Void
    package let sumOfSquares: (_ count: Int, _ x: UnsafePointer<Scalar>) -> Double
    private let adamStep:
        (
            _ count: Int, _ step: UnsafePointer<fg_adam_step>, _ gradient: UnsafePointer<Scalar>,
            _ parameters: UnsafeMutablePointer<Scalar>, _ first: UnsafeMutablePointer<Scalar>,
            _ second: UnsafeMutablePointer<Scalar>, _ average: UnsafeMutablePointer<Scalar>
        ) -> Void

    /// One step of Adam with decoupled weight decay, and the running average of the weights, for a
    /// range of the parameters.
    package func adam(
        _ range: Range<Int>, _ step: AdamStep, gradient: UnsafePointer<Scalar>,
        parameters: UnsafeMutablePointer<Scalar>, first: UnsafeMutablePointer<Scalar>,
        second: UnsafeMutablePointer<Scalar>, average: UnsafeMutablePointer<Scalar>
    ) {
        var step = fg_adam_step(
            gradient_scale: step.gradientScale, first_decay: AdamStep.firstDecay,
            second_decay: AdamStep.secondDecay,
            first_correction: 1 / (1 - Double.pow(AdamStep.firstDecay, step.count)),
            second_correction: 1 / (1 - Double.pow(AdamStep.secondDecay, step.count)),
            learning_rate: step.learningRate, weight_decay: step.weightDecay,
            epsilon: AdamStep.epsilon, average_decay: step.averageDecay)
        let start = range.lowerBound
        adamStep(
            range.count, &step, gradient + start, parameters + start, first + start,
            second + start, average + start)
    }

    fileprivate init(_ table: fg_kernels_f32) where Scalar == Float {
        dense = table.dense
        denseBackward = table.dense_backward
        pack = table.pack
        densePacked = table.dense_packed
        denseRow = table.dense_row
        weightGradient = table.weight_gradient
        rowSums = table.row_sums
        clamp = table.clamp
        clampColumns = table.clamp_columns
        clampBackward = table.clamp_backward
        affineForward = table.affine_forward
        affineForwardColumns = table.affine_forward_columns
        affineInverse = table.affine_inverse
        affineBackward = table.affine_backward
        scaleShift = table.scale_shift
        addScaled = table.add_scaled
        addConstant = table.add_constant
        dot = table.dot
        sum = table.sum
        normalLogDensity = table.normal_log_density
        normalBackward = table.normal_backward
        logisticLogDensity = table.logistic_log_density
        logisticBackward = table.logistic_backward
        splineForward = table.spline_forward
        splineInverse = table.spline_inverse
        splineBackward = table.spline_backward
        addReLU = table.add_relu
        addWherePositive = table.add_where_positive
        loadTile = table.load_tile
        storeTile = table.store_tile
        exp = table.exp
        tanh = table.tanh
        log = table.log
        softplus = table.softplus
        add = table.add
        sumOfSquares = table.sum_of_squares
        adamStep = table.adam
    }

    fileprivate init(_ table: fg_kernels_f64) where Scalar == Double {
        dense = table.dense
        denseBackward = table.dense_backward
        pack = table.pack
        densePacked = table.dense_packed
        denseRow = table.dense_row
        weightGradient = table.weight_gradient
        rowSums = table.row_sums
        clamp = table.clamp
        clampColumns = table.clamp_columns
        clampBackward = table.clamp_backward
        affineForward = table.affine_forward
        affineForwardColumns = table.affine_forward_columns
        affineInverse = table.affine_inverse
        affineBackward = table.affine_backward
        scaleShift = table.scale_shift
        addScaled = table.add_scaled
        addConstant = table.add_constant
        dot = table.dot
        sum = table.sum
        normalLogDensity = table.normal_log_density
        normalBackward = table.normal_backward
        logisticLogDensity = table.logistic_log_density
        logisticBackward = table.logistic_backward
        splineForward = table.spline_forward
        splineInverse = table.spline_inverse
        splineBackward = table.spline_backward
        addReLU = table.add_relu
        addWherePositive = table.add_where_positive
        loadTile = table.load_tile
        storeTile = table.store_tile
        exp = table.exp
        tanh = table.tanh
        log = table.log
        softplus = table.softplus
        add = table.add
        sumOfSquares = table.sum_of_squares
        adamStep = table.adam
    }
}

extension Kernels<Float> {
    fileprivate static let inUse = Kernels(fg_kernels_f32_in_use().pointee)

    /// The kernels of a level, or nil when this CPU does not have it.
    package static func at(_ level: KernelLevel) -> Kernels? {
        fg_kernels_f32_at(Int32(level.rawValue)).map { Kernels($0.pointee) }
    }
}

extension Kernels<Double> {
    fileprivate static let inUse = Kernels(fg_kernels_f64_in_use().pointee)

    /// The kernels of a level, or nil when this CPU does not have it.
    package static func at(_ level: KernelLevel) -> Kernels? {
        fg_kernels_f64_at(Int32(level.rawValue)).map { Kernels($0.pointee) }
    }
}

extension Float: FlowScalar {
    /// The hot loops for this scalar.
    public static var _kernels: Kernels<Float> { Kernels<Float>.inUse }

    /// `result += left · rightᵀ`, by OpenBLAS.
    public static func _accumulateProduct(
        _ sizes: ProductSizes, left: UnsafePointer<Float>, right: UnsafePointer<Float>,
        result: UnsafeMutablePointer<Float>
    ) {
        cblas_sgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, CInt(sizes.rows), CInt(sizes.columns),
            CInt(sizes.terms), 1, left, CInt(sizes.leftStride), right, CInt(sizes.rightStride), 1,
            result, CInt(sizes.resultStride))
    }

    /// The element type that stands for this scalar in a tensor file.
    public static var _elementType: TensorFile.ElementType { .float32 }

    /// A tensor of these scalars.
    public static func _tensor(_ values: [Float], shape: [Int]) -> TensorFile.Tensor {
        TensorFile.Tensor(values, shape: shape)
    }
}

extension Double: FlowScalar {
    /// The hot loops for this scalar.
    public static var _kernels: Kernels<Double> { Kernels<Double>.inUse }

    /// `result += left · rightᵀ`, by OpenBLAS.
    public static func _accumulateProduct(
        _ sizes: ProductSizes, left: UnsafePointer<Double>, right: UnsafePointer<Double>,
        result: UnsafeMutablePointer<Double>
    ) {
        cblas_dgemm(
            CblasRowMajor, CblasNoTrans, CblasTrans, CInt(sizes.rows), CInt(sizes.columns),
            CInt(sizes.terms), 1, left, CInt(sizes.leftStride), right, CInt(sizes.rightStride), 1,
            result, CInt(sizes.resultStride))
    }

    /// The element type that stands for this scalar in a tensor file.
    public static var _elementType: TensorFile.ElementType { .float64 }

    /// A tensor of these scalars.
    public static func _tensor(_ values: [Double], shape: [Int]) -> TensorFile.Tensor {
        TensorFile.Tensor(values, shape: shape)
    }
}
