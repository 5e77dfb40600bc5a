import Control
import Foundation
import TestSupport
import Testing

/// logrotate on a file that is followed, by the configurations of docs/operating.md.
@Suite(.serialized, .timeLimit(.minutes(20)), .takes("logrotate", "zcat")) struct RotationTests {
    private let daemon: DaemonProcess
    private let folder: TemporaryDirectory
    private let guide: SenderGuide

    init() throws {
        guide = try SenderGuide()
        folder = try TemporaryDirectory()
        daemon = DaemonProcess(folder: folder)
        try FileManager.default.createDirectory(
            atPath: folder.file("log"), withIntermediateDirectories: true)
        try daemon.configure("  - {name: pump, source: {file: log/pump.ndjson}}")
    }

    /// A line; every other one is no record, so that it can be told from the others.
    private func line(_ number: Int) -> String {
        number % 2 == 0 ? "{\"number\":\(number),\"b\":1.5}\n" : "bad \(number)\n"
    }

    /// The file, as a program writes it that has it open.
    private func opened() throws -> FileHandle {
        try folder.append("", to: "log/pump.ndjson")
        let descriptor = open(folder.file("log/pump.ndjson"), O_WRONLY | O_APPEND)
        return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    private func rotate() throws -> OutsideProgram {
        try OutsideProgram(
            "logrotate",
            ["--force", "--state", folder.file("logrotate.state"), folder.file("logrotate.conf")],
            in: folder)
    }

    /// Rotates again and again while lines are written, and kills the daemon meanwhile.
    ///
    /// - Parameter afterwards: Lines that the program still writes to the file that it has open when logrotate is done,
    ///   before it opens its file anew; `nil` if it never does.
    /// - Returns: How many lines were written.
    private func rotateUnderWriting(rotations: Int, afterwards: Int?) async throws -> Int {
        var chance = Chance(seed: 3)
        var count = 0
        var file = try opened()
        func write(_ lines: Int) throws {
            for _ in 0..<lines {
                try file.write(contentsOf: Data(line(count).utf8))
                count += 1
            }
        }
        try await daemon.start()
        for rotation in 1...rotations {
            try write(chance.number(1...400))
            let isKilled = rotation % 4 == 0
            if isKilled { daemon.kill() }
            let logrotate = try rotate()
            while logrotate.isRunning {
                try write(1)
                try await Task.sleep(for: .microseconds(200))
            }
            try await logrotate.finish()
            if let afterwards {
                try write(chance.number(0...afterwards))
                file = try opened()
            }
            try write(chance.number(1...50))
            if isKilled { try await daemon.start() }
            // What is rotated away twice before it is read is compressed, and then nobody can follow it.
            try write(2 - count % 2)
            let last = "bad \(count - 1)"
            try await daemon.wait("the daemon to come near") {
                try daemon.quarantined().last == last
            }
        }
        return count
    }

    /// The lines that are in the file and in all that logrotate has made of it.
    private func retained() async throws -> Set<String> {
        let output = folder.file("retained")
        try await OutsideProgram.run(
            "bash", ["-c", "zcat -f log/pump.ndjson* >'\(output)'"], in: folder)
        let text = try String(contentsOfFile: output, encoding: .utf8)
        return Set(text.split(separator: "\n").map(String.init))
    }

    @Test func everyLineIsReadOnceWhereTheFileIsRenamed() async throws {
        // A program would be told; this one opens the file anew after each run.
        let configuration = try guide.example(
            "create\n",
            replacing: [
                "/var/log/pump/": folder.file("log/"), "rotate 14": "rotate 99",
                "systemctl kill --signal=HUP pump.service": "true",
            ])
        try folder.write(configuration, to: "logrotate.conf")
        let count = try await rotateUnderWriting(rotations: 12, afterwards: 20)
        try await daemon.wait("the state to be told") {
            try daemon.stream()?.recordsTotal == Int64(count / 2)
        }
        let bad = (0..<count).filter { $0 % 2 == 1 }.map { "bad \($0)" }
        let quarantined = try daemon.quarantined()
        #expect(quarantined == bad)
        let kept = try await retained()
        #expect(kept.count == count)
        // The rotations were real ones, compressed but for the newest.
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("log"))
        #expect(names.filter { $0.hasSuffix(".gz") }.count == 11, "\(names)")
    }

    @Test func everyLineThatIsKeptIsReadOnceWhereTheFileIsCopiedAndEmptied() async throws {
        let configuration = try guide.example(
            "copytruncate\n",
            replacing: ["/var/log/pump/": folder.file("log/"), "rotate 14": "rotate 99"])
        try folder.write(configuration, to: "logrotate.conf")
        let count = try await rotateUnderWriting(rotations: 12, afterwards: nil)
        let kept = try await retained()
        let bad = try daemon.quarantined()
        #expect(Set(bad).count == bad.count, "no line is taken twice")
        let missing = kept.filter { $0.hasPrefix("bad") }.subtracting(bad)
        #expect(missing == [], "no line that is kept is missing")
        let numbers = bad.map { Int($0.dropFirst(4)) ?? -1 }
        #expect(numbers == numbers.sorted())
        // logrotate may have lost some that the daemon had read.
        let keptRecords = kept.count { $0.hasPrefix("{") }
        try await daemon.wait("the records that are kept") {
            try daemon.stream().map { Int($0.recordsTotal) >= keptRecords }
        }
        #expect(try #require(try daemon.stream()).recordsTotal <= count / 2)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("log"))
        #expect(names.filter { $0.hasSuffix(".gz") }.count == 11, "\(names)")
    }
}
