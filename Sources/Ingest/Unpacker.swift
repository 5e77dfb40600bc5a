import CZlib
import CZstd

/// What an input may be compressed with.
enum Compression: String, Sendable {
    case gzip, zstd
    /// Known, so that it can be told, and not unpacked.
    case xz, bzip2, zip, lz4

    /// How many bytes tell it.
    static let markBytes = 6

    private static let marks: [(Compression, [UInt8])] = [
        (.gzip, [0x1F, 0x8B]), (.zstd, [0x28, 0xB5, 0x2F, 0xFD]),
        (.xz, [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
        (.bzip2, [0x42, 0x5A, 0x68, 0x39, 0x31, 0x41]),
        (.zip, [0x50, 0x4B, 0x03, 0x04]), (.lz4, [0x04, 0x22, 0x4D, 0x18]),
    ]

    /// What the first bytes of an input say; `nil` if it is not compressed.
    init?(start: some Collection<UInt8>) {
        guard let found = Self.marks.first(where: { start.starts(with: $0.1) }) else { return nil }
        self = found.0
    }

    /// Whether fewer bytes than tell it may be the beginning of something compressed.
    static func mayBegin(_ start: some Collection<UInt8>) -> Bool {
        marks.contains { $0.1.starts(with: start) }
    }
}

/// Unpacks gzip or zstd, a piece at a time, in bounded memory.
///
/// Files that were put one behind the other are unpacked as one. `@unchecked Sendable`: it has one
/// owner, which does not use it from two threads at once.
final class Unpacker: @unchecked Sendable {
    /// The most that is allocated for one zstd file: its window, of 2 to the power of this bytes.
    private static let windowLogLimit: Int32 = 27
    /// How many bytes of zstd are taken in at once: where damage is, is told to that.
    private static let zstdPieceBytes = 4 << 10
    /// How many bytes of a zstd file are taken in first: a header, and hardly more than a block's.
    private static let zstdStartBytes = 9

    private enum State {
        /// The stream lies on the heap: the library keeps its address.
        case gzip(UnsafeMutablePointer<z_stream>)
        case zstd(OpaquePointer)
    }

    private let input: String
    private let state: State
    /// Compressed bytes that were taken in.
    private var offset: Int64 = 0
    /// Whether a file is whole up to here.
    private var isBetweenFiles = true
    /// What is wrong behind the bytes that were made last.
    private(set) var failure: IngestError?
    /// How many bytes of zstd the library wants next, so that each block is made by a call of its own.
    private var wantedBytes = 0

    /// - Parameters:
    ///   - compression: gzip or zstd.
    ///   - input: The name of the input, for errors.
    /// - Returns: `nil` where it cannot be unpacked, for want of memory too.
    init?(_ compression: Compression, input: String) {
        self.input = input
        switch compression {
        case .gzip:
            let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
            stream.initialize(to: z_stream())
            guard fg_gzip_begin(stream) == Z_OK else {
                stream.deallocate()
                return nil
            }
            state = .gzip(stream)
        case .zstd:
            guard let stream = ZSTD_createDCtx() else { return nil }
            ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, Self.windowLogLimit)
            state = .zstd(stream)
        case .xz, .bzip2, .zip, .lz4:
            return nil
        }
    }

    deinit {
        switch state {
        case .gzip(let stream):
            inflateEnd(stream)
            stream.deallocate()
        case .zstd(let stream):
            ZSTD_freeDCtx(stream)
        }
    }

    /// Unpacks what there is room for.
    ///
    /// - Returns: How many bytes were taken and how many came of them.
    /// - Throws: `corrupt` with the offset of the compressed byte by which it was found out, once what came before it was made.
    func unpack(
        _ packed: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> (taken: Int, made: Int) {
        if let failure { throw failure }
        let result: (taken: Int, made: Int)
        switch state {
        case .gzip(let stream): result = try inflate(stream, packed, into: room)
        case .zstd(let stream): result = try decompress(stream, packed, into: room)
        }
        offset += Int64(result.taken)
        return result
    }

    /// Throws if the input has ended in the midst of a file.
    func finish() throws(IngestError) {
        guard isBetweenFiles else { throw .truncated(input: input, by: kind, offset: offset) }
    }

    private var kind: String {
        switch state {
        case .gzip: Compression.gzip.rawValue
        case .zstd: Compression.zstd.rawValue
        }
    }

    private func inflate(
        _ stream: UnsafeMutablePointer<z_stream>, _ packed: UnsafeRawBufferPointer,
        into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> (taken: Int, made: Int) {
        var packed = packed
        var padding = 0
        if isBetweenFiles {
            // Tapes and some writers fill up with zeros.
            padding = offset > 0 ? packed.prefix { $0 == 0 }.count : 0
            packed = .init(rebasing: packed[padding...])
            guard !packed.isEmpty else { return (padding, 0) }
            inflateReset(stream)
            isBetweenFiles = false
        }
        let bytes = packed.bindMemory(to: UInt8.self)
        // zlib reads from it, and does not write to it.
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.pointee.avail_in = UInt32(clamping: bytes.count)
        stream.pointee.next_out = room.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(clamping: room.count)
        let code = CZlib.inflate(stream, Z_NO_FLUSH)
        let taken = padding + bytes.count - Int(stream.pointee.avail_in)
        let made = room.count - Int(stream.pointee.avail_out)
        switch code {
        case Z_STREAM_END: isBetweenFiles = true
        case Z_OK, Z_BUF_ERROR: break
        default:
            let reason = stream.pointee.msg.map { String(cString: $0) } ?? "error \(code)"
            failure = .corrupt(
                input: input, by: kind, offset: offset + Int64(taken), reason: reason)
            if let failure, made == 0 { throw failure }
        }
        return (taken, made)
    }

    private func decompress(
        _ stream: OpaquePointer, _ packed: UnsafeRawBufferPointer,
        into room: UnsafeMutableRawBufferPointer
    ) throws(IngestError) -> (taken: Int, made: Int) {
        var source = ZSTD_inBuffer(
            src: packed.baseAddress,
            size: min(packed.count, Self.zstdPieceBytes, max(wantedBytes, Self.zstdStartBytes)),
            pos: 0)
        var target = ZSTD_outBuffer(dst: room.baseAddress, size: room.count, pos: 0)
        let code = ZSTD_decompressStream(stream, &target, &source)
        guard ZSTD_isError(code) == 0 else {
            let reason = String(cString: ZSTD_getErrorName(code))
            throw .corrupt(
                input: input, by: kind, offset: offset + Int64(source.size), reason: reason)
        }
        wantedBytes = code
        if source.pos > 0 || target.pos > 0 { isBetweenFiles = code == 0 }
        return (source.pos, target.pos)
    }
}
