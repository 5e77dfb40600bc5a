import ArgumentParser
import Control
import Foundation
import Settings

/// One anomaly, feature by feature.
struct ExplainCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Why a record is an anomaly: its values beside the expected ones.",
        discussion: """
            EXPECTED is the most likely value given the record's other values and what came before. \
            NATS is how much likelier the record would be with the expected value in its place: 1 nat \
            is a factor of 2.7, 7 nats are a factor of 1000.

            EXAMPLES
              flowguardctl explain 4711
              flowguardctl explain 4711 --json
            """)

    @Argument(help: "The anomaly's number, from tail or the anomaly log.")
    var anomaly: Int64

    @Flag(help: "One JSON document, as in the anomaly log.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        guard anomaly > 0 else {
            throw ValidationError("ANOMALY: expected a number above 0, found \(anomaly)")
        }
    }

    func execute() async throws {
        let client = connection.client
        let data = try await client.bytes(.get, Route.anomaly(String(anomaly)))
        let message = try client.decode(AnomalyMessage.self, from: data)
        if json { return try StandardOutput.write(document: data) }
        try StandardOutput.write(ExplainView(terminal: .output).text(message))
    }
}

/// An anomaly as text.
struct ExplainView {
    let terminal: Terminal

    func text(_ message: AnomalyMessage) -> String {
        let ink = Ink(pValue: message.pValue)
        var text = terminal.paint(
            "anomaly \(message.id) of "
                + printable(KeyedName.join(message.stream, message.key)), .bold)
        if let episode = message.episode { text += ", episode \(episode)" }
        text += "\n\n"
        let found = Format.time(message.time)
        let time = message.recordTime.map { "\(Format.time($0)), found \(found)" }
        let offset = "byte \(Format.count(message.offset)) of \(message.source)"
        var facts = [
            ("time", time ?? "found \(found)"),
            ("record", offset),
            ("p-value", terminal.paint(rarity(message), ink)),
            ("likelihood", likelihood(message)),
            ("model", "\(message.model)"),
        ]
        if let label = message.label {
            let word = label == "true" ? "a true alarm" : "a false alarm"
            facts.append(("label", word + (message.note.map { ": \($0)" } ?? "")))
        }
        for (label, value) in facts {
            text +=
                terminal.paint(label.padding(toLength: 12, withPad: " ", startingAt: 0), .dim)
                + (label == "p-value"
                    ? value
                    : Paragraph.wrap(printable(value), width: terminal.width - 12, indent: 12))
                + "\n"
        }
        text += "\n" + table(message)
        return text + "\n"
            + Paragraph.wrap(printable(message.summary), width: terminal.width, indent: 0) + "\n"
    }

    /// How the likelihood lies to the threshold.
    private func likelihood(_ message: AnomalyMessage) -> String {
        let distance = Format.nats(abs(message.threshold - message.logLikelihood))
        let threshold = Format.nats(message.threshold)
        let found = "\(Format.nats(message.logLikelihood)) nats, "
        guard !message.isStuck else {
            return found + "which is no less than the threshold of \(threshold)"
        }
        let side = message.tail == "high" ? "above" : "below"
        return found + "\(distance) \(side) the threshold of \(threshold)"
    }

    /// The p-value in words.
    private func rarity(_ message: AnomalyMessage) -> String {
        let text = Format.probability(message.pValue)
        guard message.pValue > 0, message.pValue < 0.5 else { return text }
        let quality =
            message.isStuck
            ? "stays as it was for as long"
            : "is as \(message.tail == "high" ? "typical" : "strange")"
        // No calibration reaches further: beyond it the number is the shape of a curve.
        guard message.pValue >= 1e-9 else {
            return text + ", less than 1 normal record in a billion \(quality)"
        }
        let one = Format.compact(Int64((1 / message.pValue).rounded()))
        return text + ", 1 normal record in \(one) \(quality)"
    }

    private func table(_ message: AnomalyMessage) -> String {
        let features = message.features
        let greatest = features.map(\.contribution).max() ?? 0
        var table = Table([
            ("FEATURE", .left), ("VALUE", .right), ("EXPECTED", .right), ("NATS", .right),
            ("", .left),
        ])
        for feature in features {
            let share = greatest > 0 ? feature.contribution / greatest : 0
            let isMain = share >= 0.5
            table.add([
                Table.Cell(feature.name, isMain ? .bold : .plain),
                Table.Cell(text(feature.value) { Format.value($0) }),
                Table.Cell(
                    message.isStuck && feature.expected == .missing
                        ? "another" : text(feature.expected) { Format.significant($0, digits: 5) }),
                Table.Cell(String(format: "%.1f", feature.contribution)),
                Table.Cell(terminal.bar(share, columns: 20), isMain ? .red : .dim),
            ])
        }
        return table.lines(terminal)
    }

    private func text(_ value: AnomalyMessage.Value, _ format: (Double) -> String) -> String {
        switch value {
        case .number(let number): format(number)
        case .text(let text): printable(text)
        case .missing: "missing"
        }
    }
}

extension AnomalyMessage {
    /// Whether it is that readings stand still, and not what they are.
    fileprivate var isStuck: Bool { reasonCode == "stuck" }
}
