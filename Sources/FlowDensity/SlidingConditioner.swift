import RealModule

/// The network of a coupling layer over a window: dense layers that slide over its positions.
///
/// They are plain or in residual blocks. With one position it is a residual network of a row.
///
/// `Dᵢ` is the i-th sliding dense layer, the input `x` at each position with the context beside it:
///
///     plain      h₀ = max(0, D₀ x)     hᵢ = max(0, Dᵢ hᵢ₋₁)                            y = D_L h_{L−1}
///     residual   h₀ = max(0, D₀ x)     uᵢ = max(0, D₂ᵢ₋₁ hᵢ₋₁)
///                                      hᵢ = max(0, hᵢ₋₁ + D₂ᵢ uᵢ)                     y = D_{2L+1} h_L
///     backward   a bar with a dot is the gradient before the ReLU of its layer, ḣᵢ = h̄ᵢ ⊙ [hᵢ > 0]:
///                u̇ᵢ = [uᵢ > 0] ⊙ D₂ᵢᵀ ḣᵢ     ḣᵢ₋₁ = [hᵢ₋₁ > 0] ⊙ (D₂ᵢ₋₁ᵀ u̇ᵢ + ḣᵢ)
///
/// The last layer of each block and of the network begins at zero: blocks begin as the identity,
/// and so does the coupling layer.
///
/// Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016, §3.2,
/// <https://arxiv.org/abs/1512.03385>; Dinh et al., "Density estimation using Real NVP", 2017, §3.7.
struct SlidingConditioner<Scalar: FlowScalar>: CouplingNetwork {
    let positions: Int
    let inputChannels: Int
    let contextCount: Int
    let outputChannels: Int
    let hiddenWidth: Int
    let isResidual: Bool
    private let kernelWidth: Int
    private let layers: [SlidingDense<Scalar>]
    private let offsets: [Int]

    init(
        positions: Int, inputChannels: Int, contextCount: Int, outputChannels: Int,
        hiddenWidth: Int, hiddenLayers: Int, kernelWidth: Int, isResidual: Bool
    ) {
        precondition(kernelWidth % 2 == 1, "a conditioner sees as many positions on both sides")
        self.positions = positions
        self.inputChannels = inputChannels
        self.contextCount = contextCount
        self.outputChannels = outputChannels
        self.hiddenWidth = hiddenWidth
        self.kernelWidth = kernelWidth
        self.isResidual = isResidual
        let inner = isResidual ? 2 * hiddenLayers : hiddenLayers - 1
        layers = (0...inner + 1).map { layer in
            SlidingDense(
                positions: positions,
                inputs: layer == 0 ? inputChannels + contextCount : hiddenWidth,
                outputs: layer == inner + 1 ? outputChannels : hiddenWidth,
                kernelWidth: kernelWidth)
        }
        var offsets: [Int] = []
        var count = 0
        for layer in layers {
            offsets.append(count)
            count += layer.parameterCount
        }
        self.offsets = offsets
    }

    var inputCount: Int { positions * inputChannels + contextCount }
    var outputCount: Int { positions * outputChannels }
    var parameterShapes: [ParameterShape] {
        layers.enumerated().flatMap { index, layer in
            [
                ParameterShape(name: "dense.\(index).weight", shape: layer.weightShape),
                ParameterShape(name: "dense.\(index).bias", shape: [layer.outputs]),
            ]
        }
    }

    private var margin: Int { kernelWidth / 2 }
    private var paddedPositions: Int { positions + 2 * margin }
    private var channels: Int { inputChannels + contextCount }
    private var inputMapCount: Int { paddedPositions * channels }
    private var hiddenMapCount: Int { paddedPositions * hiddenWidth }

    /// The input with its margins, and all hidden maps.
    var recordCount: Int { inputMapCount + (layers.count - 1) * hiddenMapCount }
    /// Gradients of three neighbouring hidden maps, by the input, and by one window.
    var scratchCount: Int {
        3 * hiddenMapCount + inputMapCount
            + (kernelWidth == 1 ? 0 : kernelWidth * max(hiddenWidth, channels))
    }

    /// Whether a layer ends a residual block: its output is added to the block's input.
    private func endsBlock(_ layer: Int) -> Bool {
        isResidual && layer > 0 && layer < layers.count - 1 && layer % 2 == 0
    }

