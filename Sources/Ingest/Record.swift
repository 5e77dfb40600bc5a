/// Which columns of an input are the features of its records, and which one is the time.
public struct Schema: Sendable, Hashable, Codable {
    /// How many features a record may have.
    ///
    /// A batch of records is held as a matrix, of 32 MiB at most with the default limits.
    public static let featureLimit = 1024

    /// The names of the feature columns, in the order of a record's values.
    public var features: [String]
    /// The name of the time column, if there is one.
    public var time: String?

    /// A schema.
    ///
    /// - Parameters:
    ///   - features: The names of the feature columns.
    ///   - time: The name of the time column.
    public init(features: [String], time: String?) {
        self.features = features
        self.time = time
    }

    /// Throws if there are more features than a record may have.
    func checkFeatureCount(input: String) throws(IngestError) {
        guard features.count <= Self.featureLimit else {
            throw .tooManyFeatures(
                input: input, found: features.count, limit: Self.featureLimit)
        }
    }
}

/// Records of one schema, column facts beside a row-major matrix of values.
public struct RecordBatch: Sendable {
    /// The schema of every record.
    public var schema: Schema
    /// How many records there are.
    public var rowCount: Int
    /// The values, row-major, shape `[rowCount, schema.features.count]`; all finite.
    public var values: [Double]
    /// The time of each record in seconds since 1970, UTC; NaN where there is no time column.
    public var times: [Double]
    /// Which line of its `LineBatch` each record comes from.
    public var lineIndices: [Int32]
    /// The offset of each record's first byte in the input.
    public var offsets: [Int64]

    /// An empty batch.
    ///
    /// - Parameter schema: The schema of the records to come.
    public init(schema: Schema) {
        self.schema = schema
        rowCount = 0
        values = []
        times = []
        lineIndices = []
        offsets = []
    }

    /// Adds a record.
    ///
    /// - Parameters:
    ///   - row: One value for each feature.
    ///   - time: Seconds since 1970, or NaN.
    ///   - lineIndex: Which line of the `LineBatch` it comes from.
    ///   - offset: The offset of its first byte in the input.
    /// - Precondition: `row` has as many values as the schema has features.
    public mutating func append(
        _ row: some Collection<Double>, time: Double = .nan, lineIndex: Int32 = 0,
        offset: Int64 = 0
    ) {
        precondition(row.count == schema.features.count, "a row has one value for each feature")
        values.append(contentsOf: row)
        times.append(time)
        lineIndices.append(lineIndex)
        offsets.append(offset)
        rowCount += 1
    }

    /// Adds the records of another batch behind those of this one.
    ///
    /// - Precondition: The features are the same.
    public mutating func append(contentsOf other: RecordBatch) {
        precondition(
            other.schema.features == schema.features, "batches of one schema are put together")
        values.append(contentsOf: other.values)
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
        part.times = Array(times[range])
        part.lineIndices = Array(lineIndices[range])
        part.offsets = Array(offsets[range])
        return part
    }

    /// The values of one record.
    ///
    /// - Precondition: `index` is within `0..<rowCount`.
    public func row(_ index: Int) -> ArraySlice<Double> {
        let width = schema.features.count
        return values[(index * width)..<((index + 1) * width)]
    }
}
