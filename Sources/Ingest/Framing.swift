import Glibc

/// Cuts the bytes of one input into lines.
///
/// Bytes come in by `append` in any pieces, lines go out by `takeBatch`; how the bytes were cut
/// makes no difference. A line longer than `FormatOptions.maxLineBytes` is dropped as it arrives,
/// except for its first bytes, so memory stays bounded whatever comes. Each byte is copied and
/// looked at a bounded number of times, however small the batches are.
///
/// A CSV record whose quoted cell holds line breaks is one line of a batch, see `QuotedRecord`.
package struct LineFramer: Sendable {
    /// How many bytes of an oversize line are kept, if the limit is not below it.
    package static let oversizeHeadBytes = 200
    /// How many of the bytes that were consumed last are kept, for an input to be known again by.
    package static let tailLimit = 1024

    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// The input's name in messages.
    package var name: String
    /// How many lines, empty ones and the header included, have been consumed.
    package private(set) var lineNumber: Int64
    /// Whether the end of a line, or of a record of several, lies among the bytes that are not consumed.
    package private(set) var hasCompleteLine = false
    /// Whether the first line, which may be the header, was not consumed yet.
    package private(set) var needsHeader: Bool
    /// The header line that the records are read under, once it is known.
    package private(set) var header: [UInt8]?
    /// The header of the input before this one, unless this one has turned out to have its own.
    package private(set) var inheritedHeader: [UInt8]?
    /// The last bytes before `consumedOffset`, at most `tailLimit`.
    package private(set) var tail: [UInt8]

    private var format: FormatOptions
    private var limits: BatchLimits
    private var input: Int
    /// The bytes that are held.
    ///
    /// Those before `start` are consumed; the one there lies at `offset` of the input.
    private var buffer: [UInt8] = []
    private var start = 0
    private var offset: Int64
    /// How many of the bytes from `start` on are known to hold no line feed.
    private var scanned = 0
    /// The record at `start`, if its end has not come and its first line's has.
    private var open: QuotedRecord?
    private var isHeaderDue: Bool
    /// The columns that a header must have that names none of those before, if they are known.
    private let neededColumns: Set<String>?
    /// Whether a first line that can be no header is one of the lines too.
    private let mayLackHeader: Bool
    /// Whether the first line was taken for no header because it lacks them, and no batch has said so.
    private var isStrayStartDue = false
    /// The line that is being dropped because it is too long.
    private var oversize: Oversize?

    private struct Oversize: Sendable {
        var head: [UInt8]
        var offset: Int64
        /// The length of the byte order mark before the line.
        var markBytes: Int
        /// The last bytes that were dropped.
        var tail: [UInt8]
    }

    private var headBytes: Int { min(Self.oversizeHeadBytes, format.maxLineBytes) }

    /// A framer for an input.
    ///
    /// - Parameters:
    ///   - format: The format; CSV without named columns has a header line.
    ///   - limits: How much goes into a batch.
    ///   - input: The number that tells the input from others.
    ///   - name: Its name in messages.
    ///   - offset: Where in the input the first bytes come from.
    ///   - lineNumber: How many lines lie before `offset`.
    ///   - header: The header line, if it is known.
    ///   - inheritedHeader: The header of the input before this one. If the first line is a record
    ///     under it, or the rest of one, the input has no header of its own, and all of it is read under this one.
    ///   - neededColumns: Those that a header must have that names none of the one before, if they are known.
    ///   - mayLackHeader: Whether a first line that can be no header is one of the lines too: it goes where they go, and has
    ///     a number where they have.
    ///   - tail: The last bytes before `offset`.
    package init(
        format: FormatOptions, limits: BatchLimits = .init(), input: Int, name: String,
        offset: Int64 = 0, lineNumber: Int64 = 0, header: [UInt8]? = nil,
        inheritedHeader: [UInt8]? = nil, neededColumns: Set<String>? = nil,
        mayLackHeader: Bool = false, tail: [UInt8] = []
    ) {
        self.format = format
        self.limits = limits
        self.input = input
        self.name = name
        self.offset = offset
        self.lineNumber = lineNumber
        self.header = header
        self.inheritedHeader = inheritedHeader
        self.neededColumns = neededColumns
        self.mayLackHeader = mayLackHeader
        self.tail = tail
        isHeaderDue = header != nil
        needsHeader = format.format == .csv && format.columns == nil && header == nil
    }

    /// How many bytes are held.
    package var pendingCount: Int { buffer.count - start }

    /// The offset behind the last byte that was appended.
    package var readOffset: Int64 { offset + Int64(pendingCount) }

    /// The offset of the first byte that no batch covers.
    package var consumedOffset: Int64 { oversize?.offset ?? offset }

    /// The last bytes before `readOffset`, at most `tailLimit`.
    package var recentBytes: [UInt8] {
        let pending = buffer[start...].suffix(Self.tailLimit)
        return Array((tail + (oversize?.tail ?? []) + pending).suffix(Self.tailLimit))
    }

    /// Takes in the next bytes of the input.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        if oversize != nil, !hasCompleteLine, memchr(base, 0x0A, bytes.count) == nil {
            offset += Int64(bytes.count)
            oversize?.tail.keepLast(Self.tailLimit, adding: bytes)
            return
        }
        buffer.append(contentsOf: bytes)
        guard !hasCompleteLine else { return }
        findFirstLine()
        if !hasCompleteLine { dropOverlongLine() }
    }

    /// The same bytes at the same place for another reader, who has not heard of the header.
    func handedOver(to format: FormatOptions, limits: BatchLimits, input: Int) -> LineFramer {
        var other = self
        (other.format, other.limits, other.input) = (format, limits, input)
        let isTitled = format.format == .csv && format.columns == nil
        if !isTitled { other.header = nil }
        other.needsHeader = isTitled && other.header == nil
        other.isHeaderDue = other.header != nil
        other.open = nil
        other.scanned = 0
        other.findFirstLine()
        return other
    }

    /// Gives up the bytes behind the last complete line that is held, as if they had not come.
    package mutating func dropHalfLine() {
        if let end = buffer[start...].lastIndex(of: 0x0A) {
            buffer.removeSubrange((end + 1)...)
            open = nil
            findFirstLine()
            return
        }
        dropPending()
    }

    /// Gives up the bytes behind the last complete record that is held, as if they had not come.
    ///
    /// A line within quotes that have not ended is no record, though its own end has come.
    package mutating func dropCutRecord() {
        guard hasCompleteLine else { return dropPending() }
        var ahead = self
        while ahead.hasCompleteLine { _ = ahead.takeBatch() }
        buffer.removeSubrange((start + Int(ahead.consumedOffset - offset))...)
    }

    private mutating func dropPending() {
        offset = consumedOffset
        open = nil
        oversize = nil
        buffer = []
        start = 0
        scanned = 0
    }
}

