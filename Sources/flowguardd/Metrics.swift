import Control
import Detection
import Foundation
import Ingest
import Settings
import Store
import Streams

/// The Prometheus text of everything that the daemon counts.
enum Metrics {
    /// The text, from the workers' boards alone: a stuck store does not make it wait.
    static func text(_ workers: [StreamWorker], status: DaemonStatus, log: AnomalyLogWriter)
        -> String
    {
        var page = Page()
        let reloads = status.reloads
        page.family("flowguard_info", "gauge", "Always 1; the labels say what runs.")
        page.sample(
            "flowguard_info",
            [("version", FlowguardVersion.current), ("blas_core", status.blasCore)],
            1)
        page.single("flowguard_uptime_seconds", "gauge", "Time since the start.", status.uptimeSecs)
        page.single(
            "flowguard_resident_memory_bytes", "gauge", "Memory of the process.", residentBytes)
        page.single(
            "flowguard_config_last_reload_successful", "gauge",
            "Whether the newest reload was taken over.", status.isReloadGood ? 1 : 0)
        page.single(
            "flowguard_config_reloads_total", "counter", "Reloads asked for.",
            Double(reloads.done))
        page.single(
            "flowguard_config_reloads_failed_total", "counter", "Reloads not taken over.",
            Double(reloads.failed))
        page.single(
            "flowguard_anomaly_log_failing", "gauge", "Whether the anomaly log cannot be written.",
            log.currentProblem == nil ? 0 : 1)
        let streams = workers.map { Stream(worker: $0) }
        for metric in Stream.metrics {
            page.family(metric.name, metric.type, metric.help)
            // A counter that is 0 for a moment, and then what it was, would seem to have grown by all of it.
            for stream in streams where stream.snapshot.isOpen {
                guard let value = metric.value(stream) else { continue }
                page.sample(metric.name, [("stream", stream.name)], value)
            }
        }
        page.family(
            "flowguard_faults_total", "counter", "Lines that went to the quarantine, by reason.")
        for stream in streams {
            for (code, count) in stream.snapshot.counters.faults.sorted(by: { $0.key < $1.key }) {
                page.sample(
                    "flowguard_faults_total", [("stream", stream.name), ("code", code)],
                    Double(count))
            }
        }
        page.family(
            "flowguard_suppressed_anomalies_total", "counter",
            "Anomalies that were no alarm, by what kept them from it.")
        for stream in streams {
            for (cause, count) in stream.snapshot.counters.suppressed.sorted(by: { $0.key < $1.key }
            ) {
                page.sample(
                    "flowguard_suppressed_anomalies_total",
                    [("stream", stream.name), ("cause", cause)], Double(count))
            }
        }
        page.family(
            "flowguard_feature_stability_index", "gauge",
            "How far a feature has moved since the serving model's fit: above 0.25 is much.")
        for stream in streams {
            for feature in stream.snapshot.featureDrift {
                page.sample(
                    "flowguard_feature_stability_index",
                    [("stream", stream.name), ("feature", feature.name)], feature.index)
            }
        }
        page.family("flowguard_stream_state", "gauge", "1 for the state that the stream is in.")
        for stream in streams {
            for state in StreamState.allCases {
                page.sample(
                    "flowguard_stream_state", [("stream", stream.name), ("state", state.rawValue)],
                    stream.phase == state ? 1 : 0)
            }
        }
        return page.text
    }

    private struct Stream {
        let name: String
        let snapshot: StreamSnapshot
        let phase: StreamState
        let inflow: StreamBoard.Inflow
        let droppedLines: Int64
        let failedFiles: Int64

        init(worker: StreamWorker) {
            name = worker.name
            snapshot = worker.board.snapshot
            phase = worker.board.phase
            inflow = worker.board.inflow
            droppedLines = worker.board.droppedLines
            failedFiles = worker.board.failedFiles
        }

        struct Metric {
            var name: String
            var type: String
            var help: String
            var value: (Stream) -> Double?
        }

