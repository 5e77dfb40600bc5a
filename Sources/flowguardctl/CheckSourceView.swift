import Foundation

/// What is understood of a file of records, for a person.
struct SourceView {
    let terminal: Terminal
    let report: SourceReport

    var text: String {
        var text = terminal.paint(report.file, .bold) + "\n"
        text += fact("format", report.formatSummary)
        let records = Format.plural(report.records, "record")
        text += fact("records", report.isWhole ? records : "the first \(records)")
        if report.faults > 0 {
            let first = report.firstFaults.map { "line \($0.line): \($0.reason)" }
            text += fact(
                "no records",
                "\(Format.plural(report.faults, "line")); " + first.joined(separator: "; "))
        }
        if let time { text += fact("time", time) }
        let missing = report.missingValues.map { $0.isEmpty ? "the empty cell" : $0 }
        text += fact("missing", missing.joined(separator: ", "))
        text += "\n" + columns.lines(terminal)
        text += "\n" + terminal.paint("first records, and how far from the mean", .dim) + "\n"
        text += rows.lines(terminal)
        if !report.notes.isEmpty {
            text += "\n" + report.notes.map { fact("note", $0) }.joined()
        }
        if !report.configuration.isEmpty {
            text += "\n" + terminal.paint("for the stream's configuration", .dim) + "\n"
            text += report.configuration.map { "    \(printable($0))\n" }.joined()
        }
        return text
    }

    private func fact(_ label: String, _ value: String) -> String {
        terminal.paint(label.padding(toLength: 12, withPad: " ", startingAt: 0), .dim)
            + Paragraph.wrap(printable(value), width: terminal.width - 12, indent: 12) + "\n"
    }

    /// When, how often, and how evenly.
    private var time: String? {
        guard let time = report.time else { return nil }
        let span = "\(instant(time.first)) to \(instant(time.last))"
        let step = Format.duration(time.stepSecs)
        var rhythm =
            time.steadyShare > 0.999
            ? "every \(step)"
            : "mostly every \(step) (\(Format.significant(100 * time.steadyShare, digits: 2)) %)"
        if time.longestGapSecs > 1.5 * time.stepSecs {
            rhythm += ", at most \(Format.duration(time.longestGapSecs)) apart"
        }
        if time.repeated > 0 { rhythm += ", \(Format.count(time.repeated)) at the same time" }
        return "\(time.column): \(span), \(rhythm)"
    }

    private func instant(_ date: Date) -> String {
        Format.instant(date).replacing(".000Z", with: "Z")
    }

    private var columns: Table {
        var table = Table([
            ("COLUMN", .left), ("IS", .left), ("STEP", .right), ("LEAST", .right),
            ("MEDIAN", .right), ("GREATEST", .right), ("MISSING", .right), ("", .left),
        ])
        func number(_ value: Double?) -> Table.Cell { .init(value.map(Format.value) ?? "") }
        for column in report.columns {
            let ink: Ink = column.role == "left_out" ? .dim : .plain
            table.add([
                .init(column.name, ink), .init(Self.role(column), ink), number(column.step),
                number(column.lower), number(column.median), number(column.upper),
                .init(column.missing.map { $0 == 0 ? "" : Format.count($0) } ?? ""),
                .init((column.values ?? []).joined(separator: ", "), .dim),
            ])
        }
        return table
    }

    private static func role(_ column: SourceReport.Column) -> String {
        switch column.role {
        case "left_out": "left out: \(column.content)"
        default: column.role
        }
    }

    /// Each value above the number that the flows see.
    private var rows: Table {
        let features = report.columns.filter { $0.role == "feature" }.map(\.name)
        let categories = report.columns.filter { ["category", "key"].contains($0.role) }.map(\.name)
        let times = report.rows.map { $0.time.map(instant) ?? "" }
        let isTimed = times.contains { !$0.isEmpty }
        var room = terminal.width - (isTimed ? (times.map(\.count).max() ?? 0) + 2 : 0) - 14
        let shown = features.prefix {
            room -= max($0.count, 8) + 2
            return room >= 0
        }.count
        var table = Table(
            (isTimed ? [("TIME", .left)] : []) + features[..<shown].map { ($0, .right) }
                + categories.prefix(3).map { ($0, .left) }
                + (features.count > shown ? [("", .left)] : []))
        for (row, time) in zip(report.rows, times) {
            let rest =
                features.count > shown
                ? [Table.Cell("and \(features.count - shown) more", .dim)] : []
            table.add(
                (isTimed ? [.init(time)] : [])
                    + row.values[..<shown].map { .init($0.map(Format.value) ?? "missing") }
                    + row.categories.prefix(3).map { .init($0 ?? "missing") } + rest)
            table.add(
                (isTimed ? [.init("")] : [])
                    + row.encoded[..<shown].map {
                        .init($0.map { String(format: "%+.2f", $0) } ?? "", .dim)
                    } + row.categories.prefix(3).map { _ in .init("") }
                    + rest.map { _ in .init("") })
        }
        return table
    }
}
