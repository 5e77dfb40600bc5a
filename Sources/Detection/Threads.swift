import Dispatch
import FlowDensity
import Synchronization

extension ParallelFor {
    /// Runs the parts on up to `count` threads, handed out from a counter.
    ///
    /// A thread that another process keeps from its core costs one part, not its share of all. The caller's
    /// thread works too, so that nothing ever waits for a free thread.
    ///
    /// - Precondition: `count` is positive.
    public static func threads(_ count: Int) -> ParallelFor {
        precondition(count > 0, "a positive number of threads")
        guard count > 1 else { return .serial }
        return ParallelFor { parts, body in
            let next = Atomic<Int>(0)
            DispatchQueue.concurrentPerform(iterations: min(count, parts)) { _ in
                while true {
                    let part = next.wrappingAdd(1, ordering: .relaxed).oldValue
                    guard part < parts else { return }
                    body(part)
                }
            }
        }
    }
}
