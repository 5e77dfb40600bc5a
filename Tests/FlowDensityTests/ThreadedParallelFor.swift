import Dispatch
import FlowDensity

extension ParallelFor {
    /// Pieces on the threads of Dispatch, in no order.
    static let threaded = ParallelFor { count, body in
        DispatchQueue.concurrentPerform(iterations: count, execute: body)
    }

    /// One piece after the other, the last first.
    static let reversed = ParallelFor { count, body in
        for index in (0..<count).reversed() { body(index) }
    }
}
