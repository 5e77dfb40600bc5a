import Glibc
import Ingest
import Testing
import TestSupport

/// A client that writes to a Unix socket.
final class Client: Sendable {
    private let descriptor: Int32

    init(_ path: String, waits: Bool = true) throws {
        struct NotConnected: Error { var errno: Int32 }
        let kind = SOCK_STREAM.rawValue | (waits ? 0 : SOCK_NONBLOCK.rawValue)
        descriptor = socket(AF_UNIX, Int32(kind), 0)
        let number = descriptor
        // A test that waits in vain is to fail, not to hang.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(
            number, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard withUnixAddress(path, { connect(number, $0, $1) }) == 0 else {
            throw NotConnected(errno: errno)
        }
    }

    deinit {
        close(descriptor)
    }

    func send(_ text: String) {
        send(Array(text.utf8))
    }

    func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Sends what the socket takes without waiting.
    func trySending(_ bytes: [UInt8]) -> Int {
        Glibc.send(
            descriptor, bytes, bytes.count,
            Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    }

    /// Sends until nothing goes in any more, 100 looks long, and gives what was not sent.
    func sendUntilHeldUp(_ bytes: [UInt8]) async throws -> [UInt8] {
        var pending = bytes[...]
        var idle = 0
        while idle < 100, !pending.isEmpty {
            let count = trySending(Array(pending.prefix(64 << 10)))
            if count > 0 {
                pending.removeFirst(count)
                idle = 0
            } else {
                idle += 1
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        return Array(pending)
    }

    /// Whether nothing comes for a time, not even the end.
    func isSilent(forMilliseconds time: Int32) -> Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, time) == 0
    }

    /// Says that nothing more is sent.
    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Everything until the other side closes.
    func receiveAll() async -> String {
        await beside { [descriptor] in
            var buffer = [UInt8](repeating: 0, count: 4_096)
            var bytes: [UInt8] = []
            while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 {
                bytes += buffer[..<count]
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// Whether the other side has closed the connection.
    func isClosed() -> Bool {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, 0)
        return count == 0 || (count < 0 && errno == ECONNRESET)
    }
}

@Suite struct SocketSourceTests {
    let directory: TemporaryDirectory
    let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.file("in.sock")
    }

    private func options(
        _ change: (inout SocketSource.Options) -> Void
    ) -> SocketSource.Options {
        var options = SocketSource.Options()
        change(&options)
        return options
    }

    private func started(_ source: SocketSource) async throws -> SocketSource {
        try await source.start()
        return source
    }

    /// Waits until a condition holds; fails after a minute.
    private func wait(until condition: () -> Bool) async {
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition(), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(1))
        }
        #expect(condition())
    }

    @Test func linesOfManyClientsComeWholeAndInOrder() async throws {
        let source = try await started(SocketSource(path: path, format: .csv))
        let path = path
        let clientCount = 20
        let lineCount = 500
        await withTaskGroup { group in
            for client in 0..<clientCount {
                group.addTask {
                    var random = SplitMix(seed: UInt64(client))
                    var bytes = Array("id,value\n".utf8)
                    for line in 0..<lineCount { bytes += Array("\(client),\(line)\n".utf8) }
                    bytes.removeLast()
                    guard let connection = try? Client(path) else { return }
                    while !bytes.isEmpty {
                        let count = min(bytes.count, Int.random(in: 1...700, using: &random))
                        connection.send(Array(bytes[..<count]))
                        bytes.removeFirst(count)
                    }
                }
            }
        }
        let batches = try await collect(source) { $0.count(where: \.isLast) == clientCount }
        var linesOfInput: [Int: [String]] = [:]
        for batch in batches { linesOfInput[batch.input, default: []] += batch.texts }
        #expect(linesOfInput.count == clientCount)
        for lines in linesOfInput.values {
            let client = lines.first?.prefix { $0 != "," } ?? ""
            #expect(lines == (0..<lineCount).map { "\(client),\($0)" })
        }
        #expect(Set(batches.map(\.inputName)).contains("client 1 (uid \(getuid()))"))
        #expect(batches.allSatisfy { $0.resume == nil })
        await wait { source.connectionCount() == 0 }
        source.stop()
    }

