import Control
import Detection
import Foundation
import HTTPTypes
import Hummingbird
import Ingest
import Logging
import NIOCore
import Settings
import Store
import Streams

extension ControlServer {
    /// The longest body of a change.
    private static let maximumChangeBytes = 64 << 10
    /// The longest body of `score`.
    private static let maximumScoreBytes = 64 << 20
    /// Bodies that are scored at once: they and their replies take memory.
    static let maximumScores = 2

    func addChangingRoutes(_ router: ControlRouter) {
        let streams = router.group("/v1/streams")
        streams.post(":name/retrain") { request, context in
            let worker = try await worker(context)
            let (id, wasUnderway) = try await worker.requestFit(StreamWorker.requestedTrigger)
            await note("retrain", worker, context)
            return try HTTPReply.json(
                RetrainReply(stream: worker.name, fit: id, wasUnderway: wasUnderway),
                status: .accepted)
        }
        streams.put(":name/threshold") { request, context in
            _ = try await self.worker(context)
            let update = try await thresholdUpdate(request, context)
            // A body may take its time: a reload can have put another worker in the place of the first.
            let worker = try await self.worker(context)
            try await change(update, of: worker)
            await note("threshold", worker, context)
            return try await offload {
                try HTTPReply.json(StatusMessages.thresholds(of: worker, store: store))
            }
        }
        streams.get(":name/models/:id/file") { _, context in
            let (worker, id) = try await (worker(context), number(context, "id"))
            return try await offload {
                guard let file = try model(id, of: worker).file else {
                    throw RequestError.prunedModel(id: id)
                }
                let path = directory.path + "/" + file
                let bytes = try Array(Data(contentsOf: URL(fileURLWithPath: path)))
                return HTTPReply.bytes(bytes, type: "application/octet-stream")
            }
        }
        streams.post(":name/models/:id/activate") { _, context in
            let (worker, id) = try await (worker(context), number(context, "id"))
            let row = try await worker.activate(model: id)
            await note("model activate", worker, context)
            return try HTTPReply.json(ModelMessage(row))
        }
        streams.post(":name/score") { request, context in
            let worker = try await worker(context)
            return try await score(request, context, worker)
        }
    }

    func addLabelRoutes(_ router: ControlRouter) {
        router.put("/v1/anomalies/:id/label") { request, context in
            let id = try number(context, "id")
            let update = try await labelUpdate(request, context)
            return try await label(id, update.label, note: update.note, context)
        }
        router.delete("/v1/anomalies/:id/label") { _, context in
            try await label(number(context, "id"), nil, note: nil, context)
        }
    }

    /// Logs who made a change, once it is made.
    private func note(_ change: String, _ worker: StreamWorker, _ context: ControlContext) async {
        let peer = await PeerCredentials.read(from: context.channel)
        logger.notice(
            "control change",
            metadata: [
                "change": "\(change)", "stream": "\(worker.name)",
                "peer.uid": "\(peer.map { String($0.userID) } ?? "unknown")",
                "peer.pid": "\(peer.map { String($0.processID) } ?? "unknown")",
            ])
    }

    /// The body, or `nil` when it is longer.
    ///
    /// The rest of a longer one is read and dropped: a client that still sends does not see the reply.
    private static func body(
        of request: Request, _ context: ControlContext, upTo limit: Int
    ) async throws -> ByteBuffer? {
        context.body.take()
        var body = ByteBuffer()
        var count = 0
        for try await part in request.body {
            count += part.readableBytes
            if count <= limit {
                body.writeImmutableBuffer(part)
            } else if count > RequestBodyState.maximumDroppedBytes {
                break
            }
        }
        return count <= limit ? body : nil
    }

    // MARK: Thresholds

    private func thresholdUpdate(
        _ request: Request, _ context: ControlContext
    ) async throws -> ThresholdUpdate {
        let limit = Self.maximumChangeBytes
        guard let body = try await Self.body(of: request, context, upTo: limit) else {
            throw HTTPFailure(
                .contentTooLarge, "a change has at most \(limit) bytes")
        }
        do {
            return try ControlJSON.decode(ThresholdUpdate.self, from: Data(body.readableBytesView))
        } catch DecodingError.dataCorrupted(let problem)
            where problem.underlyingError is ThresholdUpdate.Refusal
        {
            throw HTTPFailure(.badRequest, problem.debugDescription)
        } catch {
            throw HTTPFailure(
                .badRequest,
                "expected a JSON object with one of log_likelihood, false_alarm_probability, "
                    + "false_alarms_per_day, reset")
        }
    }

    private func change(_ update: ThresholdUpdate, of worker: StreamWorker) async throws {
        let choice: WorkerState.ThresholdChoice =
            switch update {
            case .logLikelihood(let value): .logLikelihood(value)
            case .falseAlarmProbability(let value): .budget(.probability(value))
            case .falseAlarmsPerDay(let value): .budget(.perDay(value))
            case .reset: .configured
            }
        _ = try await worker.setThreshold(choice)
    }

    // MARK: Labels

