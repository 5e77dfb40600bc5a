import ArgumentParser
import Dispatch
import FlowDensity
import Foundation

/// Learns densities of the plane with each family of flows, and draws them beside the data.
@main
struct FlowguardDensities: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flowguard-densities",
        abstract: "Draw what each family of flows learns of three densities of the plane.",
        discussion: """
            Writes a picture for each family: above, the data; below, the density that was learned \
            from it; from left to right two moons, a checkerboard and eight Gaussians. Prints how \
            likely held-out points are, beside the truth where it has a closed form.
            """)

    @Option(help: "The folder that the pictures go into.")
    var output = "."
    @Option(help: "Steps of each fit.")
    var steps = 5000
    @Option(help: "The side of a panel in pixels.")
    var side = 160
    @Option(help: "The seed of data and flows.")
    var seed: UInt64 = 1
    @Option(help: "The kinds of flow: \(Kind.allCases.map(\.rawValue).joined(separator: ", ")).")
    var only: [Kind] = Kind.allCases

    /// A kind of flow that is shown.
    enum Kind: String, CaseIterable, ExpressibleByArgument {
        case nice, realnvp, glow, spline

        var options: FlowOptions {
            var options = FlowOptions()
            options.couplingLayers = 10
            options.hiddenWidth = 64
            switch self {
            case .nice:
                options.family = .nice
                options.couplingLayers = 16
            case .realnvp: options.family = .realnvp
            case .glow: options.family = .glow
            case .spline:
                options.family = .realnvp
                options.law = .spline
                options.splineBins = 16
                options.splineBound = 4
                options.couplingLayers = 6
            }
            return options
        }
    }

    func validate() throws {
        guard steps >= 1, (16...1024).contains(side) else {
            throw ValidationError("a fit has at least one step, a panel 16 to 1024 pixels a side")
        }
    }

    func run() throws {
        try FileManager.default.createDirectory(
            atPath: output, withIntermediateDirectories: true)
        print("flow      data           held-out nats   truth")
        for kind in only {
            var sheet = Sheet(columns: Plane.allCases.count, rows: 2, side: side)
            for (column, plane) in Plane.allCases.enumerated() {
                var generator = SeededGenerator(seed: seed)
                let rows = plane.draw(20_000, using: &generator)
                let heldOut = plane.draw(10_000, using: &generator)
                let (flow, score) = try fitted(
                    kind.options, rows: rows, heldOut: heldOut, using: &generator)
                sheet.drawPoints(
                    plane.draw(300_000, using: &generator), halfWidth: plane.halfWidth,
                    column: column, row: 0)
                sheet.drawDensity(of: flow, halfWidth: plane.halfWidth, column: column, row: 1)
                let name = kind.rawValue.padding(toLength: 10, withPad: " ", startingAt: 0)
                let data = plane.rawValue.padding(toLength: 15, withPad: " ", startingAt: 0)
                let truth = truth(plane, heldOut).map { String(format: "%.3f", $0) } ?? "–"
                print(name + data + String(format: "%-16.3f", score) + truth)
            }
            let path = "\(output)/\(kind.rawValue).png"
            try Data(sheet.picture.encoded()).write(to: URL(fileURLWithPath: path))
            print("  \(path)")
        }
    }

    private func fitted(
        _ options: FlowOptions, rows: Matrix<Float>, heldOut: Matrix<Float>,
        using generator: inout SeededGenerator
    ) throws -> (Flow<Float>, heldOutLogLikelihood: Double) {
        var flow = Flow<Float>(featureCount: 2, options: options, using: &generator)
        var training = TrainingOptions()
        training.maximumSteps = steps
        training.batchSize = 512
        training.patience = 1000
        let summary = try flow.fit(
            rows, heldOut: heldOut, options: training, using: &generator, parallel: .threads)
        return (flow, summary.heldOutLogLikelihood)
    }

    private func truth(_ plane: Plane, _ rows: Matrix<Float>) -> Double? {
        var sum = 0.0
        for row in 0..<rows.rowCount {
            guard let value = plane.logDensity(Double(rows[row, 0]), Double(rows[row, 1])) else {
                return nil
            }
            sum += value
        }
        return sum / Double(rows.rowCount)
    }
}

extension ParallelFor {
    /// On the threads of Dispatch.
    static let threads = ParallelFor { count, body in
        DispatchQueue.concurrentPerform(iterations: count, execute: body)
    }
}

/// Panels in columns and rows, with white between them.
struct Sheet {
    private static let gap = 8
    private let side: Int
    private(set) var picture: PNG

    init(columns: Int, rows: Int, side: Int) {
        self.side = side
        picture = PNG(
            width: columns * (side + Self.gap) + Self.gap,
            height: rows * (side + Self.gap) + Self.gap, palette: Colors.palette,
            background: Colors.blank)
    }

    private mutating func draw(_ values: [Double], column: Int, row: Int) {
        let largest = values.max() ?? 1
        let left = Self.gap + column * (side + Self.gap)
        let top = Self.gap + row * (side + Self.gap)
        for y in 0..<side {
            for x in 0..<side {
                // The picture's rows run downward.
                let value = values[(side - 1 - y) * side + x]
                picture.pixels[(top + y) * picture.width + left + x] = Colors.index(
                    of: largest > 0 ? value / largest : 0)
            }
        }
    }

    /// Draws how many points each pixel holds.
    mutating func drawPoints(_ rows: Matrix<Float>, halfWidth: Double, column: Int, row: Int) {
        var counts = [Double](repeating: 0, count: side * side)
        for index in 0..<rows.rowCount {
            let x = Int((Double(rows[index, 0]) / halfWidth + 1) / 2 * Double(side))
            let y = Int((Double(rows[index, 1]) / halfWidth + 1) / 2 * Double(side))
            if (0..<side).contains(x) && (0..<side).contains(y) { counts[y * side + x] += 1 }
        }
        draw(counts, column: column, row: row)
    }

    /// Draws the density at the middle of each pixel.
    mutating func drawDensity(of flow: Flow<Float>, halfWidth: Double, column: Int, row: Int) {
        var grid = Matrix<Float>(rowCount: side * side, columnCount: 2)
        for y in 0..<side {
            for x in 0..<side {
                grid[y * side + x, 0] = Float(
                    halfWidth * (2 * (Double(x) + 0.5) / Double(side) - 1))
                grid[y * side + x, 1] = Float(
                    halfWidth * (2 * (Double(y) + 0.5) / Double(side) - 1))
            }
        }
        let densities = flow.logLikelihood(grid, parallel: .threads).map { exp($0) }
        // A few pixels on a ridge would else darken all the others.
        let ceiling = densities.sorted()[Int(0.995 * Double(densities.count))]
        draw(densities.map { min($0, ceiling) }, column: column, row: row)
    }
}
