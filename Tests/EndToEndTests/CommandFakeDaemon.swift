import Control
import Foundation
import Synchronization
import TestSupport

/// A control socket with canned answers, to see what flowguardctl makes of them.
final class FakeDaemon: Sendable {
    /// What is answered.
    struct Answer: Sendable {
        var status = 200
        var body: Data

        init(_ message: some Encodable, status: Int = 200) throws {
            body = try ControlJSON.encode(message)
            self.status = status
        }

        init(body: Data) { self.body = body }
    }

    /// A request that came.
    struct Request: Sendable, Equatable {
        /// `PUT /v1/streams/a/threshold`.
        var line: String
        var body: String
    }

    let path: String
    private let descriptor: Int32
    private let answers: Mutex<[String: [Answer]]>
    private let received = Mutex<[Request]>([])

    /// - Parameter answers: By request line; of several, each is given once and the last one for ever.
    init(folder: TemporaryDirectory, _ answers: [String: [Answer]]) throws {
        path = folder.file("control.sock")
        self.answers = Mutex(answers)
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let number = descriptor
        let isBound = withUnixAddress(path) { bind(number, $0, $1) }
        guard isBound == 0, listen(descriptor, 16) == 0 else {
            throw WaitedInVain(description: "\(path): \(String(cString: strerror(errno)))")
        }
        Thread.detachNewThread { [descriptor] in
            while true {
                let client = accept(descriptor, nil, nil)
                guard client >= 0 else { return }
                self.serve(client)
                close(client)
            }
        }
    }

    /// Ends the daemon: nobody answers any more.
    func stop() {
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
        unlink(path)
    }

    var requests: [Request] { received.withLock { $0 } }

    private func serve(_ client: Int32) {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        var head = ""
        var expected = 0
        while true {
            let count = read(client, &chunk, chunk.count)
            guard count > 0 else { return }
            bytes += chunk[..<count]
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.range(of: "\r\n\r\n") else { continue }
            head = String(text[..<end.lowerBound])
            let length = head.firstMatch(of: /(?i)content-length: (\d+)/)?.1
            expected = head.utf8.count + 4 + (length.flatMap { Int($0) } ?? 0)
            if bytes.count >= expected { break }
        }
        let words = head.split(separator: "\r\n")[0].split(separator: " ")
        let line = words.prefix(2).joined(separator: " ")
        let body = String(decoding: bytes[(head.utf8.count + 4)...], as: UTF8.self)
        received.withLock { $0.append(Request(line: line, body: body)) }
        let answer: Answer? = answers.withLock { answers in
            guard let first = answers[line]?.first else { return nil }
            if let rest = answers[line], rest.count > 1 { answers[line] = Array(rest.dropFirst()) }
            return first
        }
        var reply = Data(
            "HTTP/1.1 \(answer?.status ?? 404) x\r\nContent-Length: \(answer?.body.count ?? 0)\r\n"
                .utf8)
        reply += Data("Connection: close\r\n\r\n".utf8) + (answer?.body ?? Data())
        _ = reply.withUnsafeBytes { write(client, $0.baseAddress, $0.count) }
    }
}

