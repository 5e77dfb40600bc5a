import Glibc
import Ingest
import Testing
import TestSupport

@Suite struct SpoolDirectoryTests {
    private let folder: TemporaryDirectory
    private let clock = TestClock()

    init() throws { folder = try TemporaryDirectory() }

    private func directory(
        resume: FilePosition? = nil, limits: BatchLimits = .init()
    ) -> SpoolDirectory {
        SpoolDirectory(
            folder: folder.path, format: .csv, resume: resume, limits: limits,
            uptime: { [clock] in clock.time })
    }

    private func has(_ name: String) -> Bool { access(folder.file(name), F_OK) == 0 }

    private func append(_ text: String, to name: String) {
        let descriptor = open(folder.file(name), O_WRONLY | O_CREAT | O_APPEND, 0o644)
        let bytes = Array(text.utf8)
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
    }

    /// Looks, and looks again when the files that are there have been quiet.
    private func settled(_ directory: inout SpoolDirectory) throws -> LineBatch? {
        if let batch = try directory.step() { return batch }
        clock.advance(by: SpoolDirectory.settleTime)
        return try next(&directory)
    }

    /// The next batch, however many looks it takes.
    private func next(_ directory: inout SpoolDirectory) throws -> LineBatch? {
        repeat {
            if let batch = try directory.step() { return batch }
        } while !directory.isIdle
        return nil
    }

    /// Takes and commits what there is.
    private func drain(_ directory: inout SpoolDirectory) throws -> [String] {
        var texts: [String] = []
        while let batch = try settled(&directory) {
            texts += batch.texts
            directory.didCommit(batch, faultCount: 0)
        }
        return texts
    }

    @Test func fileIsReadOnceItWasQuietWhateverItsTimeSays() throws {
        append("a\n1\n", to: "x.csv")
        // As a copy that keeps the time of the original.
        var times = [timeval(tv_sec: 1, tv_usec: 0), timeval(tv_sec: 1, tv_usec: 0)]
        #expect(utimes(folder.file("x.csv"), &times) == 0)
        var directory = self.directory()
        #expect(try directory.step() == nil)
        #expect(directory.isWaiting && directory.isIdle)
        clock.advance(by: .milliseconds(900))
        append("2\n", to: "x.csv")
        #expect(utimes(folder.file("x.csv"), &times) == 0)
        #expect(try directory.step() == nil)
        clock.advance(by: .milliseconds(900))
        #expect(try directory.step() == nil, "it has grown")
        clock.advance(by: .milliseconds(100))
        #expect(try next(&directory)?.texts == ["1", "2"])
    }

    @Test func whatIsWrittenBehindTheEndIsReadBeforeTheFileIsMoved() throws {
        append("a\n1\n", to: "x.csv")
        var directory = self.directory()
        #expect(try settled(&directory)?.texts == ["1"])
        let last = try #require(try next(&directory))
        #expect(last.isLast)
        append("2\n", to: "x.csv")
        directory.didCommit(last, faultCount: 0)
        #expect(has("x.csv"))
        let more = try #require(try next(&directory))
        #expect(more.texts == ["2"])
        #expect(more.header == Array("a".utf8))
        #expect(more.lines.first?.number == 3)
        #expect(more.input != last.input)
        directory.didCommit(more, faultCount: 0)
        let end = try #require(try next(&directory))
        #expect(end.isLast)
        directory.didCommit(end, faultCount: 0)
        #expect(has("done/x.csv") && !has("x.csv"))
    }

    @Test func fileOfTheNameThatWasReadLastIsANewOne() throws {
        append("a\n1\n", to: "x.csv")
        var first = self.directory()
        var position: FilePosition?
        while let batch = try settled(&first) {
            position = batch.resume
            first.didCommit(batch, faultCount: 0)
        }
        #expect(has("done/x.csv"))
        append("a\n2", to: "x.csv")
        var second = self.directory(resume: position)
        #expect(try second.step() == nil, "it may still be written")
        append("2\n", to: "x.csv")
        #expect(try second.step() == nil)
        #expect(try drain(&second) == ["22"])
        #expect(has("done/x.csv.1"))
    }

