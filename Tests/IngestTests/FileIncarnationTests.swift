import Glibc
import Ingest
import Synchronization
import Testing
import TestSupport

/// Files that are emptied, cut, copied and renamed: which bytes are read again, and which are not.
@Suite struct FileIncarnationTests {
    /// A header that is longer than what a file is known by at its start.
    private static let wideHeader =
        "id," + (0..<300).map { "column\($0)" }.joined(separator: ",") + "\n"
    private static let wideRow = String(repeating: ",0", count: 300) + "\n"

    private func rows(_ ids: Range<Int>) -> String {
        ids.map { "\($0)\(Self.wideRow)" }.joined()
    }

    private func ids(_ batches: [LineBatch]) -> [Int] {
        batches.flatMap(\.texts).compactMap { $0.split(separator: ",").first.flatMap { Int($0) } }
    }

    // MARK: A header that was written once

    @Test func recordsOfAnEmptiedFileAreReadUnderTheHeaderBefore() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("time,pressure\n1,0.5\n2,0.6\n")
        _ = try drain(&follower)
        file.truncate()
        file.append("3,0.7\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["3,0.7"])
        #expect(batches.last?.header == Array("time,pressure".utf8))
        // And so they are after a restart, in the middle of the file and at its start.
        file.append("4,0.8\n")
        for (resume, rest) in [
            (batches.last?.resume, ["4,0.8"]), (batches.first?.resume, ["3,0.7", "4,0.8"]),
        ] {
            var second = FileFollower(
                path: file.path, format: .csv, resume: resume, now: longAfter)
            let resumed = try drain(&second)
            #expect(texts(resumed) == rest)
            #expect(resumed.first?.header == Array("time,pressure".utf8))
        }
        file.truncate()
        file.append("5,0.9\n")
        var third = FileFollower(
            path: file.path, format: .csv, resume: batches.last?.resume, now: longAfter)
        let emptied = try drain(&third)
        #expect(texts(emptied) == ["5,0.9"])
        #expect(emptied.first?.header == Array("time,pressure".utf8))
    }

    @Test func recordsOfAFileThatWasEmptiedWhileNobodyLookedAreReadUnderTheHeaderBefore() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("time,pressure\n1,0.5\n2,0.6\n")
        let position = try drain(&first).last?.resume
        file.truncate()
        file.append("3,0.7\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        let batches = try drain(&second)
        #expect(texts(batches) == ["3,0.7"])
        #expect(batches.first?.header == Array("time,pressure".utf8))
        // A header that looks like a record under itself stays a header.
        file.truncate()
        file.append("1,2\n3,4\n")
        var third = FileFollower(path: file.path, format: .csv, now: longAfter)
        let own = try drain(&third).last?.resume
        file.append("5,6\n")
        var fourth = FileFollower(path: file.path, format: .csv, resume: own, now: longAfter)
        let resumed = try drain(&fourth)
        #expect(texts(resumed) == ["5,6"])
        #expect(resumed.first?.header == Array("1,2".utf8))
    }

    @Test func headerOfAnEmptiedFileIsItsOwnIfItHasOne() throws {
        let headers = [
            "a,b", "b,a", "a,b,3", "x,2,c", "mode,text", "a,2", "2,3",
        ]
        for header in headers {
            let file = try FollowedFile()
            var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
            let before = header == "2,3" ? "1,2,3" : "a,b"
            file.append("\(before)\n1,2\n")
            _ = try drain(&follower)
            file.truncate()
            file.append("\(header)\n")
            _ = try drain(&follower)
            file.append("7,8\n")
            let last = try drain(&follower).last
            #expect(last?.header == Array(header.utf8), "\(header)")
            #expect(last?.texts == ["7,8"])
        }
    }