/// Streams in every state, with times that lie a known while back.
enum CommandStatusExample {
    /// Asked anew each time: some while may pass between two tests, and ages are told to the minute.
    static var now: Date { Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded()) }
    static func ago(_ seconds: Double) -> Date { now.addingTimeInterval(-seconds) }

    static func model(id: Int64 = 12) -> ModelMessage {
        ModelMessage(
            id: id, stream: "pump-7", state: "serving", reason: "0.2 nats better",
            family: "realnvp", fittedAt: ago(7_260), activatedAt: ago(7_260),
            recordCount: 100_000, parameterCount: 31_234, heldOutLogLikelihood: -3.25,
            file: "models/pump-7/\(id).safetensors", fileBytes: 140_000)
    }

    static func threshold() -> ThresholdMessage {
        ThresholdMessage(
            model: 12, kind: "calibrated", logLikelihood: -18.2, upperLogLikelihood: 9.5,
            probability: 2.3e-6, validFrom: Date(timeIntervalSince1970: 1_795_472_645),
            reason: "2 false alarms a day at 864000 records a day")
    }

    static func episode() -> EpisodeMessage {
        EpisodeMessage(
            sequence: 88, startedAt: Date(timeIntervalSince1970: 1_795_472_645),
            lastAnomalyAt: Date(timeIntervalSince1970: 1_795_472_705), isEnded: false,
            peakAt: Date(timeIntervalSince1970: 1_795_472_685), peakLogLikelihood: -52.5,
            anomalyCount: 12, topFeatures: ["pressure", "flow"])
    }

    static func watching() -> StreamStatus {
        var stream = StreamStatus(
            name: "pump-7", sourceKind: "file", source: "/var/log/pump-7.csv", format: "csv",
            asked: AlarmRate(perDay: 2, probability: 2.3e-6))
        stream.state = .watching
        stream.recordsTotal = 1_234_567
        stream.recordsPerSec = 10
        stream.faultsTotal = 12
        stream.faults = [
            FaultCount(code: "not_a_number", count: 7), FaultCount(code: "ragged_row", count: 5),
        ]
        stream.quarantine = "/var/lib/flowguard/quarantine/pump-7.ndjson"
        stream.anomaliesTotal = 31
        stream.anomaliesLastDay = 3
        stream.measured = MeasuredAlarms(
            perDay: 3.14, share: 3.6e-6, records: 1_234_000, days: 1.43)
        stream.threshold = threshold()
        stream.model = model()
        stream.lastFit = FitMessage(
            id: 40, state: "rejected", trigger: "periodic", queuedAt: ago(3_700),
            startedAt: ago(3_690), endedAt: ago(3_630), recordCount: 100_000, model: 13,
            heldOutLogLikelihood: -3.4, message: "it does not explain the newest data better")
        stream.backlogBytes = 1_234_567
        stream.lastRecordAt = ago(150)
        return stream
    }

    /// Healthy, in alarm, learning, failing and waiting.
    static func report() -> StatusReport {
        var alarm = watching()
        alarm.name = "pump-8"
        alarm.openEpisode = episode()
        alarm.fit = FitProgressMessage(
            id: 41, state: "running", phase: "training", step: 400, stepLimit: 2_000,
            fraction: 0.21, etaSecs: 34)
        var learning = StreamStatus(
            name: "host", sourceKind: "socket", source: "/run/flowguard/host.sock",
            format: "ndjson", asked: AlarmRate(perDay: 2, probability: nil))
        learning.state = .learning
        learning.recordsTotal = 900
        learning.recordsPerSec = 1
        learning.learning = LearningProgress(have: 900, need: 2_000, etaSecs: 1_100)
        var failing = watching()
        failing.name = "a-stream-with-a-very-long-name"
        failing.state = .failing
        failing.recordsPerSec = 0
        failing.lastError = StreamProblem(
            message:
                "store /var/lib/flowguard/flowguard.sqlite: no room to write, the disk is full",
            hint: "free some space; the daemon goes on by itself", time: ago(30))
        let waiting = StreamStatus(
            name: "lathe", sourceKind: "file", source: "/var/log/lathe.csv", format: "csv",
            asked: AlarmRate(perDay: nil, probability: 1e-4))
        return StatusReport(
            version: "0.1.0", pid: 4_242, uptimeSecs: 273_600, time: now,
            configuration: "/etc/flowguard/flowguard.yaml",
            stateDirectory: "/var/lib/flowguard", blasCore: "Haswell",
            warnings: ["the reload at 03:12 was refused: 2 problems in the configuration"],
            streams: [watching(), alarm, learning, failing, waiting])
    }

    static func detail() -> StreamDetail {
        var ended = episode()
        ended.sequence = 87
        ended.isEnded = true
        ended.startedAt = ended.startedAt.addingTimeInterval(-86_400)
        ended.lastAnomalyAt = ended.startedAt.addingTimeInterval(240)
        var status = watching()
        status.openEpisode = episode()
        status.suppressed = [
            SuppressedCount(cause: "maintenance", count: 30),
            SuppressedCount(cause: "pressure only above", count: 7),
        ]
        status.labels = LabelCounts(falseAlarms: 1, confirmed: 2)
        status.drift = DriftMessage(
            features: [
                .init(name: "pressure", stabilityIndex: 0.41, isBig: true),
                .init(name: "current", stabilityIndex: 0.03, isBig: false),
            ], scoreEvidenceNats: 17.2, scoresChanged: true, scoresChangedRecords: 1_200)
        return StreamDetail(
            status: status,
            features: ["accelerometer1", "accelerometer2", "current", "pressure", "temperature"],
            timeColumn: "datetime", fits: status.lastFit.map { [$0] } ?? [],
            episodes: [episode(), ended])
    }
}
