import FlowDensity
import Foundation

/// Fits a flow to rows of float32 and writes the log-likelihood of others as float64.
///
/// Arguments: law, features, coupling layers, hidden width, steps, rows of a step, seed, and the files of the rows to learn
/// from, to stop by and to judge by, and of the likelihoods.
@main enum Main {
    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        let sizes = arguments.dropFirst().prefix(6).compactMap { Int($0) }
        guard arguments.count == 11, sizes.count == 6,
            let law = CouplingLawKind(rawValue: arguments[0])
        else { throw BadArguments() }
        func rows(_ path: String) throws -> Matrix<Float> {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            let values = [Float](unsafeUninitializedCapacity: data.count / 4) { buffer, count in
                count = data.copyBytes(to: buffer) / 4
            }
            return Matrix(rowCount: values.count / sizes[0], columnCount: sizes[0], storage: values)
        }
        var options = FlowOptions()
        options.law = law
        options.couplingLayers = sizes[1]
        options.hiddenWidth = sizes[2]
        var training = TrainingOptions()
        training.maximumSteps = sizes[3]
        training.batchSize = sizes[4]
        var generator = SeededGenerator(seed: UInt64(sizes[5]))
        var flow = Flow<Float>(featureCount: sizes[0], options: options, using: &generator)
        _ = try flow.fit(
            rows(arguments[7]), heldOut: rows(arguments[8]), options: training, using: &generator)
        try flow.logLikelihood(rows(arguments[9])).withUnsafeBytes {
            try Data($0).write(to: URL(fileURLWithPath: arguments[10]))
        }
    }
}

/// Not what `Benchmarks/learning/run` would say.
struct BadArguments: Error {}
