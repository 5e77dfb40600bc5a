/// A safetensors container: named tensors and text metadata, with a format version and a checksum.
///
/// The layout is that of safetensors: 8 bytes with the header's length (little-endian), a JSON
/// header, the raw tensors. `__metadata__` holds, beside the caller's entries,
///
///     format          "flowguard"
///     format_version  "1", or "2" where the flow has what version 1 does not know
///     checksum        "fnv1a64:" and 16 hexadecimal digits
///
/// The checksum is 64-bit FNV-1a over the header and the tensors (all bytes from the ninth on), with
/// "0000000000000000" in the place of its own digits. It finds damage, it is no signature.
///
/// Source: <https://github.com/huggingface/safetensors>, section "Format".
public struct TensorFile: Sendable {
    /// The scalars that a tensor may hold.
    public enum ElementType: String, Sendable {
        /// 32-bit floating point.
        case float32 = "F32"
        /// 64-bit floating point.
        case float64 = "F64"
        /// 64-bit signed integers.
        case int64 = "I64"

        /// The bytes of one element.
        public var byteCount: Int { self == .float32 ? 4 : 8 }
    }

    /// An array of numbers with a shape, as the bytes that the file holds (little-endian).
    public struct Tensor: Sendable, Equatable {
        /// The type of the elements.
        public let elementType: ElementType
        /// The sides, outermost first; empty for a single number.
        public let shape: [Int]
        /// The elements, little-endian, the last index running fastest.
        public let bytes: [UInt8]

        /// A tensor of doubles.
        ///
        /// - Precondition: the product of `shape` is the number of values.
        public init(_ values: [Double], shape: [Int]) {
            self.init(.float64, shape: shape, count: values.count, raw: values.map(\.bitPattern))
        }

        /// A tensor of floats.
        ///
        /// - Precondition: the product of `shape` is the number of values.
        public init(_ values: [Float], shape: [Int]) {
            self.init(.float32, shape: shape, count: values.count, raw: values.map(\.bitPattern))
        }

        /// A tensor of integers.
        ///
        /// - Precondition: the product of `shape` is the number of values.
        public init(_ values: [Int64], shape: [Int]) {
            self.init(.int64, shape: shape, count: values.count, raw: values)
        }

        private init(
            _ elementType: ElementType, shape: [Int], count: Int, raw: [some FixedWidthInteger]
        ) {
            precondition(
                shape.reduce(1, *) == count, "a tensor of shape \(shape) cannot hold \(count)")
            self.elementType = elementType
            self.shape = shape
            var bytes: [UInt8] = []
            bytes.reserveCapacity(count * elementType.byteCount)
            for element in raw {
                withUnsafeBytes(of: element.littleEndian) { bytes.append(contentsOf: $0) }
            }
            self.bytes = bytes
        }

        init(_ elementType: ElementType, shape: [Int], bytes: [UInt8]) {
            self.elementType = elementType
            self.shape = shape
            self.bytes = bytes
        }

        /// The number of elements.
        public var count: Int { bytes.count / elementType.byteCount }

        /// The elements as doubles: those of a float64 tensor, or those of a float32 one, widened.
        public func doubles() throws(FlowDensityError) -> [Double] {
            switch elementType {
            case .float64: words(UInt64.self).map { Double(bitPattern: $0) }
            case .float32: words(UInt32.self).map { Double(Float(bitPattern: $0)) }
            case .int64: throw mismatch("floating-point numbers")
            }
        }

        /// The elements of a float32 tensor.
        public func floats() throws(FlowDensityError) -> [Float] {
            guard elementType == .float32 else { throw mismatch("F32") }
            return words(UInt32.self).map { Float(bitPattern: $0) }
        }

        /// The elements of an int64 tensor.
        public func integers() throws(FlowDensityError) -> [Int64] {
            guard elementType == .int64 else { throw mismatch("I64") }
            return words(Int64.self)
        }

        private func mismatch(_ expected: String) -> FlowDensityError {
            .badTensor(
                file: "the model", tensor: "of shape \(shape)",
                reason: "expected \(expected), found \(elementType.rawValue)")
        }

        private func words<Word: FixedWidthInteger>(_: Word.Type) -> [Word] {
            bytes.withUnsafeBytes { raw in
                (0..<raw.count / MemoryLayout<Word>.size).map { index in
                    Word(
                        littleEndian: raw.loadUnaligned(
                            fromByteOffset: index * MemoryLayout<Word>.size, as: Word.self))
                }
            }
        }
    }

