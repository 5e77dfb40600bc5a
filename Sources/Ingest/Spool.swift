import Foundation
import Synchronization

/// A place in a spool.
public struct SpoolPosition: Sendable, Hashable, Codable, Comparable {
    /// The number of the segment.
    public var segment: Int64
    /// The offset in it of the first frame that is not consumed.
    public var offset: Int64

    /// A position.
    public init(segment: Int64, offset: Int64) {
        self.segment = segment
        self.offset = offset
    }

    /// Whether a place is read before another one.
    public static func < (left: Self, right: Self) -> Bool {
        (left.segment, left.offset) < (right.segment, right.offset)
    }
}

/// Batches that wait on disk, in the order in which they came.
///
/// A folder holds segments, files that frames are appended to; each frame is a batch with its length and checksum. A
/// segment is removed once all of it is consumed. After a crash, reading goes on at the position that was committed; a
/// frame that was cut off, or damaged, ends its segment, which is then kept as `NUMBER.damaged`. What was appended survives the end of the process at once, and
/// that of the machine once the system has written it.
package final class Spool: Sendable {
    /// A segment is closed when it is longer than this share of the limit.
    private static let segmentsInLimit: Int64 = 8
    /// Between the numbers of two segments of a process one is free, for what is to come before the later one.
    private static let numberStep: Int64 = 2
    /// Length and checksum before each frame.
    private static let headBytes = 12

    private let folder: String
    private let limit: Int64
    private let isRepeated: Bool
    private let state: Mutex<State>
    /// Frames before this segment were written by an earlier process.
    private let firstOwnSegment: Int64
    /// Where an earlier process has stopped.
    private let committedSegment: Int64

    private struct State {
        var sizes: [Int64: Int64]
        var reading: SpoolPosition
        var writing: SpoolPosition
        /// Where the newest batch that was given ends, and everything before what is committed.
        var given: SpoolPosition
        var released: SpoolPosition
        var losses = SpoolLosses()
        /// Segments of which not all could be read.
        var damaged: Set<Int64> = []
    }

    /// Opens the folder, and makes it where there is none.
    ///
    /// - Parameters:
    ///   - folder: Where the segments are; nothing else may be there.
    ///   - limit: The bytes that all segments together have at most, give or take one batch.
    ///   - resume: What was committed last.
    ///   - isRepeated: Whether clients send again what they numbered and have no acknowledgement for: such lines of an
    ///     earlier process are left to them.
    /// - Throws: `cannotWrite` or `cannotOpen`.
    package init(
        folder: String, limit: Int64, resume: SpoolPosition?, isRepeated: Bool
    ) throws(IngestError) {
        self.folder = folder
        self.limit = limit
        self.isRepeated = isRepeated
        guard mkdir(folder, 0o750) == 0 || errno == EEXIST else {
            throw .cannotWrite(path: folder, errno: errno)
        }
        var sizes: [Int64: Int64] = [:]
        for name in try Descriptor.names(in: folder) {
            guard let number = Self.number(ofSegment: name) else { continue }
            if number < resume?.segment ?? 0 {
                unlink(folder + "/" + name)
            } else {
                sizes[number] = Descriptor.status(path: folder + "/" + name)?.size ?? 0
            }
        }
        let first = sizes.keys.min()
        let own = max(sizes.keys.max() ?? 0, resume?.segment ?? 0) + Self.numberStep
        firstOwnSegment = own
        committedSegment = resume?.segment ?? 0
        var reading = SpoolPosition(segment: first ?? own, offset: 0)
        if let resume, resume.segment == reading.segment { reading.offset = resume.offset }
        let start = reading
        state = Mutex(
            State(
                sizes: sizes, reading: start, writing: SpoolPosition(segment: own, offset: 0),
                given: start, released: start))
        // Up to its end, a segment that is committed as a whole was only not removed yet.
        release(before: start)
    }

    /// Whether there are segments in a folder.
    static func isLeft(in folder: String) -> Bool {
        let names = (try? Descriptor.names(in: folder)) ?? []
        return names.contains { number(ofSegment: $0) != nil }
    }

    /// The bytes of the segments in a folder that lie behind a position; all, where it is not known.
    package static func unreadBytes(in folder: String, behind position: SpoolPosition?) -> Int64 {
        let names = (try? Descriptor.names(in: folder)) ?? []
        return names.reduce(0) { sum, name in
            guard let number = number(ofSegment: name), number >= position?.segment ?? 0,
                let size = Descriptor.status(path: folder + "/" + name)?.size
            else { return sum }
            let read = number == position?.segment ? position?.offset ?? 0 : 0
            return sum + max(0, size - read)
        }
    }

    /// Removes a folder with its segments; not one that holds anything else.
    package static func remove(_ folder: String) {
        for name in (try? Descriptor.names(in: folder)) ?? [] where number(ofSegment: name) != nil {
            unlink(folder + "/" + name)
        }
        rmdir(folder)
    }

    /// Whether another batch may be appended.
    var hasRoom: Bool { byteCount < limit }

    /// The bytes of all segments.
    package var byteCount: Int64 { state.withLock { $0.sizes.values.reduce(0, +) } }

    /// What is not given, though it was appended.
    package var losses: SpoolLosses { state.withLock { $0.losses } }

    // MARK: Writing

    /// Appends a batch; after an error nothing was.
    package func append(_ batch: LineBatch) throws(IngestError) {
        let payload = SpoolFrame.encode(batch)
        let bytes = SpoolFrame.head(of: payload) + payload
        let result = state.withLock { state -> Result<Void, IngestError> in
            if state.writing.offset >= limit / Self.segmentsInLimit {
                state.writing = SpoolPosition(
                    segment: state.writing.segment + Self.numberStep, offset: 0)
            }
            return Result { () throws(IngestError) in
                try write(bytes, at: state.writing)
                state.writing.offset += Int64(bytes.count)
                state.sizes[state.writing.segment] = state.writing.offset
            }
        }
        try result.get()
    }

    /// Puts a batch before all that is not given, for the next process.
    ///
    /// Nobody reads on in this one. Where a part of the first segment is given, there is no place before the rest of it: the
    /// batch is appended. A batch that did not come from the spool was taken when everything in it was given and committed,
    /// so what was appended since begins a segment.
    ///
    /// - Throws: After an error nothing was put there.
    package func prepend(_ batch: LineBatch) throws(IngestError) {
        let payload = SpoolFrame.encode(batch)
        let bytes = SpoolFrame.head(of: payload) + payload
        let isDone = try state.withLock { state in
            Result { () throws(IngestError) in
                let place = SpoolPosition(segment: state.reading.segment - 1, offset: 0)
                guard state.reading.offset == 0, place.segment > committedSegment,
                    state.given.offset == 0 || place > state.given,
                    state.sizes[place.segment] == nil
                else { return false }
                try write(bytes, at: place)
                state.sizes[place.segment] = Int64(bytes.count)
                return true
            }
        }.get()
        if !isDone { try append(batch) }
    }

    /// Writes a frame; after an error nothing of it is there.
    private func write(_ bytes: [UInt8], at place: SpoolPosition) throws(IngestError) {
        let path = path(of: place.segment)
        let number = retrying {
            open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
        }
        guard number >= 0 else { throw .cannotWrite(path: path, errno: errno) }
        defer { close(number) }
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                retrying {
                    pwrite(
                        number, buffer.baseAddress.map { $0 + done }, buffer.count - done,
                        off_t(place.offset) + done)
                }
            }
            guard count > 0 else {
                let code = errno
                ftruncate(number, off_t(place.offset))
                throw .cannotWrite(path: path, errno: code)
            }
            done += count
        }
    }

    // MARK: Reading

    /// The next batch; `nil` if there is none.
    package func next() throws(IngestError) -> LineBatch? {
        try state.withLock { state in
            Result { () throws(IngestError) in try read(&state) }
        }.get()
    }

    private func read(_ state: inout State) throws(IngestError) -> LineBatch? {
        while state.reading != state.writing {
            let place = state.reading
            let path = path(of: place.segment)
            if let descriptor = try Descriptor.open(path),
                let payload = try SpoolFrame.read(descriptor, at: place.offset, name: path),
                var batch = SpoolFrame.decode(payload)
            {
                state.reading.offset += Int64(Self.headBytes + payload.count)
                if place.segment < firstOwnSegment {
                    if isRepeated, batch.numbering != nil {
                        state.losses.repeatedLines += Int64(batch.lines.count)
                        skip(in: &state)
                        continue
                    }
                    // Its client is gone, and another may have its number.
                    batch.input = -batch.input
                }
                batch.spool = state.reading
                state.given = state.reading
                return batch
            }
            endSegment(at: place, in: &state)
        }
        return nil
    }

    /// Goes on behind a segment of which nothing more can be read.
    private func endSegment(at place: SpoolPosition, in state: inout State) {
        if place.offset < state.sizes[place.segment] ?? 0 {
            state.losses.damagedSegments += 1
            state.losses.damagedFiles.append(damagedPath(of: place.segment))
            state.damaged.insert(place.segment)
        }
        state.reading = SpoolPosition(segment: place.segment + 1, offset: 0)
        // The one that is written ends with a damage too: what comes is behind it.
        if state.writing < state.reading {
            state.reading.segment = state.writing.segment + Self.numberStep
            state.writing = state.reading
        }
        skip(in: &state)
    }

    /// Removes what was passed over, if all that was given is committed; else that is done with the next commit.
    private func skip(in state: inout State) {
        if state.released >= state.given { release(before: state.reading, in: &state) }
    }

    /// Removes what is not needed once everything before a position is committed.
    package func release(before position: SpoolPosition) {
        state.withLock { release(before: position, in: &$0) }
    }

    private func release(before position: SpoolPosition, in state: inout State) {
        state.released = max(state.released, position)
        // Behind the last batch that was given lies only what is not to be given.
        let position = position < state.given ? position : max(position, state.reading)
        for (number, size) in state.sizes
        where number < position.segment
            || (number == position.segment && number < state.writing.segment
                && size <= position.offset)
        {
            remove(number, from: &state)
        }
        guard position == state.writing, position.offset > 0 else { return }
        remove(position.segment, from: &state)
        state.writing = SpoolPosition(segment: position.segment + Self.numberStep, offset: 0)
        state.reading = state.writing
        state.released = state.writing
    }

    private func remove(_ segment: Int64, from state: inout State) {
        if state.damaged.remove(segment) == nil {
            unlink(path(of: segment))
        } else {
            // There may be lines behind the damage that a person can still read.
            rename(path(of: segment), damagedPath(of: segment))
        }
        state.sizes[segment] = nil
    }

    // MARK: Names

    private static let ending = ".spool"
    private static let damagedEnding = ".damaged"

    private func path(of segment: Int64) -> String {
        stem(of: segment) + Self.ending
    }

    /// What a segment is called once nothing more can be read of it.
    private func damagedPath(of segment: Int64) -> String {
        stem(of: segment) + Self.damagedEnding
    }

    private func stem(of segment: Int64) -> String {
        let digits = String(segment)
        return folder + "/" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
    }

    /// The segments in a folder that were damaged, and are kept for people.
    package static func damagedFiles(in folder: String) -> [String] {
        let names = (try? Descriptor.names(in: folder)) ?? []
        return names.filter { $0.hasSuffix(damagedEnding) }.sorted().map { folder + "/" + $0 }
    }

    /// `nil` for what no spool has written; behind the greatest number there must be another.
    private static func number(ofSegment name: String) -> Int64? {
        guard name.hasSuffix(ending), let number = Int64(name.dropLast(ending.count)) else {
            return nil
        }
        return (0...(1 << 53)).contains(number) ? number : nil
    }
}

