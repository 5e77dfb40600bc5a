import GRDB
import Store
import Testing

struct StateStoreTests {
    let place: StoreFolder
    let store: StateStore

    init() throws {
        place = try StoreFolder()
        store = try place.open()
    }

    @Test func commitComesBackWhole() throws {
        let id = try store.reserveModelID(stream: Example.stream)
        let ids = try store.commit(Example.commit(.new(Example.model(id: id)), id: id))
        #expect(ids == [1, 2])
        #expect(try store.checkpoint(stream: Example.stream) == Example.checkpoint())
        #expect(
            try store.anomalies(after: 0, limit: 10) == [
                AnomalyRow(
                    id: 1, stream: Example.stream, anomaly: Example.anomaly(model: id),
                    beginsEpisode: true),
                AnomalyRow(
                    id: 2, stream: Example.stream,
                    anomaly: Example.anomaly(model: id, offset: 104_266)),
            ])
        #expect(try store.episodes(stream: Example.stream, limit: 10) == [Example.episode()])
        let model = try #require(try store.servingModel(stream: Example.stream))
        #expect(model.id == id)
        #expect(model.activatedAt == Example.time)
        #expect(model.reason == "first model")
        let threshold = try #require(try store.currentThreshold(stream: Example.stream))
        #expect(threshold.model == id)
        #expect(threshold.upperLogLikelihood == 9.5)
        #expect(threshold.validTo == nil)
    }

    @Test func checkpointOfASocketHasNoPosition() throws {
        var checkpoint = Example.checkpoint()
        checkpoint.position = nil
        _ = try store.commit(StreamCommit(stream: Example.stream, checkpoint: checkpoint))
        #expect(try store.checkpoint(stream: Example.stream) == checkpoint)
        #expect(try store.checkpoint(stream: "other") == nil)
    }

    @Test func laterCommitReplacesCheckpointAndEpisode() throws {
        for offset in [Int64(10), 20] {
            _ = try store.commit(
                StreamCommit(
                    stream: Example.stream,
                    episodes: [Example.episode(count: Int(offset), isEnded: offset == 20)],
                    checkpoint: Example.checkpoint(offset: offset)))
        }
        #expect(try store.checkpoint(stream: Example.stream)?.position?.offset == 20)
        #expect(
            try store.episodes(stream: Example.stream, limit: 10) == [
                Example.episode(count: 20, isEnded: true)
            ])
        let episodes = try store.episodes(stream: Example.stream, limit: 10)
        #expect(episodes.first { $0.sequence == 88 }?.anomalyCount == 20)
        #expect(episodes.first { $0.sequence == 89 } == nil)
    }

    @Test func activationRetiresModelAndThresholdThatWere() throws {
        let first = try store.insertModel(Example.model())
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, activation: Example.activation(.existing(first))))
        let later = Example.time + 3_600
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream,
                activation: Example.activation(.new(Example.model()), at: later)))
        let models = try store.models(stream: Example.stream)
        #expect(models.map(\.state) == [.serving, .retired])
        #expect(models.last?.retiredAt == later)
        #expect(models.last?.reason == "replaced")
        let thresholds = try store.thresholds(stream: Example.stream, limit: 10)
        #expect(thresholds.map(\.validTo) == [nil, later])
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, activation: Example.activation(.existing(first))))
        #expect(try store.servingModel(stream: Example.stream)?.id == first)
        #expect(try store.servingModel(stream: Example.stream)?.retiredAt == nil)
    }

    @Test func activationOfAnotherStreamsModelIsRefused() throws {
        try store.registerStream("other", at: Example.time)
        let id = try store.insertModel(Example.model())
        #expect(throws: StoreError.unknownRow(path: place.path, table: "models", id: id)) {
            try store.commit(
                StreamCommit(stream: "other", activation: Example.activation(.existing(id))))
        }
    }

    @Test func thresholdSetByHandClosesTheOneBefore() throws {
        let id = try store.insertModel(Example.model(state: .serving))
        var row = Example.threshold()
        row.model = id
        _ = try store.commit(StreamCommit(stream: Example.stream, threshold: row))
        let former = try #require(try store.currentThreshold(stream: Example.stream))
        row.kind = .manual
        row.logLikelihood = -30
        row.upperLogLikelihood = nil
        row.validFrom += 5
        _ = try store.commit(StreamCommit(stream: Example.stream, threshold: row))
        row.id = former.id + 1
        #expect(try store.currentThreshold(stream: Example.stream) == row)
        #expect(
            try store.thresholds(stream: Example.stream, limit: 2).last?.validTo == row.validFrom)
        #expect(try store.thresholds(stream: Example.stream, limit: 1).count == 1)
    }

    @Test func thresholdChangesWithTheCheckpoint() throws {
        let id = try store.insertModel(Example.model(state: .serving))
        var row = Example.threshold()
        row.model = id
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, threshold: row, checkpoint: Example.checkpoint()))
        row.logLikelihood = -20
        row.validFrom += 60
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, threshold: row, checkpoint: Example.checkpoint(offset: 9)))
        #expect(try store.currentThreshold(stream: Example.stream)?.logLikelihood == -20)
        #expect(try store.thresholds(stream: Example.stream, limit: 9).count == 2)
        #expect(try store.servingModel(stream: Example.stream)?.activatedAt == nil)
    }

    @Test func reservedModelNumberIsGivenOnce() throws {
        let first = try store.reserveModelID(stream: Example.stream)
        let second = try store.reserveModelID(stream: Example.stream)
        #expect(second > first)
        #expect(try store.models(stream: Example.stream) == [])
        #expect(try store.insertModel(Example.model()) > second)
        #expect(try store.insertModel(Example.model(id: first)) == first)
        #expect(try store.model(id: first) == Example.model(id: first))
    }

    @Test func rejectedModelKeepsItsReason() throws {
        let id = try store.insertModel(Example.model(state: .rejected))
        try store.setModelState(
            id: id, state: .rejected, reason: "0.2 nats worse", at: Example.time)
        #expect(try store.model(id: id)?.reason == "0.2 nats worse")
        #expect(try store.model(id: id)?.retiredAt == nil)
        #expect(throws: StoreError.unknownRow(path: place.path, table: "models", id: 99)) {
            try store.setModelState(id: 99, state: .retired, reason: "", at: 0)
        }
    }

    @Test func servingModelCanBeTakenOutOfService() throws {
        let id = try store.insertModel(Example.model())
        _ = try store.commit(
            StreamCommit(stream: Example.stream, activation: Example.activation(.existing(id))))
        #expect(try store.currentThreshold(stream: Example.stream) != nil)
        try store.setModelState(
            id: id, state: .retired, reason: "its file is damaged", at: Example.time + 1)
        #expect(try store.servingModel(stream: Example.stream) == nil)
        #expect(try store.currentThreshold(stream: Example.stream) == nil)
        #expect(try store.model(id: id)?.retiredAt == Example.time + 1)
    }

    @Test func pruningSparesServingAndNewestModels() throws {
        let ids = try (0..<5).map { i in
            var model = Example.model(state: i == 0 ? .serving : .retired)
            model.file = "\(i)"
            return try store.insertModel(model)
        }
        #expect(try store.pruneModels(stream: Example.stream, keeping: 2) == ["2", "1"])
        #expect(
            try store.models(stream: Example.stream).map(\.file) == ["4", "3", nil, nil, "0"])
        #expect(try store.models(stream: Example.stream).map(\.id) == ids.reversed())
        #expect(try store.pruneModels(stream: Example.stream, keeping: 2) == [])
    }

    @Test func keysOfAStreamAreCommittedWithIt() throws {
        let id = try store.reserveModelID(stream: Example.stream)
        _ = try store.commit(Example.commit(.new(Example.model(id: id)), id: id))
        func part(_ key: String, offset: Int64, records: Int64) -> StreamCommit {
            var checkpoint = Example.checkpoint()
            checkpoint.recordsTotal = records
            var commit = StreamCommit(
                stream: Example.stream + "/" + key,
                anomalies: [Example.anomaly(model: id, offset: offset, episode: nil)],
                checkpoint: checkpoint)
            commit.isNew = true
            return commit
        }
        // Numbered in the order of the source, whichever key they are of.
        let ids = try store.commit([
            part("b", offset: 900, records: 7), part("a/1", offset: 800, records: 8),
        ])
        #expect(ids == [[4], [3]])
        #expect(
            try store.keys(stream: Example.stream).map { [$0.name, "\($0.recordsTotal)"] } == [
                ["pump-7/a/1", "8"], ["pump-7/b", "7"],
            ])
        #expect(try store.modelledKeyCount(stream: Example.stream) == 0)
        // A stream whose name begins alike has nothing to do with it.
        try store.registerStream("pump-70", at: Example.time)
        _ = try store.commit(
            StreamCommit(
                stream: "pump-70", anomalies: [Example.anomaly(model: id, offset: 1, episode: nil)])
        )
        #expect(
            try store.anomalies(stream: Example.stream, withKeys: true, after: 2, limit: 9)
                .map(\.stream) == ["pump-7/a/1", "pump-7/b"])
        #expect(try store.latestAnomalies(stream: Example.stream, count: 9).count == 2)
        #expect(
            try store.latestAnomalies(stream: Example.stream, withKeys: true, count: 9).count == 4)
        #expect(try store.anomalyCount(stream: Example.stream, withKeys: true) == 4)
        #expect(try store.anomalyCount(stream: Example.stream + "/b") == 1)
    }

    @Test func ofPartsOneOfWhichIsRefusedNothingIsStored() throws {
        var known = StreamCommit(stream: Example.stream, checkpoint: Example.checkpoint())
        known.anomalies = []
        #expect(throws: StoreError.self) {
            try store.commit([known, StreamCommit(stream: Example.stream + "/b")])
        }
        #expect(try store.checkpoint(stream: Example.stream) == nil)
    }

    @Test func anomaliesAreFoundByNumberStreamAndTime() throws {
        try store.registerStream("other", at: Example.time)
        let model = try store.insertModel(Example.model())
        for i in 0..<6 {
            var anomaly = Example.anomaly(model: model, offset: Int64(i), episode: nil)
            anomaly.detectedAt += Double(i)
            _ = try store.commit(
                StreamCommit(
                    stream: i.isMultiple(of: 2) ? Example.stream : "other", anomalies: [anomaly]))
        }
        #expect(try store.anomalies(after: 2, limit: 3).map(\.id) == [3, 4, 5])
        #expect(try store.anomalies(stream: "other", after: 2, limit: 9).map(\.id) == [4, 6])
        #expect(try store.latestAnomalies(count: 2).map(\.id) == [5, 6])
        #expect(try store.latestAnomalies(stream: Example.stream, count: 2).map(\.id) == [3, 5])
        #expect(try store.anomaly(id: 4)?.stream == "other")
        #expect(try store.anomaly(id: 7) == nil)
        #expect(try store.newestAnomalyID() == 6)
        #expect(try store.anomalyCount() == 6)
        #expect(try store.anomalyCount(since: Example.time + 4) == 2)
        #expect(try store.anomalyCount(stream: "other", since: Example.time + 4) == 1)
    }

    @Test func fitGoesFromQueueToOutcome() throws {
        var fit = FitRow(
            stream: Example.stream, state: .queued, trigger: "requested", queuedAt: Example.time)
        fit.id = try store.beginFit(fit)
        #expect(try store.fits(stream: Example.stream, limit: 9) == [fit])
        try store.startFit(id: fit.id, at: Example.time + 1)
        let model = try store.insertModel(Example.model())
        try store.finishFit(
            id: fit.id,
            FitOutcome(
                state: .accepted, endedAt: Example.time + 9, recordCount: 2_000, model: model,
                heldOutLogLikelihood: -3.5, message: "0.1 nats better"))
        fit.state = .accepted
        fit.startedAt = Example.time + 1
        fit.endedAt = Example.time + 9
        fit.recordCount = 2_000
        fit.model = model
        fit.heldOutLogLikelihood = -3.5
        fit.message = "0.1 nats better"
        #expect(try store.fits(stream: Example.stream, limit: 9) == [fit])
        #expect(fit.state.isEnded)
        #expect(throws: StoreError.unknownRow(path: place.path, table: "fits", id: 9)) {
            try store.startFit(id: 9, at: 0)
        }
    }

    @Test func streamThatWasNeverRegisteredIsRefused() throws {
        #expect(throws: StoreError.unknownStream(path: place.path, stream: "nobody")) {
            try store.commit(StreamCommit(stream: "nobody", checkpoint: Example.checkpoint()))
        }
        #expect(try store.streams() == [Example.stream])
    }

    /// NaN becomes NULL in SQLite, and a column that refuses NULL would stop the stream for good.
    @Test func numbersThatSQLiteCannotHoldAreBounded() throws {
        let model = try store.insertModel(Example.model())
        var anomaly = Example.anomaly(model: model, episode: nil)
        anomaly.logLikelihood = -.infinity
        anomaly.pValue = .nan
        anomaly.recordTime = 1e300
        anomaly.reasons[0].contribution = .infinity
        anomaly.reasons[0].value = .number(.nan)
        let ids = try store.commit(StreamCommit(stream: Example.stream, anomalies: [anomaly]))
        let stored = try #require(try store.anomaly(id: ids[0])?.anomaly)
        #expect(stored.logLikelihood == -Double.greatestFiniteMagnitude)
        #expect(stored.pValue == 0)
        #expect(stored.recordTime == 253_402_300_799)
        #expect(stored.reasons[0].contribution == Double.greatestFiniteMagnitude)
    }

    @Test func outsiderReadsTheFileWhileTheStoreIsOpen() throws {
        let model = try store.insertModel(Example.model())
        _ = try store.commit(
            StreamCommit(
                stream: Example.stream, episodes: [Example.episode()],
                anomalies: [Example.anomaly(model: model)], checkpoint: Example.checkpoint()))
        try place.outside { database in
            let row = try #require(
                try Row.fetchOne(
                    database,
                    sql: """
                        SELECT stream, record_time, source, source_offset, log_likelihood,
                            p_value, threshold, model, episode, reasons, detected_at_utc
                        FROM anomalies
                        """))
            #expect(row["stream"] == "pump-7")
            #expect(row["record_time"] == "2020-03-09T12:14:36.000Z")
            #expect(row["detected_at_utc"] == "2025-11-23T22:24:05.120Z")
            #expect(row["source_offset"] == 104_233)
            #expect(row["log_likelihood"] == -41.72)
            #expect(row["episode"] == 88)
            #expect(
                row["reasons"] == """
                    [{"contribution":19.4,"expected":4.3,"name":"pressure","value":9.1},\
                    {"contribution":0,"expected":0.3,"name":"flow \\"in\\"",\
                    "value":0.3333333333333333}]
                    """)
            #expect(try String.fetchOne(database, sql: "PRAGMA journal_mode") == "wal")
        }
    }

    @Test func placesInFilesAreKeptByFileNotByName() throws {
        func position(_ path: String, inode: UInt64, offset: Int64) -> SourcePosition {
            SourcePosition(
                path: path, device: .max - 1, inode: inode, prefixHash: "9f", prefixLength: 10,
                offset: offset, lineNumber: 2)
        }
        let commits = [
            position("/a.csv", inode: 1, offset: 10), position("/b.csv", inode: 2, offset: 20),
            position("/a.csv", inode: 3, offset: 30), position("/a-1.csv", inode: 1, offset: 40),
        ]
        for file in commits {
            _ = try store.commit(StreamCommit(stream: Example.stream, file: file))
        }
        #expect(try store.sourceFiles(stream: Example.stream) == Array(commits.dropFirst()))
        #expect(try store.sourceFiles(stream: "other").isEmpty)
    }

    @Test func placesInFilesDoNotGrowForEver() throws {
        let limit = StateStore.sourceFileLimit
        try place.outside { database in
            for inode in 1...limit {
                try database.execute(
                    sql: "INSERT INTO source_files VALUES (?, '/a', 1, ?, '', 0, 0, 0, NULL)",
                    arguments: [Example.stream, inode])
            }
        }
        let file = SourcePosition(
            path: "/b", device: 1, inode: UInt64(limit) + 1, prefixHash: "", prefixLength: 0,
            offset: 0, lineNumber: 0)
        _ = try store.commit(StreamCommit(stream: Example.stream, file: file))
        let files = try store.sourceFiles(stream: Example.stream)
        #expect(files.count == limit)
        #expect(files.first?.inode == 2)
        #expect(files.last == file)
    }

    @Test func schemaIsTheOneThatIsDocumented() throws {
        try place.outside { database in
            let tables = try String.fetchAll(
                database,
                sql: """
                    SELECT name FROM sqlite_master WHERE type = 'table'
                    AND name NOT LIKE 'sqlite_%' ORDER BY name
                    """)
            #expect(
                tables == [
                    "anomalies", "checkpoints", "episodes", "fits", "grdb_migrations", "labels",
                    "models", "source_files", "streams", "thresholds",
                ])
            let columns = try String.fetchAll(
                database, sql: "SELECT name FROM pragma_table_info('thresholds')")
            #expect(
                columns == [
                    "id", "stream", "model", "kind", "log_likelihood", "upper_log_likelihood",
                    "probability", "valid_from_utc", "valid_to_utc", "reason",
                ])
            #expect(
                try Int.fetchOne(database, sql: "PRAGMA user_version")
                    == StateStore.schemaVersion)
        }
    }
}
