import Detection
import Foundation
import Ingest
import Yams

/// The `alarm` section: how many alarms are bearable, and which are none.
struct AlarmSection {
    var budget = AlarmBudget.perDay(2)
    var cooldown = Duration.seconds(300)
    var rules: [AlarmRule] = []
    var maintenance: [TimeWindow] = []
}

extension ConfigurationReader {
    mutating func alarm(of section: Section, features: [String]?) -> AlarmSection {
        var alarm = AlarmSection()
        guard let node = section["alarm"],
            let part = self.section(
                node, "alarm of \(section.place)",
                keys: [
                    "false_alarms_per_day", "false_alarm_probability", "cooldown", "rules",
                    "maintenance",
                ])
        else { return alarm }
        let place = "\(section.place): alarm"
        if let node = part["false_alarms_per_day"],
            let value = positive(node, "\(place).false_alarms_per_day", atMost: 1_000_000)
        {
            alarm.budget = .perDay(value)
        }
        if let node = part["false_alarm_probability"] {
            if part["false_alarms_per_day"] != nil {
                report(
                    node,
                    "\(place): expected either false_alarms_per_day or false_alarm_probability, "
                        + "found both",
                    hint: "remove one of the two")
            } else if let value = positive(
                node, "\(place).false_alarm_probability", atMost: AlarmBudget.largestProbability)
            {
                if value < AlarmBudget.leastProbability {
                    report(
                        node,
                        "\(place).false_alarm_probability: expected at least "
                            + "\(AlarmBudget.leastProbability), found \(value)")
                }
                alarm.budget = .probability(value)
            }
        }
        if let node = part["cooldown"],
            let value = duration(
                node, "\(place).cooldown", from: .zero, to: .seconds(7 * 86_400)), let value
        {
            alarm.cooldown = value
        }
        if let node = part["rules"] {
            alarm.rules = rules(node, "\(place).rules", features: features)
        }
        if let node = part["maintenance"] {
            alarm.maintenance = windows(node, "\(place).maintenance")
        }
        return alarm
    }

    private mutating func rules(_ node: Node, _ key: String, features: [String]?) -> [AlarmRule] {
        var rules: [AlarmRule] = []
        for node in list(node, key, expected: "rules such as {feature: NAME, only: above}") ?? [] {
            guard
                let part = section(
                    node, "a rule of \(key)",
                    keys: ["feature", "only", "ignore_change_below", "ignore_stuck"])
            else { continue }
            guard let name = part["feature"] else {
                report(node, "\(key): a rule needs the key 'feature' with a column name")
                continue
            }
            guard let feature = text(name, "\(key): feature", expected: "a column name") else {
                continue
            }
            if let features, !features.contains(feature) {
                report(
                    name, "\(key): '\(feature)' is none of the stream's features",
                    hint: Self.nearest(to: feature, among: features).map { "did you mean '\($0)'?" }
                        ?? "the features are: \(features.joined(separator: ", "))")
            }
            if rules.contains(where: { $0.feature == feature }) {
                report(
                    name, "\(key): there are two rules for '\(feature)'",
                    hint: "write both keys into one rule")
            }
            let only = part["only"].flatMap { choice($0, "\(key): only", of: AlarmRule.Side.self) }
            let least = part["ignore_change_below"].flatMap {
                positive($0, "\(key): ignore_change_below", atMost: 1e15)
            }
            let stuck = part["ignore_stuck"].flatMap { boolean($0, "\(key): ignore_stuck") }
            if ["only", "ignore_change_below", "ignore_stuck"].allSatisfy({ part[$0] == nil }) {
                report(
                    node, "\(key): a rule needs one of only, ignore_change_below, ignore_stuck",
                    hint: "add only: above, only: below, ignore_change_below: NUMBER or "
                        + "ignore_stuck: true")
            }
            rules.append(
                AlarmRule(
                    feature: feature, only: only, ignoreChangeBelow: least,
                    ignoreStuck: stuck ?? false))
        }
        return rules
    }

    // MARK: Windows

    /// A list of windows of time.
    mutating func windows(_ node: Node, _ key: String) -> [TimeWindow] {
        let nodes = list(node, key, expected: "windows such as \(Self.windowExample)") ?? []
        return nodes.compactMap { window($0, key) }
    }

