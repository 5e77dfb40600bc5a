import Ingest
import Yams

/// Rows of one reading each: which columns name the series and hold the values, and the grid they are put on.
extension ConfigurationReader {
    /// The most steps that a point may be late by: so many are held open.
    private static let mostStepsLate = 20
    private static let longest = Duration.seconds(366 * 86_400)

    /// `long: {series, value, every, stale_after, late_by}`; `nil` where rows are records.
    mutating func longRows(
        of section: Section, format: FormatOptions, timeColumn: String?, features: [String]?
    ) -> LongRows? {
        let place = "\(section.place): long"
        guard let node = section["long"],
            let part = self.section(
                node, "long of \(section.place)",
                keys: ["series", "value", "every", "stale_after", "late_by"])
        else { return nil }
        let isInflux = format.format == .influx
        let series = part["series"].map {
            columnNames($0, "\(place).series", isInflux ? "tags" : "columns")
        }
        let values = part["value"].map {
            columnNames($0, "\(place).value", isInflux ? "fields" : "columns")
        }
        if !isInflux {
            let needed = [("series", "sensor", series), ("value", "value", values)]
            for (key, example, names) in needed where names == nil {
                report(
                    node, "\(place): \(key) is missing",
                    hint: "add \(key): and the column of it, as in \(key): \(example)")
            }
            if timeColumn == nil {
                report(
                    node, "\(place): rows are put together by their time, and no time is named",
                    hint: "add time: {column: NAME} to the stream")
            }
        }
        checkRoles(
            of: node, place, series: series ?? [], values: values ?? [],
            time: isInflux ? RecordFormat.influxTime : timeColumn)
        if isInflux, series?.contains(LongDecoder.measurement) == true {
            report(
                node, "\(place): the measurement is the first part of each name as it is",
                hint: "remove \(LongDecoder.measurement) from series")
        }
        checkOthers(section, isInflux: isInflux, features: features)
        guard let every = step(of: part, place) else { return nil }
        var rows = LongRows(
            series: series ?? [], values: values ?? [], every: every, staleAfter: every * 5)
        if let node = part["stale_after"],
            let value = duration(node, "\(place).stale_after", from: every, to: Self.longest),
            let value
        {
            rows.staleAfter = value
        }
        if let node = part["late_by"],
            let value = duration(
                node, "\(place).late_by", from: .zero, to: every * Self.mostStepsLate), let value
        {
            rows.lateBy = value
        }
        return rows
    }

    private mutating func step(of part: Section, _ place: String) -> Duration? {
        guard let node = part["every"] else {
            report(
                part.node, "\(place): every is missing",
                hint: "add every: and the time from record to record, as in every: 10s")
            return nil
        }
        return duration(
            node, "\(place).every", from: .milliseconds(10), to: .seconds(86_400)) ?? nil
    }

    /// One name, or a list of them.
    private mutating func columnNames(_ node: Node, _ key: String, _ what: String) -> [String] {
        if case .sequence = node { return texts(node, key, expected: what) ?? [] }
        return text(node, key, expected: "\(what), one name or a list").map { [$0] } ?? []
    }

    /// Reports a column that has two roles in a row.
    private mutating func checkRoles(
        of node: Node, _ place: String, series: [String], values: [String], time: String?
    ) {
        for name in series where values.contains(name) {
            report(
                node, "\(place): '\(name)' is listed under series and under value",
                hint: "remove it from one of the two")
        }
        if let time, (series + values).contains(time) {
            report(
                node, "\(place): '\(time)' is the time column, and here too",
                hint: "remove it from one of the two")
        }
    }

    /// Reports what goes together with rows that are records, and not with long ones.
    private mutating func checkOthers(_ section: Section, isInflux: Bool, features: [String]?) {
        if let node = section["categories"] {
            report(
                node, "\(section.place): categories: long rows hold numbers, not texts",
                hint: "remove categories, or long")
        }
        guard isInflux, let node = section["features"] else { return }
        for name in features ?? [] where !name.contains(".") {
            report(
                node,
                "\(section.place): features: expected measurement and field such as "
                    + "cpu.usage_user, found '\(name)'")
        }
    }
}
