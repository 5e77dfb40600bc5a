/// Everything that can go wrong in the samples tool, with its text.
enum SamplesError: Error, Equatable, CustomStringConvertible {
    /// A system call on a file or socket came back with an error.
    case system(operation: String, path: String, reason: String)
    /// The series is too short for the faults that were asked for.
    case noRoom(faults: Int, rows: Int, needed: Int)
    /// No window of the series lets this fault pass with every column inside its normal range.
    case noPlace(fault: String, window: ClosedRange<Int>)
    /// A line of a truth or anomaly file is not what it should be.
    case badLine(path: String, line: Int, rule: String)
    /// A sample file lacks what the command needs of it.
    case badSample(path: String, rule: String)
    /// A fault that had to be caught was not.
    case missed(kinds: [String])

    var description: String {
        switch self {
        case .system(let operation, let path, let reason):
            "\(path): cannot \(operation): \(reason)"
        case .noRoom(let faults, let rows, let needed):
            "\(faults) faults need \(needed) rows after the clean part, found \(rows): "
                + "raise --rows or lower --clean-rows"
        case .noPlace(let fault, let window):
            "fault '\(fault)' in rows \(window.lowerBound) to \(window.upperBound): no place where "
                + "every column stays inside its normal range; try another --seed or more --rows"
        case .badLine(let path, let line, let rule):
            "\(path):\(line): \(rule)"
        case .badSample(let path, let rule):
            "\(path): \(rule)"
        case .missed(let kinds):
            "not caught: \(kinds.joined(separator: ", "))"
        }
    }
}
