import Control
import Foundation

/// The daemon's state as text.
struct StatusView {
    let terminal: Terminal
    let now: Date

    // MARK: All streams

    func text(_ report: StatusReport) -> String {
        let streams = Format.plural(report.streams.count, "stream")
        let up = Format.duration(report.uptimeSecs)
        var text =
            terminal.paint("flowguardd \(report.version)", .bold)
            + "  up \(up)  \(streams)  \(printable(report.stateDirectory))\n"
        for warning in report.warnings {
            text += notice("warning:", .yellow, 9, warning)
        }
        guard !report.streams.isEmpty else {
            return text + "\nno streams: name some under streams in \(report.configuration)\n"
        }
        var table = Table([
            ("STREAM", .left), ("STATE", .left), ("RECORDS", .right), ("RATE", .right),
            ("ANOM 24H", .right), ("ASKED", .right), ("IS", .right), ("MODEL AGE", .right),
        ])
        for stream in report.streams { table.add(row(stream)) }
        text += "\n" + table.lines(terminal)
        let attention = report.streams.map(attention).joined()
        return attention.isEmpty ? text : text + "\n" + attention
    }

    private func row(_ stream: StreamStatus) -> [Table.Cell] {
        [
            Table.Cell(stream.name, .bold),
            state(stream),
            Table.Cell(Format.compact(stream.recordsTotal)),
            Table.Cell(Format.rate(perSecond: stream.recordsPerSec)),
            Table.Cell(
                stream.model == nil ? "-" : Format.compact(stream.anomaliesLastDay),
                isAlarming(stream) ? .red : .plain),
            Table.Cell(alarms(stream.asked.perDay, share: stream.asked.probability)),
            Table.Cell(stream.measured.map(measured) ?? "-"),
            Table.Cell(stream.model.map { age($0.fittedAt) } ?? "-"),
        ]
    }

    private func state(_ stream: StreamStatus) -> Table.Cell {
        switch stream.state {
        case .failing:
            return Table.Cell("FAILING", .alarm)
        case .watching:
            return isAlarming(stream)
                ? Table.Cell("ALARM", .alarm) : Table.Cell("watching", .green)
        case .learning:
            guard let learning = stream.learning, learning.have < learning.need, stream.fit == nil
            else {
                return Table.Cell("learning", .yellow)
            }
            let share = min(99, 100 * learning.have / learning.need)
            return Table.Cell("learning \(share)%", .yellow)
        case .waiting, .stopped:
            return Table.Cell(stream.state.rawValue, .yellow)
        }
    }

    private func isAlarming(_ stream: StreamStatus) -> Bool {
        stream.openEpisode != nil || stream.keys?.alarming.isEmpty == false
    }

    /// A rate of alarms a day; where the days are not known, a share of the records.
    private func alarms(_ perDay: Double?, share: Double?) -> String {
        if let perDay {
            return perDay >= 100
                ? Format.compact(Int64(min(perDay, 1e15).rounded()))
                : Format.significant(perDay, digits: 2)
        }
        return share.map { "p " + Format.probability($0) } ?? "-"
    }

    /// A rate of alarms; of less than a day, how many there were.
    private func measured(_ measured: MeasuredAlarms) -> String {
        guard let days = measured.days, days < 1 else {
            return alarms(measured.perDay, share: measured.share)
        }
        let count = Int64((measured.share * Double(measured.records)).rounded())
        return "\(Format.compact(count)) in \(Format.age(86_400 * days))"
    }

    /// What a person should know beyond the table.
    private func attention(_ stream: StreamStatus) -> String {
        var text = ""
        if stream.state == .failing, let problem = stream.lastError {
            text += notice("error:", .red, 7, "\(stream.name): \(problem.message)")
            if let hint = problem.hint { text += notice("hint:", .plain, 7, hint) }
        }
        if let episode = stream.openEpisode {
            text += notice(
                "alarm:", .red, 7, "\(stream.name): \(sentence(episode))")
        }
        if let keys = stream.keys, !keys.alarming.isEmpty {
            text += notice("alarm:", .red, 7, "\(stream.name): \(alarming(keys))")
        }
        if let fit = stream.fit {
            text += notice("fit:", .plain, 7, "\(stream.name): \(sentence(fit))")
        } else if stream.state == .learning, let learning = stream.learning {
            text += notice("learn:", .plain, 7, "\(stream.name): \(sentence(learning, of: stream))")
        } else if let reason = stream.waitingFor {
            text += notice("wait:", .plain, 7, "\(stream.name): \(reason)")
        }
        return text
    }

