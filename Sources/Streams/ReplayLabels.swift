import Foundation

/// How well the alarms of a replay agree with what is known about its records.
///
/// Only records that were scored and have a label count.
package struct ReplayLabels: Codable, Sendable {
    /// A run of records that are known to be anomalies.
    package struct Window: Codable, Sendable {
        /// The key that it is of, if any.
        package var key: String?
        package var from: Date
        package var to: Date
        /// Records in it that were scored.
        package var scored: Int
        /// Anomalies found in it; with none it was missed.
        package var anomalies: Int
        package var firstAnomalyAt: Date?

        /// `nil`: nothing of it was scored.
        package var isHit: Bool? { scored > 0 ? anomalies > 0 : nil }

        private enum CodingKeys: String, CodingKey {
            case key, from, to, scored, anomalies, firstAnomalyAt
        }
    }

    /// Records that count, and how many of them are known to be anomalies.
    package var records = 0
    package var labelled = 0
    /// The probability that a labelled record has a lower p-value than another, ties half; `nil` where one kind is missing.
    package var auroc: Double?
    /// The share of the anomalies found that are labelled; `nil` where none was found.
    package var precision: Double?
    /// The share of the labelled records that were found; `nil` where there is none.
    package var recall: Double?
    /// All windows, in order.
    package var windows: [Window] = []
    /// Of the windows with a scored record.
    package var windowsScored = 0
    package var windowsHit = 0
    /// Episodes without an anomaly in a window.
    package var falseEpisodes = 0
    /// These by the days outside of the windows; `nil` where the rate of the records is not known.
    package var falseEpisodesPerDay: Double?

    /// Compares.
    ///
    /// - Parameters:
    ///   - records: In the order of reading.
    ///   - recordsPerDay: Their usual rate; 0 where it is not known.
    package init(_ records: [ReplayedRecord], recordsPerDay: Double) {
        countRecords(records)
        windows = Self.windows(records)
        windowsScored = windows.count { $0.isHit != nil }
        windowsHit = windows.count { $0.isHit == true }
        let outside = records.count { $0.judgement != nil && $0.label != true }
        falseEpisodes =
            Set(records.compactMap(\.episode))
            .subtracting(Self.trueEpisodes(records)).count
        if recordsPerDay > 0, outside > 0 {
            falseEpisodesPerDay = Double(falseEpisodes) / (Double(outside) / recordsPerDay)
        }
    }

    /// The episodes with an anomaly in a window.
    static func trueEpisodes(_ records: [ReplayedRecord]) -> Set<OfKey<Int64>> {
        Set(records.lazy.filter { $0.label == true }.compactMap(\.episode))
    }

    private mutating func countRecords(_ all: [ReplayedRecord]) {
        var found = 0
        var foundLabelled = 0
        var scores: [(pValue: Double, label: Bool)] = []
        for record in all {
            guard let label = record.label, let judgement = record.judgement else { continue }
            scores.append((judgement.pValue, label))
            if judgement.isAnomaly {
                found += 1
                foundLabelled += label ? 1 : 0
            }
        }
        records = scores.count
        labelled = scores.count(where: \.label)
        auroc = Self.auroc(scores)
        precision = found > 0 ? Double(foundLabelled) / Double(found) : nil
        recall = labelled > 0 ? Double(foundLabelled) / Double(labelled) : nil
    }

    /// The area under the receiver operating characteristic of low p-values, by the ranks (Mann and Whitney).
    package static func auroc(_ scores: [(pValue: Double, label: Bool)]) -> Double? {
        let positives = scores.count(where: \.label)
        let negatives = scores.count - positives
        guard positives > 0, negatives > 0 else { return nil }
        let sorted = scores.sorted { $0.pValue > $1.pValue }
        var wins = 0.0
        var below = 0
        var start = 0
        while start < sorted.count {
            var end = start
            var tiedPositives = 0
            while end < sorted.count, sorted[end].pValue == sorted[start].pValue {
                tiedPositives += sorted[end].label ? 1 : 0
                end += 1
            }
            let tiedNegatives = end - start - tiedPositives
            wins += Double(tiedPositives) * (Double(below) + Double(tiedNegatives) / 2)
            below += tiedNegatives
            start = end
        }
        return wins / (Double(positives) * Double(negatives))
    }

    /// Runs of labelled records within a file, of each key by itself.
    private static func windows(_ records: [ReplayedRecord]) -> [Window] {
        var windows: [Window] = []
        var open: [String?: (input: Int, place: Int)] = [:]
        for record in records {
            guard record.label == true else {
                open[record.key] = nil
                continue
            }
            let time = Date(timeIntervalSince1970: record.time)
            var place = windows.count
            if let run = open[record.key], run.input == record.input {
                place = run.place
            } else {
                open[record.key] = (record.input, place)
                windows.append(
                    Window(key: record.key, from: time, to: time, scored: 0, anomalies: 0))
            }
            windows[place].to = time
            guard let judgement = record.judgement else { continue }
            windows[place].scored += 1
            guard judgement.isAnomaly else { continue }
            windows[place].anomalies += 1
            windows[place].firstAnomalyAt = windows[place].firstAnomalyAt ?? time
        }
        return windows
    }
}
