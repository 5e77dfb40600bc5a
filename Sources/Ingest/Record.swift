/// Which columns of an input are the features and categories of its records, and which one is the time.
public struct Schema: Sendable, Hashable {
    /// How many features a record may have.
    ///
    /// A batch of records is held as a matrix, of 32 MiB at most with the default limits.
    public static let featureLimit = 1024
    /// How many categories a record may have.
    public static let categoryLimit = 64

    /// The names of the feature columns, in the order of a record's values.
    public var features: [String]
    /// The names of the columns whose values are texts, in the order of a record's codes.
    public var categories: [String]
    /// The features and categories that a record may lack.
    public var optional: Set<String>
    /// The name of the time column, if there is one.
    public var time: String?

    /// A schema.
    ///
    /// - Parameters:
    ///   - features: The names of the feature columns.
    ///   - categories: The names of the category columns.
    ///   - optional: Those of both that a record may lack.
    ///   - time: The name of the time column.
    public init(
        features: [String], categories: [String] = [], optional: Set<String> = [], time: String?
    ) {
        self.features = features
        self.categories = categories
        self.optional = optional
        self.time = time
    }

    /// The features, and behind them the categories.
    public var columns: [String] { features + categories }

    /// Whether records of the other schema hold the same columns; the time may differ.
    public func hasColumns(of other: Schema) -> Bool {
        features == other.features && categories == other.categories
            && optional == other.optional
    }

    /// Throws if there are more features or categories than a record may have.
    func checkColumnCount(input: String) throws(IngestError) {
        guard features.count <= Self.featureLimit else {
            throw .tooManyFeatures(
                input: input, found: features.count, limit: Self.featureLimit)
        }
        guard categories.count <= Self.categoryLimit else {
            throw .tooManyCategories(
                input: input, found: categories.count, limit: Self.categoryLimit)
        }
    }
}

extension Schema: Codable {
    private enum CodingKeys: String, CodingKey {
        case features, categories, optional, time
    }

    /// A schema of an earlier build has features and time alone.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        features = try container.decode([String].self, forKey: .features)
        categories = try container.decodeIfPresent([String].self, forKey: .categories) ?? []
        optional = try container.decodeIfPresent(Set<String>.self, forKey: .optional) ?? []
        time = try container.decodeIfPresent(String.self, forKey: .time)
    }

    /// The same schema always gives the same bytes.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(features, forKey: .features)
        if !categories.isEmpty { try container.encode(categories, forKey: .categories) }
        if !optional.isEmpty { try container.encode(optional.sorted(), forKey: .optional) }
        try container.encodeIfPresent(time, forKey: .time)
    }
}

/// Records of one schema, column facts beside a row-major matrix of values.
public struct RecordBatch: Sendable {
    /// The schema of every record.
    public var schema: Schema
    /// How many records there are.
    public var rowCount: Int
    /// The values, row-major, shape `[rowCount, schema.features.count]`; finite, or NaN where a
    /// record lacks an optional feature.
    public var values: [Double]
    /// The category columns.
    public internal(set) var categories: CategoryTable
    /// The time of each record in seconds since 1970, UTC; NaN where there is no time column.
    public var times: [Double]
    /// Which line of its `LineBatch` each record comes from.
    public var lineIndices: [Int32]
    /// The offset of each record's first byte in the input.
    public var offsets: [Int64]
    /// Rows that do not follow the row before, because another series begins with them; ascending.
    public internal(set) var beginnings: [Int] = []

    /// An empty batch.
    ///
    /// - Parameter schema: The schema of the records to come.
    public init(schema: Schema) {
        self.schema = schema
        rowCount = 0
        values = []
        categories = CategoryTable(columnCount: schema.categories.count)
        times = []
        lineIndices = []
        offsets = []
    }

    /// What a parser has filled.
    init(
        schema: Schema, rowCount: Int, values: [Double], categories: CategoryTable,
        times: [Double], lineIndices: [Int32], offsets: [Int64]
    ) {
        self.schema = schema
        self.rowCount = rowCount
        self.values = values
        self.categories = categories
        self.times = times
        self.lineIndices = lineIndices
        self.offsets = offsets
    }

