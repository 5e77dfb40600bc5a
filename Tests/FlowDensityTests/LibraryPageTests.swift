import FlowDensity
import Foundation
import Testing

/// The code on the library's page, run as it stands there.
@Suite struct LibraryPageTests {
    @Test func thePageIsWhatRunsHere() throws {
        // Begin of the page.
        // Rows of two features; the second follows the first.
        var generator = SeededGenerator(seed: 1)
        var rows = Matrix<Float>(rowCount: 5_000, columnCount: 2)
        for row in 0..<rows.rowCount {
            let (first, second) = generator.nextNormalPair()
            rows[row, 0] = Float(first)
            rows[row, 1] = Float(first * first / 2 + 0.3 * second)
        }

        // Make a flow and fit it: to most of the rows, judged by the others.
        var flow = Flow<Float>.realNVP(features: 2)
        let summary = try flow.fit(
            rows.rows(0..<4_000), heldOut: rows.rows(4_000..<5_000), using: &generator)
        print(summary.heldOutLogLikelihood, "nats a row")

        // How likely is each row? Where does it lie in the latent space?
        let scores = flow.logLikelihood(rows)
        let latent = flow.forward(rows).z
        let back = flow.inverse(latent).x

        // Draw new rows.
        let drawn = flow.sample(1_000, using: &generator)

        // Save and load: the bytes are a safetensors file.
        var file = TensorFile()
        flow.write(into: &file)
        let bytes = file.encoded()
        let loaded = try Flow<Float>(reading: TensorFile(decoding: bytes, name: "wave.safetensors"))
        // End of the page.

        // ln p is that of a normal number and of another of deviation 0.3 beside it.
        let entropy = log(2 * Double.pi) + 1 + log(0.3)
        #expect(abs(summary.heldOutLogLikelihood + entropy) < 0.15)
        #expect(scores.count == 5_000 && drawn.rowCount == 1_000)
        #expect(zip(back.storage, rows.storage).allSatisfy { abs($0 - $1) < 1e-3 })
        #expect(loaded.parameters == flow.parameters)
    }

    @Test func theOptionsAreThoseOfThePage() {
        // Begin of the options.
        var options = FlowOptions()
        options.couplingLayers = 8
        options.law = .spline  // what a coupling does: additive, multiplicative, affine, spline
        options.base = .normal  // the latent density: normal, logistic
        options.normalization = .batchNorm  // between couplings: none, actNorm, batchNorm
        options.conditioner = .residual  // the networks: perceptron, residual
        options.partition = .given([[0, 1], [2]])  // what is read: or alternating, halves, parity
        let spline = Flow<Float>.realNVP(features: 3, options: options)
        // End of the options.
        #expect(spline.options.law == .spline && spline.featureCount == 3)
    }

    @Test func windowsAreMadeAsOnTheirPage() {
        // Begin of windows.
        var options = FlowOptions()
        options.couplingLayers = 4
        options.hiddenWidth = 32
        options.window = WindowShape(channels: 3, length: 16, scales: 2)
        var flow = Flow<Float>.glow(features: 48, options: options)
        // End of windows.
        var generator = SeededGenerator(seed: 2)
        flow.parameters[0] += 0.1
        let drawn = flow.sample(10, using: &generator)
        #expect(drawn.columnCount == 48)
        #expect(flow.logLikelihood(drawn).allSatisfy { $0.isFinite && $0 > -1000 })
    }

    @Test(arguments: [
        ("FlowDensity.md", "the page"), ("FlowDensity.md", "the options"),
        ("Windows.md", "windows"),
    ])
    func thisFileIsThePage(page: String, part: String) throws {
        let here = URL(fileURLWithPath: #filePath)
        let catalogue = here.deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
            .appendingPathComponent("Sources/FlowDensity/FlowDensity.docc")
        // Indents and the blanks before a comment are the formatter's.
        func squeezed(_ text: some StringProtocol) -> String {
            text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        }
        let source = try String(contentsOf: here, encoding: .utf8)
        let begin = try #require(source.range(of: "// Begin of \(part)."))
        let end = try #require(source.range(of: "// End of \(part)."))
        let written = try String(
            contentsOf: catalogue.appendingPathComponent(page), encoding: .utf8)
        let code = squeezed(source[begin.upperBound..<end.lowerBound])
        #expect(!code.isEmpty)
        #expect(squeezed(written).contains(code), "\(page), \(part)")
    }
}
