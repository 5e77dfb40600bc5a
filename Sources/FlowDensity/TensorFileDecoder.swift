import FoundationEssentials

/// Reads a `TensorFile` from bytes that may be anything.
struct TensorFileDecoder {
    /// A header longer than this is not ours: names and numbers of a flow take a few kilobytes.
    static let maximumHeaderBytes = 16 << 20

    let bytes: [UInt8]
    let file: String

    func decode() throws(FlowDensityError) -> (
        version: Int, metadata: [String: String], tensors: [String: TensorFile.Tensor]
    ) {
        let data = try headerEnd()
        let header = try parsedHeader(8..<data)
        guard var metadata = header.metadata, metadata["format"] == TensorFile.format else {
            throw .notAModel(file: file, reason: "its metadata names no format 'flowguard'")
        }
        let written = metadata["format_version"] ?? "none"
        guard let version = Int(written), TensorFile.formatVersions.contains(version) else {
            let known = TensorFile.formatVersions
            throw .otherFormatVersion(
                file: file, found: written, supported: "\(known.lowerBound) to \(known.upperBound)")
        }
        let dataCount = try describedDataCount(header.entries)
        guard bytes.count - data >= dataCount else {
            throw .cutShort(
                file: file, expectedBytes: data + dataCount, foundBytes: bytes.count)
        }
        guard bytes.count - data == dataCount else {
            throw .notAModel(
                file: file, reason: "\(bytes.count - data - dataCount) bytes follow its tensors")
        }
        try checkChecksum(header: 8..<data, stored: metadata["checksum"])
        var tensors: [String: TensorFile.Tensor] = [:]
        for (name, entry) in header.entries {
            tensors[name] = try tensor(name, entry, data: data)
        }
        for key in ["format", "format_version", "checksum"] { metadata[key] = nil }
        return (version, metadata, tensors)
    }

    /// The index of the first byte after the header.
    private func headerEnd() throws(FlowDensityError) -> Int {
        guard bytes.count >= 8 else {
            throw .notAModel(
                file: file,
                reason: "it has \(bytes.count) bytes, a model begins with 8 bytes of header length")
        }
        var length: UInt64 = 0
        for index in (0..<8).reversed() { length = length << 8 | UInt64(bytes[index]) }
        guard length >= 2 && length <= UInt64(Self.maximumHeaderBytes) else {
            throw .notAModel(
                file: file,
                reason: "its header would have \(length) bytes, "
                    + "expected 2 to \(Self.maximumHeaderBytes)")
        }
        let end = 8 + Int(length)
        guard bytes.count >= end else {
            guard bytes.count == 8 || bytes[8] == UInt8(ascii: "{") else {
                throw .notAModel(file: file, reason: "its header is not a JSON object")
            }
            throw .cutShort(file: file, expectedBytes: end, foundBytes: bytes.count)
        }
        return end
    }

    private func parsedHeader(_ range: Range<Int>) throws(FlowDensityError) -> Header {
        guard bytes[range.lowerBound] == UInt8(ascii: "{") else {
            throw .notAModel(file: file, reason: "its header is not a JSON object")
        }
        do {
            return try JSONDecoder().decode(Header.self, from: Data(bytes[range]))
        } catch {
            throw .notAModel(
                file: file, reason: "its header is not a JSON object of tensors and metadata")
        }
    }

    /// The bytes that the tensors take, which must lie one after the other without gap or overlap.
    private func describedDataCount(
        _ entries: [String: Header.Entry]
    ) throws(FlowDensityError) -> Int {
        for (name, entry) in entries {
            guard entry.data_offsets.count == 2,
                entry.data_offsets[0] >= 0, entry.data_offsets[0] <= entry.data_offsets[1],
                entry.data_offsets[1] <= 1 << 40
            else {
                throw .badTensor(
                    file: file, tensor: name,
                    reason: "its data_offsets are not a begin and an end")
            }
        }
        var end = 0
        for (name, entry) in entries.sorted(by: {
            $0.value.data_offsets.lexicographicallyPrecedes($1.value.data_offsets)
        }) {
            guard entry.data_offsets[0] == end else {
                throw .badTensor(
                    file: file, tensor: name,
                    reason: "its bytes begin at \(entry.data_offsets[0]), "
                        + "those before it end at \(end)")
            }
            end = entry.data_offsets[1]
        }
        return end
    }

    private func checkChecksum(
        header: Range<Int>, stored: String?
    ) throws(FlowDensityError) {
        guard let digits = TensorFile.checksumRange(in: bytes, header: header),
            let stored, stored.hasPrefix(TensorFile.checksumPrefix)
        else {
            throw .notAModel(file: file, reason: "its metadata holds no checksum")
        }
        let computed = TensorFile.checksum(of: bytes, digits: digits)
        guard Array(computed.utf8)[...] == bytes[digits] else {
            throw .checksumMismatch(
                file: file, stored: String(stored.dropFirst(TensorFile.checksumPrefix.count)),
                computed: computed)
        }
    }

    private func tensor(
        _ name: String, _ entry: Header.Entry, data: Int
    ) throws(FlowDensityError) -> TensorFile.Tensor {
        guard let type = TensorFile.ElementType(rawValue: entry.dtype) else {
            throw .badTensor(
                file: file, tensor: name,
                reason: "expected dtype F32, F64 or I64, found '\(entry.dtype)'")
        }
        var count = type.byteCount
        for side in entry.shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: side)
            guard side >= 0 && !overflow else {
                throw .badTensor(
                    file: file, tensor: name, reason: "its shape \(entry.shape) is no shape")
            }
            count = product
        }
        let begin = entry.data_offsets[0]
        let end = entry.data_offsets[1]
        guard end - begin == count else {
            throw .badTensor(
                file: file, tensor: name,
                reason: "shape \(entry.shape) needs \(count) bytes, found \(end - begin)")
        }
        return TensorFile.Tensor(
            type, shape: entry.shape, bytes: Array(bytes[data + begin..<data + end]))
    }
}

extension TensorFileDecoder {
    /// The JSON header: an entry for each tensor, and the metadata.
    fileprivate struct Header: Decodable {
        struct Entry: Decodable {
            let dtype: String
            let shape: [Int]
            // swift-format-ignore: AlwaysUseLowerCamelCase
            let data_offsets: [Int]
        }

        struct Key: CodingKey {
            let stringValue: String
            var intValue: Int? { nil }
            init?(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        var metadata: [String: String]?
        var entries: [String: Entry] = [:]

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Key.self)
            for key in container.allKeys {
                if key.stringValue == "__metadata__" {
                    metadata = try container.decode([String: String].self, forKey: key)
                } else {
                    entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
                }
            }
        }
    }
}
