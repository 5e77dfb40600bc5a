import Glibc
import Ingest
import Testing
import TestSupport

/// The files of a pattern, and what a store remembers of them: the newest position of each file.
private struct Pumps {
    let directory: TemporaryDirectory
    private(set) var positions: [FilePosition] = []

    init() throws { directory = try TemporaryDirectory() }

    func append(_ text: String, to name: String) {
        let descriptor = open(directory.file(name), O_WRONLY | O_CREAT | O_APPEND, 0o644)
        let bytes = Array(text.utf8)
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
    }

    func rename(_ name: String, to other: String) {
        #expect(Glibc.rename(directory.file(name), directory.file(other)) == 0)
    }

    func files(
        _ pattern: String, lines: Int = 4_096, retryDelay: Duration = .zero,
        now: @escaping @Sendable () -> Duration = longAfter
    ) -> FileSet {
        FileSet(
            pattern: directory.file(pattern), format: .csv, resume: positions,
            limits: .init(lines: lines, bytes: 4 << 20), retryDelay: retryDelay, now: now)
    }

    mutating func commit(_ batch: LineBatch) {
        guard let position = batch.resume else { return }
        positions.removeAll { ($0.device, $0.inode) == (position.device, position.inode) }
        positions.append(position)
    }

    /// Takes and commits all there is, sorted.
    mutating func drain(_ files: inout FileSet) -> [String] {
        var texts: [String] = []
        // A name that one file gives away is found only by the next look.
        for _ in 0..<3 {
            repeat {
                while let batch = files.step() {
                    texts += batch.texts
                    commit(batch)
                    files.didCommit(batch)
                }
            } while !files.isIdle
        }
        return texts.sorted()
    }
}

