import Glibc
import Ingest
import Testing
import TestSupport

@Suite(.timeLimit(.minutes(5))) struct PipeSourceTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// Writes, and leaves at once; nobody to read is an error.
    private func write(_ text: String) throws {
        struct NobodyReads: Error {}
        let descriptor = open(directory.file("in"), O_WRONLY | O_NONBLOCK)
        guard descriptor >= 0 else { throw NobodyReads() }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        #expect(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    }

    @Test func writerThatComesRightAfterAnotherOneIsHeard() async throws {
        let source = PipeSource(path: directory.file("in"), format: .csv)
        try source.start()
        for round in 1...5 {
            // At this moment the end of the one before was read, and nothing is open for the next.
            try write("a\n\(round)")
            let batches = try await collect(source) { $0.last?.isLast == true }
            #expect(batches.flatMap(\.texts) == ["\(round)"])
            #expect(batches.first?.header == Array("a".utf8))
            #expect(batches.last?.isLast == true, "its end is noticed though it had left before")
        }
        source.stop()
        #expect(try await source.next() == nil)
    }

    @Test func firstLineThatNamesNoKnownColumnIsALineAsTheOthers() async throws {
        let source = PipeSource(
            path: directory.file("in"), format: .csv, neededColumns: { ["a"] })
        try source.start()
        try write("pump-1,5\npump-1,6\n")
        let stray = try await collect(source) { $0.last?.isLast == true }
        #expect(stray.flatMap(\.texts) == ["pump-1,5", "pump-1,6"])
        try write("b,a\n5,6\n")
        let titled = try await collect(source) { $0.last?.isLast == true }
        #expect(titled.flatMap(\.texts) == ["5,6"])
        source.stop()
    }

    @Test func anotherSourceGoesOnUnderTheSameHeader() async throws {
        let inputs = HeldInputs()
        let path = directory.file("in")
        let first = PipeSource(path: path, format: .csv)
        try first.start(after: inputs)
        let writer = open(path, O_WRONLY | O_NONBLOCK)
        defer { close(writer) }
        #expect(Glibc.write(writer, "a,b\n1,2\n3,", 10) == 10)
        #expect(try await first.next()?.texts == ["1,2"])
        first.stop()
        #expect(try await first.next() == nil)
        first.handOver(to: inputs)
        #expect(Glibc.write(writer, "4\n", 2) == 2, "meanwhile the pipe is open")
        let second = PipeSource(path: path, format: .csv)
        try second.start(after: inputs)
        let batch = try #require(try await second.next())
        #expect(batch.texts == ["3,4"])
        #expect(batch.header == Array("a,b".utf8))
        #expect(batch.lines.first?.number == 3)
        second.stop()
    }
}

extension PipeSourceTests {
    /// Another pipe takes the path.
    private func replacePipe() {
        unlink(directory.file("in"))
        #expect(mkfifo(directory.file("in"), 0o600) == 0)
    }

