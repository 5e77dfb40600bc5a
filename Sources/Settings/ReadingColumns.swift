import Detection
import Ingest
import Yams

/// The columns of a stream, each in one role, and what is done where they have no value.
extension ConfigurationReader {
    /// Reports columns that are in two roles.
    mutating func checkColumns(
        _ section: Section, features: [String]?, categories: [String], exclude: [String],
        time: String?
    ) {
        let features = features ?? []
        if let node = section["features"] {
            if let time, features.contains(time) {
                report(
                    node, "\(section.place): '\(time)' is both the time column and a feature",
                    hint: "remove it from one of the two")
            }
            for name in exclude where features.contains(name) {
                report(
                    node, "\(section.place): '\(name)' is listed under features and under exclude",
                    hint: "remove it from one of the two")
            }
        }
        guard let node = section["categories"] else { return }
        if categories.count > Schema.categoryLimit {
            report(
                node,
                "\(section.place): categories: expected at most \(Schema.categoryLimit) columns, "
                    + "found \(categories.count)")
        }
        if let time, categories.contains(time) {
            report(
                node, "\(section.place): '\(time)' is both the time column and a category",
                hint: "remove it from one of the two")
        }
        for (key, others) in [("features", features), ("exclude", exclude)] {
            for name in others where categories.contains(name) {
                report(
                    node, "\(section.place): '\(name)' is listed under categories and under \(key)",
                    hint: "remove it from one of the two")
            }
        }
    }

    /// `key: device`, or `key: {column: device, live: 100, most: 1000}`; `nil` where it is not there.
    ///
    /// - Parameter others: Columns that are categories or left out.
    mutating func key(
        of section: Section, features: [String]?, others: [String], time: String?
    ) -> KeyConfiguration? {
        guard let node = section["key"] else { return nil }
        let place = "\(section.place): key"
        var key = KeyConfiguration(column: "")
        var columnNode = node
        if case .mapping = node {
            guard
                let part = self.section(
                    node, "key of \(section.place)", keys: ["column", "live", "most"])
            else { return nil }
            guard let column = part["column"] else {
                report(node, "\(place): column is missing", hint: "add column: and its name")
                return nil
            }
            columnNode = column
            if let node = part["most"] {
                key.most = integer(node, "\(place).most", in: 1...1_000_000) ?? key.most
                key.live = min(key.live, key.most)
            }
            if let node = part["live"] {
                key.live = integer(node, "\(place).live", in: 1...10_000) ?? key.live
            }
        }
        guard let column = text(columnNode, place, expected: "a column name") else { return nil }
        key.column = column
        for (role, names) in [
            ("a feature", features ?? []), ("the time column", [time].compactMap(\.self)),
            ("a category or left out", others),
        ] where names.contains(column) {
            report(
                columnNode, "\(place): '\(column)' is the key and \(role)",
                hint: "remove it from one of the two")
        }
        if section["long"] != nil {
            report(
                columnNode, "\(place): long rows are put together into records of one machine",
                hint: "remove key, or long; series may hold the column of the key, so that "
                    + "each machine's readings are features of one record")
        }
        return key
    }

    /// `missing: median`, or `missing: {default: reject, pressure: previous}`; `nil` where it is not there.
    ///
    /// - Parameters:
    ///   - known: The features and categories, where the features are named.
    ///   - neither: Columns that are neither.
    mutating func missingPolicies(
        of section: Section, known: [String]?, neither: [String]
    ) -> MissingPolicies? {
        guard let node = section["missing"] else { return nil }
        let place = "\(section.place): missing"
        guard case .mapping(let mapping) = node else {
            return choice(node, place, of: MissingPolicy.self).map { MissingPolicies(standard: $0) }
        }
        var policies = MissingPolicies()
        for (key, value) in mapping {
            guard let column = text(key, place, expected: "a column name or 'default'") else {
                continue
            }
            let policy = choice(value, "\(place).\(column)", of: MissingPolicy.self)
            if column == "default" {
                policies.standard = policy ?? .reject
                continue
            }
            if neither.contains(column) || known?.contains(column) == false {
                let hint = known.flatMap { Self.nearest(to: column, among: $0) }
                report(
                    key, "\(place): '\(column)' is neither a feature nor a category",
                    hint: hint.map { "did you mean '\($0)'?" }
                        ?? "name it under features or categories, or remove it here")
            }
            policies.columns[column] = policy
        }
        return policies
    }
}
