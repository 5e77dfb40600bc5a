import Foundation

/// Reads the hour and the weekday off a clock on the wall of some place, summer time included.
struct CalendarClock: Sendable, Hashable {
    /// `nil`: UTC.
    private let zone: TimeZone?

    /// - Parameter zone: A name of the time-zone database, such as `Europe/Berlin`; `nil` and unknown names are UTC.
    init(zone: String?) {
        self.zone = zone.flatMap(TimeZone.init(identifier:))
    }

    /// The feature's place on its circle, in radians.
    ///
    /// - Parameter time: Seconds since 1970, UTC.
    func phase(_ feature: CalendarFeature, at time: Double) -> Double {
        var local = time
        if let zone {
            local += Double(zone.secondsFromGMT(for: Date(timeIntervalSince1970: time)))
        }
        return 2 * Double.pi * (local / feature.periodSecs)
    }
}