    private static let windowExample = "{from: 2026-11-24T02:00:00Z, to: 2026-11-24T04:00:00Z}"
    private static let weekdays = [
        "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
    ]

    private mutating func window(_ node: Node, _ key: String) -> TimeWindow? {
        guard
            let part = section(
                node, "a window of \(key)", keys: ["from", "to", "every", "time_zone"])
        else { return nil }
        guard let from = part["from"], let to = part["to"] else {
            report(
                node, "\(key): a window needs from and to",
                hint:
                    "write \(Self.windowExample), or {every: sunday, from: \"02:00\", to: \"04:00\"}"
            )
            return nil
        }
        if let every = part["every"] {
            return recurring(every, from, to, zone: part["time_zone"], key)
        }
        if let zone = part["time_zone"] {
            report(
                zone, "\(key): time_zone is for windows with every",
                hint: "write the offset into from and to: 2026-11-24T02:00:00+01:00")
        }
        let begin = instant(from, "\(key): from")
        let end = instant(to, "\(key): to")
        guard let begin, let end else { return nil }
        guard begin < end else {
            report(to, "\(key): to is not after from")
            return nil
        }
        return .once(from: begin, to: end)
    }

    private mutating func recurring(
        _ every: Node, _ from: Node, _ to: Node, zone: Node?, _ key: String
    ) -> TimeWindow? {
        let words = Self.weekdays + ["day"]
        let days = "one of \(words.joined(separator: ", "))"
        var weekdays: Set<Int>?
        if let word = text(every, "\(key): every", expected: days) {
            weekdays =
                word == "day" ? Set(0..<7) : Self.weekdays.firstIndex(of: word).map { [$0] }
            if weekdays == nil {
                report(
                    every, "\(key): every: expected \(days), found '\(word.prefix(40))'",
                    hint: Self.nearest(to: word, among: words).map { "did you mean '\($0)'?" })
            }
        }
        let begin = timeOfDay(from, "\(key): from")
        let end = timeOfDay(to, "\(key): to")
        var chosen = TimeZone.gmt
        if let zone {
            let expected = "a time zone such as Europe/Berlin"
            guard let name = text(zone, "\(key): time_zone", expected: expected) else { return nil }
            guard let known = TimeZone(identifier: name) else {
                report(
                    zone, "\(key): time_zone: expected \(expected), found '\(name.prefix(40))'",
                    hint: "timedatectl list-timezones shows the names")
                return nil
            }
            chosen = known
        }
        guard let weekdays, let begin, let end else { return nil }
        guard begin != end, begin < 86_400 else {
            report(to, "\(key): to is the same time as from", hint: "a whole day is 00:00 to 24:00")
            return nil
        }
        return .recurring(
            TimeWindow.Recurrence(weekdays: weekdays, fromSecs: begin, toSecs: end, zone: chosen))
    }

    private mutating func instant(_ node: Node, _ key: String) -> Double? {
        let expected = "an instant such as 2026-11-24T02:00:00Z"
        guard let text = text(node, key, expected: expected) else { return nil }
        // A bare number is a time for records, and a riddle in a configuration.
        let isDate = text.dropFirst().contains("-")
        let time = Array(text.utf8).withUnsafeBufferPointer { TimeParser().parse($0) }
        guard isDate, let time else {
            report(node, "\(key): expected \(expected), found '\(text.prefix(40))'")
            return nil
        }
        return time
    }

    /// Seconds from midnight.
    private mutating func timeOfDay(_ node: Node, _ key: String) -> Int? {
        let expected = "a time of day from 00:00 to 24:00"
        guard let text = text(node, key, expected: expected) else { return nil }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { $0.count == 2 ? Int($0) : nil }
        guard numbers.count == parts.count, (2...3).contains(numbers.count),
            numbers.allSatisfy({ $0 >= 0 }), numbers.dropFirst().allSatisfy({ $0 < 60 })
        else {
            report(node, "\(key): expected \(expected), found '\(text.prefix(40))'")
            return nil
        }
        let seconds = numbers[0] * 3_600 + numbers[1] * 60 + (numbers.count > 2 ? numbers[2] : 0)
        guard seconds <= 86_400 else {
            report(node, "\(key): expected \(expected), found '\(text.prefix(40))'")
            return nil
        }
        return seconds
    }
}
