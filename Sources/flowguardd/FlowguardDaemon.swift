import ArgumentParser
import Control
import Foundation
import Logging
import Settings
import Streams

/// The command line of the daemon.
@main
struct FlowguardDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flowguardd",
        abstract: "Watches streams of records and logs the improbable ones, with the reason.",
        discussion: """
            Runs in the foreground and logs to standard error. SIGTERM and SIGINT stop it within five
            seconds, with everything committed; SIGHUP opens the anomaly log anew and reads the
            configuration again.

            Exit codes: 0 stopped, 64 usage, 66 no such configuration, 70 internal error,
            74 files, sockets or the store cannot be used, 78 wrong configuration.

            Examples:
              flowguardd --config /etc/flowguard/flowguard.yaml
              flowguardd --config flowguard.yaml --check
            """,
        version: FlowguardVersion.current)

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config = "/etc/flowguard/flowguard.yaml"

    @Flag(help: "Check the configuration file and exit: 0, or 78 with every problem in it.")
    var check = false

    @Option(
        help: ArgumentHelp(
            "What is logged: trace, debug, info, notice, warning, error or critical.",
            valueName: "level"))
    var logLevel = Logger.Level.info

    func run() async throws {
        let settings: FlowguardConfiguration
        do {
            settings = try FlowguardConfiguration(path: config)
        } catch {
            try Self.fail(DaemonError.configuration(error))
        }
        if check {
            let count = settings.streams.count
            let noun = count == 1 ? "stream" : "streams"
            Self.write("\(config): good, \(count) \(noun)\n", to: STDOUT_FILENO)
            return
        }
        // A client that goes away while it is written to is no reason to die.
        signal(SIGPIPE, SIG_IGN)
        // Nor is a wish to reload before somebody listens to it: the configuration was read just now.
        signal(SIGHUP, SIG_IGN)
        umask(0o027)
        Self.raiseDescriptorLimit()
        let level = logLevel
        let isJournal = ProcessInfo.processInfo.environment["JOURNAL_STREAM"] != nil
        LoggingSystem.bootstrap { _ in ServiceLog(level: level, isJournal: isJournal) }
        let logger = Logger(label: "flowguardd")
        do {
            try await Daemon(configuration: settings, logger: logger).run()
        } catch let error as DaemonError {
            try Self.fail(error)
        } catch let error as StateError {
            try Self.fail(.state(error))
        } catch {
            Self.write("error: \(error)\n", to: STDERR_FILENO)
            throw ExitCode(70)
        }
    }

    /// A stream with a key has a file open for each key in memory: shells allow a thousand, and more to those who ask.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private static func fail(_ error: DaemonError) throws -> Never {
        write(error.report + "\n", to: STDERR_FILENO)
        throw ExitCode(error.exitCode)
    }

    private static func write(_ text: String, to descriptor: Int32) {
        _ = StateDirectory.writeAll(Array(text.utf8), to: descriptor)
    }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}
