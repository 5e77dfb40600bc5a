import Foundation
import GRDB
import Store
import Synchronization
import Testing

/// Commits that come at the same time are as if each had come alone.
struct CommitGroupTests {
    private let place: StoreFolder
    private let store: StateStore
    private static let rounds = 40

    init() throws {
        place = try StoreFolder()
        store = try place.open()
        _ = try store.insertModel(Example.model())
    }

    /// Commits of a stream one after the other: an anomaly and a checkpoint each.
    ///
    /// - Returns: What each was answered.
    private func commits(of stream: String) -> [Result<[Int64], StoreError>] {
        (0..<Self.rounds).map { round in
            Result { () throws(StoreError) in
                try store.commit(
                    StreamCommit(
                        stream: stream,
                        anomalies: [Example.anomaly(model: 1, offset: Int64(round), episode: nil)],
                        checkpoint: Example.checkpoint(offset: Int64(round))))
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func eachIsStoredOnceAndHearsOfItselfAlone() throws {
        let names = (0..<32).map { "stream-\($0)" }
        for name in names { try store.registerStream(name, at: Example.time) }
        let answers = Mutex<[String: [Result<[Int64], StoreError>]]>([:])
        let group = DispatchGroup()
        // While another program writes, all of them come together.
        try place.outside { database in
            try database.execute(sql: "BEGIN IMMEDIATE")
            for name in names + ["nobody"] {
                group.enter()
                Thread.detachNewThread {
                    let found = commits(of: name)
                    answers.withLock { $0[name] = found }
                    group.leave()
                }
            }
            Thread.sleep(forTimeInterval: 0.1)
            try database.execute(sql: "ROLLBACK")
        }
        group.wait()
        let all = answers.withLock(\.self)
        var numbers: Set<Int64> = []
        for name in names {
            let own = try #require(all[name]).map { try $0.get() }
            #expect(own.allSatisfy { $0.count == 1 })
            #expect(own.flatMap(\.self) == own.flatMap(\.self).sorted())
            numbers.formUnion(own.flatMap(\.self))
            #expect(try store.anomalyCount(stream: name) == Self.rounds)
            #expect(
                try store.checkpoint(stream: name)?.position?.offset == Int64(Self.rounds - 1))
        }
        #expect(numbers.count == names.count * Self.rounds)
        for answer in try #require(all["nobody"]) {
            #expect(throws: StoreError.unknownStream(path: place.path, stream: "nobody")) {
                try answer.get()
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func allOfThemHearThatTheFileIsLocked() throws {
        let names = (0..<8).map { "stream-\($0)" }
        for name in names { try store.registerStream(name, at: Example.time) }
        let busy = Mutex(0)
        let group = DispatchGroup()
        let began = ContinuousClock.now
        try place.outside { database in
            try database.execute(sql: "BEGIN IMMEDIATE")
            for name in names {
                group.enter()
                Thread.detachNewThread {
                    do throws(StoreError) {
                        _ = try store.commit(
                            StreamCommit(stream: name, checkpoint: Example.checkpoint()))
                    } catch {
                        if case .busy = error { busy.withLock { $0 += 1 } }
                    }
                    group.leave()
                }
            }
            group.wait()
            try database.execute(sql: "ROLLBACK")
        }
        #expect(busy.withLock(\.self) == names.count)
        // Together, and not one after the other: 5 seconds for the first, and for those who came meanwhile.
        #expect(ContinuousClock.now - began < .seconds(20))
    }
}
