import Foundation

/// A value of a series, and when it was.
struct Reading: Sendable, Hashable {
    /// Microseconds since 1970.
    var time: Int64
    var value: Double
}

/// Readings by their columns.
///
/// Encoded they are bytes, 20 a reading: a checkpoint is written with each batch, and has up to a thousand of them for each
/// step that is open.
struct Readings: Sendable, Hashable {
    var all: [Int: Reading] = [:]
}

extension Readings: Codable {
    private static let bytesEach = 20

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let bytes = try container.decode(Data.self)
        guard bytes.count.isMultiple(of: Self.bytesEach) else {
            throw DecodingError.dataCorruptedError(
                in: container,
                debugDescription: "expected \(Self.bytesEach) bytes a reading, found \(bytes.count)"
            )
        }
        bytes.withUnsafeBytes { bytes in
            for start in stride(from: 0, to: bytes.count, by: Self.bytesEach) {
                let column = bytes.loadUnaligned(fromByteOffset: start, as: Int32.self)
                let time = bytes.loadUnaligned(fromByteOffset: start + 4, as: Int64.self)
                let value = bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt64.self)
                all[Int(Int32(littleEndian: column))] = Reading(
                    time: Int64(littleEndian: time),
                    value: Double(bitPattern: UInt64(littleEndian: value)))
            }
        }
    }

    func encode(to encoder: any Encoder) throws {
        var bytes = Data(capacity: all.count * Self.bytesEach)
        func append(_ number: some FixedWidthInteger) {
            withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
        }
        for (column, reading) in all {
            append(Int32(column))
            append(reading.time)
            append(reading.value.bitPattern)
        }
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }
}
