import Foundation
import GRDB

/// The daemon's memory: one SQLite file with models, thresholds, anomalies, episodes, fits and checkpoints.
///
/// The file is in WAL mode: other programs may read it while the daemon writes. `synchronous` is FULL: each commit waits
/// until the write-ahead log is on the disk. NORMAL would be enough after `kill -9`, since what a process has written lives on
/// in the kernel; but when the power goes, NORMAL may forget the newest commits, and with them records that a
/// socket's client was told are taken. A batch commits once whatever its size, so that a busy stream pays for few waits; and
/// batches of several streams that wait at the same time are committed together (`CommitGroup`).
///
/// A failed write leaves nothing behind and closes nothing: the same call may be made again, for instance once the disk
/// has room.
///
/// Calls wait for the disk. They may come from any thread; writes take turns.
public final class StateStore: Sendable {
    /// The SQLite file.
    public let path: String
    private let pool: DatabasePool
    private let patience = LockPatience()
    let commits = CommitGroup()

    /// Readers at once; each has a page cache of its own.
    private static let readerLimit = 3

    /// The newest schema that this build reads.
    public static let schemaVersion = Migrations.newest

    /// Opens the file, makes it where there is none, and brings it to the newest schema.
    ///
    /// Fits that a crash cut off are marked `interrupted`.
    ///
    /// - Parameters:
    ///   - path: The file; its folder must be there.
    ///   - time: Now, in epoch seconds.
    /// - Throws: `newerSchema`, `notADatabase`, `foreignDatabase`, `notWritable`, `diskFull`, `busy`, `damaged`; the file
    ///   is left as it was.
    public convenience init(
        path: String, at time: Double = Date().timeIntervalSince1970
    ) throws(StoreError) {
        try self.init(path: path, at: time, pageLimit: nil)
    }

    /// - Parameter pageLimit: Pages that the file may have, for instance to see what a full disk does.
    package init(path: String, at time: Double, pageLimit: Int?) throws(StoreError) {
        self.path = path
        try Self.requireDatabase(at: path)
        do {
            try Self.requireOwnDatabase(at: path)
            pool = try DatabasePool(
                path: path, configuration: Self.configuration(patience, pageLimit))
            // Not in `prepareDatabase`: the pool sets its writer to NORMAL after that.
            try pool.writeWithoutTransaction { database in
                try database.execute(sql: "PRAGMA synchronous = FULL")
            }
            try Migrations.migrator.migrate(pool)
            try pool.write { database in
                try database.execute(
                    sql: """
                        UPDATE fits SET state = 'interrupted', ended_at_utc = ?,
                            message = 'the daemon ended before the fit did'
                        WHERE state IN ('queued', 'running')
                        """,
                    arguments: [UTCTime.text(time)])
            }
        } catch {
            throw Self.translate(error, path: path, operation: "open")
        }
    }

    /// What the writer's `PRAGMA synchronous` is; 2 is FULL.
    package func synchronousLevel() throws(StoreError) -> Int {
        do {
            return try pool.writeWithoutTransaction {
                try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? -1
            }
        } catch {
            throw Self.translate(error, path: path, operation: "synchronous")
        }
    }

    /// Ends the waiting for other processes, once that has taken so long: from then on a write to a locked file fails at once.
    ///
    /// One write after the other would wait its full time, and a stop for all of them.
    public func endWaiting(in time: Duration) { patience.end(in: time) }

    /// Closes the file, with all that was written in it: no write-ahead log is left beside it.
    ///
    /// Later calls throw. A store that is let go of closes by itself, but its log may stay.
    ///
    /// - Throws: When the log could not be folded into the file, for instance `busy` where another process reads it. The
    ///   store is closed all the same; the next to open it has what is in the log.
    public func close() throws(StoreError) {
        do {
            // The last connection folds the log and removes it, which a reader may not do: so the writer is to be the last.
            pool.invalidateReadOnlyConnections()
            let folding = Result {
                _ = try pool.writeWithoutTransaction { try $0.checkpoint(.truncate) }
            }
            try pool.close()
            try folding.get()
        } catch {
            throw Self.translate(error, path: path, operation: "close")
        }
    }