    /// A label and a text that is wrapped beside it.
    private func notice(_ label: String, _ ink: Ink, _ indent: Int, _ text: String) -> String {
        terminal.paint(label, ink) + String(repeating: " ", count: max(1, indent - label.count))
            + Paragraph.wrap(printable(text), width: terminal.width - indent, indent: indent)
            + "\n"
    }

    // MARK: One stream

    func text(_ detail: StreamDetail) -> String {
        let stream = detail.status
        let state = state(stream)
        var text =
            terminal.paint(printable(stream.name), .bold) + "  "
            + terminal.paint(state.text, state.ink) + "\n\n"
        for (label, value) in facts(detail) {
            text +=
                terminal.paint(label.padding(toLength: 14, withPad: " ", startingAt: 0), .dim)
                + Paragraph.wrap(printable(value), width: terminal.width - 14, indent: 14) + "\n"
        }
        if !detail.episodes.isEmpty {
            var table = Table([
                ("EPISODE", .right), ("BEGAN", .left), ("LASTED", .right), ("ANOMALIES", .right),
                ("FEATURES", .left),
            ])
            for episode in detail.episodes.prefix(8) {
                table.add([
                    Table.Cell("\(episode.sequence)"), Table.Cell(Format.time(episode.startedAt)),
                    Table.Cell(
                        episode.isEnded
                            ? Format.duration(
                                episode.lastAnomalyAt.timeIntervalSince(episode.startedAt))
                            : "open", episode.isEnded ? .plain : .red),
                    Table.Cell(Format.count(episode.anomalyCount)),
                    Table.Cell(episode.topFeatures.prefix(2).joined(separator: ", ")),
                ])
            }
            text += "\n" + table.lines(terminal)
        }
        return text
    }

    private func facts(_ detail: StreamDetail) -> [(String, String)] {
        let stream = detail.status
        var facts: [(String, String)] = []
        if let problem = stream.lastError {
            facts.append(
                (
                    stream.state == .failing ? "error" : "last error",
                    "\(problem.message) (\(age(problem.time)) ago)"
                ))
            if let hint = problem.hint { facts.append(("hint", hint)) }
        }
        if let reason = stream.waitingFor { facts.append(("waiting for", reason)) }
        if let episode = stream.openEpisode { facts.append(("alarm", sentence(episode))) }
        if let keys = stream.keys {
            if !keys.alarming.isEmpty { facts.append(("alarm", alarming(keys))) }
            facts.append(("keys", sentence(keys)))
        }
        facts.append(("source", source(stream)))
        facts.append(("records", records(stream)))
        if stream.faultsTotal > 0 {
            let reasons = stream.faults.prefix(3).map { "\(Format.count($0.count)) \($0.code)" }
            facts.append(
                (
                    "quarantine",
                    "\(Format.plural(stream.faultsTotal, "line")) "
                        + "(\(reasons.joined(separator: ", ")))"
                        + (stream.quarantine.map { ": \($0)" } ?? "")
                ))
        }
        if !detail.features.isEmpty {
            facts.append(
                (
                    "features",
                    detail.features.joined(separator: ", ")
                        + (detail.timeColumn.map { "; time in \($0)" } ?? "")
                ))
        }
        if let categories = detail.categories, !categories.isEmpty {
            facts.append(("categories", categories.joined(separator: ", ")))
        }
        if let learning = stream.learning {
            facts.append(("learning", sentence(learning, of: stream)))
        }
        if let model = stream.model {
            facts.append(
                (
                    "anomalies",
                    "\(Format.count(stream.anomaliesTotal)), "
                        + "\(Format.count(stream.anomaliesLastDay)) in the last 24 hours"
                ))
            if let text = stream.suppressed?.text { facts.append(("suppressed", text)) }
            if let drift = stream.drift { facts.append(("drift", sentence(drift))) }
            if let labels = stream.labels, labels.falseAlarms + labels.confirmed > 0 {
                facts.append(
                    (
                        "labels",
                        "\(Format.plural(labels.falseAlarms, "false alarm")), "
                            + "\(Format.count(labels.confirmed)) true"
                    ))
            }
            facts.append(("alarms a day", rates(stream)))
            if let threshold = stream.threshold {
                facts.append(("threshold", sentence(threshold)))
            }
            facts.append(("model", sentence(model)))
        }
        if let fit = stream.fit { facts.append(("fit", sentence(fit))) }
        if let fit = stream.lastFit { facts.append(("last fit", sentence(fit))) }
        if stream.fit == nil, let text = nextFit(stream) { facts.append(("next fit", text)) }
        return facts
    }