// MARK: - Taking lines

extension LineFramer {
    /// Gives complete lines, up to the limits.
    ///
    /// - Parameter atEnd: Whether the input has ended: what is left without a line feed is then a
    ///   line too, there is always a batch, and the one that holds the rest `isLast`.
    /// - Returns: `nil` if there is no line yet.
    package mutating func takeBatch(atEnd: Bool = false) -> LineBatch? {
        guard hasCompleteLine || atEnd else { return nil }
        var lines: [LineBatch.Line] = []
        var head: [UInt8] = []
        let consumed = scan(into: &lines, head: &head, atEnd: atEnd)
        let isLast = atEnd && consumed == pendingCount
        let batch = handOver(consumed, lines: lines, head: head, isLast: isLast)
        if !hasCompleteLine { dropOverlongLine() }
        return batch
    }

    /// Finds lines from the start of the bytes held, and returns how many bytes they take.
    private mutating func scan(
        into lines: inout [LineBatch.Line], head: inout [UInt8], atEnd: Bool
    ) -> Int {
        let held = buffer
        return held.withUnsafeBytes { all in
            let bytes = UnsafeRawBufferPointer(rebasing: all[start...])
            var at = 0
            lines.reserveCapacity(min(limits.lines, bytes.count / 16 + 1))
            while lines.count < limits.lines, at < limits.bytes || lines.isEmpty {
                guard let base = bytes.baseAddress else { break }
                let from = max(at, scanned)
                let found = memchr(base + from, 0x0A, bytes.count - from)
                if let found {
                    let line = at..<(UnsafeRawPointer(found) - base)
                    guard let record = record(bytes, line, atEnd: atEnd) else { break }
                    consume(bytes, record.range, into: &lines, head: &head)
                    lineNumber += Int64(record.lines - 1)
                    at = min(record.range.upperBound + 1, bytes.count)
                } else {
                    if atEnd, at < bytes.count || oversize != nil {
                        consume(bytes, at..<bytes.count, into: &lines, head: &head)
                        at = bytes.count
                    }
                    break
                }
            }
            return at
        }
    }

