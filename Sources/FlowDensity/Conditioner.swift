import RealModule

/// The network of a coupling layer: a multilayer perceptron with ReLU, the last layer linear.
///
///     h₀ = x     hₗ = max(0, Wₗ hₗ₋₁ + bₗ)     y = W_L h_{L−1} + b_L
///     backward   h̄ₗ₋₁ = Wₗᵀ (h̄ₗ ⊙ [hₗ > 0])     W̄ₗ = Σ (h̄ₗ ⊙ [hₗ > 0]) hₗ₋₁ᵀ     b̄ₗ = Σ h̄ₗ ⊙ [hₗ > 0]
///
/// The last layer begins at zero, so a coupling layer begins as the identity.
struct Conditioner<Scalar: FlowScalar>: CouplingNetwork {
    let inputCount: Int
    let hiddenWidth: Int
    let hiddenLayers: Int
    let outputCount: Int

    /// Inputs and outputs of each dense layer.
    private func sides(_ layer: Int) -> (inputs: Int, outputs: Int) {
        (
            layer == 0 ? inputCount : hiddenWidth,
            layer == hiddenLayers ? outputCount : hiddenWidth
        )
    }

    var parameterShapes: [ParameterShape] {
        (0...hiddenLayers).flatMap { layer in
            let (inputs, outputs) = sides(layer)
            return [
                ParameterShape(name: "dense.\(layer).weight", shape: [outputs, inputs]),
                ParameterShape(name: "dense.\(layer).bias", shape: [outputs]),
            ]
        }
    }

    /// Where a dense layer's weights begin among the parameters.
    private func offset(_ layer: Int) -> Int {
        guard layer > 0 else { return 0 }
        return (inputCount + 1) * hiddenWidth + (layer - 1) * (hiddenWidth + 1) * hiddenWidth
    }

    /// The panels of all dense layers.
    var derivedCount: Int { panelOffset(hiddenLayers + 1) }

    /// Where a dense layer's panels begin.
    private func panelOffset(_ layer: Int) -> Int {
        (0..<layer).reduce(0) { sum, layer in
            let (inputs, outputs) = sides(layer)
            return sum + WorkingParameters<Scalar>.aligned(outputs) * (inputs + 1)
        }
    }

    /// Packs the weights and biases of all dense layers.
    func derive(
        from parameters: UnsafePointer<Scalar>, into derived: UnsafeMutablePointer<Scalar>
    ) {
        for layer in 0...hiddenLayers {
            let (inputs, outputs) = sides(layer)
            let weights = parameters + offset(layer)
            Scalar._kernels.pack(
                outputs, inputs, weights, weights + inputs * outputs,
                derived + panelOffset(layer))
        }
    }

    /// The hidden activations are kept.
    var recordCount: Int { hiddenLayers * hiddenWidth }
    /// Gradients of two neighbouring hidden layers, by the input, and room for a turned layer.
    var scratchCount: Int {
        2 * hiddenWidth + inputCount
            + WorkingParameters<Scalar>.aligned(max(inputCount, hiddenWidth, outputCount))
    }