    /// Writes as soon as somebody reads; fails after two minutes, as the cores may be busy with other tests.
    private func writeOnceItIsRead(_ text: String) async throws {
        let deadline = ContinuousClock.now + .seconds(120)
        while true {
            do {
                return try write(text)
            } catch  where ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
    }

    @Test(arguments: [false, true])
    func anotherPipeOfThePathIsReadFromItsBeginning(isHandedOver: Bool) async throws {
        let inputs = HeldInputs()
        let path = directory.file("in")
        var source = PipeSource(path: path, format: .csv)
        try source.start(after: inputs)
        if isHandedOver {
            source.stop()
            #expect(try await source.next() == nil)
            source.handOver(to: inputs)
            replacePipe()
            source = PipeSource(path: path, format: .csv)
            try source.start(after: inputs)
        } else {
            replacePipe()
        }
        let reader = source
        async let read = reader.next()
        do {
            try await writeOnceItIsRead("a\n1\n")
        } catch {
            reader.stop()
            _ = try await read
            throw error
        }
        let batch = try #require(try await read)
        #expect(batch.texts == ["1"])
        #expect(batch.header == Array("a".utf8))
        reader.stop()
    }

    @Test func formerPipeIsReadUntilItsWriterHasLeft() async throws {
        let inputs = HeldInputs()
        let path = directory.file("in")
        let first = PipeSource(path: path, format: .csv)
        try first.start(after: inputs)
        let writer = open(path, O_WRONLY | O_NONBLOCK)
        #expect(Glibc.write(writer, "a\n1\n2", 5) == 5)
        #expect(try await first.next()?.texts == ["1"])
        first.stop()
        #expect(try await first.next() == nil)
        first.handOver(to: inputs)
        replacePipe()
        let second = PipeSource(path: path, format: .csv)
        try second.start(after: inputs)
        #expect(Glibc.write(writer, "3\n", 2) == 2)
        close(writer)
        let rest = try await collect(second) { $0.last?.isLast == true }
        #expect(rest.flatMap(\.texts) == ["23"])
        async let read = second.next()
        try await writeOnceItIsRead("b\n4\n")
        let batch = try #require(try await read)
        #expect(batch.texts == ["4"])
        #expect(batch.header == Array("b".utf8))
        #expect(batch.lines.first?.number == 2)
        second.stop()
    }
}

extension PipeSourceTests {
    @Test func formerPipeIsLeftForTheNextWhenItsWriterStaysAndIsSilent() async throws {
        let path = directory.file("in")
        let source = PipeSource(path: path, format: .csv, leaveAfter: .milliseconds(300))
        try source.start()
        let writer = open(path, O_WRONLY | O_NONBLOCK)
        defer { close(writer) }
        #expect(Glibc.write(writer, "a\n1\n2", 5) == 5)
        #expect(try await source.next()?.texts == ["1"])
        replacePipe()
        // A writer of the new pipe waits until it is read.
        async let read = collect(source) { $0.last?.texts == ["4"] }
        try await writeOnceItIsRead("b\n4\n")
        let batches = try await read
        #expect(batches.map(\.texts) == [["2"], ["4"]], "a half line is one at the end")
        #expect(batches.first?.isLast == true)
        #expect(batches.last?.header == Array("b".utf8))
        source.stop()
    }
}

@Suite(.timeLimit(.minutes(1))) struct DatagramSourceTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func sender() -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        #expect(withUnixAddress(directory.file("in")) { connect(descriptor, $0, $1) } == 0)
        return descriptor
    }

    @Test(arguments: ["", "{\"a\":1}"])
    func senderThatNeverRestsKeepsItFromNoStop(text: String) async throws {
        let source = DatagramSource(path: directory.file("in"), format: .ndjson)
        try source.start()
        let descriptor = sender()
        defer { close(descriptor) }
        async let flood: Void = beside {
            let bytes = Array(text.utf8)
            while send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) >= 0 {}
        }
        if !text.isEmpty { #expect(try await source.next()?.texts.first == text) }
        source.stop()
        while try await source.next() != nil {}
        #expect(access(directory.file("in"), F_OK) != 0)
        // The socket is gone, and with it the flood.
        await flood
    }

    @Test func whatTheKernelKeepsForTheNextProcessIsLeftThere() async throws {
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        defer { close(socket) }
        #expect(withUnixAddress(directory.file("in")) { bind(socket, $0, $1) } == 0)
        let source = DatagramSource(
            path: directory.file("in"), format: .ndjson, activated: socket)
        try source.start()
        let descriptor = sender()
        defer { close(descriptor) }
        source.stop()
        #expect(send(descriptor, "{}", 2, 0) == 2)
        #expect(try await source.next() == nil)
        var buffer = [UInt8](repeating: 0, count: 16)
        #expect(recv(socket, &buffer, buffer.count, 0) == 2)
        #expect(access(directory.file("in"), F_OK) == 0)
    }
}
