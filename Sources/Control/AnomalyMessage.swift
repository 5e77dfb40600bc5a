import Foundation

/// An anomaly as the log file, the control API and `tail --json` tell it: one JSON object a line.
///
/// `line` is the only encoder, so that the three agree to the byte; reading is through `ControlJSON`.
public struct AnomalyMessage: Sendable, Hashable, Decodable {
    /// What a cell holds: a JSON number, a string for a category, null where there is no value.
    public enum Value: Sendable, Hashable, Decodable {
        /// A feature's value.
        case number(Double)
        /// A category's value.
        case text(String)
        /// No value.
        case missing

        /// Reads a number, a string or null.
        public init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .missing
            } else if let text = try? container.decode(String.self) {
                self = .text(text)
            } else {
                self = .number(try container.decode(Double.self))
            }
        }
    }

    /// What one feature or category has to do with it.
    public struct Feature: Sendable, Hashable, Decodable {
        /// The feature's name.
        public var name: String
        /// Its value in the record.
        public var value: Value
        /// The value that the model expected.
        public var expected: Value
        /// How much of the improbability it explains, in nats.
        public var contribution: Double

        /// Makes a reason.
        public init(name: String, value: Value, expected: Value, contribution: Double) {
            self.name = name
            self.value = value
            self.expected = expected
            self.contribution = contribution
        }
    }

    /// Its number.
    public var id: Int64
    /// When it was found.
    public var time: Date
    /// The stream.
    public var stream: String
    /// The key that the record is of, in a stream with a key; `nil` in others.
    public var key: String?
    /// The record's own time; `nil`: it has none.
    public var recordTime: Date?
    /// `ln p(record)` in nats.
    public var logLikelihood: Double
    /// The log-likelihood that it crossed, in nats.
    public var threshold: Double
    /// Calibrated p-value.
    public var pValue: Double
    /// The tail, `low` or `high`.
    public var tail: String
    /// What kind of anomaly it is, such as `improbable` or `too_likely`; `nil`: a daemon of an earlier build says nothing.
    public var reasonCode: String?
    /// Number of the stream's episode that it is in.
    public var episode: Int64?
    /// Whether it is the first one of its episode; `nil`: it is not, or a daemon of an earlier build says nothing.
    public var beginsEpisode: Bool?
    /// The model that scored it.
    public var model: Int64
    /// The file's path or the client's name.
    public var source: String
    /// Byte offset of the record's first byte in the source.
    public var offset: Int64
    /// The features, the greatest contribution first.
    public var features: [Feature]
    /// The reason as a sentence.
    public var summary: String
    /// What a person said of it: `false-alarm` or `true`.
    public var label: String?
    /// The same in the person's own words.
    public var note: String?

    /// Makes a message.
    public init(
        id: Int64, time: Date, stream: String, key: String? = nil, recordTime: Date?,
        logLikelihood: Double,
        threshold: Double, pValue: Double, tail: String, reasonCode: String? = nil,
        episode: Int64?, beginsEpisode: Bool? = nil, model: Int64, source: String,
        offset: Int64, features: [Feature], summary: String,
        label: String? = nil, note: String? = nil
    ) {
        self.id = id
        self.time = time
        self.stream = stream
        self.key = key
        self.recordTime = recordTime
        self.logLikelihood = logLikelihood
        self.threshold = threshold
        self.pValue = pValue
        self.tail = tail
        self.reasonCode = reasonCode
        self.episode = episode
        self.beginsEpisode = beginsEpisode
        self.model = model
        self.source = source
        self.offset = offset
        self.features = features
        self.summary = summary
        self.label = label
        self.note = note
    }

    /// The JSON object, without a newline at its end.
    ///
    /// Keys in a fixed order; log-likelihoods to 1e-5 nats; p-values to five significant digits, with an exponent
    /// where they are below 0.001; the value as it was read. `label` and `note` are there once a person has given them.
    public var line: [UInt8] {
        var text = LineText()
        text.raw("{\"id\":\(id),\"time\":\"\(ControlJSON.text(of: time))\",\"stream\":")
        text.string(stream)
        if let key {
            text.raw(",\"key\":")
            text.string(key)
        }
        text.raw(",\"record_time\":")
        text.raw(recordTime.map { "\"\(ControlJSON.text(of: $0, isShort: true))\"" } ?? "null")
        text.raw(",\"log_likelihood\":\(LineText.fixed(logLikelihood, decimals: 5))")
        text.raw(",\"threshold\":\(LineText.fixed(threshold, decimals: 5))")
        text.raw(",\"p_value\":\(LineText.probability(pValue)),\"tail\":")
        text.string(tail)
        if let reasonCode {
            text.raw(",\"reason_code\":")
            text.string(reasonCode)
        }
        text.raw(",\"episode\":\(episode.map(String.init) ?? "null")")
        if beginsEpisode == true { text.raw(",\"begins_episode\":true") }
        text.raw(",\"model\":\(model)")
        text.raw(",\"source\":")
        text.string(source)
        text.raw(",\"offset\":\(offset),\"features\":[")
        for (i, feature) in features.enumerated() {
            text.raw(i == 0 ? "{\"name\":" : ",{\"name\":")
            text.string(feature.name)
            text.raw(",\"value\":")
            text.value(feature.value, LineText.shortest)
            text.raw(",\"expected\":")
            text.value(feature.expected, LineText.significant)
            text.raw(",\"contribution\":\(LineText.fixed(feature.contribution, decimals: 4))}")
        }
        text.raw("],\"summary\":")
        text.string(summary)
        for (key, said) in [("label", label), ("note", note)] {
            guard let said else { continue }
            text.raw(",\"\(key)\":")
            text.string(said)
        }
        text.raw("}")
        return text.bytes
    }
}

