import Glibc
import Ingest
import Testing
import TestSupport

/// A clock by which every file has been quiet for long.
let longAfter: @Sendable () -> Duration = { .seconds(1 << 40) }

/// What a test does to a followed file.
final class FollowedFile {
    let directory: TemporaryDirectory
    let path: String

    init(_ name: String = "pump.csv") throws {
        directory = try TemporaryDirectory()
        path = directory.file(name)
    }

    func append(_ text: String, to other: String? = nil) {
        let descriptor = open(other ?? path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        let bytes = Array(text.utf8)
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
    }

    func rename(to name: String) {
        #expect(Glibc.rename(path, directory.file(name)) == 0)
    }

    func truncate() {
        #expect(Glibc.truncate(path, 0) == 0)
    }

    func copy(to name: String) throws {
        var content: [UInt8] = []
        let descriptor = open(path, O_RDONLY)
        defer { close(descriptor) }
        var chunk = [UInt8](repeating: 0, count: 4096)
        while case let count = read(descriptor, &chunk, chunk.count), count > 0 {
            content += chunk[..<count]
        }
        try directory.write(content, to: name)
    }
}

@Suite struct FileFollowerTests {
    @Test func absentFileIsWaitedFor() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        #expect(try follower.step() == nil)
        file.append("a\n1\n")
        #expect(texts(try drain(&follower)) == ["1"])
    }

    @Test func lineWithoutAnEndIsHeldBack() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2")
        #expect(texts(try drain(&follower)) == ["1"])
        #expect(follower.isCaughtUp)
        #expect(follower.backlogBytes == 0)
        file.append("2\n3\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["22", "3"])
        #expect(batches.first?.lines.map(\.offset) == [4, 7])
        #expect(batches.first?.lines.map(\.number) == [3, 4])
    }

