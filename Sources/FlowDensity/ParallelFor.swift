import Synchronization

/// A way to run independent pieces of work, given by the caller: FlowDensity owns no threads.
///
/// The pieces may run in any order and at once. Results never depend on which `ParallelFor` is
/// used: every piece writes to its own place, and sums are taken afterwards in a fixed order.
public struct ParallelFor: Sendable {
    private let run: @Sendable (Int, @Sendable (Int) -> Void) -> Void

    /// Wraps a function that calls its body once with each of `0..<count`, and returns when all
    /// calls have returned.
    public init(_ run: @escaping @Sendable (Int, @Sendable (Int) -> Void) -> Void) {
        self.run = run
    }

    /// One piece after the other, on the calling thread.
    public static let serial = ParallelFor { count, body in
        for index in 0..<count { body(index) }
    }

    /// Calls `body` once with each of `0..<count`, and returns when all calls have returned.
    public func callAsFunction(_ count: Int, _ body: @Sendable (Int) -> Void) {
        if count == 1 {
            body(0)
        } else if count > 1 {
            run(count, body)
        }
    }

    /// What `body` makes of each of `0..<count`, in this order.
    public func map<Result: Sendable>(
        _ count: Int, _ body: @Sendable (Int) -> Result
    ) -> [Result] {
        if count == 1 { return [body(0)] }
        let results = Mutex([Result?](repeating: nil, count: count))
        self(count) { index in
            let result = body(index)
            results.withLock { $0[index] = result }
        }
        return results.withLock { $0.compactMap(\.self) }
    }
}
