import Foundation
import Settings
import Testing

@Suite struct TimeWindowTests {
    private func stream(_ keys: String) throws(ConfigurationError) -> StreamConfiguration {
        try FlowguardConfiguration(
            yaml: "streams: [{name: a, source: {file: a.csv}, \(keys)}]", path: "f.yaml"
        ).streams[0]
    }

    private func window(_ text: String) throws -> TimeWindow {
        try #require(try stream("alarm: {maintenance: [\(text)]}").maintenance.first)
    }

    private func time(_ text: String) throws -> Double {
        try Date(text, strategy: .iso8601).timeIntervalSince1970
    }

    @Test func windowIsFromItsFirstInstantToBeforeItsLast() throws {
        let once = try window("{from: 2026-11-24T02:00:00Z, to: 2026-11-24 04:00+01:00}")
        #expect(try !once.contains(time("2026-11-24T01:59:59Z")))
        #expect(try once.contains(time("2026-11-24T02:00:00Z")))
        #expect(try once.contains(time("2026-11-24T02:59:59Z")))
        #expect(try !once.contains(time("2026-11-24T03:00:00Z")))
        #expect(!once.contains(.nan) && !once.contains(.infinity))
    }

    @Test func weeklyWindowFollowsTheClocksOfItsZone() throws {
        let weekly = try window(
            "{every: sunday, from: \"02:30\", to: \"04:00\", time_zone: Europe/Berlin}")
        // In winter Berlin is one hour ahead, in summer two.
        #expect(try weekly.contains(time("2026-01-11T01:30:00Z")))
        #expect(try !weekly.contains(time("2026-01-11T01:29:59Z")))
        #expect(try weekly.contains(time("2026-07-12T00:30:00Z")))
        #expect(try !weekly.contains(time("2026-07-12T02:00:00Z")))
        #expect(try !weekly.contains(time("2026-07-13T00:30:00Z")), "a Monday")
        // On 29 March 2026 the clocks go from 02:00 to 03:00: half of the window does not come.
        #expect(try !weekly.contains(time("2026-03-29T00:59:59Z")))
        #expect(try weekly.contains(time("2026-03-29T01:00:00Z")))
        #expect(try !weekly.contains(time("2026-03-29T02:00:00Z")))
        // On 25 October 2026 they show 02:00 to 03:00 twice, and its second half with it.
        #expect(try weekly.contains(time("2026-10-25T00:45:00Z")))
        #expect(try !weekly.contains(time("2026-10-25T01:15:00Z")))
        #expect(try weekly.contains(time("2026-10-25T01:45:00Z")))
        #expect(!weekly.contains(1e300) && !weekly.contains(-.infinity) && !weekly.contains(.nan))
    }

    @Test func windowPastMidnightBelongsToTheDayOnWhichItBegins() throws {
        let night = try window("{every: friday, from: \"22:00\", to: \"02:00\"}")
        #expect(try night.contains(time("2026-11-27T22:00:00Z")))
        #expect(try night.contains(time("2026-11-28T01:59:59Z")))
        #expect(try !night.contains(time("2026-11-28T02:00:00Z")))
        #expect(try !night.contains(time("2026-11-27T01:00:00Z")))
        let before1970 = try window("{every: wednesday, from: \"00:00\", to: \"24:00\"}")
        #expect(try before1970.contains(time("1969-12-31T23:59:59Z")))
        #expect(try !before1970.contains(time("1970-01-01T00:00:00Z")))
        let daily = try window("{every: day, from: \"06:00:30\", to: \"06:01\"}")
        #expect(try daily.contains(time("2026-11-24T06:00:30Z")))
        #expect(try !daily.contains(time("2026-11-24T06:01:00Z")))
    }