    @Test(arguments: ["5,0.7", "0.7", "9,x", "x,7", ",8"])
    func restOfALineInAnEmptiedFileIsNoHeader(rest: String) throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("time,pressure,state\n1,0.5,on\n2,0.6,on\n")
        _ = try drain(&follower)
        file.truncate()
        file.append("\(rest)\n4,0.8,on\n")
        let batches = try drain(&follower)
        // It goes to the quarantine, and what follows is read.
        #expect(texts(batches) == [rest, "4,0.8,on"])
        #expect(batches.last?.header == Array("time,pressure,state".utf8))
    }

    @Test(arguments: ["x,y,z", "bad", "12:30,n/a,off", "n/a,n/a,n/a", ",,off", "a,b,c,d"])
    func lineThatIsNoHeaderOfWhatIsNeededStopsNothing(line: String) throws {
        let file = try FollowedFile()
        let needed: @Sendable () -> Set<String>? = { ["pressure"] }
        var follower = FileFollower(
            path: file.path, format: .csv, neededColumns: needed, now: longAfter)
        file.append("time,pressure,state\n1,0.5,on\n")
        _ = try drain(&follower)
        file.truncate()
        file.append("\(line)\n4,0.8,on\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == [line, "4,0.8,on"])
        #expect(batches.last?.header == Array("time,pressure,state".utf8))
        #expect(batches.last?.hasStrayStart == true)
        // And so it is after a restart.
        file.append("5,0.9,on\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batches.last?.resume, neededColumns: needed,
            now: longAfter)
        let resumed = try drain(&second)
        #expect(texts(resumed) == ["5,0.9,on"])
        #expect(resumed.first?.header == Array("time,pressure,state".utf8))
        #expect(resumed.first?.hasStrayStart == false)
    }

    @Test func headerOfOtherColumnsIsOneOnceTheseAreNeeded() throws {
        let file = try FollowedFile()
        var follower = FileFollower(
            path: file.path, format: .csv, neededColumns: { ["pressure"] }, now: longAfter)
        file.append("time,pressure\n1,0.5\n")
        _ = try drain(&follower)
        file.truncate()
        file.append("instant,bar\n2,0.6\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["instant,bar", "2,0.6"])
        file.append("3,0.7\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batches.last?.resume,
            neededColumns: { ["bar", "instant"] }, now: longAfter)
        let resumed = try drain(&second)
        #expect(texts(resumed) == ["3,0.7"])
        #expect(resumed.first?.header == Array("instant,bar".utf8))
        #expect(resumed.first?.resume?.prefixHash.contains(" =") == true, "it is its own")
    }

    @Test func recordsAfterACopyAreReadUnderItsHeader() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("id\n" + (0..<100).map { "\($0)\n" }.joined())
        let batch = try #require(try first.step())
        file.append("100\n")
        try file.copy(to: "pump.csv.1")
        file.truncate()
        file.append("101\n")
        var second = FileFollower(
            path: file.path, format: .csv, resume: batch.resume, now: longAfter)
        let batches = try drain(&second)
        #expect(texts(batches) == ["100", "101"])
        #expect(batches.last?.header == Array("id".utf8))
    }

    // MARK: What a file is known by

    @Test func fileWithAWideHeaderThatIsWrittenAnewIsReadFromItsStart() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append(Self.wideHeader + rows(0..<3))
        let position = try #require(try drain(&follower).last?.resume)
        file.truncate()
        file.append(Self.wideHeader + rows(10..<20))
        #expect(ids(try drain(&follower)) == Array(10..<20))
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        #expect(ids(try drain(&second)) == Array(10..<20))
    }

    @Test func copyThatHoldsThePositionIsFoundAmongCopiesWithTheSameHeader() throws {
        let file = try FollowedFile()
        try file.directory.write(Self.wideHeader + rows(0..<40), to: "pump.csv-20260101")
        file.append(Self.wideHeader + rows(40..<50))
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        let position = try #require(try drain(&first).last?.resume)
        file.append(rows(50..<52))
        try file.copy(to: "pump.csv-20260102")
        file.append(rows(52..<53))
        try file.copy(to: "pump.csv-20260103")
        file.truncate()
        file.append(Self.wideHeader + rows(53..<60))
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        #expect(ids(try drain(&second)) == Array(50..<60))
    }

    @Test func positionThatWasStoredWithoutTheLastBytesIsAccepted() throws {
        let file = try FollowedFile()
        file.append(Self.wideHeader + rows(0..<3))
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        var position = try #require(try drain(&first).last?.resume)
        let prefix = Self.wideHeader.utf8.prefix(1024)
        let hash = prefix.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01b3
        }
        let digits = String(hash, radix: 16)
        position.prefixHash = String(repeating: "0", count: 16 - digits.count) + digits
        file.append(rows(3..<5))
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        #expect(ids(try drain(&second)) == [3, 4])
    }

    // MARK: Files that are left

    @Test func renamedFileIsLeftOnlyOnceItIsQuiet() throws {
        let file = try FollowedFile()
        let time = Mutex(FileFollower.systemTime())
        var follower = FileFollower(
            path: file.path, format: .csv, now: { time.withLock(\.self) })
        file.append("a\n1\n")
        #expect(texts(try drain(&follower)) == ["1"])
        file.rename(to: "pump.csv.1")
        file.append("a\n4\n")
        #expect(try drain(&follower).isEmpty, "a writer may have the old file open")
        #expect(!follower.isCaughtUp)
        #expect(follower.backlogBytes == 4)
        file.append("2\n", to: file.directory.file("pump.csv.1"))
        #expect(texts(try drain(&follower)) == ["2"])
        time.withLock { $0 += FileFollower.leaveAfter / 2 }
        file.append("3\n", to: file.directory.file("pump.csv.1"))
        #expect(texts(try drain(&follower)) == ["3"])
        time.withLock { $0 += FileFollower.leaveAfter * 2 }
        #expect(texts(try drain(&follower)) == ["4"])
        #expect(follower.isCaughtUp)
    }

    @Test func slowFileIsNotLeftBecauseItsLastLineIsOld() throws {
        let file = try FollowedFile()
        let time = Mutex(FileFollower.systemTime())
        var follower = FileFollower(
            path: file.path, format: .csv, now: { time.withLock(\.self) })
        file.append("a\n1\n")
        #expect(texts(try drain(&follower)) == ["1"])
        var old = [
            timeval(tv_sec: 1_000_000_000, tv_usec: 0), timeval(tv_sec: 1_000_000_000, tv_usec: 0),
        ]
        #expect(utimes(file.path, &old) == 0)
        file.rename(to: "pump.csv.1")
        file.append("a\n3\n")
        #expect(try drain(&follower).isEmpty, "it was renamed just now")
        file.append("2\n", to: file.directory.file("pump.csv.1"))
        #expect(texts(try drain(&follower)) == ["2"])
        time.withLock { $0 += FileFollower.leaveAfter * 2 }
        #expect(texts(try drain(&follower)) == ["3"])
    }

    @Test func fileFromTheFutureIsLeftAsSoonAsOneOfToday() throws {
        let file = try FollowedFile()
        let time = Mutex(Duration.seconds(1000))
        var follower = FileFollower(
            path: file.path, format: .csv, now: { time.withLock(\.self) })
        file.append("a\n1\n")
        _ = try drain(&follower)
        file.rename(to: "pump.csv.1")
        file.append("a\n2\n")
        #expect(try drain(&follower).isEmpty)
        time.withLock { $0 -= .seconds(500) }
        #expect(try drain(&follower).isEmpty)
        time.withLock { $0 += FileFollower.leaveAfter }
        #expect(texts(try drain(&follower)) == ["2"])
    }

    // MARK: Files that are emptied or cut

    @Test func backlogOfAnEmptiedFileIsReadFromItsCopy() throws {
        let file = try FollowedFile()
        var follower = FileFollower(
            path: file.path, format: .csv, limits: .init(lines: 10, bytes: 1000), readBytes: 500,
            now: longAfter)
        file.append("id\n" + (0..<1000).map { "\($0)\n" }.joined())
        var batches: [LineBatch] = []
        while follower.backlogBytes == 0 || batches.count < 20 {
            batches.append(try #require(try follower.step()))
        }
        file.append("1000\n")
        try file.copy(to: "pump.csv.1")
        file.truncate()
        file.append("id\n1001\n")
        batches += try drain(&follower)
        #expect(texts(batches) == (0...1001).map(String.init))
        #expect(Set(batches.map(\.input)) == [1, 2])
        let offsets = batches.flatMap(\.lines).map(\.offset)
        #expect(offsets.dropLast() == (offsets.dropLast().sorted())[...])
        // A restart from any of the batches gives the rest, once.
        for (index, batch) in batches.enumerated() where index >= 19 {
            var second = FileFollower(
                path: file.path, format: .csv, resume: batch.resume, now: longAfter)
            let rest = texts(Array(batches[(index + 1)...]))
            #expect(texts(try drain(&second)) == rest, "after batch \(index)")
        }
    }

    @Test func halfLineThatIsCutOffIsDroppedAndNothingIsReadAgain() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2\n34567")
        #expect(texts(try drain(&follower)) == ["1", "2"])
        #expect(Glibc.truncate(file.path, 6) == 0)
        #expect(try drain(&follower).isEmpty)
        file.append("8\n9\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["8", "9"])
        #expect(batches.map(\.input) == [1])
        #expect(batches.first?.lines.map(\.offset) == [6, 8])
        #expect(batches.first?.lines.map(\.number) == [4, 5])
        // Cut and written on before the next look.
        file.append("1")
        _ = try drain(&follower)
        #expect(Glibc.truncate(file.path, 10) == 0)
        file.append("21\n")
        #expect(texts(try drain(&follower)) == ["21"])
    }

    @Test func cutLongLineIsDroppedAndNothingIsReadAgain() throws {
        let file = try FollowedFile()
        let format = FormatOptions.ndjson.with { $0.maxLineBytes = 1000 }
        var follower = FileFollower(path: file.path, format: format, now: longAfter)
        file.append("{}\n" + String(repeating: "x", count: 5000))
        #expect(texts(try drain(&follower)) == ["{}"])
        #expect(Glibc.truncate(file.path, 3) == 0)
        file.append("{\"a\":1}\n")
        let batches = try drain(&follower)
        #expect(texts(batches) == ["{\"a\":1}"])
        #expect(batches.first?.lines.map(\.offset) == [3])
    }

    // MARK: What cannot be read

    @Test func readErrorKeepsThePlace() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n2\n")
        #expect(texts(try drain(&follower)) == ["1", "2"])
        // The follower's descriptor becomes one of a folder, which cannot be read.
        let folder = open(file.directory.path, O_RDONLY | O_CLOEXEC)
        defer { close(folder) }
        let number = try #require(descriptor(of: file.path))
        #expect(dup2(folder, number) == number)
        file.append("3\n")
        #expect(throws: IngestError.cannotRead(input: file.path, errno: EISDIR)) {
            try follower.step()
        }
        #expect(texts(try drain(&follower)) == ["3"])
    }

    /// The descriptor of this process that a file is open under.
    private func descriptor(of path: String) -> Int32? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        return (3..<4096).first { number in
            var other = stat()
            return fstat(number, &other) == 0 && other.st_ino == info.st_ino
                && other.st_dev == info.st_dev
        }
    }

    @Test func remainsThatMayNotBeReadAreNotPassedOver() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        let position = try #require(try first.step()?.resume)
        file.append("2\n")
        file.rename(to: "pump.csv.1")
        file.append("a\n3\n")
        let old = file.directory.file("pump.csv.1")
        chmod(file.directory.path, 0o755)
        chmod(old, 0)
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        for _ in 0..<2 {
            let refusal = asOrdinaryUser { Result { () throws(IngestError) in try second.step() } }
            #expect(throws: IngestError.cannotOpen(path: old, errno: EACCES)) {
                try refusal.get()
            }
        }
        chmod(old, 0o644)
        #expect(texts(try drain(&second)) == ["2", "3"])
    }

    @Test(arguments: [true, false])
    func emptiedFileIsReadOnThoughABackupMayNotBeRead(isListable: Bool) throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("id\n" + (0..<200).map { "\($0)\n" }.joined())
        #expect(try drain(&follower).flatMap(\.texts).count == 200)
        try file.copy(to: "pump.csv.backup")
        chmod(file.directory.path, isListable ? 0o755 : 0o711)
        chmod(file.directory.file("pump.csv.backup"), 0)
        file.append("200\n")
        file.truncate()
        file.append("id\n201\n")
        let batches = asOrdinaryUser { Result { try drain(&follower) } }
        #expect(texts(try batches.get()).suffix(1) == ["201"])
        chmod(file.directory.path, 0o755)
    }

    @Test func folderThatMayNotBeListedIsNotTakenForAnEmptyOne() throws {
        let file = try FollowedFile()
        var first = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        let position = try #require(try first.step()?.resume)
        file.append("2\n")
        file.rename(to: "pump.csv.1")
        file.append("a\n3\n")
        let folder = file.directory.path
        chmod(folder, 0o711)
        var second = FileFollower(
            path: file.path, format: .csv, resume: position, now: longAfter)
        let refusal = asOrdinaryUser { Result { () throws(IngestError) in try second.step() } }
        #expect(throws: IngestError.cannotOpen(path: folder + "/", errno: EACCES)) {
            try refusal.get()
        }
        chmod(folder, 0o755)
        #expect(texts(try drain(&second)) == ["2", "3"])
    }

    @Test func headerBehindALongLineIsFoundAgain() throws {
        let file = try FollowedFile()
        let format = FormatOptions.csv.with { $0.maxLineBytes = 100 }
        let long = String(repeating: "x", count: 101) + "\n"
        file.append(long + long + "a,b\n1,2\n")
        var first = FileFollower(path: file.path, format: format, now: longAfter)
        let position = try #require(try drain(&first).last?.resume)
        file.append("3,4\n")
        var second = FileFollower(
            path: file.path, format: format, resume: position, now: longAfter)
        let resumed = try #require(try second.step())
        #expect(resumed.header == Array("a,b".utf8))
        #expect(resumed.texts == ["3,4"])
    }

    @Test func folderThatMayNotBeEnteredAnyMoreIsToldOnceWhatIsOpenWasRead() throws {
        let file = try FollowedFile()
        var follower = FileFollower(path: file.path, format: .csv, now: longAfter)
        file.append("a\n1\n")
        #expect(texts(try drain(&follower)) == ["1"])
        file.append("2\n")
        file.rename(to: "pump.csv.1")
        file.append("a\n3\n")
        chmod(file.directory.path, 0)
        let read = asOrdinaryUser { Result { () throws(IngestError) in try follower.step() } }
        #expect(try read.get()?.texts == ["2"])
        for _ in 0..<2 {
            let refusal = asOrdinaryUser {
                Result { () throws(IngestError) in try follower.step() }
            }
            #expect(throws: IngestError.cannotOpen(path: file.path, errno: EACCES)) {
                try refusal.get()
            }
        }
        chmod(file.directory.path, 0o755)
        #expect(texts(try drain(&follower)) == ["3"])
    }
}
