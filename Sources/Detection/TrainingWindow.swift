import FlowDensity
import Foundation
import Ingest

/// The newest records of a stream, in a ring file on disk: what the next fit learns from.
///
/// Rows have a fixed size, so that the file never grows past its capacity, and carry a checksum of their content and their
/// running number, so that a row that was cut by a crash, or is still the one of the lap before, is skipped, not learned. The file does not know how many rows count: after a crash, the owner rewinds it to
/// what the store committed, and the rows past that are written again with the same content.
///
/// Not safe for use from two threads at once, but for `total` read by the owner; the daemon's worker owns it.
public final class TrainingWindow {
    /// The file.
    public let path: String
    /// The features of a row, and the time column.
    public let schema: Schema
    /// The rows that the ring holds at most.
    public let capacity: Int
    /// Records ever appended; the newest `capacity` of them are held.
    public private(set) var total: Int64 = 0

    /// Records that the file held under another version, schema or capacity, and that are gone with it.
    public private(set) var discardedCount: Int64 = 0

    private let descriptor: Int32
    private let rowBytes: Int
    private static let headerBytes = 4096
    /// Counting on from it overflows nothing.
    private static let largestTotal: Int64 = 1 << 53
    private static let name = Array("flowguard window ".utf8)
    private static let magic = name + Array("2\n".utf8)