    func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, biasWidth: Double,
        using generator: inout SeededGenerator
    ) {
        for (index, layer) in layers.enumerated() {
            let dense = UnsafeMutableBufferPointer(
                start: parameters + offsets[index], count: layer.weightCount + layer.outputs)
            if index == layers.count - 1 || endsBlock(index) {
                dense.update(repeating: 0)
            } else {
                dense.drawHidden(
                    inputs: layer.windowInputs, biasWidth: biasWidth, isFirst: index == 0,
                    using: &generator)
            }
        }
    }

    /// The hidden map that a layer writes, from its margin on.
    private func hidden(
        _ layer: Int, _ record: UnsafeMutablePointer<Scalar>, _ stride: Int
    ) -> UnsafeMutablePointer<Scalar> {
        record + (inputMapCount + layer * hiddenMapCount) * stride
    }

    /// Sets the margins of a map to zero.
    private func clearMargins(
        of map: UnsafeMutablePointer<Scalar>, channels: Int, stride: Int
    ) {
        let size = margin * channels * stride
        map.update(repeating: 0, count: size)
        (map + size + positions * channels * stride).update(repeating: 0, count: size)
    }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func forward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        record: UnsafeMutablePointer<Scalar>, keepsRecord: Bool, parameters: UnsafePointer<Scalar>,
        derived: UnsafePointer<Scalar>
    ) {
        clearMargins(of: record, channels: channels, stride: stride)
        let context = x + positions * inputChannels * stride
        for position in 0..<positions {
            let place = record + (margin + position) * channels * stride
            place.update(
                from: x + position * inputChannels * stride, count: inputChannels * stride)
            (place + inputChannels * stride).update(from: context, count: contextCount * stride)
        }
        var input = record
        for (index, layer) in layers.enumerated() {
            let isLast = index == layers.count - 1
            let map = isLast ? y : hidden(index, record, stride)
            if !isLast { clearMargins(of: map, channels: hiddenWidth, stride: stride) }
            let output = isLast ? y : map + margin * hiddenWidth * stride
            layer.forward(
                rows: rows, stride: stride, x: input, y: output,
                parameters: parameters + offsets[index],
                isActivated: !isLast && !endsBlock(index))
            if endsBlock(index) {
                let entered = hidden(index - 2, record, stride) + margin * hiddenWidth * stride
                for column in 0..<positions * hiddenWidth {
                    Scalar._kernels.addReLU(
                        rows, entered + column * stride, output + column * stride)
                }
            }
            input = map
        }
    }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func backward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, dy: UnsafePointer<Scalar>,
        record: UnsafePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>,
        parameters: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
    ) -> UnsafePointer<Scalar> {
        let inputGradient = scratch + 3 * hiddenMapCount * stride
        let window = inputGradient + inputMapCount * stride
        let toFirst = margin * hiddenWidth * stride
        // The gradient before the ReLU of the map that a layer wrote; three of them are alive.
        func before(_ layer: Int) -> UnsafeMutablePointer<Scalar> {
            scratch + layer % 3 * hiddenMapCount * stride
        }
        for index in layers.indices.reversed() {
            let outputGradient =
                index == layers.count - 1 ? dy : UnsafePointer(before(index) + toFirst)
            let input =
                index == 0
                ? record : record + (inputMapCount + (index - 1) * hiddenMapCount) * stride
            layers[index].backward(
                rows: rows, stride: stride, x: input, dy: outputGradient,
                dx: index == 0 ? inputGradient : before(index - 1), isMasked: index > 0,
                window: window, parameters: parameters + offsets[index],
                gradient: gradient + offsets[index])
            if index > 0 && endsBlock(index + 1) {
                let skipped = before(index + 1) + toFirst
                let entered = before(index - 1) + toFirst
                for column in 0..<positions * hiddenWidth {
                    Scalar._kernels.addWherePositive(
                        rows, input + toFirst + column * stride, skipped + column * stride,
                        entered + column * stride)
                }
            }
        }
        for position in 0..<positions {
            (inputGradient + position * inputChannels * stride).update(
                from: inputGradient + (margin + position) * channels * stride,
                count: inputChannels * stride)
        }
        return UnsafePointer(inputGradient)
    }
}
