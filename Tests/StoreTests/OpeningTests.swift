import Foundation
import GRDB
import Store
import TestSupport
import Testing

struct OpeningTests {
    let place: StoreFolder

    init() throws {
        place = try StoreFolder()
    }

    /// What opening the place's file throws.
    private func problem(_ path: String? = nil) -> StoreError? {
        do throws(StoreError) {
            try StateStore(path: path ?? place.path).close()
            return nil
        } catch {
            return error
        }
    }

    @Test func fileOfSchema1OpensWithEverythingInIt() throws {
        let fixture = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/schema-1.sqlite")
        if !FileManager.default.fileExists(atPath: fixture.path) {
            try Self.record(fixture)
            Issue.record("recorded \(fixture.lastPathComponent): look at it, commit it, run again")
        }
        try FileManager.default.copyItem(
            at: fixture, to: URL(fileURLWithPath: place.path))
        let store = try StateStore(path: place.path, at: Example.time + 60)
        #expect(try store.streams() == [Example.stream])
        #expect(try store.checkpoint(stream: Example.stream) == Example.checkpoint())
        #expect(
            try store.anomalies(after: 0, limit: 9).map(\.anomaly) == [
                Example.anomaly(model: 1), Example.anomaly(model: 1, offset: 104_266),
            ])
        #expect(try store.episodes(stream: Example.stream, limit: 9) == [Example.episode()])
        #expect(try store.servingModel(stream: Example.stream)?.file == Example.model(id: 1).file)
        #expect(try store.models(stream: Example.stream).map(\.state) == [.rejected, .serving])
        #expect(try store.currentThreshold(stream: Example.stream)?.logLikelihood == -18.2)
        let fits = try store.fits(stream: Example.stream, limit: 9)
        #expect(fits.map(\.state) == [.interrupted, .accepted])
        #expect(fits.first?.endedAt == Example.time + 60)
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, episodes: [Example.episode(89)],
                anomalies: [Example.anomaly(model: 1, episode: 89)]))
        #expect(try store.newestAnomalyID() == 3)
    }

    /// Writes a file of the present schema; the fixtures of former schemas are never written again.
    private static func record(_ fixture: URL) throws {
        let place = try StoreFolder()
        let store = try place.open()
        _ = try store.commit(Example.commit(.new(Example.model(id: 1)), id: 1))
        _ = try store.insertModel(Example.model(state: .rejected))
        let fit = FitRow(
            stream: Example.stream, state: .running, trigger: "first", queuedAt: Example.time)
        try store.finishFit(
            id: try store.beginFit(fit),
            FitOutcome(state: .accepted, endedAt: Example.time, model: 1, message: "first"))
        _ = try store.beginFit(fit)
        try store.close()
        try FileManager.default.copyItem(
            at: URL(fileURLWithPath: place.path), to: fixture)
    }

    @Test func newerSchemaIsRefusedAndLeftAlone() throws {
        try place.open().close()
        try place.outside { try $0.execute(sql: "PRAGMA user_version = 7") }
        let before = try Data(contentsOf: URL(fileURLWithPath: place.path))
        let error = try #require(problem())
        #expect(
            error.description
                == "store \(place.path) has schema 7, this build reads up to 3")
        #expect(
            error.hint == """
                run the flowguardd that wrote it or a later one, or restore a copy made before \
                the upgrade
                """)
        #expect(try Data(contentsOf: URL(fileURLWithPath: place.path)) == before)
    }

    @Test(arguments: ["x", "time,pressure\n1,2\n", String(repeating: "no database ", count: 500)])
    func fileOfAnotherKindIsRefusedAndLeftAlone(text: String) throws {
        try place.folder.write(text, to: "flowguard.sqlite")
        let error = try #require(problem())
        #expect(
            error.description
                == "store \(place.path): expected an SQLite database, found another kind of file")
        #expect(try String(contentsOfFile: place.path, encoding: .utf8) == text)
    }

    @Test func databaseOfAnotherProgramIsRefusedAndLeftAlone() throws {
        try place.outside { try $0.execute(sql: "CREATE TABLE songs (title TEXT)") }
        let error = try #require(problem())
        #expect(
            error.description == """
                store \(place.path): expected a flowguard store, found another program's database
                """)
        #expect(
            try place.outside { try String.fetchOne($0, sql: "PRAGMA journal_mode") } == "delete")
    }

    @Test func damagedFileIsNamed() throws {
        try place.open().close()
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: place.path))
        let size = Int(try handle.seekToEnd())
        try handle.seek(toOffset: 100)
        try handle.write(contentsOf: Data(repeating: 0xA5, count: size - 100))
        try handle.close()
        let error = try #require(problem())
        #expect(
            error.description == """
                store \(place.path) is damaged: database disk image is malformed
                """)
    }

    @Test func commitWaitsForTheDisk() throws {
        #expect(try place.open().synchronousLevel() == 2)
    }

    @Test func emptyFileBecomesAStore() throws {
        try place.folder.write("", to: "flowguard.sqlite")
        #expect(problem() == nil)
    }

    @Test func folderThatIsNotThereIsNamed() throws {
        let path = place.folder.file("nowhere/flowguard.sqlite")
        #expect(
            problem(path)?.description == """
                store \(path): the file and its folder must be writable: No such file or directory
                """)
    }

    @Test func folderThatIsAFileIsNamed() throws {
        try place.folder.write("", to: "state")
        let path = place.folder.file("state/flowguard.sqlite")
        #expect(
            problem(path)?.description == """
                store \(path): the file and its folder must be writable: Not a directory
                """)
    }

    @Test(.enabled(if: geteuid() != 0, "the superuser may write everywhere"))
    func folderThatCannotBeWrittenIsNamed() throws {
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o500], ofItemAtPath: place.folder.path)
        #expect(
            problem()?.description == """
                store \(place.path): the file and its folder must be writable: Permission denied
                """)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o700], ofItemAtPath: place.folder.path)
    }

    @Test func aClosedStoreIsOneFile() throws {
        let store = try place.open()
        _ = try store.commit(Example.commit(.new(Example.model()), id: 1))
        #expect(try store.streams() == [Example.stream], "a reader is open too")
        try store.close()
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: place.folder.path)
                == ["flowguard.sqlite"])
        let copy = try StoreFolder()
        try FileManager.default.copyItem(atPath: place.path, toPath: copy.path)
        #expect(try StateStore(path: copy.path).checkpoint(stream: Example.stream) != nil)
    }

    @Test(.timeLimit(.minutes(1))) func aStoreThatAnotherReadsSaysThatItsLogStays() throws {
        let store = try place.open()
        let reader = try DatabaseQueue(path: place.path)
        try reader.inDatabase { database in
            try database.execute(sql: "BEGIN; SELECT count(*) FROM streams")
            try store.registerStream("other", at: Example.time)
            #expect(throws: StoreError.busy(path: place.path, waitedSecs: 5)) { try store.close() }
            try database.execute(sql: "ROLLBACK")
        }
        #expect(throws: StoreError.self) { try store.streams() }
        #expect(try StateStore(path: place.path).streams() == ["other", Example.stream])
    }

    /// The files as a killed process leaves them: nothing was closed, and the log beside the file holds the commits.
    @Test func commitsSurviveAKill() throws {
        let store = try place.open()
        let model = try store.insertModel(Example.model())
        for offset in 1...50 {
            _ = try store.commit(
                StreamCommit(
                    stream: Example.stream, episodes: [Example.episode()],
                    anomalies: [Example.anomaly(model: model, offset: Int64(offset))],
                    checkpoint: Example.checkpoint(offset: Int64(offset))))
        }
        let left = try StoreFolder()
        for suffix in ["", "-wal"] {
            try FileManager.default.copyItem(
                atPath: place.path + suffix, toPath: left.path + suffix)
        }
        try store.close()
        let reopened = try StateStore(path: left.path)
        #expect(try reopened.checkpoint(stream: Example.stream)?.position?.offset == 50)
        #expect(try reopened.anomalyCount(stream: Example.stream) == 50)
        #expect(try reopened.anomalies(after: 49, limit: 9).map(\.anomaly.sourceOffset) == [50])
    }
}
