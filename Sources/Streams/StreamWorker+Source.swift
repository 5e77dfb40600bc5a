import Foundation
import Ingest
import Logging
import Settings
import Store

extension StreamWorker {
    /// Reads the source until it ends or an error makes it necessary to open it anew.
    func readSource() async throws {
        let source = try await openSource()
        defer {
            source.stop()
            source.handOver(to: environment.inputs)
            board.attach(nil)
            forgetInputs()
        }
        (countedDrops, countedFailures) = (0, 0)
        board.attach(source)
        board.hasStarted = true
        publish()
        var underway: LineBatch?
        do {
            // After the wish to stop a source still gives what it has taken from its clients.
            while !board.isStopOverdue, let batch = try await nextBatch(of: source) {
                board.beat(isBusy: true)
                defer { board.beat(isBusy: false) }
                underway = batch
                beginBacklog(of: batch)
                try await take(batch, from: source)
                underway = nil
                await waitForRoom()
            }
        } catch {
            await countLost(underway, of: source)
            // That a file is opened anew says nothing of it.
            if configuration.source.isFile { inputFailure = error }
            try? await countFailedFiles(of: source)
            throw error
        }
        await countLost(nil, of: source)
        if configuration.source == .standardInput, !board.isStopping {
            hasEnded = true
            logger.info("standard input has ended")
            publish()
        }
    }

    /// Ends the message of a file that could not be read, once nothing of it is left to read.
    func noticeRecovery() {
        guard inputFailure != nil, configuration.source.isFile, board.inflow.isCaughtUp else {
            return
        }
        inputFailure = nil
        publish()
    }

    /// Logs what had waited on disk and was not given, when there is more of it.
    func tellOfSpool() {
        let losses = board.inflow.spoolLosses
        guard losses != toldSpoolLosses else { return }
        if losses.damagedSegments > toldSpoolLosses.damagedSegments {
            logger.error(
                "the spool is damaged: lines of clients are lost",
                metadata: [
                    "segments": "\(losses.damagedSegments)",
                    "files": "\(losses.damagedFiles.joined(separator: ","))",
                ])
        }
        if losses.repeatedLines > toldSpoolLosses.repeatedLines {
            logger.notice(
                "spooled lines are left to clients that send them again",
                metadata: ["lines": "\(losses.repeatedLines)"])
        }
        toldSpoolLosses = losses
    }

    /// Commits a batch, and tells its source.
    private func take(_ batch: LineBatch, from source: any LineSource) async throws {
        let fresh = withoutDuplicates(batch)
        duplicatesUnderway = Int64(batch.lines.count - fresh.lines.count)
        defer { duplicatesUnderway = 0 }
        do {
            let faults = try await take(fresh) { lookAhead(in: source) }
            source.didCommit(batch, faultCount: faults)
            if batch.hasStrayStart {
                logger.warning(
                    "file is read under the header before: its first line names none of its columns",
                    metadata: ["source.path": "\(batch.inputName)"])
            }
        } catch let found as IngestError {
            // A file that was rotated away is not to be looked for at the path.
            let error = batch.resume?.currentPath.map(found.naming) ?? found
            // One file of many: the others are read all the same.
            switch source {
            case let directory as DirectorySource:
                logger.error("file failed", metadata: ["error": "\(error)"])
                directory.fail()
            case let files as FileSetSource:
                if files.refuse(batch, because: error) {
                    logger.error("file is not read", metadata: ["error": "\(error)"])
                }
            default:
                throw error
            }
            forgetInput(batch.input)
            endBacklog()
        }
        try await countFailedFiles(of: source)
    }

    /// Stores how many files of a directory were given up, if there are more.
    private func countFailedFiles(of source: any LineSource) async throws {
        guard let source = source as? DirectorySource else { return }
        let failed = Int64(source.failedFileCount())
        guard failed > countedFailures else { return }
        try await insist {
            var next = state
            next.counters.failedFiles += failed - countedFailures
            try store(next, position: position)
        }
        countedFailures = failed
        publish()
    }

    /// Leaves out the lines of a client that were committed before.
    private func withoutDuplicates(_ batch: LineBatch) -> LineBatch {
        guard let numbering = batch.numbering, let client = numbering.client,
            let committed = state.clients.committed(client), numbering.first <= committed
        else { return batch }
        var fresh = batch
        let count = Int(min(committed - numbering.first + 1, Int64(batch.lines.count)))
        fresh.lines.removeFirst(count)
        fresh.numbering?.first += Int64(count)
        return fresh
    }

