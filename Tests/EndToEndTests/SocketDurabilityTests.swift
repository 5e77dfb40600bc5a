import Control
import Foundation
import TestSupport
import Testing

/// Clients of a socket, a daemon that is killed, and lines that nobody may lose or take twice.
@Suite(.serialized, .timeLimit(.minutes(60))) struct SocketDurabilityTests {
    private static let pump = """
          - name: pump
            source: {socket: run/in.sock, acknowledge: true}
            fit: {first_after_records: 500, every: never}
            alarm: {false_alarm_probability: 0.0001}
        """

    /// Records as a client sends them, and lines that are none.
    private func lines(
        _ count: Int, of data: inout PumpData, by chance: inout Chance
    ) -> [String] {
        (0..<count).map { _ in
            if chance.happens(0.01) { return "bad at \(data.nextRow)" }
            let isFault = chance.happens(0.02)
            return data.object { _ in isFault }
        }
    }

    @Test func clientsThatSendAgainLoseNothingAndCountOnce() async throws {
        let begin = ContinuousClock.now
        let base = try await DurabilityTests.folderWithModel()
        let daemon = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try daemon.configure(Self.pump)
        var chance = Chance(seed: Soak.seed)
        var data = PumpData()
        _ = data.lines(DurabilityTests.rowsBefore)
        let client = NumberedClient(name: "gateway-3", path: daemon.folder.file("run/in.sock"))
        var kills = 0
        var stops = 0
        while kills < Soak.kills {
            if !daemon.isRunning { try daemon.launch() }
            client.add(lines(chance.number(0...300), of: &data, by: &chance))
            for _ in 0..<chance.number(1...12) {
                client.work(sending: chance.number(0...80))
                try await Task.sleep(for: .milliseconds(chance.number(0...25)))
            }
            if chance.happens(0.2) { client.disconnect(inLine: chance.happens(0.5)) }
            if chance.happens(0.15) {
                _ = try await daemon.stop()
                stops += 1
            } else if chance.happens(0.7) {
                daemon.kill()
                kills += 1
            }
        }
        if !daemon.isRunning { try await daemon.start(untilReady: false) }
        try await daemon.wait("every acknowledgement") {
            client.work(sending: 500)
            return client.isDone
        }

        let undisturbed = DaemonProcess(folder: try DurabilityTests.copy(of: base))
        try undisturbed.folder.write(
            client.lines.map { $0 + "\n" }.joined(), to: "truth.ndjson")
        try undisturbed.configure(
            Self.pump.replacing(
                "{socket: run/in.sock, acknowledge: true}", with: "{file: truth.ndjson}"))
        try await undisturbed.start()
        let bad = client.lines.filter { $0.hasPrefix("bad") }.count
        let total = Int64(DurabilityTests.rowsBefore + client.lines.count - bad)
        for each in [daemon, undisturbed] {
            try await each.wait("\(total) records and \(bad) bad lines") {
                try each.stream().map { ($0.recordsTotal, $0.faultsTotal) == (total, Int64(bad)) }
            }
        }
        let what = "seed \(Soak.seed)"
        let found = try daemon.everyAnomaly()
        let expected = try undisturbed.everyAnomaly()
        #expect(found.map(\.recordTime) == expected.map(\.recordTime), "\(what)")
        #expect(found.map(\.summary) == expected.map(\.summary), "\(what)")
        #expect(found.map(\.episode) == expected.map(\.episode), "\(what)")
        let duplicates = try #require(try daemon.stream()?.duplicatesTotal)
        #expect(try daemon.metric("flowguard_duplicate_lines_total") == Double(duplicates))
        // Of a few kills, none may come between a commit and its acknowledgement.
        #expect(duplicates > 0 || kills < 20, "the run has shown nothing")
        #expect(duplicates <= Int64(client.resent))
        Soak.report(
            "socket soak: seed \(Soak.seed), \(kills) kills, \(stops) stops, "
                + "\(client.connections) connections, \(client.lines.count) lines, "
                + "\(client.resent) sent again, \(duplicates) of them recognised as duplicates, "
                + "\(found.count) anomalies, none lost, none twice, \(ContinuousClock.now - begin)")
    }

    @Test func everyClientHearsWhatIsCommitted() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(Self.pump)
        try await daemon.start()
        // Without a greeting, lines are numbered from 1; who has sent all hears of all, and then the end.
        let client = try await daemon.client(of: "run/in.sock")
        try client.send("{\"a\":1}\nno record\n\n{\"a\":2}\n")
        client.finishSending()
        let heard = String(decoding: try client.receiveAll(), as: UTF8.self)
        #expect(heard.hasSuffix("{\"ok\":3}\n"), "\(heard)")
        #expect(try daemon.stream()?.recordsTotal == 2)
        #expect(try daemon.stream()?.faultsTotal == 1)

        // A greeting is answered by what is known of the name: nothing, and after a restart everything.
        let second = try await daemon.client(of: "run/in.sock")
        try second.send("{\"hello\":\"a\",\"next\":10}\n{\"a\":3}\n{\"a\":4}\nhalf a li")
        second.finishSending()
        #expect(
            String(decoding: try second.receiveAll(), as: UTF8.self)
                .hasPrefix("{\"ok\":0}\n"))
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 4 }
        #expect(try daemon.stream()?.faultsTotal == 1, "half a line counts as none")
        daemon.kill()
        try await daemon.start()
        let third = try await daemon.client(of: "run/in.sock")
        try third.send("{\"hello\":\"a\",\"next\":11}\n{\"a\":4}\n{\"a\":5}\n")
        third.finishSending()
        let answers = String(decoding: try third.receiveAll(), as: UTF8.self)
        #expect(answers.hasPrefix("{\"ok\":11}\n"), "\(answers)")
        #expect(answers.hasSuffix("{\"ok\":12}\n"), "\(answers)")
        #expect(try daemon.stream()?.recordsTotal == 5)
        #expect(try daemon.stream()?.duplicatesTotal == 1)
        // What only looks like a greeting is a record.
        let fourth = try await daemon.client(of: "run/in.sock")
        try fourth.send("{\"hello\":1,\"a\":6}\n")
        fourth.finishSending()
        // Of its last line, and perhaps once more of its end.
        let last = String(decoding: try fourth.receiveAll(), as: UTF8.self)
        #expect(Set(last.split(separator: "\n")) == ["{\"ok\":1}"])
        #expect(try daemon.stream()?.recordsTotal == 6)
        #expect(try await daemon.stop().code == 0)
    }

    @Test func linesThatAreTooManyGoToDiskAndSurviveAKill() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            "  - {name: pump, source: {socket: run/in.sock, overflow: spill, "
                + "overflow_bytes: 16MiB}, fit: {first_after_records: 200000, "
                + "window_records: 400000}}")
        try await daemon.start()
        let client = try await daemon.client(of: "run/in.sock")
        try client.send("{\"a\":0}\n")
        try await daemon.wait("a record") { try daemon.stream()?.recordsTotal == 1 }

        // The store takes nothing, and more comes than the memory holds.
        let lock = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        let count = 100_000
        let text = (1...count).map {
            "{\"a\":\($0),\"filler\":\"\($0 % 10)\($0 % 7)abcdefghijklmn\"}\n"
        }
        for start in stride(from: 0, to: count, by: 1_000) {
            try client.send(text[start..<(start + 1_000)].joined())
        }
        try await daemon.wait("the daemon to take all") { client.isDelivered }
        // The last of them may still be on their way between the two questions.
        try await daemon.wait("lines on disk, in status and metrics") {
            guard let spooled = try daemon.stream()?.spooledBytes, spooled > 0 else { return false }
            return try daemon.metric("flowguard_spooled_bytes") == Double(spooled)
        }
        #expect(try daemon.stream()?.recordsTotal == 1)
        try lock.release()
        try await daemon.wait("all records") {
            try daemon.stream()?.recordsTotal == Int64(1 + count)
        }
        #expect(try daemon.stream()?.lostTotal == 0)
        try await daemon.wait("an empty spool") { try daemon.stream()?.spooledBytes == 0 }

        // Again, and the daemon is killed: what lay on the disk is read by the next one.
        let second = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        for start in stride(from: 0, to: count, by: 1_000) {
            try client.send(text[start..<(start + 1_000)].joined())
        }
        try await daemon.wait("the daemon to take all") { client.isDelivered }
        try await daemon.wait("lines on disk") {
            try daemon.stream()?.spooledBytes.map { $0 > 1 << 20 }
        }
        daemon.kill()
        let onDisk = try spooledLines(in: daemon.folder.file("state/spool/pump"))
        #expect(onDisk > 10_000)
        try second.release()
        try await daemon.start()
        let total = Int64(1 + count + onDisk)
        try await daemon.wait("the lines of the spool") {
            try daemon.stream().map { $0.recordsTotal == total && $0.spooledBytes == 0 }
        }
        #expect(try daemon.stream()?.faultsTotal == 0)
        #expect(try await daemon.stop().code == 0)
    }

    /// How many lines are in the whole frames of a spool: length and checksum, then the length of a head, which says it.
    private func spooledLines(in folder: String) throws -> Int {
        struct Head: Decodable { var lineCount: Int }
        var lines = 0
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
            let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: folder + "/" + name)))
            func length(_ at: Int) -> Int {
                (0..<4).reduce(0) { $0 + Int(bytes[at + $1]) << (8 * $1) }
            }
            var at = 0
            while at + 16 <= bytes.count, at + 12 + length(at) <= bytes.count {
                let head = Data(bytes[(at + 16)..<(at + 16 + length(at + 12))])
                lines += try JSONDecoder().decode(Head.self, from: head).lineCount
                at += 12 + length(at)
            }
        }
        return lines
    }

    @Test func theOldestLinesAreDroppedAndCounted() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        try daemon.configure(
            "  - {name: pump, source: {socket: run/in.sock, overflow: drop_oldest}, "
                + "fit: {first_after_records: 200000, window_records: 400000}}")
        try await daemon.start()
        let client = try await daemon.client(of: "run/in.sock")
        try client.send("{\"a\":0}\n")
        try await daemon.wait("a record") { try daemon.stream()?.recordsTotal == 1 }
        let lock = try StoreLock(daemon.folder.file("state/flowguard.sqlite"))
        let count = 100_000
        let text = (1...count).map { "{\"a\":\($0),\"filler\":\"\($0 % 10)abcdefghijklmnop\"}\n" }
        for start in stride(from: 0, to: count, by: 1_000) {
            try client.send(text[start..<(start + 1_000)].joined())
        }
        try await daemon.wait("the daemon to take all") { client.isDelivered }
        let dropped = try await daemon.wait("drops") {
            try daemon.stream()?.droppedTotal.flatMap { $0 > 0 ? $0 : nil }
        }
        #expect(try daemon.metric("flowguard_dropped_lines_total") ?? 0 >= Double(dropped))
        try lock.release()
        try await daemon.wait("the rest") {
            try daemon.stream().map {
                $0.recordsTotal + ($0.droppedTotal ?? 0) == Int64(1 + count)
            }
        }
        // Counted for good.
        let total = try #require(try daemon.stream()?.droppedTotal)
        try client.send("{\"a\":1}\n")
        try await daemon.wait("one more") {
            try daemon.stream().map { $0.recordsTotal + total == Int64(2 + count) }
        }
        daemon.kill()
        try await daemon.start()
        // The daemon answers before its streams have read their states.
        try await daemon.wait("the same number") { try daemon.stream()?.droppedTotal == total }
    }
}

extension PumpData {
    /// The next record as a JSON object.
    mutating func object(isFaulty: (Int) -> Bool) -> String {
        let names = Self.header.dropLast().split(separator: ",")
        let cells = lines(1, isFaulty: isFaulty).dropLast().split(separator: ",")
        return "{"
            + zip(names, cells).map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }
}
