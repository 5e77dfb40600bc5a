import Detection
import Foundation
import Ingest
import Settings
import Testing

@Suite struct ConfigurationTests {
    private func read(_ yaml: String) throws(ConfigurationError) -> FlowguardConfiguration {
        try FlowguardConfiguration(yaml: yaml, path: "/etc/flowguard/flowguard.yaml")
    }

    @Test func aNameAndASourceAreEnough() throws {
        let configuration = try read(
            "streams: [{name: pump-7, source: {file: /var/log/pump-7.csv}}]")
        #expect(configuration.stateDirectory == "/var/lib/flowguard")
        #expect(configuration.controlSocketPath == "/run/flowguard/control.sock")
        #expect(configuration.log.anomalies == "/var/log/flowguard/anomalies.ndjson")
        #expect(configuration.http == nil)
        let stream = try #require(configuration.streams.first)
        #expect(stream.source == .file("/var/log/pump-7.csv"))
        #expect(stream.format.format == .csv)
        #expect(stream.features == nil)
        #expect(stream.budget == .perDay(2))
        #expect(stream.cooldown == .seconds(300))
        #expect(stream.fit == .standard)
    }

    @Test func everyKeyIsRead() throws {
        let configuration = try read(
            """
            state_directory: state
            runtime_directory: /run/fg
            log: {anomalies: ../log/anomalies.ndjson}
            http: {listen: "[::1]:9469"}
            streams:
              - name: pump-7
                source: {socket: pump.sock}
                history: [old/pump-*.csv, /var/archive/pump.csv]
                format: csv
                delimiter: ";"
                columns: [t, a, b]
                missing_values: ["", "n/a"]
                max_line_bytes: 64KiB
                time: {column: t}
                features: [a]
                categories: [mode, on]
                exclude: [b]
                missing: {default: median, a: previous}
                context: {calendar: [hour_of_day, day_of_week], lags: 4}
                model: {family: nice, coupling_layers: 8, hidden_width: 48, seed: 7}
                fit: {first_after_records: 500, every: 1h30m, window_records: 10_000, time_limit: 45s}
                alarm: {false_alarm_probability: 0.001, cooldown: 90s}
            """)
        #expect(configuration.stateDirectory == "/etc/flowguard/state")
        #expect(configuration.log.anomalies == "/etc/log/anomalies.ndjson")
        #expect(configuration.http?.host == "::1")
        #expect(configuration.http?.port == 9469)
        let stream = try #require(configuration.streams.first)
        #expect(stream.source == .socket(SocketConfiguration(path: "/etc/flowguard/pump.sock")))
        #expect(
            stream.history == ["/etc/flowguard/old/pump-*.csv", "/var/archive/pump.csv"])
        #expect(stream.format.delimiter == UInt8(ascii: ";"))
        #expect(stream.format.columns == ["t", "a", "b"])
        #expect(stream.format.missingValues == ["", "n/a"])
        #expect(stream.format.maxLineBytes == 65_536)
        #expect(stream.timeColumn == "t")
        #expect(stream.features == ["a"])
        #expect(stream.categories == ["mode", "on"])
        #expect(stream.exclude == ["b"])
        #expect(
            stream.detectorOptions.missing
                == MissingPolicies(standard: .median, columns: ["a": .previous]))
        #expect(stream.detectorOptions.calendar == [.hourOfDay, .dayOfWeek])
        #expect(stream.detectorOptions.lags == 4)
        #expect("\(stream.detectorOptions.family)" == "nice")
        #expect(stream.detectorOptions.couplingLayers == 8)
        #expect(stream.detectorOptions.hiddenWidth == 48)
        #expect(stream.detectorOptions.seed == 7)
        #expect(stream.fit.every == .seconds(5_400))
        #expect(stream.fit.windowRecords == 10_000)
        #expect(stream.fit.timeLimit == .seconds(45))
        #expect(stream.budget == .probability(0.001))
        #expect(stream.cooldown == .seconds(90))
    }

    @Test(arguments: [
        ("{file: /var/log/pump-*.csv}", SourceConfiguration.file("/var/log/pump-*.csv")),
        ("{directory: in}", .directory("/etc/flowguard/in")),
        ("{datagram: in.sock}", .datagram("/etc/flowguard/in.sock")),
        ("{pipe: in.fifo}", .pipe("/etc/flowguard/in.fifo")),
        ("{stdin: true}", .standardInput),
    ])
    func everyKindOfSource(text: String, source: SourceConfiguration) throws {
        let stream = try read("streams: [{name: a, source: \(text)}]").streams[0]
        #expect(stream.source == source)
    }

    @Test func socketThatAcknowledgesAndSpills() throws {
        let text = "{socket: /run/a.sock, acknowledge: true, overflow: spill, overflow_bytes: 8MiB}"
        let stream = try read("streams: [{name: a, source: \(text)}]").streams[0]
        var socket = SocketConfiguration(path: "/run/a.sock")
        #expect(socket.overflow == .block)
        socket.acknowledge = true
        socket.overflow = .spill
        socket.overflowBytes = 8 << 20
        #expect(stream.source == .socket(socket))
    }

    @Test func timesAreReadAsTheConfigurationSays() throws {
        func time(_ text: String) throws -> TimeFormat {
            try read("streams: [{name: a, source: {file: a}, \(text)}]").streams[0].format.time
        }
        #expect(try time("format: influx, time: {unit: ms}").unit == .ms)
        let local = try time("time: {column: t, pattern: '%d.%m.%Y %T', zone: Europe/Berlin}")
        #expect(local.pattern == "%d.%m.%Y %T")
        #expect(local.zone == "Europe/Berlin")
        #expect(try time("time: {column: t, unit: us}").unit == .us)
    }

    @Test func onePolicyForAllMissingValues() throws {
        let stream = try read(
            "streams: [{name: a, source: {file: a.csv}, missing: previous}]"
        ).streams[0]
        #expect(stream.detectorOptions.missing == MissingPolicies(standard: .previous))
        #expect(stream.categories == [])
    }

    @Test(arguments: [
        ("source: {file: a.ndjson}", RecordFormat.ndjson), ("source: {file: a.JSONL}", .ndjson),
        ("source: {file: a.csv}", .csv), ("source: {file: a.log}", .csv),
        ("source: {socket: a.sock}", .ndjson),
    ])
    func theFormatFollowsTheSource(source: String, format: RecordFormat) throws {
        let stream = try read("streams: [{name: a, \(source)}]").streams[0]
        #expect(stream.format.format == format)
    }

    @Test func fitsCanBeOnRequestOnly() throws {
        let stream = try read("streams: [{name: a, source: {file: a}, fit: {every: never}}]")
            .streams[0]
        #expect(stream.fit.every == nil)
    }

    @Test func aSmallWindowLowersTheFirstFit() throws {
        let stream = try read("streams: [{name: a, source: {file: a}, fit: {window_records: 500}}]")
            .streams[0]
        #expect(stream.fit.firstAfterRecords == 500)
    }

    @Test func aFileThatIsNotThereSaysSo() {
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(path: "/nowhere/flowguard.yaml")
        }
        #expect(
            error?.report == """
                error: /nowhere/flowguard.yaml: the configuration cannot be read: no such file
                hint:  name an existing file with --config
                """)
        #expect(error?.exitCode == 66)
    }

    @Test func aFolderIsNoConfiguration() {
        let error = #expect(throws: ConfigurationError.self) {
            try FlowguardConfiguration(path: "/tmp")
        }
        #expect(error?.exitCode == 74)
    }
}