    /// Notes what a batch says of its source, so that it is committed with the records.
    func note(_ batch: LineBatch, in next: inout WorkerState) {
        next.spool = batch.spool ?? next.spool
        if let numbering = batch.numbering, let client = numbering.client, !batch.lines.isEmpty {
            next.clients.commit(
                client, through: numbering.first + Int64(batch.lines.count) - 1)
        }
        next.counters.duplicates += duplicatesUnderway
        next.counters.dropped += max(0, board.inflow.droppedLines - countedDrops)
    }

    /// Counts the lines that clients have sent and that cannot be taken any more; a file keeps its own, a spool too, and a
    /// client that waits for acknowledgements sends again what it has none for.
    ///
    /// - Parameter batch: One that was on its way.
    private func countLost(_ batch: LineBatch?, of source: any LineSource) async {
        guard !configuration.source.isFile else { return }
        source.stop()
        var lost = batch?.lines.count ?? 0
        if let socket = source as? SocketSource {
            lost = socket.keepRest(batch)
        } else {
            while let rest = try? await source.next() { lost += rest.lines.count }
        }
        let dropped = max(0, board.inflow.droppedLines - countedDrops)
        guard lost > 0 || dropped > 0 else { return }
        if lost > 0 { logger.error("lines of clients lost", metadata: ["lines": "\(lost)"]) }
        var next = state
        next.counters.lost += Int64(lost)
        next.counters.dropped += dropped
        do {
            try store(next, position: position)
            countedDrops += dropped
        } catch {
            logger.error(
                "their number was not stored",
                metadata: ["lost": "\(lost)", "dropped": "\(dropped)", "error": "\(error)"])
        }
    }

    private func openSource() async throws -> any LineSource {
        let format = configuration.format
        let activated = environment.activated.descriptor(at: configuration.source.path)
        switch configuration.source {
        case .file(let path) where FileSetSource.isPattern(path):
            return FileSetSource(
                pattern: path, format: format, resume: try knownFiles(),
                neededColumns: neededColumns)
        case .file(let path):
            return FileSource(
                path: path, format: format, resume: try knownFiles().place(in: path),
                neededColumns: neededColumns)
        case .directory(let path):
            return DirectorySource(
                folder: path, format: format, resume: position.map(FilePosition.init))
        case .socket(let socket):
            var options = SocketSource.Options()
            options.acknowledges = socket.acknowledge
            options.committed = state.clients
            options.overflow = try overflow(of: socket)
            options.spool = SpoolPlace(
                folder: environment.directory.spoolFolder + "/" + name, resume: state.spool)
            options.neededColumns = neededColumns
            options.activated = activated
            let source = SocketSource(path: socket.path, format: format, options: options)
            try await source.start()
            return source
        case .datagram(let path):
            let source = DatagramSource(path: path, format: format, activated: activated)
            try source.start()
            return source
        case .pipe(let path):
            let source = PipeSource(
                path: path, format: format, activated: activated, neededColumns: neededColumns)
            try source.start(after: environment.inputs)
            return source
        case .standardInput:
            return DescriptorSource(
                descriptor: STDIN_FILENO, name: configuration.source.path, format: format,
                after: environment.inputs, neededColumns: neededColumns())
        }
    }

    /// The columns that a header must have, as far as they are known.
    private var neededColumns: @Sendable () -> Set<String>? {
        let (configuration, board) = (configuration, board)
        let key = configuration.key?.column
        @Sendable func all(_ columns: [String], time: String?) -> Set<String> {
            Set(columns + [time, key].compactMap(\.self))
        }
        if let rows = configuration.longRows {
            let columns = all(rows.series + rows.values, time: configuration.longRowsTime)
            return { columns }
        }
        if let features = configuration.features {
            let columns = all(features + configuration.categories, time: configuration.timeColumn)
            return { columns }
        }
        return { board.snapshot.schema.map { all($0.columns, time: $0.time) } }
    }

    /// Where to go on in the files that were read, also under another configuration; the one of the newest commit is last.
    private func knownFiles() throws -> [FilePosition] {
        var known = try environment.store.sourceFiles(stream: name)
        if let position, known.last != position {
            // Builds before this table kept the place in a single file only here.
            known.removeAll { ($0.device, $0.inode) == (position.device, position.inode) }
            known.append(position)
        }
        return known.map(FilePosition.init)
    }

    private func overflow(of socket: SocketConfiguration) throws -> OverflowPolicy {
        switch socket.overflow {
        case .block: return .block
        case .dropOldest: return .dropOldest
        case .spill:
            try StateDirectory.makeFolder(environment.directory.spoolFolder)
            return .spill(limit: Int64(socket.overflowBytes))
        }
    }
}
