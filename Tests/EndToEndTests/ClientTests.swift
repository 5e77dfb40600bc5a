import Control
import Foundation
import TestSupport
import Testing

/// The client in Python that users are given (`samples/acknowledged_client.py`).
@Suite(.serialized, .timeLimit(.minutes(20)), .takes("python3")) struct ClientTests {
    private let daemon: DaemonProcess
    private let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("samples/acknowledged_client.py").path

    init() throws {
        daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure("  - {name: pump, source: {socket: run/pump.sock, acknowledge: true}}")
    }

    private func client(_ input: Any, name: String = "gateway-3") throws -> OutsideProgram {
        try OutsideProgram(
            "python3", [script, "--socket", daemon.folder.file("run/pump.sock"), "--name", name],
            in: daemon.folder, input: input)
    }

    /// Lines of which every other one is no record, so that each of those can be told.
    private func lines(_ numbers: Range<Int>) -> String {
        numbers.map { $0 % 2 == 0 ? "{\"a\":\($0),\"b\":1.5}\n" : "bad \($0)\n" }.joined()
    }

    private func expectLines(_ count: Int) async throws {
        try await daemon.wait("\(count) lines") {
            guard let stream = try? daemon.stream() else { return false }
            return stream.recordsTotal + stream.faultsTotal >= count
        }
        #expect(try daemon.stream()?.recordsTotal == Int64((count + 1) / 2))
        let bad = (0..<count).filter { $0 % 2 == 1 }.map { "bad \($0)" }
        #expect(try daemon.quarantined() == bad)
    }

    @Test func everyLineIsTakenOnceThoughTheDaemonIsKilled() async throws {
        var chance = Chance(seed: 5)
        let input = Pipe()
        // It is there before the daemon is, and waits.
        let client = try client(input)
        try await daemon.start()
        var sent = 0
        for _ in 0..<12 {
            for _ in 0..<chance.number(1...6) {
                let count = chance.number(1...700)
                let text = lines(sent..<(sent + count))
                sent += count
                try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
                try await Task.sleep(for: .milliseconds(chance.number(0...15)))
            }
            daemon.kill()
            try await daemon.start()
        }
        // The last line has no end.
        try input.fileHandleForWriting.write(
            contentsOf: Data(lines(sent..<(sent + 1)).utf8.dropLast()))
        sent += 1
        try input.fileHandleForWriting.close()
        try await client.finish()
        try await expectLines(sent)
        #expect(client.messages.contains("lines wait"))
        #expect(!client.messages.contains("Traceback"), "\(client.messages)")
    }

    @Test func aClientThatIsStartedAnewGoesOnWithItsNumbers() async throws {
        try await daemon.start()
        var sent = 0
        for count in [1, 500, 3, 12_000] {
            let file = try daemon.folder.write(lines(sent..<(sent + count)) + "\n  \n", to: "part")
            let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: file))
            try await client(handle).finish()
            sent += count
            // What it was told is committed: a kill takes nothing of it away.
            daemon.kill()
            try await daemon.start()
            try await expectLines(sent)
        }
    }

    @Test func aClientThatIsThereBeforeTheDaemonLosesNothing() async throws {
        let input = Pipe()
        let client = try client(input)
        try await daemon.wait("the client") { client.messages.contains("trying again") }
        let text = Array(lines(0..<40_000).utf8)
        // It takes no more than a pipe holds while it cannot hand on what it has.
        let writer = input.fileHandleForWriting
        let writing = Task.detached {
            try writer.write(contentsOf: Data(text))
            try writer.close()
        }
        try await Task.sleep(for: .milliseconds(300))
        try await daemon.start()
        try await writing.value
        try await client.finish()
        try await expectLines(40_000)
    }
}
