import ArgumentParser
import Control
import Foundation

/// What the daemon watches, how far it is and how healthy.
struct StatusCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "What the daemon watches, how far, how healthy.",
        discussion: """
            One line a stream, or one stream in detail. What needs attention stands below the table.

            ASKED is the budget of false alarms a day, IS the anomalies a day, each record of an \
            episode by itself; what is above the budget are real ones, and what a fault leaves \
            in the means of the past.

            EXAMPLES
              flowguardctl status
              flowguardctl status pump-7
              flowguardctl status --watch
              flowguardctl status --json | jq '.streams[] | select(.state != "watching")'
            """)

    @Argument(help: "One stream, in detail.")
    var stream: String?

    @Flag(help: "Show it anew every two seconds, until interrupted.")
    var watch = false

    @Flag(help: "One JSON document; with --watch, one a line.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    private static let interval = Duration.seconds(2)

    func validate() throws {
        if let stream { try StreamName.validate(stream) }
    }

    func execute() async throws {
        var text = try await report()
        guard watch else { return try StandardOutput.write(text) }
        let isScreen = Terminal.output.isInteractive && !json
        while true {
            // Home, the text with each line cleared to its end, and nothing of the former text below.
            try StandardOutput.write(
                isScreen
                    ? "\u{1B}[H" + text.replacing("\n", with: "\u{1B}[K\n") + "\u{1B}[J"
                    : json ? text : text + "\n")
            try await Task.sleep(for: Self.interval)
            do {
                text = try await report()
            } catch let failure as CommandFailure where failure.status == .unavailable {
                // A restart of the daemon does not end the watch.
                if isScreen {
                    text = failure.report
                } else {
                    StandardError.write(failure.report)
                    continue
                }
            }
        }
    }

    private func report() async throws -> String {
        let client = connection.client
        let path = stream.map { Route.stream($0) } ?? Route.status
        let data = try await client.bytes(.get, path)
        if json {
            let document = String(decoding: data, as: UTF8.self)
            return document.hasSuffix("\n") ? document : document + "\n"
        }
        let view = StatusView(terminal: .output, now: Date())
        if stream != nil {
            return view.text(try client.decode(StreamDetail.self, from: data))
        }
        return view.text(try client.decode(StatusReport.self, from: data))
    }
}
