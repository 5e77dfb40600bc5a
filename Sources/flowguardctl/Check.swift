import ArgumentParser
import Control
import Foundation
import Settings

extension FlowguardConfiguration {
    /// The stream of this name; its absence is told with the names that there are.
    func stream(named name: String) throws(CommandFailure) -> StreamConfiguration {
        if let found = streams.first(where: { $0.name == name }) { return found }
        let names = streams.map(\.name).joined(separator: ", ")
        throw CommandFailure(
            "\(path): there is no stream '\(name)'", hint: "the streams are: \(names)")
    }
}

/// Validates a configuration.
struct CheckCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check a configuration file: exit 0, or 78 with every problem in it.",
        discussion: """
            EXAMPLES
              flowguardctl check /etc/flowguard/flowguard.yaml
              flowguardctl check flowguard.yaml --json
            """)

    @Argument(help: "The configuration file.")
    var file: String

    @Flag(help: "One JSON document: the streams, or the problems.")
    var json = false

    /// What `--json` prints.
    private struct Verdict: Encodable {
        struct Problem: Encodable {
            var line: Int
            var column: Int
            var message: String
            var hint: String?
        }

        var file: String
        var isGood: Bool
        var streams: [String]
        var problems: [Problem]
    }

    func execute() async throws {
        let names: [String]
        do {
            names = try FlowguardConfiguration(path: file).streams.map(\.name)
        } catch {
            if json, case .problems(let problems) = error {
                let all = problems.map {
                    Verdict.Problem(
                        line: $0.line, column: $0.column, message: $0.message, hint: $0.hint)
                }
                try write(Verdict(file: file, isGood: false, streams: [], problems: all))
            }
            throw error
        }
        if json {
            try write(Verdict(file: file, isGood: true, streams: names, problems: []))
        } else {
            try StandardOutput.write(
                "\(file): good, \(Format.plural(names.count, "stream"))\n")
        }
    }

    private func write(_ verdict: Verdict) throws {
        try StandardOutput.write(json: ControlJSON.encode(verdict, pretty: true))
    }
}
