import ArgumentParser

/// Writes a sample series and the truth about it.
struct Generate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a sample series with known faults.",
        discussion: """
            KINDS
              pump    a centrifugal pump on a variable-speed drive: speed (rpm), flow (m3/h),
                      pressure (bar), current (A), voltage (V), bearing_temperature and
                      motor_temperature (degrees C), vibration (mm/s), one row an interval

            FAULTS
              stuck      the pressure sensor repeats its last value, 180 rows
              drift      the bearing's temperature sensor moves away, 300 rows
              leak       water leaves before the flow meter, 90 rows; every single column
                         stays inside its normal range
              blockage   a valve half shut, 90 rows; likewise
              spike      the current jumps for 3 rows

            The faults come in the order given, one in each of equal parts of the rows behind
            the clean ones. The first line of the truth file describes the whole series.
            """)

    /// What is simulated.
    enum Kind: String, CaseIterable, ExpressibleByArgument {
        case pump
    }

    @Argument(help: "The machine to simulate: pump.")
    var kind: Kind

    @Option(help: "Data rows.")
    var rows = 6000

    @Option(help: "Same seed, same bytes.")
    var seed: UInt64 = 1

    @Option(help: "Time of the first row, ISO 8601 in UTC.")
    var start = "2026-03-02T13:00:00Z"

    @Option(name: .customLong("interval"), help: "Seconds between rows.")
    var intervalSecs = 1.0

    @Option(help: "Faults, separated by commas; 'none' for a healthy machine.")
    var faults = "stuck,drift,leak,blockage,spike"

    @Option(help: "Rows without faults at the start. (default: half of the rows)")
    var cleanRows: Int?

    @Option(help: "Where to write the series as CSV; '-' is standard output.")
    var output = "-"

    @Option(help: "Where to write the truth, one JSON object a line.")
    var truth: String?

    func validate() throws {
        guard rows > 0 else { throw ValidationError("--rows: expected 1 or more, found \(rows)") }
        guard intervalSecs > 0 else {
            throw ValidationError("--interval: expected more than 0 seconds, found \(intervalSecs)")
        }
        guard Timestamp(start) != nil else {
            throw ValidationError(
                "--start: expected a time such as 2026-03-02T13:00:00Z, found '\(start)'")
        }
        let clean = cleanRows ?? rows / 2
        guard try faultKinds().isEmpty || (100...rows).contains(clean) else {
            throw ValidationError(
                "--clean-rows: expected 100 to --rows, for what is normal; found \(clean)")
        }
    }

    func run() throws {
        guard let first = Timestamp(start) else { return }
        let pump = Pump(rows: rows, seed: seed, start: first, intervalSecs: intervalSecs)
        let plan = FaultPlan(pump: pump, cleanRows: cleanRows ?? rows / 2)
        let series = try plan.place(try faultKinds())
        try writeSeries(series.rows, of: pump)
        if let path = truth { try writeTruth(series.faults, of: pump, path: path) }
    }

    private func faultKinds() throws -> [FaultKind] {
        guard faults != "none", !faults.isEmpty else { return [] }
        return try faults.split(separator: ",").map { name in
            guard let kind = FaultKind(rawValue: String(name)) else {
                let known = FaultKind.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("--faults: expected some of \(known); found '\(name)'")
            }
            return kind
        }
    }

    private func writeSeries(_ rows: [Reading], of pump: Pump) throws {
        var file = try Output(path: output)
        try file.write("time," + Pump.columns.joined(separator: ",") + "\n")
        for (row, reading) in rows.enumerated() {
            var line = pump.time(ofRow: row).description
            for column in 0..<8 {
                line += "," + fixed(reading[column], decimals: Pump.decimals[column])
            }
            try file.write(line + "\n")
        }
        try file.flush()
    }

    private func writeTruth(_ faults: [Fault], of pump: Pump, path: String) throws {
        var file = try Output(path: path)
        let whole = TruthSpan(
            rows: 0..<rows, of: pump, kind: TruthSpan.fileKind, columns: Pump.columns)
        try file.write(whole.line)
        for fault in faults {
            let span = TruthSpan(
                rows: fault.rows, of: pump, kind: fault.kind.rawValue, columns: fault.kind.columns)
            try file.write(span.line)
        }
        try file.flush()
    }
}

/// A number with a fixed count of digits after the point.
func fixed(_ value: Double, decimals: Int) -> String {
    var scale: Int64 = 1
    for _ in 0..<decimals { scale *= 10 }
    let scaled = Int64((abs(value) * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard decimals > 0 else { return sign + String(scaled) }
    let digits = String(scaled % scale)
    let zeros = String(repeating: "0", count: decimals - digits.count)
    return sign + String(scaled / scale) + "." + zeros + digits
}
