import CParsers

/// The parts of a point of line protocol as texts: for output only, a line at a time.
package enum PointText {
    /// A part of a point, and how JSON writes its value.
    package struct Member {
        /// The key of a tag or field, or `_measurement` or `time`.
        package var name: String
        /// The value without quotes and escapes.
        package var text: String
        /// Whether it is a text in JSON too.
        package var isText: Bool
    }

    /// The parts of a point, its time first; `nil` if the line is none.
    package static func members(of line: ArraySlice<UInt8>) -> [Member]? {
        var members: [Member] = []
        let isPoint = visitValues(of: line, format: .influx) { value in
            let member = Member(
                name: String(decoding: value.key, as: UTF8.self),
                text: String(decoding: value.bytes, as: UTF8.self),
                isText: ![.number, .boolean, .time].contains(value.type))
            if value.type == .time { members.insert(member, at: 0) } else { members.append(member) }
        }
        return isPoint ? members : nil
    }

    /// The index behind the last field, where more may be added; `nil` if the line is no point.
    package static func fieldsEnd(of line: ArraySlice<UInt8>) -> Int? {
        let count = line.withUnsafeBufferPointer {
            fg_influx_fields_end($0.baseAddress, Int64($0.count))
        }
        return count < 0 ? nil : line.startIndex + Int(count)
    }
}
