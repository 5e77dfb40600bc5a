import Glibc
import Ingest
import Testing
import TestSupport

@Suite struct SpoolTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private var folder: String { directory.file("spool") }

    private func spool(
        limit: Int64 = 1 << 20, resume: SpoolPosition? = nil, isRepeated: Bool = false
    ) throws -> Spool {
        try Spool(folder: folder, limit: limit, resume: resume, isRepeated: isRepeated)
    }

    private func lines(_ text: String, numbered first: Int64? = nil) throws -> LineBatch {
        var lines = try batch(text, format: .ndjson)
        lines.numbering = first.map { LineBatch.Numbering(client: "a", first: $0) }
        return lines
    }

    private var segments: [String] {
        get throws {
            let stream = try #require(opendir(folder))
            defer { closedir(stream) }
            var names: [String] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name.hasSuffix(".spool") { names.append(name) }
            }
            return names.sorted()
        }
    }

    /// Writes over a place in the only segment.
    private func damage(at offset: Int64) throws {
        let descriptor = open(folder + "/" + (try #require(try segments.first)), O_WRONLY)
        defer { close(descriptor) }
        #expect(pwrite(descriptor, [0xFF, 0xFF, 0xFF], 3, off_t(offset)) == 3)
    }

    private func texts(_ spool: Spool) throws -> [String] {
        var texts: [String] = []
        while let batch = try spool.next() {
            texts += batch.texts
            if let position = batch.spool { spool.release(before: position) }
        }
        return texts
    }

    @Test func filesThatNoSpoolHasWrittenAreLeftAlone() throws {
        try spool().append(lines("{\"a\":1}\n"))
        for name in ["9223372036854775807.spool", "-1.spool", "x.spool"] {
            try directory.write("x", to: "spool/" + name)
        }
        let second = try spool()
        try second.append(lines("{\"a\":2}\n"))
        #expect(try texts(second) == ["{\"a\":1}", "{\"a\":2}"])
        #expect(try segments.contains("9223372036854775807.spool"))
    }

    @Test func whatIsAppendedComesBackInOrderAlsoToTheNextProcess() throws {
        let first = try spool()
        for number in 1...3 { try first.append(try lines("{\"a\":\(number)}\n")) }
        let batch = try #require(try first.next())
        #expect(batch.texts == ["{\"a\":1}"])
        #expect(batch.input == 1)
        let second = try spool(resume: batch.spool)
        let next = try #require(try second.next())
        #expect(next.texts == ["{\"a\":2}"])
        #expect(next.input == -1, "another client may have its number now")
        try second.append(try lines("{\"a\":4}\n"))
        #expect(try texts(second) == ["{\"a\":3}", "{\"a\":4}"])
        #expect(second.byteCount == 0)
        #expect(try segments.isEmpty)
    }

    @Test func segmentsAreRemovedOnlyOnceTheyAreCommitted() throws {
        let spool = try self.spool(limit: 800)
        for number in 1...10 { try spool.append(try lines("{\"a\":\(number)}\n")) }
        #expect(try segments.count > 5)
        var given: [LineBatch] = []
        while let batch = try spool.next() { given.append(batch) }
        #expect(given.count == 10)
        #expect(try segments.count > 5)
        for batch in given { spool.release(before: try #require(batch.spool)) }
        #expect(try segments.isEmpty)
        #expect(spool.byteCount == 0)
    }

    @Test(arguments: [0, 1, 2]) func damagedFrameEndsItsSegmentAndIsCounted(frame: Int) throws {
        let first = try spool()
        var ends: [Int64] = [0]
        for number in 1...3 {
            try first.append(try lines("{\"a\":\(number)}\n"))
            ends.append(first.byteCount)
        }
        try damage(at: ends[frame] + 20)
        let second = try spool()
        try second.append(try lines("{\"a\":4}\n"))
        #expect(
            try texts(second) == (1...3).prefix(frame).map { "{\"a\":\($0)}" } + ["{\"a\":4}"])
        #expect(second.losses.damagedSegments == 1)
        #expect(second.byteCount == 0, "what is damaged does not wait for ever")
        #expect(try segments.isEmpty)
        // It is kept for whoever can read more of it.
        let kept = Spool.damagedFiles(in: folder)
        #expect(kept.count == 1 && kept == second.losses.damagedFiles)
        var status = stat()
        #expect(stat(try #require(kept.first), &status) == 0 && Int64(status.st_size) == ends[3])
    }

    @Test func damageInTheSegmentThatIsWrittenIsPassed() throws {
        let spool = try self.spool()
        try spool.append(try lines("{\"a\":1}\n"))
        try damage(at: 20)
        #expect(try spool.next() == nil)
        #expect(spool.losses.damagedSegments == 1)
        #expect(spool.byteCount == 0)
        try spool.append(try lines("{\"a\":2}\n"))
        #expect(try texts(spool) == ["{\"a\":2}"])
    }

    @Test func whatIsPutBeforeTheRestIsReadFirstByTheNextProcess() throws {
        let first = try spool()
        try first.append(try lines("{\"a\":1}\n"))
        let committed = try #require(try first.next()?.spool)
        first.release(before: committed)
        try first.append(try lines("{\"a\":3}\n"))
        try first.prepend(try lines("{\"a\":2}\n"))
        let second = try spool(resume: committed)
        let given = try #require(try second.next())
        #expect(given.texts == ["{\"a\":2}"])
        let third = try spool(resume: given.spool)
        #expect(try texts(third) == ["{\"a\":3}"])
        #expect(try segments.isEmpty)
    }

    @Test func nothingGoesBeforeWhatIsGivenInPart() throws {
        let first = try spool()
        for number in 1...2 { try first.append(try lines("{\"a\":\(number)}\n")) }
        let committed = try #require(try first.next()?.spool)
        try first.prepend(try lines("{\"a\":3}\n"))
        #expect(try texts(spool(resume: committed)) == ["{\"a\":2}", "{\"a\":3}"])
    }

    @Test func numberedLinesAreLeftToClientsThatSendThemAgain() throws {
        let first = try spool()
        try first.append(try lines("{\"a\":1}\n"))
        try first.append(try lines("{\"a\":2}\n{\"a\":3}\n", numbered: 7))
        let second = try spool(isRepeated: true)
        #expect(try texts(second) == ["{\"a\":1}"])
        #expect(second.losses.repeatedLines == 2)
        #expect(second.byteCount == 0)
        try second.append(try lines("{\"a\":4}\n", numbered: 9))
        #expect(try texts(second) == ["{\"a\":4}"], "those of its own clients are given")
    }
}

extension SocketSource {
    /// Whether all that clients have sent has arrived.
    fileprivate var isWithoutClients: Bool { connectionCount() == 0 }
}

extension SocketSourceTests {
    /// A source that spills, or has spilled.
    private func options(_ overflow: OverflowPolicy, acknowledges: Bool = false)
        -> SocketSource.Options
    {
        var options = SocketSource.Options()
        options.overflow = overflow
        options.acknowledges = acknowledges
        options.spool = SpoolPlace(folder: directory.file("spool"), resume: nil)
        return options
    }

    @Test(arguments: [OverflowPolicy.block, .dropOldest], [false, true])
    func whatLiesInTheSpoolIsGivenWhateverThePolicyIs(
        policy: OverflowPolicy, acknowledges: Bool
    ) async throws {
        let spool = try Spool(
            folder: directory.file("spool"), limit: 1 << 20, resume: nil, isRepeated: false)
        try spool.append(try batch("{\"a\":1}\n", format: .ndjson))
        let source = SocketSource(
            path: path, format: .ndjson, options: options(policy, acknowledges: acknowledges))
        try await source.start()
        #expect(!source.isCaughtUp())
        let batch = try #require(try await source.next())
        #expect(batch.texts == ["{\"a\":1}"])
        source.didCommit(batch, faultCount: 0)
        #expect(source.isCaughtUp())
        let client = try Client(path)
        client.send("{\"a\":2}\n")
        #expect(try await source.next()?.texts == ["{\"a\":2}"])
        source.stop()
    }

    @Test func linesThatGoByTheDiskKeepTheirOrder() async throws {
        let source = SocketSource(
            path: path, format: .ndjson, options: options(.spill(limit: 64 << 20)))
        try await source.start()
        let client = try Client(path)
        let count = 300_000
        async let sender: Void = beside {
            for start in stride(from: 0, to: count, by: 1_000) {
                client.send((start..<(start + 1_000)).map { "{\"a\":\($0)}\n" }.joined())
            }
        }
        // The clients are ahead from the beginning, and the consumer comes in between.
        let deadline = ContinuousClock.now + .seconds(60)
        while source.spooledByteCount() == 0, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(1))
        }
        var next = 0
        while next < count, let batch = try await source.next() {
            for text in batch.texts {
                guard text == "{\"a\":\(next)}" else {
                    Issue.record("\(text) where \(next) was expected")
                    source.stop()
                    return
                }
                next += 1
            }
            source.didCommit(batch, faultCount: 0)
        }
        await sender
        #expect(next == count)
        #expect(source.isCaughtUp())
        source.stop()
    }

    @Test(arguments: [false, true])
    func whatIsKeptAtAStopComesInTheOrderInWhichItCame(hasPast: Bool) async throws {
        var place = SpoolPlace(folder: directory.file("spool"), resume: nil)
        let first = SocketSource(
            path: path, format: .ndjson, options: options(.spill(limit: 64 << 20)))
        var expected: [String] = []
        if hasPast {
            let spool = try Spool(
                folder: place.folder, limit: 1 << 20, resume: nil, isRepeated: false)
            try spool.append(try batch("{\"a\":-1}\n", format: .ndjson))
        }
        try await first.start()
        if hasPast {
            let past = try #require(try await first.next())
            first.didCommit(past, faultCount: 0)
            place.resume = past.spool
        }
        let client = try Client(path)
        client.send("{\"a\":0}\n")
        // It is taken, and not committed, while others go to the disk.
        let underway = try #require(try await first.next())
        expected += underway.texts
        let lines = (1...200_000).map { "{\"a\":\($0)}" }
        expected += lines
        async let sender: Void = beside {
            client.send(lines.map { $0 + "\n" }.joined())
            client.finishSending()
        }
        let deadline = ContinuousClock.now + .seconds(60)
        while !first.isWithoutClients, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(1))
        }
        await sender
        #expect(first.spooledByteCount() > 0)
        first.stop()
        #expect(first.keepRest(underway) == 0)

        var later = options(.spill(limit: 64 << 20))
        later.spool = place
        let second = SocketSource(path: path, format: .ndjson, options: later)
        try await second.start()
        var found: [String] = []
        while found.count < expected.count, let batch = try await second.next() {
            found += batch.texts
            second.didCommit(batch, faultCount: 0)
        }
        #expect(found.first == expected.first)
        let isInOrder = found == expected
        #expect(isInOrder, "\(found.count) of \(expected.count)")
        #expect(second.isCaughtUp())
        second.stop()
    }

    @Test func lastAcknowledgementIsHeardBeforeTheEnd() async throws {
        for _ in 0..<20 {
            let source = SocketSource(
                path: path, format: .ndjson, options: options(.block, acknowledges: true))
            try await source.start()
            let client = try Client(path)
            client.send("{\"a\":1}\n")
            let batch = try #require(try await source.next())
            source.stop()
            source.didCommit(batch, faultCount: 0)
            #expect(try await source.next() == nil)
            #expect(await client.receiveAll() == "{\"ok\":1}\n")
        }
    }

    @Test func clientsThatOnlyListenHaveTheirPlaces() async throws {
        var options = self.options(.block, acknowledges: true)
        options.maxConnections = 1
        let source = SocketSource(path: path, format: .ndjson, options: options)
        try await source.start()
        let first = try Client(path)
        first.send("{\"a\":1}\n")
        first.finishSending()
        let batches = try await collect(source) { $0.last?.isLast == true }
        let late = try Client(path)
        #expect(await late.receiveAll() == "")
        #expect(source.refusedConnectionCount() == 1)
        for batch in batches { source.didCommit(batch, faultCount: 0) }
        #expect(await first.receiveAll().hasSuffix("{\"ok\":1}\n"))
        let second = try Client(path)
        second.send("{\"a\":2}\n")
        #expect(try await source.next()?.texts == ["{\"a\":2}"])
        source.stop()
    }

    @Test func recordThatIsCutWithinQuotesIsNoneAndComesAgain() async throws {
        let source = SocketSource(
            path: path, format: .csv, options: options(.block, acknowledges: true))
        try await source.start()
        var client: Client? = try Client(path)
        client?.send("{\"hello\":\"a\",\"next\":1}\na,b\n1,\"x\ny\"\n2,\"p\nq\nr")
        client = nil
        let batches = try await collect(source) { $0.last?.isLast == true }
        #expect(batches.flatMap(\.texts) == ["1,\"x\ny\""])
        source.stop()
    }
}
