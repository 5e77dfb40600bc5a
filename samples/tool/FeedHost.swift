import ArgumentParser
import Glibc

/// Sends this host's own readings, once a second.
struct FeedHost: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "host",
        abstract: "Send this host's load, memory, disk and network readings to a socket.",
        discussion: """
            One NDJSON record an interval, read from /proc: load, cpu_percent, io_wait_percent,
            context_switches_per_sec, processes_running, memory_available_mib, and the disks'
            and the network's KiB per second. Without --socket the records go to standard
            output. While the daemon is away the feeder waits and tries again; what was not
            sent is not kept.

            EXAMPLES
              flowguard-samples feed host --rows 3
              flowguard-samples feed host --socket /run/flowguard/host.sock
            """)

    @Option(help: "The stream's socket. (default: standard output)")
    var socket: String?

    @Option(name: .customLong("interval"), help: "Seconds between records.")
    var intervalSecs = 1.0

    @Option(help: "Stop after this many records. (default: never)")
    var rows: Int?

    func validate() throws {
        guard (0.01...86400).contains(intervalSecs) else {
            throw ValidationError(
                "--interval: expected 0.01 to 86400 seconds, found \(intervalSecs)")
        }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        var connection: SocketConnection?
        var isAway = false
        var earlier = HostCounters()
        var earlierTime = monotonicSecs()
        var sent = 0
        while sent < rows ?? .max {
            pause(secs: earlierTime + intervalSecs - monotonicSecs())
            let time = monotonicSecs()
            let counters = HostCounters()
            let reading = HostReading(from: earlier, to: counters, secs: time - earlierTime)
            (earlier, earlierTime) = (counters, time)
            let line = reading.line(time: .now())
            do throws(SamplesError) {
                try send(line, over: &connection)
                if isAway { note("\(socket ?? ""): connected again") }
                isAway = false
                sent += 1
            } catch {
                // Standard output does not come back; a daemon does.
                guard socket != nil else { throw error }
                if !isAway { note("\(error); trying again every \(intervalSecs) s") }
                isAway = true
                connection = nil
            }
        }
    }

    private func send(
        _ line: String, over connection: inout SocketConnection?
    ) throws(SamplesError) {
        guard let path = socket else {
            return try writeAll([UInt8](line.utf8), to: STDOUT_FILENO, path: "standard output")
        }
        if connection == nil { connection = try SocketConnection(path: path) }
        try connection?.write(line)
    }

    private func note(_ text: String) {
        try? writeAll([UInt8]((text + "\n").utf8), to: STDERR_FILENO, path: "standard error")
    }

    private func monotonicSecs() -> Double {
        var clock = timespec()
        clock_gettime(CLOCK_MONOTONIC, &clock)
        return Double(clock.tv_sec) + Double(clock.tv_nsec) / 1e9
    }
}
