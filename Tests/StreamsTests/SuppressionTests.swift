import Detection
import Settings
import Streams
import Testing

@Suite struct AlarmRuleTests {
    /// An anomaly ten nats beyond its threshold.
    private func anomaly(
        _ features: [(name: String, change: Double, nats: Double)], tail: Tail = .low
    ) -> Verdict {
        Verdict(
            row: 0, logLikelihood: -20, threshold: -10, pValue: 1e-6, tail: tail,
            reasonCode: .improbable,
            features: features.map {
                FeatureReason(
                    name: $0.name, value: .number(100 + $0.change), expected: .number(100),
                    contribution: $0.nats)
            }, summary: "")
    }

    private let onlyAbove = [AlarmRule(feature: "pressure", only: .above, ignoreChangeBelow: nil)]
    private let small = [
        AlarmRule(feature: "pressure", only: nil, ignoreChangeBelow: 5),
        AlarmRule(feature: "flow", only: nil, ignoreChangeBelow: 2.5),
    ]

    @Test func valueOnTheOtherSideIsNoReason() {
        #expect(
            onlyAbove.suppression(of: anomaly([("pressure", -8, 12)])) == "pressure only above")
        #expect(onlyAbove.suppression(of: anomaly([("pressure", 8, 12)])) == nil)
        #expect(onlyAbove.suppression(of: anomaly([("flow", -8, 12)])) == nil)
    }

    @Test func smallChangeIsNoReason() {
        #expect(small.suppression(of: anomaly([("flow", 2, 12)])) == "flow change below 2.5")
        #expect(small.suppression(of: anomaly([("flow", -2.5, 12)])) == nil)
    }

    @Test func faultThatAnotherFeatureCarriesIsTold() {
        // The pressure alone explains all of it, but the flow explains more.
        #expect(
            onlyAbove.suppression(of: anomaly([("flow", 3, 14), ("pressure", -8, 12)])) == nil)
        // The pressure comes first, and does not explain all of it.
        #expect(
            onlyAbove.suppression(of: anomaly([("pressure", -8, 9), ("flow", 3, 8)])) == nil)
        // It comes first and explains all of it.
        #expect(
            onlyAbove.suppression(of: anomaly([("pressure", -8, 12), ("flow", 3, 11)]))
                == "pressure only above")
    }

    @Test func namedFeaturesAllCoveredAreNoReasonTogether() {
        let both = anomaly([("pressure", 4, 8), ("flow", 2, 6), ("current", 9, 1)])
        #expect(small.suppression(of: both) == "pressure change below 5.0")
        let third = anomaly([("pressure", 4, 8), ("flow", 2, 6), ("current", 9, 4)])
        #expect(small.suppression(of: third) == nil)
    }

    @Test func standingStillIsNoReasonWhereTheRuleSaysSo() {
        var stuck = anomaly([("pressure", 3, 9), ("flow", 0, 0)], tail: .high)
        stuck.reasonCode = .stuck
        let rules = [
            AlarmRule(feature: "pressure", ignoreStuck: true),
            AlarmRule(feature: "flow", ignoreChangeBelow: 5),
        ]
        #expect(rules.suppression(of: stuck) == "pressure stuck")
        #expect(small.suppression(of: stuck) == nil)
        stuck.features[1].contribution = 8
        #expect(rules.suppression(of: stuck) == nil, "the flow stands still, too")
        #expect(rules.suppression(of: anomaly([("pressure", 3, 12)])) == nil)
    }

    @Test func recordThatIsTooLikelyOrHasNoFeatureToNameIsTold() {
        #expect(small.suppression(of: anomaly([("flow", 1, 12)], tail: .high)) == nil)
        #expect(small.suppression(of: anomaly([("flow", 1, 0)])) == nil)
    }
}
