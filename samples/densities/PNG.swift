/// A picture of indexed colours, written as a PNG file.
///
/// The data is deflated with the fixed code and matches of distance 1 alone: runs of one byte, which
/// is what even areas become after the filter.
///
/// Source: <https://www.w3.org/TR/png-3/>; RFC 1950, RFC 1951.
struct PNG {
    let width: Int
    let height: Int
    /// The index of each pixel's colour, row by row.
    var pixels: [UInt8]
    /// Red, green and blue of each colour; 256 at most.
    let palette: [(UInt8, UInt8, UInt8)]

    init(width: Int, height: Int, palette: [(UInt8, UInt8, UInt8)], background: UInt8) {
        self.width = width
        self.height = height
        self.palette = palette
        pixels = [UInt8](repeating: background, count: width * height)
    }

    /// The bytes of the file.
    func encoded() -> [UInt8] {
        var file: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        // 8 bits, colours by index, no interlace.
        let sides = Self.bigEndian(UInt32(width)) + Self.bigEndian(UInt32(height))
        Self.append("IHDR", sides + [8, 3, 0, 0, 0], to: &file)
        Self.append("PLTE", palette.flatMap { [$0.0, $0.1, $0.2] }, to: &file)
        var filtered: [UInt8] = []
        filtered.reserveCapacity((width + 1) * height)
        for row in 0..<height {
            filtered.append(1)  // Each byte less the one before it.
            var before: UInt8 = 0
            for pixel in pixels[row * width..<(row + 1) * width] {
                filtered.append(pixel &- before)
                before = pixel
            }
        }
        Self.append("IDAT", Deflate.zlib(filtered), to: &file)
        Self.append("IEND", [], to: &file)
        return file
    }

    private static func bigEndian(_ value: UInt32) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private static func append(_ type: String, _ data: [UInt8], to file: inout [UInt8]) {
        let body = Array(type.utf8) + data
        file += bigEndian(UInt32(data.count)) + body + bigEndian(crc(body))
    }

    private static func crc(_ bytes: [UInt8]) -> UInt32 {
        var sum = UInt32.max
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0xEDB8_8320 : sum >> 1 }
        }
        return ~sum
    }
}

/// Deflate with the fixed code and runs.
private struct Deflate {
    private var bytes: [UInt8] = [0x78, 0x01]
    private var bits: UInt64 = 0
    private var bitCount = 0

    /// A zlib stream of the bytes.
    static func zlib(_ data: [UInt8]) -> [UInt8] {
        var stream = Deflate()
        stream.put(1, 1)  // The last block,
        stream.put(1, 2)  // of the fixed code.
        var index = 0
        while index < data.count {
            stream.putSymbol(Int(data[index]))
            var run = 0
            while run < 258, index + 1 + run < data.count, data[index + 1 + run] == data[index] {
                run += 1
            }
            if run >= 3 { stream.putRun(run) }
            index += run >= 3 ? run + 1 : 1
        }
        stream.putSymbol(256)
        stream.put(0, (8 - stream.bitCount % 8) % 8)
        var a: UInt32 = 1
        var b: UInt32 = 0
        for byte in data {
            a = (a + UInt32(byte)) % 65521
            b = (b + a) % 65521
        }
        return stream.bytes + withUnsafeBytes(of: (b << 16 | a).bigEndian) { Array($0) }
    }

    /// Appends bits, the lowest first.
    private mutating func put(_ value: Int, _ count: Int) {
        bits |= UInt64(value) << bitCount
        bitCount += count
        while bitCount >= 8 {
            bytes.append(UInt8(truncatingIfNeeded: bits))
            bits >>= 8
            bitCount -= 8
        }
    }

    /// Appends a Huffman code, its highest bit first.
    private mutating func putCode(_ code: Int, _ count: Int) {
        for bit in (0..<count).reversed() { put(code >> bit & 1, 1) }
    }

    private mutating func putSymbol(_ symbol: Int) {
        switch symbol {
        case ..<144: putCode(0x30 + symbol, 8)
        case ..<256: putCode(0x190 + symbol - 144, 9)
        case ..<280: putCode(symbol - 256, 7)
        default: putCode(0xC0 + symbol - 280, 8)
        }
    }

    /// Appends a match of 3 to 258 bytes at distance 1.
    private mutating func putRun(_ length: Int) {
        if length == 258 {
            putSymbol(285)
        } else {
            // Lengths beyond 10 come in groups of four codes with as many extra bits.
            let value = length - 3
            let extra = value < 8 ? 0 : Int.bitWidth - 3 - value.leadingZeroBitCount
            let code = 257 + (extra << 2) + (value >> extra)
            putSymbol(code)
            put(value & (1 << extra - 1), extra)
        }
        putCode(0, 5)
    }
}
