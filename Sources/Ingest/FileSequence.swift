import Glibc
import Synchronization

/// Files that are read to their ends, one after the other, with `-` for standard input.
///
/// Those that gzip or zstd has compressed are unpacked on the way.
///
/// Each file is an input of its own, with a header of its own.
public final class FileSequence: LineSource {
    /// The first file's name.
    public let name: String

    /// How lines are read: as given, or as the first lines say.
    public let format: FormatOptions
    /// What the first lines say, where no format was given.
    public let detected: DetectedFormat?
    private let limits: BatchLimits
    private let totalBytes: Int64?
    /// Keeps the descriptors open.
    private let held: [Opened]
    private let state: Mutex<State>

    private struct State {
        var waiting: ArraySlice<Opened>
        var current: DescriptorSource?
        var currentBytes: Int64 = 0
        /// Bytes of the files before the current one.
        var doneBytes: Int64 = 0
        var isStopped = false
    }

    private struct Opened: Sendable {
        var name: String
        /// `nil` for standard input.
        var descriptor: Descriptor?
        /// `nil` for what is no regular file.
        var bytes: Int64?
        /// What is read of it.
        var content: InputBytes

        init(name: String, descriptor: Descriptor? = nil, bytes: Int64? = nil) {
            self.name = name
            self.descriptor = descriptor
            self.bytes = bytes
            content = InputBytes(descriptor: descriptor?.number ?? STDIN_FILENO, name: name)
        }
    }

    /// Opens all files, so that a wrong name is told before hours of work.
    ///
    /// - Parameters:
    ///   - paths: The files in the order of reading; at least one.
    ///   - format: How their lines are read; `nil`: as the first lines say, which are waited for.
    ///   - adjust: What the user says of a format that the first lines show.
    ///   - limits: How much goes into a batch.
    /// - Throws: `noSuchFile`, `cannotOpen`, `notARegularFile` for a folder, `compressed` for what cannot be unpacked,
    ///   `wideCharacters` and `bareReturns` for what is no lines of UTF-8.
    public init(
        _ paths: [String], format: FormatOptions?, adjust: (inout FormatOptions) -> Void = { _ in },
        limits: BatchLimits = .init()
    ) throws(IngestError) {
        precondition(!paths.isEmpty, "at least one file")
        var opened: [Opened] = []
        for path in paths { opened.append(try Self.open(path)) }
        name = opened[0].name
        totalBytes =
            opened.contains { $0.bytes == nil }
            ? nil : opened.reduce(0) { $0 + ($1.bytes ?? 0) }
        if let format {
            self.format = format
            detected = nil
        } else {
            let start = try opened[0].content.peek(DetectedFormat.startBytes)
            var found = DetectedFormat(start: start, name: name)
            if found.options.format == .csv {
                // Its first line may be longer than any that is read.
                try CSV.checkText(start.prefix { $0 != UInt8(ascii: "\n") }, input: name)
            }
            adjust(&found.options)
            self.format = found.options
            detected = found
        }
        self.limits = limits
        held = opened
        state = Mutex(State(waiting: opened[...]))
    }

    private static func open(_ path: String) throws(IngestError) -> Opened {
        guard path != "-" else { return Opened(name: "standard input") }
        guard let descriptor = try Descriptor.open(path) else { throw .noSuchFile(path: path) }
        let status = try descriptor.status(name: path)
        guard status.isRegular else {
            if status.kind == S_IFDIR {
                throw .notARegularFile(path: path, found: status.kindText)
            }
            return Opened(name: path, descriptor: descriptor)
        }
        let start = try descriptor.bytes(Compression.markBytes, at: 0, name: path)
        if let found = Compression(start: start), ![.gzip, .zstd].contains(found) {
            throw .compressed(path: path, by: found.rawValue)
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
        let read = state.withLock { $0.doneBytes + ($0.current?.offset ?? 0) }
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
                opened.content, name: opened.name, format: format, limits: limits)
            return state.current
        }
    }

    private func note(_ batch: LineBatch) {
        state.withLock { state in
            if batch.isLast {
                state.current = nil
                state.doneBytes += state.currentBytes
            }
        }
    }
}
