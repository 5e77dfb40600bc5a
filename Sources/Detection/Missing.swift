import Ingest

/// What is done about a record that lacks a value.
public enum MissingPolicy: String, Sendable, Hashable, Codable, CaseIterable {
    /// It is no record: the line goes to the quarantine.
    case reject
    /// The median of the training rows stands in for the value.
    case median
    /// The stream's last value stands in for it; the median, where there was none.
    case previous
}

/// The policy of each column, features and categories alike.
///
/// For a category, `median` and `previous` are the same: that it is missing counts as a value of its own.
public struct MissingPolicies: Sendable, Hashable, Codable {
    /// The policy of the columns that are not named; `reject` by default.
    public var standard: MissingPolicy
    /// The policy of single columns.
    public var columns: [String: MissingPolicy]

    /// Makes policies; by default a record must have every value.
    public init(standard: MissingPolicy = .reject, columns: [String: MissingPolicy] = [:]) {
        self.standard = standard
        self.columns = columns
    }

    /// The policy of a column.
    public subscript(column: String) -> MissingPolicy { columns[column] ?? standard }

    /// The schema whose records may lack what these policies allow them to, but never their key.
    public func applied(to schema: Schema, key: String?) -> Schema {
        var schema = schema
        schema.optional = Set(schema.columns.filter { $0 != key && self[$0] != .reject })
        return schema
    }
}

extension Encoder {
    /// Puts a value into each gap, so that the flows see whole records.
    ///
    /// A flow has no closed form for the density of some of its features, so the density of a record with gaps is that of
    /// the filled one, given in the context which values are filled; in training the same is done to some whole records,
    /// so that the flows know every such context.
    ///
    /// - Precondition: The records have this encoder's features.
    /// - Returns: The whole records, and for each row with gaps the features that were filled.
    func filled(
        _ records: RecordBatch, after state: ContextState
    ) -> (records: RecordBatch, gaps: [Int: [Int]]) {
        precondition(records.schema.columns == schema.columns, "records of the model's columns")
        let optional = schema.features.indices.filter {
            schema.optional.contains(schema.features[$0])
        }
        guard !optional.isEmpty else { return (records, [:]) }
        let width = columns.count
        var whole = records
        var gaps: [Int: [Int]] = [:]
        let before = state.lastRow(featureCount: width)
        let beginnings = Set(records.beginnings)
        for j in optional {
            let isPrevious = missing[schema.features[j]] == .previous
            var last = isPrevious ? before?[j] ?? columns[j].median : columns[j].median
            for row in 0..<records.rowCount {
                let place = row * width + j
                if beginnings.contains(row) { last = columns[j].median }
                if records.values[place].isNaN {
                    whole.values[place] = last
                    gaps[row, default: []].append(j)
                } else if isPrevious {
                    last = records.values[place]
                }
            }
        }
        return (whole, gaps)
    }
}
