import ArgumentParser
import Control
import Detection
import FlowDensity
import Foundation
import Ingest
import Settings
import Streams
import Synchronization

/// What the daemon would have done with a history.
struct ReplayCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "What the daemon would have found in your history.",
        discussion: """
            Takes the records of the files through the stream as the configuration has it: the same \
            fits at the same records, the same thresholds, the same episodes, by the times in the \
            records. Records without a time column are taken to come evenly, one a second unless \
            --records-per-day says otherwise. Format and delimiter are the stream's, unless options \
            say otherwise. The daemon, its state and its log are not touched.

            With --label, a column of 0 and 1 or true and false says which records are known to be \
            anomalies. The model never sees it. Each run of such records is a window, which is hit \
            when an anomaly is found in it.

            EXAMPLES
              flowguardctl replay --config f.yaml --stream pump-7 jan.csv feb.csv
              flowguardctl replay --config f.yaml --stream p --label fault --plot p.svg h.csv
              flowguardctl replay --config f.yaml --stream pump-7 --json h.csv | jq .alarms
              flowguardctl replay --config f.yaml --stream pump-7 2026-*.csv.gz
            """)

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String

    @Option(help: ArgumentHelp("The stream in the configuration.", valueName: "name"))
    var stream: String

    @Argument(
        help: ArgumentHelp(
            "The history, in order, gzip and zstd included; - is standard input.", valueName: "file"
        ))
    var files: [String]

    @Option(help: ArgumentHelp("The column of known anomalies.", valueName: "column"))
    var label: String?

    @Option(
        help: ArgumentHelp(
            "Draw scores, threshold, episodes, fits and windows.", valueName: "out.svg"))
    var plot: String?

    @Option(
        help: ArgumentHelp(
            "Write every record with its scores; a named pipe takes it too.", valueName: "out.csv"))
    var records: String?

    @Option(
        name: [.customShort("n"), .long], parsing: .unconditional,
        help: ArgumentHelp("Episodes that are listed, the strangest.", valueName: "count"))
    var count = 10

    @Option(
        help: ArgumentHelp(
            "The rate of records that have no time. (default: 86400)", valueName: "number"))
    var recordsPerDay: Double?

    @Flag(help: "One JSON document: everything that is told, and all episodes and fits.")
    var json = false

    @OptionGroup var input: InputOptions
    @OptionGroup var threads: ThreadOptions

    func validate() throws {
        for (option, path) in [("--plot", plot), ("--records", records)] {
            if let path { try WholeFile.validateName(path, of: option) }
        }
        if count < 0 { throw ValidationError("-n: expected a number from 0, found \(count)") }
        if let recordsPerDay, !(recordsPerDay > 0 && recordsPerDay <= 1e12) {
            throw ValidationError(
                "--records-per-day: expected a number above 0 and up to 1e12, "
                    + "found \(recordsPerDay)")
        }
        if files.count(where: { $0 == "-" }) > 1 {
            throw ValidationError("FILE: expected - once, found it twice")
        }
        if let plot, !plot.lowercased().hasSuffix(".svg") {
            throw ValidationError(
                "--plot: expected a path that ends in .svg, found '\(plot)'; a browser shows an "
                    + "SVG, and rsvg-convert makes a PNG of it")
        }
    }

    func execute() async throws {
        var configured = try FlowguardConfiguration(path: config).stream(named: stream)
        let format = input.format(over: configured.format) ?? configured.format
        try configured.requireFormat(format)
        configured.format = format
        if files.contains("-"), isatty(STDIN_FILENO) == 1 {
            throw CommandFailure(
                "standard input: expected records, found a terminal",
                hint: "give files, or a pipe: cat *.csv | flowguardctl replay … -",
                status: .usage)
        }
        for path in [plot, records].compactMap(\.self) { try WholeFile.requireWritable(path) }
        BLASCore.prepare()
        let request = Replay.Request(
            stream: configured, files: files, label: label,
            recordsPerDay: recordsPerDay ?? 86_400, parallel: threads.parallel)
        let replay = try Replay(request)
        let history = try await run(replay)
        let summary = ReplaySummary(history, of: request)
        guard
            summary.records.total > 0 || !summary.records.faults.isEmpty
                || summary.records.points != nil
        else {
            throw IngestError.noRecords(input: files[0] == "-" ? "standard input" : files[0])
        }
        if let records {
            try WholeFile.write(ReplayRecordsFile.bytes(history, request), to: records)
        }
        if let plot {
            try WholeFile.write(Array(ReplayPlot(history, summary).text.utf8), to: plot)
        }
        if json {
            try StandardOutput.write(json: ControlJSON.encode(summary, pretty: true))
        } else {
            let view = ReplayView(terminal: .output, summary: summary)
            try StandardOutput.write(view.text(episodes: count))
        }
    }

    /// Runs it, shows how far it is, and ends it tidily on a signal.
    private func run(_ replay: Replay) async throws -> ReplayHistory {
        let received = Mutex<Int32?>(nil)
        let sources = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                received.withLock { $0 = number }
                replay.stop()
            }
            source.resume()
            return source
        }
        let display = Task {
            var progress = Progress(linesElsewhere: false)
            while !Task.isCancelled {
                show(replay.progress, in: &progress)
                try? await Task.sleep(for: .milliseconds(200))
            }
            progress.finish()
        }
        defer { for source in sources { source.cancel() } }
        let result: Result<ReplayHistory, any Error>
        do {
            result = .success(try await replay.run())
        } catch {
            result = .failure(error)
        }
        display.cancel()
        await display.value
        if let number = received.withLock(\.self) {
            // The process ends the way the signal would have ended it; this thread may have it blocked.
            var set = sigset_t()
            sigemptyset(&set)
            sigaddset(&set, number)
            signal(number, SIG_DFL)
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
            raise(number)
        }
        return try result.get()
    }

    private func show(_ state: Replay.Progress, in progress: inout Progress) {
        let detail = state.fit.map { "fit \($0.id) \(Int(100 * $0.fraction))%" } ?? ""
        progress.show(
            fraction: state.fraction, phase: Format.plural(state.records, "record"),
            detail: detail)
    }
}

/// Every record of a replay with its scores, as CSV.
enum ReplayRecordsFile {
    static func bytes(_ history: ReplayHistory, _ request: Replay.Request) -> [UInt8] {
        let hasKeys = request.stream.key != nil
        var text = "record,time,log_likelihood,p_value,anomaly,episode"
        text += (request.label == nil ? "" : ",label") + (hasKeys ? ",key\n" : "\n")
        let hasTimes = history.schema?.time != nil
        for (index, record) in history.records.enumerated() {
            let time =
                hasTimes ? Format.instant(Date(timeIntervalSince1970: record.time)) : ""
            text += "\(index + 1),\(time),"
            if let judgement = record.judgement {
                text += "\(judgement.logLikelihood),\(judgement.pValue),"
                text += judgement.isAnomaly ? "1," : "0,"
                text += judgement.episode.map { "\($0)" } ?? ""
            } else {
                text += ",,,"
            }
            if request.label != nil { text += "," + (record.label.map { $0 ? "1" : "0" } ?? "") }
            if hasKeys { text += "," + CSVText.cell(record.key ?? "") }
            text += "\n"
        }
        return Array(text.utf8)
    }
}
