import Foundation

/// Instants as the store writes them: ISO 8601 in UTC with milliseconds, `2026-11-23T22:24:05.120Z`.
///
/// Text of one width sorts like the instants, SQLite's date functions read it, and so does a person.
enum UTCTime {
    private static let style = Date.ISO8601FormatStyle(
        includingFractionalSeconds: true, timeZone: .gmt)
    /// The years 0001 to 9999, the range of the format.
    private static let range = -62_135_596_800.0...253_402_300_799.0

    /// - Parameter time: Epoch seconds; rounded to a millisecond, and what is not representable to the nearest that is.
    static func text(_ time: Double) -> String {
        guard !time.isNaN else { return text(0) }
        let bounded = min(max(time, range.lowerBound), range.upperBound)
        // The style cuts off, so that a hair more than the rounded millisecond is what it must be given.
        let milliseconds = (bounded * 1_000).rounded()
        return Date(timeIntervalSince1970: (milliseconds + 0.25) / 1_000).formatted(style)
    }

    /// Epoch seconds of a text that the store wrote; `nil` for another text.
    static func time(_ text: String) -> Double? {
        guard let date = try? style.parse(text) else { return nil }
        return (date.timeIntervalSince1970 * 1_000).rounded() / 1_000
    }
}

extension Double {
    /// Itself, or the nearest number that SQLite and JSON can hold.
    ///
    /// SQLite writes a NaN as NULL, which its column would refuse: a batch with one would never be committed.
    var storable: Double {
        if isNaN { return 0 }
        return min(max(self, -Double.greatestFiniteMagnitude), Double.greatestFiniteMagnitude)
    }
}