    @Test func renamedFileIsFinishedBeforeTheNewOneIsRead() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        _ = try drain(&follower)
        file.append("2\n")
        file.rename(to: "pump.csv.1")
        file.append("3\n", to: file.directory.file("pump.csv.1"))
        #expect(texts(try drain(&follower)) == ["2", "3"])
        file.append("", to: nil)
        #expect(
            try follower.step() == nil, "the new file is empty: the writer may hold the old one")
        file.append("4", to: file.directory.file("pump.csv.1"))
        file.append("a\n5\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["4", "5"])
        #expect(batches.map(\.isLast) == [true, false])
        #expect(batches.map(\.input) == [1, 2])
        #expect(batches.last?.header == Array("a".utf8))
    }

    @Test func truncatedFileIsReadFromItsStart() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2\n")
        #expect(texts(try drain(&follower)) == ["1", "2"])
        file.truncate()
        file.append("a\n3\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["3"])
        #expect(batches.map(\.isLast) == [true, false])
        #expect(batches.map { $0.resume?.offset } == [0, 4])
    }

    @Test func fileThatIsEmptiedAndGrowsBeyondItsOldSizeIsReadFromItsStart() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2\n")
        _ = try drain(&follower)
        file.truncate()
        file.append("a\n3\n4\n5\n6\n")
        #expect(texts(try drain(&follower)) == ["3", "4", "5", "6"])
    }

    @Test func deletedFileIsFollowedAgainOnceItIsBack() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        _ = try drain(&follower)
        unlink(file.path)
        #expect(try follower.step() == nil)
        file.append("a\n2\n")
        #expect(texts(try drain(&follower)) == ["2"])
    }

    @Test func resumeGoesOnAtTheStoredOffsetWithTheHeader() throws {
        let file = try FollowedFile()
        var first = FileFollower(
            path: file.path, format: .csv, limits: .init(lines: 2, bytes: 100), now: longAfter)
        file.append("\n\na,b\n1,2\n3,4\n5,6\n")
        let batch = try #require(try first.step())
        #expect(batch.texts == ["1,2", "3,4"])
        var second = FileFollower(
            path: file.path, format: .csv, resume: batch.resume, now: longAfter)
        let resumed = try #require(try second.step())
        #expect(resumed.texts == ["5,6"])
        #expect(resumed.header == Array("a,b".utf8))
        #expect(resumed.lines.first?.number == 6)
        #expect(resumed.lines.first?.offset == 14)
    }

    @Test func fileReplacedWhileAwayIsReadFromItsStart() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2\n")
        let batch = try #require(try first.step())
        file.truncate()
        file.append("a\n7\n8\n9\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batch.resume, now: longAfter)
        #expect(texts(try drain(&second)) == ["7", "8", "9"])
    }

    @Test func fileRotatedWhileAwayIsFinishedFirst() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        let batch = try #require(try first.step())
        file.append("2\n")
        file.rename(to: "pump.csv.1")
        file.append("a\n3\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batch.resume, now: longAfter)
        let batches = try drain(&second)
        #expect(texts(batches) == ["2", "3"])
        #expect(batches.map(\.isLast) == [false, true, false])
    }

    @Test func fileCopiedAndTruncatedWhileAwayIsFinishedFromItsCopy() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n" + (0..<200).map { "\($0)\n" }.joined())
        let batch = try #require(try first.step())
        file.append("200\n")
        try file.copy(to: "pump.csv.1")
        file.truncate()
        file.append("a\n201\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batch.resume, now: longAfter)
        #expect(texts(try drain(&second)) == ["200", "201"])
    }

    @Test func longLineIsReadAgainFromItsStartAfterARestart() throws {
        let file = try FollowedFile()
        let format = FormatOptions.ndjson.with { $0.maxLineBytes = 1000 }
        var first = FileFollower(path: file.path, format: format, now: longAfter)
        file.append("{}\n")
        let batch = try #require(try first.step())
        file.append(String(repeating: "x", count: 100_000))
        #expect(try first.step() == nil)
        file.append("\n{}\n")
        let rest = try #require(try first.step())
        #expect(rest.lines.map(\.isOversize) == [true, false])
        #expect(rest.lines.map(\.offset) == [3, 100_004])
        var second = FileFollower(
            path: file.path, format: format, resume: batch.resume, now: longAfter)
        let again = try #require(try second.step())
        #expect(again.lines.map(\.isOversize) == [true, false])
        #expect(again.lines.map(\.offset) == rest.lines.map(\.offset))
        #expect(again.lines.map(\.number) == rest.lines.map(\.number))
        #expect(again.texts == rest.texts)
    }

    @Test func whatIsNotARegularFileThrows() throws {
        let directory = try TemporaryDirectory()
        var follower = FileFollower(path: directory.path, format: .csv, now: longAfter)
        #expect(
            throws: IngestError.notARegularFile(path: directory.path, found: "a directory")
        ) { try follower.step() }
        let pipe = directory.file("pipe")
        mkfifo(pipe, 0o600)
        var other = FileFollower(path: pipe, format: .csv, now: longAfter)
        #expect(throws: IngestError.notARegularFile(path: pipe, found: "a named pipe")) {
            try other.step()
        }
    }

    /// Appends, rotates, truncates, deletes, restarts and crashes at random; every line of the
    /// truth must come out once, in order, with its offset and number.
    @Test(arguments: 0..<100) func everyLineComesOnceWhateverHappens(seed: Int) throws {
        var model = try FollowedFileModel(seed: UInt64(seed))
        var acts = 0
        while acts < 150, model.truth.starts(with: model.delivered) {
            try model.act()
            acts += 1
        }
        if acts == 150 { try model.finish() }
        let difference = zip(model.delivered, model.truth).first { $0 != $1 }
        #expect(
            difference == nil && model.delivered.count == model.truth.count,
            "seed \(seed): \(String(describing: difference)), \(model.log.filter { $0 != "step true: nil" }.suffix(30))"
        )
    }
}

/// A file's truth beside a follower of it.
private struct FollowedFileModel {
    struct Line: Equatable {
        var text: String
        var offset: Int64
        var number: Int64
    }

    var truth: [Line] = []
    var delivered: [Line] = []
    var log: [String] = []
    private let file: FollowedFile
    private var random: SplitMix
    private var follower: FileFollower
    private var committed: FilePosition?
    private var size: Int64 = 0
    private var lineCount: Int64 = 0
    private var openLine: String?
    private var hasHeader = true
    private var rotations = 0
    /// How many lines of the truth lie in files that are rotated away.
    private var rotatedCount = 0

