import FlowDensity
import Foundation
import TestSupport
import Testing

/// Float against Double on the public tables that `FLOWGUARD_DATA` leads to; skipped without them.
@Suite struct RealDataTests {
    private static let folder = ProcessInfo.processInfo.environment["FLOWGUARD_DATA"]
        .map { URL(fileURLWithPath: $0).appendingPathComponent("tabular") }

    /// The numeric columns of a table but its last, the label, standardised.
    private func table(_ name: String, in folder: URL, limit: Int) throws -> Matrix<Float> {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["gzip", "-dc", folder.appendingPathComponent(name).path]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(name)")
        let lines = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline)
        var rows: [[Double]] = []
        for line in lines.dropFirst().prefix(limit) {
            rows.append(line.split(separator: ",").dropLast().compactMap { Double($0) })
        }
        let columns = try #require(rows.first).count
        var matrix = Matrix<Float>(rowCount: rows.count, columnCount: columns)
        for column in 0..<columns {
            let values = rows.map { $0[column] }
            let mean = values.reduce(0, +) / Double(values.count)
            let square = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
            let deviation = max((square / Double(values.count)).squareRoot(), 1e-9)
            for (row, value) in values.enumerated() {
                matrix[row, column] = Float((value - mean) / deviation)
            }
        }
        return matrix
    }

    @Test(.enabled(if: folder != nil), arguments: FlowVariant.rows)
    func floatAgreesWithDoubleOnRealRows(variant: FlowVariant) throws {
        let folder = try #require(Self.folder)
        var rowCount = 0
        var largest = 0.0
        var largestUsual = 0.0
        for (name, limit) in [
            ("shuttle.csv.gz", 50_000), ("http.csv.gz", 28_000), ("mammography.csv.gz", 12_000),
            ("pendigits.csv.gz", 7_000), ("satellite.csv.gz", 7_000),
        ] {
            let rows = try table(name, in: folder, limit: limit)
            var generator = SeededGenerator(seed: 40)
            var options = variant.options
            options.couplingLayers = 6
            options.hiddenWidth = 32
            var flow = Flow<Float>(
                featureCount: rows.columnCount, options: options, using: &generator)
            var training = TrainingOptions()
            training.maximumSteps = 200
            let noise = TrainingNoise<Float>(
                uniform: [Float](repeating: 0, count: rows.columnCount),
                gaussian: [Float](repeating: 0.1, count: rows.columnCount))
            _ = try flow.fit(
                rows, heldOut: rows.rows(0..<2000), noise: noise, options: training,
                using: &generator, parallel: .threaded)
            var file = TensorFile()
            flow.write(into: &file)
            let wide = try Flow<Double>(reading: file)
            let scores = flow.logLikelihood(rows, parallel: .threaded)
            let exact = wide.logLikelihood(
                rows.converted(to: Double.self), parallel: .threaded)
            for (score, exact) in zip(scores, exact) {
                let difference = abs(score - exact)
                largest = max(largest, difference)
                if exact > -200 { largestUsual = max(largestUsual, difference) }
                // Log-likelihoods of rows far out are large, and rounded by their size.
                expectClose(score, exact, relative: 1e-5, absolute: 2e-3, variant.name)
            }
            rowCount += rows.rowCount
        }
        #expect(rowCount >= 100_000)
        print(
            "Float against Double, \(variant.name): \(rowCount) rows, largest difference of ln p "
                + "\(largest), of those above -200 nats \(largestUsual)")
    }
}
