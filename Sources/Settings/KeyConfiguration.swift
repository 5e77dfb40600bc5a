/// The `key` of a stream: the column that tells the machines, tenants or sessions apart whose records it mixes.
public struct KeyConfiguration: Sendable, Hashable {
    /// The column; each text in it is a key, with a past and a model of its own.
    public var column: String
    /// Keys that are in memory; the one that was not seen for the longest time goes to disk for another.
    ///
    /// The default is 500.
    public var live = 500
    /// Keys that are known; the records of others go to the quarantine.
    ///
    /// The default is 10000.
    public var most = 10_000

    /// A key with the default bounds.
    public init(column: String) { self.column = column }
}

/// The name of one key's part of a stream: `STREAM/KEY`.
///
/// The name of a stream holds no `/`; that of a key may.
public enum KeyedName {
    /// The whole name; without a key that of the stream.
    public static func join(_ stream: String, _ key: String?) -> String {
        key.map { stream + "/" + $0 } ?? stream
    }

    /// The two parts; the key is `nil` where a stream as a whole is meant.
    ///
    /// A key may begin with a mark that combines with the `/` before it: as a scalar that is there all the same.
    public static func split(_ name: String) -> (stream: String, key: String?) {
        let scalars = name.unicodeScalars
        guard let slash = scalars.firstIndex(of: "/") else { return (name, nil) }
        return (String(scalars[..<slash]), String(scalars[scalars.index(after: slash)...]))
    }
}

extension StreamConfiguration {
    /// What holds for the records of one key: all but the key itself, and what was learned before the source.
    public func ofKey(_ text: String) -> StreamConfiguration {
        var own = self
        own.name = KeyedName.join(name, text)
        own.categories.removeAll { $0 == key?.column }
        own.key = nil
        own.history = []
        return own
    }
}
