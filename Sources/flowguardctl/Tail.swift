import ArgumentParser
import Control
import Foundation
import Settings

/// The anomalies, newest last.
struct TailCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "The newest anomalies, and with -f those to come.",
        discussion: """
            A line an anomaly: number, time of the record in UTC, stream, p-value, and the reason. \
            The mark before the reason is ! where an episode begins and | where it goes on. The \
            p-value is the share of normal records that look as strange.

            EXAMPLES
              flowguardctl tail -n 20
              flowguardctl tail pump-7 -f
              flowguardctl tail -f --json >> anomalies.ndjson
            """)

    @Argument(help: "Of this stream only.")
    var stream: String?

    @Option(
        name: [.customShort("n"), .customLong("count")], parsing: .unconditional,
        help: ArgumentHelp("How many of the newest.", valueName: "count"))
    var count = 10

    @Flag(name: [.short, .long], help: "Go on with those to come, until interrupted.")
    var follow = false

    @Flag(help: "One JSON object a line, as in the anomaly log.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    /// How long a lost daemon is waited for.
    private static let patience = Duration.seconds(60)

    func validate() throws {
        if let stream { try StreamName.validate(stream) }
        guard count >= 0, count <= 100_000 else {
            throw ValidationError("-n: expected a number from 0 to 100000, found \(count)")
        }
    }

    func execute() async throws {
        var printer = AnomalyPrinter(terminal: .output, isJSON: json)
        var query = AnomalyQuery(latest: count, follow: follow)
        if !follow { return try await print(query, &printer) }
        var deadline: ContinuousClock.Instant?
        while true {
            var hasAnswered = false
            do {
                try await print(query, &printer) { hasAnswered = true }
                // It has ended in good order, so each outage is waited for anew.
                deadline = nil
            } catch let failure as CommandFailure where failure.status == .unavailable {
                if hasAnswered { deadline = nil }
                // Only a daemon that has answered once is waited for.
                guard hasAnswered || deadline != nil else { throw failure }
                if let deadline, .now > deadline { throw failure }
            }
            if deadline == nil {
                StandardError.write("note: the daemon has ended; waiting for it to come back\n")
                deadline = .now + Self.patience
            }
            if let last = printer.lastID {
                query = AnomalyQuery(after: last, follow: true)
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func print(
        _ query: AnomalyQuery, _ printer: inout AnomalyPrinter,
        onAnswer: () -> Void = {}
    ) async throws {
        let path = (stream.map { Route.anomalies($0) } ?? Route.anomalies) + query.text
        var pending: [UInt8] = []
        var local = printer
        defer { printer = local }
        try await connection.client.stream(.get, path) { bytes in
            onAnswer()
            pending += bytes
            guard let end = pending.lastIndex(of: UInt8(ascii: "\n")) else { return }
            let lines = pending[...end]
            for line in lines.split(separator: UInt8(ascii: "\n")) where !line.isEmpty {
                try local.add(line)
            }
            pending.removeSubrange(...end)
            try local.flush()
        }
        if !pending.isEmpty {
            try local.add(pending[...])
            try local.flush()
        }
    }
}

/// Turns lines of the anomaly log into what a person reads.
struct AnomalyPrinter {
    let terminal: Terminal
    let isJSON: Bool
    /// The number of the newest anomaly that was taken in.
    private(set) var lastID: Int64?
    private var episodes: [String: Int64] = [:]
    private var output: [UInt8] = []

    init(terminal: Terminal, isJSON: Bool) {
        self.terminal = terminal
        self.isJSON = isJSON
    }

    mutating func add(_ line: ArraySlice<UInt8>) throws {
        let message: AnomalyMessage
        do {
            message = try ControlJSON.decode(AnomalyMessage.self, from: Data(line))
        } catch {
            throw CommandFailure(
                "expected an anomaly of flowguardd \(FlowguardVersion.current), "
                    + "found '\(printable(String(decoding: line.prefix(60), as: UTF8.self)))'",
                hint: "install flowguardd and flowguardctl of one version")
        }
        lastID = max(lastID ?? 0, message.id)
        output += isJSON ? line + [UInt8(ascii: "\n")] : Array(text(message).utf8)
    }

    mutating func flush() throws(CommandFailure) {
        guard !output.isEmpty else { return }
        let bytes = output
        output = []
        try StandardOutput.write(bytes)
    }

    private mutating func text(_ message: AnomalyMessage) -> String {
        let name = KeyedName.join(message.stream, message.key)
        // The first one that is printed may be of an episode that began long before.
        let isFirst = message.episode == nil || message.beginsEpisode == true
        let isOther = episodes[name] != message.episode
        episodes[name] = message.episode
        let ink = Ink(pValue: message.pValue)
        let id = String(message.id)
        let time = Format.time(message.recordTime ?? message.time)
        let stream = printable(name)
        let probability = Format.probability(message.pValue)
            .padding(toLength: 7, withPad: " ", startingAt: 0)
        let mark = isFirst ? "!" : "|"
        let head = "\(id)  \(time)  \(stream)  \(probability)  \(mark) "
        let shown =
            terminal.paint(id, .dim) + "  \(time)  " + terminal.paint(stream, .bold) + "  "
            + terminal.paint(probability, ink) + "  " + terminal.paint(mark, ink) + " "
        var summary = printable(message.summary)
        if isOther, let episode = message.episode { summary = "[episode \(episode)] " + summary }
        if let label = message.label {
            summary = "[\(label == "true" ? "true" : "false alarm")] " + summary
        }
        guard terminal.isInteractive else { return shown + summary + "\n" }
        // Beside the head where half a line is left, else below it.
        let room = terminal.width - head.count
        if summary.count <= room || room >= 40 {
            return shown + Paragraph.wrap(summary, width: room, indent: head.count) + "\n"
        }
        let space = shown.last == " " ? 1 : 0
        return shown.dropLast(space) + "\n      "
            + Paragraph.wrap(summary, width: terminal.width - 6, indent: 6) + "\n"
    }
}