    /// Opens the ring of this schema and capacity, or begins an empty one when the file is absent or holds another, or one of
    /// another version: `discardedCount` says how many records go with it.
    ///
    /// - Throws: `file` when it cannot be opened or written.
    public init(path: String, schema: Schema, capacity: Int) throws(DetectionError) {
        precondition(capacity > 0, "a positive capacity")
        self.path = path
        self.schema = schema
        self.capacity = capacity
        rowBytes = 8 * RowLayout(schema).wordCount
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw Self.error(path, "open") }
        var header = [UInt8](repeating: 0, count: Self.headerBytes)
        let description = Self.magic + Self.description(schema, capacity: capacity)
        for (i, byte) in description.prefix(Self.headerBytes - 16).enumerated() { header[i] = byte }
        Self.put(Self.checksum(description[...]), into: &header, at: Self.headerBytes - 16)
        var found = [UInt8](repeating: 0, count: Self.headerBytes)
        let count = found.withUnsafeMutableBytes {
            pread(descriptor, $0.baseAddress, Self.headerBytes, 0)
        }
        if count == Self.headerBytes,
            found.prefix(Self.headerBytes - 8) == header.prefix(Self.headerBytes - 8)
        {
            // No checksum covers it; the owner rewinds to what it knows.
            let stored = Int64(bitPattern: Self.get(found, at: Self.headerBytes - 8))
            total = (0...Self.largestTotal).contains(stored) ? stored : 0
        } else {
            discardedCount = Self.rowCount(
                of: found.prefix(max(0, count)), fileBytes: Self.size(descriptor))
            guard ftruncate(descriptor, 0) == 0 else { throw Self.error(path, "truncate") }
            try write(header[...], at: 0)
        }
    }

    deinit {
        close(descriptor)
    }

    /// Appends records.
    ///
    /// - Parameter parallel: Runs parts of the rows; the file does not depend on it.
    /// - Throws: `file`, for instance on a full disk; then `total` is as before and the call may be repeated.
    public func append(
        _ records: RecordBatch, parallel: ParallelFor = .serial
    ) throws(DetectionError) {
        precondition(records.schema.columns == schema.columns, "records of the window's columns")
        let layout = RowLayout(schema)
        let total = total
        let partCount = (records.rowCount + Self.partRows - 1) / Self.partRows
        let parts = parallel.map(partCount) { part in
            let first = part * Self.partRows
            let rows = first..<min(first + Self.partRows, records.rowCount)
            return layout.words(of: records, rows: rows, firstNumber: total + Int64(first))
        }
        var slot = Int(total % Int64(capacity))
        for part in parts {
            // A part that reaches the end of the ring goes on at its beginning.
            var words = part[...]
            while !words.isEmpty {
                let room = words.prefix((capacity - slot) * layout.wordCount)
                try write(room, at: Self.headerBytes + slot * rowBytes)
                words = words[room.endIndex...]
                slot = (slot + room.count / layout.wordCount) % capacity
            }
        }
        self.total += Int64(records.rowCount)
    }

    /// Rows that one thread makes ready at once.
    private static let partRows = 1_024

    /// Goes back to a former total, after a crash between this file and the store.
    public func rewind(to total: Int64) {
        self.total = max(total, 0)
    }

    /// Records by their running number, clipped to those still held; damaged rows are left out.
    ///
    /// - Throws: `file` when the ring cannot be read.
    public func records(_ range: Range<Int64>) throws(DetectionError) -> RecordBatch {
        var batch = RecordBatch(schema: schema)
        let width = schema.features.count
        var values = [Double](repeating: 0, count: width)
        try eachRow(range) { number, bytes, base in
            let seal = Self.get(bytes, at: base + rowBytes - 8)
            let content = bytes[base..<(base + rowBytes - 8)]
            guard seal == Self.checksum(content, of: number) else { return }
            for j in 0..<width {
                values[j] = Double(bitPattern: Self.get(bytes, at: base + 16 + 8 * j))
            }
            batch.append(
                values, categories: categories(in: bytes, at: base + 16 + 8 * width),
                time: Double(bitPattern: Self.get(bytes, at: base + 8)),
                lineIndex: 0, offset: Int64(bitPattern: Self.get(bytes, at: base)))
        }
        return batch
    }

    /// The running numbers of the records whose own time is one of these, among those still held.
    ///
    /// - Throws: `file` when the ring cannot be read.
    public func ranges(
        _ range: Range<Int64>, where isWanted: (Double) -> Bool
    ) throws(DetectionError) -> [Range<Int64>] {
        var found: [Range<Int64>] = []
        try eachRow(range) { number, bytes, base in
            let time = Double(bitPattern: Self.get(bytes, at: base + 8))
            guard time.isFinite, isWanted(time) else { return }
            if let last = found.last, last.upperBound == number {
                found[found.count - 1] = last.lowerBound..<(number + 1)
            } else {
                found.append(number..<(number + 1))
            }
        }
        return found
    }

    /// Reads rows, clipped to those still held, and gives each with its running number and its place in the bytes.
    private func eachRow(
        _ range: Range<Int64>, _ body: (_ number: Int64, _ bytes: [UInt8], _ base: Int) -> Void
    ) throws(DetectionError) {
        var next = max(range.lowerBound, total - Int64(capacity), 0)
        let end = min(range.upperBound, total)
        while next < end {
            let slot = Int(next % Int64(capacity))
            let count = min(Int(end - next), capacity - slot, 8192)
            var bytes = [UInt8](repeating: 0, count: count * rowBytes)
            let got = bytes.withUnsafeMutableBytes {
                pread(
                    descriptor, $0.baseAddress, $0.count, off_t(Self.headerBytes + slot * rowBytes))
            }
            guard got >= 0 else { throw Self.error(path, "read") }
            for i in 0..<(got / rowBytes) { body(next + Int64(i), bytes, i * rowBytes) }
            next += Int64(count)
        }
    }

    /// Writes the total into the header and the ring to the disk.
    ///
    /// - Throws: `file`, for instance on a full disk.
    public func flush() throws(DetectionError) {
        var bytes = [UInt8](repeating: 0, count: 8)
        Self.put(UInt64(bitPattern: total), into: &bytes, at: 0)
        try write(bytes[...], at: Self.headerBytes - 8)
        guard fsync(descriptor) == 0 else { throw Self.error(path, "sync") }
    }

    private func categories(in bytes: [UInt8], at offset: Int) -> [String?] {
        (0..<schema.categories.count).map { column in
            let base = offset + column * RowLayout.cellBytes
            guard bytes[base] != RowLayout.missingLength else { return nil }
            let end = base + 1 + min(Int(bytes[base]), CategoryTable.textLimitBytes)
            return String(decoding: bytes[(base + 1)..<end], as: UTF8.self)
        }
    }

    private func write<Element: BitwiseCopyable>(
        _ elements: ArraySlice<Element>, at offset: Int
    ) throws(DetectionError) {
        let byteCount = elements.count * MemoryLayout<Element>.stride
        var done = 0
        while done < byteCount {
            let count = elements.withUnsafeBytes {
                pwrite(
                    descriptor, $0.baseAddress?.advanced(by: done), byteCount - done,
                    off_t(offset + done))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw Self.error(path, "write") }
            done += count
        }
    }

    private static func description(_ schema: Schema, capacity: Int) -> [UInt8] {
        var text = "\(capacity)\n\(schema.time ?? "")\n\(schema.features.joined(separator: "\n"))"
        // A window without categories is as those of earlier builds are.
        for category in schema.categories { text += "\n\u{1F}" + category }
        return Array(text.utf8)
    }

    /// How many rows a window of another kind held, as far as its header and its size tell.
    private static func rowCount(of header: ArraySlice<UInt8>, fileBytes: Int64) -> Int64 {
        guard header.count == headerBytes, header.starts(with: name) else { return 0 }
        let lines = header.split(separator: 0x0A, maxSplits: 2)
        let capacity = lines.count > 1 ? Int64(String(decoding: lines[1], as: UTF8.self)) ?? 0 : 0
        let total = Int64(bitPattern: get(Array(header), at: headerBytes - 8))
        // The smallest row holds its place, its time and its checksum.
        let most = min(capacity, max(0, fileBytes - Int64(headerBytes)) / 24)
        return max(0, min(total, most))
    }

    private static func size(_ descriptor: Int32) -> Int64 {
        var info = stat()
        return fstat(descriptor, &info) == 0 ? Int64(info.st_size) : 0
    }

    private static func error(_ path: String, _ operation: String) -> DetectionError {
        let code = errno
        return .file(
            path: path, operation: operation, code: code, text: String(cString: strerror(code)))
    }

    private static func put(_ value: UInt64, into bytes: inout [UInt8], at offset: Int) {
        for i in 0..<8 { bytes[offset + i] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(i))) }
    }

    private static func get(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        var value: UInt64 = 0
        for i in 0..<8 { value |= UInt64(bytes[offset + i]) << (8 * UInt64(i)) }
        return value
    }

    /// FNV-1a of a row's running number, one byte at a time from the lowest, and its content.
    private static func checksum(_ bytes: ArraySlice<UInt8>, of number: Int64 = 0) -> UInt64 {
        var hash = FNV()
        hash.add(UInt64(bitPattern: number))
        for byte in bytes { hash.add(byte) }
        return hash.value
    }
}

