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
            board.attach(nil)
            forgetInputs()
        }
        countedDrops = 0
        board.attach(source)
        board.hasStarted = true
        publish()
        var underway: LineBatch?
        do {
            // After the wish to stop a source still gives what it has taken from its clients.
            while !board.isStopOverdue, let batch = try await source.next() {
                board.beat(isBusy: true)
                defer { board.beat(isBusy: false) }
                underway = batch
                try await take(batch, from: source)
                underway = nil
                await waitForRoom()
            }
        } catch {
            await countLost(underway, of: source)
            throw error
        }
        await countLost(nil, of: source)
        if configuration.source == .standardInput, !board.isStopping {
            hasEnded = true
            logger.info("standard input has ended")
            publish()
        }
    }

    /// Commits a batch, and tells its source.
    private func take(_ batch: LineBatch, from source: any LineSource) async throws {
        let fresh = withoutDuplicates(batch)
        duplicatesUnderway = Int64(batch.lines.count - fresh.lines.count)
        defer { duplicatesUnderway = 0 }
        do {
            let faults = try await take(fresh)
            source.didCommit(batch, faultCount: faults)
        } catch let error as IngestError {
            guard let directory = source as? DirectorySource else { throw error }
            // One file of many: the others are read all the same.
            logger.error("file failed", metadata: ["error": "\(error)"])
            directory.fail()
        }
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
            logger.error("their number was not stored", metadata: ["error": "\(error)"])
        }
    }

    private func openSource() async throws -> any LineSource {
        let format = configuration.format
        let activated = environment.activated.descriptor(at: configuration.source.path)
        switch configuration.source {
        case .file(let path) where FileSetSource.isPattern(path):
            let known = try environment.store.sourceFiles(stream: name).map(FilePosition.init)
            return FileSetSource(
                pattern: path, format: format, resume: known.filter { matches($0.path, path) })
        case .file(let path):
            // The place in another file says nothing of this one.
            let known = position.flatMap { $0.path == path ? FilePosition($0) : nil }
            return FileSource(path: path, format: format, resume: known)
        case .directory(let path):
            let known = position.flatMap { $0.path.hasPrefix(path + "/") ? FilePosition($0) : nil }
            return DirectorySource(folder: path, format: format, resume: known)
        case .socket(let socket):
            var options = SocketSource.Options()
            options.acknowledges = socket.acknowledge
            options.committed = state.clients.all
            options.overflow = try overflow(of: socket)
            options.activated = activated
            let source = SocketSource(path: socket.path, format: format, options: options)
            try await source.start()
            return source
        case .datagram(let path):
            let source = DatagramSource(path: path, format: format, activated: activated)
            try source.start()
            return source
        case .pipe(let path):
            let source = PipeSource(path: path, format: format, activated: activated)
            try source.start()
            return source
        case .standardInput:
            return DescriptorSource(
                descriptor: STDIN_FILENO, name: configuration.source.path, format: format)
        }
    }

    /// Whether a file belongs to a pattern: one that was read under another configuration does not.
    private func matches(_ path: String, _ pattern: String) -> Bool {
        fnmatch(pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0
    }

    private func overflow(of socket: SocketConfiguration) throws -> OverflowPolicy {
        switch socket.overflow {
        case .block: return .block
        case .dropOldest: return .dropOldest
        case .spill:
            let folder = environment.directory.spoolFolder
            try StateDirectory.makeFolder(folder)
            return .spill(
                folder: folder + "/" + name, limit: Int64(socket.overflowBytes),
                resume: state.spool)
        }
    }
}

/// The greatest number that is committed of each client with a name.
struct ClientNumbers: Codable, Equatable {
    /// So many clients are remembered; then the one that sent nothing for longest is forgotten.
    static let limit = 1_000

    /// The client that sent last is the last one.
    private var names: [String] = []
    private var numbers: [String: Int64] = [:]

    var all: [String: Int64] { numbers }

    /// `nil` for a client that is not known.
    func committed(_ client: String) -> Int64? { numbers[client] }

    mutating func commit(_ client: String, through number: Int64) {
        if names.last != client {
            if numbers[client] != nil { names.removeAll { $0 == client } }
            names.append(client)
        }
        numbers[client] = max(number, numbers[client] ?? 0)
        if names.count > Self.limit { numbers[names.removeFirst()] = nil }
    }
}