    /// `in 20 min`, `after 80 more records`, or both; `nil`: no fit begins by itself.
    private func nextFit(_ stream: StreamStatus) -> String? {
        let records = stream.nextFitRecords.map {
            "after \(Format.count($0)) more record\($0 == 1 ? "" : "s")"
        }
        guard let time = stream.nextFitAt else { return records }
        let seconds = time.timeIntervalSince(now)
        let text = seconds < 1 ? "now" : "in \(Format.duration(seconds))"
        return records.map { "\(text) at the earliest, \($0)" } ?? text
    }

    private func source(_ stream: StreamStatus) -> String {
        var text = "\(stream.sourceKind) \(stream.source), \(stream.format)"
        if stream.sourceKind == "socket" {
            text += ", \(Format.plural(stream.connections, "client"))"
            if let refused = stream.refusedConnections, refused > 0 {
                text += ", \(Format.count(refused)) turned away"
            }
        }
        if let mode = stream.watchMode { text += ", by \(mode)" }
        if let bytes = stream.spooledBytes, bytes > 0 {
            text += ", \(Format.bytes(bytes)) spooled"
        }
        if let files = stream.failedFiles, files > 0 {
            text += ", \(Format.plural(files, "file")) failed"
        }
        if stream.backlogBytes > 0 { text += ", \(Format.bytes(stream.backlogBytes)) behind" }
        return text
    }

    private func records(_ stream: StreamStatus) -> String {
        var text = Format.count(stream.recordsTotal)
        if stream.recordsPerSec > 0 { text += ", \(Format.rate(perSecond: stream.recordsPerSec))" }
        if let last = stream.lastRecordAt { text += ", the newest \(age(last)) ago" }
        if let count = stream.gapsTotal, count > 0 {
            text += ", \(Format.plural(count, "gap")) in time"
        }
        if let count = stream.unscoredTotal, count > 0 {
            text += ", \(Format.count(count)) not scored"
        }
        if let count = stream.lostTotal, count > 0 {
            text += ", \(Format.count(count)) lost"
        }
        if let count = stream.droppedTotal, count > 0 {
            text += ", \(Format.count(count)) dropped"
        }
        if let count = stream.duplicatesTotal, count > 0 {
            text += ", \(Format.count(count)) sent twice"
        }
        if let counted = stream.points?.text {
            text += "; of the rows \(counted)"
        }
        return text
    }

    private func rates(_ stream: StreamStatus) -> String {
        let asked = alarms(stream.asked.perDay, share: stream.asked.probability)
        guard let measured = stream.measured else { return "\(asked) asked, none measured yet" }
        let found = alarms(measured.perDay, share: measured.share)
        return "\(asked) asked, \(found) anomalies over "
            + measured.extent
            + (stream.largestAlarmingPValue.map {
                "; to keep to it, an alarm needs p \(Format.probability($0)) for now"
            } ?? "")
    }

    // MARK: Sentences

    private func alarming(_ keys: KeysMessage) -> String {
        let more = keys.alarming.count - 5
        return "\(keys.column) " + keys.alarming.prefix(5).joined(separator: ", ")
            + (more > 0 ? " and \(Format.count(more)) more" : "")
    }

    private func sentence(_ keys: KeysMessage) -> String {
        "\(Format.count(keys.known)) in \(keys.column), \(Format.count(keys.live)) in memory, "
            + "\(Format.count(keys.modelled)) with a model of their own"
    }

    private func sentence(_ learning: LearningProgress, of stream: StreamStatus) -> String {
        if let history = learning.history {
            return "reads history, \(Format.bytes(history.bytesDone)) of "
                + "\(Format.bytes(history.bytes)), \(history.filesDone) of "
                + "\(Format.plural(history.files, "file")) done, "
                + Format.plural(history.records, "record")
                + (history.etaSecs.map { ", about \(Format.duration($0)) to go" } ?? "")
        }
        guard learning.have < learning.need else {
            let text = Format.plural(learning.have, "record") + " for the first model"
            guard stream.fit == nil else { return text }
            return text
                + (nextFit(stream).map { ", the next fit \($0)" } ?? ", the fit comes next")
        }
        return "\(Format.count(learning.have)) of \(Format.count(learning.need)) records "
            + "for the first model"
            + (learning.etaSecs.map { ", about \(Format.duration($0)) to go" } ?? "")
    }

