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

    /// The hidden activations are kept.
    var recordCount: Int { hiddenLayers * hiddenWidth }
    /// Gradients of two neighbouring hidden layers, and by the input.
    var scratchCount: Int { 2 * hiddenWidth + inputCount }

    /// He's start for the hidden layers, zeros for the last.
    func initialize(
        _ parameters: UnsafeMutablePointer<Scalar>, using generator: inout SeededGenerator
    ) {
        for layer in 0...hiddenLayers {
            let (inputs, outputs) = sides(layer)
            let weights = UnsafeMutableBufferPointer(
                start: parameters + offset(layer), count: inputs * outputs)
            if layer == hiddenLayers {
                weights.update(repeating: 0)
            } else {
                generator.fillNormal(weights)
                let deviation = Scalar(2 / Double(max(inputs, 1))).squareRoot()
                for index in weights.indices { weights[index] *= deviation }
            }
            (parameters + offset(layer) + inputs * outputs).update(repeating: 0, count: outputs)
        }
    }

    /// A row is one position.
    var positions: Int { 1 }

    /// `y = network(x)` on the columns of a tile; keeps the hidden activations in `record`.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func forward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        record: UnsafeMutablePointer<Scalar>, parameters: UnsafePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        var input = x
        for layer in 0...hiddenLayers {
            let (inputs, outputs) = sides(layer)
            let weights = parameters + offset(layer)
            let isLast = layer == hiddenLayers
            let output = isLast ? y : record + layer * hiddenWidth * stride
            kernels.dense(
                rows, stride, outputs, inputs, weights, weights + inputs * outputs, input, output,
                isLast ? 0 : 1)
            input = UnsafePointer(output)
        }
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
        var outputGradient = dy
        for layer in (0...hiddenLayers).reversed() {
            let (inputs, outputs) = sides(layer)
            let weights = parameters + offset(layer)
            let weightGradient = gradient + offset(layer)
            let input = layer == 0 ? x : record + (layer - 1) * hiddenWidth * stride
            if inputs > 0 {
                Scalar._accumulateProduct(
                    ProductSizes(
                        rows: outputs, columns: inputs, terms: rows, leftStride: stride,
                        rightStride: stride, resultStride: inputs),
                    left: outputGradient, right: input, result: weightGradient)
            }
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
