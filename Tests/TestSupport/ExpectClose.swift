import Testing

/// Expects two numbers to be equal within a relative tolerance, or an absolute one near zero.
///
/// - Parameters:
///   - relative: The share of the larger size by which they may differ.
///   - absolute: How far apart they may be whatever their size.
///   - what: Which case this is, such as layer and seed; printed when it fails.
public func expectClose(
    _ actual: Double, _ expected: Double, relative: Double = 0, absolute: Double = 0,
    _ what: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    let allowed = absolute + relative * max(abs(actual), abs(expected))
    let isClose = actual == expected || abs(actual - expected) <= allowed
    if !isClose {
        Issue.record(
            "\(what()): \(actual) is not close to \(expected), allowed is \(allowed)",
            sourceLocation: sourceLocation)
    }
}
