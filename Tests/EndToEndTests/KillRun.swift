import Control
import Foundation
import TestSupport

/// A daemon that follows a disturbed file, is stopped and killed, and is started again.
final class KillRun {
    let daemon: DaemonProcess
    private(set) var file: DisturbedFile
    private var chance: Chance
    private let rowsBefore: Int
    /// Milliseconds that a file is there at least: the clock of the file system ticks every 4.
    private static let shortestLife = 10
    private var killCount = 0
    private var killsInStart = 0
    private var stopCount = 0
    private var logRotations = 0

    init(daemon: DaemonProcess, rowsBefore: Int, seed: UInt64) {
        self.daemon = daemon
        self.rowsBefore = rowsBefore
        file = DisturbedFile(in: daemon.folder, name: "live.csv", afterRows: rowsBefore)
        chance = Chance(seed: seed)
    }

    /// The figures of the run.
    var summary: String {
        let deeds = file.deeds.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        return "\(killCount) kills (\(killsInStart) of them within the start), \(stopCount) stops, "
            + "\(logRotations) rotations of the log, " + deeds.joined(separator: ", ")
    }

    private func pause(_ milliseconds: Int) async throws {
        try await Task.sleep(for: .milliseconds(milliseconds))
    }

    /// Goes on until the daemon was killed so many times, and then lets it read to the end.
    func disturb(kills: Int) async throws {
        try daemon.launch()
        try await file.append(100, by: &chance) { _ in }
        try await catchUp()
        while killCount < kills {
            if !daemon.isRunning {
                try daemon.launch()
                file.tell("started")
            }
            for _ in 0..<chance.number(1...4) {
                try await write()
                try await pause(chance.number(Self.shortestLife...60))
            }
            if chance.happens(0.08) { try await loseNothing() }
            if chance.happens(0.1) { try rotateLog() }
            try await end()
            // Things happen while nobody looks.
            if chance.happens(0.4) {
                try await write()
                try await pause(Self.shortestLife)
            }
            if chance.happens(0.05) { try rotateLog() }
        }
        if !daemon.isRunning { try await daemon.start(untilReady: false) }
        try await catchUp()
    }

    private func write() async throws {
        enum Deed {
            case append, pieces, rename, renameWithLateLines, copyAndTruncate
        }
        let choices: [(weight: Int, value: Deed)] = [
            (8, .append), (3, .pieces), (2, .rename), (1, .renameWithLateLines),
            (2, .copyAndTruncate),
        ]
        switch chance.one(of: choices) ?? .append {
        case .append:
            try await file.append(chance.number(1...300), by: &chance) { _ in }
        case .pieces:
            try await file.append(
                chance.number(1...20), cuts: chance.number(1...4), by: &chance,
                pause: { try await self.pause($0) })
        case .rename:
            try file.rename(lateLines: 0, by: &chance)
        case .renameWithLateLines:
            try file.rename(lateLines: chance.number(1...5), by: &chance)
        case .copyAndTruncate:
            try file.copyAndTruncate(keepsHeader: chance.happens(0.5))
        }
    }

    /// Waits until all is read, and only then takes away what was written.
    private func loseNothing() async throws {
        if !daemon.isRunning { try daemon.launch() }
        try await catchUp()
        if chance.happens(0.5) { file.truncate() } else { file.delete() }
        try await file.append(chance.number(1...50), by: &chance) { _ in }
    }

    private func catchUp() async throws {
        let records = Int64(rowsBefore + file.recordCount)
        let faults = Int64(file.badLines.count)
        var last: StreamStatus?
        do {
            try await daemon.wait("\(records) records and \(faults) bad lines") {
                // The daemon may still be on its way up.
                guard let stream = try? daemon.stream() else { return false }
                last = stream
                return (stream.recordsTotal, stream.faultsTotal) == (records, faults)
            }
        } catch {
            throw WaitedInVain(
                description: "\(error)\nwanted \(records) records, \(faults) bad lines; there are "
                    + "\(last?.recordsTotal ?? -1), \(last?.faultsTotal ?? -1); \(summary)\n"
                    + file.history.suffix(30).joined(separator: "\n"))
        }
    }

    /// Ends the daemon at some instant: killed, stopped, killed while it stops, killed while it starts.
    private func end() async throws {
        try await pause(chance.number(0...150))
        if chance.happens(0.15) {
            daemon.signal(SIGTERM)
            if chance.happens(0.5) {
                _ = try await daemon.exitCode()
                file.tell("stopped")
                stopCount += 1
                return
            }
            try await pause(chance.number(0...60))
        }
        daemon.kill()
        file.tell("killed")
        killCount += 1
        while chance.happens(0.3) {
            try daemon.launch()
            try await pause(chance.number(0...120))
            daemon.kill()
            killCount += 1
            killsInStart += 1
        }
    }

    // MARK: What the daemon has written

    /// Renames the anomaly log away, as a rotation without a signal does.
    private func rotateLog() throws {
        guard FileManager.default.fileExists(atPath: daemon.logPath) else { return }
        logRotations += 1
        try FileManager.default.moveItem(
            atPath: daemon.logPath, toPath: daemon.logPath + ".\(logRotations)")
    }

    /// The lines of all logs, those rotated away first.
    func logged() throws -> [AnomalyMessage] {
        let paths = (1...max(1, logRotations)).map { daemon.logPath + ".\($0)" } + [daemon.logPath]
        return try paths.flatMap { path -> [AnomalyMessage] in
            // A line that the daemon is about to write may be seen in part.
            guard let data = FileManager.default.contents(atPath: path),
                let end = data.lastIndex(of: UInt8(ascii: "\n"))
            else { return [] }
            return try data[..<end].split(separator: UInt8(ascii: "\n")).map {
                try ControlJSON.decode(AnomalyMessage.self, from: Data($0))
            }
        }
    }

    /// The lines in the quarantine.
    func quarantined() throws -> [String] { try daemon.quarantined() }
}