    /// The records of some batches of one schema, one batch after the other.
    ///
    /// - Precondition: There is a batch.
    init(joining batches: [RecordBatch]) {
        self.init(schema: batches[0].schema)
        let count = batches.reduce(0) { $0 + $1.rowCount }
        values.reserveCapacity(count * schema.features.count)
        times.reserveCapacity(count)
        lineIndices.reserveCapacity(count)
        offsets.reserveCapacity(count)
        for batch in batches { append(contentsOf: batch) }
    }

    /// Adds a record.
    ///
    /// - Parameters:
    ///   - row: One value for each feature; NaN where it has none.
    ///   - categories: One text for each category; `nil` where it has none.
    ///   - time: Seconds since 1970, or NaN.
    ///   - lineIndex: Which line of the `LineBatch` it comes from.
    ///   - offset: The offset of its first byte in the input.
    /// - Precondition: There are as many values and texts as the schema has features and categories.
    public mutating func append(
        _ row: some Collection<Double>, categories cells: [String?] = [], time: Double = .nan,
        lineIndex: Int32 = 0, offset: Int64 = 0
    ) {
        precondition(
            row.count == schema.features.count && cells.count == schema.categories.count,
            "a row has one value for each feature and category")
        values.append(contentsOf: row)
        categories.append(cells)
        times.append(time)
        lineIndices.append(lineIndex)
        offsets.append(offset)
        rowCount += 1
    }

    /// Adds the records of another batch behind those of this one.
    ///
    /// - Precondition: The features and categories are the same.
    public mutating func append(contentsOf other: RecordBatch) {
        precondition(
            other.schema.columns == schema.columns, "batches of one schema are put together")
        beginnings += other.beginnings.map { rowCount + $0 }
        values.append(contentsOf: other.values)
        categories.append(contentsOf: other.categories)
        times.append(contentsOf: other.times)
        lineIndices.append(contentsOf: other.lineIndices)
        offsets.append(contentsOf: other.offsets)
        rowCount += other.rowCount
    }

    /// The records of a range of rows, as a batch of their own.
    ///
    /// - Precondition: The range lies within `0..<rowCount`.
    public func rows(_ range: Range<Int>) -> RecordBatch {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= rowCount, "rows of the batch are asked for"
        )
        let width = schema.features.count
        var part = RecordBatch(schema: schema)
        part.rowCount = range.count
        part.values = Array(values[(range.lowerBound * width)..<(range.upperBound * width)])
        part.categories = categories.rows(range)
        part.times = Array(times[range])
        part.lineIndices = Array(lineIndices[range])
        part.offsets = Array(offsets[range])
        part.beginnings =
            beginnings.filter { $0 > range.lowerBound && $0 < range.upperBound }
            .map { $0 - range.lowerBound }
        return part
    }

    /// The values of one record.
    ///
    /// - Precondition: `index` is within `0..<rowCount`.
    public func row(_ index: Int) -> ArraySlice<Double> {
        let width = schema.features.count
        return values[(index * width)..<((index + 1) * width)]
    }

    /// The same records with fewer columns; `nil` where they lack one of them.
    public func reduced(to schema: Schema) -> RecordBatch? {
        let places = schema.features.compactMap { self.schema.features.firstIndex(of: $0) }
        let texts = schema.categories.compactMap { self.schema.categories.firstIndex(of: $0) }
        guard places.count == schema.features.count, texts.count == schema.categories.count
        else { return nil }
        var kept = RecordBatch(schema: schema)
        kept.beginnings = beginnings
        for index in 0..<rowCount {
            let values = row(index)
            kept.append(
                places.map { values[values.startIndex + $0] },
                categories: texts.map { categories.text(row: index, column: $0) },
                time: times[index], lineIndex: lineIndices[index], offset: offsets[index])
        }
        return kept
    }
}
