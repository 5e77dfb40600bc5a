import Glibc

/// A moment in UTC, to the millisecond, and its ISO 8601 text.
struct Timestamp: Hashable, Comparable, CustomStringConvertible {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    var milliseconds: Int64

    init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The moment of the call.
    static func now() -> Timestamp {
        var clock = timespec()
        clock_gettime(CLOCK_REALTIME, &clock)
        return Timestamp(
            milliseconds: Int64(clock.tv_sec) * 1000 + Int64(clock.tv_nsec) / 1_000_000)
    }

    /// Reads `2026-03-02T13:00:00Z`: date, `T` or space, time, an optional fraction, `Z` or nothing.
    init?(_ text: some StringProtocol) {
        var body = Substring(text)
        if body.last == "Z" { body.removeLast() }
        let halves = body.split(maxSplits: 1, whereSeparator: { $0 == "T" || $0 == " " })
        guard halves.count == 2 else { return nil }
        let date = halves[0].split(separator: "-").compactMap { Int64($0) }
        let clock = halves[1].split(separator: ".", maxSplits: 1)
        let time = clock[0].split(separator: ":").compactMap { Int64($0) }
        guard date.count == 3, time.count == 3, (1...12).contains(date[1]),
            (1...31).contains(date[2]), (0...23).contains(time[0]), (0...59).contains(time[1]),
            (0...60).contains(time[2])
        else { return nil }
        var fraction: Int64 = 0
        if clock.count == 2 {
            guard let value = Double("0." + clock[1]) else { return nil }
            fraction = Int64((value * 1000).rounded())
        }
        let days = Timestamp.days(year: date[0], month: date[1], day: date[2])
        let seconds = days * 86400 + time[0] * 3600 + time[1] * 60 + time[2]
        self.init(milliseconds: seconds * 1000 + fraction)
    }

    func advanced(bySecs seconds: Double) -> Timestamp {
        Timestamp(milliseconds: milliseconds + Int64((seconds * 1000).rounded()))
    }

    /// Hours since midnight, 0 to 24.
    var hourOfDay: Double {
        let day = milliseconds - Timestamp.floorDivide(milliseconds, 86_400_000) * 86_400_000
        return Double(day) / 3_600_000
    }

    /// ISO 8601 with `Z`; the fraction only where there is one.
    var description: String {
        let days = Timestamp.floorDivide(milliseconds, 86_400_000)
        let rest = milliseconds - days * 86_400_000
        let (year, month, day) = Timestamp.civil(days: days)
        let seconds = rest / 1000
        var text = Timestamp.padded(year, 4) + "-" + Timestamp.padded(month, 2) + "-"
        text += Timestamp.padded(day, 2) + "T" + Timestamp.padded(seconds / 3600, 2) + ":"
        text += Timestamp.padded(seconds / 60 % 60, 2) + ":" + Timestamp.padded(seconds % 60, 2)
        if rest % 1000 != 0 { text += "." + Timestamp.padded(rest % 1000, 3) }
        return text + "Z"
    }

    static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 {
        a / b - (a % b < 0 ? 1 : 0)
    }

    /// Days since 1970-01-01 of a civil date, counted in eras of 400 years that start in March.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let y = month <= 2 ? year - 1 : year
        let era = floorDivide(y, 400)
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let z = days + 719_468
        let era = floorDivide(z, 146_097)
        let dayOfEra = z - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        return (
            yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month,
            dayOfYear - (153 * shifted + 2) / 5 + 1
        )
    }
}
