import Ingest
import Settings
import Testing

/// The key `long` of a stream.
struct LongRowsConfigurationTests {
    private func stream(_ lines: String) throws -> StreamConfiguration {
        let configuration = try FlowguardConfiguration(
            yaml: "streams:\n  - name: p\n" + lines, path: "f.yaml")
        return try #require(configuration.streams.first)
    }

    private func problems(_ lines: String) -> String {
        let error = #expect(throws: ConfigurationError.self) { try stream(lines) }
        return error?.report ?? ""
    }

    @Test func whatIsLeftOutHasItsDefault() throws {
        let short = try stream(
            """
                source: {file: a.csv}
                time: {column: t}
                long: {series: sensor, value: value, every: 10s}
            """)
        #expect(
            short.longRows
                == LongRows(
                    series: ["sensor"], values: ["value"], every: .seconds(10),
                    staleAfter: .seconds(50), lateBy: .zero))
        let full = try stream(
            """
                source: {socket: a.sock}
                format: influx
                features: [cpu.usage_user, mem.used]
                long: {series: [host, cpu], value: [usage_user, used], every: 500ms,
                  stale_after: 1m, late_by: 2s}
            """)
        #expect(
            full.longRows
                == LongRows(
                    series: ["host", "cpu"], values: ["usage_user", "used"],
                    every: .milliseconds(500), staleAfter: .seconds(60), lateBy: .seconds(2)))
        let points = try stream(
            "    source: {socket: a.sock}\n    format: influx\n    long: {every: 10s}\n")
        #expect(points.longRows?.series == [])
        #expect(try stream("    source: {file: a.csv}\n").longRows == nil)
    }

    @Test func whatIsMissingIsTold() {
        #expect(
            problems("    source: {file: a.csv}\n    long: {every: 10s}\n") == """
                error: f.yaml:4:11: stream 'p': long: series is missing
                hint:  add series: and the column of it, as in series: sensor
                error: f.yaml:4:11: stream 'p': long: value is missing
                hint:  add value: and the column of it, as in value: value
                error: f.yaml:4:11: stream 'p': long: rows are put together by their time, and no \
                time is named
                hint:  add time: {column: NAME} to the stream
                """)
        #expect(
            problems(
                """
                    source: {file: a.csv}
                    time: {column: t}
                    long: {series: sensor, value: value}
                """) == """
                    error: f.yaml:5:11: stream 'p': long: every is missing
                    hint:  add every: and the time from record to record, as in every: 10s
                    """)
    }

    @Test func theMeasurementOfLineProtocolIsNoSeries() {
        #expect(
            problems(
                """
                    source: {socket: a.sock}
                    format: influx
                    long: {series: [_measurement, cpu], every: 10s}
                """) == """
                    error: f.yaml:5:11: stream 'p': long: the measurement is the first part of each \
                    name as it is
                    hint:  remove _measurement from series
                    """)
    }

    @Test func whatCannotBeIsTold() {
        #expect(
            problems(
                """
                    source: {file: a.csv}
                    time: {column: t}
                    categories: [mode]
                    long:
                      serie: sensor
                      series: [v, t]
                      value: v
                      every: 10s
                      stale_after: 5s
                      late_by: 1h
                """) == """
                    error: f.yaml:5:17: stream 'p': categories: long rows hold numbers, not texts
                    hint:  remove categories, or long
                    error: f.yaml:7:7: unknown key 'serie' in long of stream 'p'
                    hint:  did you mean 'series'?
                    error: f.yaml:7:7: stream 'p': long: 'v' is listed under series and under value
                    hint:  remove it from one of the two
                    error: f.yaml:7:7: stream 'p': long: 't' is the time column, and here too
                    hint:  remove it from one of the two
                    error: f.yaml:11:20: stream 'p': long.stale_after: expected a time from 10s to \
                    366d, found 5s
                    error: f.yaml:12:16: stream 'p': long.late_by: expected a time from 0s to 200s, \
                    found 1h
                    """)
        #expect(
            problems(
                """
                    source: {socket: a.sock}
                    format: influx
                    features: [usage]
                    long: {every: 1ms}
                """) == """
                    error: f.yaml:5:15: stream 'p': features: expected measurement and field such as \
                    cpu.usage_user, found 'usage'
                    error: f.yaml:6:19: stream 'p': long.every: expected a time from 10ms to 1d, \
                    found 1ms
                    """)
        #expect(
            problems(
                """
                    source: {socket: a.sock}
                    format: influx
                    long: {every: 1500ms, stale_after: 1s}
                """) == """
                    error: f.yaml:5:40: stream 'p': long.stale_after: expected a time from 1500ms to \
                    366d, found 1s
                    """)
    }
}
