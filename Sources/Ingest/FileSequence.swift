import Glibc
import Synchronization

/// Files that are read to their ends, one after the other, with `-` for standard input.
///
/// Each file is an input of its own, with a header of its own.
public final class FileSequence: LineSource {
    /// The first file's name.
    public let name: String

    private let format: FormatOptions
    private let limits: BatchLimits
    private let totalBytes: Int64?
    /// Keeps the descriptors open.
    private let held: [Opened]
    private let state: Mutex<State>

    private struct State {
        var waiting: ArraySlice<Opened>
        var current: DescriptorSource?
        var currentBytes: Int64 = 0
        /// Bytes of the files before the current one, and of the lines of this one that were given.
        var doneBytes: Int64 = 0
        var givenBytes: Int64 = 0
        var isStopped = false
    }

    private struct Opened: Sendable {
        var name: String
        /// `nil` for standard input.
        var descriptor: Descriptor?
        /// `nil` for what is no regular file.
        var bytes: Int64?
    }

    /// Opens all files, so that a wrong name is told before hours of work.
    ///
    /// - Parameters:
    ///   - paths: The files in the order of reading; at least one.
    ///   - format: How their lines are read.
    ///   - limits: How much goes into a batch.
    /// - Throws: `noSuchFile`, `cannotOpen`, `notARegularFile` for a folder, `compressed` for what gzip made.
    public init(
        _ paths: [String], format: FormatOptions, limits: BatchLimits = .init()
    ) throws(IngestError) {
        precondition(!paths.isEmpty, "at least one file")
        var opened: [Opened] = []
        for path in paths { opened.append(try Self.open(path)) }
        name = opened[0].name
        totalBytes =
            opened.contains { $0.bytes == nil }
            ? nil : opened.reduce(0) { $0 + ($1.bytes ?? 0) }
        self.format = format
        self.limits = limits
        held = opened
        state = Mutex(State(waiting: opened[...]))
    }

    private static func open(_ path: String) throws(IngestError) -> Opened {
        guard path != "-" else { return Opened(name: "standard input", descriptor: nil) }
        guard let descriptor = try Descriptor.open(path) else { throw .noSuchFile(path: path) }
        let status = try descriptor.status(name: path)
        guard status.isRegular else {
            if status.kind == S_IFDIR {
                throw .notARegularFile(path: path, found: status.kindText)
            }
            return Opened(name: path, descriptor: descriptor)
        }
        guard try descriptor.bytes(2, at: 0, name: path) != [0x1F, 0x8B] else {
            throw .compressed(path: path)
        }
        return Opened(name: path, descriptor: descriptor, bytes: status.size)
    }

    /// Waits for the next lines; the last batch of each file `isLast`, and `nil` follows that of the last file.
    public func next() async throws(IngestError) -> LineBatch? {
        while let source = current() {
            if let batch = try await source.next() {
                note(batch)
                return batch
            }
        }
        return nil
    }

    /// Ends the sequence.
    public func stop() {
        state.withLock {
            $0.isStopped = true
            $0.current?.stop()
        }
    }

    /// Whether the end of the last file was delivered.
    public func isCaughtUp() -> Bool {
        state.withLock { $0.current == nil && $0.waiting.isEmpty }
    }

    /// The share of the bytes that was given; `nil` where the size of an input is not known.
    public var fraction: Double? {
        guard let totalBytes, totalBytes > 0 else { return nil }
        let read = state.withLock { $0.doneBytes + $0.givenBytes }
        return min(1, Double(read) / Double(totalBytes))
    }

    /// The file that is read, or the next one.
    private func current() -> DescriptorSource? {
        state.withLock { state in
            guard !state.isStopped else { return nil }
            if let current = state.current { return current }
            guard let opened = state.waiting.popFirst() else { return nil }
            state.currentBytes = opened.bytes ?? 0
            state.current = DescriptorSource(
                descriptor: opened.descriptor?.number ?? STDIN_FILENO, name: opened.name,
                format: format, limits: limits)
            return state.current
        }
    }

    private func note(_ batch: LineBatch) {
        state.withLock { state in
            if batch.isLast {
                state.current = nil
                state.doneBytes += state.currentBytes
                state.givenBytes = 0
            } else if let line = batch.lines.last {
                state.givenBytes = line.offset + Int64(line.count)
            }
        }
    }
}
