import ArgumentParser

/// What may go wrong with the pump or with a sensor on it.
enum FaultKind: String, CaseIterable, ExpressibleByArgument {
    /// The pressure sensor repeats its last value.
    case stuck
    /// The bearing's temperature sensor moves away, slowly.
    case drift
    /// Part of the water leaves before the flow meter: each column normal, together impossible.
    case leak
    /// A valve half shut: the same.
    case blockage
    /// The current sensor jumps for a few rows.
    case spike

    /// How long it lasts, in rows.
    var rowCount: Int {
        switch self {
        case .stuck: 180
        case .drift: 300
        case .leak, .blockage: 90
        case .spike: 3
        }
    }

    /// The columns that it touches.
    var columns: [String] {
        switch self {
        case .stuck: ["pressure"]
        case .drift: ["bearing_temperature"]
        case .leak, .blockage: ["flow", "pressure", "current"]
        case .spike: ["current"]
        }
    }

    /// Whether no single column may leave its normal range.
    var isCrossSensor: Bool { self == .leak || self == .blockage }
}

/// A fault at its place in the series.
struct Fault: Equatable {
    var kind: FaultKind
    var rows: Range<Int>

    /// What the sensors make of it; the faults of the water are in the pump's own equations.
    func distort(_ reading: inout Reading, row: Int, held: inout [Int: Double]) {
        switch kind {
        case .stuck:
            let value = held[rows.lowerBound] ?? reading[2]
            held[rows.lowerBound] = value
            reading[2] = value
        case .drift:
            reading[5] += 0.06 * Double(row - rows.lowerBound)
        case .spike:
            reading[3] += 15
        case .leak, .blockage:
            break
        }
    }
}

/// Puts faults into the part of a series behind its clean rows, one in each of equal slots.
struct FaultPlan {
    let pump: Pump
    let cleanRows: Int

    /// Places the faults in the given order and returns the rows with them.
    func place(_ kinds: [FaultKind]) throws(SamplesError) -> (faults: [Fault], rows: [Reading]) {
        let total = pump.drivers.speed.count
        guard !kinds.isEmpty else { return ([], pump.readings(faults: [])) }
        let slot = (total - cleanRows) / kinds.count
        let longest = kinds.map(\.rowCount).max() ?? 0
        guard slot >= longest * 3 / 2 else {
            throw .noRoom(
                faults: kinds.count, rows: total - cleanRows,
                needed: (longest * 3 / 2) * kinds.count)
        }
        let normal = ranges(of: pump.readings(faults: []))
        var faults: [Fault] = []
        for (index, kind) in kinds.enumerated() {
            let from = cleanRows + index * slot
            faults.append(
                try place(kind, in: from..<(from + slot), after: faults, normal: normal))
        }
        return (faults, pump.readings(faults: faults))
    }

    /// The normal range of each column: the clean rows without the rarest thousandth on each side.
    private func ranges(of rows: [Reading]) -> [ClosedRange<Double>] {
        (0..<8).map { column in
            let sorted = rows.prefix(cleanRows).map { $0[column] }.sorted()
            let low = sorted[sorted.count / 1000]
            return low...max(low, sorted[sorted.count - 1 - sorted.count / 1000])
        }
    }

    private func place(
        _ kind: FaultKind, in slot: Range<Int>, after earlier: [Fault],
        normal: [ClosedRange<Double>]
    ) throws(SamplesError) -> Fault {
        let latest = slot.upperBound - kind.rowCount * 5 / 4
        let first = slot.lowerBound + (slot.count - kind.rowCount) / 4
        guard kind.isCrossSensor else {
            return Fault(kind: kind, rows: first..<(first + kind.rowCount))
        }
        // Full length first; a series that leaves no such window gets a shorter fault.
        for rowCount in [kind.rowCount, kind.rowCount * 2 / 3, kind.rowCount / 3] {
            for begin in stride(from: slot.lowerBound + 10, through: latest, by: 3) {
                let fault = Fault(kind: kind, rows: begin..<(begin + rowCount))
                if hasRoom(fault.rows), hides(fault, after: earlier, normal: normal) {
                    return fault
                }
            }
        }
        throw .noPlace(fault: kind.rawValue, window: slot.lowerBound...(slot.upperBound - 1))
    }

    /// A cheap first look: only where the speed is away from its limits can a fault hide.
    private func hasRoom(_ rows: Range<Int>) -> Bool {
        pump.drivers.speed[rows].allSatisfy { (0.64...0.97).contains($0) }
    }

    private func hides(
        _ fault: Fault, after earlier: [Fault], normal: [ClosedRange<Double>]
    ) -> Bool {
        let rows = pump.readings(faults: earlier + [fault], upTo: fault.rows.upperBound)
        return fault.rows.allSatisfy { row in
            (0..<8).allSatisfy { normal[$0].contains(rows[row][$0]) }
        }
    }
}