@Suite struct FileSetTests {
    @Test func fileRotatedIntoAMatchingNameIsReadOnceThoughTheReaderBeginsAnew() throws {
        var pumps = try Pumps()
        pumps.append("a\n1\n2\n", to: "pump-a.csv")
        var files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files) == ["1", "2"])
        pumps.rename("pump-a.csv", to: "pump-a-20261124.csv")
        pumps.append("a\n3\n", to: "pump-a.csv")
        #expect(pumps.drain(&files) == ["3"])
        for round in 4...6 {
            files = pumps.files("pump-*.csv")
            #expect(pumps.drain(&files) == [])
            pumps.append("\(round)\n", to: "pump-a.csv")
            #expect(pumps.drain(&files) == ["\(round)"])
        }
    }

    @Test func filesRotatedTwiceWhileNobodyReadsAreReadOnce() throws {
        var pumps = try Pumps()
        pumps.append("a\n1\n2\n", to: "pump-a.csv")
        var files = pumps.files("pump-*.csv", lines: 1)
        let step = files.step()
        let first = try #require(step)
        #expect(first.texts == ["1"])
        pumps.commit(first)
        pumps.rename("pump-a.csv", to: "pump-a-20261123.csv")
        pumps.append("a\n3\n", to: "pump-a.csv")
        pumps.rename("pump-a.csv", to: "pump-a-20261124.csv")
        pumps.append("a\n4\n", to: "pump-a.csv")
        files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files) == ["2", "3", "4"])
        files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files) == [])
    }

    @Test func namesThatWanderFromFileToFileLoseNothingAndRepeatNothing() throws {
        var pumps = try Pumps()
        var files = pumps.files("pump*.csv")
        var row = 0
        for round in 0..<6 {
            pumps.append("a\n\(row + 1)\n", to: "pump.csv")
            #expect(pumps.drain(&files) == ["\(row + 1)"])
            pumps.append("\(row + 2)\n", to: "pump.csv")
            if round.isMultiple(of: 2) { files = pumps.files("pump*.csv") }
            for number in stride(from: round - 1, through: 1, by: -1) {
                pumps.rename("pump-\(number).csv", to: "pump-\(number + 1).csv")
            }
            pumps.rename("pump.csv", to: "pump-1.csv")
            #expect(pumps.drain(&files) == ["\(row + 2)"], "round \(round)")
            row += 2
        }
    }

    @Test func fileWithTwoMatchingNamesIsReadOnce() throws {
        var pumps = try Pumps()
        pumps.append("a\n1\n", to: "pump-b.csv")
        #expect(link(pumps.directory.file("pump-b.csv"), pumps.directory.file("pump-a.csv")) == 0)
        var files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files) == ["1"])
        pumps.append("2\n", to: "pump-b.csv")
        #expect(pumps.drain(&files) == ["2"])
    }

    @Test func positionsOfASingleFileAreThoseOfAPatternToo() throws {
        var pumps = try Pumps()
        pumps.append("a\n1\n", to: "pump-a.csv")
        var follower = FileFollower(
            path: pumps.directory.file("pump-a.csv"), format: .csv, now: longAfter)
        while let batch = try follower.step() { pumps.commit(batch) }
        pumps.append("a\n2\n", to: "pump-b.csv")
        var files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files) == ["2"])
        pumps.rename("pump-b.csv", to: "other.csv")
        #expect(pumps.positions.place(in: pumps.directory.file("other.csv"))?.offset == 4)
        #expect(pumps.positions.place(in: pumps.directory.file("pump-a.csv"))?.offset == 4)
        #expect(pumps.positions.place(in: pumps.directory.file("none.csv")) == nil)
    }

    @Test func fileThatIsRefusedHoldsUpNoOtherAndIsOfferedAgain() throws {
        let error = IngestError.noRecords(input: "pump-a.csv")
        var pumps = try Pumps()
        pumps.append("x\n1\n", to: "pump-a.csv")
        pumps.append("a\n2\n", to: "pump-b.csv")
        var files = pumps.files("pump-*.csv", retryDelay: .seconds(3_600))
        var texts: [String] = []
        while let batch = files.step() {
            if batch.inputName.hasSuffix("pump-a.csv") {
                let isNew = files.refuse(batch, because: error)
                #expect(isNew)
            } else {
                texts += batch.texts
                files.didCommit(batch)
            }
            #expect(!files.isCaughtUp)
        }
        #expect(texts == ["2"])
        #expect(files.problem == error)
        pumps.append("3\n", to: "pump-b.csv")
        #expect(pumps.drain(&files) == ["3"])
        #expect(files.problem == error, "a problem is told as long as it is there")

        files = pumps.files("pump-*.csv")
        for round in 1...2 {
            let step = files.step()
            let batch = try #require(step, "it is offered again")
            let isNew = files.refuse(batch, because: error)
            #expect(isNew == (round == 1))
        }
        #expect(pumps.drain(&files) == ["1"])
        #expect(files.problem == nil)
    }

    @Test func problemAndBacklogAreThoseOfAllFiles() throws {
        var pumps = try Pumps()
        pumps.append("a\n1\n2\n", to: "pump-a.csv")
        pumps.append("a\n3\n4\n", to: "pump-b.csv")
        pumps.append("a\n5\n", to: "pump-c.csv")
        var files = pumps.files("pump-*.csv", lines: 1)
        for _ in 0..<3 {
            let batch = files.step()
            pumps.commit(try #require(batch))
        }
        #expect(files.backlogBytes == 4)
        #expect(unlink(pumps.directory.file("pump-c.csv")) == 0)
        #expect(mkdir(pumps.directory.file("pump-c.csv"), 0o755) == 0)
        #expect(pumps.drain(&files) == ["2", "4"])
        #expect(files.backlogBytes == 0)
        for row in 6...9 {
            pumps.append("\(row)\n", to: "pump-a.csv")
            let batch = files.step()
            #expect(batch?.texts == ["\(row)"])
            #expect("\(files.problem.map { "\($0)" } ?? "")".hasSuffix("found a directory"))
        }
    }

    @Test func deletedFileIsClosedOnceItWasQuietForLong() throws {
        func isOpen(_ path: String) -> Bool {
            (0..<1_024).contains { number in
                var target = [UInt8](repeating: 0, count: 4_096)
                let count = readlink("/proc/self/fd/\(number)", &target, target.count)
                return count > 0
                    && String(decoding: target[..<count], as: UTF8.self) == path + " (deleted)"
            }
        }
        let clock = TestClock()
        var pumps = try Pumps()
        pumps.append("a\n1\n", to: "pump-a.csv")
        pumps.append("a\n2\n", to: "pump-b.csv")
        var files = pumps.files("pump-*.csv") { FileFollower.systemTime() + clock.time }
        #expect(pumps.drain(&files) == ["1", "2"])
        let path = pumps.directory.file("pump-a.csv")
        let writer = open(path, O_WRONLY | O_APPEND)
        unlink(path)
        #expect(write(writer, "3\n", 2) == 2)
        close(writer)
        #expect(pumps.drain(&files) == ["3"], "its writer has it open")
        clock.advance(by: FileSet.deletedFor - .seconds(60))
        #expect(pumps.drain(&files) == [])

        #expect(isOpen(path))
        clock.advance(by: .seconds(120))
        #expect(pumps.drain(&files) == [])
        #expect(!isOpen(path))
        pumps.append("a\n4\n", to: "pump-a.csv")
        #expect(pumps.drain(&files) == ["4"])
    }

    @Test func foldersAreListedOnceHoweverManyOfTheirFilesAreGone() throws {
        var pumps = try Pumps()
        for number in 1...40 { pumps.append("a\n\(number)\n", to: "pump-\(number).csv") }
        var files = pumps.files("pump-*.csv")
        #expect(pumps.drain(&files).count == 40)
        for number in 1...40 where number != 7 {
            unlink(pumps.directory.file("pump-\(number).csv"))
        }
        pumps.rename("pump-7.csv", to: "pump-7.old")
        pumps.append("8\n", to: "pump-7.old")
        pumps.append("a\n9\n", to: "pump-9-20261124.csv")

        let watch = inotify_init1(Int32(IN_NONBLOCK))
        defer { close(watch) }
        // With the ends between them, two beginnings are not told as one.
        let mask = UInt32(IN_OPEN | IN_CLOSE_NOWRITE)
        #expect(inotify_add_watch(watch, pumps.directory.path, mask) > 0)
        files = pumps.files("pump-*.csv")
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        let count = read(watch, &buffer, buffer.count)
        var (listings, place) = (0, 0)
        while place < count {
            let event = buffer[place...].withUnsafeBytes {
                $0.loadUnaligned(as: inotify_event.self)
            }
            if event.mask & UInt32(IN_OPEN) != 0, event.mask & UInt32(IN_ISDIR) != 0 {
                listings += 1
            }
            place += MemoryLayout<inotify_event>.size + Int(event.len)
        }
        #expect(listings == 1)
        #expect(pumps.drain(&files) == ["8", "9"], "what is left is found all the same")
    }

    @Test(arguments: [false, true])
    func folderThatMayNotBeEnteredIsAProblemUntilItMay(isFollowed: Bool) throws {
        var pumps = try Pumps()
        var files = pumps.files("pump-*.csv")
        if isFollowed {
            pumps.append("a\n1\n", to: "pump-a.csv")
            #expect(pumps.drain(&files) == ["1"])
        } else {
            #expect(pumps.drain(&files) == [])
        }
        #expect(files.problem == nil && files.isCaughtUp)
        let folder = pumps.directory.path
        chmod(folder, 0)
        pumps.append("a\n2\n", to: "pump-b.csv")
        asOrdinaryUser { #expect(pumps.drain(&files) == []) }
        let path = isFollowed ? pumps.directory.file("pump-a.csv") : folder + "/"
        #expect(files.problem == .cannotOpen(path: path, errno: EACCES))
        #expect(!files.isCaughtUp)
        chmod(folder, 0o755)
        #expect(pumps.drain(&files) == ["2"])
        #expect(files.problem == nil && files.isCaughtUp)
    }
}
