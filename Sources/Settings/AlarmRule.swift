/// What a user says about the alarms of one feature.
public struct AlarmRule: Sendable, Hashable {
    /// A side of the expected value.
    public enum Side: String, Sendable, Hashable, CaseIterable {
        /// Greater than expected.
        case above
        /// Less than expected.
        case below
    }

    /// The feature.
    public var feature: String
    /// Only values on this side of the expected one are a reason for an alarm; `nil`: both.
    public var only: Side?
    /// Values nearer than this to the expected one are no reason, in the feature's units; `nil`: all are.
    public var ignoreChangeBelow: Double?
    /// That it stands still is no reason.
    public var ignoreStuck: Bool

    /// Makes a rule.
    public init(
        feature: String, only: Side? = nil, ignoreChangeBelow: Double? = nil,
        ignoreStuck: Bool = false
    ) {
        self.feature = feature
        self.only = only
        self.ignoreChangeBelow = ignoreChangeBelow
        self.ignoreStuck = ignoreStuck
    }
}
