import Glibc

/// Cuts the bytes of one input into lines.
///
/// Bytes come in by `append` in any pieces, lines go out by `takeBatch`; how the bytes were cut
/// makes no difference. A line longer than `FormatOptions.maxLineBytes` is dropped as it arrives,
/// except for its first bytes, so memory stays bounded whatever comes.
package struct LineFramer: Sendable {
    /// How many bytes of an oversize line are kept, if the limit is not below it.
    package static let oversizeHeadBytes = 200

    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// The input's name in messages.
    package var name: String
    /// How many lines, empty ones and the header included, have been consumed.
    package private(set) var lineNumber: Int64
    /// Whether a line's end lies among the bytes that are not consumed.
    package private(set) var hasCompleteLine = false
    /// The header line, from when it was read until it is delivered.
    package private(set) var header: [UInt8]?

    private let format: FormatOptions
    private let limits: BatchLimits
    private let input: Int
    /// The bytes that are not consumed; the first lies at `offset` of the input.
    private var buffer: [UInt8] = []
    private var offset: Int64
    /// Before this index of `buffer` there is no line feed.
    private var scanned = 0
    private var needsHeader: Bool
    /// The line that is being dropped because it is too long.
    private var oversize: Oversize?

    private struct Oversize: Sendable {
        var head: [UInt8]
        var offset: Int64
        /// The length of the byte order mark before the line.
        var markBytes: Int
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
    ///   - header: The header line, if it lies before `offset`.
    package init(
        format: FormatOptions, limits: BatchLimits = .init(), input: Int, name: String,
        offset: Int64 = 0, lineNumber: Int64 = 0, header: [UInt8]? = nil
    ) {
        self.format = format
        self.limits = limits
        self.input = input
        self.name = name
        self.offset = offset
        self.lineNumber = lineNumber
        self.header = header
        needsHeader = format.format == .csv && format.columns == nil && header == nil
    }

    /// How many bytes are held.
    package var pendingCount: Int { buffer.count }

    /// The offset behind the last byte that was appended.
    package var readOffset: Int64 { offset + Int64(buffer.count) }

    /// The offset of the first byte that no batch covers.
    package var consumedOffset: Int64 { oversize?.offset ?? offset }

    /// Takes in the next bytes of the input.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        let hasBreak = hasCompleteLine || memchr(base, 0x0A, bytes.count) != nil
        if oversize != nil, !hasBreak {
            offset += Int64(bytes.count)
            return
        }
        if !hasCompleteLine { scanned = buffer.count }
        buffer.append(contentsOf: bytes)
        hasCompleteLine = hasBreak
        if !hasBreak { dropOverlongLine() }
    }

    /// Gives complete lines, up to the limits.
    ///
    /// - Parameter atEnd: Whether the input has ended: what is left without a line feed is then a
    ///   line too, there is always a batch, and the one that holds the rest `isLast`.
    /// - Returns: `nil` if there is no line yet.
    package mutating func takeBatch(atEnd: Bool = false) -> LineBatch? {
        guard hasCompleteLine || atEnd else { return nil }
        var lines: [LineBatch.Line] = []
        var tail: [UInt8] = []
        let consumed = scan(into: &lines, tail: &tail, atEnd: atEnd)
        let isLast = atEnd && consumed == buffer.count
        let batch = handOver(consumed, lines: lines, tail: tail, isLast: isLast)
        if !hasCompleteLine { dropOverlongLine() }
        return batch
    }

    /// Finds lines from the start of the buffer, and returns how many bytes they take.
    private mutating func scan(
        into lines: inout [LineBatch.Line], tail: inout [UInt8], atEnd: Bool
    ) -> Int {
        let held = buffer
        return held.withUnsafeBytes { bytes in
            var at = 0
            lines.reserveCapacity(min(limits.lines, bytes.count / 16 + 1))
            while lines.count < limits.lines, at < limits.bytes || lines.isEmpty {
                guard let base = bytes.baseAddress else { break }
                let from = max(at, scanned)
                let found = memchr(base + from, 0x0A, bytes.count - from)
                if let found {
                    let end = UnsafeRawPointer(found) - base
                    consume(bytes, at..<end, into: &lines, tail: &tail)
                    at = end + 1
                } else {
                    if atEnd, at < bytes.count || oversize != nil {
                        consume(bytes, at..<bytes.count, into: &lines, tail: &tail)
                        at = bytes.count
                    }
                    break
                }
            }
            return at
        }
    }

    /// Takes one physical line: drops it, keeps it as header, or adds it to the lines.
    private mutating func consume(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>,
        into lines: inout [LineBatch.Line], tail: inout [UInt8]
    ) {
        lineNumber += 1
        if let dropped = oversize {
            oversize = nil
            tail = dropped.head
            lines.append(
                .init(
                    start: -1, count: tail.count,
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
        guard !range.isEmpty else { return }
        let isOversize = range.count > format.maxLineBytes
        if needsHeader, !isOversize {
            header = Array(bytes[range])
            needsHeader = false
            return
        }
        lines.append(
            .init(
                start: range.lowerBound,
                count: isOversize ? headBytes : range.count,
                offset: offset + Int64(range.lowerBound), number: lineNumber,
                isOversize: isOversize))
    }

    /// Moves the consumed bytes into a batch, and keeps the others.
    private mutating func handOver(
        _ consumed: Int, lines: [LineBatch.Line], tail: [UInt8], isLast: Bool
    ) -> LineBatch? {
        let rest = Array(buffer[consumed...])
        offset += Int64(consumed)
        hasCompleteLine = rest.contains(0x0A)
        scanned = hasCompleteLine ? 0 : rest.count
        var bytes = rest
        swap(&bytes, &buffer)
        guard !lines.isEmpty || isLast else { return nil }
        bytes.removeSubrange(consumed...)
        var lines = lines
        if !tail.isEmpty, let index = lines.firstIndex(where: { $0.start < 0 }) {
            lines[index].start = bytes.count
            bytes += tail
        }
        defer { header = nil }
        return LineBatch(
            bytes: bytes, lines: lines, input: input, inputName: name, header: header,
            isLast: isLast)
    }

    /// Starts or goes on to drop a line that is too long, if the bytes held are of one.
    private mutating func dropOverlongLine() {
        // One byte more than the limit may be the carriage return of a line that fits.
        let slack = 1 + Self.byteOrderMark.count
        guard oversize != nil || buffer.count > format.maxLineBytes + slack else { return }
        if oversize == nil {
            let hasMark = offset == 0 && buffer.starts(with: Self.byteOrderMark)
            let markBytes = hasMark ? Self.byteOrderMark.count : 0
            oversize = Oversize(
                head: Array(buffer.dropFirst(markBytes).prefix(headBytes)), offset: offset,
                markBytes: markBytes)
        }
        offset += Int64(buffer.count)
        buffer.removeAll(keepingCapacity: false)
        scanned = 0
    }
}