    @Test func loneLineIsDeliveredAndAHalfOneAtTheClientsEnd() async throws {
        let source = try await started(SocketSource(path: path, format: .ndjson))
        var client: Client? = try Client(path)
        client?.send("{\"a\":1}\n{\"a\":")
        #expect(try await source.next()?.texts == ["{\"a\":1}"])
        #expect(source.connectionCount() == 1)
        client?.send("2}")
        client = nil
        let last = try #require(try await source.next())
        #expect(last.texts == ["{\"a\":2}"])
        #expect(last.isLast)
        source.stop()
        #expect(try await source.next() == nil)
    }

    @Test func clientAheadOfTheConsumerIsHeldUpAndNothingIsLost() async throws {
        let source = try await started(SocketSource(path: path, format: .ndjson))
        let client = try Client(path)
        let line = Array("{\"a\":1234567}\n".utf8)
        let block = Array(repeating: line, count: 5000).flatMap(\.self)
        var pending: [UInt8] = []
        var sent = 0
        // Until nothing goes in any more, 100 looks long.
        var idle = 0
        while idle < 100 {
            if pending.isEmpty { pending = block }
            let count = client.trySending(pending)
            if count > 0 {
                sent += count
                pending.removeFirst(count)
                idle = 0
            } else {
                idle += 1
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        #expect(sent < 8 << 20, "the consumer takes nothing: the client must be held up")
        // The rest goes in as the consumer takes lines.
        let rest = pending
        let sender = Task.detached { client.send(rest) }
        let total = (sent + rest.count) / line.count
        let batches = try await collect(source) { $0.reduce(0) { $0 + $1.lines.count } >= total }
        await sender.value
        #expect(batches.reduce(0) { $0 + $1.lines.count } == total)
        #expect(batches.flatMap(\.lines).enumerated().allSatisfy { $1.number == Int64($0 + 1) })
        source.stop()
    }

    @Test(.timeLimit(.minutes(1)))
    func clientThatIsHeldUpInTheMiddleOfALineIsReadOn() async throws {
        let source = try await started(SocketSource(path: path, format: .ndjson))
        let client = try Client(path)
        let short = Array(repeating: Array("{\"a\":1}\n".utf8), count: 50_000).flatMap(\.self)
        let long = Array("{\"a\":1,\"b\":\"".utf8) + [UInt8](repeating: 0x78, count: 900 << 10)
        let rest = try await client.sendUntilHeldUp(
            short + long + Array("\"}\n".utf8) + short + Array("{}\n".utf8))
        #expect(!rest.isEmpty)
        let sender = Task.detached { client.send(rest) }
        let batches = try await collect(source) { $0.last?.texts.last == "{}" }
        await sender.value
        #expect(batches.reduce(0) { $0 + $1.lines.count } == 100_002)
        source.stop()
    }

    @Test func linesThatAreHeldAreGivenAfterAStop() async throws {
        let source = try await started(
            SocketSource(path: path, format: .ndjson, limits: .init(lines: 2, bytes: 1000)))
        let staying = try Client(path)
        staying.send("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4")
        #expect(try await source.next()?.texts == ["{\"a\":1}", "{\"a\":2}"])
        var gone: Client? = try Client(path)
        await wait { source.connectionCount() == 2 }
        gone?.send("{\"b\":1}\n{\"b\":2}")
        gone = nil
        await wait { source.connectionCount() == 1 }
        source.stop()
        #expect(source.connectionCount() == 0)
        #expect(staying.isClosed())
        // A task that was cancelled gets them too: there is no other time for it.
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            var texts: [String] = []
            while let batch = try await source.next() { texts += batch.texts }
            return texts
        }
        let texts = try await task.value
        #expect(texts.sorted() == ["{\"a\":3}", "{\"b\":1}", "{\"b\":2}"])
        #expect(try await source.next() == nil)
        #expect(source.isCaughtUp())
    }

    @Test func listenerWithoutDescriptorsRests() async throws {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            let path = directory.file("in.sock")
            let source = SocketSource(path: path, format: .ndjson)
            try await source.start()
            // The client's descriptor is the last one; none is left to accept it with.
            var limit = rlimit(rlim_cur: 200, rlim_max: 200)
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            var last: Int32 = -1
            while case let next = open("/dev/null", O_RDONLY), next >= 0 { last = next }
            close(last)
            let client = try Client(path)
            func usedTime() -> Duration {
                var usage = rusage()
                getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
                return .seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                    + .microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
            }
            // One that does not rest uses all of each while; on a busy machine a while is long, and the process still begins in the first.
            let rests = (0..<5).contains { _ in
                let before = usedTime()
                #expect(client.isSilent(forMilliseconds: 300))
                return usedTime() - before < .milliseconds(100)
            }
            // Nothing is released on the way out.
            unlink(path)
            rmdir(directory.path)
            exit(rests ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    @Test func garbageAndALineOfAHundredMegabytesPassThrough() async throws {
        let source = try await started(SocketSource(path: path, format: .ndjson))
        let path = path
        let sender = Task.detached {
            guard let client = try? Client(path) else { return }
            var random = SplitMix(seed: 1)
            client.send((0..<10_000).map { _ in UInt8.random(in: 0...255, using: &random) })
            client.send("\n")
            let megabyte = [UInt8](repeating: 0x78, count: 1 << 20)
            for _ in 0..<100 { client.send(megabyte) }
            client.send("\n{\"a\":1}\n")
        }
        let batches = try await collect(source) { $0.last?.isLast == true }
        await sender.value
        var decoder = RecordDecoder(
            format: .ndjson, schema: Schema(features: ["a"], time: nil))
        var codes: [FaultCode] = []
        var rows = 0
        for batch in batches {
            #expect(batch.bytes.count < 3 << 20)
            let decoded = try decoder.decode(batch)
            codes += decoded.faults.map(\.code)
            rows += decoded.records.rowCount
        }
        #expect(rows == 1)
        #expect(codes.last == .oversizeLine)
        #expect(codes.dropLast().allSatisfy { $0 == .badSyntax })
        source.stop()
    }

    @Test func connectionsBeyondTheLimitAreClosedAndCounted() async throws {
        let source = try await started(
            SocketSource(path: path, format: .ndjson, options: options { $0.maxConnections = 2 }))
        var first: Client? = try Client(path)
        let second = try Client(path)
        await wait { source.connectionCount() == 2 }
        let refused = try Client(path)
        #expect(refused.isClosed())
        #expect(source.refusedConnectionCount() == 1)
        first?.send("{}\n")
        first = nil
        // Until all of it is taken, a client that is gone has its place.
        let gone = try await collect(source) { $0.last?.isLast == true }
        #expect(gone.flatMap(\.texts) == ["{}"])
        #expect(source.connectionCount() == 1)
        let third = try Client(path)
        await wait { source.connectionCount() == 2 }
        second.send("{\"b\":2}\n")
        #expect(try await source.next()?.texts == ["{\"b\":2}"])
        third.send("{\"c\":3}\n")
        source.stop()
        #expect(third.isClosed())
    }

    @Test func staleSocketIsReplacedAndALiveOneIsNot() async throws {
        let first = try await started(SocketSource(path: path, format: .ndjson))
        let second = SocketSource(path: path, format: .ndjson)
        await #expect(throws: IngestError.socketInUse(path: path)) { try await second.start() }
        first.stop()
        #expect(access(path, F_OK) != 0)

        let stale = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        #expect(withUnixAddress(path) { bind(stale, $0, $1) } == 0)
        // A listener whose queue is full is there all the same.
        #expect(listen(stale, 0) == 0)
        var waiting: [Client] = []
        while waiting.count < 16, let client = try? Client(path, waits: false) {
            waiting.append(client)
        }
        await #expect(throws: IngestError.socketInUse(path: path)) { try await second.start() }
        close(stale)
        #expect(access(path, F_OK) == 0)
        try await second.start()
        try Client(path).send("{}")
        #expect(try await second.next()?.texts == ["{}"])
        second.stop()
    }

    @Test func pathsThatCannotBeASocketThrow() async throws {
        let long = directory.file(String(repeating: "x", count: 108))
        await #expect(
            throws: IngestError.socketPathTooLong(path: long, bytes: long.utf8.count, limit: 107)
        ) { try await SocketSource(path: long, format: .csv).start() }
        let file = try directory.write("", to: "file")
        await #expect(
            throws: IngestError.socketPathOccupied(path: file, found: "a regular file")
        ) { try await SocketSource(path: file, format: .csv).start() }
        let nowhere = directory.file("no/in.sock")
        await #expect(throws: IngestError.cannotListen(path: nowhere, errno: ENOENT)) {
            try await SocketSource(path: nowhere, format: .csv).start()
        }
    }

