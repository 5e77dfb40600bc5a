import Foundation
import Settings
import TestSupport
import Testing

@Suite struct ConfigurationProblemTests {
    /// A file with one or more mistakes and the lines that a tool prints about it.
    struct Mistake: Sendable, CustomTestStringConvertible {
        var name: String
        var yaml: String
        var report: String
        var testDescription: String { name }
    }

    /// Where `f.yaml` lies, and relative paths begin.
    private static let folder = FileManager.default.currentDirectoryPath

    static let mistakes = [
        Mistake(
            name: "a misspelt key names the nearest",
            yaml: """
                streams:
                  - name: pump-7
                    source: {file: a.csv}
                    featurs: [a]
                """,
            report: """
                error: f.yaml:4:5: unknown key 'featurs' in stream 'pump-7'
                hint:  did you mean 'features'?
                """),
        Mistake(
            name: "all problems are listed, in the order of the file",
            yaml: """
                state_dir: /tmp
                streams:
                  - name: a b
                    source: {fil: a.csv}
                    fit: {every: soon, first_after_records: 5}
                  - source: {file: b.csv}
                """,
            report: """
                error: f.yaml:1:1: unknown key 'state_dir' in the configuration
                hint:  known keys: state_directory, runtime_directory, log, http, streams
                error: f.yaml:3:11: stream 'a b': name: expected 1 to 64 letters, digits, '.', '_' \
                or '-', not beginning with '.', found 'a b'
                error: f.yaml:4:14: unknown key 'fil' in source of stream 'a b'
                hint:  did you mean 'file'?
                error: f.yaml:5:18: stream 'a b': fit.every: expected a time such as 30s, 5m or 1h, \
                or never, found 'soon'
                error: f.yaml:5:45: stream 'a b': fit.first_after_records: expected a whole number \
                from 40 to 10000000, found 5
                error: f.yaml:6:5: stream number 2 has no name
                hint:  add name: followed by 1 to 64 letters, digits, '.', '_' or '-', not \
                beginning with '.'
                """),
        Mistake(
            name: "a column has one role",
            yaml: """
                streams:
                  - name: pump-7
                    source: {file: a.csv}
                    time: {column: t}
                    features: [a, mode]
                    categories: [mode, t, c]
                    exclude: [c]
                """,
            report: """
                error: f.yaml:6:17: stream 'pump-7': 't' is both the time column and a category
                hint:  remove it from one of the two
                error: f.yaml:6:17: stream 'pump-7': 'mode' is listed under categories and under \
                features
                hint:  remove it from one of the two
                error: f.yaml:6:17: stream 'pump-7': 'c' is listed under categories and under exclude
                hint:  remove it from one of the two
                """),
        Mistake(
            name: "policies for missing values are words, of columns that are read",
            yaml: """
                streams:
                  - name: pump-7
                    source: {file: a.csv}
                    features: [pressure]
                    categories: [mode]
                    missing: {default: mean, presure: median, mode: previous, flow: median}
                  - {name: b, source: {file: b.csv}, exclude: [id], missing: {id: median, x: 3}}
                  - {name: c, source: {file: c.csv}, missing: [median]}
                """,
            report: """
                error: f.yaml:6:24: stream 'pump-7': missing.default: expected one of reject, median, \
                previous, found 'mean'
                hint:  did you mean 'median'?
                error: f.yaml:6:30: stream 'pump-7': missing: 'presure' is neither a feature nor a \
                category
                hint:  did you mean 'pressure'?
                error: f.yaml:6:63: stream 'pump-7': missing: 'flow' is neither a feature nor a \
                category
                hint:  name it under features or categories, or remove it here
                error: f.yaml:7:63: stream 'b': missing: 'id' is neither a feature nor a category
                hint:  name it under features or categories, or remove it here
                error: f.yaml:7:78: stream 'b': missing.x: expected one of reject, median, previous, \
                found '3'
                error: f.yaml:8:47: stream 'c': missing: expected one of reject, median, previous, \
                found a list
                """),
        Mistake(
            name: "a stream name stands once",
            yaml: """
                streams:
                  - {name: a, source: {file: a.csv}}
                  - {name: a, source: {file: b.csv}}
                """,
            report: """
                error: f.yaml:3:12: stream 'a' is there twice: names must differ
                hint:  rename one of the two
                """),
        Mistake(
            name: "a socket belongs to one stream",
            yaml: """
                streams:
                  - {name: a, source: {socket: /run/x.sock}}
                  - {name: b, source: {socket: /run/x.sock}}
                """,
            report: """
                error: f.yaml:3:23: stream 'b': the socket /run/x.sock is already that of stream 'a'
                hint:  give each stream a socket of its own
                """),
        Mistake(
            name: "the control socket is no source",
            yaml: """
                runtime_directory: /run/fg
                streams: [{name: a, source: {socket: /run/fg/control.sock}}]
                """,
            report: """
                error: f.yaml:2:10: stream 'a': its socket /run/fg/control.sock is the control socket
                hint:  give the stream a socket of its own
                """),
        Mistake(
            name: "no streams at all",
            yaml: "state_directory: /tmp",
            report: """
                error: f.yaml:1:1: the configuration has no streams: at least one is needed
                hint:  the smallest is streams: [{name: pump-7, source: {file: /var/log/pump-7.csv}}]
                """),
        Mistake(
            name: "an empty list of streams",
            yaml: "streams: []",
            report: """
                error: f.yaml:1:10: streams: expected at least one stream, found an empty list
                hint:  the smallest is streams: [{name: pump-7, source: {file: /var/log/pump-7.csv}}]
                """),
        Mistake(
            name: "an empty file",
            yaml: "# nothing yet\n",
            report: """
                error: f.yaml:1:1: the file is empty: at least one stream is needed
                hint:  see the example configurations
                """),
        Mistake(
            name: "no source",
            yaml: "streams: [{name: a}]",
            report: """
                error: f.yaml:1:11: stream 'a' has no source
                hint:  add source: {file: PATH} or source: {socket: PATH}
                """),
        Mistake(
            name: "two sources",
            yaml: "streams: [{name: a, source: {file: a, socket: b}}]",
            report: """
                error: f.yaml:1:29: stream 'a': source: expected one of file, directory, socket, \
                datagram, pipe, stdin, found file and socket
                """),
        Mistake(
            name: "what is for sockets",
            yaml: "streams: [{name: a, source: {file: a, overflow: spill}}]",
            report: """
                error: f.yaml:1:49: stream 'a': source.overflow is for sockets, the source is a file
                hint:  remove overflow
                """),
        Mistake(
            name: "an acknowledgement that is not kept",
            yaml:
                "streams: [{name: a, source: {socket: a, acknowledge: true, overflow: drop_oldest}}]",
            report: """
                error: f.yaml:1:70: stream 'a': source: acknowledge promises what overflow: \
                drop_oldest breaks: expected block or spill
                hint:  remove one of the two
                """),
        Mistake(
            name: "datagrams of csv without columns",
            yaml: "streams: [{name: a, source: {datagram: a}, format: csv}]",
            report: """
                error: f.yaml:1:29: stream 'a': csv over datagrams has no header: expected the \
                names under columns
                hint:  add columns: [...], or set format: ndjson
                """),
        Mistake(
            name: "an unknown format",
            yaml: "streams: [{name: a, source: {file: a}, format: cvs}]",
            report: """
                error: f.yaml:1:48: stream 'a': format: expected one of csv, tsv, ndjson, influx, found 'cvs'
                hint:  did you mean 'csv'?
                """),
        Mistake(
            name: "keys of later forms are unknown",
            yaml: "streams: [{name: a, source: {kafka: a}}]",
            report: """
                error: f.yaml:1:30: unknown key 'kafka' in source of stream 'a'
                hint:  known keys: file, directory, socket, datagram, pipe, stdin, acknowledge, \
                overflow, overflow_bytes
                """),
        Mistake(
            name: "budgets exclude each other",
            yaml: """
                streams:
                  - name: a
                    source: {file: a}
                    alarm: {false_alarms_per_day: 2, false_alarm_probability: 0.1, cooldown: 8d}
                """,
            report: """
                error: f.yaml:4:63: stream 'a': alarm: expected either false_alarms_per_day or \
                false_alarm_probability, found both
                hint:  remove one of the two
                error: f.yaml:4:78: stream 'a': alarm.cooldown: expected a time from 0s to 7d, found 8d
                """),
        Mistake(
            name: "a probability is no percentage",
            yaml: "streams: [{name: a, source: {file: a}, alarm: {false_alarm_probability: 5}}]",
            report: """
                error: f.yaml:1:73: stream 'a': alarm.false_alarm_probability: expected a number \
                above 0 and at most 0.1, found '5'
                """),
        Mistake(
            name: "no p-value is that small",
            yaml:
                "streams: [{name: a, source: {file: a}, alarm: {false_alarm_probability: 1e-300}}]",
            report: """
                error: f.yaml:1:73: stream 'a': alarm.false_alarm_probability: expected at least \
                1e-12, found 1e-300
                """),
        Mistake(
            name: "the first fit fits in the window",
            yaml: """
                streams:
                  - name: a
                    source: {file: a}
                    fit: {window_records: 1000, first_after_records: 2000}
                """,
            report: """
                error: f.yaml:4:54: stream 'a': fit.first_after_records: expected at most \
                window_records (1000), found 2000
                hint:  raise window_records, or lower first_after_records
                """),
        Mistake(
            name: "columns have one role",
            yaml: """
                streams:
                  - name: a
                    source: {file: a}
                    time: {column: t}
                    features: [t, b, b]
                    exclude: [b]
                """,
            report: """
                error: f.yaml:5:15: stream 'a': 't' is both the time column and a feature
                hint:  remove it from one of the two
                error: f.yaml:5:15: stream 'a': 'b' is listed under features and under exclude
                hint:  remove it from one of the two
                error: f.yaml:5:22: stream 'a': features: 'b' is listed twice
                """),
        Mistake(
            name: "a value of the wrong kind",
            yaml: """
                http: 9469
                streams:
                  - name: a
                    source: {file: a}
                    features: pressure
                    time:
                """,
            report: """
                error: f.yaml:1:7: http: expected keys and values, found '9469'
                error: f.yaml:5:15: stream 'a': features: expected a list of column names, found \
                'pressure'
                error: f.yaml:6:10: time of stream 'a': expected keys and values, found nothing
                """),
        Mistake(
            name: "an address without a port",
            yaml: "http: {listen: localhost}\nstreams: [{name: a, source: {file: a}}]",
            report: """
                error: f.yaml:1:16: http.listen: expected an address and a port such as \
                127.0.0.1:9469, found 'localhost'
                """),
        Mistake(
            name: "a delimiter that begins comments",
            yaml: "streams: [{name: a, source: {file: a}, delimiter: ';', comment: ';'}]",
            report: """
                error: f.yaml:1:65: stream 'a': comment: the delimiter cannot begin comments too
                hint:  name another one
                """),
        Mistake(
            name: "CSV settings of a stream that is not CSV",
            yaml: "streams: [{name: a, source: {socket: a}, delimiter: ';'}]",
            report: """
                error: f.yaml:1:53: stream 'a': delimiter is for csv, the format is ndjson
                hint:  remove delimiter, or set format: csv
                """),
        Mistake(
            name: "an anomaly log that is read or kept otherwise",
            yaml: """
                state_directory: st
                log: {anomalies: st/../in/log.ndjson}
                streams:
                  - {name: a, source: {file: in/log.ndjson}}
                  - {name: b, source: {file: in/*.ndjson}}
                  - {name: c, source: {directory: in}}
                  - {name: d, source: {file: d.csv}, history: ["in/l*"]}
                  - {name: e, source: {file: "*.ndjson"}}
                """,
            report: ["a", "b", "c"].map {
                """
                error: f.yaml:2:18: log.anomalies: LOG is in the source of stream '\($0)', which \
                would read what is written about it
                hint:  choose another file for the log

                """
            }.joined().replacing("LOG", with: folder + "/in/log.ndjson")
                + """
                error: f.yaml:2:18: log.anomalies: \(folder)/in/log.ndjson is in the history of \
                stream 'd'
                hint:  choose another file for the log
                """),
        Mistake(
            name: "an anomaly log among the files of the state directory",
            yaml: """
                state_directory: st
                log:
                  anomalies: st/flowguard.sqlite
                streams: [{name: a, source: {file: a}}]
                """,
            report: """
                error: f.yaml:3:14: log.anomalies: \(folder)/st/flowguard.sqlite is among the files \
                of the state directory
                hint:  choose another file for the log
                """),
        Mistake(
            name: "a key twice",
            yaml: "streams:\n  - name: a\n    name: b\n",
            report: "error: f.yaml:2:5: a key may stand only once in a mapping, found twice: 'name'"
        ),
    ]

