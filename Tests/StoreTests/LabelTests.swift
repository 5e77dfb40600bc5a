import Store
import Testing

struct LabelTests {
    let place: StoreFolder

    init() throws {
        place = try StoreFolder()
    }

    @Test func labelStaysWithItsAnomalyUntilItIsTakenAway() throws {
        let store = try place.open()
        var commit = Example.commit(.new(Example.model()), id: 1)
        commit.anomalies[1].recordNumber = 42
        _ = try store.commit(commit)
        let said = LabelRow(label: .falseAlarm, note: "cleaning", labelledAt: Example.time)
        try store.setLabel(anomaly: 2, said)
        #expect(try store.anomaly(id: 2)?.label == said)
        #expect(try store.anomaly(id: 2)?.anomaly.recordNumber == 42)
        #expect(try store.anomalies(after: 0, limit: 9).map(\.label) == [nil, said])
        #expect(try store.latestAnomalies(stream: Example.stream, count: 1).map(\.label) == [said])
        #expect(try store.labelledAnomalies(stream: Example.stream).map(\.id) == [2])
        #expect(try store.labelledAnomalies(stream: "other").isEmpty)
        #expect(
            try store.anomalies(stream: Example.stream, episode: 88, limit: 9).map(\.id) == [1, 2])
        let other = LabelRow(label: .confirmed, note: nil, labelledAt: Example.time + 1)
        try store.setLabel(anomaly: 2, other)
        #expect(try store.anomaly(id: 2)?.label == other)
        #expect(try store.removeLabel(anomaly: 2))
        #expect(try !store.removeLabel(anomaly: 2))
        #expect(try store.labelledAnomalies(stream: Example.stream).isEmpty)
    }

    @Test func anomalyThatIsNotThereCannotBeLabelled() throws {
        let store = try place.open()
        #expect(throws: StoreError.unknownRow(path: place.path, table: "anomalies", id: 9)) {
            try store.setLabel(
                anomaly: 9, LabelRow(label: .confirmed, note: nil, labelledAt: Example.time))
        }
    }
}
