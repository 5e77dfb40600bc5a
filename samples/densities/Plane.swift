import FlowDensity
import Foundation

/// The densities of the plane that flows are shown on.
enum Plane: String, CaseIterable {
    /// Two half circles that hold each other.
    case moons
    /// Every second square of a board of four by four, evenly filled.
    case checkerboard
    /// Eight normal densities on a circle.
    case gaussians

    /// The half side of the square that is drawn.
    var halfWidth: Double { 2.6 }

    /// Points of the density, about standardised.
    func draw(_ count: Int, using generator: inout SeededGenerator) -> Matrix<Float> {
        var rows = Matrix<Float>(rowCount: count, columnCount: 2)
        for row in 0..<count {
            let (x, y) = point(using: &generator)
            rows[row, 0] = Float(x)
            rows[row, 1] = Float(y)
        }
        return rows
    }

    private func point(using generator: inout SeededGenerator) -> (Double, Double) {
        switch self {
        case .moons:
            let angle = Double.pi * generator.nextUniform()
            let noise = generator.nextNormalPair()
            let isUpper = generator.next() & 1 == 0
            let x = (isUpper ? cos(angle) - 0.5 : 0.5 - cos(angle)) + 0.08 * noise.0
            let y = (isUpper ? sin(angle) - 0.25 : 0.25 - sin(angle)) + 0.08 * noise.1
            return (1.2 * x, 2 * y)
        case .checkerboard:
            let column = Int(generator.next() >> 62)
            let row = 2 * Int(generator.next() >> 63) + column % 2
            return (
                Double(column) - 2 + generator.nextUniform(),
                Double(row) - 2 + generator.nextUniform()
            )
        case .gaussians:
            let angle = Double(generator.next() >> 61) * Double.pi / 4
            let noise = generator.nextNormalPair()
            return (
                1.4 * cos(angle) + Self.deviation * noise.0,
                1.4 * sin(angle) + Self.deviation * noise.1
            )
        }
    }

    private static let deviation = 0.14

    /// The true log-density at a point in nats, where there is a closed form.
    func logDensity(_ x: Double, _ y: Double) -> Double? {
        switch self {
        case .moons:
            return nil
        case .checkerboard:
            let isFilled = Int(floor(x) + floor(y)) % 2 == 0 && max(abs(x), abs(y)) < 2
            return isFilled ? -log(8) : -.infinity
        case .gaussians:
            let variance = Self.deviation * Self.deviation
            let sum = (0..<8).reduce(0.0) { sum, index in
                let angle = Double(index) * Double.pi / 4
                let dx = x - 1.4 * cos(angle)
                let dy = y - 1.4 * sin(angle)
                return sum + exp(-0.5 * (dx * dx + dy * dy) / variance)
            }
            return log(sum / 8) - log(2 * Double.pi * variance)
        }
    }
}
