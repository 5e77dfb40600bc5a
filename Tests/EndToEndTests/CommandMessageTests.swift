import Control
import Foundation
import Testing

/// The messages between the two programs, and the anomaly log's line.
struct CommandMessageTests {
    static let message = AnomalyMessage(
        id: 4_711, time: Date(timeIntervalSince1970: 1_795_472_645.12), stream: "pump-7",
        recordTime: Date(timeIntervalSince1970: 1_583_756_076), logLikelihood: -41.72,
        threshold: -18.2, pValue: 3.1e-7, tail: "low", episode: 88, model: 12,
        source: "/var/log/pump-7.csv", offset: 104_233,
        features: [
            .init(
                name: "pressure", value: .number(9.1), expected: .number(4.3), contribution: 19.4),
            .init(name: "flow", value: .number(12), expected: .number(12.345678), contribution: 0),
        ], summary: "pressure 9.1 where 4.3 was expected (19.4 of 23.5 nats)")

    @Test func lineIsTheOneOfTheContract() throws {
        let line = String(decoding: Self.message.line, as: UTF8.self)
        #expect(
            line == #"{"id":4711,"time":"2026-11-23T22:24:05.120Z","stream":"pump-7","#
                + #""record_time":"2020-03-09T12:14:36Z","log_likelihood":-41.72,"#
                + #""threshold":-18.2,"p_value":3.1e-07,"tail":"low","episode":88,"model":12,"#
                + #""source":"/var/log/pump-7.csv","offset":104233,"features":["#
                + #"{"name":"pressure","value":9.1,"expected":4.3,"contribution":19.4},"#
                + #"{"name":"flow","value":12,"expected":12.3457,"contribution":0}],"#
                + #""summary":"pressure 9.1 where 4.3 was expected (19.4 of 23.5 nats)"}"#)
    }

    @Test func lineReadsBackAsTheMessage() throws {
        var expected = Self.message
        expected.features[1].expected = .number(12.3457)
        let read = try ControlJSON.decode(AnomalyMessage.self, from: Data(Self.message.line))
        #expect(read == expected)
    }

    @Test func theFirstOfAnEpisodeSaysSo() throws {
        var message = Self.message
        message.beginsEpisode = true
        let line = String(decoding: message.line, as: UTF8.self)
        #expect(line.contains(#","episode":88,"begins_episode":true,"model":12,"#))
        let read = try ControlJSON.decode(AnomalyMessage.self, from: Data(message.line))
        #expect(read.beginsEpisode == true)
    }