    private func labelUpdate(
        _ request: Request, _ context: ControlContext
    ) async throws -> (label: AnomalyLabel, note: String?) {
        let body = try await Self.body(of: request, context, upTo: Self.maximumChangeBytes)
        guard let body,
            let update = try? ControlJSON.decode(
                LabelUpdate.self, from: Data(body.readableBytesView)),
            let label = AnomalyLabel(rawValue: update.label)
        else {
            let words = AnomalyLabel.allCases.map { "\"\($0.rawValue)\"" }
            throw HTTPFailure(
                .badRequest,
                "expected a JSON object with a label, one of \(words.joined(separator: ", ")), "
                    + "and perhaps a note")
        }
        guard update.note.map(\.utf8.count) ?? 0 <= LabelUpdate.mostNoteBytes else {
            throw HTTPFailure(
                .badRequest, "note: expected at most \(LabelUpdate.mostNoteBytes) bytes")
        }
        return (label, update.note)
    }

    private func label(
        _ id: Int64, _ label: AnomalyLabel?, note: String?, _ context: ControlContext
    ) async throws -> Response {
        guard let stream = try await offload({ try store.anomaly(id: id)?.stream }) else {
            throw RequestError.unknownAnomaly(id: id)
        }
        guard let worker = try await pool.worker(named: stream) else {
            throw HTTPFailure(
                .conflict, "anomaly \(id) is of stream '\(stream)', which is not watched any more",
                hint: "put the stream back into the configuration")
        }
        let outcome = try await worker.label(anomaly: id, label, note: note)
        await self.note("label", worker, context)
        return try HTTPReply.json(
            LabelReply(
                anomaly: id, stream: stream, label: outcome.row.label?.label.rawValue,
                note: outcome.row.label?.note, episode: outcome.row.anomaly.episode,
                episodeAnomalies: outcome.episodeAnomalies, likeInEpisode: outcome.likeInEpisode,
                like: outcome.like))
    }

    // MARK: Scoring

    /// Scores the lines of the body with the serving model; nothing of it is stored.
    private func score(
        _ request: Request, _ context: ControlContext, _ worker: StreamWorker
    ) async throws -> Response {
        try request.requireKeys(["input_format", "output_format", "delimiter"])
        guard let serving = worker.board.snapshot.serving else {
            throw RequestError.noModel(stream: worker.name)
        }
        let format = try self.format(request, worker)
        let output: BatchScorer.Output = try choice(request, "output_format") ?? .csv
        guard output != .influx || format.format == .influx else {
            throw HTTPFailure(
                .badRequest, "output_format: influx is for points, the input is \(format.format)")
        }
        guard let place = scores.enter() else {
            throw HTTPFailure(
                .serviceUnavailable, "\(Self.maximumScores) bodies are scored already",
                hint: "ask again in a while, or export the model and score without the daemon")
        }
        let limit = Self.maximumScoreBytes
        guard let body = try await Self.body(of: request, context, upTo: limit) else {
            throw HTTPFailure(
                .contentTooLarge, "a body to score has at most \(limit) bytes",
                hint: "send it in parts, or export the model and score without the daemon")
        }
        guard body.readableBytes > 0 else {
            throw HTTPFailure(.badRequest, "the body: expected records, found nothing")
        }
        let scoring = ScoredBody(
            body, serving: serving, format: format, output: output,
            key: worker.configuration.key?.column)
        // What is wrong with the header shows before the reply begins.
        let first = try await scoring.next()
        return Response(
            status: .ok, headers: [.contentType: Self.type(of: output)],
            body: ResponseBody { writer in
                defer { place.leave() }
                var piece = first
                while let bytes = piece {
                    if bytes.readableBytes > 0 { try await writer.write(bytes) }
                    piece = try await scoring.next()
                }
                try await writer.finish(await scoring.trailers)
            })
    }

    private static func type(of output: BatchScorer.Output) -> String {
        switch output {
        case .csv: "text/csv"
        case .ndjson: "application/x-ndjson"
        case .scores, .influx: "text/plain"
        }
    }

    private func format(_ request: Request, _ worker: StreamWorker) throws -> FormatOptions {
        let chosen: FormatName? = try choice(request, "input_format")
        var format = worker.configuration.format
        if let chosen, chosen != .csv || format.format != .csv { format = chosen.options }
        // A batch has a header of its own, whatever the stream's source has.
        format.columns = nil
        if let text = request.uri.queryParameters["delimiter"] {
            let decoded = String(text).removingPercentEncoding ?? String(text)
            guard decoded.utf8.count == 1, let byte = decoded.utf8.first else {
                throw HTTPFailure(.badRequest, "delimiter: expected one ASCII character")
            }
            format.delimiter = byte
        }
        return format
    }

    private func choice<Choice: RawRepresentable & CaseIterable>(
        _ request: Request, _ key: String
    ) throws -> Choice? where Choice.RawValue == String {
        guard let text = request.uri.queryParameters[Substring(key)] else { return nil }
        if let choice = Choice(rawValue: String(text)) { return choice }
        let words = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw HTTPFailure(
            .badRequest, "\(key): expected one of \(words), found '\(text.prefix(40))'")
    }
}