    @Test func fileThatWasReadAndNotMovedIsMovedAndNotReadAgain() throws {
        append("a\n1\n2\n", to: "x.csv")
        var first = self.directory()
        var position: FilePosition?
        while let batch = try settled(&first), position == nil || !batch.isLast {
            position = batch.resume
        }
        append("a\n3\n", to: "y.csv")
        var second = self.directory(resume: position)
        #expect(try drain(&second) == ["3"])
        #expect(has("done/x.csv") && has("done/y.csv"))
    }

    @Test func fileThatMayNotBeReadHoldsUpNoOther() throws {
        append("a\n1\n", to: "a.csv")
        append("a\n2\n", to: "b.csv")
        chmod(folder.file("a.csv"), 0)
        chmod(folder.path, 0o777)
        asOrdinaryUser {
            do {
                var directory = self.directory()
                #expect(try drain(&directory) == ["2"])
                #expect(
                    directory.problem == .cannotOpen(path: folder.file("a.csv"), errno: EACCES))
                #expect(directory.isIdle && directory.backlogBytes == 0)
            } catch {
                Issue.record(error)
            }
        }
        var directory = self.directory()
        chmod(folder.file("a.csv"), 0o644)
        #expect(try drain(&directory) == ["1"])
        #expect(directory.problem == nil)
    }

    /// Reads the first of two records of a file, and takes the right to read the file away.
    private func beginOnly(_ name: String) throws -> FilePosition? {
        append("a\n1\n2\n", to: name)
        var first = self.directory(limits: .init(lines: 1, bytes: 1 << 20))
        let begun = try #require(try settled(&first))
        #expect(begun.texts == ["1"])
        append("a\n3\n", to: "b.csv")
        chmod(folder.file(name), 0)
        return begun.resume
    }

    @Test func begunFileThatMayNotBeReadAnyMoreGoesToFailedWithItsReason() throws {
        let position = try beginOnly("a.csv")
        chmod(folder.path, 0o777)
        asOrdinaryUser {
            var directory = self.directory(resume: position)
            let reason = IngestError.cannotOpen(path: folder.file("a.csv"), errno: EACCES)
            #expect(throws: reason) { try directory.step() }
            #expect(has("failed/a.csv") && !has("a.csv"))
            #expect(directory.failedCount == 1)
            do {
                #expect(try drain(&directory) == ["3"])
            } catch {
                Issue.record(error)
            }
        }
    }

    @Test func begunFileThatMayNotBeReadAndNotBeMovedHoldsUpNoOther() throws {
        let position = try beginOnly("a.csv")
        chmod(folder.path, 0o555)
        asOrdinaryUser {
            do {
                var directory = self.directory(resume: position)
                #expect(try settled(&directory)?.texts == ["3"])
                guard case .cannotWrite? = directory.problem else {
                    Issue.record("\(String(describing: directory.problem))")
                    return
                }
            } catch {
                Issue.record(error)
            }
        }
        chmod(folder.path, 0o755)
    }

    @Test func fileThatGivesErrorsHoldsUpNoOther() throws {
        // Reading the memory of a process at 0 is an input/output error, as reading a damaged disk is.
        #expect(symlink("/proc/self/mem", folder.file("a.csv")) == 0)
        append("a\n2\n", to: "b.csv")
        var directory = self.directory()
        #expect(try drain(&directory) == ["2"])
        #expect(directory.problem == .cannotRead(input: folder.file("a.csv"), errno: EIO))
        #expect(directory.isIdle)
        unlink(folder.file("a.csv"))
        append("a\n1\n", to: "a.csv")
        #expect(try drain(&directory) == ["1"])
        #expect(directory.problem == nil)
        #expect(directory.failedCount == 0)
    }

    /// Gives the first of two records of a file, and then errors where the second is read.
    private func directoryWithABegunFile() throws -> SpoolDirectory {
        append("a\n1\n2\n", to: "a.csv")
        var directory = self.directory(limits: .init(lines: 1, bytes: 1 << 20))
        let begun = try #require(try settled(&directory))
        #expect(begun.texts == ["1"])
        directory.didCommit(begun, faultCount: 0)
        append("a\n3\n", to: "b.csv")
        let path = folder.file("a.csv")
        let memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC)
        defer { close(memory) }
        let number = try #require(
            (0..<1_024).first { number in
                var target = [UInt8](repeating: 0, count: 4_096)
                let count = readlink("/proc/self/fd/\(number)", &target, target.count)
                return count > 0 && String(decoding: target[..<count], as: UTF8.self) == path
            })
        #expect(dup2(memory, Int32(number)) == number)
        for _ in 0..<3 {
            #expect(try directory.step() == nil)
            #expect(directory.isStalled)
            #expect(directory.problem == .cannotRead(input: path, errno: EIO))
        }
        #expect(directory.isIdle)
        return directory
    }

    @Test func begunFileThatGivesErrorsIsReadOnOnceItDoesNot() throws {
        var directory = try directoryWithABegunFile()
        clock.advance(by: SpoolDirectory.leaveAloneFor)
        #expect(try drain(&directory) == ["2", "3"])
        #expect(directory.problem == nil && !directory.isStalled)
        #expect(has("done/a.csv") && has("done/b.csv"))
        #expect(directory.failedCount == 0)
    }

    @Test func begunFileThatGivesErrorsForAMinuteGoesToFailed() throws {
        var directory = try directoryWithABegunFile()
        // As long as somebody may write and has a lease, the file cannot be opened.
        signal(SIGIO, SIG_IGN)
        let writer = open(folder.file("a.csv"), O_RDWR | O_CLOEXEC)
        defer { close(writer) }
        // F_SETLEASE, which Glibc's module leaves out.
        #expect(fcntl(writer, 1_024, Int32(F_WRLCK)) == 0)
        var time = Duration.zero
        while time + SpoolDirectory.leaveAloneFor < SpoolDirectory.retryFor {
            clock.advance(by: SpoolDirectory.leaveAloneFor)
            time += SpoolDirectory.leaveAloneFor
            #expect(try directory.step() == nil)
            #expect(directory.isStalled && directory.failedCount == 0)
        }
        clock.advance(by: SpoolDirectory.leaveAloneFor)
        let reason = IngestError.cannotOpen(path: folder.file("a.csv"), errno: EAGAIN)
        #expect(throws: reason) { try directory.step() }
        #expect(has("failed/a.csv") && !has("a.csv"))
        #expect(directory.failedCount == 1)
        #expect(try drain(&directory) == ["3"])
    }

    @Test func fileThatCannotBeMovedToFailedIsGivenOnce() throws {
        append("x\n1\n", to: "a.csv")
        append("a\n2\n", to: "b.csv")
        chmod(folder.path, 0o555)
        asOrdinaryUser {
            do {
                var directory = self.directory()
                #expect(try settled(&directory)?.texts == ["1"])
                directory.fail()
                #expect(directory.failedCount == 1)
                guard case .cannotWrite? = directory.problem else {
                    Issue.record("\(String(describing: directory.problem))")
                    return
                }
                #expect(try next(&directory)?.texts == ["2"], "the others are read")
                directory.fail()
                for _ in 0..<5 {
                    clock.advance(by: SpoolDirectory.leaveAloneFor)
                    #expect(try directory.step() == nil)
                    #expect(directory.isIdle)
                }
            } catch {
                Issue.record(error)
            }
        }
        chmod(folder.path, 0o755)
    }

    @Test func longLineIsReadInSeveralLooks() throws {
        append("a\n", to: "x.csv")
        append(String(repeating: "1", count: 2 << 20), to: "x.csv")
        var directory = self.directory()
        #expect(try directory.step() == nil)
        clock.advance(by: SpoolDirectory.settleTime)
        var looks = 0
        while try directory.step() == nil, !directory.isIdle { looks += 1 }
        #expect(looks >= 4, "so that a stop is heard between two of them")
    }

    @Test func placeIsKeptWhileTheFolderMayNotBePassedThrough() throws {
        append("a\n1\n2\n", to: "a.csv")
        var first = self.directory(limits: .init(lines: 1, bytes: 1 << 20))
        let begun = try #require(try settled(&first))
        chmod(folder.path, 0o644)
        for position in [begun.resume, nil] {
            let refusal = asOrdinaryUser {
                var directory = self.directory(resume: position)
                return Result { () throws(IngestError) in try directory.step() }
            }
            let path = position?.path ?? folder.file(".")
            #expect(throws: IngestError.cannotOpen(path: path, errno: EACCES)) {
                try refusal.get()
            }
        }
        chmod(folder.path, 0o755)
        var second = self.directory(resume: begun.resume)
        #expect(try drain(&second) == ["2"])
    }
}
