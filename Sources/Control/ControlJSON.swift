import Foundation

/// How the control API's messages become JSON and back: snake_case keys, instants as ISO 8601 in UTC with
/// milliseconds.
public enum ControlJSON {
    /// JSON of a message; the keys are sorted.
    ///
    /// - Parameter pretty: On several lines, for people.
    public static func encode(_ message: some Encodable, pretty: Bool = false) throws -> Data {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
        // Messages hold finite numbers; one that slips through must not make `status` fail.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(text(of: date))
        }
        return try encoder.encode(message)
    }

    /// The message that this JSON holds; unknown keys are skipped, so that an older client reads a newer daemon.
    public static func decode<Message: Decodable>(
        _ type: Message.Type, from data: Data
    ) throws -> Message {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            guard let date = date(of: text) else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "expected an instant, found '\(text)'")
            }
            return date
        }
        return try decoder.decode(type, from: data)
    }

    /// `2026-11-23T22:24:05.120Z`; without the fraction where it is zero and `isShort`.
    static func text(of date: Date, isShort: Bool = false) -> String {
        let earliest = -62_135_596_800.0
        let latest = 253_402_300_799.0
        let seconds = date.timeIntervalSince1970
        let bounded = seconds.isNaN ? 0 : min(max(seconds, earliest), latest)
        let milliseconds = (bounded * 1_000).rounded()
        // The style cuts off, so that a hair more than the rounded millisecond is what it must be given.
        let rounded = Date(timeIntervalSince1970: (milliseconds + 0.25) / 1_000)
        let isWhole = milliseconds.truncatingRemainder(dividingBy: 1_000) == 0
        return rounded.formatted(isShort && isWhole ? wholeSeconds : fractional)
    }

    private static func date(of text: String) -> Date? {
        guard let date = (try? fractional.parse(text)) ?? (try? wholeSeconds.parse(text)) else {
            return nil
        }
        let milliseconds = (date.timeIntervalSince1970 * 1_000).rounded()
        return Date(timeIntervalSince1970: milliseconds / 1_000)
    }

    private static let fractional = Date.ISO8601FormatStyle(
        includingFractionalSeconds: true, timeZone: .gmt)
    private static let wholeSeconds = Date.ISO8601FormatStyle(timeZone: .gmt)
}

/// What the daemon answers when it cannot do what it was asked; the HTTP status says which kind of reason it is.
public struct ErrorReply: Sendable, Hashable, Codable {
    /// Subject, rule, what was found.
    public var error: String
    /// What to do about it.
    public var hint: String?

    /// Makes a reply.
    public init(error: String, hint: String? = nil) {
        self.error = error
        self.hint = hint
    }
}

/// The version that both programs tell.
public enum FlowguardVersion {
    /// By the rules of semver.org.
    public static let current = "0.1.0"
}
