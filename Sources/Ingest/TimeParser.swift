import CParsers
import Foundation

/// The unit of times that are numbers.
public enum TimeUnit: String, Sendable, Codable, CaseIterable {
    /// Seconds.
    case s
    /// Milliseconds.
    case ms
    /// Microseconds.
    case us
    /// Nanoseconds.
    case ns

    /// How many make a second.
    public var perSecond: Int64 {
        switch self {
        case .s: 1
        case .ms: 1_000
        case .us: 1_000_000
        case .ns: 1_000_000_000
        }
    }
}

/// How times are written in records.
public struct TimeFormat: Sendable, Hashable, Codable {
    /// A pattern as of `strptime`, such as `%d.%m.%Y %H:%M:%S`; `%f` is a fraction of a second.
    ///
    /// The default is `nil`: ISO 8601, RFC 3339, or a number since the epoch.
    public var pattern: String?
    /// The unit of times that are numbers.
    ///
    /// The default is `nil`: found by their magnitude, and nanoseconds in line protocol.
    public var unit: TimeUnit?
    /// The place whose clocks show the times that name no zone, such as `Europe/Berlin`.
    ///
    /// The default is `nil`: UTC.
    public var zone: String?

    /// Everything at its default.
    public init() {}

    /// What is wrong with a pattern.
    public enum PatternProblem: Sendable, Hashable {
        /// A `%` with what follows it means nothing.
        case unknownPart(String)
        /// It does not say year, month and day.
        case noDate
    }

    /// What is wrong with a pattern; `nil` if it is good.
    public static func problem(inPattern pattern: String) -> PatternProblem? {
        let bytes = Array(pattern.utf8)
        let place = fg_pattern_check(bytes, Int64(bytes.count))
        if place == Int64(FG_PATTERN_WITHOUT_DATE) { return .noDate }
        guard place >= 0 else { return nil }
        return .unknownPart(String(decoding: bytes[Int(place)...].prefix(2), as: UTF8.self))
    }
}

/// Reads times as they are written in records.
///
/// `@unchecked Sendable`: what it points to is written once, in `init`, and only read afterwards.
public final class TimeParser: @unchecked Sendable {
    let handle: OpaquePointer?

    /// A parser of times in a format.
    ///
    /// - Parameter format: How they are written; its pattern is one without a problem.
    public init(_ format: TimeFormat = TimeFormat()) {
        let pattern = Array((format.pattern ?? "").utf8)
        let zone = format.zone.flatMap(TimeZone.init(identifier:)).map(Self.offsets(of:))
        let (starts, offsets) = zone ?? ([], [])
        handle = starts.withUnsafeBufferPointer { starts in
            offsets.withUnsafeBufferPointer { offsets in
                fg_time_create(
                    pattern, Int64(pattern.count), format.unit?.perSecond ?? 0,
                    fg_zone(
                        starts: starts.baseAddress, offsets: offsets.baseAddress,
                        count: Int64(starts.count)))
            }
        }
    }

    deinit {
        fg_time_free(handle)
    }

    /// Reads a time.
    ///
    /// Without a pattern: date and time may be set apart by `T` or a space; seconds, their fraction
    /// and the time may be left out; the date may also be a week's or a year's day. The zone is `Z`,
    /// `UTC`, `GMT` or an offset, and the format's if there is none. A bare number is read in the
    /// format's unit, or by its magnitude as seconds (below 1e11), milliseconds (1e14), microseconds
    /// (1e17) or nanoseconds.
    ///
    /// - Parameter bytes: The text, without spaces around it.
    /// - Returns: Seconds since 1970, UTC; `nil` if it is not a time.
    public func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        var seconds = 0.0
        return fg_time_parse(handle, bytes.baseAddress, Int64(bytes.count), &seconds)
            ? seconds : nil
    }

    /// From which instant on clocks are how many seconds ahead of UTC, from 1970 to 2100.
    private static func offsets(of zone: TimeZone) -> ([Int64], [Int32]) {
        func offset(_ instant: Int64) -> Int32 {
            Int32(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(instant))))
        }
        let weekSecs: Int64 = 7 * 86_400
        var starts: [Int64] = [0]
        var offsets = [offset(0)]
        for week in stride(from: weekSecs, to: Int64(4_102_444_800), by: Int64.Stride(weekSecs)) {
            let after = offset(week)
            guard after != offsets[offsets.count - 1] else { continue }
            var (before, end) = (week - weekSecs, week)
            while end - before > 1 {
                let middle = (before + end) / 2
                if offset(middle) == after { end = middle } else { before = middle }
            }
            starts.append(end)
            offsets.append(after)
        }
        return (starts, offsets)
    }
}