    @Test func rulesAndExcludedWindowsAreRead() throws {
        let stream = try stream(
            """
            alarm: {rules: [{feature: p, only: above}, {feature: q, only: below, \
            ignore_change_below: 2.5}, {feature: r, ignore_stuck: true}]}, \
            fit: {exclude: [{every: day, from: "06:00", to: "07:00"}]}
            """)
        #expect(
            stream.alarmRules == [
                AlarmRule(feature: "p", only: .above, ignoreChangeBelow: nil),
                AlarmRule(feature: "q", only: .below, ignoreChangeBelow: 2.5),
                AlarmRule(feature: "r", ignoreStuck: true),
            ])
        #expect(stream.fit.exclude.count == 1)
        #expect(stream.maintenance.isEmpty)
    }

    @Test(arguments: [
        (
            "alarm: {maintenance: [{from: 2026-11-24T02:00:00Z}]}",
            """
            stream 'a': alarm.maintenance: a window needs from and to
            hint:  write {from: 2026-11-24T02:00:00Z, to: 2026-11-24T04:00:00Z}, or {every: sunday, \
            from: "02:00", to: "04:00"}
            """
        ),
        (
            "fit: {exclude: [{from: 1700000000, to: 2026-11-24T02:00:00Z}]}",
            "stream 'a': fit.exclude: from: expected an instant such as 2026-11-24T02:00:00Z, "
                + "found '1700000000'"
        ),
        (
            "fit: {exclude: [{from: 2026-11-24T02:00:00Z, to: 2026-11-24T03:00:00+01:00}]}",
            "stream 'a': fit.exclude: to is not after from"
        ),
        (
            "fit: {exclude: [{every: sonday, from: \"02:00\", to: \"03:00\"}]}",
            """
            stream 'a': fit.exclude: every: expected one of sunday, monday, tuesday, wednesday, \
            thursday, friday, saturday, day, found 'sonday'
            hint:  did you mean 'sunday'?
            """
        ),
        (
            "fit: {exclude: [{every: day, from: \"02:00\", to: \"25:00\"}]}",
            "stream 'a': fit.exclude: to: expected a time of day from 00:00 to 24:00, found '25:00'"
        ),
        (
            "fit: {exclude: [{every: day, from: \"02:00\", to: \"02:00\"}]}",
            """
            stream 'a': fit.exclude: to is the same time as from
            hint:  a whole day is 00:00 to 24:00
            """
        ),
        (
            "fit: {exclude: [{every: day, from: \"02:00\", to: \"03:00\", time_zone: Europe/Bonn}]}",
            """
            stream 'a': fit.exclude: time_zone: expected a time zone such as Europe/Berlin, found \
            'Europe/Bonn'
            hint:  timedatectl list-timezones shows the names
            """
        ),
        (
            "features: [flow, pressure], alarm: {rules: [{feature: presure, only: above}]}",
            """
            stream 'a': alarm.rules: 'presure' is none of the stream's features
            hint:  did you mean 'pressure'?
            """
        ),
        (
            "alarm: {rules: [{feature: flow}]}",
            """
            stream 'a': alarm.rules: a rule needs one of only, ignore_change_below, ignore_stuck
            hint:  add only: above, only: below, ignore_change_below: NUMBER or ignore_stuck: true
            """
        ),
        (
            "alarm: {rules: [{feature: a, only: above}, {feature: a, only: below}]}",
            """
            stream 'a': alarm.rules: there are two rules for 'a'
            hint:  write both keys into one rule
            """
        ),
        (
            "history: [/var/archive/pump-*.csv.xz]",
            """
            stream 'a': history: of compressed files only .gz and .zst are read: /var/archive/pump-*.csv.xz
            hint:  unpack them, and name the unpacked files
            """
        ),
        (
            "alarm: {rules: [{only: above}]}",
            "stream 'a': alarm.rules: a rule needs the key 'feature' with a column name"
        ),
    ])
    func mistakesAreNamed(keys: String, message: String) throws {
        let error = #expect(throws: ConfigurationError.self) { try stream(keys) }
        let report = try #require(error?.report)
        // After the place, which the key decides.
        let text = report.split(separator: ": ", maxSplits: 2).last.map(String.init)
        #expect(text == message)
    }
}
