import Ingest
import Testing

@Suite struct IngestErrorTests {
    @Test(arguments: [
        (
            IngestError.cannotOpen(path: "/a.csv", errno: 13),
            "/a.csv: cannot be opened for reading: Permission denied"
        ),
        (.cannotRead(input: "/a.csv", errno: 5), "/a.csv: cannot be read: Input/output error"),
        (
            .notARegularFile(path: "/a", found: "a directory"),
            "/a: expected a regular file, found a directory"
        ),
        (
            .unusableDelimiter(0x30),
            "the delimiter '0' cannot be used: expected a byte that no number and no name holds, "
                + "such as ',', ';' or a tab"
        ),
        (
            .emptyHeader(input: "/a"),
            "/a: header: expected the names of the columns, found none"
        ),
        (
            .duplicateColumn(input: "/a", column: "x"),
            "/a: header: expected each name once, found 'x' twice"
        ),
        (
            .headerMissing(input: "/a"),
            "/a: header: expected the names of the columns before the first record, found no "
                + "header line"
        ),
        (
            .headerIsNumbers(input: "/a", header: "1,2"),
            "/a: header: expected the names of the columns, found only numbers and times: 1,2"
        ),
        (
            .missingColumns(input: "/a", missing: ["x"], present: ["y", "z"]),
            "/a: expected the column 'x', found 'y', 'z'"
        ),
        (
            .missingColumns(input: "/a", missing: ["x", "w"], present: []),
            "/a: expected the columns 'x', 'w', found no column"
        ),
        (
            .columnUsedTwice("x"),
            "column 'x' is asked for twice: expected each column in one role, once"
        ),
        (
            .noRecords(input: "/a"),
            "/a: expected at least one record to find the columns by, found none"
        ),
        (
            .noNumericColumns(input: "/a", present: ["x"], hasDecimalCommas: false),
            "/a: expected at least one column of numbers, found none in 'x'"
        ),
        (
            .tooManyColumns(input: "/a", limit: 4096),
            "/a: expected at most 4096 columns to choose the features from, found more: name those "
                + "to watch as features"
        ),
        (
            .tooManyFeatures(input: "/a", found: 2000, limit: 1024),
            "/a: expected at most 1024 features, found 2000 columns: name fewer to watch as features"
        ),
        (
            .timeUnreadable(input: "/a", column: "x", found: "'soon'"),
            "/a: column 'x': expected times such as 2020-03-09T12:14:36Z or epoch seconds, found "
                + "'soon'"
        ),
        (
            .socketPathTooLong(path: "/s", bytes: 120, limit: 107),
            "/s: a socket's path has at most 107 bytes, found 120"
        ),
        (
            .socketInUse(path: "/s"),
            "/s: expected to be the only listener, found another process listening"
        ),
        (
            .socketPathOccupied(path: "/s", found: "a regular file"),
            "/s: expected a socket or nothing, found a regular file"
        ),
        (
            .cannotListen(path: "/s", errno: 2),
            "/s: cannot be listened on: No such file or directory"
        ),
    ])
    func textSaysSubjectRuleAndWhatWasFound(error: IngestError, text: String) {
        #expect(error.description == text)
    }

    @Test(
        arguments: [
            (
                .timeUnreadable(input: "/a", column: "x", found: "'soon'", pattern: "%d.%m.%Y"),
                "/a: column 'x': expected times by the pattern '%d.%m.%Y', found 'soon'"
            ),
            (
                .noTimeColumn(input: "/a", pattern: "%d.%m.%Y", present: ["Zeit"]),
                "/a: expected a column called time, timestamp, datetime, date or ts with times by the "
                    + "pattern '%d.%m.%Y', found 'Zeit'"
            ),
            (.wideCharacters(input: "/a"), "/a: expected text in UTF-8, found UTF-16"),
            (
                .bareReturns(input: "/a"),
                "/a: expected lines that end with a line feed, found a carriage return alone, as old Macs "
                    + "wrote it"
            ),
            (
                .tooFewDescriptors(path: "/s"),
                "/s: new clients wait: Too many open files, the others are kept for files, the database "
                    + "and the control socket"
            ),
        ] as [(IngestError, String)])
    func textSaysAlsoWhatWasAskedFor(error: IngestError, text: String) {
        #expect(error.description == text)
    }

    @Test func rowsThatAreLateAreCounted() {
        let text = "/a: expected rows that complete a step of time, found none"
        #expect(IngestError.noStep(input: "/a", late: 0).description == text)
        #expect(
            IngestError.noStep(input: "/a", late: 7).description
                == text + ": 7 came when the step of their time was closed")
    }

    @Test func namesBeyondTwentyAreCounted() {
        let present = (1...30).map { "c\($0)" }
        let text = IngestError.noNumericColumns(
            input: "/a", present: present, hasDecimalCommas: false
        ).description
        #expect(text.hasSuffix("'c20' and 10 more"))
    }

    @Test func seriesThatAreAllRareAreNamed() {
        #expect(
            IngestError.noFrequentSeries(input: "/a", present: ["x", "y"]).description
                == "/a: expected a series that has a value in at least half of the steps, found "
                + "none in 'x', 'y'")
    }
}