    /// He's start for the hidden layers, zeros for the last.
    func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, biasWidth: Double,
        using generator: inout SeededGenerator
    ) {
        for layer in 0...hiddenLayers {
            let (inputs, outputs) = sides(layer)
            let dense = UnsafeMutableBufferPointer(
                start: parameters + offset(layer), count: (inputs + 1) * outputs)
            if layer == hiddenLayers {
                dense.update(repeating: 0)
            } else {
                dense.drawHidden(
                    inputs: inputs, biasWidth: biasWidth, isFirst: layer == 0,
                    using: &generator)
            }
        }
    }

    /// A row is one position.
    var positions: Int { 1 }

    /// So many rows, or fewer, are faster one by one, if their hidden activations need not be kept.
    private static var singleRows: Int { 4 }

    /// `y = network(x)` on the columns of a tile; keeps the hidden activations in `record`.
    ///
    /// - Parameter derived: The panels that `derive` made.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func forward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        record: UnsafeMutablePointer<Scalar>, keepsRecord: Bool, parameters: UnsafePointer<Scalar>,
        derived: UnsafePointer<Scalar>
    ) {
        if rows <= Self.singleRows && !keepsRecord {
            for row in 0..<rows {
                forwardRow(
                    stride: stride, x: x + row, y: y + row, hidden: record, derived: derived)
            }
            return
        }
        let kernels = Scalar._kernels
        var input = x
        var panels = derived
        for layer in 0...hiddenLayers {
            let (inputs, outputs) = sides(layer)
            let isLast = layer == hiddenLayers
            let output = isLast ? y : record + layer * hiddenWidth * stride
            kernels.densePacked(
                rows, stride, outputs, inputs, panels, input, output, isLast ? 0 : 1)
            input = UnsafePointer(output)
            panels += WorkingParameters<Scalar>.aligned(outputs) * (inputs + 1)
        }
    }

    /// `y = network(x)` of one row of a tile, to the bits that `forward` gives it: its hidden activations stand close
    /// together, in the place of those of a tile.
    private func forwardRow(
        stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        hidden: UnsafeMutablePointer<Scalar>, derived: UnsafePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        var (input, step) = (x, stride)
        var panels = derived
        for layer in 0..<hiddenLayers {
            let inputs = sides(layer).inputs
            // The stride of a tile leaves room for whole panels.
            let output = hidden + layer * hiddenWidth * stride
            kernels.denseRow(hiddenWidth, inputs, panels, input, step, output, 1, 1)
            (input, step) = (UnsafePointer(output), 1)
            panels += WorkingParameters<Scalar>.aligned(hiddenWidth) * (inputs + 1)
        }
        kernels.denseRow(outputCount, hiddenWidth, panels, input, step, y, stride, 0)
    }

    /// Adds the gradients by the parameters.
    ///
    /// - Returns: The gradient by the input, in `scratch`.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func backward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, dy: UnsafePointer<Scalar>,
        record: UnsafePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>,
        parameters: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
    ) -> UnsafePointer<Scalar> {
        let kernels = Scalar._kernels
        let inputGradient = scratch + 2 * hiddenWidth * stride
        let room = inputGradient + inputCount * stride
        var outputGradient = dy
        for layer in (0...hiddenLayers).reversed() {
            let (inputs, outputs) = sides(layer)
            let weights = parameters + offset(layer)
            let weightGradient = gradient + offset(layer)
            let input = layer == 0 ? x : record + (layer - 1) * hiddenWidth * stride
            kernels.weightGradient(
                rows, stride, outputs, inputs, outputGradient, input, room, weightGradient)
            kernels.rowSums(
                rows, stride, outputs, outputGradient, weightGradient + inputs * outputs)
            let next =
                layer == 0 ? inputGradient : scratch + (layer % 2) * hiddenWidth * stride
            kernels.denseBackward(
                rows, stride, outputs, inputs, weights, outputGradient, layer == 0 ? nil : input,
                next)
            outputGradient = UnsafePointer(next)
        }
        return UnsafePointer(inputGradient)
    }
}

extension UnsafeMutableBufferPointer where Element: FlowScalar {
    /// Draws the weights and biases of a hidden layer.
    ///
    /// The weights are normal, of the variance 2 / inputs, as is due to ReLUs. The biases are drawn, too: from zero, all ReLUs of a
    /// layer with one input would bend at its zero and nowhere else, and of two features each coupling has such a
    /// network. ``LawLearning/biasWidth`` tells how wide they are.
    ///
    /// Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015, <https://arxiv.org/abs/1502.01852>.
    func drawHidden(
        inputs: Int, biasWidth: Double, isFirst: Bool, using generator: inout SeededGenerator
    ) {
        generator.fillNormal(self)
        let weight = (2 / Double(Swift.max(inputs, 1))).squareRoot()
        let bias = isFirst ? biasWidth : biasWidth * weight
        let weightCount = count * inputs / (inputs + 1)
        for index in indices { self[index] *= Element(index < weightCount ? weight : bias) }
    }
}