    /// Runs a transaction: all of it is stored, or nothing.
    func write<Value>(
        _ operation: String, _ body: (Database) throws -> Value
    ) throws(StoreError) -> Value {
        do {
            return try pool.write(body)
        } catch {
            throw Self.translate(error, path: path, operation: operation)
        }
    }

    /// Reads one consistent state, without waiting for writers.
    func read<Value>(
        _ operation: String, _ body: (Database) throws -> Value
    ) throws(StoreError) -> Value {
        do {
            return try pool.read(body)
        } catch {
            throw Self.translate(error, path: path, operation: operation)
        }
    }

    // MARK: Opening

    private static func configuration(
        _ patience: LockPatience = LockPatience(), _ pageLimit: Int? = nil
    ) -> Configuration {
        var configuration = Configuration()
        configuration.label = "flowguard.store"
        configuration.busyMode = .callback { patience.waits(beforeTry: $0) }
        configuration.maximumReaderCount = readerLimit
        configuration.prepareDatabase { database in
            guard !database.configuration.readonly else { return }
            if let pageLimit {
                try database.execute(sql: "PRAGMA max_page_count = \(pageLimit)")
            }
        }
        return configuration
    }

    /// SQLite takes a short file of any content for an empty database, and overwrites it.
    private static func requireDatabase(at path: String) throws(StoreError) {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT, access(folder(of: path), W_OK) == 0 { return }
            throw .notWritable(path: path, reason: String(cString: strerror(errno)))
        }
        defer { _ = Foundation.close(descriptor) }
        let magic = Array("SQLite format 3\0".utf8)
        var start = [UInt8](repeating: 0, count: magic.count)
        let count = Foundation.read(descriptor, &start, start.count)
        guard count >= 0 else {
            throw .notWritable(path: path, reason: String(cString: strerror(errno)))
        }
        guard count == 0 || start == magic else { throw .notADatabase(path: path) }
    }

    private static func folder(of path: String) -> String {
        URL(fileURLWithPath: path).deletingLastPathComponent().path
    }

    /// Looks before anything is changed: opening a pool already turns the file into WAL mode.
    private static func requireOwnDatabase(at path: String) throws {
        let queue = try DatabaseQueue(path: path, configuration: configuration())
        try queue.read { database in
            // The migrator's own table comes first: alone, it is what a full disk left of a new store.
            let tables = try Int.fetchOne(
                database,
                sql: "SELECT count(*) FROM sqlite_master WHERE tbl_name <> 'grdb_migrations'")
            guard let tables, tables > 0 else { return }
            let owner = try Int32.fetchOne(database, sql: "PRAGMA application_id")
            guard owner == Migrations.applicationID else {
                throw StoreError.foreignDatabase(path: path)
            }
            let schema = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
            guard schema <= Migrations.newest else {
                throw StoreError.newerSchema(
                    path: path, found: schema, supported: Migrations.newest)
            }
        }
        try queue.close()
    }

    // MARK: Errors

    private static func translate(
        _ error: any Error, path: String, operation: String
    ) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else {
            return .statement(path: path, operation: operation, reason: "\(error)")
        }
        let reason = error.message ?? "\(error.resultCode)"
        switch error.resultCode {
        case .SQLITE_FULL:
            return .diskFull(path: path)
        case .SQLITE_IOERR where !hasRoom(beside: path):
            return .diskFull(path: path)
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            return .busy(path: path, waitedSecs: LockPatience.limitSecs)
        case .SQLITE_NOTADB:
            return .notADatabase(path: path)
        case .SQLITE_CORRUPT:
            return .damaged(path: path, reason: reason)
        case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH:
            return .notWritable(path: path, reason: reason)
        default:
            return .statement(path: path, operation: operation, reason: reason)
        }
    }

    /// SQLite tells a full disk as an I/O error where it grows the shared memory beside the log.
    private static func hasRoom(beside path: String) -> Bool {
        var information = statvfs()
        guard statvfs(folder(of: path), &information) == 0 else { return true }
        return UInt64(information.f_bavail) * UInt64(information.f_frsize) >= 65_536
    }
}
