import Foundation

/// The records of one key among those of a batch.
public struct KeyedRecords: Sendable {
    /// The text that they share, canonically composed: two spellings of a letter are one key.
    public let key: String
    /// Their rows in the batch, ascending.
    public let rows: [Int]
    /// The records, without the category that holds the key.
    public let records: RecordBatch

    /// Whether the key can be one: it has something in it, and nothing that would end or disturb a line or a name.
    public var isUsable: Bool {
        !key.isEmpty && !key.utf8.contains { $0 < 0x20 || $0 == 0x7F }
    }
}

extension Schema {
    /// The same without one of its categories; the schema itself where it has none of that name.
    public func without(category name: String) -> Schema {
        var schema = self
        schema.categories.removeAll { $0 == name }
        schema.optional.remove(name)
        return schema
    }
}

extension RecordBatch {
    /// The text of each record in a category, canonically composed.
    ///
    /// Some letters are longer when they are composed; files are named by keys, so that these keep to the limit of texts, too.
    ///
    /// - Precondition: The schema has this category.
    public func keys(inCategory name: String) -> [String] {
        guard let column = schema.categories.firstIndex(of: name) else {
            preconditionFailure("a category of the schema holds the keys")
        }
        return (0..<rowCount).map { row in
            let key = categories.text(row: row, column: column) ?? ""
            guard key.utf8.contains(where: { $0 >= 0x80 }) else { return key }
            return Array(key.precomposedStringWithCanonicalMapping.utf8)
                .withUnsafeBufferPointer(CategoryTable.text)
        }
    }

    /// The records by their text in a category, in the order in which the texts come first.
    ///
    /// - Precondition: The schema has this category.
    public func split(byCategory name: String) -> [KeyedRecords] {
        guard let column = schema.categories.firstIndex(of: name) else {
            preconditionFailure("a category of the schema splits its records")
        }
        var order: [String] = []
        var rows: [String: [Int]] = [:]
        for (row, key) in keys(inCategory: name).enumerated() {
            if rows[key] == nil { order.append(key) }
            rows[key, default: []].append(row)
        }
        let rest = schema.without(category: name)
        return order.map { key in
            let own = rows[key] ?? []
            return KeyedRecords(
                key: key, rows: own, records: selecting(own, without: column, schema: rest))
        }
    }

    /// The records of one text of a category after those of another, without that category: several series in one batch.
    ///
    /// - Precondition: The schema has this category.
    public func grouped(byCategory name: String) -> RecordBatch {
        var grouped = RecordBatch(schema: schema.without(category: name))
        for part in split(byCategory: name) {
            if grouped.rowCount > 0 { grouped.beginnings.append(grouped.rowCount) }
            grouped.append(contentsOf: part.records)
        }
        return grouped
    }

    /// Some of the records, in this order.
    ///
    /// - Precondition: The rows lie within `0..<rowCount`.
    public func selecting(_ rows: [Int]) -> RecordBatch {
        selecting(rows, without: nil, schema: schema)
    }

    private func selecting(_ rows: [Int], without column: Int?, schema: Schema) -> RecordBatch {
        var part = RecordBatch(schema: schema)
        part.rowCount = rows.count
        part.values.reserveCapacity(rows.count * schema.features.count)
        for row in rows { part.values.append(contentsOf: self.row(row)) }
        part.categories = categories.selecting(rows, without: column)
        part.times = rows.map { times[$0] }
        part.lineIndices = rows.map { lineIndices[$0] }
        part.offsets = rows.map { offsets[$0] }
        return part
    }
}
