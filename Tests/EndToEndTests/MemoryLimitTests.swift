import Control
import Foundation
import Store
import TestSupport
import Testing

/// A daemon that may not have the memory that it needs: the kernel ends it, as with `MemoryMax=` of its unit.
@Suite(.serialized, .timeLimit(.minutes(20)), .takesMemoryGroup) struct MemoryLimitTests {
    /// What a fit of the records below does not get along with, and reading them does.
    private static let limit = 24 << 20

    @Test func aDaemonThatIsEndedForItsMemoryGoesOnAndLosesNothing() async throws {
        let folder = try TemporaryDirectory()
        let daemon = DaemonProcess(folder: folder)
        let group = try #require(MemoryGroup(limit: Self.limit))
        var data = PumpData()
        var bad: [String] = []
        func lines(_ count: Int) -> String {
            bad.append("bad,\(bad.count)")
            return data.lines(count) + bad[bad.count - 1] + "\n"
        }
        try folder.write(PumpData.header + lines(40_000) + lines(60_000), to: "pump.csv")
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 100000, window_records: 200000, every: never}
                alarm: {false_alarm_probability: 0.0001}
            """)
        daemon.wrapper = group.wrapper
        // systemd starts it again and again; each time the fit is one too much.
        for attempt in 1...3 {
            try daemon.launch()
            #expect(try await daemon.exitCode() == SIGKILL)
            let store = try StateStore(path: folder.file("state/flowguard.sqlite"))
            #expect(try store.fits(stream: "pump", limit: 9).count == attempt)
            try store.close()
            try folder.append(lines(1_000), to: "pump.csv")
        }
        daemon.wrapper = []
        try await daemon.start()
        try await daemon.wait("a model") {
            try daemon.stream()?.state == .watching
        }
        try folder.append(data.lines(1) { _ in true }, to: "pump.csv")
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 103_001 }
        #expect(try daemon.quarantined() == bad)
        let fault = Date(timeIntervalSince1970: 1_700_103_000)
        try await daemon.wait("the fault") {
            try daemon.anomalies().contains { $0.recordTime == fault }
        }
        let stream = try #require(try daemon.stream())
        #expect(stream.unscoredTotal == 0)
        #expect(stream.lastError == nil)
        try await daemon.wait("the log") { try daemon.logged() == daemon.anomalies() }
    }
}

/// A control group whose processes may have so much memory together; it goes with the value.
final class MemoryGroup {
    private let path: String

    /// Makes a group, where this machine lets us.
    init?(limit: Int) {
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
        ]
        for (folder, file, swap) in places {
            let path = "\(folder)/flowguard-\(UUID().uuidString)"
            guard mkdir(path, 0o755) == 0 else { continue }
            if Self.write(limit, to: "\(path)/\(file)") {
                self.path = path
                // Where swap is not counted there is no such file.
                _ = Self.write(swap == "memory.swap.max" ? 0 : limit, to: "\(path)/\(swap)")
                return
            }
            rmdir(path)
        }
        return nil
    }

    deinit { rmdir(path) }

    /// Starts a program in the group.
    var wrapper: [String] {
        ["/bin/sh", "-c", "echo $$ >'\(path)/cgroup.procs' && exec \"$@\"", "sh"]
    }

    private static func write(_ number: Int, to path: String) -> Bool {
        let descriptor = open(path, O_WRONLY)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let text = Array("\(number)".utf8)
        return Foundation.write(descriptor, text, text.count) == text.count
    }
}
