import CSpeedLimits

/// The matrix products of a flow alone, by OpenBLAS, on tiles of rows: a limit for what calls it.
struct GEMMs {
    /// Inputs and outputs of all dense layers.
    private var sides: [(inputs: Int, outputs: Int)] = []

    init(features: Int, layers: Int, width: Int) {
        for layer in 0..<layers {
            let reads = layer % 2 == 0 ? (features + 1) / 2 : features / 2
            sides += [(reads, width), (width, width), (width, 2 * (features - reads))]
        }
    }

    /// - Parameter rows: Rows of a tile.
    func measure(rows: Int, seconds: Double, isTraining: Bool) -> Reply {
        let widest = sides.reduce(1) { max($0, max($1.inputs, $1.outputs)) }
        let x = [Float](repeating: 0.5, count: rows * widest)
        var y = x
        let weights = sides.map { [Float](repeating: 0.25, count: $0.inputs * $0.outputs) }
        var gradients = weights
        var reply = Reply()
        let meter = Meter()
        repeat {
            for (index, side) in sides.enumerated() {
                let (n, i, o) = (Int32(rows), Int32(side.inputs), Int32(side.outputs))
                fg_gemm_forward(n, o, i, x, weights[index], &y)
                guard isTraining else { continue }
                fg_gemm_input(n, i, o, x, weights[index], &y)
                fg_gemm_weights(o, i, n, x, x, &gradients[index])
            }
            reply.calls += 1
        } while meter.elapsed < seconds
        meter.read(into: &reply)
        reply.count = Double(reply.calls * rows)
        return reply
    }
}
