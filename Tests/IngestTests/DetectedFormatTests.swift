import Ingest
import Testing

@Suite struct DetectedFormatTests {
    private func detect(_ text: String, name: String = "in") -> DetectedFormat {
        DetectedFormat(start: Array(text.utf8), name: name)
    }

    @Test func plainCSVIsTheDefault() {
        #expect(detect("time,a\n2020-03-09T12:14:36Z,1.5\n").options == .csv)
        #expect(detect("a\n1\n2\n").options == .csv)
        #expect(detect("").options == .csv)
        #expect(detect("\u{FEFF}a,b\r\n1,2\r\n").options == .csv)
    }

    @Test(arguments: [
        ("time;a;b\n0;1,5;2\n1;2,5;3\n", ";", ","), ("time;a;b\n0;1.5;2\n1;2.5;3\n", ";", "."),
        ("time\ta\n0\t1\n", "\t", "."), ("time|a\n0|1,5\n", "|", ","),
        ("t,a;x\n0,1\n", ",", "."), ("n;t\n\"a,b\";2020-03-09\nb;2020-03-10\n", ";", "."),
    ])
    func delimiterAndDecimalMarkAreFound(text: String, delimiter: String, mark: String) {
        let options = detect(text).options
        #expect(options.format == .csv)
        #expect(options.delimiter == delimiter.utf8.first)
        #expect(options.decimalMark == mark.utf8.first)
    }

    @Test func jsonAndPointsAreTold() {
        #expect(detect(" {\"a\":1}\n").options == .ndjson)
        #expect(detect("{a,b\n1,2\n").options.format == .csv)
        #expect(detect("cpu,host=a x=1 1583756076000000000\n").options == .influx)
        #expect(detect("# c\ncpu x=1\n").options == .influx)
        let unit = detect("cpu x=1 1583756076123\ncpu x=2 1583756077123\n").options.time.unit
        #expect(unit == .ms)
    }

    @Test func commentsMissingTextsAndSentinelsAreFound() {
        let found = detect("# made by x\ntime,a,b\n0,1,n/a\n1,-999,2\n2,3,2.5\n3,2,2\n")
        #expect(found.options.comment == UInt8(ascii: "#"))
        #expect(found.missing == ["n/a"])
        #expect(found.suspects == ["-999"])
    }

    @Test func patternsOfTimesAreFoundWhereOneFits() {
        let found = detect("time;a\n31.01.2026 10:00:00;1\n01.02.2026 10:00:01;2\n")
        #expect(found.options.time.pattern == "%d.%m.%Y %T")
        let either = detect("time,a\n01/02/2026 10:00:00,1\n01/02/2026 10:00:01,2\n")
        #expect(either.options.time.pattern == nil)
        #expect(either.ambiguousTime == ["%d/%m/%Y %T", "%m/%d/%Y %T"])
        let american = detect("time,a\n01/31/2026 10:00:00,1\n02/01/2026 10:00:01,2\n")
        #expect(american.options.time.pattern == "%m/%d/%Y %T")
    }

    @Test func namesCountWhereLinesSayNothing() {
        #expect(detect("a\n1\n", name: "x.tsv.gz").options.delimiter == 0x09)
        #expect(detect("", name: "x.jsonl").options == .ndjson)
        #expect(detect("a,b\n1,2\n", name: "x.json").options.format == .csv)
    }
}
