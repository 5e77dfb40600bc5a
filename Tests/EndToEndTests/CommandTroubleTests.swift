import Foundation
import TestSupport
import Testing

/// What fit, score and check say when there is no good input.
struct CommandTroubleTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    @Test(arguments: [
        (
            "", 66,
            """
            error: standard input: expected at least one record to find the columns by, found none

            """
        ),
        (
            "a,b\n", 66,
            """
            error: standard input: expected at least one record to find the columns by, found none

            """
        ),
        (
            "1,2\n3,4\n", 1,
            """
            error: standard input: header: expected the names of the columns, found only numbers and times: 1,2
            hint:  put the columns' names into a first line, or give them with --columns

            """
        ),
        (
            "a,b\nx,y\n", 1,
            """
            error: standard input: expected at least one column of numbers, found none in 'a', 'b'

            """
        ),
        (
            "a,a\n1,2\n", 1,
            """
            error: standard input: header: expected each name once, found 'a' twice

            """
        ),
        (
            "a,b\n" + String(repeating: "1,2\n", count: 300), 1,
            """
            error: every feature has a single value in the training rows (a, b): there is no \
            density to learn
            hint:  name other columns with --features

            """
        ),
    ])
    func fitSaysWhyThereIsNothingToLearn(input: String, code: Int32, message: String) throws {
        let outcome = try runner.run(["fit", "-o", "m.model"], input: input)
        #expect(outcome.code == code)
        #expect(outcome.error == message)
        #expect(!FileManager.default.fileExists(atPath: runner.folder.file("m.model")))
    }

    @Test(arguments: [
        (
            "a;b\n0,8;-0,4\n", ["--delimiter", ";"],
            "its numbers have decimal commas: give --decimal-mark ,"
        ),
        ("a;b\n0.8;-0.4\n", [], "if ';' is the delimiter, give --delimiter ';'"),
        ("a\tb\n0.8\t4\n", [], #"if a tab is the delimiter, give --delimiter '\t'"#),
        (#"{"a":1,"b":2}"# + "\n", [], "if the records are JSON, give --input-format ndjson"),
    ])
    func fitSaysWhichOptionReadsTheLines(input: String, options: [String], hint: String) throws {
        let outcome = try runner.run(
            ["fit", "-o", "m.model", "--format", "csv"] + options, input: input + input)
        #expect(outcome.code == 1)
        #expect(outcome.error.hasSuffix("\nhint:  \(hint)\n"), "\(outcome.error)")
    }

    @Test func aDaemonThatDoesNotAnswerIsNamedSo() throws {
        let path = runner.folder.file("silent.sock")
        let silent = try ListeningSocket(path: path)
        let outcome = try runner.run(["status", "--socket", path])
        #expect(outcome.code == 69)
        #expect(
            outcome.error == """
                error: \(path): the daemon gave no answer for 20 s
                hint:  it is busy or stuck: look at its log: journalctl -u flowguardd

                """)
        withExtendedLifetime(silent) {}
    }

    @Test func scoreOfLinesThatAreAllNoRecordsFails() throws {
        _ = try runner.run(["fit", "-o", "m.model"], input: CommandRecords.csv(600))
        let line = "2026-03-02T13:00:00Z;50,1;10,5;7,2\n"
        for more in [[], ["--fail-on-anomaly"]] {
            let outcome = try runner.run(
                ["score", "--model", "m.model", "--format", "csv", "--delimiter", ";"] + more,
                input: "time;load;flow;pressure\n" + line + line)
            #expect(outcome.code == 1)
            #expect(outcome.output.split(separator: "\n").count == 3)
            #expect(
                outcome.error.hasSuffix(
                    """
                    error: standard input: expected records that can be scored, found none in 2 lines
                    hint:  its numbers have decimal commas: give --decimal-mark ,

                    """), "\(outcome.error)")
        }
    }

    @Test func fitOfTooFewRecordsSaysHowManyAreNeeded() throws {
        let outcome = try runner.run(["fit", "-o", "m.model"], input: CommandRecords.csv(3))
        #expect(outcome.code == 1)
        #expect(
            outcome.error.wholeMatch(
                of:
                    /error: a fit needs at least \d+ usable rows, found 3\nhint:  gather more records of normal operation\n/
            ) != nil)
    }

    @Test func fitNamesTheColumnThatIsNotThere() throws {
        let outcome = try runner.run(
            ["fit", "-o", "m.model", "--features", "load,nope"], input: CommandRecords.csv(9))
        #expect(outcome.code == 1)
        #expect(
            outcome.error == """
                error: standard input: expected the column 'nope', found 'time', 'load', 'flow', \
                'pressure', 'note'
                hint:  columns are found by name, their order does not matter

                """)
    }

    @Test func fitOfBinaryGarbageEndsWithAMessage() throws {
        let garbage = String(
            decoding: (0..<20_000).map { UInt8(($0 * 7_919) & 0xFF) }, as: UTF8.self)
        let outcome = try runner.run(["fit", "-o", "m.model"], input: garbage)
        #expect(outcome.code == 1)
        #expect(outcome.error.hasPrefix("error: standard input: "))
    }

    @Test func fitLooksAtItsOutputFirst() throws {
        let missing = runner.folder.file("nowhere/m.model")
        var outcome = try runner.run(["fit", "-o", missing], input: CommandRecords.csv(9))
        #expect(outcome.code == 74)
        #expect(
            outcome.error == "error: \(missing): cannot be written: No such file or directory\n")
        outcome = try runner.run(["fit", "-o", "."], input: CommandRecords.csv(9))
        #expect(outcome.code == 74)
        #expect(outcome.error == "error: .: cannot be written: Is a directory\n")
    }

    @Test func fitTakesFormatAndBudgetFromAConfiguration() throws {
        try runner.folder.write(
            """
            streams:
              - name: pump
                source: {file: pump.csv}
                features: [load, pressure]
                alarm: {false_alarm_probability: 0.004}
            """, to: "f.yaml")
        let arguments = ["fit", "-o", "m.model", "--config", "f.yaml", "--json", "--stream"]
        let outcome = try runner.run(arguments + ["pump"], input: CommandRecords.csv(600))
        #expect(outcome.code == 0)
        #expect(outcome.output.contains("\"false_alarm_probability\" : 0.004"))
        #expect(!outcome.output.contains("\"flow\""))
        let other = try runner.run(arguments + ["mixer"], input: CommandRecords.csv(600))
        #expect(other.code == 1)
        #expect(
            other.error == """
                error: f.yaml: there is no stream 'mixer'
                hint:  the streams are: pump

                """)
    }

    @Test func scoreOfNothingIsNamed() throws {
        _ = try runner.run(["fit", "-o", "m.model"], input: CommandRecords.csv(600))
        var outcome = try runner.run(["score", "--model", "m.model"])
        #expect(outcome.code == 66)
        #expect(outcome.error == "error: standard input: expected records, found nothing\n")
        outcome = try runner.run(
            ["score", "--model", "m.model"], input: CommandRecords.header + "\n")
        #expect(outcome.code == 0)
        #expect(outcome.output == CommandRecords.header + ",log_likelihood,p_value,anomaly\n")
        outcome = try runner.run(["score", "--model", "m.model"], input: "time,load\n1,2\n")
        #expect(outcome.code == 1)
        #expect(
            outcome.error == """
                error: standard input: expected the columns 'flow', 'pressure', found 'time', 'load'
                hint:  columns are found by name, their order does not matter

                """)
    }

    @Test func modelFileOfNoUseIsNamed() throws {
        var outcome = try runner.run(["score", "--model", "no.model"])
        #expect(outcome.code == 66)
        #expect(outcome.error == "error: no.model: cannot be read: No such file or directory\n")
        try runner.folder.write(CommandRecords.csv(90), to: "text.model")
        outcome = try runner.run(["score", "--model", "text.model"])
        #expect(outcome.code == 1)
        #expect(outcome.error.hasPrefix("error: model text.model is not a flowguard model: "))
        _ = try runner.run(["fit", "-o", "m.model"], input: CommandRecords.csv(600))
        let whole = try runner.bytes("m.model")
        for count in [0, 7, 100, whole.count / 2, whole.count - 1] {
            try runner.folder.write([UInt8](whole.prefix(count)), to: "cut.model")
            outcome = try runner.run(["score", "--model", "cut.model"])
            #expect(outcome.code == 1, "cut to \(count)")
            #expect(outcome.error.hasPrefix("error: model cut.model "), "cut to \(count)")
            #expect(outcome.output == "")
        }
    }

    @Test func checkSaysGoodOrEverythingThatIsWrong() throws {
        try runner.folder.write(
            "streams:\n  - name: pump\n    source: {file: pump.csv}\n", to: "good.yaml")
        var outcome = try runner.run(["check", "good.yaml"])
        #expect(outcome.code == 0)
        #expect(outcome.output == "good.yaml: good, 1 stream\n")
        outcome = try runner.run(["check", "no.yaml"])
        #expect(outcome.code == 66)
        #expect(outcome.error.hasPrefix("error: no.yaml: the configuration cannot be read: "))
        try runner.folder.write(
            """
            streams:
              - name: pump
                sorce: {file: pump.csv}
              - name: pump
                source: {file: other.csv}
            """, to: "bad.yaml")
        outcome = try runner.run(["check", "bad.yaml"])
        #expect(outcome.code == 78)
        #expect(outcome.output == "")
        #expect(outcome.error.contains("bad.yaml:3:5: unknown key 'sorce'"))
        #expect(outcome.error.contains("\nhint:  did you mean 'source'?\n"))
        outcome = try runner.run(["check", "."])
        #expect(outcome.code == 74)
        #expect(
            outcome.error == """
                error: .: expected a configuration file, found a folder
                hint:  name a file in it

                """)
        outcome = try runner.run(["check", "bad.yaml", "--json"])
        #expect(outcome.code == 78)
        #expect(outcome.output.contains("\"is_good\" : false"))
    }

    @Test func daemonThatIsNotThereIsNamed() throws {
        let hint = "hint:  is the daemon running? systemctl status flowguardd"
        let none = runner.folder.file("no.sock")
        let commands = [
            ["status"], ["tail", "-f"], ["explain", "1"], ["retrain", "a"],
            ["threshold", "show", "a"], ["model", "list", "a"], ["score", "--stream", "a"],
            ["sample", "--stream", "a", "-n", "1"],
        ]
        for command in commands {
            let outcome = try runner.run(command)
            #expect(outcome.code == 69)
            #expect(
                outcome.error == """
                    error: the daemon is not reachable at \(none): No such file or directory
                    \(hint); another socket is named with --socket

                    """)
        }
        try runner.folder.write("", to: "file.sock")
        let path = runner.folder.file("file.sock")
        for arguments in [["status", "--socket", path], ["--socket", path, "status"]] {
            let outcome = try runner.run(arguments)
            #expect(outcome.code == 69)
            #expect(
                outcome.error
                    == "error: the daemon is not reachable at \(path): Connection refused\n\(hint)\n"
            )
        }
        let long = "/tmp/" + String(repeating: "x", count: 120)
        let outcome = try runner.run(["status"], environment: ["FLOWGUARD_SOCKET": long])
        #expect(outcome.code == 69)
        #expect(
            outcome.error
                == "error: \(long): a socket's path has at most 107 bytes, found 125\n")
    }
}
