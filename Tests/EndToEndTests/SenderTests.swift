import Control
import Foundation
import TestSupport
import Testing

/// Other people's programs send, as docs/operating.md shows it.
@Suite(.serialized, .timeLimit(.minutes(20))) struct SenderTests {
    private let guide: SenderGuide
    private let folder: TemporaryDirectory
    private let daemon: DaemonProcess

    init() throws {
        guide = try SenderGuide()
        folder = try TemporaryDirectory()
        daemon = DaemonProcess(folder: folder)
    }

    private func wait(for records: Int64, of stream: String = "pump") async throws {
        try await daemon.wait("\(records) records of \(stream)") {
            // The daemon may still be on its way up.
            (try? daemon.stream(stream)?.recordsTotal) == records
        }
    }

    // MARK: Scripts

    /// Runs a command of the guide, whose script of readings prints the text.
    private func run(_ command: String, readings: String) async throws {
        try folder.write(readings, to: "readings.txt")
        try folder.write("#!/bin/sh\nexec cat readings.txt\n", to: "readings")
        chmod(folder.file("readings"), 0o755)
        let line = try guide.example(
            command, replacing: ["/run/flowguard/": folder.file("run/")]
        ).split(separator: "\n").first { $0.contains(command) }
        try await OutsideProgram.run(
            "bash", ["-euo", "pipefail", "-c", String(try #require(line))], in: folder)
    }

    private func aFaultSent(by command: String) async throws {
        var data = PumpData()
        try daemon.configure(
            """
              - name: pump
                source: {socket: run/pump.sock}
                format: csv
                fit: {first_after_records: 500, every: never}
                alarm: {false_alarm_probability: 0.0001}
            """)
        try await daemon.start()
        _ = try await daemon.client(of: "run/pump.sock")
        try await run(command, readings: PumpData.header + data.lines(600))
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        try await run(
            command, readings: PumpData.header + data.lines(1) { _ in true } + data.lines(50))
        try await wait(for: 651)
        #expect(try daemon.stream()?.faultsTotal == 0)
        let fault = Date(timeIntervalSince1970: 1_700_000_600)
        #expect(try daemon.anomalies().contains { $0.recordTime == fault })
    }

    @Test(.takes("socat")) func socatSendsAScriptsReadings() async throws {
        try await aFaultSent(by: "socat -u STDIN UNIX-CONNECT")
    }

    @Test(.takes("nc")) func netcatSendsAScriptsReadings() async throws {
        try await aFaultSent(by: "nc -N -U")
    }

    @Test(.takes("socat")) func socatSendsLinesAsDatagrams() async throws {
        try daemon.configure("  - {name: pump, source: {datagram: run/pump.sock}}")
        try await daemon.start()
        try await daemon.wait("the socket") { access(folder.file("run/pump.sock"), F_OK) == 0 }
        for count in 1...5 {
            try await run("socat -u STDIN UNIX-SENDTO", readings: "")
            try await wait(for: Int64(count))
        }
        #expect(try daemon.stream()?.faultsTotal == 0)
        #expect(try daemon.detail().features == ["flow", "pressure"])
    }

    @Test(.takes("socat")) func socatSendsWhatTelegrafSends() async throws {
        try daemon.configure(
            """
              - name: host
                source: {socket: run/host.sock}
                format: influx
                long: {series: cpu, every: 10s}
            """)
        try await daemon.start()
        _ = try await daemon.client(of: "run/host.sock")
        let lines = (0..<300).map { step in
            let time = (1_772_000_000 + 10 * step) * 1_000_000_000
            return """
                cpu,cpu=cpu0,host=a usage_user=\(Double(step % 7)),usage_idle=93.25 \(time)
                cpu,cpu=cpu1,host=a usage_user=\(Double(step % 5)),usage_idle=94 \(time)
                mem,host=a used=\(8_000_000_000 + step)i,available_percent=48.5 \(time)
                system,host=a uptime_format="9 days,  2:26",n_users=3u \(time)

                """
        }
        try folder.write(lines.joined(), to: "telegraf.lp")
        try await OutsideProgram.run(
            "socat", ["-u", "OPEN:telegraf.lp", "UNIX-CONNECT:run/host.sock"], in: folder)
        // The newest step stays open.
        try await wait(for: 299, of: "host")
        #expect(try daemon.stream("host")?.faultsTotal == 0)
        #expect(
            try Set(daemon.detail("host").features) == [
                "cpu.cpu0.usage_user", "cpu.cpu0.usage_idle", "cpu.cpu1.usage_user",
                "cpu.cpu1.usage_idle", "mem.used", "mem.available_percent", "system.n_users",
            ])
    }

    // MARK: rsyslog

    /// rsyslog with the template of the guide, and the lines that say where its records go.
    private func rsyslog(_ lines: String) throws -> OutsideProgram {
        try folder.write(
            """
            global(workDirectory="\(folder.path)")
            module(load="imuxsock" SysSock.Use="off")
            input(type="imuxsock" Socket="\(folder.file("log.sock"))")
            \(lines)
            """, to: "rsyslog.conf")
        return try OutsideProgram(
            "rsyslogd",
            ["-n", "-f", folder.file("rsyslog.conf"), "-i", folder.file("rsyslog.pid")],
            in: folder)
    }

    /// Messages of a gateway, and one of somebody else that is no record.
    private func log(_ numbers: ClosedRange<Int>) async throws {
        let lines = numbers.map { "{\"latency_ms\": \($0).5, \"bytes\": \($0 * 100)}\n" }
        try await OutsideProgram.run(
            "logger", ["-u", "log.sock", "-t", "gateway"], in: folder, input: lines.joined())
        try await OutsideProgram.run(
            "logger", ["-u", "log.sock", "-t", "other", "something else"], in: folder)
    }

    private func expectRecordsOfRsyslog() throws {
        let stream = try #require(try daemon.stream("gateway"))
        #expect(stream.faultsTotal == 0)
        let newest = try #require(stream.lastRecordAt)
        #expect(abs(newest.timeIntervalSinceNow) < 300)
        #expect(
            try Set(daemon.detail("gateway").features) == ["severity", "latency_ms", "bytes"])
    }

    @Test(.takes("rsyslogd", "logger")) func rsyslogWritesAFileThatIsFollowed() async throws {
        try daemon.configure("  - {name: gateway, source: {file: gateway.ndjson}}")
        try await daemon.start()
        let rsyslog = try rsyslog(
            guide.example(
                "omfile", replacing: ["/var/log/gateway.ndjson": folder.file("gateway.ndjson")]))
        try await daemon.wait("rsyslog") { access(folder.file("log.sock"), F_OK) == 0 }
        try await log(1...300)
        try await wait(for: 300, of: "gateway")
        daemon.kill()
        try await log(301...500)
        try await daemon.start()
        try await log(501...600)
        try await wait(for: 600, of: "gateway")
        try expectRecordsOfRsyslog()
        try await rsyslog.stop()
        #expect(rsyslog.messages == "")
    }

    @Test(.takes("rsyslogd", "logger")) func rsyslogSendsDatagramsAndWaitsForADaemonThatIsAway()
        async throws
    {
        try FileManager.default.createDirectory(
            atPath: folder.file("run"), withIntermediateDirectories: true)
        let path = folder.file("run/gateway.sock")
        // As a socket unit would.
        let listener = try ListeningSocket(path: path, forDatagrams: true)
        try daemon.configure("  - {name: gateway, source: {datagram: run/gateway.sock}}")
        try daemon.launch(activatedBy: listener)
        let template = try guide.example("omfile").components(separatedBy: "if $programname")[0]
        let rsyslog = try rsyslog(
            template
                + guide.example(
                    "omuxsock", replacing: ["/run/flowguard/gateway.sock": path]))
        try await daemon.wait("rsyslog") { access(folder.file("log.sock"), F_OK) == 0 }
        try await log(1...300)
        try await wait(for: 300, of: "gateway")
        #expect(try await daemon.stop().code == 0)
        try await log(301...500)
        try daemon.launch(activatedBy: listener)
        try await log(501...600)
        try await wait(for: 600, of: "gateway")
        try expectRecordsOfRsyslog()
        try await rsyslog.stop()
        #expect(rsyslog.messages == "")
    }

    // MARK: collectd

    /// collectd with the plugins and lines of the guide, many times faster than usual.
    private func collectd(_ plugins: [String], _ lines: String) throws -> OutsideProgram {
        try folder.write(
            """
            Hostname "gateway"
            FQDNLookup false
            BaseDir "\(folder.path)"
            TypesDB "/usr/share/collectd/types.db"
            Interval 0.05
            \(plugins.map { "LoadPlugin \($0)" }.joined(separator: "\n"))
            \(lines)
            """, to: "collectd.conf")
        return try OutsideProgram(
            "collectd", ["-f", "-C", folder.file("collectd.conf")], in: folder)
    }

    @Test(.takes("collectd")) func collectdWritesFilesThatAPatternFollows() async throws {
        let place: KeyValuePairs = ["/var/lib/collectd/csv": folder.file("csv")]
        try daemon.configure(guide.example("- name: load", replacing: place))
        try await daemon.start()
        let collectd = try collectd(["load"], guide.example("LoadPlugin csv", replacing: place))
        try await daemon.wait("records") { try (daemon.stream("load")?.recordsTotal ?? 0) >= 20 }
        daemon.kill()
        try await Task.sleep(for: .milliseconds(300))
        try await daemon.start()
        try await daemon.wait("records") { try (daemon.stream("load")?.recordsTotal ?? 0) >= 60 }
        #expect(try await collectd.stop() == 0)
        let files = folder.file("csv/gateway/load")
        let rows = try FileManager.default.contentsOfDirectory(atPath: files).map {
            try String(contentsOfFile: files + "/" + $0, encoding: .utf8)
                .split(separator: "\n").count - 1
        }
        try await wait(for: Int64(rows.reduce(0, +)), of: "load")
        #expect(try daemon.stream("load")?.faultsTotal == 0)
        #expect(
            try Set(daemon.detail("load").features) == ["shortterm", "midterm", "longterm"])
    }

    @Test(.takes("collectd", "socat")) func collectdSendsLineProtocolThroughSocat() async throws {
        let port = "\(try Self.freePort())"
        let stream = try guide.example(
            "- name: host",
            replacing: ["/run/flowguard/": folder.file("run/"), "every: 10s": "every: 100ms"])
        // The same packets again, by way of a file.
        let again = stream.replacing("name: host", with: "name: again")
            .replacing("{datagram: \(folder.file("run/host.sock"))}", with: "{file: packets.lp}")
        try daemon.configure(stream + again)
        try await daemon.start()
        try await daemon.wait("the socket") { access(folder.file("run/host.sock"), F_OK) == 0 }
        let command = try guide.example(
            "socat -u -b 65536",
            replacing: ["/run/flowguard/": folder.file("run/"), "8089": port])
        let socat = try OutsideProgram(
            "bash",
            ["-c", "exec " + command.replacing("socat -u", with: "socat -u -r packets.lp")],
            in: folder)
        let collectd = try collectd(
            ["load", "cpu", "memory"],
            guide.example("LoadPlugin write_influxdb_udp", replacing: ["8089": port]))
        try await daemon.wait("records") { try (daemon.stream("host")?.recordsTotal ?? 0) >= 40 }
        #expect(try await collectd.stop() == 0)
        try await socat.stop()
        // From now on neither gets more: they are alike once both have read all.
        try await daemon.wait("all of it") {
            let (host, again) = (try daemon.stream("host"), try daemon.stream("again"))
            return host?.recordsTotal == again?.recordsTotal && again?.backlogBytes == 0
        }
        for name in ["host", "again"] {
            let found = try #require(try daemon.stream(name))
            let quarantined = try daemon.quarantined(name)
            #expect(found.faultsTotal == 0, "\(name): \(quarantined)")
        }
        let features = try Set(daemon.detail("host").features)
        #expect(
            features.isSuperset(of: [
                "load.shortterm", "load.midterm", "load.longterm", "cpu.0.user.value",
                "cpu.0.idle.value", "memory.used.value", "memory.free.value",
            ]), "\(features)")
        #expect(features == Set(try daemon.detail("again").features))
    }

    /// A UDP port that nobody has at the moment.
    private static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
            }
        }
        guard result == 0 else { throw WaitedInVain(description: "bind: \(errno)") }
        return UInt16(bigEndian: address.sin_port)
    }
}
