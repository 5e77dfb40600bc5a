import Ingest
import Testing

@Suite struct TimeParserTests {
    private func parse(_ text: String) -> Double? {
        Array(text.utf8).withUnsafeBufferPointer(TimeParser.parse)
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
