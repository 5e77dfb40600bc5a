import Glibc

/// The bytes of a descriptor, unpacked where gzip or zstd has compressed them.
///
/// The descriptor stays the caller's.
package struct InputBytes: Sendable {
    /// How many bytes were read from the descriptor.
    private(set) var offset: Int64 = 0
    /// Whether the end was read.
    package private(set) var isAtEnd = false

    private let descriptor: Int32
    private let name: String
    private var unpacker: Unpacker?
    /// Whether the first bytes have told if the input is compressed.
    private var isKnown = false
    private var isDrained = false
    /// Bytes as they came: the first ones until they tell, then what is to be unpacked.
    private var held: [UInt8] = []
    private var heldStart = 0
    /// Whether the unpacker may have more to give without new bytes.
    private var hasMore = false
    /// What was looked at before it is read.
    private var ahead: [UInt8] = []

    private static let pieceBytes = 64 << 10

    /// The bytes of a descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: What they are read from.
    ///   - name: The name of the input, for errors.
    package init(descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    /// Whether something can be read without waiting for the descriptor.
    package var isReady: Bool {
        !ahead.isEmpty || hasMore || (unpacker != nil && heldStart < held.count)
    }

    /// Waits for bytes.
    ///
    /// - Parameter milliseconds: How long at most.
    /// - Returns: Whether there is something to read, or the end.
    func wait(atMost milliseconds: Int32) throws(IngestError) -> Bool {
        if isReady { return true }
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let count = poll(&request, 1, milliseconds)
        if count < 0, errno != EINTR { throw .cannotRead(input: name, errno: errno) }
        return count > 0
    }

    /// Reads what is there, at most as much as there is room for.
    ///
    /// - Returns: How many bytes; 0 if there are none now, or `isAtEnd`.
    /// - Throws: `cannotRead`; `compressed`, `corrupt` or `truncated` for what cannot be unpacked.
    package mutating func read(
        into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> Int {
        if !ahead.isEmpty {
            let count = min(ahead.count, room.count)
            room.copyBytes(from: ahead[..<count])
            ahead.removeFirst(count)
            return count
        }
        if !isKnown {
            try readStart()
            guard isKnown else { return 0 }
        }
        if unpacker != nil { return try unpack(into: room) }
        if heldStart < held.count {
            let count = min(held.count - heldStart, room.count)
            room.copyBytes(from: held[heldStart..<(heldStart + count)])
            heldStart += count
            return count
        }
        guard !isDrained else {
            isAtEnd = true
            return 0
        }
        let count = try readRaw(into: room)
        isAtEnd = isDrained
        return count
    }

    /// The first bytes, which are read again afterwards: at most as many as asked for, and fewer at the end or when
    /// nothing comes for a fifth of a second behind a whole line.
    mutating func peek(_ count: Int) throws(IngestError) -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: Self.pieceBytes)
        var gathered: [UInt8] = []
        while gathered.count < count, !isAtEnd {
            let isEnough = gathered.contains(0x0A)
            guard try wait(atMost: isEnough ? 200 : 1_000) else {
                if isEnough { break }
                continue
            }
            let room = min(chunk.count, count - gathered.count)
            do throws(IngestError) {
                let got = try withRoom(&chunk, room) { (room) throws(IngestError) in
                    try read(into: room)
                }
                gathered += chunk[..<got]
            } catch {
                // Whoever reads on behind what is there meets it again.
                guard !gathered.isEmpty else { throw error }
                break
            }
        }
        ahead = gathered + ahead
        if !ahead.isEmpty { isAtEnd = false }
        return gathered
    }

    /// Reads until it is known whether the input is compressed.
    private mutating func readStart() throws(IngestError) {
        var chunk = [UInt8](repeating: 0, count: Self.pieceBytes)
        let got = try withRoom(&chunk, chunk.count) { (room) throws(IngestError) in
            try readRaw(into: room)
        }
        held += chunk[..<got]
        let start = held.prefix(Compression.markBytes)
        isKnown =
            isDrained || start.count == Compression.markBytes || !Compression.mayBegin(start)
        guard isKnown, let compression = Compression(start: start) else { return }
        unpacker = Unpacker(compression, input: name)
        guard unpacker != nil else { throw .compressed(path: name, by: compression.rawValue) }
    }

    private mutating func unpack(
        into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> Int {
        guard let unpacker else { return 0 }
        if heldStart == held.count, !hasMore {
            guard !isDrained else {
                try unpacker.finish()
                isAtEnd = true
                return 0
            }
            var chunk = [UInt8](repeating: 0, count: Self.pieceBytes)
            let got = try withRoom(&chunk, chunk.count) { (room) throws(IngestError) in
                try readRaw(into: room)
            }
            chunk.removeSubrange(got...)
            held = chunk
            heldStart = 0
        }
        let packed = held
        let start = heldStart
        let result = try withBytes(packed, from: start) { (bytes) throws(IngestError) in
            try unpacker.unpack(bytes, into: room)
        }
        heldStart += result.taken
        hasMore =
            result.made == room.count || heldStart < held.count || unpacker.failure != nil
        return result.made
    }

    private mutating func readRaw(
        into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> Int {
        let count = retrying { Glibc.read(descriptor, room.baseAddress, room.count) }
        if count < 0 {
            guard errno == EAGAIN else { throw .cannotRead(input: name, errno: errno) }
            return 0
        }
        isDrained = count == 0
        offset += Int64(count)
        return count
    }
}

/// Lends room at the start of an array; the error is the body's.
private func withRoom(
    _ chunk: inout [UInt8], _ count: Int,
    _ body: (UnsafeMutableRawBufferPointer) throws(IngestError) -> Int
) throws(IngestError) -> Int {
    let result = chunk.withUnsafeMutableBytes { bytes in
        Result { () throws(IngestError) in
            try body(UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]))
        }
    }
    return try result.get()
}

/// Lends the rest of an array; the error is the body's.
private func withBytes<Value>(
    _ chunk: [UInt8], from start: Int,
    _ body: (UnsafeRawBufferPointer) throws(IngestError) -> Value
) throws(IngestError) -> Value {
    let result = chunk.withUnsafeBytes { bytes in
        Result { () throws(IngestError) in
            try body(UnsafeRawBufferPointer(rebasing: bytes[start...]))
        }
    }
    return try result.get()
}
