import Foundation

/// The keys of a stream, at a glance.
public struct KeysMessage: Sendable, Hashable, Codable {
    /// The column that they are in.
    public var column: String
    /// Those that have had a record.
    public var known: Int
    /// Those in memory; the others are on disk until they have a record.
    public var live: Int
    /// Those that have a model of their own; the others are judged by that of the stream.
    public var modelled: Int
    /// Those in an episode that has not ended, among those in memory.
    public var alarming: [String]

    /// Makes a message.
    public init(column: String, known: Int, live: Int, modelled: Int, alarming: [String]) {
        self.column = column
        self.known = known
        self.live = live
        self.modelled = modelled
        self.alarming = alarming
    }
}

/// The keys of a stream, one by one: the answer to `GET /v1/streams/{name}/keys`.
public struct KeyList: Sendable, Hashable, Codable {
    /// One key.
    public struct Key: Sendable, Hashable, Codable {
        /// The text in the column; commands take `STREAM/KEY`.
        public var key: String
        /// Records of it.
        public var recordsTotal: Int64
        /// Anomalies among them.
        public var anomaliesTotal: Int64
        /// When a record of it, or a change, was stored last.
        public var lastSeenAt: Date
        /// Its own model that serves; `nil`: that of the stream does.
        public var model: Int64?

        /// Makes a key.
        public init(
            key: String, recordsTotal: Int64, anomaliesTotal: Int64, lastSeenAt: Date, model: Int64?
        ) {
            self.key = key
            self.recordsTotal = recordsTotal
            self.anomaliesTotal = anomaliesTotal
            self.lastSeenAt = lastSeenAt
            self.model = model
        }
    }

    /// The stream.
    public var stream: String
    /// The column that the keys are in; `nil`: it has none.
    public var column: String?
    /// The keys, by their texts.
    public var keys: [Key]

    /// Makes a list.
    public init(stream: String, column: String?, keys: [Key]) {
        self.stream = stream
        self.column = column
        self.keys = keys
    }
}
