import Settings

/// What a person asked of a stream and cannot have.
package enum RequestError: Error, CustomStringConvertible {
    case noModel(stream: String)
    case unknownModel(id: Int64, stream: String)
    case prunedModel(id: Int64)
    case otherFeatures(id: Int64, expected: [String], found: [String])
    case noRecords(stream: String, needed: Int, found: Int64)
    case notOpen(stream: String)
    case featuresAwaited(stream: String)
    case stopping(stream: String)
    case unknownAnomaly(id: Int64)
    case notLabelled(id: Int64)
    case tooManyLabels(stream: String, limit: Int)
    case borrowedModel(stream: String)

    package var description: String {
        switch self {
        case .noModel(let stream):
            return "stream '\(stream)' has no model yet"
        case .unknownModel(let id, let stream):
            return "stream '\(stream)' has no model \(id)"
        case .prunedModel(let id):
            return "model \(id) is too old: its file was removed"
        case .otherFeatures(let id, let expected, let found):
            return "model \(id) reads the features \(found.joined(separator: ", ")), "
                + "the stream has \(expected.joined(separator: ", "))"
        case .noRecords(let stream, let needed, let found):
            return "a fit needs at least \(needed) records, stream '\(stream)' has \(found)"
        case .notOpen(let stream):
            return "stream '\(stream)' is not open yet"
        case .featuresAwaited(let stream):
            return
                "stream '\(stream)' has other features in the configuration than its records so far"
        case .stopping(let stream):
            return "stream '\(stream)' stops, or begins anew with another configuration"
        case .unknownAnomaly(let id):
            return "there is no anomaly \(id)"
        case .notLabelled(let id):
            return "anomaly \(id) has no label"
        case .tooManyLabels(let stream, let limit):
            return
                "stream '\(stream)' has \(limit) false alarms already, and more are not remembered"
        case .borrowedModel(let stream):
            return "'\(stream)' has no model of its own yet, so its threshold is that of the stream"
        }
    }

    package var hint: String {
        switch self {
        case .noModel(let stream), .notOpen(let stream):
            return "see flowguardctl status \(stream)"
        case .unknownModel(_, let stream):
            return "flowguardctl model list \(stream) shows those there are"
        case .prunedModel: return "choose a newer model"
        case .otherFeatures: return "the features changed since: fit a new model"
        case .noRecords, .featuresAwaited: return "wait for more records"
        case .stopping: return "ask again in a few seconds"
        case .unknownAnomaly: return "flowguardctl tail shows those there are"
        case .notLabelled: return "label it with false-alarm or true"
        case .tooManyLabels(let stream, _):
            return "take old ones away with --undo, or set the threshold of \(stream) lower"
        case .borrowedModel(let stream):
            return "set the threshold of '\(KeyedName.split(stream).stream)'"
        }
    }
}
