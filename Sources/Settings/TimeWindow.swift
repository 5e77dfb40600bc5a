import Foundation

/// A stretch of time that a user names: once, or again and again by the clock on the wall.
public enum TimeWindow: Sendable, Hashable {
    /// From one instant to another, in epoch seconds; the end is not in it.
    case once(from: Double, to: Double)
    /// Every week, or every day.
    case recurring(Recurrence)

    /// The same times of the same days, as the clocks of a time zone show them.
    public struct Recurrence: Sendable, Hashable {
        /// The days on which it begins; Sunday is 0.
        public var weekdays: Set<Int>
        /// When it begins, in seconds from midnight.
        public var fromSecs: Int
        /// When it ends, in seconds from midnight: the next day's where that is not after the begin.
        public var toSecs: Int
        /// Whose clocks.
        public var zone: TimeZone

        /// Makes a recurrence.
        public init(weekdays: Set<Int>, fromSecs: Int, toSecs: Int, zone: TimeZone) {
            self.weekdays = weekdays
            self.fromSecs = fromSecs
            self.toSecs = toSecs
            self.zone = zone
        }

        fileprivate func contains(_ time: Double) -> Bool {
            let date = Date(timeIntervalSince1970: time)
            let local = Int(time.rounded(.down)) + zone.secondsFromGMT(for: date)
            let second = Self.remainder(local, 86_400)
            // The first of January 1970 was a Thursday.
            let weekday = Self.remainder((local - second) / 86_400 + 4, 7)
            if toSecs > fromSecs {
                return weekdays.contains(weekday) && (fromSecs..<toSecs).contains(second)
            }
            return weekdays.contains(weekday) && second >= fromSecs
                || weekdays.contains(Self.remainder(weekday - 1, 7)) && second < toSecs
        }

        private static func remainder(_ value: Int, _ divisor: Int) -> Int {
            let rest = value % divisor
            return rest < 0 ? rest + divisor : rest
        }
    }

    /// Whether an instant, in epoch seconds, lies in it.
    ///
    /// By the clock on the wall: an hour that the change to summer time skips never comes, and one that the change back
    /// repeats is in the window both times.
    public func contains(_ time: Double) -> Bool {
        switch self {
        case .once(let from, let to):
            return time >= from && time < to
        case .recurring(let recurrence):
            // Beyond these years a time is a mistake, and no calendar knows it.
            return abs(time) < 1e11 && recurrence.contains(time)
        }
    }
}

extension [TimeWindow] {
    /// Whether an instant, in epoch seconds, lies in one of them.
    public func contains(time: Double) -> Bool { contains { $0.contains(time) } }
}