        static var metrics: [Metric] {
            [
                Metric(name: "flowguard_records_total", type: "counter", help: "Records taken in.")
                {
                    Double($0.snapshot.counters.records)
                },
                Metric(
                    name: "flowguard_scored_records_total", type: "counter", help: "Records scored."
                ) {
                    Double($0.snapshot.counters.scored)
                },
                Metric(
                    name: "flowguard_keys", type: "gauge",
                    help: "Keys of a stream with a key that have had records."
                ) { $0.snapshot.keys.map { Double($0.known) } },
                Metric(
                    name: "flowguard_live_keys", type: "gauge",
                    help: "Those of them that are in memory."
                ) { $0.snapshot.keys.map { Double($0.live) } },
                Metric(
                    name: "flowguard_alarming_keys", type: "gauge",
                    help: "Those in memory whose episode has not ended."
                ) { $0.snapshot.keys.map { Double($0.alarming.count) } },
                Metric(
                    name: "flowguard_unscored_records_total", type: "counter",
                    help: "Records that left the window before there was a model."
                ) { Double($0.snapshot.counters.unscored) },
                Metric(
                    name: "flowguard_gaps_total", type: "counter",
                    help: "Gaps in the time of the records."
                ) { Double($0.snapshot.counters.gaps) },
                Metric(
                    name: "flowguard_lost_lines_total", type: "counter",
                    help: "Lines of clients that could not be taken before a stop."
                ) { Double($0.snapshot.counters.lost) },
                Metric(
                    name: "flowguard_dropped_lines_total", type: "counter",
                    help: "Lines that were dropped because clients were ahead."
                ) { Double($0.droppedLines) },
                Metric(
                    name: "flowguard_duplicate_lines_total", type: "counter",
                    help: "Lines that clients sent again though they were committed."
                ) { Double($0.snapshot.counters.duplicates) },
                Metric(
                    name: "flowguard_late_points_total", type: "counter",
                    help: "Long rows that came when the step of their time was closed."
                ) { $0.snapshot.pointCounts.map { Double($0.late) } },
                Metric(
                    name: "flowguard_duplicate_points_total", type: "counter",
                    help: "Long rows with a value of a series and time that there was already."
                ) { $0.snapshot.pointCounts.map { Double($0.duplicate) } },
                Metric(
                    name: "flowguard_unknown_points_total", type: "counter",
                    help: "Long rows without a value of a series that is a feature."
                ) { $0.snapshot.pointCounts.map { Double($0.unknown) } },
                Metric(
                    name: "flowguard_spooled_bytes", type: "gauge",
                    help: "Bytes of clients' lines that wait on disk."
                ) { Double($0.inflow.spooledBytes) },
                Metric(
                    name: "flowguard_spool_damaged_segments", type: "gauge",
                    help:
                        "Files of the spool that were damaged, since the source was opened."
                ) { Double($0.inflow.spoolLosses.damagedSegments) },
                Metric(
                    name: "flowguard_failed_files", type: "gauge",
                    help:
                        "Files of a directory that could not be read, since the stream was first seen."
                ) { Double($0.failedFiles) },
                Metric(name: "flowguard_anomalies_total", type: "counter", help: "Anomalies found.")
                {
                    Double($0.snapshot.counters.anomalies)
                },
                Metric(
                    name: "flowguard_batches_total", type: "counter",
                    help: "Batches committed since the start."
                ) {
                    Double($0.snapshot.batchesTotal)
                },
                Metric(
                    name: "flowguard_batch_seconds_total", type: "counter",
                    help: "Time spent on these batches."
                ) {
                    $0.snapshot.batchSecsTotal
                },
                Metric(
                    name: "flowguard_backlog_bytes", type: "gauge",
                    help: "Bytes of the file not committed yet."
                ) {
                    Double($0.inflow.backlogBytes)
                },
                Metric(name: "flowguard_connections", type: "gauge", help: "Clients on the socket.")
                {
                    Double($0.inflow.connections)
                },
                Metric(
                    name: "flowguard_refused_connections_total", type: "counter",
                    help: "Clients turned away since the start, because there were too many."
                ) { Double($0.inflow.refusedConnections) },
                Metric(
                    name: "flowguard_last_record_timestamp_seconds", type: "gauge",
                    help: "Time of the newest record."
                ) {
                    $0.snapshot.lastRecordAt
                },
                Metric(name: "flowguard_model_id", type: "gauge", help: "The serving model.") {
                    $0.snapshot.serving.map { Double($0.row.id) }
                },
                Metric(
                    name: "flowguard_model_fitted_timestamp_seconds", type: "gauge",
                    help: "When the serving model was fitted."
                ) {
                    $0.snapshot.serving?.row.fittedAt
                },
                Metric(
                    name: "flowguard_threshold_log_likelihood_nats", type: "gauge",
                    help: "Records below are anomalies."
                ) {
                    $0.snapshot.serving?.threshold.logLikelihood
                },
                Metric(
                    name: "flowguard_false_alarm_probability", type: "gauge",
                    help: "The share of normal records that may be called anomalies."
                ) {
                    $0.snapshot.askedProbability
                },
                Metric(
                    name: "flowguard_score_drift_evidence_nats", type: "gauge",
                    help: "What speaks for a drift of the scores: above 13.8 is enough."
                ) {
                    $0.snapshot.scoreDrift?.evidenceNats
                },
                Metric(
                    name: "flowguard_fit_running", type: "gauge",
                    help: "Whether a fit waits or runs, also of a key."
                ) {
                    let isFitting = $0.snapshot.fit.map { !$0.state.isEnded } ?? false
                    return isFitting || ($0.snapshot.keys?.fitting ?? 0) > 0 ? 1 : 0
                },
                Metric(
                    name: "flowguard_episode_open", type: "gauge",
                    help: "Whether an episode has not ended, also of a key."
                ) {
                    let isKeyAlarming = $0.snapshot.keys?.alarming.isEmpty == false
                    return $0.snapshot.openEpisode != nil || isKeyAlarming ? 1 : 0
                },
            ]
        }
    }

    private struct Page {
        private(set) var text = ""

        mutating func family(_ name: String, _ type: String, _ help: String) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
        }

        mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
            let list = labels.map { "\($0)=\"\(Self.escaped($1))\"" }.joined(separator: ",")
            text += name + (list.isEmpty ? "" : "{\(list)}") + " \(Self.number(value))\n"
        }

        mutating func single(_ name: String, _ type: String, _ help: String, _ value: Double) {
            family(name, type, help)
            sample(name, [], value)
        }

        /// The format escapes these three; a carriage return, at which some readers part lines, becomes `\r` in the label itself.
        private static func escaped(_ text: String) -> String {
            text.replacingScalars([
                "\\": "\\\\", "\"": "\\\"", "\n": "\\n", "\r": "\\\\r",
            ])
        }

        private static func number(_ value: Double) -> String {
            guard value.isFinite else { return value.isNaN ? "NaN" : value > 0 ? "+Inf" : "-Inf" }
            return value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
        }
    }

    /// From `/proc/self/statm`, whose second number is in pages.
    private static var residentBytes: Double {
        let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .ascii)
        let pages = text?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0
        return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }
}
