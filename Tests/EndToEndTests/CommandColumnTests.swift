import Foundation
import TestSupport
import Testing

/// What fit and check say of columns that a model does not see.
struct CommandColumnTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    /// Two features, and a column whose cells are given.
    private func csv(_ name: String, _ count: Int = 400, cell: (Int) -> String) -> String {
        "\(name),a,b\n"
            + (0..<count).map { index in
                let a = Double(index * 7_919 % 1_009) / 100
                return "\(cell(index)),\(a),\(2 * a + Double(index * 31 % 17))\n"
            }.joined()
    }

    /// What is said on one line, without the breaks of a paragraph.
    private func joined(_ text: String) -> String {
        text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            .joined(separator: " ")
    }

    @Test func aRowNumberIsLeftOutAndTold() throws {
        try runner.folder.write(csv("id") { "\($0 + 1)" }, to: "ids.csv")
        let note = "left out, as it counts the records and tells nothing of the machine: 'id'"
        let fit = try runner.run(["fit", "-o", "m.model", "ids.csv"])
        #expect(fit.code == 0)
        #expect(fit.error.contains("\nfeatures   a, b\n"), "\(fit.error)")
        #expect(joined(fit.error).contains(note), "\(fit.error)")
        let check = try runner.run(["check", "--source", "ids.csv"])
        #expect(joined(check.output).contains(note), "\(check.output)")
        #expect(check.output.contains("left out: row numbers"))
        // Later ones are no anomalies.
        try runner.folder.write(csv("id") { "\($0 + 9_000)" }, to: "later.csv")
        let score = try runner.run(["score", "--model", "m.model", "later.csv"])
        #expect(score.output.split(separator: "\n").count { $0.hasSuffix(",1") } < 10)
        let kept = try runner.run(
            ["fit", "-o", "k.model", "--features", "id,a,b", "ids.csv"])
        #expect(kept.error.contains("\nfeatures   id, a, b\n"))
    }

    @Test func aColumnThatMostRecordsLackDoesNotKeepAFitFromItsRecords() throws {
        try runner.folder.write(csv("r") { $0 % 100 == 2 ? "5" : "" }, to: "rare.csv")
        let fit = try runner.run(["fit", "-o", "m.model", "rare.csv"])
        #expect(fit.code == 0, "\(fit.error)")
        #expect(joined(fit.error).contains("fewer than half of the first records: 'r'"))
        try runner.folder.write(
            "streams: [{name: machine, source: {file: rare.csv}}]", to: "w.yaml")
        let check = try runner.run(
            ["check", "--source", "rare.csv", "--config", "w.yaml", "--stream", "machine"])
        #expect(check.output.contains("left out: few numbers"), "\(check.output)")
        let named = try runner.run(["fit", "-o", "n.model", "--features", "r,a", "rare.csv"])
        #expect(named.code == 1)
        #expect(
            named.error.hasSuffix(
                """
                error: a fit needs at least 40 usable rows, found 4
                hint:  most lines have no value of 'r': --missing median fills the gaps, --exclude r \
                leaves the column out

                """), "\(named.error)")
    }

    @Test func checkSaysWhereThereIsNothingToLearn() throws {
        let text = "a,b\n" + String(repeating: "1,2\n", count: 300)
        try runner.folder.write(text, to: "const.csv")
        let check = try runner.run(["check", "--source", "const.csv"])
        #expect(joined(check.output).contains("there is nothing to learn from yet"))
    }

    @Test(arguments: [
        ("12.5 ms", "left out, as it looks like numbers with a unit: 'c', such as '12.5 ms'"),
        ("err", "list it under missing_values (--config, --stream)"),
        (
            "01.03.2024 10:00",
            "'01.03.2024 10:00'; --time c --time-pattern '%d.%m.%Y %R' makes it the time"
        ),
        ("", "left out, with no value in the first records: 'c'"),
    ])
    func whatToDoAboutAColumnIsTold(cell: String, note: String) throws {
        let isMixed = cell == "err"
        let text = csv("c") { isMixed && $0 % 10 != 3 ? "\($0 % 7)" : cell }
        try runner.folder.write(text, to: "c.csv")
        let fit = try runner.run(["fit", "-o", "m.model", "c.csv"])
        #expect(joined(fit.error).contains(note), "\(fit.error)")
        let check = try runner.run(["check", "--source", "c.csv"])
        #expect(joined(check.output).contains(note), "\(check.output)")
    }

    @Test func aColumnWithoutANameIsTold() throws {
        let fit = try runner.run(
            ["fit", "-o", "m.model"], input: csv("") { "\($0 * 31 % 97)" })
        #expect(joined(fit.error).contains("left out, as the header gives it no name: 'column 1'"))
    }

    @Test(arguments: [
        (String(repeating: "a,b\r1,2\r", count: 300_000), "convert it: tr '\\r' '\\n'"),
        ("a,b\r1,2\r3,4\r", "convert it: tr '\\r' '\\n'"),
        ("a\0,\0b\0\n\01\0,\02\0\n\0", "convert it: iconv -f UTF-16 -t UTF-8"),
        (
            "lat\n12 ms\n13 ms\n",
            "'lat' looks like numbers with a unit: write them as plain numbers, "
                + "without unit or marks of thousands"
        ),
    ])
    func whatIsNoneOfTheFormatsIsNamed(input: String, hint: String) throws {
        let outcome = try runner.run(["fit", "-o", "m.model"], input: input)
        #expect(outcome.code == 1)
        #expect(outcome.error.hasSuffix("\nhint:  \(hint)\n"), "\(outcome.error)")
    }
}
