/// A row-major table of scalars, `[rowCount, columnCount]`.
public struct Matrix<Scalar: FlowScalar>: Sendable, Equatable {
    /// The number of rows, one observation each.
    public let rowCount: Int
    /// The number of columns, one feature each.
    public let columnCount: Int
    /// The elements, row after row; its count is `rowCount * columnCount`.
    public var storage: [Scalar]

    /// Makes a matrix whose elements are all the same.
    public init(rowCount: Int, columnCount: Int, repeating value: Scalar = 0) {
        self.init(
            rowCount: rowCount, columnCount: columnCount,
            storage: [Scalar](repeating: value, count: rowCount * columnCount))
    }

    /// Makes a matrix from its elements, row after row.
    ///
    /// - Precondition: `storage` holds `rowCount * columnCount` elements.
    public init(rowCount: Int, columnCount: Int, storage: [Scalar]) {
        precondition(rowCount >= 0 && columnCount >= 0, "a matrix has no negative side")
        precondition(
            storage.count == rowCount * columnCount,
            "a [\(rowCount), \(columnCount)] matrix cannot hold \(storage.count) elements")
        self.rowCount = rowCount
        self.columnCount = columnCount
        self.storage = storage
    }

    /// The element at a row and a column.
    public subscript(row: Int, column: Int) -> Scalar {
        get { storage[row * columnCount + column] }
        set { storage[row * columnCount + column] = newValue }
    }

    /// The rows of a range, as a matrix of their own.
    public func rows(_ range: Range<Int>) -> Matrix {
        Matrix(
            rowCount: range.count, columnCount: columnCount,
            storage: Array(
                storage[range.lowerBound * columnCount..<range.upperBound * columnCount]))
    }

    /// The rows of the given indices, in their order; an index may come more than once.
    public func selectingRows(_ indices: [Int]) -> Matrix {
        var selected: [Scalar] = []
        selected.reserveCapacity(indices.count * columnCount)
        for index in indices {
            selected.append(
                contentsOf: storage[index * columnCount..<(index + 1) * columnCount])
        }
        return Matrix(rowCount: indices.count, columnCount: columnCount, storage: selected)
    }
}
