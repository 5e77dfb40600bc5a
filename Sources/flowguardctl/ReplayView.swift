import Control
import Foundation
import Streams

/// A replay as text.
struct ReplayView {
    let terminal: Terminal
    let summary: ReplaySummary

    private static let labelWidth = 14

    /// - Parameter count: Episodes that are listed.
    func text(episodes count: Int) -> String {
        let inputs =
            summary.files.count == 1
            ? summary.files[0] : Format.plural(summary.files.count, "file")
        var text =
            terminal.paint(printable(summary.stream), .bold)
            + "  replay of \(printable(inputs))\n\n"
        for (label, value) in facts {
            let padded = label.padding(toLength: Self.labelWidth, withPad: " ", startingAt: 0)
            text +=
                terminal.paint(padded, .dim)
                + Paragraph.wrap(
                    printable(value), width: terminal.width - Self.labelWidth,
                    indent: Self.labelWidth) + "\n"
        }
        if let windows = summary.labels?.windows, !windows.isEmpty { text += "\n" + table(windows) }
        let shown = strangest(count)
        if !shown.isEmpty { text += "\n" + table(shown) }
        let total = summary.episodes.count
        if count > 0, total > shown.count {
            text +=
                "\nthe \(Format.count(shown.count)) strangest of "
                + "\(Format.count(total)) episodes; -n \(total) lists all\n"
        }
        return text
    }

    // MARK: Facts

    private var facts: [(String, String)] {
        var facts = [("span", span), ("records", records)]
        if !summary.records.faults.isEmpty { facts.append(("set aside", faults)) }
        if let text = summary.records.points?.text { facts.append(("left out", "\(text) rows")) }
        let time = summary.timeColumn.map { "; time in \($0)" } ?? ""
        facts.append(("features", summary.features.joined(separator: ", ") + time))
        if let keys = summary.keys { facts.append(("keys", text(of: keys))) }
        facts.append(("fits", fits))
        if summary.records.scored > 0 {
            facts.append(("alarms", alarms))
            facts.append(("anomalies", anomalies))
            if let text = summary.suppressed.text { facts.append(("suppressed", text)) }
        }
        if let labels = summary.labels {
            facts.append(("windows", windows(labels)))
            facts.append(("labels", agreement(labels)))
        }
        return facts
    }

    private var span: String {
        guard let from = summary.from, let to = summary.to else { return "no records" }
        let rate = summary.recordsPerDay.map {
            Format.rate(perSecond: $0 / 86_400)
        }
        guard summary.timeColumn != nil else {
            let length = Format.duration(to.timeIntervalSince1970)
            return "\(length), if the records came at \(rate ?? "-"): they have no time"
        }
        let usual = rate.map { ", usually \($0)" } ?? ""
        return "\(Format.time(from)) to \(Format.time(to)), "
            + Format.duration(to.timeIntervalSince(from)) + usual
    }

    private var records: String {
        let records = summary.records
        guard records.scored > 0 else {
            return "\(Format.count(records.total)), none scored: there was no model"
        }
        let missing = records.total - records.scored
        let afterwards =
            records.scoredAfterwards > 0
            ? "; \(Format.count(records.scoredAfterwards)) waited for the first model" : ""
        return "\(Format.count(records.total)), "
            + (missing == 0 ? "all scored" : "\(Format.count(missing)) not scored") + afterwards
    }

    private var faults: String {
        let total = summary.records.faults.reduce(0) { $0 + $1.count }
        let reasons = summary.records.faults.prefix(3).map {
            "\(Format.count($0.count)) \($0.code)"
        }
        return "\(Format.plural(total, "line")) (\(reasons.joined(separator: ", ")))"
    }

    private var fits: String {
        let fits = summary.fits
        guard let first = fits.all.first(where: { $0.state == "accepted" }) else {
            return fits.all.last?.message.map { "none accepted: \($0)" }
                ?? "none: there were too few records"
        }
        var text =
            "\(Format.count(fits.all.count)): \(Format.count(fits.accepted)) accepted, "
            + "\(Format.count(fits.rejected)) rejected"
        if fits.failed > 0 { text += ", \(Format.count(fits.failed)) failed" }
        text += "; the first model served from \(place(first.queuedAt))"
        if fits.accepted > 1, let last = fits.all.last(where: { $0.state == "accepted" }) {
            text += ", the last from \(place(last.queuedAt))"
        }
        return text
    }

    private func text(of keys: [ReplaySummary.Key]) -> String {
        let own = keys.count { $0.ownModelAt != nil }
        var text =
            Format.count(keys.count) + ", "
            + (own == keys.count ? "all" : own == 0 ? "none" : Format.count(own))
            + " judged by models of their own at the end"
        let worst = keys.filter { $0.episodes > 0 }
            .max { ($0.episodes, $1.key) < ($1.episodes, $0.key) }
        if let worst, keys.count > 1 {
            text += "; most alarms: \(Format.count(worst.episodes)) of \(worst.key)"
        }
        return text
    }

    private var alarms: String {
        let alarms = summary.alarms
        var text = Format.plural(alarms.episodes, "episode")
        if let perDay = alarms.perDay { text += ", \(Format.significant(perDay, digits: 2)) a day" }
        if let day = alarms.worstDay, summary.timeColumn != nil, alarms.episodes > 1 {
            text += "; most on \(day.date): \(day.episodes)"
        }
        return text
    }

