import Ingest
import Testing

@Suite struct TimeParserTests {
    private func parse(_ text: String) -> Double? {
        Array(text.utf8).withUnsafeBufferPointer(TimeParser().parse)
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0),
        ("2020-03-09 12:14:36", 1_583_756_076),
        ("2020-03-09T12:14:36.123+01:00", 1_583_752_476.123),
        ("2020-03-09T12:14:36,5-0130", 1_583_761_476.5),
        ("2020-03-09T12:14:36.000000001Z", 1_583_756_076.000000001),
        ("2020-03-09 12:14:36 UTC", 1_583_756_076),
        ("2020-03-09t12:14:36z", 1_583_756_076),
        ("2020-03-09T12:14", 1_583_756_040),
        ("2020/03/09 12:14:36+01", 1_583_752_476),
        ("2020-02-29", 1_582_934_400),
        ("2020-03-09T24:00:00Z", 1_583_798_400),
        ("0000-03-01T00:00:00Z", -62_162_035_200),
        ("9999-12-31T23:59:60Z", 253_402_300_800),
        ("1583756076", 1_583_756_076),
        ("1583756076.25", 1_583_756_076.25),
        ("1583756076123", 1_583_756_076.123),
        ("1583756076123456", 1_583_756_076.123456),
        ("1583756076123456789", 1_583_756_076.123456789),
        ("-86400", -86400), ("0", 0), ("1.5e9", 1_500_000_000),
    ])
    func timeIsRead(text: String, seconds: Double) throws {
        let parsed = try #require(parse(text))
        // A double holds seconds of this century to 2.4e-7.
        #expect(abs(parsed - seconds) < 1e-6)
    }

    @Test(arguments: [
        "", "yesterday", "2020-13-01", "2020-02-30", "2019-02-29", "2020-3-9", "2020-03-09T",
        "2020-03-09T25:00:00", "2020-03-09T12:60:00", "2020-03-09T12:00:61", "2020-03-09T12",
        "2020-03-09T24:00:01", "2020-03-09 12:14:36 ", "2020-03-09 12:14:36.", "2020-03/09",
        "2020-03-09 12:14:36+1", "2020-03-09 12:14:36+24:00", "2020-03-09 12:14:36Zebra",
        "nan", "inf", "1e300", "12:14:36", "09.03.2020", "1583756076s", "\0",
    ])
    func otherTextIsNoTime(text: String) {
        #expect(parse(text) == nil)
    }

    @Test func everyDayFrom1890To2110FollowsTheOneBefore() throws {
        var expected = try #require(parse("1890-01-01"))
        for year in 1890...2110 {
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            for (month, length) in lengths.enumerated() {
                for day in 1...length {
                    let text =
                        "\(year)-\(month < 9 ? "0" : "")\(month + 1)-\(day < 10 ? "0" : "")\(day)"
                    #expect(parse(text) == expected)
                    expected += 86400
                }
            }
        }
    }
}

/// Times that are not ISO 8601, and clocks of places.
@Suite struct TimeFormatTests {
    private func parse(_ text: String, _ change: (inout TimeFormat) -> Void) -> Double? {
        var format = TimeFormat()
        change(&format)
        return Array(text.utf8).withUnsafeBufferPointer(TimeParser(format).parse)
    }

    @Test(arguments: [
        ("%d.%m.%Y %H:%M:%S", "09.03.2020 12:14:36", 1_583_756_076.0),
        ("%d.%m.%Y %T", "9.3.2020 12:14:36", 1_583_756_076),
        ("%m/%d/%y %I:%M:%S %p", "03/09/20 12:14:36 PM", 1_583_756_076),
        ("%m/%d/%y %I:%M:%S %p", "03/09/20 12:14:36 am", 1_583_712_876),
        ("%d/%b/%Y:%H:%M:%S %z", "09/Mar/2020:13:14:36 +0100", 1_583_756_076),
        ("%a %b %e %H:%M:%S %Y", "Mon Mar  9 12:14:36 2020", 1_583_756_076),
        ("%A, %d %B %Y %R", "Monday, 09 March 2020 12:14", 1_583_756_040),
        ("%Y%m%d%H%M%S.%f", "20200309121436.125", 1_583_756_076.125),
        ("%F %T%z", "2020-03-09 12:14:36Z", 1_583_756_076),
        ("%Y-%j", "2020-069", 1_583_712_000),
        ("[%s.%f]", "[1583756076.5]", 1_583_756_076.5),
        ("%s", "-5", -5),
        ("%Y %% %m%n%d", "2020 % 03   09", 1_583_712_000),
    ])
    func patternsAreRead(pattern: String, text: String, seconds: Double) throws {
        let parsed = try #require(parse(text) { $0.pattern = pattern })
        #expect(abs(parsed - seconds) < 1e-6)
    }