    private func sentence(_ episode: EpisodeMessage) -> String {
        let features = episode.topFeatures.prefix(3).joined(separator: ", ")
        return "episode \(episode.sequence) since \(Format.time(episode.startedAt)), "
            + (episode.anomalyCount == 1
                ? "1 anomaly" : "\(Format.count(episode.anomalyCount)) anomalies")
            + (features.isEmpty ? "" : ": \(features)")
    }

    /// What has moved or changed comes first; "none" is said where both were looked at.
    private func sentence(_ drift: DriftMessage) -> String {
        let features = featureSentence(drift)
        if drift.scoresChanged {
            let scores =
                "the scores have changed in the last "
                + Format.plural(drift.scoresChangedRecords, "record")
            let hasMoved = drift.features.contains(where: \.isBig)
            return hasMoved ? "\(features); \(scores)" : "\(scores); \(features)"
        }
        if drift.isTooEarlyForScores == true {
            return features + "; too early to tell of the scores"
        }
        let isNone = !drift.features.isEmpty && !drift.features.contains(where: \.isBig)
        return (isNone ? "none; " : "") + features + "; the scores are steady"
    }

    /// The features that moved much, at most three, else the one that moved most.
    private func featureSentence(_ drift: DriftMessage) -> String {
        func index(_ value: Double) -> String { String(format: "%.2f", value) }
        guard let first = drift.features.first else {
            guard let missing = drift.featureRecordsMissing, missing > 0 else {
                return "no feature is measured"
            }
            return "too early to tell of the features, \(Format.plural(missing, "record")) to go"
        }
        let moved = drift.features.filter(\.isBig)
        let names = moved.prefix(3).map { "\($0.name) \(index($0.stabilityIndex))" }
        let text =
            switch moved.count {
            case 0: "\(first.name) moved most, PSI \(index(first.stabilityIndex))"
            case 1: "\(first.name) has moved: PSI \(index(first.stabilityIndex))"
            default:
                "\(Format.count(moved.count)) features have moved: PSI of "
                    + names.joined(separator: ", ")
            }
        return text + " (0.25 is a big change)"
    }

    func sentence(_ fit: FitProgressMessage) -> String {
        guard fit.state == "running" else { return "fit \(fit.id) waits for its turn" }
        var text = "fit \(fit.id) \(Int((100 * fit.fraction).rounded(.down)))%"
        if let phase = fit.phase { text += ", \(phase)" }
        if fit.phase == "training", fit.stepLimit > 0 {
            text += " step \(fit.step) of at most \(fit.stepLimit)"
        }
        if let eta = fit.etaSecs { text += ", at most \(Format.duration(eta)) to go" }
        return text
    }

    func sentence(_ fit: FitMessage) -> String {
        var text = "\(fit.id) \(fit.state)"
        if let ended = fit.endedAt { text += " \(age(ended)) ago" }
        if let started = fit.startedAt, let ended = fit.endedAt {
            text += " after \(Format.duration(ended.timeIntervalSince(started)))"
        }
        return text + (fit.message.map { ": \($0)" } ?? "")
    }

    func sentence(_ model: ModelMessage) -> String {
        "\(model.id), \(model.family), fitted \(age(model.fittedAt)) ago on "
            + "\(Format.plural(model.recordCount, "record")), "
            + "\(Format.nats(model.heldOutLogLikelihood)) nats a held-out record"
    }

    func sentence(_ threshold: ThresholdMessage) -> String {
        var text = "log-likelihood below \(Format.nats(threshold.logLikelihood))"
        if let upper = threshold.upperLogLikelihood { text += " or above \(Format.nats(upper))" }
        return text + " nats, p \(Format.probability(threshold.probability)), \(threshold.kind): "
            + threshold.reason
    }

    private func age(_ date: Date) -> String { Format.age(now.timeIntervalSince(date)) }
}

extension MeasuredAlarms {
    /// How many records were counted, and over what time: `1,234,000 records (34 h)`.
    var extent: String {
        Format.plural(records, "record")
            + (days.map { " (\(Format.duration(86_400 * $0)))" } ?? "")
    }
}

extension [SuppressedCount] {
    /// How many anomalies were no alarm, and the four causes of most of them; `nil`: none.
    var text: String? {
        guard !isEmpty else { return nil }
        let total = reduce(0) { $0 + $1.count }
        let causes = prefix(4).map { "\(Format.count($0.count)) by \($0.cause)" }
        return "\(Format.count(total)): \(causes.joined(separator: ", "))"
    }
}
