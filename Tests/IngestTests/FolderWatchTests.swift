import Dispatch
import Glibc
import Ingest
import Testing
import TestSupport

@Suite struct FolderWatchTests {
    private let directory: TemporaryDirectory
    private let watch: FolderWatch

    init() throws {
        directory = try TemporaryDirectory()
        watch = FolderWatch(
            pollInterval: .milliseconds(10), queue: DispatchQueue(label: "folder watch"))
        watch.watch([directory.path + "/": ["pump"]])
    }

    /// How long a wait takes.
    private func wait() async -> Duration {
        let begin = ContinuousClock.now
        await watch.wait()
        return .now - begin
    }

    @Test func otherFilesOfTheFolderEndNoWait() async throws {
        #expect(watch.mode == "inotify")
        async let took = wait()
        for number in 0..<20 {
            try directory.write("\(number)", to: "other.csv")
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(await took >= FolderWatch.longest)
    }

    @Test func changesOfOnesOwnFileAreHeardInBursts() async throws {
        let writer = Task { [directory] in
            while !Task.isCancelled {
                try directory.write("1", to: "pump.csv")
                await Task.yield()
            }
        }
        let begin = ContinuousClock.now
        let count = 20
        for _ in 0..<count { _ = await wait() }
        let took = ContinuousClock.now - begin
        writer.cancel()
        try await writer.value
        // The first two had come before there was a rest.
        #expect(took >= .milliseconds(10) * (count - 2))
    }

    @Test func folderThatIsMadeAnewIsWatchedAgain() async throws {
        let folder = directory.file("in")
        mkdir(folder, 0o755)
        watch.watch([folder + "/": ["pump"]])
        #expect(watch.mode == "inotify")
        rmdir(folder)
        // The end of the folder is news.
        await watch.wait()
        watch.watch([folder + "/": ["pump"]])
        #expect(watch.mode == "polling")
        mkdir(folder, 0o755)
        watch.watch([folder + "/": ["pump"]])
        #expect(watch.mode == "inotify")
    }

    @Test func fileIsFollowedByLookingWhereTheSystemTellsNothing() async throws {
        await #expect(processExitsWith: .success) {
            let file = try FollowedFile()
            var limit = rlimit(rlim_cur: 200, rlim_max: 200)
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            var held: [Int32] = []
            while case let next = open("/dev/null", O_RDONLY), next >= 0 { held.append(next) }
            let source = FileSource(
                path: file.path, format: .csv, pollInterval: .milliseconds(20))
            for number in held { close(number) }
            file.append("a\n1\n")
            let first = try await source.next()
            async let second = source.next()
            try await Task.sleep(for: .milliseconds(50))
            file.append("2\n")
            let texts = try await (first?.texts ?? []) + (second?.texts ?? [])
            let isRight = texts == ["1", "2"] && source.watchMode() == "polling"
            // Nothing is released on the way out.
            unlink(file.path)
            rmdir(file.directory.path)
            exit(isRight ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }
}
