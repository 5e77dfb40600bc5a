import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonControlTests {
    @Test func clientsThatDoNotReadCannotTakeAllConnections() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        try daemon.folder.append(data.lines(4_000) { _ in true }, to: "pump.csv")
        try await daemon.wait("anomalies") { try daemon.stream()?.anomaliesTotal ?? 0 >= 4_000 }
        let path = "/v1/anomalies?after=0"
        var idle: [StreamSocket] = []
        try await daemon.wait("the refusal") {
            let client = try StreamSocket(path: daemon.controlSocket)
            try client.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
            idle.append(client)
            // The first bytes tell whether there was a place.
            return try client.receive().starts(with: Array("HTTP/1.1 503".utf8))
        }
        #expect(idle.count == 33)
        #expect(try daemon.stream()?.state == .watching)
        idle.removeLast(2)
        try await daemon.wait("a place") { try daemon.get(path).status == 200 }
        // Nor do they hold up the stop: it gives them four seconds, and not the minutes that they would have else.
        let (code, took) = try await daemon.stop()
        #expect(code == 0)
        #expect(took < .seconds(30))
        withExtendedLifetime(idle) {}
    }

    @Test func aChangeWhoseBodyIsSlowReachesTheWorkerThatThenRuns() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let body = "{\"log_likelihood\":-99}"
        let client = try StreamSocket(path: daemon.controlSocket)
        try client.send(
            "PUT /v1/streams/pump/threshold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n{")
        try daemon.configure(
            DaemonLifeTests.pump.replacingOccurrences(of: "0.0001", with: "0.002"))
        daemon.signal(SIGHUP)
        try await daemon.wait("the new worker") {
            try daemon.stream().map {
                $0.state == .watching && $0.asked.probability == 0.002
                    && $0.threshold?.probability == 0.002
            }
        }
        try daemon.folder.append(data.lines(100), to: "pump.csv")
        try await daemon.wait("its records") { try daemon.stream()?.recordsTotal == 700 }
        try client.send(String(body.dropFirst()))
        #expect(try client.receiveAll().starts(with: Array("HTTP/1.1 200".utf8)))
        #expect(try daemon.stream()?.threshold?.logLikelihood == -99)
        daemon.kill()
        let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
        #expect(try store.checkpoint(stream: "pump")?.recordsTotal == 700)
    }

    @Test func bodiesThatMakeLongRepliesAreScoredInPieces() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        let path = "/v1/streams/pump/score?output_format=scores"
        // Longer than all buffers on the way.
        let count = 4 << 20
        var body = Array(PumpData.header.utf8)
        for _ in 0..<count { body += [UInt8(ascii: "x"), UInt8(ascii: "\n")] }

        // Two clients that do not read hold the two places.
        let head = "POST \(path) HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.count)\r\n\r\n"
        let idle = try (0..<2).map { _ in
            let client = try StreamSocket(path: daemon.controlSocket)
            try client.send(Array(head.utf8) + body)
            return client
        }
        let third = try daemon.request("POST", path, body: Array(PumpData.header.utf8))
        #expect(third.status == 503)
        #expect(third.text.contains("2 bodies are scored already"))
        withExtendedLifetime(idle) {}
        let memory = try daemon.get("/metrics").text
            .firstMatch(of: /flowguard_resident_memory_bytes (\d+)/).flatMap { Int($0.1) }
        #expect((memory ?? .max) < 400 << 20)
    }

    @Test func scoresComeInOrderAndTheWrongHeaderIsRefused() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let lines = data.lines(10_000)
        let all = try daemon.request(
            "POST", "/v1/streams/pump/score", body: Array((PumpData.header + lines).utf8))
        let rows = all.text.split(separator: "\n")
        #expect(rows.count == 10_001)
        #expect(rows.first == "time,flow,pressure,noise,log_likelihood,p_value,anomaly")
        let matches = zip(rows.dropFirst(), lines.split(separator: "\n")).allSatisfy {
            $0.hasPrefix($1 + ",")
        }
        #expect(matches)
        let again = try daemon.request(
            "POST", "/v1/streams/pump/score", body: Array(all.text.utf8))
        #expect(again.text == all.text)
        let replaced = again.trailers.split(separator: "\r\n").filter {
            $0.hasPrefix("X-Flowguard-Replaced: ")
        }.compactMap { $0.split(separator: " ").last }
        #expect(replaced == ["log_likelihood", "p_value", "anomaly"], "\(again.trailers)")
        let wrong = try daemon.request(
            "POST", "/v1/streams/pump/score", body: Array("time,flow\n1,2\n".utf8))
        #expect(wrong.status == 422)
        #expect(wrong.text.contains("'pressure', 'noise'"), "\(wrong.text)")
    }

    @Test func methodsAndQueriesThatThereAreNotAreRefusedAsSuch() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        for path in ["/healthz", "/metrics", "/v1/status", "/v1/streams/pump"] {
            let head = try daemon.request("HEAD", path)
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
        }
        let unknown = try daemon.request("HEAD", "/v1/streams/valve")
        #expect(unknown.status == 404)
        #expect(unknown.body.isEmpty)
        for (method, path, allowed) in [
            ("POST", "/v1/status", "GET, HEAD"),
            ("GET", "/v1/streams/pump/score", "POST"),
            ("DELETE", "/v1/streams/pump/threshold", "GET, HEAD, PUT"),
        ] {
            let reply = try daemon.request(method, path)
            #expect(reply.status == 405)
            #expect(reply.head.contains("\r\nAllow: \(allowed)\r\n"), "\(reply.head)")
            #expect(reply.text.contains("this path has no method \(method)"))
        }
        #expect(try daemon.get("/v1").status == 404)
        let score = "/v1/streams/pump/score"
        let lines = Array((PumpData.header + "1,2,3,4\n").utf8)
        for (method, path, body, error) in [
            (
                "GET", "/v1/anomalies?folow=true", [],
                "expected after, latest, last, follow in the query, found 'folow'"
            ),
            (
                "POST", score + "?format=ndjson", lines,
                "expected input_format, output_format, delimiter in the query, found 'format'"
            ),
            ("POST", score, [], "the body: expected records, found nothing"),
            ("GET", "/v1/streams/%ff", [], "name: expected UTF-8"),
        ] as [(String, String, [UInt8], String)] {
            let reply = try daemon.request(method, path, body: body)
            #expect(reply.status == 400, "\(path)")
            #expect(reply.text.contains(error), "\(reply.text)")
        }
        let form = "expected a JSON object with one of log_likelihood"
        for (body, error) in [
            ("{\"reset\":false}", "reset: expected true, found false"), ("", form),
            ("{\"log_likelihood\":1e400}", form), ("{}", "expected one of log_likelihood"),
            ("{\"reset\":true,\"x\":1}", "expected one of log_likelihood"),
        ] {
            let reply = try daemon.request(
                "PUT", "/v1/streams/pump/threshold", body: Array(body.utf8))
            #expect(reply.status == 400, "\(body)")
            #expect(reply.text.contains(error), "\(reply.text)")
        }
    }

    @Test func aRefusalIsSeenByAClientThatStillSends() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        // Longer than all buffers on the way.
        let body = [UInt8](repeating: UInt8(ascii: "\n"), count: 32 << 20)
        let start = ContinuousClock.now
        #expect(
            try daemon.request("POST", "/v1/streams/valve/score", body: body).status == 404)
        #expect(try daemon.request("POST", "/v1/status", body: body).status == 405)
        #expect(start.duration(to: .now) < .seconds(30))
    }

    @Test func aConnectionThatAsksNothingIsClosedSoon() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        let start = ContinuousClock.now
        let client = try StreamSocket(path: daemon.controlSocket)
        #expect(try client.receiveAll().isEmpty)
        #expect(start.duration(to: .now) < .seconds(40))
    }
}
