import GRDB
import Store
import Testing

/// Whatever fails, a transaction is there whole or not at all, and the store goes on.
struct FailureTests {
    let place: StoreFolder

    init() throws {
        place = try StoreFolder()
    }

    /// Makes the n-th row that is written from now on fail, whatever its table.
    private func failWrite(_ n: Int) throws {
        try place.outside { database in
            try database.execute(
                sql: "CREATE TABLE countdown (left INTEGER); INSERT INTO countdown VALUES (\(n))")
            let tables = ["models", "thresholds", "episodes", "anomalies", "fits", "checkpoints"]
            for table in tables {
                for event in ["INSERT", "UPDATE", "DELETE"] {
                    try database.execute(
                        sql: """
                            CREATE TRIGGER fail_\(event)_\(table) BEFORE \(event) ON \(table) BEGIN
                                UPDATE countdown SET left = left - 1;
                                SELECT RAISE(ABORT, 'this write fails') FROM countdown
                                WHERE left = 0;
                            END
                            """)
                }
            }
        }
    }

    /// A transaction of the store, on a stream that has a serving model 1 and a running fit 1.
    struct Transaction: Sendable, CustomTestStringConvertible {
        var name: String
        var run: @Sendable (StateStore) throws -> Void
        var testDescription: String { name }
    }

    static let transactions = [
        Transaction(name: "commit") { store in
            _ = try store.commit(Example.commit(.new(Example.model()), id: 1))
        },
        Transaction(name: "reserveModelID") { store in
            _ = try store.reserveModelID(stream: Example.stream)
        },
        Transaction(name: "pruneModels") { store in
            _ = try store.pruneModels(stream: Example.stream, keeping: 0)
        },
        Transaction(name: "commit of a threshold") { store in
            var threshold = Example.threshold()
            threshold.model = 1
            _ = try store.commit(StreamCommit(stream: Example.stream, threshold: threshold))
        },
        Transaction(name: "finishFit") { store in
            try store.finishFit(
                id: 1, FitOutcome(state: .failed, endedAt: Example.time, message: "no"))
        },
    ]

    @Test(arguments: transactions)
    func failureOfAnyWriteLeavesNothingHalfDone(transaction: Transaction) throws {
        var failures = 0
        for n in 1...100 {
            let place = try StoreFolder()
            let test = try FailureTests(place: place)
            let store = try place.open()
            _ = try store.commit(Example.commit(.new(Example.model()), id: 1))
            for _ in 0..<2 { _ = try store.insertModel(Example.model()) }
            _ = try store.beginFit(
                FitRow(
                    stream: Example.stream, state: .running, trigger: "first",
                    queuedAt: Example.time))
            let before = try place.contents()
            try test.failWrite(n)
            do {
                try transaction.run(store)
                #expect(try place.contents() != before || transaction.name == "reserveModelID")
                break
            } catch let error as StoreError {
                failures += 1
                #expect("\(error)".hasSuffix(": this write fails"))
                #expect(try place.contents() == before, "write \(n)")
            }
            // The countdown went back to n with everything else; without it the same call goes through.
            try place.outside { try $0.execute(sql: "UPDATE countdown SET left = -1") }
            try transaction.run(store)
        }
        #expect(failures > 0 && failures < 100)
    }

    private init(place: StoreFolder) throws {
        self.place = place
    }

    @Test func fullDiskUndoesTheCommitAndIsNamed() throws {
        let pages = try {
            let store = try place.open()
            _ = try store.insertModel(Example.model())
            try store.close()
            return try place.outside { try Int.fetchOne($0, sql: "PRAGMA page_count") ?? 0 }
        }()
        let store = try place.open(pageLimit: pages + 4)
        var committed = 0
        var problem: StoreError?
        while problem == nil, committed < 1_000 {
            let offset = Int64(committed)
            let many = (0..<7).map { Example.anomaly(model: 1, offset: offset * 7 + $0) }
            do throws(StoreError) {
                _ = try store.commit(
                    StreamCommit(
                        stream: Example.stream, episodes: [Example.episode()], anomalies: many,
                        checkpoint: Example.checkpoint(offset: offset + 1)))
                committed += 1
            } catch {
                problem = error
            }
        }
        let error = try #require(problem)
        #expect(
            error.description
                == "store \(place.path): no room to write, the disk is full; nothing was half-done")
        #expect(error.hint == "free some space; the daemon goes on by itself")
        #expect(committed > 0)
        #expect(
            try store.checkpoint(stream: Example.stream)?.position?.offset == Int64(committed))
        #expect(try store.anomalyCount(stream: Example.stream) == 7 * committed)
        // The same store writes again once there is room: here, once something is deleted.
        try place.outside { try $0.execute(sql: "DELETE FROM anomalies WHERE id < 8") }
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, checkpoint: Example.checkpoint(offset: 1_000)))
        #expect(try store.checkpoint(stream: Example.stream)?.position?.offset == 1_000)
    }

    @Test func newStoreOnAFullDiskIsNamed() throws {
        #expect(throws: StoreError.diskFull(path: place.path)) {
            try place.open(pageLimit: 3)
        }
        #expect(try place.open().streams() == [Example.stream])
    }

    @Test(.timeLimit(.minutes(1)))
    func lockOfAnotherProgramIsWaitedForAndNamed() throws {
        let store = try place.open()
        let queue = try DatabaseQueue(path: place.path)
        try queue.writeWithoutTransaction { database in
            try database.execute(sql: "BEGIN IMMEDIATE")
            #expect(throws: StoreError.busy(path: place.path, waitedSecs: 5)) {
                try store.registerStream("other", at: Example.time)
            }
            try database.execute(sql: "ROLLBACK")
        }
        try store.registerStream("other", at: Example.time)
        #expect(
            StoreError.busy(path: "x", waitedSecs: 5).description
                == "store x: another process has held its write lock for 5 s")
    }

    @Test(.timeLimit(.minutes(1)))
    func lockOfAnotherProgramIsNotWaitedForBeyondTheEnd() throws {
        let store = try place.open()
        let queue = try DatabaseQueue(path: place.path)
        try queue.writeWithoutTransaction { database in
            try database.execute(sql: "BEGIN IMMEDIATE")
            store.endWaiting(in: .zero)
            // That many waits of their full length would take half an hour.
            for _ in 0..<400 {
                #expect(throws: StoreError.self) {
                    try store.registerStream("other", at: Example.time)
                }
            }
            try database.execute(sql: "ROLLBACK")
        }
        try store.registerStream("other", at: Example.time)
    }
}
