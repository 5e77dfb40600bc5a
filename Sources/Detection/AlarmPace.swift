import Foundation

/// Keeps a stream's alarms near its budget also where normal has moved since the calibration.
///
/// Calibrated p-values promise the asked rate of false alarms as long as tomorrow is like yesterday. Where it is not,
/// each anomaly that begins an episode makes the next one a little harder to begin, and each record makes it a
/// little easier again, by as much as the budget has earned: in the long run no more begin than were asked for.
/// Anomalies ten times rarer than asked for always alarm; they count all the same, so that weak ones get what they leave of the
/// budget. None is made an alarm that the threshold would not.
///
///     alarm           p ≤ α · exp(−strictness)
///     each record     strictness ← max(0, strictness − step · α)
///     each episode    strictness ← min(strictness + step, ln 10)
///
/// Source: Gibbs, Candès, "Adaptive conformal inference under distribution shift", 2021,
/// <https://arxiv.org/abs/2106.00170>, here on the logarithm of α and on one side.
public struct AlarmPace: Sendable, Hashable, Codable {
    /// The logarithm of how much smaller a p-value must be than the budget's probability; 0 where alarms keep to the budget.
    public private(set) var strictness = 0.0

    /// What an episode adds: five more than the budget has earned ask for a p-value 1/e² times as large.
    private static let step = 0.4
    /// No anomaly ten times rarer than asked for is held back, and no number of them holds back weak ones for long.
    private static let greatestStrictness = log(10.0)

    /// Begins without strictness.
    public init() {}

    /// The largest p-value that alarms.
    ///
    /// - Parameter probability: The budget's false-alarm probability, α.
    public func largestPValue(probability: Double) -> Double {
        // In a state of an earlier build it may be more.
        probability * exp(-min(strictness, Self.greatestStrictness))
    }

    /// Whether an anomaly may begin an episode.
    ///
    /// One with a p-value above α is none by its likelihood: it has a value that was never seen, and may.
    public func allows(pValue: Double, probability: Double) -> Bool {
        pValue <= largestPValue(probability: probability) || pValue > probability
    }

    /// Takes in a record that was scored.
    ///
    /// - Parameters:
    ///   - beginsEpisode: Whether an episode began with it.
    ///   - probability: The budget's false-alarm probability, α.
    public mutating func observe(beginsEpisode: Bool, probability: Double) {
        strictness = max(0, strictness - Self.step * probability)
        guard beginsEpisode else { return }
        strictness = min(strictness + Self.step, Self.greatestStrictness)
    }
}
