import Control
import Foundation
import Store
import TestSupport
import Testing

/// What people say of anomalies, and what comes of it.
@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonLabelTests {
    private let daemon: DaemonProcess
    private let data: Growing

    /// The pump's file as it grows.
    private final class Growing {
        var pump = PumpData()
        var count: Int64 = 600
    }

    init() throws {
        daemon = DaemonProcess(folder: try TemporaryDirectory())
        data = Growing()
    }

    private func start() async throws {
        data.pump = try await daemon.startWithModel()
    }

    /// Appends records of this noise with normal ones around, and tells which of them were found.
    private func found(noise values: [Double]) async throws -> [Double] {
        let before = try daemon.anomalies().last?.id ?? 0
        var lines = ""
        for value in values {
            let cells = data.pump.lines(1).split(separator: ",").dropLast()
            lines += cells.joined(separator: ",") + ",\(value)\n" + data.pump.lines(1)
        }
        try daemon.folder.append(lines, to: "pump.csv")
        data.count += Int64(2 * values.count)
        let count = data.count
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == count }
        return try daemon.anomalies().filter { $0.id > before }.compactMap { anomaly in
            guard let first = anomaly.features.first, first.name == "noise",
                case .number(let value) = first.value
            else { return nil }
            return value
        }
    }

    private func label(_ id: Int64, _ body: String) throws -> LabelReply {
        let reply = try daemon.request(
            "PUT", "/v1/anomalies/\(id)/label", body: Array(body.utf8))
        return try ControlJSON.decode(LabelReply.self, from: reply.body)
    }

    @Test func aFalseAlarmAndItsLikeStopAlarmingUntilTheLabelIsTakenAway() async throws {
        try await start()
        #expect(try await found(noise: [40, -40]) == [40, -40])
        let id = try #require(
            try daemon.anomalies().first { $0.features[0].value == .number(40) }?.id)
        let reply = try label(id, #"{"label":"false-alarm","note":"cleaning"}"#)
        #expect(reply.label == "false-alarm" && reply.note == "cleaning")
        #expect(reply.episodeAnomalies >= 2 && reply.likeInEpisode >= 1, "\(reply)")
        #expect(reply.like.hasPrefix("anomalies that are due to noise at most "), "\(reply)")
        #expect(try await found(noise: [45, 60, -40]) == [60, -40])
        let cause = "label \(id)"
        #expect(try daemon.stream()?.suppressed == [SuppressedCount(cause: cause, count: 1)])
        #expect(try daemon.stream()?.labels == LabelCounts(falseAlarms: 1, confirmed: 0))
        let shown = try daemon.get("/v1/anomalies/\(id)").text
        #expect(shown.hasSuffix(#","label":"false-alarm","note":"cleaning"}"# + "\n"), "\(shown)")

        daemon.kill()
        try await daemon.start()
        try await daemon.wait("the model") { try daemon.stream()?.state == .watching }
        #expect(try await found(noise: [45, 60]) == [60])
        let undone = try daemon.request("DELETE", "/v1/anomalies/\(id)/label")
        #expect(try ControlJSON.decode(LabelReply.self, from: undone.body).label == nil)
        #expect(try await found(noise: [45]) == [45])
        let again = try daemon.request("DELETE", "/v1/anomalies/\(id)/label")
        #expect(again.status == 409)
        #expect(again.text.contains("anomaly \(id) has no label"))
    }

    @Test func aTrueAlarmStaysOutOfTheFitsAndAFalseOneEntersThem() async throws {
        try await start()
        #expect(try await found(noise: [40, 40, 40, 40]) == [40, 40, 40, 40])
        let all = try daemon.anomalies()
        let ids = all.filter { $0.features[0].value == .number(40) }.map(\.id)
        // Seven records from the first to the last lie inside the episode; most of all are there to judge.
        let before = try await daemon.retrain()
        #expect(before.message?.contains("kept out by the user") == false)
        #expect(try label(ids[0], #"{"label":"true"}"#).label == "true")
        let kept = try await daemon.retrain()
        #expect(kept.message?.contains(" records were kept out by the user") == true, "\(kept)")
        #expect(try daemon.stream()?.labels == LabelCounts(falseAlarms: 0, confirmed: 1))

        for id in all.map(\.id) { _ = try label(id, #"{"label":"false-alarm"}"#) }
        let entered = try await daemon.retrain()
        #expect(entered.message?.contains("kept out by the user") == false)
        let counts = [kept, entered].map { $0.recordCount ?? 0 }
        #expect(counts[1] >= counts[0], "\(counts)")
    }

    @Test func whatIsNoLabelIsRefused() async throws {
        try await start()
        _ = try await found(noise: [40])
        let id = try #require(try daemon.anomalies().last?.id)
        for body in ["", "{}", #"{"label":"maybe"}"#] {
            let reply = try daemon.request(
                "PUT", "/v1/anomalies/\(id)/label", body: Array(body.utf8))
            #expect(reply.status == 400)
            #expect(reply.text.contains(#"one of \"false-alarm\", \"true\""#), "\(reply.text)")
        }
        let unknown = try daemon.request(
            "PUT", "/v1/anomalies/99999/label", body: Array(#"{"label":"true"}"#.utf8))
        #expect(unknown.status == 404)
        #expect(unknown.text.contains("there is no anomaly 99999"))
    }
}