/// The parts that a line of JSON is put together from.
package struct LineText {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Appends a text that is JSON already.
    package mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    /// Appends a text in quotes.
    package mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case UInt8(ascii: "\n"):
                raw("\\n")
            case 0..<0x20, 0x7F:
                raw(String(format: "\\u%04x", Int32(byte)))
            default:
                bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    fileprivate mutating func value(_ value: AnomalyMessage.Value, _ format: (Double) -> String) {
        switch value {
        case .number(let number): raw(format(number))
        case .text(let text): string(text)
        case .missing: raw("null")
        }
    }

    /// So many decimals at most, no zeros at the end.
    fileprivate static func fixed(_ value: Double, decimals: Int) -> String {
        guard abs(value) < 1e15 else { return shortest(value) }
        let text = trimmed(String(format: "%.\(decimals)f", value))
        return text == "-0" ? "0" : text
    }

    fileprivate static func probability(_ value: Double) -> String {
        guard value.isFinite, value < 1e-3, value > 0 else { return fixed(value, decimals: 7) }
        let parts = String(format: "%.4e", value).split(separator: "e")
        return parts.count == 2 ? trimmed(String(parts[0])) + "e" + parts[1] : shortest(value)
    }

    /// Six significant digits: an expectation is no measurement.
    fileprivate static func significant(_ value: Double) -> String {
        value.isFinite ? String(format: "%.6g", value) : shortest(value)
    }

    /// The shortest text that reads as the same number.
    fileprivate static func shortest(_ value: Double) -> String {
        guard value.isFinite else {
            if value.isNaN { return "0" }
            return value < 0 ? "-1.7976931348623157e+308" : "1.7976931348623157e+308"
        }
        let text = "\(value)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    private static func trimmed(_ text: String) -> String {
        guard text.contains(".") else { return text }
        let digits = text.reversed().drop { $0 == "0" }
        return String((digits.first == "." ? digits.dropFirst() : digits).reversed())
    }
}
