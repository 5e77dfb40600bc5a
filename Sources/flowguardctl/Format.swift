import Foundation

/// Numbers and times as a person reads them at a glance.
enum Format {
    /// `1,234,567`.
    static func count(_ value: some BinaryInteger) -> String {
        let digits = String(value.magnitude)
        var groups: [Substring] = []
        var rest = digits[...]
        while rest.count > 3 {
            groups.insert(rest.suffix(3), at: 0)
            rest = rest.dropLast(3)
        }
        groups.insert(rest, at: 0)
        return (value < 0 ? "-" : "") + groups.joined(separator: ",")
    }

    /// `999`, `12.3k`, `1.23M`: at most five characters.
    static func compact(_ value: some BinaryInteger) -> String {
        let number = Double(value)
        for (limit, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")]
        where abs(number) >= limit {
            return significant(number / (unit == "k" ? 1e3 : limit), digits: 3) + unit
        }
        return String(value)
    }

    /// `10/s`, `0.5/s`, `3/min`, `2/h`, `-`.
    static func rate(perSecond: Double) -> String {
        guard perSecond > 0 else { return "-" }
        for (scale, unit) in [(1.0, "s"), (60, "min"), (3_600, "h")] where perSecond * scale >= 0.5
        {
            let value = perSecond * scale
            return (value >= 10_000 ? compact(Int(value)) : significant(value, digits: 3))
                + "/" + unit
        }
        return significant(perSecond * 86_400, digits: 2) + "/d"
    }

    /// So many significant digits, never an exponent between 1e-4 and 1e6.
    static func significant(_ value: Double, digits: Int) -> String {
        guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
        let magnitude = Int(log10(abs(value)).rounded(.down))
        guard magnitude >= -4, magnitude < 6 else {
            return String(format: "%.\(digits - 1)e", value)
        }
        let text = String(format: "%.\(max(0, digits - 1 - magnitude))f", value)
        guard text.contains(".") else { return text }
        let cut = text.reversed().drop { $0 == "0" }
        return String((cut.first == "." ? cut.dropFirst() : cut).reversed())
    }

    /// A reading, as it was written or nearly so.
    static func value(_ value: Double) -> String { String(format: "%.6g", value) }

    /// `-18.20`, in nats.
    static func nats(_ value: Double) -> String {
        abs(value) < 1e7 ? String(format: "%.2f", value) : String(format: "%.2e", value)
    }

    /// `3.1e-07`, `0.012`, `0`.
    static func probability(_ value: Double) -> String {
        value > 0 && value < 1e-3 ? String(format: "%.1e", value) : significant(value, digits: 2)
    }

    /// `45 s`, `12 min`, `3 h 20 min`, `5 d 2 h`.
    static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite else { return "-" }
        let total = Int(min(max(seconds, 0), 1e12).rounded())
        switch total {
        case ..<90: return "\(total) s"
        case ..<5_400: return "\((total + 30) / 60) min"
        case ..<172_800:
            let minutes = (total + 30) / 60
            let rest = minutes % 60
            return minutes >= 600 || rest == 0
                ? "\((minutes + 30) / 60) h" : "\(minutes / 60) h \(rest) min"
        default:
            let hours = (total + 1_800) / 3_600
            let rest = hours % 24
            return hours >= 240 || rest == 0
                ? "\((hours + 12) / 24) d" : "\(hours / 24) d \(rest) h"
        }
    }

    /// One unit only: `45 s`, `12 min`, `3 h`, `5 d`.
    static func age(_ seconds: Double) -> String {
        guard seconds.isFinite else { return "-" }
        let total = Int(min(max(seconds, 0), 1e12))
        switch total {
        case ..<90: return "\(total) s"
        case ..<5_400: return "\(total / 60) min"
        case ..<172_800: return "\(total / 3_600) h"
        default: return "\(total / 86_400) d"
        }
    }

    /// `1.2 MB`.
    static func bytes(_ value: some BinaryInteger) -> String {
        let number = Double(value)
        for (limit, unit) in [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")] where number >= limit {
            return significant(number / limit, digits: 3) + " " + unit
        }
        return "\(value) bytes"
    }

    /// `2020-03-09 12:14:36Z`: the log's clock, which is UTC.
    static func time(_ date: Date) -> String {
        let text = date.formatted(.iso8601)
        return text.replacing("T", with: " ")
    }

    /// `2020-03-09T12:14:36.000Z`, for programs.
    static func instant(_ date: Date) -> String {
        date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true, timeZone: .gmt))
    }

    /// `1 record`, `12 records`.
    static func plural(_ value: some BinaryInteger, _ noun: String) -> String {
        "\(count(value)) \(noun)\(value == 1 ? "" : "s")"
    }
}
