/// Why the store cannot be opened, or cannot do what it was asked.
public enum StoreError: Error, Equatable, CustomStringConvertible {
    /// A later build wrote the file.
    case newerSchema(path: String, found: Int, supported: Int)
    /// The file is not an SQLite database.
    case notADatabase(path: String)
    /// The file is an SQLite database, and another program's.
    case foreignDatabase(path: String)
    /// The file or its folder cannot be written, or the folder is not there.
    case notWritable(path: String, reason: String)
    /// The disk, the quota or the size limit of the store is used up. What was being written is undone.
    case diskFull(path: String)
    /// Another process holds the write lock.
    case busy(path: String, waitedSecs: Double)
    /// SQLite found the file damaged.
    case damaged(path: String, reason: String)
    /// A stream that was never registered.
    case unknownStream(path: String, stream: String)
    /// A row that is not there.
    case unknownRow(path: String, table: String, id: Int64)
    /// SQLite refused a statement for another reason.
    case statement(path: String, operation: String, reason: String)

    /// Subject, rule, what was found.
    public var description: String {
        switch self {
        case .newerSchema(let path, let found, let supported):
            return "store \(path) has schema \(found), this build reads up to \(supported)"
        case .notADatabase(let path):
            return "store \(path): expected an SQLite database, found another kind of file"
        case .foreignDatabase(let path):
            return "store \(path): expected a flowguard store, found another program's database"
        case .notWritable(let path, let reason):
            return "store \(path): the file and its folder must be writable: \(reason)"
        case .diskFull(let path):
            return "store \(path): no room to write, the disk is full; nothing was half-done"
        case .busy(let path, let waitedSecs):
            return "store \(path): another process has held its write lock for "
                + "\(Int(waitedSecs)) s"
        case .damaged(let path, let reason):
            return "store \(path) is damaged: \(reason)"
        case .unknownStream(let path, let stream):
            return "store \(path): stream '\(stream)' is not registered"
        case .unknownRow(let path, let table, let id):
            return "store \(path): table \(table) has no row \(id)"
        case .statement(let path, let operation, let reason):
            return "store \(path): \(operation): \(reason)"
        }
    }

    /// What to do about it, where something can be done.
    public var hint: String? {
        switch self {
        case .newerSchema:
            return "run the flowguardd that wrote it or a later one, "
                + "or restore a copy made before the upgrade"
        case .notADatabase, .foreignDatabase:
            return "move the file away, or choose another state_directory"
        case .notWritable(let path, _):
            return "check that the folder of \(path) exists and belongs to the daemon's user"
        case .diskFull:
            return "free some space; the daemon goes on by itself"
        case .busy:
            return "end the other program that writes to the file"
        case .damaged(let path, _):
            return "restore a copy, or save what is readable: sqlite3 \(path) .recover"
        case .unknownStream, .unknownRow, .statement:
            return nil
        }
    }
}