/// What a spool had taken and does not give.
public struct SpoolLosses: Sendable, Hashable {
    /// Segments that ended in a frame that was cut off or damaged.
    public var damagedSegments = 0
    /// Where these are, once all that could be read of them is committed.
    public var damagedFiles: [String] = []
    /// Lines of an earlier process that their clients send again, because they have no acknowledgement for them.
    public var repeatedLines: Int64 = 0

    /// None.
    public init() {}
}

/// A batch as bytes: what there is to know of it as JSON, then its lines' places, then its bytes.
package enum SpoolFrame {
    private struct Head: Codable {
        var input: Int
        var inputName: String
        var header: [UInt8]?
        var isLast: Bool
        var numbering: LineBatch.Numbering?
        var lineCount: Int
    }

    /// The longest frame: a batch, and one line of the greatest length that a configuration may ask for.
    private static let maximumBytes = 256 << 20
    private static let lineBytes = 33

    /// Length and checksum of a frame.
    static func head(of payload: [UInt8]) -> [UInt8] {
        bytes(of: UInt32(payload.count)) + bytes(of: fnv1a(payload))
    }

    /// A batch as bytes.
    package static func encode(_ batch: LineBatch) -> [UInt8] {
        let head = Head(
            input: batch.input, inputName: batch.inputName, header: batch.header,
            isLast: batch.isLast, numbering: batch.numbering, lineCount: batch.lines.count)
        // Numbers, texts and flags can always be encoded.
        let json = (try? JSONEncoder().encode(head)) ?? Data()
        var payload = bytes(of: UInt32(json.count)) + json
        payload.reserveCapacity(
            payload.count + batch.lines.count * lineBytes + batch.bytes.count)
        for line in batch.lines {
            for number in [Int64(line.start), Int64(line.count), line.offset, line.number] {
                payload += bytes(of: UInt64(bitPattern: number))
            }
            payload.append(line.isOversize ? 1 : 0)
        }
        return payload + batch.bytes
    }

    /// Reads a frame; `nil` if it is cut off or damaged.
    static func read(
        _ descriptor: Descriptor, at offset: Int64, name: String
    ) throws(IngestError) -> [UInt8]? {
        let head = try descriptor.bytes(12, at: offset, name: name)
        guard head.count == 12 else { return nil }
        let count = Int(number(head[..<4]))
        guard count <= maximumBytes else { return nil }
        let payload = try descriptor.bytes(count, at: offset + 12, name: name)
        guard payload.count == count, fnv1a(payload) == number(head[4...]) else { return nil }
        return payload
    }

    /// The batch that bytes hold; `nil` if they are none.
    package static func decode(_ payload: [UInt8]) -> LineBatch? {
        guard payload.count >= 4 else { return nil }
        let headEnd = 4 + Int(number(payload[..<4]))
        guard headEnd <= payload.count,
            let head = try? JSONDecoder().decode(Head.self, from: Data(payload[4..<headEnd])),
            (0...((payload.count - headEnd) / lineBytes)).contains(head.lineCount),
            head.input > .min
        else { return nil }
        let start = headEnd + head.lineCount * lineBytes
        var batch = LineBatch(
            bytes: Array(payload[start...]), lines: [], input: head.input,
            inputName: head.inputName, header: head.header, isLast: head.isLast)
        batch.numbering = head.numbering
        for index in 0..<head.lineCount {
            let at = headEnd + index * lineBytes
            func value(_ place: Int) -> Int64 {
                Int64(bitPattern: number(payload[(at + 8 * place)..<(at + 8 * place + 8)]))
            }
            let line = LineBatch.Line(
                start: Int(value(0)), count: Int(value(1)), offset: value(2), number: value(3),
                isOversize: payload[at + 32] == 1)
            guard line.start >= 0, line.count >= 0, line.start <= batch.bytes.count - line.count
            else { return nil }
            batch.lines.append(line)
        }
        return batch
    }

    private static func bytes(of number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
