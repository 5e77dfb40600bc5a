import Detection
import Foundation
import Ingest
import Logging
import Settings

extension StreamWorker {
    /// Whether there is history that must be read before the first fit and the source; a replay is history itself.
    var awaitsHistory: Bool {
        !configuration.history.isEmpty && !state.history.isDone && environment.replay == nil
    }

    /// Reads the files of the stream's past into the training window, once; after a restart it goes on where it stopped.
    func readHistory() async throws {
        guard awaitsHistory else { return }
        guard state.counters.records == 0 else {
            logger.warning("history not read: the stream has records already")
            return try finishHistory()
        }
        let files = try HistoryFiles.find(configuration.history, except: configuration.source.path)
        let begin = ContinuousClock.now
        var finished: Int64 = 0
        var before: Int64 = 0
        let total = files.reduce(0) { $0 + $1.bytes }
        for file in files {
            defer { finished += file.bytes }
            guard !state.history.done.contains(file.path) else {
                before += file.bytes
                continue
            }
            let (done, skipped) = (finished, before)
            try await read(file) { bytes in
                let read = min(done + bytes, total)
                let elapsed = (ContinuousClock.now - begin).inSeconds
                let eta =
                    read > skipped && elapsed > 0.5
                    ? elapsed * Double(total - read) / Double(read - skipped) : nil
                let (state, count) = (self.state.history, files.count)
                self.board.update {
                    $0.history = HistoryProgress(
                        file: file.path, filesDone: state.done.count, files: count, bytesDone: read,
                        bytes: total, records: state.records, etaSecs: eta)
                }
            }
            guard !board.isStopping else { return }
        }
        try finishHistory()
        logger.notice(
            "history read",
            metadata: ["files": "\(files.count)", "records": "\(state.history.records)"])
    }

    private func finishHistory() throws {
        var next = state
        next.history.isDone = true
        next.history.current = nil
        next.history.done = []
        try store(next, position: position)
        board.update { $0.history = nil }
        publish()
    }

    /// Reads one file to its end.
    private func read(_ file: HistoryFiles.File, _ tell: (_ bytes: Int64) -> Void) async throws {
        let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw HistoryError.file(path: file.path, operation: "open", code: errno)
        }
        defer { close(descriptor) }
        let source = DescriptorSource(
            descriptor: descriptor, name: file.path, format: configuration.format)
        defer {
            source.stop()
            forgetInputs()
        }
        if state.history.current != file.path {
            state.history.current = file.path
            state.history.line = 0
        }
        tell(0)
        while !board.isStopping, var batch = try await source.next() {
            board.beat(isBusy: true)
            defer { board.beat(isBusy: false) }
            // Lines that were taken in before a restart.
            let known = state.history.line
            batch.lines.removeAll { $0.number <= known }
            if !batch.lines.isEmpty || batch.header != nil {
                try await take(batch, isHistory: true)
            }
            tell(source.offset)
        }
        guard !board.isStopping else { return }
        var next = state
        next.history.done.append(file.path)
        next.history.current = nil
        next.history.line = 0
        try store(next, position: position)
    }

    /// Takes decoded history into the window.
    func learn(
        _ records: RecordBatch, in window: TrainingWindow?, into next: inout WorkerState
    ) throws {
        if records.rowCount > 0, let window {
            window.rewind(to: state.windowTotal)
            try window.append(records, parallel: Self.cores(for: records.rowCount))
            next.windowTotal = window.total
            next.history.records += Int64(records.rowCount)
        }
        // None of it waits to be scored.
        if serving == nil { next.pendingFrom = next.windowTotal }
    }
}
