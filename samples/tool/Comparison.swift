import Foundation

/// The parts of an anomaly log line that the comparison reads.
struct AnomalyLine: Codable, Equatable {
    struct Feature: Codable, Equatable {
        var name: String
    }

    var recordTime: String?
    var logLikelihood: Double
    var features: [Feature]

    enum CodingKeys: String, CodingKey {
        case recordTime = "record_time"
        case logLikelihood = "log_likelihood"
        case features
    }
}

/// What was caught of each fault, and what was found where there was none.
struct Comparison: Equatable {
    struct Row: Equatable {
        var fault: TruthSpan
        /// Anomalies while the fault lasted.
        var anomalyCount: Int
        /// Records from the fault's first to the first anomaly.
        var delayRows: Int?
        /// The feature that carries most of the strongest anomaly.
        var topFeature: String?

        var isCaught: Bool { anomalyCount > 0 }
    }

    var rows: [Row]
    /// Anomalies outside of faults and of the rows of recovery behind each.
    var falseAlarmCount: Int
    /// Judged records outside of faults and of the rows of recovery.
    var normalRowCount: Int

    /// - Parameters:
    ///   - firstRow: Data rows before it were for learning, anomalies there are not judged.
    ///   - recoveryRows: Rows behind a fault that count neither way: what it warmed cools down.
    init(truth: Truth, anomalies: [AnomalyLine], firstRow: Int, recoveryRows: Int) {
        var found = truth.faults.map {
            Row(fault: $0, anomalyCount: 0, delayRows: nil, topFeature: nil)
        }
        var strongest = truth.faults.map { _ in Double.infinity }
        var falseAlarms = 0
        for anomaly in anomalies {
            guard let text = anomaly.recordTime, let time = Timestamp(text),
                let row = truth.row(at: time), row >= firstRow
            else { continue }
            guard
                let index = truth.faults.firstIndex(where: {
                    ($0.startRow...($0.endRow + recoveryRows)).contains(row)
                })
            else {
                falseAlarms += 1
                continue
            }
            let fault = truth.faults[index]
            guard row <= fault.endRow else { continue }
            found[index].anomalyCount += 1
            let delay = row - fault.startRow
            found[index].delayRows = min(found[index].delayRows ?? delay, delay)
            if anomaly.logLikelihood < strongest[index] {
                strongest[index] = anomaly.logLikelihood
                found[index].topFeature = anomaly.features.first?.name
            }
        }
        rows = found
        falseAlarmCount = falseAlarms
        let judged = (max(firstRow, truth.file.startRow)...truth.file.endRow)
        normalRowCount = judged.count(where: { row in
            !truth.faults.contains { ($0.startRow...($0.endRow + recoveryRows)).contains(row) }
        })
    }

    /// False alarms in ten thousand records without fault.
    var falseAlarmsPer10k: Double {
        normalRowCount == 0 ? 0 : 10_000 * Double(falseAlarmCount) / Double(normalRowCount)
    }

    /// The kinds that had to be caught and were not, or do not occur.
    func missed(of kinds: [String]) -> [String] {
        kinds.filter { kind in !rows.contains { $0.fault.kind == kind && $0.isCaught } }
    }

    /// A table of at most 80 columns.
    var table: String {
        var lines = [
            Comparison.line("FAULT", "RECORDS", "CAUGHT", "AFTER", "ALARMS", "STRONGEST IN")
        ]
        for row in rows {
            lines.append(
                Comparison.line(
                    row.fault.kind, "\(row.fault.startRow)-\(row.fault.endRow)",
                    row.isCaught ? "yes" : "NO", row.delayRows.map { "\($0)" } ?? "-",
                    "\(row.anomalyCount)", row.topFeature ?? "-"))
        }
        lines.append("")
        lines.append(
            "False alarms: \(falseAlarmCount) in \(normalRowCount) records without a fault, "
                + "\(fixed(falseAlarmsPer10k, decimals: 1)) in 10,000")
        return lines.joined(separator: "\n") + "\n"
    }

    private static func line(_ cells: String...) -> String {
        let widths = [10, 14, 8, 7, 8]
        var text = "  "
        for (cell, width) in zip(cells, widths) {
            text += cell + String(repeating: " ", count: max(1, width - cell.count))
        }
        return text + (cells.last ?? "")
    }
}
