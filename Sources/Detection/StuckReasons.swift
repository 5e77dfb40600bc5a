import Foundation
import Ingest

extension Detector {
    /// The verdict on a record whose readings stand still, and are as likely as any.
    func stuckVerdict(
        _ scores: Scores, row: Int, threshold: Threshold, _ standstill: Standstill
    ) -> Verdict {
        let stuck = runs(of: standstill)
        let reading = Array(scores.rows.records.row(row))
        let gaps = scores.rows.gaps[row] ?? []
        var features = encoder.schema.features.enumerated().map { j, name in
            let value = gaps.contains(j) ? CellValue.missing : .number(reading[j])
            // That it moves is all that is expected of it.
            return FeatureReason(
                name: name, value: value, expected: stuck[j] == nil ? value : .missing,
                contribution: stuck[j].map { -log($0.pValue) } ?? 0)
        }
        for column in encoder.discrete.columns where column.kind == .category {
            let cell = cell(column, in: scores.rows, row: row)
            features.append(
                FeatureReason(name: column.name, value: cell, expected: cell, contribution: 0))
        }
        features.sort { $0.contribution > $1.contribution }
        return Verdict(
            row: row, logLikelihood: scores.logLikelihood[row],
            threshold: scores.lowThreshold(of: row, threshold), pValue: scores.pValue[row],
            tail: .high, reasonCode: .stuck,
            features: features, summary: sentence(stuck, reading: reading))
    }

    /// The features that stand still, with their runs: all that vary where the record as a whole does.
    private func runs(of standstill: Standstill) -> [Int: Standstill.Run] {
        guard let run = standstill.record else { return standstill.features }
        return Dictionary(uniqueKeysWithValues: encoder.active.map { ($0, run) })
    }

    /// The reason as a sentence.
    private func sentence(_ stuck: [Int: Standstill.Run], reading: [Double]) -> String {
        let order = stuck.sorted { ($0.value.pValue, $0.key) < ($1.value.pValue, $1.key) }
        let all = order.count == encoder.active.count && order.count > 1
        guard all || order.count > 3 else {
            return order.map { j, run in
                "\(encoder.schema.features[j]) stays at \(NumberText.short(reading[j])) for "
                    + Self.length(run)
            }.joined(separator: ", ")
        }
        let records = order.reduce(Int.max) { min($0, $1.value.records) }
        let usual = order.reduce(0) { max($0, $1.value.usual) }
        return "\(all ? "all \(order.count)" : "\(order.count) of \(encoder.active.count)") "
            + "features stay the same for "
            + Self.length(Standstill.Run(records: records, usual: usual, pValue: 0))
    }

    private static func length(_ run: Standstill.Run) -> String {
        "\(run.records) records in a row, "
            + (run.usual > 1 ? "at most \(run.usual) in training" : "none did in training")
    }

    /// What is to be added about an anomaly of another kind whose features stand still, too.
    func aside(_ standstill: Standstill?, of features: [FeatureReason]) -> String {
        guard let standstill else { return "" }
        let stuck = runs(of: standstill)
        for feature in features.named {
            guard let j = encoder.schema.features.firstIndex(of: feature.name), let run = stuck[j]
            else { continue }
            return "; \(feature.name) stays the same for \(run.records) records in a row"
        }
        return ""
    }
}
