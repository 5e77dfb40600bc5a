import Foundation
import Settings
import Synchronization

/// An instant on both clocks that a stream goes by.
package struct StreamInstant: Sendable, Hashable {
    /// What a clock on the wall shows, in epoch seconds.
    package var time: Double
    /// Seconds since some instant; never goes back.
    package var uptime: Double
}

/// Tells a stream what time it is.
package protocol StreamClock: Sendable {
    /// Now.
    var now: StreamInstant { get }
}

/// The time of this machine, for a stream that is watched.
package struct SystemClock: StreamClock {
    private let start = ContinuousClock.now

    package init() {}

    package var now: StreamInstant {
        StreamInstant(
            time: Date().timeIntervalSince1970, uptime: (ContinuousClock.now - start).inSeconds)
    }
}

/// The time in which records arrived once, for a stream that is replayed: it passes from record to record.
final class RecordedClock: StreamClock {
    /// Records may be so much out of order, in seconds; one that is earlier still says that time was set back.
    private static let disorderSecs = 3_600.0

    private let secondsPerRecord: Double
    private let current = Mutex(StreamInstant(time: 0, uptime: 0))

    /// A clock that stands at the beginning of 1970.
    ///
    /// - Parameter recordsPerDay: The rate of records that have no time of their own.
    init(recordsPerDay: Double) {
        secondsPerRecord = 86_400 / recordsPerDay
    }

    var now: StreamInstant { current.withLock { $0 } }

    /// Goes on to this instant.
    func advance(to instant: StreamInstant) { current.withLock { $0 = instant } }

    /// When the next records arrive: at their own times, or evenly where they have none.
    ///
    /// - Parameter times: Epoch seconds; NaN for a record without a time.
    func arrivals(of times: [Double]) -> [StreamInstant] {
        var instant = now
        return times.map { time in
            guard time.isFinite else {
                instant.time += secondsPerRecord
                instant.uptime += secondsPerRecord
                return instant
            }
            let isLate = time < instant.time && instant.time - time <= Self.disorderSecs
            guard !isLate else { return instant }
            // The first record of all sets the clock, and no time has passed.
            let hasBegun = instant.time != 0
            instant.uptime += hasBegun ? max(0, time - instant.time) : 0
            instant.time = time
            return instant
        }
    }
}
