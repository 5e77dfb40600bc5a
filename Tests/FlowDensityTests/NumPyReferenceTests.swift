import FlowDensity
import Foundation
import TestSupport
import Testing

/// What a Python program printed, or nil when it could not run or failed.
private func output(of arguments: [String]) throws -> String? {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3"] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return process.terminationStatus == 0 ? String(decoding: data, as: UTF8.self) : nil
}

@Suite struct NumPyReferenceTests {
    private func text(_ matrix: Matrix<Float>) -> String {
        (0..<matrix.rowCount).map { row in
            (0..<matrix.columnCount).map { String(Double(matrix[row, $0])) }
                .joined(separator: " ")
        }.joined(separator: "\n") + "\n"
    }

    /// A flow after some steps of training, its values of the size that they have in use.
    private func fitted(
        _ options: FlowOptions, rows: Matrix<Float>, context: Matrix<Float>?
    ) throws -> Flow<Float> {
        var generator = SeededGenerator(seed: 5)
        var flow = Flow<Float>(
            featureCount: rows.columnCount, contextCount: context?.columnCount ?? 0,
            options: options, using: &generator)
        var training = TrainingOptions()
        training.maximumSteps = 60
        training.averageDecay = 0
        _ = try flow.fit(
            rows, context: context, heldOut: rows, heldOutContext: context, options: training,
            using: &generator)
        return flow
    }

    @Test(arguments: FlowVariant.all, [0, 3])
    func numPyReadsTheSameDensityFromAModelFile(variant: FlowVariant, context: Int) throws {
        guard try output(of: ["-c", "import numpy"]) != nil else {
            print("skipped: no numpy")
            return
        }
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("reference/score_model.py").path
        let directory = try TemporaryDirectory()
        for features in variant.windowFeatures.map({ [$0] }) ?? [1, 2, 7] {
            var generator = SeededGenerator(seed: 6)
            let rows = Matrix<Float>.normal(
                rowCount: 300, columnCount: features, using: &generator)
            let known = Matrix<Float>.normal(
                rowCount: 300, columnCount: context, using: &generator)
            let flow = try fitted(variant.options, rows: rows, context: context > 0 ? known : nil)
            var file = TensorFile()
            flow.write(into: &file)
            var arguments = [
                script, try directory.write(file.encoded(), to: "model.safetensors"),
                try directory.write(text(rows), to: "rows.txt"),
            ]
            if context > 0 {
                arguments.append(try directory.write(text(known), to: "context.txt"))
            }
            let printed = try #require(try output(of: arguments))
            let reference = printed.split(separator: "\n").compactMap { Double($0) }
            let scores = flow.logLikelihood(rows, context: context > 0 ? known : nil)
            #expect(reference.count == scores.count)
            for (score, exact) in zip(scores, reference) {
                expectClose(
                    score, exact, absolute: 1e-4,
                    "\(variant.name), D = \(features), C = \(context)")
            }
        }
    }
}
