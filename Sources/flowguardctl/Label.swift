import ArgumentParser
import Control
import Foundation

/// What a person says of an anomaly.
struct LabelCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "label",
        abstract: "Call an anomaly a false alarm, or a true one.",
        discussion: """
            A false alarm and its like stop alarming: anomalies whose summary names no other \
            features than its own, each on the same side of the expected value and at most 1.25 \
            times as far from it. Its records enter the next fit. The episode of a true alarm \
            stays out of the fits.

            EXAMPLES
              flowguardctl label 4711 false-alarm
              flowguardctl label 4711 true --note "bearing replaced"
              flowguardctl label 4711 --undo
            """)

    /// The two words.
    enum Word: String, ExpressibleByArgument, CaseIterable {
        case falseAlarm = "false-alarm"
        case confirmed = "true"
    }

    @Argument(help: "The anomaly's number, from tail or the anomaly log.")
    var anomaly: Int64

    @Argument(help: "What it was.")
    var label: Word?

    @Option(help: ArgumentHelp("In your own words, for explain.", valueName: "text"))
    var note: String?

    @Flag(help: "Take the label away: its like alarm again.")
    var undo = false

    @Flag(help: "One JSON document.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func validate() throws {
        guard anomaly > 0 else {
            throw ValidationError("ANOMALY: expected a number above 0, found \(anomaly)")
        }
        guard (label == nil) == undo else {
            throw ValidationError(
                "expected one of false-alarm, true and --undo, found \(undo ? "both" : "none")")
        }
        if let note {
            guard !undo else { throw ValidationError("--note: there is none with --undo") }
            guard note.utf8.count <= LabelUpdate.mostNoteBytes else {
                throw ValidationError(
                    "--note: expected at most \(LabelUpdate.mostNoteBytes) bytes, "
                        + "found \(note.utf8.count)")
            }
        }
    }

    func execute() async throws {
        let client = connection.client
        let path = Route.label(String(anomaly))
        let data: Data
        if let label {
            data = try await client.bytes(
                .put, path, body: LabelUpdate(label: label.rawValue, note: note))
        } else {
            data = try await client.bytes(.delete, path)
        }
        let reply = try client.decode(LabelReply.self, from: data)
        if json { return try StandardOutput.write(document: data) }
        try StandardOutput.write(Self.text(reply))
    }

    private static func text(_ reply: LabelReply) -> String {
        let name = "anomaly \(reply.anomaly) of \(printable(reply.stream))"
        let width = Terminal.output.width
        func lines(_ text: String) -> String {
            Paragraph.wrap(printable(text), width: width, indent: 0) + "\n"
        }
        switch reply.label {
        case Word.falseAlarm.rawValue?:
            var text = lines("\(name) is a false alarm. No alarm any more: \(reply.like).")
            if let episode = reply.episode {
                text += lines(
                    "\(reply.likeInEpisode) of the \(reply.episodeAnomalies) anomalies of episode "
                        + "\(episode) are like it; their records enter the next fit.")
            }
            return text
        case Word.confirmed.rawValue?:
            return lines(
                "\(name) is a true alarm. "
                    + (reply.episode.map { "The records of episode \($0) stay" }
                        ?? "Its record stays")
                    + " out of the fits.")
        default:
            return lines("\(name) is not labelled any more.")
        }
    }
}
