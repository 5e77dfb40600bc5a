import ArgumentParser
import Control
import Foundation

/// A fit of a stream, now.
struct RetrainCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "retrain",
        abstract: "Fit a stream's model now.",
        discussion: """
            The fit runs in the background; scoring goes on. Its model serves only if it beats the \
            present one on the newest records. With --wait the outcome is told; the exit code is 1 if \
            the fit gave no model.

            EXAMPLES
              flowguardctl retrain pump-7
              flowguardctl retrain pump-7 --wait
            """)

    @OptionGroup var target: StreamArgument

    @Flag(help: "Wait for the outcome, with a progress bar.")
    var wait = false

    @Flag(help: "One JSON document: the fit that was begun or, with --wait, its outcome.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    private static let interval = Duration.milliseconds(300)

    func execute() async throws {
        let client = connection.client
        let reply = try await client.send(
            .post, Route.retrain(target.stream), reply: RetrainReply.self)
        guard wait else {
            if json { return try StandardOutput.write(json: ControlJSON.encode(reply)) }
            let verb = reply.wasUnderway ? "was already under way" : "was begun"
            return try StandardOutput.write(
                "\(reply.stream): fit \(reply.fit) \(verb); "
                    + "see flowguardctl status \(StreamName.quoted(target.stream))\n")
        }
        let outcome = try await outcome(of: reply.fit, client)
        if json {
            try StandardOutput.write(json: ControlJSON.encode(outcome))
        } else {
            let view = StatusView(terminal: .output, now: Date())
            try StandardOutput.write("\(target.stream): fit \(printable(view.sentence(outcome)))\n")
        }
        if outcome.state != "accepted" && outcome.state != "rejected" {
            throw ExitCode(ExitStatus.failed.rawValue)
        }
    }

    private func outcome(of fit: Int64, _ client: ControlClient) async throws -> FitMessage {
        var progress = Progress(linesElsewhere: true)
        defer { progress.finish() }
        while true {
            let detail = try await client.get(StreamDetail.self, Route.stream(target.stream))
            if let ended = detail.fits.first(where: { $0.id == fit && $0.isEnded }) {
                return ended
            }
            if let running = detail.status.fit, running.id == fit {
                let isRunning = running.state == "running"
                progress.show(
                    fraction: isRunning ? running.fraction : nil,
                    phase: isRunning ? running.phase ?? "starting" : "waits for its turn",
                    detail: running.heldOutLogLikelihood.map {
                        "held out \(Format.nats($0)) nats"
                    } ?? "")
            }
            try await Task.sleep(for: Self.interval)
        }
    }
}
