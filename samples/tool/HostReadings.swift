import Foundation
import Glibc

/// Counters of the kernel at one moment, as read from a /proc folder.
struct HostCounters: Equatable {
    /// Kernel ticks: in programs and the kernel, waiting for disks, all.
    var busyTicks = 0.0
    var ioWaitTicks = 0.0
    var totalTicks = 0.0
    var contextSwitches = 0.0
    /// Programs that run or want to.
    var running = 0.0
    var loadAverage = 0.0
    var memoryAvailableMebibytes = 0.0
    var diskReadBytes = 0.0
    var diskWriteBytes = 0.0
    var networkReceivedBytes = 0.0
    var networkSentBytes = 0.0

    /// Reads the counters; what the kernel does not offer stays 0.
    init(procPath: String = "/proc") {
        readStat(HostCounters.words(procPath + "/stat"))
        if let first = HostCounters.words(procPath + "/loadavg").first?.first {
            loadAverage = Double(first) ?? 0
        }
        for line in HostCounters.words(procPath + "/meminfo")
        where line.first == "MemAvailable:" && line.count > 1 {
            memoryAvailableMebibytes = (Double(line[1]) ?? 0) / 1024
        }
        readDisks(HostCounters.words(procPath + "/diskstats"))
        readNetwork(HostCounters.words(procPath + "/net/dev"))
    }

    private mutating func readStat(_ lines: [[Substring]]) {
        for line in lines where line.count > 1 {
            let value = Double(line[1]) ?? 0
            switch line[0] {
            case "cpu":
                // user nice system idle iowait irq softirq steal: guest time is within user.
                let ticks = line.dropFirst().prefix(8).map { Double($0) ?? 0 }
                guard ticks.count >= 5 else { continue }
                totalTicks = ticks.reduce(0, +)
                ioWaitTicks = ticks[4]
                busyTicks = totalTicks - ticks[3] - ticks[4]
            case "ctxt": contextSwitches = value
            case "procs_running": running = value
            default: continue
            }
        }
    }

    /// Whole disks only: parts of a disk would count twice, and loop and memory devices are none.
    private mutating func readDisks(_ lines: [[Substring]]) {
        for line in lines where line.count > 9 {
            let name = line[2]
            let isDisk =
                (["sd", "vd", "hd", "xvd"].contains { name.hasPrefix($0) }
                    && name.last?.isNumber == false)
                || ((name.hasPrefix("nvme") || name.hasPrefix("mmcblk")) && !name.contains("p"))
            guard isDisk else { continue }
            diskReadBytes += (Double(line[5]) ?? 0) * 512
            diskWriteBytes += (Double(line[9]) ?? 0) * 512
        }
    }

    private mutating func readNetwork(_ lines: [[Substring]]) {
        for line in lines {
            // "eth0:123 …" and "eth0: 123 …" both occur.
            let text = line.joined(separator: " ")
            guard let colon = text.firstIndex(of: ":"), text[..<colon] != "lo" else { continue }
            let numbers = text[text.index(after: colon)...].split(separator: " ")
            guard numbers.count > 8, let received = Double(numbers[0]),
                let sent = Double(numbers[8])
            else { continue }
            networkReceivedBytes += received
            networkSentBytes += sent
        }
    }

    private static func words(_ path: String) -> [[Substring]] {
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: "\n")
            .map { $0.split(separator: " ") }
    }
}

/// One record of this host: ten numbers, rates from the difference of two counter readings.
struct HostReading: Equatable {
    /// Names and values in the order in which they are sent.
    var values: [(name: String, value: Double)]

    static func == (a: HostReading, b: HostReading) -> Bool {
        a.values.elementsEqual(b.values) { $0.name == $1.name && $0.value == $1.value }
    }

    init(from earlier: HostCounters, to later: HostCounters, secs: Double) {
        func rate(_ path: KeyPath<HostCounters, Double>) -> Double {
            // A counter that fell back (a device went away) counts as no traffic.
            max(0, later[keyPath: path] - earlier[keyPath: path]) / max(secs, 1e-3)
        }
        let ticks = max(1, later.totalTicks - earlier.totalTicks)
        values = [
            ("load", later.loadAverage),
            ("cpu_percent", 100 * max(0, later.busyTicks - earlier.busyTicks) / ticks),
            ("io_wait_percent", 100 * max(0, later.ioWaitTicks - earlier.ioWaitTicks) / ticks),
            ("context_switches_per_sec", rate(\.contextSwitches)),
            ("processes_running", later.running),
            ("memory_available_mib", later.memoryAvailableMebibytes),
            ("disk_read_kib_per_sec", rate(\.diskReadBytes) / 1024),
            ("disk_write_kib_per_sec", rate(\.diskWriteBytes) / 1024),
            ("network_receive_kib_per_sec", rate(\.networkReceivedBytes) / 1024),
            ("network_send_kib_per_sec", rate(\.networkSentBytes) / 1024),
        ]
    }

    /// The record as a line of NDJSON.
    func line(time: Timestamp) -> String {
        let members = values.map { "\"\($0.name)\":\(fixed($0.value, decimals: 2))" }
        return "{\"time\":\"\(time)\"," + members.joined(separator: ",") + "}\n"
    }
}
