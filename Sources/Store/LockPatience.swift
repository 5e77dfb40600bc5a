import Foundation
import Synchronization

/// How long a transaction waits for another process that has locked the file.
final class LockPatience: Sendable {
    /// The most that one waits.
    static let limitSecs = 5.0
    private static let pauseSecs = 0.005

    /// When nobody is to wait any more.
    private let end = Mutex<ContinuousClock.Instant?>(nil)

    /// From so long from now on nobody waits; the first call holds.
    func end(in time: Duration) {
        end.withLock { $0 = $0 ?? .now + time }
    }

    /// Waits a moment before another try.
    ///
    /// - Parameter number: The tries before.
    /// - Returns: Whether to try again.
    func waits(beforeTry number: Int) -> Bool {
        guard Double(number) * Self.pauseSecs < Self.limitSecs,
            end.withLock({ $0.map { .now < $0 } ?? true })
        else { return false }
        Thread.sleep(forTimeInterval: Self.pauseSecs)
        return true
    }
}
