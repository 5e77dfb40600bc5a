import Testing

/// The help texts: each is read by a person before it is kept.
struct CommandHelpTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    static let commands = [
        "", "status", "tail", "explain", "label", "retrain", "threshold", "threshold show",
        "threshold set", "threshold reset", "model", "model list", "model show", "model activate",
        "model export",
        "replay", "fit", "score", "sample", "check",
    ]

    @Test(arguments: commands)
    func helpIsTheOneThatWasReadAndHasExamples(command: String) throws {
        let words = command.split(separator: " ").map(String.init)
        let outcome = try runner.run(words + ["--help"])
        #expect(outcome.code == 0)
        #expect(outcome.error == "")
        #expect(outcome.output.contains("\nEXAMPLES\n  flowguardctl \(command)"))
        let wide = outcome.output.split(separator: "\n").filter {
            $0.count > 80 && !$0.hasPrefix("USAGE:")
        }
        #expect(wide == [])
        let name = words.isEmpty ? "flowguardctl" : words.joined(separator: "-")
        try Golden.expect(outcome.output, "help/\(name)")
    }

    @Test func versionIsTold() throws {
        let outcome = try runner.run(["--version"])
        #expect(outcome.code == 0)
        #expect(outcome.output.wholeMatch(of: /\d+\.\d+\.\d+\n/) != nil)
    }

    @Test(arguments: [
        (["nope"], "error: Unexpected argument 'nope'"),
        (["score"], "error: expected one of --stream and --model, found none"),
        (
            ["score", "--stream", "a", "--model", "b"],
            "error: expected one of --stream and --model, found both"
        ),
        (
            ["score", "--model", "m", "--delimiter", "ab"],
            "error: --delimiter: expected one ASCII character, found 'ab'"
        ),
        (
            ["check", "--source", "a", "--delimiter", ";", "--comment", ";"],
            "error: --comment: the delimiter ';' cannot begin comments too"
        ),
        (
            ["fit", "-o", "m", "--coupling-layers", "33"],
            "error: --coupling-layers: expected a number from 1 to 32, found 33"
        ),
        (
            ["score", "--model", "m", "--threads", "0"],
            "error: --threads: expected a number from 1 to 1024, found 0"
        ),
        (
            ["score", "--model", "m", "--explain", "--output-format", "csv"],
            "error: --explain: expected --output-format ndjson, found csv"
        ),
        (["fit"], "error: Missing expected argument '--output <model>'"),
        (
            ["fit", "-o", "m", "--config", "c"],
            "error: --config and --stream: expected both or neither, found one"
        ),
        (
            ["fit", "-o", "m", "--features", "a,,b"],
            "error: --features: expected column names separated by commas, found 'a,,b'"
        ),
        (
            ["fit", "-o", "m", "--false-alarm-probability", "2"],
            "error: --false-alarm-probability: expected a number above 0 and up to 0.1, found 2.0"
        ),
        (
            ["sample", "--model", "m", "-n", "0"],
            "error: -n: expected a number from 1 to 10000000, found 0"
        ),
        (
            ["replay", "--config", "c", "--stream", "s", "--plot", "r.png", "h.csv"],
            """
            error: --plot: expected a path that ends in .svg, found 'r.png'; a browser shows an \
            SVG, and rsvg-convert makes a PNG of it
            """
        ),
        (
            ["replay", "--config", "c", "--stream", "s", "-", "-"],
            "error: FILE: expected - once, found it twice"
        ),
        (
            ["replay", "--config", "c", "--stream", "s", "--records-per-day", "0", "h.csv"],
            "error: --records-per-day: expected a number above 0 and up to 1e12, found 0.0"
        ),
        (["tail", "-n", "-1"], "error: -n: expected a number from 0 to 100000, found -1"),
        (
            ["sample", "--model", "m", "-n", "-3"],
            "error: -n: expected a number from 1 to 10000000, found -3"
        ),
        (
            ["score", "--model", "m", "--threads", "-1"],
            "error: --threads: expected a number from 1 to 1024, found -1"
        ),
        (
            ["fit", "-o", "m", "--seed", "-1"],
            "error: The value '-1' is invalid for '--seed <number>'"
        ),
        (
            ["fit", "-o", "m", "--features", "a,b", "--exclude", "b"],
            "error: --features and --exclude: expected 'b' in one of them, found it in both"
        ),
        (
            ["fit", "-o", "-"],
            """
            error: --output: expected a file, found '-'; standard output is /dev/stdout, and a \
            file of that name ./-
            """
        ),
        (
            ["model", "export", "a", "-o", "-"],
            """
            error: --output: expected a file, found '-'; standard output is /dev/stdout, and a \
            file of that name ./-
            """
        ),
        (["status", ""], "error: STREAM: expected a name, found ''"),
        (["tail", ""], "error: STREAM: expected a name, found ''"),
        (["keys", ""], "error: STREAM: expected a name, found ''"),
        (["model", "list", ""], "error: STREAM: expected a name, found ''"),
        (["threshold", "show", ""], "error: STREAM: expected a name, found ''"),
        (["threshold", "reset", ""], "error: STREAM: expected a name, found ''"),
        (["retrain", ""], "error: STREAM: expected a name, found ''"),
        (["score", "--stream", ""], "error: --stream: expected a name, found ''"),
        (["explain", "0"], "error: ANOMALY: expected a number above 0, found 0"),
        (
            ["threshold", "set", "a"],
            """
            error: expected one of --log-likelihood, --false-alarm-probability and \
            --false-alarms-per-day, found none
            """
        ),
        (
            ["threshold", "set", "a", "--log-likelihood", "-3", "--false-alarms-per-day", "2"],
            """
            error: expected one of --log-likelihood, --false-alarm-probability and \
            --false-alarms-per-day, found several
            """
        ),
        (
            ["threshold", "set", "a", "--false-alarms-per-day", "-2"],
            "error: --false-alarms-per-day: expected a number above 0, found -2.0"
        ),
    ])
    func wrongUsageIsNamed(arguments: [String], message: String) throws {
        let outcome = try runner.run(arguments)
        #expect(outcome.code == 64)
        #expect(outcome.output == "")
        #expect(outcome.error.split(separator: "\n").first.map(String.init) == message)
    }
}
