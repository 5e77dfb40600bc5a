import Detection
import FlowDensity
import Foundation
import HTTPTypes
import Ingest
import NIOCore
import Streams

/// A body of lines that is scored piece by piece, as its reply is read.
///
/// It works on a thread of its own, where it is in nobody's way.
actor ScoredBody {
    private let thread = WorkerThread(name: "score")
    private var body: ByteBuffer
    private let features: [String]
    private var framer: LineFramer
    private var scorer: BatchScorer
    private var isAtEnd = false
    private var scored = 0
    private var anomalies = 0
    private var faults = 0
    private var reasons: [String] = []

    /// Reasons that are told; the rest is only counted.
    private static let maximumReasons = 100
    /// Bytes that are cut into lines at once; a batch of lines is as many.
    private static let pieceBytes = 256 << 10

    nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    init(
        _ body: ByteBuffer, serving: ServingModel, format: FormatOptions,
        output: BatchScorer.Output, key: String?
    ) {
        self.body = body
        features = serving.detector.schema.columns
        framer = LineFramer(
            format: format, limits: BatchLimits(lines: 4_096, bytes: Self.pieceBytes), input: 1,
            name: "the request")
        scorer = BatchScorer(
            detector: serving.detector, threshold: serving.threshold, format: format,
            output: output, key: key)
    }

    /// The next lines with their scores; `nil` after the last.
    ///
    /// - Throws: `HTTPFailure` when the header lacks a column that the model needs.
    func next() throws -> ByteBuffer? {
        while !isAtEnd {
            if let batch = takeBatch() {
                isAtEnd = batch.isLast
                return try score(batch)
            }
        }
        return nil
    }

    private func takeBatch() -> LineBatch? {
        if framer.hasCompleteLine { return framer.takeBatch() }
        let piece = body.readSlice(length: min(Self.pieceBytes, body.readableBytes))
        piece?.withUnsafeReadableBytes { framer.append($0) }
        return framer.takeBatch(atEnd: body.readableBytes == 0)
    }

    private func score(_ batch: LineBatch) throws -> ByteBuffer {
        let result: BatchScorer.Result
        do {
            result = try scorer.process(batch)
        } catch {
            throw HTTPFailure(
                .unprocessableContent, "\(error)",
                hint: "the model reads \(features.joined(separator: ", "))")
        }
        scored += result.scoredCount
        anomalies += result.anomalyCount
        faults += result.faults.count
        for fault in result.faults.prefix(Self.maximumReasons - reasons.count) {
            reasons.append("line \(fault.lineNumber): \(fault.reason)")
        }
        return ByteBuffer(bytes: result.output)
    }

    /// The counts, what of the input the scores stand in for, and the first reasons why lines were not scored.
    var trailers: HTTPFields {
        let all =
            [
                ("X-Flowguard-Scored", String(scored)),
                ("X-Flowguard-Anomalies", String(anomalies)),
                ("X-Flowguard-Faults", String(faults)),
            ] + scorer.replaced.map { ("X-Flowguard-Replaced", $0) }
            + reasons.map { ("X-Flowguard-Fault", Self.headerText($0)) }
        var fields = HTTPFields()
        for (name, value) in all {
            if let name = HTTPField.Name(name) {
                fields.append(HTTPField(name: name, value: value))
            }
        }
        return fields
    }

    /// A header holds printable ASCII only.
    private static func headerText(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(300).map {
                    $0.value >= 0x20 && $0.value < 0x7F ? $0 : "?"
                }))
    }
}
