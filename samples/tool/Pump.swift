import Glibc

/// One row of the pump's eight sensors, in the order of `Pump.columns`.
typealias Reading = [8 of Double]

/// A centrifugal pump on a variable-speed drive, one reading per interval.
///
/// Speed follows the demand of the day; flow and head are where the pump's curve meets that of the
/// pipework; the electrical side pays for the hydraulic one; temperatures follow the load with a lag:
///
///     pump      H = 60·n² − 0.004·Q²                  n: relative speed, Q: m³/h, H: m
///     pipework  H = 8 + 0.0045·R·((1 − ℓ)·Q)²         R: resistance, ℓ: share lost in a leak
///     power     P = 9.81·Q·H / (3600·η)               η falls away from the best point, Q = 78·n
///     current   I = P / (√3·U·cos φ) + idle
///
/// So speed alone moves every column over its range, while any two of them hardly move against each
/// other: a leak or a blockage shows in no column by itself, and plainly in the joint density.
struct Pump {
    /// Column names, in row order.
    static let columns = [
        "speed", "flow", "pressure", "current", "voltage", "bearing_temperature",
        "motor_temperature", "vibration",
    ]
    /// Digits after the point: the grid that the instruments report on.
    static let decimals: [8 of Int] = [0, 1, 2, 2, 1, 1, 1, 2]
    /// Standard deviations of the instruments' noise.
    static let noise: [8 of Double] = [2, 0.3, 0.01, 0.08, 0.4, 0.08, 0.08, 0.05]

    /// What drives the pump at each row, whatever fault it may have.
    struct Drivers {
        var speed: [Double] = []
        var resistance: [Double] = []
        var voltage: [Double] = []
        var ambient: [Double] = []
    }

    let start: Timestamp
    let intervalSecs: Double
    let drivers: Drivers
    private let seed: UInt64

    init(rows: Int, seed: UInt64, start: Timestamp, intervalSecs: Double) {
        self.start = start
        self.intervalSecs = intervalSecs
        self.seed = seed
        drivers = Pump.drive(rows: rows, seed: seed, start: start, intervalSecs: intervalSecs)
    }

    func time(ofRow row: Int) -> Timestamp { start.advanced(bySecs: Double(row) * intervalSecs) }

    /// The measured rows with the given faults in them.
    ///
    /// The noise is drawn the same whatever the faults: outside of them, and of the warmth that they
    /// leave behind, the rows are those of the healthy pump.
    func readings(faults: [Fault], upTo end: Int = .max) -> [Reading] {
        var random = Random(seed: seed, purpose: 2)
        var rows: [Reading] = []
        rows.reserveCapacity(min(end, drivers.speed.count))
        var bearing: Double?
        var motor: Double?
        var held: [Int: Double] = [:]
        for row in drivers.speed.indices.prefix(end) {
            let active = faults.filter { $0.rows.contains(row) }
            var reading = steady(row: row, faults: active)
            bearing = lagged(bearing, toward: reading[5], timeConstantSecs: 60)
            motor = lagged(motor, toward: reading[6], timeConstantSecs: 90)
            reading[5] = bearing ?? reading[5]
            reading[6] = motor ?? reading[6]
            for column in 0..<8 { reading[column] += Pump.noise[column] * random.normal() }
            for fault in active { fault.distort(&reading, row: row, held: &held) }
            for column in 0..<8 {
                let grid = pow(10, Double(Pump.decimals[column]))
                reading[column] = (reading[column] * grid).rounded() / grid
            }
            rows.append(reading)
        }
        return rows
    }

    private func lagged(
        _ value: Double?, toward target: Double, timeConstantSecs: Double
    ) -> Double {
        // The pump has run before the first row: it starts warm, near the middle of its range.
        guard let value else { return target }
        return value + (target - value) * (1 - exp(-intervalSecs / timeConstantSecs))
    }

    /// What the sensors would settle at under the drivers of a row, temperatures included.
    private func steady(row: Int, faults: [Fault]) -> Reading {
        let n = drivers.speed[row]
        let ambient = drivers.ambient[row]
        let leak = faults.contains { $0.kind == .leak } ? 0.13 : 0
        let blockage = faults.contains { $0.kind == .blockage } ? 1.4 : 1
        let pipework = 0.0045 * drivers.resistance[row] * blockage * (1 - leak) * (1 - leak)
        let flow = max(0, (60 * n * n - 8) / (0.004 + pipework)).squareRoot()
        let head = 8 + pipework * flow * flow
        let offBest = flow / (78 * n) - 1
        let efficiency = 0.65 * (1 - 0.6 * offBest * offBest)
        let power = 9810 * flow * head / 3600 / efficiency
        let current = power / (3.0.squareRoot() * drivers.voltage[row] * 0.86) + 1.5
        let vibration = 1.2 + 1.6 * n * n + 2.5 * offBest * offBest
        return [
            2950 * n, flow * (1 - leak), head * 0.0981, current, drivers.voltage[row],
            ambient + 12 + 22 * pow(n, 1.5), ambient + 15 + 0.09 * current * current, vibration,
        ]
    }

    /// Demand: a target that changes every minute or so, on a daily profile; and the slow rest.
    private static func drive(
        rows: Int, seed: UInt64, start: Timestamp, intervalSecs: Double
    ) -> Drivers {
        var random = Random(seed: seed, purpose: 1)
        var resistance = Wandering(
            deviation: 0.04, timeConstantSecs: 60, intervalSecs: intervalSecs, using: &random)
        var grid = Wandering(
            deviation: 0.006, timeConstantSecs: 30, intervalSecs: intervalSecs, using: &random)
        var weather = Wandering(
            deviation: 0.2, timeConstantSecs: 200, intervalSecs: intervalSecs, using: &random)
        var target = 0.78
        var speed = target
        var untilChange = 0.0
        let approach = 1 - exp(-intervalSecs / 8)
        var drivers = Drivers()
        for row in 0..<rows {
            let hour = start.advanced(bySecs: Double(row) * intervalSecs).hourOfDay
            let afternoon = cos(2 * Double.pi * (hour - 14) / 24)
            if untilChange <= 0 {
                // The drive's limits are met often: the ends of the range are well known.
                target = min(0.95, max(0.60, random.uniform(0.56...0.99)))
                untilChange = random.uniform(25...70)
            }
            untilChange -= intervalSecs
            speed += (target * (1 + 0.04 * afternoon) - speed) * approach
            drivers.speed.append(speed)
            drivers.resistance.append(1 + resistance.next(using: &random))
            drivers.voltage.append(400 * (1 - 0.004 * afternoon + grid.next(using: &random)))
            drivers.ambient.append(21 + 3 * afternoon + weather.next(using: &random))
        }
        return drivers
    }
}