    /// The versions of the format that this build reads.
    ///
    /// A file is written in the lowest version that holds what is in it, so that older builds read
    /// what they can and refuse the rest.
    public static let formatVersions = 1...2

    /// The version of the format that the file needs.
    public internal(set) var formatVersion = 1

    /// Text by key; the keys `format`, `format_version` and `checksum` are the container's own.
    public var metadata: [String: String] = [:]
    /// The tensors by name.
    public var tensors: [String: Tensor] = [:]
    /// What the file is called in errors.
    public private(set) var name = "the model"

    /// An empty container.
    public init() {}

    /// Reads a container from its bytes.
    ///
    /// - Parameters:
    ///   - bytes: All of the file.
    ///   - name: What the file is called in errors.
    /// - Throws: `notAModel`, `cutShort`, `otherFormatVersion`, `checksumMismatch` or `badTensor`.
    ///   No bytes, however damaged, do worse.
    public init(decoding bytes: [UInt8], name: String) throws(FlowDensityError) {
        let decoded = try TensorFileDecoder(bytes: bytes, file: name).decode()
        self.name = name
        formatVersion = decoded.version
        metadata = decoded.metadata
        tensors = decoded.tensors
    }

    /// The bytes of the container: the same contents give the same bytes.
    public func encoded() -> [UInt8] {
        var metadata = metadata
        metadata["format"] = Self.format
        metadata["format_version"] = String(formatVersion)
        metadata["checksum"] = Self.checksumPrefix + Self.checksumPlaceholder
        var header = "{\"__metadata__\":{"
        header += metadata.sorted { $0.key < $1.key }
            .map { "\(Self.quoted($0.key)):\(Self.quoted($0.value))" }.joined(separator: ",")
        header += "}"
        let sorted = tensors.sorted { $0.key < $1.key }
        var offset = 0
        for (name, tensor) in sorted {
            let end = offset + tensor.bytes.count
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            header +=
                ",\(Self.quoted(name)):{\"dtype\":\"\(tensor.elementType.rawValue)\","
                + "\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}"
            offset = end
        }
        header += "}"
        var headerBytes = Array(header.utf8)
        headerBytes += [UInt8](repeating: 0x20, count: (8 - headerBytes.count % 8) % 8)

        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 + headerBytes.count + offset)
        withUnsafeBytes(of: UInt64(headerBytes.count).littleEndian) {
            bytes.append(contentsOf: $0)
        }
        bytes += headerBytes
        for (_, tensor) in sorted { bytes += tensor.bytes }
        if let digits = Self.checksumRange(in: bytes, header: 8..<8 + headerBytes.count) {
            bytes.replaceSubrange(digits, with: Self.checksum(of: bytes, digits: digits).utf8)
        }
        return bytes
    }

    /// The tensor of a name.
    ///
    /// - Throws: `missingTensor` when there is none.
    public func tensor(_ name: String) throws(FlowDensityError) -> Tensor {
        guard let tensor = tensors[name] else {
            throw .missingTensor(file: self.name, tensor: name)
        }
        return tensor
    }

    /// The metadata entry of a key.
    ///
    /// - Throws: `missingMetadata` when there is none.
    public func metadataValue(_ key: String) throws(FlowDensityError) -> String {
        guard let value = metadata[key] else {
            throw .missingMetadata(file: name, key: key)
        }
        return value
    }
}

extension TensorFile {
    static let format = "flowguard"
    static let checksumPrefix = "fnv1a64:"
    static let checksumPlaceholder = "0000000000000000"

    /// Where the checksum's 16 digits stand, or nil when the header has none.
    static func checksumRange(in bytes: [UInt8], header: Range<Int>) -> Range<Int>? {
        let pattern = Array("\"checksum\":\"\(checksumPrefix)".utf8)
        let last = header.upperBound - pattern.count - checksumPlaceholder.utf8.count
        guard header.lowerBound <= last else { return nil }
        for start in header.lowerBound...last
        where bytes[start] == pattern[0] && bytes[start..<start + pattern.count] == pattern[...] {
            let digits = start + pattern.count
            return digits..<digits + checksumPlaceholder.utf8.count
        }
        return nil
    }

    /// FNV-1a of all bytes after the length, the checksum's own digits taken as zeros.
    static func checksum(of bytes: [UInt8], digits: Range<Int>) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        bytes.withUnsafeBufferPointer { bytes in
            for index in 8..<bytes.count {
                let byte = digits.contains(index) ? 0x30 : bytes[index]
                hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
            }
        }
        let text = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