    /// The record that begins with a line: it is that line unless a quoted cell goes over its end.
    ///
    /// - Returns: Its bytes without the last line break, and how many lines they are; `nil` if more
    ///   must come.
    private mutating func record(
        _ bytes: UnsafeRawBufferPointer, _ line: Range<Int>, atEnd: Bool
    ) -> (range: Range<Int>, lines: Int)? {
        let first = line.lowerBound
        guard format.format == .csv, oversize == nil, !line.isEmpty,
            bytes[first] != format.commentMark,
            QuotedRecord.mayBeOpen(.init(rebasing: bytes[line]))
        else { return (line, 1) }
        let isMarked = offset + Int64(first) == 0 && bytes[line].starts(with: Self.byteOrderMark)
        var record = open ?? QuotedRecord(markBytes: isMarked ? Self.byteOrderMark.count : 0)
        if first > 0 { record = QuotedRecord(markBytes: 0) }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[first...])
        switch record.advance(rest, format: format, atEnd: atEnd) {
        case .whole(let count, let lines): return (first..<(first + count), lines)
        case .none: return (line, 1)
        case .open:
            if first == 0 { open = record }
            return nil
        }
    }

    /// Takes one physical line, or a record of several: drops it, keeps it as header, or adds it to the lines.
    private mutating func consume(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>,
        into lines: inout [LineBatch.Line], head: inout [UInt8]
    ) {
        lineNumber += 1
        if let dropped = oversize {
            oversize = nil
            tail = Array((tail + dropped.tail).suffix(Self.tailLimit))
            // A comment is none, however long it is and however it came.
            if let mark = format.commentMark, dropped.head.first == mark { return }
            head = dropped.head
            lines.append(
                .init(
                    start: -1, count: head.count,
                    offset: dropped.offset + Int64(dropped.markBytes), number: lineNumber,
                    isOversize: true))
            return
        }
        var range = range
        if range.last.map({ bytes[$0] == 0x0D }) == true { range.removeLast() }
        let isFirst = offset + Int64(range.lowerBound) == 0
        if isFirst, bytes[range].starts(with: Self.byteOrderMark) {
            range.removeFirst(Self.byteOrderMark.count)
        }
        guard !range.isEmpty, bytes[range.lowerBound] != format.commentMark else { return }
        let isOversize = range.count > format.maxLineBytes
        if needsHeader, !isOversize, isHeader(Array(bytes[range])) { return }
        lines.append(
            .init(
                start: range.lowerBound,
                count: isOversize ? headBytes : range.count,
                offset: offset + Int64(range.lowerBound), number: lineNumber,
                isOversize: isOversize))
    }

    /// Finds the header by the first line: whether that is it, or data under the one before.
    private mutating func isHeader(_ line: [UInt8]) -> Bool {
        needsHeader = false
        isHeaderDue = true
        if let inheritedHeader,
            !CSV.isHeader(line, after: inheritedHeader, format: format, needed: neededColumns)
        {
            header = inheritedHeader
            isStrayStartDue = CSV.isHeader(line, after: inheritedHeader, format: format)
            return false
        }
        inheritedHeader = nil
        header = line
        return !mayLackHeader || !CSV.lacksHeader(line, format: format, needed: neededColumns)
    }

    /// Moves the consumed bytes into a batch, and keeps the others.
    private mutating func handOver(
        _ consumed: Int, lines: [LineBatch.Line], head: [UInt8], isLast: Bool
    ) -> LineBatch? {
        var bytes: [UInt8] = []
        buffer.withUnsafeBytes {
            tail.keepLast(Self.tailLimit, adding: .init(rebasing: $0[start..<(start + consumed)]))
        }
        if start == 0, consumed == buffer.count {
            swap(&bytes, &buffer)
        } else {
            if !lines.isEmpty { bytes = Array(buffer[start..<(start + consumed)]) }
            start += consumed
            // What is left is moved only once it is less than what was consumed.
            if start > buffer.count / 2 {
                buffer.removeSubrange(..<start)
                start = 0
            }
        }
        offset += Int64(consumed)
        scanned = max(0, scanned - consumed)
        if consumed > 0 { open = nil }
        findFirstLine()
        guard !lines.isEmpty || isLast else { return nil }
        var lines = lines
        if !head.isEmpty, let index = lines.firstIndex(where: { $0.start < 0 }) {
            lines[index].start = bytes.count
            bytes += head
        }
        defer { (isHeaderDue, isStrayStartDue) = (false, false) }
        var batch = LineBatch(
            bytes: bytes, lines: lines, input: input, inputName: name,
            header: isHeaderDue ? header : nil, isLast: isLast)
        batch.hasStrayStart = isStrayStartDue
        return batch
    }

    /// Looks for the end of the first line that is held, where it was not looked for yet.
    private mutating func findFirstLine() {
        let held = buffer
        held.withUnsafeBytes { all in
            let bytes = UnsafeRawBufferPointer(rebasing: all[start...])
            let rest = UnsafeRawBufferPointer(rebasing: bytes[scanned...])
            guard let base = rest.baseAddress, let found = memchr(base, 0x0A, rest.count) else {
                hasCompleteLine = false
                scanned = bytes.count
                return
            }
            scanned += UnsafeRawPointer(found) - base
            hasCompleteLine = record(bytes, 0..<scanned, atEnd: false) != nil
        }
    }

    /// Starts or goes on to drop a line that is too long, if the bytes held are of one.
    private mutating func dropOverlongLine() {
        // One byte more than the limit may be the carriage return of a line that fits.
        let slack = 1 + Self.byteOrderMark.count
        guard oversize != nil || pendingCount > format.maxLineBytes + slack else { return }
        let pending = buffer[start...]
        if oversize == nil {
            let hasMark = offset == 0 && pending.starts(with: Self.byteOrderMark)
            let markBytes = hasMark ? Self.byteOrderMark.count : 0
            oversize = Oversize(
                head: Array(pending.dropFirst(markBytes).prefix(headBytes)), offset: offset,
                markBytes: markBytes, tail: [])
        }
        offset += Int64(pending.count)
        pending.withUnsafeBytes { oversize?.tail.keepLast(Self.tailLimit, adding: $0) }
        buffer = []
        start = 0
        scanned = 0
    }
}

extension [UInt8] {
    /// Adds bytes, and keeps the last `limit` of all.
    fileprivate mutating func keepLast(_ limit: Int, adding bytes: UnsafeRawBufferPointer) {
        append(contentsOf: bytes.suffix(limit))
        if count > limit { removeFirst(count - limit) }
    }
}
