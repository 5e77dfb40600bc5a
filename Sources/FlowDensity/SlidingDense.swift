/// A dense layer that slides over the positions of a window: a one-dimensional convolution.
///
/// With `r = kernelWidth / 2`, and zeros before the first position and after the last one:
///
///     forward    y_t = W [x_{t−r}; …; x_{t+r}] + b
///     backward   [x̄_{t−r}; …; x̄_{t+r}] += Wᵀ ȳ_t     W̄ = Σ_t ȳ_t [x_{t−r}; …; x_{t+r}]ᵀ     b̄ = Σ_t ȳ_t
///
/// A map holds its channels position after position, with `r` positions of zeros at both ends, so
/// that the window of each output is one run of columns: each position is one dense layer.
struct SlidingDense<Scalar: FlowScalar>: Sendable {
    let positions: Int
    let inputs: Int
    let outputs: Int
    let kernelWidth: Int

    /// Positions of zeros at each end.
    var margin: Int { kernelWidth / 2 }
    /// Inputs of one position: those of its window.
    var windowInputs: Int { kernelWidth * inputs }
    var weightCount: Int { outputs * windowInputs }
    var parameterCount: Int { weightCount + outputs }
    var weightShape: [Int] {
        kernelWidth == 1 ? [outputs, inputs] : [outputs, kernelWidth, inputs]
    }

    /// `y = W x + b` at each position, then ReLU if asked.
    ///
    /// - Parameters:
    ///   - x: The input map, from its margin on.
    ///   - y: The output map, from its first position on.
    func forward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, y: UnsafeMutablePointer<Scalar>,
        parameters: UnsafePointer<Scalar>, isActivated: Bool
    ) {
        for position in 0..<positions {
            Scalar._kernels.dense(
                rows, stride, outputs, windowInputs, parameters, parameters + weightCount,
                x + position * inputs * stride, y + position * outputs * stride,
                isActivated ? 1 : 0)
        }
    }

    /// Adds the gradients by the parameters, and sets that by the input.
    ///
    /// - Parameters:
    ///   - x: The input map, from its margin on.
    ///   - dy: The gradient by the output, from its first position on.
    ///   - dx: The gradient by the input, from its margin on.
    ///   - isMasked: Whether the input is what a ReLU gave, and `dx` the gradient before that.
    ///   - window: Room for the gradient by one window; not used when `kernelWidth` is 1.
    func backward(
        rows: Int, stride: Int, x: UnsafePointer<Scalar>, dy: UnsafePointer<Scalar>,
        dx: UnsafeMutablePointer<Scalar>, isMasked: Bool, window: UnsafeMutablePointer<Scalar>,
        parameters: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
    ) {
        let kernels = Scalar._kernels
        if kernelWidth > 1 {
            dx.update(repeating: 0, count: (positions + 2 * margin) * inputs * stride)
        }
        for position in 0..<positions {
            let x = x + position * inputs * stride
            let dy = dy + position * outputs * stride
            let dx = dx + position * inputs * stride
            if windowInputs > 0 {
                Scalar._accumulateProduct(
                    ProductSizes(
                        rows: outputs, columns: windowInputs, terms: rows, leftStride: stride,
                        rightStride: stride, resultStride: windowInputs),
                    left: dy, right: x, result: gradient)
            }
            kernels.rowSums(rows, stride, outputs, dy, gradient + weightCount)
            let mask = isMasked ? x : nil
            if kernelWidth == 1 {
                kernels.denseBackward(
                    rows, stride, outputs, inputs, parameters, dy, mask, dx)
            } else {
                kernels.denseBackward(
                    rows, stride, outputs, windowInputs, parameters, dy, mask, window)
                kernels.add(windowInputs * stride, window, dx)
            }
        }
    }
}
