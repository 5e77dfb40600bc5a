import ArgumentParser
import Control

/// The command line: asks the daemon, or does the same mathematics without it.
@main
struct Flowguardctl: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flowguardctl",
        abstract: "See what flowguardd watches, and fit and score without it.",
        discussion: """
            The daemon is found at --socket PATH, else $FLOWGUARD_SOCKET, else \
            /run/flowguard/control.sock. replay, fit, score --model, sample --model and check need no \
            daemon.

            EXAMPLES
              flowguardctl status                     what it watches, how far, how healthy
              flowguardctl tail -f                    the anomalies, live, with reasons
              flowguardctl explain 4711               one anomaly, feature by feature
              flowguardctl label 4711 false-alarm     it and its like stop alarming
              flowguardctl retrain pump-7 --wait      a fit now, with a progress bar
              flowguardctl replay --config f.yaml --stream pump-7 2026-*.csv
              flowguardctl fit --output pump.model < normal.csv
              flowguardctl score --model pump.model < batch.csv

            EXIT CODES
              0 done   1 failed   2 score found anomalies and --fail-on-anomaly was given
              64 usage   66 no such input   69 daemon not reachable   70 internal error
              74 I/O error   78 wrong configuration
            """,
        version: FlowguardVersion.current,
        groupedSubcommands: [
            CommandGroup(
                name: "The daemon",
                subcommands: [
                    StatusCommand.self, KeysCommand.self, TailCommand.self,
                    ExplainCommand.self, LabelCommand.self, RetrainCommand.self,
                    ThresholdCommand.self, ModelCommand.self,
                ]),
            CommandGroup(
                name: "Records and models",
                subcommands: [
                    ReplayCommand.self, FitCommand.self, ScoreCommand.self, SampleCommand.self,
                ]),
            CommandGroup(name: "Configuration", subcommands: [CheckCommand.self]),
        ])

    /// Taken before the command's name too.
    @OptionGroup var connection: ConnectionOptions

    static var _errorLabel: String { ErrorLabel.text }
}

/// How every message that ends a command begins, those of the argument parser too.
enum ErrorLabel {
    static let text = "error"
}

/// A command that tells its failures as `error:` and `hint:`, with the exit code that DESIGN gives them.
protocol Command: AsyncParsableCommand {
    /// Does the work.
    func execute() async throws
}

extension Command {
    static var _errorLabel: String { ErrorLabel.text }

    /// Runs the command and reports what went wrong.
    func run() async throws {
        do {
            try await execute()
        } catch let code as ExitCode {
            throw code
        } catch let error as ValidationError {
            throw error
        } catch {
            let failure = CommandFailure(error)
            StandardError.write(failure.report)
            throw ExitCode(failure.status.rawValue)
        }
    }
}
