import CParsers

/// A value of a record in NDJSON or line protocol, with its key.
struct KeyedValue {
    enum Kind: UInt8 {
        case number = 0x6E  // n
        case string = 0x73  // s
        case boolean = 0x74  // t
        case null = 0x7A  // z
        case array = 0x61  // a
        case tag = 0x67  // g
        case measurement = 0x6D  // m
        case time = 0x63  // c
    }

    var key: UnsafeBufferPointer<UInt8>
    var type: Kind
    /// Without quotes and escapes; empty for null and arrays.
    var bytes: UnsafeBufferPointer<UInt8>
    /// Whether it is an element of an array, or in one.
    var isElement: Bool
}

/// Tells each value of a record, as far as the line is of the format.
///
/// The values of an object within another have both keys, `a.b`.
///
/// - Parameters:
///   - line: The line of the record.
///   - format: NDJSON or line protocol.
///   - visitsElements: Whether the elements of an array are told too, `a.0`.
///   - body: Takes a value; its bytes are gone afterwards.
/// - Returns: Whether the line is of the format.
@discardableResult
func visitValues(
    of line: ArraySlice<UInt8>, format: RecordFormat, visitsElements: Bool = false,
    _ body: (KeyedValue) -> Void
) -> Bool {
    // The elements of an array come right behind it, and begin with its key.
    var array: [UInt8]?
    return withoutActuallyEscaping(body) { body in
        var take: (KeyedValue) -> Void = { value in
            var value = value
            if let inside = array {
                value.isElement = value.key.starts(with: inside) && value.key.count > inside.count
                if !value.isElement { array = nil }
            }
            if value.type == .array, !value.isElement { array = Array(value.key) + [0x2E] }
            body(value)
        }
        return withUnsafeMutablePointer(to: &take) { take in
            line.withUnsafeBufferPointer { bytes in
                let visitor: fg_visitor = { context, key, keyCount, type, value, valueCount in
                    guard let kind = KeyedValue.Kind(rawValue: UInt8(bitPattern: type)) else {
                        return
                    }
                    let take = context?.assumingMemoryBound(to: ((KeyedValue) -> Void).self)
                    take?.pointee(
                        KeyedValue(
                            key: UnsafeBufferPointer(start: key, count: Int(keyCount)), type: kind,
                            bytes: UnsafeBufferPointer(start: value, count: Int(valueCount)),
                            isElement: false))
                }
                let count = Int64(bytes.count)
                return format == .influx
                    ? fg_influx_visit(bytes.baseAddress, count, take, visitor)
                    : fg_json_visit(bytes.baseAddress, count, visitsElements, take, visitor)
            }
        }
    }
}