    private var anomalies: String {
        guard let measured = summary.measured else { return "-" }
        let count = Int64((measured.share * Double(measured.records)).rounded())
        return "\(Format.count(count)), \(rate(measured.perDay, measured.share)); "
            + "asked for \(rate(summary.asked.perDay, summary.asked.probability))"
    }

    /// `2 a day (p 0.042)`.
    private func rate(_ perDay: Double?, _ share: Double?) -> String {
        let probability = share.map { "p " + Format.probability($0) }
        guard let perDay else { return probability ?? "-" }
        return Format.significant(perDay, digits: 2) + " a day"
            + (probability.map { " (\($0))" } ?? "")
    }

    private func windows(_ labels: ReplayLabels) -> String {
        let early = labels.windows.count - labels.windowsScored
        var text =
            "\(labels.windowsHit) of \(Format.plural(labels.windowsScored, "labelled window")) hit"
        if early > 0 { text += " (\(early) more not scored)" }
        if let perDay = labels.falseEpisodesPerDay {
            text += ", \(Format.significant(perDay, digits: 2)) false alarms a day"
        }
        return text
    }

    private func agreement(_ labels: ReplayLabels) -> String {
        func percent(_ share: Double?) -> String {
            share.map { Format.significant(100 * $0, digits: 3) + " %" } ?? "-"
        }
        let area = labels.auroc.map { Format.significant($0, digits: 3) } ?? "-"
        return "AUROC \(area), precision \(percent(labels.precision)), "
            + "recall \(percent(labels.recall)), over \(Format.plural(labels.records, "record")), "
            + "\(Format.count(labels.labelled)) of them labelled"
    }

    /// A time, or the number of the record that came then.
    private func place(_ time: Date) -> String {
        guard summary.timeColumn == nil, let rate = summary.recordsPerDay else {
            return Format.time(time)
        }
        return "record "
            + Format.count(Int64((time.timeIntervalSince1970 * rate / 86_400).rounded()))
    }

    // MARK: Tables

    private func table(_ windows: [ReplayLabels.Window]) -> String {
        let hasKeys = summary.keys != nil
        let keyColumn: [(String, Table.Alignment)] = hasKeys ? [("KEY", .left)] : []
        var table = Table(
            keyColumn + [
                ("WINDOW", .left), ("LASTED", .right), ("", .left), ("ANOMALIES", .right),
                ("FIRST AFTER", .right),
            ])
        for window in windows {
            let outcome =
                switch window.isHit {
                case true?: Table.Cell("hit", .green)
                case false?: Table.Cell("MISSED", .red)
                case nil: Table.Cell("not scored", .yellow)
                }
            let keyCell = hasKeys ? [Table.Cell(window.key ?? "")] : []
            table.add(
                keyCell + [
                    Table.Cell(place(window.from)),
                    Table.Cell(Format.duration(window.to.timeIntervalSince(window.from))), outcome,
                    Table.Cell(
                        "\(Format.count(window.anomalies)) of \(Format.count(window.scored))"),
                    Table.Cell(
                        window.firstAnomalyAt.map {
                            Format.duration($0.timeIntervalSince(window.from))
                        } ?? ""),
                ])
        }
        return table.lines(terminal)
    }

    /// The strangest episodes, in the order of time.
    private func strangest(_ count: Int) -> [ReplaySummary.Episode] {
        summary.episodes.enumerated()
            .sorted { ($0.element.peakPValue, $0.offset) < ($1.element.peakPValue, $1.offset) }
            .prefix(count).sorted { $0.offset < $1.offset }.map(\.element)
    }

    private func table(_ episodes: [ReplaySummary.Episode]) -> String {
        let isLabelled = summary.labels != nil
        let hasKeys = summary.keys != nil
        let keyColumn: [(String, Table.Alignment)] = hasKeys ? [("KEY", .left)] : []
        var table = Table(
            keyColumn + [
                ("EPISODE", .right), ("BEGAN", .left), ("LASTED", .right), ("ANOMALIES", .right),
                ("PEAK P", .right), (isLabelled ? "WINDOW" : "", .left), ("FEATURES", .left),
            ])
        for episode in episodes {
            let lasted = Format.duration(
                episode.lastAnomalyAt.timeIntervalSince(episode.startedAt))
            let keyCell = hasKeys ? [Table.Cell(episode.key ?? "")] : []
            table.add(
                keyCell + [
                    Table.Cell("\(episode.sequence)"), Table.Cell(place(episode.startedAt)),
                    Table.Cell(episode.isEnded ? lasted : "open", episode.isEnded ? .plain : .red),
                    Table.Cell(Format.count(episode.anomalyCount)),
                    Table.Cell(
                        Format.probability(episode.peakPValue), Ink(pValue: episode.peakPValue)),
                    Table.Cell(episode.isLabelled.map { $0 ? "yes" : "no" } ?? ""),
                    Table.Cell(episode.topFeatures.prefix(2).joined(separator: ", ")),
                ])
        }
        return table.lines(terminal)
    }
}
