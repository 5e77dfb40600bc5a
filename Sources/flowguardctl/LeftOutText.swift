import Ingest

/// What could be done with columns that a model does not see, in words.
enum LeftOutText {
    /// Names in quotes, eight at most.
    static func list(_ names: [String]) -> String {
        names.prefix(8).map { "'\($0)'" }.joined(separator: ", ")
            + (names.count > 8 ? " and \(names.count - 8) more" : "")
    }

    /// Notes on columns that are neither plain texts nor times: how these are kept differs from command to command.
    ///
    /// - Parameter time: The time column, if there is one.
    static func notes(on leftOut: [InferredSchema.LeftOut], time: String?) -> [String] {
        func columns(_ content: InferredSchema.LeftOut.Content) -> [InferredSchema.LeftOut] {
            leftOut.filter { $0.content == content }
        }
        func note(
            _ content: InferredSchema.LeftOut.Content, _ reason: String, _ remedy: String
        ) -> [String] {
            let found = columns(content)
            guard !found.isEmpty else { return [] }
            let example = found[0].example.map { ", such as \($0)" } ?? ""
            return [
                "left out, \(reason): \(list(found.map(\.name)))\(example)"
                    + (remedy.isEmpty ? "" : "; \(remedy)")
            ]
        }
        let dates = columns(.dates).map { column -> String in
            let patterns = column.patterns.map { "'\($0)'" }.joined(separator: " or ")
            return "left out, as it looks like times: '\(column.name)', such as "
                + (column.example ?? "")
                + (time == nil
                    ? "; --time \(column.name) --time-pattern \(patterns) makes it the time "
                        + "(time: {column, pattern})" : "")
        }
        return note(
            .rowNumbers, "as it counts the records and tells nothing of the machine",
            "name the features (--features) to keep it")
            + note(
                .sparse, "with a number in fewer than half of the first records",
                "name the features (--features), and --missing median, to keep it")
            + note(
                .measures, "as it looks like numbers with a unit",
                "write them as plain numbers, without unit or marks of thousands")
            + note(
                .mixed, "as not all of it is numbers",
                "if that means \"no value\", list it under missing_values (--config, --stream)")
            + dates.prefix(4)
            + note(.unnamed, "as the header gives it no name", "name it there")
            + note(.nothing, "with no value in the first records", "")
    }

    /// A note on features that count on; `nil` where there is none.
    static func note(rising: [String]) -> String? {
        rising.isEmpty
            ? nil
            : "\(list(rising)) only rises: what counts on leaves the range that is learned, and every "
                + "later record is an anomaly; send the difference, or leave it out with exclude "
                + "(--exclude)"
    }
}
