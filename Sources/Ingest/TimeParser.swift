import CParsers

/// Times as they are written in records.
public enum TimeParser {
    /// Reads a time: ISO 8601 or RFC 3339, or a number since the epoch.
    ///
    /// Date and time may be set apart by `T` or a space; seconds, their fraction and the time may
    /// be left out; the zone is `Z`, `UTC` or an offset, and UTC if there is none. A bare number
    /// is read by its magnitude as seconds (below 1e11), milliseconds (1e14), microseconds (1e17)
    /// or nanoseconds.
    ///
    /// - Parameter bytes: The text, without spaces around it.
    /// - Returns: Seconds since 1970, UTC; `nil` if it is not a time.
    public static func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        var seconds = 0.0
        return fg_time_parse(bytes.baseAddress, Int64(bytes.count), &seconds) ? seconds : nil
    }
}