/// How a row lies in the ring: place, time, values, the cells of the categories, and a checksum, in words of eight bytes.
private struct RowLayout: Sendable {
    /// Bytes of a category's cell: its length, and its text; a whole number of words.
    static let cellBytes = 1 + CategoryTable.textLimitBytes
    /// The length of a cell that holds no value.
    static let missingLength: UInt8 = 0xFF

    private let featureCount: Int
    /// Words of a row.
    let wordCount: Int

    init(_ schema: Schema) {
        featureCount = schema.features.count
        wordCount = 3 + featureCount + Self.cellBytes / 8 * schema.categories.count
    }

    /// Rows as the file holds them.
    ///
    /// - Parameter firstNumber: The running number of the first.
    func words(of records: RecordBatch, rows: Range<Int>, firstNumber: Int64) -> [UInt64] {
        var words: [UInt64] = []
        words.reserveCapacity(rows.count * wordCount)
        for row in rows {
            words.append(UInt64(bitPattern: records.offsets[row]).littleEndian)
            words.append(records.times[row].bitPattern.littleEndian)
            for place in (row * featureCount)..<((row + 1) * featureCount) {
                words.append(records.values[place].bitPattern.littleEndian)
            }
            append(records.categories, row: row, to: &words)
            words.append(0)
        }
        for first in stride(from: 0, to: rows.count, by: 4) {
            seal(from: first, firstNumber: firstNumber, in: &words)
        }
        return words
    }

    private func append(_ categories: CategoryTable, row: Int, to words: inout [UInt64]) {
        for column in 0..<categories.columnCount {
            let text = categories.text(row: row, column: column).map { Array($0.utf8) }
            var cell = [text.map { UInt8($0.count) } ?? Self.missingLength] + (text ?? [])
            cell += repeatElement(0, count: Self.cellBytes - cell.count)
            for start in stride(from: 0, to: Self.cellBytes, by: 8) {
                let word = cell[start..<(start + 8)].reversed().reduce(UInt64(0)) {
                    $0 << 8 | UInt64($1)
                }
                words.append(word.littleEndian)
            }
        }
    }

    /// Puts the checksums of four rows in their places, those of `TrainingWindow.checksum`.
    ///
    /// Each step of a checksum waits for the one before: four at a time take little longer than one. Past the last row it is made again.
    private func seal(from first: Int, firstNumber: Int64, in words: inout [UInt64]) {
        let last = words.count / wordCount - 1
        let rows = (first, min(first + 1, last), min(first + 2, last), min(first + 3, last))
        var hashes = (FNV(), FNV(), FNV(), FNV())
        hashes.0.add(UInt64(bitPattern: firstNumber + Int64(rows.0)))
        hashes.1.add(UInt64(bitPattern: firstNumber + Int64(rows.1)))
        hashes.2.add(UInt64(bitPattern: firstNumber + Int64(rows.2)))
        hashes.3.add(UInt64(bitPattern: firstNumber + Int64(rows.3)))
        for place in 0..<(wordCount - 1) {
            var a = words[rows.0 * wordCount + place].littleEndian
            var b = words[rows.1 * wordCount + place].littleEndian
            var c = words[rows.2 * wordCount + place].littleEndian
            var d = words[rows.3 * wordCount + place].littleEndian
            for _ in 0..<8 {
                hashes.0.add(UInt8(truncatingIfNeeded: a))
                hashes.1.add(UInt8(truncatingIfNeeded: b))
                hashes.2.add(UInt8(truncatingIfNeeded: c))
                hashes.3.add(UInt8(truncatingIfNeeded: d))
                (a, b, c, d) = (a >> 8, b >> 8, c >> 8, d >> 8)
            }
        }
        words[(rows.0 + 1) * wordCount - 1] = hashes.0.value.littleEndian
        words[(rows.1 + 1) * wordCount - 1] = hashes.1.value.littleEndian
        words[(rows.2 + 1) * wordCount - 1] = hashes.2.value.littleEndian
        words[(rows.3 + 1) * wordCount - 1] = hashes.3.value.littleEndian
    }
}

/// FNV-1a with 64 bits, a byte at a time.
private struct FNV {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ byte: UInt8) {
        value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }

    /// The bytes of a number, the lowest first.
    mutating func add(_ number: UInt64) {
        for i in 0..<8 { add(UInt8(truncatingIfNeeded: number >> (8 * UInt64(i)))) }
    }
}