    @Test func socketHasTheModeGiven() async throws {
        let source = try await started(
            SocketSource(path: path, format: .csv, options: options { $0.mode = 0o620 }))
        var info = stat()
        #expect(stat(path, &info) == 0)
        #expect(info.st_mode & 0o777 == 0o620)
        source.stop()
    }

    @Test func stopEndsAWaitingSource() async throws {
        let source = try await started(SocketSource(path: path, format: .csv))
        async let waiting = source.next()
        source.stop()
        #expect(try await waiting == nil)
    }

    @Test(arguments: [
        "{\"hello\":\"a\",\"next\":7}", "{ \"hello\": \"a\", \"next\": 7 }\r",
        " {\"version\":2,\"next\":7,\"hello\":\"a\"}",
    ])
    func greetingIsKnownHoweverItIsWritten(greeting: String) async throws {
        let source = try await started(
            SocketSource(
                path: path, format: .ndjson, options: options { $0.acknowledges = true }))
        let client = try Client(path)
        client.send(greeting + "\n{\"a\":1}\n")
        let batch = try #require(try await source.next())
        #expect(batch.texts == ["{\"a\":1}"])
        #expect(batch.numbering == LineBatch.Numbering(client: "a", first: 7))
        source.stop()
    }

    @Test(arguments: [
        ("{\"hello\":\"a\",\"next\":0}", "found 0"), ("{\"hello\":\"a\"}", "found none"),
        ("{\"next\":\"1\", \"hello\":\"a\"}", "found none"),
        ("{\"hello\":\"\",\"next\":1}", "found 0"),
    ])
    func clientHearsWhatIsWrongWithItsGreeting(greeting: String, found: String) async throws {
        let source = try await started(
            SocketSource(
                path: path, format: .ndjson, options: options { $0.acknowledges = true }))
        let client = try Client(path)
        client.send(greeting + "\n")
        let answer = await client.receiveAll()
        #expect(answer.hasPrefix("{\"error\":\"greeting: expected "), "\(answer)")
        #expect(answer.hasSuffix("\(found)\"}\n"), "\(answer)")
        // Nothing of it is taken for a record, and others are served.
        let other = try Client(path)
        other.send("{\"hello\":1}\n")
        #expect(try await source.next()?.texts == ["{\"hello\":1}"])
        source.stop()
    }

    @Test(arguments: [nil, ["a"]] as [Set<String>?])
    func firstLineThatIsNoHeaderHasANumberAsTheOthers(needed: Set<String>?) async throws {
        let source = try await started(
            SocketSource(
                path: path, format: .csv,
                options: options {
                    $0.acknowledges = true
                    $0.neededColumns = { needed }
                }))
        let client = try Client(path)
        client.send("{\"hello\":\"c\",\"next\":3}\n2026-03-01T10:00:00Z,1.5,\n7,8,9\n")
        let batch = try #require(try await source.next())
        #expect(batch.texts == ["2026-03-01T10:00:00Z,1.5,", "7,8,9"])
        #expect(batch.numbering == LineBatch.Numbering(client: "c", first: 3))
        let titled = try Client(path)
        titled.send("a,b,c\n7,8,9\n")
        #expect(try await source.next()?.texts == ["7,8,9"])
        source.stop()
    }
}
