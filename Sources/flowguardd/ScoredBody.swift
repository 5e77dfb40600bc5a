import Detection
import FlowDensity
import Foundation
import HTTPTypes
import Ingest

/// A body of lines, scored, with what a client should know of it.
struct ScoredBody: Sendable {
    private(set) var output: [UInt8] = []
    private var scored = 0
    private var anomalies = 0
    private var faults = 0
    private var reasons: [String] = []

    /// Reasons that are told; the rest is only counted.
    private static let maximumReasons = 100

    /// Scores the lines.
    ///
    /// - Throws: `HTTPFailure` when the header lacks a column that the model needs.
    init(
        _ bytes: [UInt8], serving: ServingModel, format: FormatOptions,
        output form: BatchScorer.Output
    ) async throws {
        self = try await offload {
            try ScoredBody(lines: bytes, serving: serving, format: format, output: form)
        }
    }

    private init(
        lines bytes: [UInt8], serving: ServingModel, format: FormatOptions,
        output form: BatchScorer.Output
    ) throws {
        var framer = LineFramer(format: format, input: 1, name: "the request")
        bytes.withUnsafeBytes { framer.append($0) }
        var scorer = BatchScorer(
            detector: serving.detector, threshold: serving.threshold, format: format, output: form)
        while let batch = framer.takeBatch(atEnd: true) {
            let result: BatchScorer.Result
            do {
                result = try scorer.process(batch)
            } catch {
                throw HTTPFailure(
                    .unprocessableContent, "\(error)",
                    hint:
                        "the model reads \(serving.detector.schema.features.joined(separator: ", "))"
                )
            }
            output += result.output
            scored += result.scoredCount
            anomalies += result.anomalyCount
            faults += result.faults.count
            for fault in result.faults.prefix(Self.maximumReasons - reasons.count) {
                reasons.append("line \(fault.lineNumber): \(fault.reason)")
            }
            if batch.isLast { break }
        }
    }

    /// The counts, and the first reasons why lines were not scored.
    var headers: [(name: String, value: String)] {
        [
            ("X-Flowguard-Scored", String(scored)), ("X-Flowguard-Anomalies", String(anomalies)),
            ("X-Flowguard-Faults", String(faults)),
        ]
            + reasons.map { reason in
                ("X-Flowguard-Fault", Self.headerText(reason))
            }
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