    init(seed: UInt64) throws {
        file = try FollowedFile()
        random = SplitMix(seed: seed)
        follower = FileFollower(path: file.path, format: .csv, now: longAfter)
    }

    mutating func act() throws {
        switch Int.random(in: 0..<22, using: &random) {
        case 0..<8: write()
        case 8..<14: try step(commits: true)
        case 14: try step(commits: false)
        case 15: restart()
        case 16 where hasSeenCurrentFile: rotate()
        case 17: try replaceInPlace(copies: true)
        case 18: try replaceInPlace(copies: false)
        case 19: try delete()
        case 20: try copyAndTruncate()
        case 21: cutHalfLine()
        default: break
        }
    }

    /// A file that appears and is rotated away between two looks is gone: the follower says so.
    private var hasSeenCurrentFile: Bool {
        delivered.count > rotatedCount || truth.count == rotatedCount
    }

    mutating func finish() throws {
        endLine()
        for _ in 0..<1000 where delivered.count < truth.count { try step(commits: true) }
    }

    /// Writes some lines, the last perhaps in part.
    private mutating func write() {
        var text = ""
        if size == 0, hasHeader {
            text = Bool.random(using: &random) ? "id,value\n" : "\r\nid,value\r\n"
            // By bytes: to Swift, "\r\n" is one character and "\r" no prefix of it.
            lineCount = text.utf8.first == 0x0D ? 2 : 1
        }
        for _ in 0..<Int.random(in: 1...40, using: &random) {
            if openLine == nil {
                let line = "\(truth.count),\(random.next())"
                lineCount += 1
                truth.append(
                    Line(text: line, offset: size + Int64(text.utf8.count), number: lineCount))
                text += line
            }
            openLine = nil
            text += "\n"
        }
        if Bool.random(using: &random) {
            let line = "\(truth.count),\(random.next())"
            lineCount += 1
            truth.append(
                Line(text: line, offset: size + Int64(text.utf8.count), number: lineCount))
            text += line
            openLine = line
        }
        log.append("write \(text.utf8.count) at \(size)")
        file.append(text)
        size += Int64(text.utf8.count)
    }

    private mutating func endLine() {
        guard openLine != nil else { return }
        openLine = nil
        file.append("\n")
        size += 1
    }

    /// One look; without a commit, the process dies right after it.
    private mutating func step(commits: Bool) throws {
        let batch = try follower.step()
        log.append("step \(commits): \(batch.map { "\($0.lines.count) \($0.isLast)" } ?? "nil")")
        guard commits else { return restart() }
        guard let batch else { return }
        for (line, text) in zip(batch.lines, batch.texts) {
            delivered.append(Line(text: text, offset: line.offset, number: line.number))
        }
        committed = batch.resume
    }

    private mutating func restart() {
        log.append("restart")
        let limit = Int.random(in: 1...60, using: &random)
        follower = FileFollower(
            path: file.path, format: .csv, resume: committed,
            limits: .init(lines: limit, bytes: 2000),
            readBytes: Int.random(in: 100...3000, using: &random), now: longAfter)
    }

    private mutating func rotate() {
        guard size > 0 else { return }
        rotations += 1
        log.append("rotate \(rotations)")
        // A writer that ends its last line in the old file, under the new name.
        if Bool.random(using: &random) { endLine() }
        file.rename(to: "pump.csv.\(rotations)")
        startAnew()
        write()
    }

    /// What is not delivered when a file is emptied is gone, so all of it is delivered first.
    private mutating func replaceInPlace(copies: Bool) throws {
        guard size > 0 else { return }
        try finish()
        guard try follower.step() == nil else { return }
        rotations += 1
        log.append("replace in place, copies: \(copies)")
        if copies { try file.copy(to: "pump.csv.\(rotations)") }
        file.truncate()
        startAnew()
        if Bool.random(using: &random) { write() }
    }

    /// What is not delivered when a file is copied and emptied is in the copy, if the file can be
    /// known again; the writer may go on without a header.
    private mutating func copyAndTruncate() throws {
        guard delivered.count > rotatedCount, let committed, committed.prefixLength >= 256 else {
            return
        }
        endLine()
        rotations += 1
        log.append("copy and truncate, after \(delivered.count) of \(truth.count)")
        try file.copy(to: "pump.csv.\(rotations)")
        file.truncate()
        startAnew()
        hasHeader = Bool.random(using: &random)
        if Bool.random(using: &random) { write() }
    }

