import Detection
import Store
import Streams
import Testing

@Suite struct FalseAlarmTests {
    private typealias Change = (name: String, change: Double, nats: Double)

    private func verdict(
        _ changes: [Change], tail: Tail = .low, logLikelihood: Double = -20
    ) -> Verdict {
        Verdict(
            row: 0, logLikelihood: logLikelihood, threshold: -10, pValue: 1e-6, tail: tail,
            reasonCode: tail == .low ? .improbable : .tooLikely,
            features: changes.map {
                FeatureReason(
                    name: $0.name, value: .number(100 + $0.change), expected: .number(100),
                    contribution: $0.nats)
            }, summary: "")
    }

    private func row(
        _ changes: [Change], tail: Tail = .low, logLikelihood: Double = -20
    ) -> AnomalyRow {
        row(
            changes.map {
                ReasonRow(
                    name: $0.name, value: .number(100 + $0.change), expected: .number(100),
                    contribution: $0.nats)
            }, tail: tail, logLikelihood: logLikelihood)
    }

    private func row(_ reasons: [ReasonRow], tail: Tail, logLikelihood: Double) -> AnomalyRow {
        AnomalyRow(
            id: 7, stream: "a",
            anomaly: NewAnomaly(
                detectedAt: 0, recordTime: nil, source: "", sourceOffset: 0,
                logLikelihood: logLikelihood, threshold: -10, pValue: 1e-6, tail: tail.rawValue,
                reasonCode: tail == .low ? "improbable" : "too_likely", model: 1, episode: 1,
                reasons: reasons, summary: ""))
    }

    @Test func likeIsWhatIsNamedOnTheSameSideAndHardlyFurtherOut() {
        let alarm = FalseAlarm(row([("pressure", 8, 20), ("flow", -4, 15), ("noise", 9, 1)]))
        #expect(alarm.isLike(verdict([("pressure", 8, 20), ("flow", -4, 15)])))
        #expect(alarm.isLike(verdict([("pressure", 10, 90)])), "one of the two is enough")
        #expect(alarm.isLike(verdict([("flow", -1, 12), ("noise", 50, 3)])), "noise is not named")
        #expect(!alarm.isLike(verdict([("pressure", 10.1, 20)])), "further out")
        #expect(!alarm.isLike(verdict([("pressure", -8, 20)])), "on the other side")
        #expect(!alarm.isLike(verdict([("pressure", 8, 20), ("noise", 9, 12)])), "another feature")
        #expect(!alarm.isLike(verdict([])))
        #expect(!alarm.isLike(verdict([("pressure", 8, 20)], tail: .high)))
        #expect(
            alarm.description == """
                anomalies that are due to pressure at most 10 above the expected value or flow at \
                most 5 below the expected value alone
                """)
    }

    @Test func withoutANamedFeatureTheLikelihoodIsTheMeasure() {
        let low = FalseAlarm(row([("pressure", 8, 0)]))
        #expect(low.isLike(verdict([("flow", 3, 0)], logLikelihood: -20.9)))
        #expect(!low.isLike(verdict([("flow", 3, 0)], logLikelihood: -21.1)))
        #expect(!low.isLike(verdict([("flow", 3, 5)], logLikelihood: -20)))
        let high = FalseAlarm(row([("pressure", 0, 3)], tail: .high, logLikelihood: 5))
        #expect(high.isLike(verdict([("pressure", 0, 9)], tail: .high, logLikelihood: 5.9)))
        #expect(!high.isLike(verdict([("pressure", 0, 9)], tail: .high, logLikelihood: 6.1)))
    }

    @Test func categoryIsLikeWithTheSameValueAlone() {
        func reason(_ mode: CellValue) -> FeatureReason {
            FeatureReason(name: "mode", value: mode, expected: .text("run"), contribution: 9)
        }
        let purge = ReasonRow(
            name: "mode", value: .text("purge"), expected: .text("run"), contribution: 9)
        let alarm = FalseAlarm(row([purge], tail: .low, logLikelihood: -20))
        var other = verdict([])
        other.features = [reason(.text("purge"))]
        #expect(alarm.isLike(other))
        other.features = [reason(.text("drain"))]
        #expect(!alarm.isLike(other))
        other.features = [reason(.missing)]
        #expect(!alarm.isLike(other))
        #expect(alarm.description == "anomalies that are due to mode 'purge' alone")
    }

    @Test func standingStillIsLikeAtTheSameValueAlone() {
        func reason(_ name: String, _ value: Double, _ nats: Double) -> FeatureReason {
            FeatureReason(
                name: name, value: .number(value),
                expected: nats > 0 ? .missing : .number(value), contribution: nats)
        }
        let stored = [
            ReasonRow(name: "valve", value: .number(0), expected: .missing, contribution: 9),
            ReasonRow(name: "flow", value: .number(3), expected: .number(3), contribution: 0),
        ]
        var own = row(stored, tail: .high, logLikelihood: 4)
        own.anomaly.reasonCode = "stuck"
        let alarm = FalseAlarm(own)
        var other = verdict([], tail: .high, logLikelihood: 9)
        other.features = [reason("valve", 0, 20), reason("flow", 7, 0)]
        #expect(!alarm.isLike(other), "too likely is another kind")
        other.reasonCode = .stuck
        #expect(alarm.isLike(other), "for however long, whatever the rest reads")
        other.features[0] = reason("valve", 1, 20)
        #expect(!alarm.isLike(other), "at another value")
        other.features = [reason("valve", 0, 20), reason("flow", 3, 8)]
        #expect(!alarm.isLike(other), "another feature, too")
        #expect(alarm.description == "anomalies that are due to valve staying at 0 alone")
    }

    @Test func anAnomalyIsLikeItself() {
        let own = row([("pressure", 0, 20)])
        #expect(FalseAlarm(own).isLike(own))
    }
}
