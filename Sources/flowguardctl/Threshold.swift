import ArgumentParser
import Control
import Foundation

/// Where normal ends.
struct ThresholdCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "threshold",
        abstract: "Show or change where normal ends for a stream.",
        discussion: """
            EXAMPLES
              flowguardctl threshold show pump-7
              flowguardctl threshold set pump-7 --false-alarms-per-day 1
              flowguardctl threshold set pump-7 --log-likelihood -25
              flowguardctl threshold reset pump-7
            """,
        subcommands: [ShowThreshold.self, SetThreshold.self, ResetThreshold.self])

    static var _errorLabel: String { ErrorLabel.text }
}

/// The threshold that holds, and the earlier ones.
struct ShowThreshold: Command {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "The threshold that holds, its budget and the earlier ones.",
        discussion: """
            EXAMPLES
              flowguardctl threshold show pump-7
              flowguardctl threshold show pump-7 --json
            """)

    @OptionGroup var target: StreamArgument

    @Flag(help: "One JSON document.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let client = connection.client
        let data = try await client.bytes(.get, Route.threshold(target.stream))
        if json { return try StandardOutput.write(document: data) }
        let report = try client.decode(ThresholdReport.self, from: data)
        try StandardOutput.write(ThresholdView(terminal: .output).text(report))
    }
}

/// Changes the threshold by hand, for as long as nobody resets it.
struct SetThreshold: Command {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Set the threshold or its budget by hand.",
        discussion: """
            Exactly one of the three says where normal ends. It holds, across fits and restarts, \
            until it is reset.

            EXAMPLES
              flowguardctl threshold set pump-7 --false-alarms-per-day 1
              flowguardctl threshold set pump-7 --false-alarm-probability 1e-5
              flowguardctl threshold set pump-7 --log-likelihood -25
            """)

    @OptionGroup var target: StreamArgument

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Records below are anomalies; in nats.", valueName: "nats"))
    var logLikelihood: Double?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The share of normal records that may be taken for anomalies, up to 0.1.",
            valueName: "share"))
    var falseAlarmProbability: Double?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "How many normal records a day may be taken for anomalies.", valueName: "count"))
    var falseAlarmsPerDay: Double?

    @Flag(help: "One JSON document: the thresholds after the change.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    private var updates: [ThresholdUpdate] {
        [
            logLikelihood.map(ThresholdUpdate.logLikelihood),
            falseAlarmProbability.map(ThresholdUpdate.falseAlarmProbability),
            falseAlarmsPerDay.map(ThresholdUpdate.falseAlarmsPerDay),
        ].compactMap(\.self)
    }

    func validate() throws {
        guard updates.count == 1 else {
            throw ValidationError(
                "expected one of --log-likelihood, --false-alarm-probability and "
                    + "--false-alarms-per-day, found \(updates.isEmpty ? "none" : "several")")
        }
        if let problem = updates[0].problem {
            throw ValidationError("--" + problem.replacing("_", with: "-"))
        }
    }

    func execute() async throws {
        let report = try await connection.client.send(
            .put, Route.threshold(target.stream), body: updates[0], reply: ThresholdReport.self)
        try ThresholdView(terminal: .output).write(report, json: json)
    }
}

/// Gives the threshold back to the configuration's budget.
struct ResetThreshold: Command {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Go back to the budget in the configuration.",
        discussion: """
            EXAMPLES
              flowguardctl threshold reset pump-7
            """)

    @OptionGroup var target: StreamArgument

    @Flag(help: "One JSON document: the thresholds after the change.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let report = try await connection.client.send(
            .put, Route.threshold(target.stream), body: ThresholdUpdate.reset,
            reply: ThresholdReport.self)
        try ThresholdView(terminal: .output).write(report, json: json)
    }
}

/// Thresholds as text.
struct ThresholdView {
    let terminal: Terminal

    func write(_ report: ThresholdReport, json: Bool) throws {
        if json { return try StandardOutput.write(json: ControlJSON.encode(report)) }
        try StandardOutput.write(text(report))
    }

    func text(_ report: ThresholdReport) -> String {
        var text = terminal.paint(printable(report.stream), .bold) + "\n"
        text += "asked     " + rate(report.asked.perDay, report.asked.probability) + "\n"
        if let measured = report.measured {
            text +=
                "measured  " + rate(measured.perDay, measured.share) + " over "
                + measured.extent + "\n"
        }
        guard let current = report.current else {
            return text + "\nno threshold: the stream has no model yet\n"
        }
        var table = Table([
            ("SINCE", .left), ("MODEL", .right), ("KIND", .left), ("BELOW", .right),
            ("ABOVE", .right), ("P", .right), ("", .left),
        ])
        table.add(row(current, .bold, state: "holds"))
        for earlier in report.earlier.prefix(8) { table.add(row(earlier, .plain, state: "")) }
        return text + "\n" + table.lines(terminal)
            + "\n" + Paragraph.wrap(printable(current.reason), width: terminal.width, indent: 0)
            + "\n"
    }

    private func row(
        _ threshold: ThresholdMessage, _ ink: Ink, state: String
    ) -> [Table.Cell] {
        [
            Table.Cell(Format.time(threshold.validFrom)), Table.Cell("\(threshold.model)"),
            Table.Cell(threshold.kind),
            Table.Cell(Format.nats(threshold.logLikelihood), ink),
            Table.Cell(threshold.upperLogLikelihood.map(Format.nats) ?? "-"),
            Table.Cell(Format.probability(threshold.probability)), Table.Cell(state),
        ]
    }

    private func rate(_ perDay: Double?, _ share: Double?) -> String {
        let parts = [
            perDay.map { "\(Format.significant($0, digits: 3)) a day" },
            share.map { "\(Format.probability($0)) of the records" },
        ].compactMap(\.self)
        return parts.isEmpty ? "-" : parts.joined(separator: ", ")
    }
}
