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

    /// The point without the tags and fields of these names, which hold nothing that is escaped.
    ///
    /// A point that would have no field left is given as it is.
    package static func point(
        _ line: ArraySlice<UInt8>, without names: Set<String>
    ) -> ArraySlice<UInt8> {
        guard let end = fieldsEnd(of: line) else { return line }
        var kept: [UInt8] = []
        var start = line.startIndex
        var isField = false
        var hasField = false
        var isQuoted = false
        var index = start
        while index <= end {
            let byte = index < end ? line[index] : nil
            if byte == UInt8(ascii: "\\") {
                index = min(index + 2, end)
                continue
            }
            // In measurement and tags quotes are letters like others.
            if isField, byte == UInt8(ascii: "\"") { isQuoted.toggle() }
            let isSeparator =
                byte == UInt8(ascii: ",") || (!isField && byte == UInt8(ascii: " "))
            if byte == nil || (isSeparator && !isQuoted) {
                let part = line[start..<index]
                let name = part.dropFirst().prefix { $0 != UInt8(ascii: "=") }
                let isMeasurement = start == line.startIndex
                if isMeasurement || !names.contains(String(decoding: name, as: UTF8.self)) {
                    // The first field follows a blank, whichever it is.
                    let isFirst = isField && !hasField
                    if isFirst { kept.append(UInt8(ascii: " ")) }
                    kept += part.dropFirst(isFirst ? 1 : 0)
                    hasField = hasField || isField
                }
                isField = isField || byte == UInt8(ascii: " ")
                start = index
            }
            index += 1
        }
        return hasField ? kept[...] + line[end...] : line
    }
}