    private mutating func cutHalfLine() {
        guard let openLine else { return }
        log.append("cut half a line")
        truth.removeLast()
        lineCount -= 1
        size -= Int64(openLine.utf8.count)
        self.openLine = nil
        #expect(Glibc.truncate(file.path, Int(size)) == 0)
        if Bool.random(using: &random) { write() }
    }

    private mutating func delete() throws {
        guard size > 0 else { return }
        try finish()
        log.append("delete")
        unlink(file.path)
        startAnew()
        if Bool.random(using: &random) { write() }
    }

    private mutating func startAnew() {
        openLine = nil
        hasHeader = true
        size = 0
        lineCount = 0
        rotatedCount = truth.count
    }
}

@Suite struct FileSourceTests {
    private let poll = Duration.milliseconds(1)

    @Test func growingFileIsFollowed() async throws {
        let file = try FollowedFile()
        let source = FileSource(path: file.path, format: .csv, pollInterval: poll)
        file.append("a\n")
        var expected: [String] = []
        for round in 0..<20 {
            file.append("\(round)\n")
            expected.append("\(round)")
            let count = expected.count
            let batch = try #require(try await source.next())
            #expect(batch.texts == [expected[count - 1]])
        }
        #expect(source.name == file.path)
        source.stop()
        #expect(try await source.next() == nil)
    }

    @Test func stopEndsAWaitingSource() async throws {
        let file = try FollowedFile()
        let source = FileSource(path: file.path, format: .csv, pollInterval: .seconds(3600))
        async let waiting = source.next()
        source.stop()
        #expect(try await waiting == nil)
    }

    @Test(.timeLimit(.minutes(1))) func nothingIsWaitedForWhileThereIsMoreToRead() async throws {
        let file = try FollowedFile()
        let format = FormatOptions.csv.with { $0.maxLineBytes = 1000 }
        file.append("a\n" + String(repeating: "x", count: 1 << 20) + "\n")
        file.append(String(repeating: "\n", count: 1 << 20) + "1\n")
        let source = FileSource(path: file.path, format: format, pollInterval: .seconds(3600))
        let batches = try await collect(source) { $0.last?.texts.last == "1" }
        #expect(batches.flatMap(\.lines).map(\.isOversize) == [true, false])
    }

    @Test func sourceRecoversWhenTheCauseOfAnErrorIsGone() async throws {
        let file = try FollowedFile()
        mkdir(file.path, 0o700)
        let source = FileSource(path: file.path, format: .csv, pollInterval: poll)
        let error = IngestError.notARegularFile(path: file.path, found: "a directory")
        await #expect(throws: error) { try await source.next() }
        await #expect(throws: error) { try await source.next() }
        rmdir(file.path)
        file.append("a\n1\n")
        #expect(try await source.next()?.texts == ["1"])
    }

    @Test func fileThatMayNotBeReadThrows() throws {
        let file = try FollowedFile()
        file.append("a\n1\n")
        chmod(file.path, 0)
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        let refusal = asOrdinaryUser { Result { () throws(IngestError) in try follower.step() } }
        #expect(throws: IngestError.cannotOpen(path: file.path, errno: EACCES)) {
            try refusal.get()
        }
        chmod(file.path, 0o600)
        #expect(try follower.step()?.texts == ["1"])
    }

    @Test func backlogIsWhatIsNotDelivered() async throws {
        let file = try FollowedFile()
        file.append("a\n" + String(repeating: "1\n", count: 20_000))
        let source = FileSource(path: file.path, format: .csv, pollInterval: poll)
        #expect(try await source.next()?.lines.count == 16_384)
        #expect(source.backlogBytes() == 2 * (20_000 - 16_384))
        #expect(!source.isCaughtUp())
        #expect(try await source.next()?.lines.count == 20_000 - 16_384)
        async let waiting = source.next()
        let deadline = ContinuousClock.now + .seconds(60)
        while !source.isCaughtUp(), ContinuousClock.now < deadline { await Task.yield() }
        #expect(source.isCaughtUp())
        #expect(source.backlogBytes() == 0)
        source.stop()
        #expect(try await waiting == nil)
    }
}