    @Test func absentTimeAndEpisodeAreNull() throws {
        var message = Self.message
        message.recordTime = nil
        message.episode = nil
        let line = String(decoding: message.line, as: UTF8.self)
        #expect(line.contains(#","record_time":null,"log_likelihood""#))
        #expect(line.contains(#","episode":null,"model""#))
        #expect(
            try ControlJSON.decode(AnomalyMessage.self, from: Data(message.line)).episode == nil)
    }

    @Test(arguments: [
        (0.9999999, "0.9999999"), (0.25, "0.25"), (0.001, "0.001"), (0.00099, "9.9e-04"),
        (8.61811e-05, "8.6181e-05"), (1e-300, "1e-300"), (0, "0"), (1, "1"),
    ])
    func pValueIsShortAndSmallOnesHaveAnExponent(value: Double, text: String) throws {
        var message = Self.message
        message.pValue = value
        #expect(String(decoding: message.line, as: UTF8.self).contains("\"p_value\":\(text),"))
    }

    @Test(arguments: [
        -1e-9, 0, -0.0, .nan, .infinity, -.infinity, 1e300, -123_456_789.123456789, 2.3e-308,
    ])
    func everyNumberGivesALineThatReads(value: Double) throws {
        var message = Self.message
        message.logLikelihood = value
        message.threshold = value
        message.pValue = value
        message.features[0] = .init(
            name: "x", value: .number(value), expected: .number(value), contribution: value)
        let read = try ControlJSON.decode(AnomalyMessage.self, from: Data(message.line))
        #expect(read.logLikelihood.isFinite)
        if value.isFinite { #expect(read.features[0].value == .number(value)) }
    }

    @Test func textFromOutsideStaysInItsString() throws {
        var message = Self.message
        message.features[0].name = "a\"b\\c\u{1}\n\u{7F}ü"
        message.source = "/tmp/x\ty"
        #expect(!message.line.contains(UInt8(ascii: "\n")))
        let read = try ControlJSON.decode(AnomalyMessage.self, from: Data(message.line))
        #expect(read.features[0].name == message.features[0].name)
        #expect(read.source == message.source)
    }

    @Test(arguments: [
        (ThresholdUpdate.logLikelihood(-18.5), #"{"log_likelihood":-18.5}"#),
        (.falseAlarmProbability(0.001), #"{"false_alarm_probability":0.001}"#),
        (.falseAlarmsPerDay(2), #"{"false_alarms_per_day":2}"#),
        (.reset, #"{"reset":true}"#),
    ])
    func thresholdUpdateHasOneKey(update: ThresholdUpdate, text: String) throws {
        #expect(String(decoding: try ControlJSON.encode(update), as: UTF8.self) == text)
        #expect(try ControlJSON.decode(ThresholdUpdate.self, from: Data(text.utf8)) == update)
    }

    @Test(arguments: [
        "{}", #"{"reset":true,"log_likelihood":1}"#, #"{"reset":true,"x":1}"#,
        #"{"false_alarm_probability":0}"#,
        #"{"false_alarm_probability":0.2}"#, #"{"false_alarm_probability":1e-300}"#,
        #"{"false_alarms_per_day":-1}"#, "[]", "1",
        #"{"log_likelihood":"low"}"#, #"{"log_likelihood":"NaN"}"#, #"{"reset":false}"#,
    ])
    func thresholdUpdateOfNoUseIsRefused(text: String) {
        #expect(throws: DecodingError.self) {
            try ControlJSON.decode(ThresholdUpdate.self, from: Data(text.utf8))
        }
    }

    @Test func statusReadsBackAsItWasWritten() throws {
        let status = CommandStatusExample.report()
        let data = try ControlJSON.encode(status)
        #expect(try ControlJSON.decode(StatusReport.self, from: data) == status)
        let text = String(decoding: data, as: UTF8.self)
        #expect(text.contains("\"anomalies_last_day\":3"))
        #expect(text.contains("\"held_out_log_likelihood\":-3.25"))
        #expect(!text.contains("\n"))
    }

    @Test func instantsAreInUTCWithMilliseconds() throws {
        struct Instant: Codable, Equatable {
            var at: Date
        }
        let instant = Instant(at: Date(timeIntervalSince1970: 1_795_472_645.999))
        let data = try ControlJSON.encode(instant)
        #expect(String(decoding: data, as: UTF8.self) == #"{"at":"2026-11-23T22:24:05.999Z"}"#)
        #expect(try ControlJSON.decode(Instant.self, from: data) == instant)
        let short = Data(#"{"at":"2026-11-23T22:24:05Z"}"#.utf8)
        #expect(
            try ControlJSON.decode(Instant.self, from: short).at
                == Date(timeIntervalSince1970: 1_795_472_645))
    }

    @Test func routesEscapeWhatANameMayHold() {
        #expect(Route.stream("a b/c?") == "/v1/streams/a%20b%2Fc%3F")
        #expect(Route.activate(":name", ":id") == "/v1/streams/:name/models/:id/activate")
        #expect(Route.anomaly("4711") == "/v1/anomalies/4711")
        #expect(AnomalyQuery(after: 7, follow: true).text == "?after=7&follow=true")
        #expect(AnomalyQuery(latest: 10).text == "?latest=10")
        #expect(AnomalyQuery().text == "")
    }
}