    @Test(arguments: [
        ("%d.%m.%Y", "31.02.2020"), ("%d.%m.%Y", "09.13.2020"), ("%d.%m.%Y", "09.03.2020 "),
        ("%d.%m.%Y", "09-03-2020"), ("%d.%m.%Y", ""), ("%F %I %p", "2020-03-09 13 PM"),
        ("%F %T", "2020-03-09 24:00:01"), ("%Y-%j", "2021-366"), ("%s", "x"),
        ("%F %z", "2020-03-09 +25:00"),
    ])
    func otherTextIsNoTime(pattern: String, text: String) {
        #expect(parse(text) { $0.pattern = pattern } == nil)
    }

    @Test func patternsAreLookedAt() {
        #expect(TimeFormat.problem(inPattern: "%d.%m.%Y %T") == nil)
        #expect(TimeFormat.problem(inPattern: "%Y-%j") == nil)
        #expect(TimeFormat.problem(inPattern: "%F %Q") == .unknownPart("%Q"))
        #expect(TimeFormat.problem(inPattern: "%F %") == .unknownPart("%"))
        #expect(TimeFormat.problem(inPattern: "%b %d %T") == .noDate)
        #expect(TimeFormat.problem(inPattern: "") == .noDate)
    }

    @Test(arguments: [
        // Winter, summer, the hour that is left out, the first of the hour that comes twice, before 1970.
        ("2026-01-15T12:00:00", 1_768_474_800.0), ("2026-07-15T12:00:00", 1_784_109_600),
        ("2026-03-29T01:59:59", 1_774_745_999), ("2026-03-29T02:30:00", 1_774_747_800),
        ("2026-03-29T03:00:00", 1_774_746_000), ("2026-10-25T02:30:00", 1_792_888_200),
        ("2026-10-25T03:00:00", 1_792_893_600), ("1960-06-01T00:00:00", -302_490_000),
        ("2026-01-15T12:00:00Z", 1_768_478_400), ("2026-01-15T12:00:00+05:00", 1_768_460_400),
    ])
    func timesWithoutAZoneAreOfThePlace(text: String, seconds: Double) {
        #expect(parse(text) { $0.zone = "Europe/Berlin" } == seconds)
    }

    @Test func thePlaceCountsForPatternsToo() {
        let parsed = parse("15.07.2026 12:00:00,250") {
            $0.pattern = "%d.%m.%Y %T,%f"
            $0.zone = "America/New_York"
        }
        #expect(parsed == 1_784_131_200.25)
    }

    @Test(arguments: [
        (TimeUnit.s, "5", 5.0), (.ms, "1500", 1.5), (.us, "1500000", 1.5), (.ns, "1500000000", 1.5),
        (.s, "1583756076.5", 1_583_756_076.5), (.ms, "-1000", -1),
    ])
    func unitsAreTakenAtTheirWord(unit: TimeUnit, text: String, seconds: Double) {
        #expect(parse(text) { $0.unit = unit } == seconds)
        #expect(parse("2020-03-09") { $0.unit = unit } == nil)
    }

    @Test(arguments: [
        ("20200309T121436Z", 1_583_756_076.0), ("20200309T1214", 1_583_756_040),
        ("2020-069", 1_583_712_000), ("2020-069T12:14:36Z", 1_583_756_076),
        ("2020-W11-1", 1_583_712_000), ("2020-W01-1", 1_577_664_000),
        ("2020-W53-7", 1_609_632_000), ("2020-03-09 12:14:36 GMT", 1_583_756_076),
    ])
    func otherFormsOfISO8601AreRead(text: String, seconds: Double) {
        #expect(parse(text) { _ in } == seconds)
    }

    @Test(arguments: ["2021-W53-1", "2020-W00-1", "2020-W11-8", "2021-366", "20200309T24:00"])
    func datesThatDoNotExistAreNone(text: String) {
        #expect(parse(text) { _ in } == nil)
    }
}
