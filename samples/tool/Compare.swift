import ArgumentParser
import Foundation

/// Holds the anomalies that were found against the truth about the sample.
struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what was caught of each fault in a sample.",
        discussion: """
            Anomalies are lines of the anomaly log, or of `flowguardctl tail --json`; lines of
            other streams must be left out before. AFTER counts records from the start of a
            fault to its first anomaly.

            EXAMPLE
              flowguardctl tail pump-1 -n 100000 --json | \\
                  flowguard-samples compare --truth pump.truth.ndjson --first-row 3000
            """)

    @Option(help: "The truth file of the sample.")
    var truth: String

    @Option(help: "The anomalies, one JSON object a line; '-' is standard input.")
    var anomalies = "-"

    @Option(help: "The first data row that counts: rows before it were learned from.")
    var firstRow = 0

    @Option(help: "Rows after each fault that count neither as caught nor as false alarms.")
    var recoveryRows = 60

    @Option(help: "Exit 1 unless these kinds of fault were caught (separated by commas).")
    var require: String?

    func run() throws {
        let comparison = Comparison(
            truth: try Truth(path: truth), anomalies: try readAnomalies(), firstRow: firstRow,
            recoveryRows: recoveryRows)
        print(comparison.table, terminator: "")
        let required = require.map { $0.split(separator: ",").map(String.init) } ?? []
        let missed = comparison.missed(of: required)
        if !missed.isEmpty { throw SamplesError.missed(kinds: missed) }
    }

    private func readAnomalies() throws -> [AnomalyLine] {
        try readLines(path: anomalies).enumerated().compactMap { number, line in
            guard !line.isEmpty else { return nil }
            do {
                return try JSONDecoder().decode(AnomalyLine.self, from: Data(line))
            } catch {
                throw SamplesError.badLine(
                    path: anomalies, line: number + 1,
                    rule: "expected an anomaly with record_time, log_likelihood and features")
            }
        }
    }
}
