import Foundation

/// The paths of the control API, percent-encoded; `Route.stream(":name")` is a router's pattern.
public enum Route {
    /// GET: `StatusReport`.
    public static let status = "/v1/status"
    /// GET: anomalies of all streams, as `anomalies(_:)`.
    public static let anomalies = "/v1/anomalies"
    /// GET: whether the daemon lives.
    public static let health = "/healthz"
    /// GET: Prometheus text.
    public static let metrics = "/metrics"

    /// GET: `StreamDetail`.
    public static func stream(_ name: String) -> String { "/v1/streams/\(escaped(name))" }

    /// POST: asks for a fit; `RetrainReply`.
    public static func retrain(_ name: String) -> String { stream(name) + "/retrain" }

    /// GET: NDJSON, an `AnomalyMessage` a line; the query is an `AnomalyQuery`.
    public static func anomalies(_ name: String) -> String { stream(name) + "/anomalies" }

    /// GET: `KeyList`.
    public static func keys(_ name: String) -> String { stream(name) + "/keys" }

    /// GET: `ThresholdReport`; PUT a `ThresholdUpdate`: `ThresholdReport`.
    public static func threshold(_ name: String) -> String { stream(name) + "/threshold" }

    /// POST: lines in, scored lines out.
    public static func score(_ name: String) -> String { stream(name) + "/score" }

    /// GET: `ModelList`.
    public static func models(_ name: String) -> String { stream(name) + "/models" }

    /// GET: `ModelMessage`.
    public static func model(_ name: String, _ id: String) -> String {
        models(name) + "/\(escaped(id))"
    }

    /// POST: the model serves from now on; `ModelMessage`.
    public static func activate(_ name: String, _ id: String) -> String {
        model(name, id) + "/activate"
    }

    /// GET: the model file's bytes.
    public static func modelFile(_ name: String, _ id: String) -> String {
        model(name, id) + "/file"
    }

    /// GET: one `AnomalyMessage`.
    public static func anomaly(_ id: String) -> String { anomalies + "/\(escaped(id))" }

    /// PUT a `LabelUpdate`, or DELETE: `LabelReply`.
    public static func label(_ id: String) -> String { anomaly(id) + "/label" }

    /// Keeps `:` so that a router's pattern stays one.
    private static func escaped(_ text: String) -> String {
        let safe = CharacterSet(
            charactersIn:
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:")
        return text.addingPercentEncoding(withAllowedCharacters: safe) ?? text
    }
}

/// Which anomalies are asked for.
public struct AnomalyQuery: Sendable, Hashable {
    /// Those with a greater number.
    public var after: Int64?
    /// The newest so many, oldest of them first; used when `after` is not given.
    public var latest: Int?
    /// Whether the reply goes on with those that are yet to come.
    public var follow: Bool

    /// Makes a query.
    public init(after: Int64? = nil, latest: Int? = nil, follow: Bool = false) {
        self.after = after
        self.latest = latest
        self.follow = follow
    }

    /// `?after=4711&follow=true`; empty when nothing is asked for.
    public var text: String {
        var items: [String] = []
        if let after { items.append("after=\(after)") }
        if let latest { items.append("latest=\(latest)") }
        if follow { items.append("follow=true") }
        return items.isEmpty ? "" : "?" + items.joined(separator: "&")
    }
}