    @Test(arguments: mistakes)
    func mistakeIsExplained(mistake: Mistake) {
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(yaml: mistake.yaml, path: "f.yaml")
        }
        #expect(error?.report == mistake.report)
        #expect(error?.exitCode == 78)
    }

    @Test func aSyntaxErrorHasItsPlace() {
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(
                yaml: "streams:\n  - name: \"pump\n    source: [a", path: "f.yaml")
        }
        let report = error?.report ?? ""
        #expect(report.hasPrefix("error: f.yaml:3:"), "\(report)")
        #expect(report.contains("not YAML: "), "\(report)")
    }

    @Test func aSocketPathThatIsTooLongIsRefused() {
        let folder = "/" + String(repeating: "d", count: 110)
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(
                yaml: """
                    runtime_directory: \(folder)
                    streams: [{name: a, source: {socket: \(folder)/a.sock}}]
                    """, path: "f.yaml")
        }
        #expect(
            error?.description == """
                f.yaml:1:20: runtime_directory: a socket's path has at most 107 bytes, \
                \(folder)/control.sock has 124
                f.yaml:2:38: stream 'a': source.socket: a socket's path has at most 107 bytes, \
                \(folder)/a.sock has 118
                """)
    }

    /// What YAML's reader does not take is told at its place, whatever lies before it; the place counts scalars, as others do.
    @Test(arguments: [
        ("# ÄÖÜ ß 🌊\nlog: ü\u{1}\n", 2, 7), ("# a\r\n# ö\r\nx: \u{1}\r\n", 3, 4),
        ("# a\u{308}\nu\u{308}: \u{1}", 2, 5), ("\u{1}", 1, 1),
    ])
    func placeOfWhatIsNoTextIsRight(yaml: String, line: Int, column: Int) throws {
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(yaml: yaml, path: "f.yaml")
        }
        #expect(
            error?.description.hasPrefix("f.yaml:\(line):\(column): not YAML: control characters")
                == true, "\(error?.description ?? "")")
    }

    @Test func aByteOfAnotherEncodingIsToldWithItsPlace() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(
            Array("# \u{F6}\r\nlog: f".utf8) + [0xFC, 0x0A], to: "f.yaml")
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(path: path)
        }
        #expect(
            error?.report == """
                error: \(path):2:7: expected UTF-8, found a byte of another encoding
                hint:  save it as UTF-8
                """)
        #expect(error?.exitCode == 78)
    }

    @Test func garbageIsAnErrorNotACrash() {
        for yaml in [
            "\u{0}", "[[[[", "a: &x [*x]", "- - -", "? {", "streams: {a: b}", "--- a\n--- b",
        ] {
            #expect(throws: ConfigurationError.self) {
                try FlowguardConfiguration(yaml: yaml, path: "f.yaml")
            }
        }
    }
}
