import Control
import Foundation
import Store
import TestSupport
import Testing

/// A stream that mixes the records of several machines, told apart by a key.
@Suite(.serialized, .timeLimit(.minutes(20))) struct KeyRunTests {
    private static let header = "time,machine,flow,pressure\n"

    /// Machines at levels of their own, a record each in turn.
    private struct Fleet {
        var machines: [String]
        private var pumps: [PumpData]
        private(set) var rows = 0

        init(_ machines: [String]) {
            self.machines = machines
            pumps = machines.map { _ in PumpData() }
        }

        /// Lines of all machines for some steps.
        ///
        /// - Parameter isFaulty: Whether a machine's pressure is on the wrong side of its flow in a step.
        mutating func lines(
            steps: Int, isFaulty: (_ machine: Int, _ step: Int) -> Bool = { _, _ in false }
        ) -> String {
            var own = machines.indices.map { machine in
                pumps[machine].lines(steps) { isFaulty(machine, $0) }
                    .split(separator: "\n").map { $0.split(separator: ",").map(String.init) }[...]
            }
            var text = ""
            for _ in 0..<steps {
                for machine in machines.indices {
                    guard let cells = own[machine].popFirst(), let flow = Double(cells[1]),
                        let pressure = Double(cells[2])
                    else { continue }
                    let level = 20 * Double(machine)
                    text += "\(cells[0]),\(machines[machine]),\(flow + level),\(pressure + level)\n"
                    rows += 1
                }
            }
            return text
        }
    }

    private func stream(
        _ more: String, first: Int = 600, source: String = "fleet.csv"
    ) -> String {
        """
          - name: fleet
            source: {file: \(source)}
            fit: {first_after_records: \(first), every: never}
            alarm: {false_alarm_probability: 0.0001}
            \(more)
        """
    }

    private func keys(_ daemon: DaemonProcess) throws -> [KeyList.Key] {
        try ControlJSON.decode(KeyList.self, from: daemon.get("/v1/streams/fleet/keys").body).keys
    }

    /// A text that combines with what stands before it is a key like any other, and holds up no other one.
    @Test func aKeyMayBeginWithAMark() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var fleet = Fleet(["a", "\u{301}b", "\u{200D}"])
        try daemon.folder.write(Self.header + fleet.lines(steps: 40), to: "fleet.csv")
        try daemon.configure(stream("key: {column: machine, live: 2}"))
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream("fleet")?.recordsTotal == 120 }
        #expect(Set(try keys(daemon).map(\.key)) == ["a", "\u{301}b", "\u{200D}"])
        #expect(try keys(daemon).map(\.recordsTotal) == [40, 40, 40])
        #expect(try daemon.stream("fleet")?.lastError == nil)
    }

    @Test func eachKeyIsJudgedByItsOwnPastAndThenByItsOwnModel() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var fleet = Fleet(["a", "b", "c d", "\u{E9}/1"])
        try daemon.folder.write(Self.header + fleet.lines(steps: 150), to: "fleet.csv")
        // Only two of the four are in memory between batches.
        try daemon.configure(stream("key: {column: machine, live: 2}"))
        try await daemon.start()
        try await daemon.wait("the stream's model") {
            try daemon.stream("fleet")?.state == .watching
        }
        try await daemon.wait("the records that waited") {
            try daemon.metric("flowguard_scored_records_total", of: "fleet") == 600
        }
        #expect(try keys(daemon).map(\.key) == ["a", "b", "c d", "\u{E9}/1"])
        #expect(try keys(daemon).map(\.recordsTotal) == [150, 150, 150, 150])
        #expect(try keys(daemon).allSatisfy { $0.model == nil })
        // A key that is judged by the stream's model shows it, and gives its file.
        let lent = try #require(try daemon.stream("fleet")?.model?.id)
        for name in ["fleet", "fleet%2Fb", "fleet%2Fc%20d"] {
            let shown = try daemon.get("/v1/streams/\(name)/models/\(lent)")
            #expect(shown.status == 200)
            #expect(
                try ControlJSON.decode(ModelMessage.self, from: shown.body).stream == "fleet")
            #expect(try daemon.get("/v1/streams/\(name)/models/\(lent)/file").status == 200)
        }
        let status = try #require(try daemon.stream("fleet")?.keys)
        #expect((status.known, status.live, status.modelled) == (4, 2, 0))

        // A fault of one machine, while the others go on.
        try daemon.folder.append(
            fleet.lines(steps: 60) { machine, step in machine == 1 && step == 180 }, to: "fleet.csv"
        )
        let time = Date(timeIntervalSince1970: 1_700_000_180)
        let fault = try await daemon.wait("the fault") {
            try daemon.anomalies("fleet").first { $0.key == "b" && $0.recordTime == time }
        }
        #expect(fault.stream == "fleet")
        #expect(fault.features.first?.name == "pressure")
        #expect(try daemon.anomalies("fleet%2Fb").contains(fault))
        #expect(try !daemon.anomalies("fleet%2Fa").contains { $0.key != "a" })
        try await daemon.wait("the log") { try daemon.logged().contains(fault) }
        let borrowed = try daemon.request(
            "PUT", "/v1/streams/fleet%2Fb/threshold", body: Array(#"{"log_likelihood":-9}"#.utf8))
        #expect(borrowed.status == 409)
        #expect(borrowed.text.contains("set the threshold of 'fleet'"))

        // With records enough each key has a model of its own, also those that are on disk meanwhile.
        try daemon.folder.append(fleet.lines(steps: 500), to: "fleet.csv")
        try await daemon.wait("models of their own") {
            try keys(daemon).allSatisfy { $0.model != nil }
        }
        #expect(try daemon.stream("fleet")?.keys?.modelled == 4)
        let own = try ControlJSON.decode(
            StreamDetail.self, from: daemon.get("/v1/streams/fleet%2Fc%20d").body)
        #expect(own.status.name == "fleet/c d")
        #expect(own.status.state == .watching)
        #expect(own.status.model?.stream == "fleet/c d")
        #expect(own.features == ["flow", "pressure"])
        // What is normal for one of them is not for another: flow at the level of the machine beside it.
        let other = try daemon.request(
            "POST", "/v1/streams/fleet%2Fa/score?output_format=scores",
            body: Array("time,flow,pressure\n1700000000,10,50\n1700000001,30,70\n".utf8))
        let scores = other.text.split(separator: "\n").compactMap { Double($0) }
        #expect(scores.count == 2)
        #expect(scores[1] < scores[0] - 20)
        let retrain = try daemon.request("POST", "/v1/streams/fleet%2Fb/retrain")
        #expect(retrain.status == 202)
        try await daemon.wait("the fit") {
            try ControlJSON.decode(
                StreamDetail.self, from: daemon.get("/v1/streams/fleet%2Fb").body
            ).fits.first.map { $0.trigger == "requested" && $0.isEnded } == true
        }
        let unknown = try daemon.get("/v1/streams/fleet%2Fz")
        #expect(unknown.status == 404)
        #expect(unknown.text.contains("stream 'fleet' has no key 'z'"))
    }

    @Test func aFitOfAKeyThatAReloadCutsOffBeginsAnew() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var fleet = Fleet(["a", "b"])
        try daemon.folder.write(Self.header + fleet.lines(steps: 600), to: "fleet.csv")
        let keyed = stream("key: machine")
        try daemon.configure(keyed)
        try await daemon.start()
        try await daemon.wait("models of their own") {
            try daemon.stream("fleet")?.keys?.modelled == 2
        }
        try daemon.folder.append(fleet.lines(steps: 10_000), to: "fleet.csv")
        try await daemon.wait("the records") { try daemon.stream("fleet")?.recordsTotal == 21_200 }
        let cut = try ControlJSON.decode(
            RetrainReply.self, from: daemon.request("POST", "/v1/streams/fleet%2Fb/retrain").body
        ).fit
        try await daemon.wait("a running fit") {
            try daemon.detail("fleet%2Fb").status.fit?.state == "running"
        }
        try daemon.configure(
            keyed.replacing(
                "false_alarm_probability: 0.0001", with: "false_alarm_probability: 0.0002"))
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") { daemon.errorText.contains("configuration reloaded") }
        // Nothing but the stream itself brings the key into memory.
        let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
        let next = try await daemon.wait("another fit's end") {
            try store.fits(stream: "fleet/b", limit: 10).first { $0.id > cut && $0.state.isEnded }
        }
        #expect(next.trigger == "requested")
        #expect([.accepted, .rejected].contains(next.state), "\(next)")
        let fits = try store.fits(stream: "fleet/b", limit: 10)
        #expect(fits.first { $0.id == cut }?.state == .cancelled)
        #expect(fits.count { $0.id > cut } == 1)
    }

    @Test func recordsOfTooManyKeysGoToTheQuarantine() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var fleet = Fleet(["a", "b", "c", "d"])
        try daemon.folder.write(
            Self.header + fleet.lines(steps: 200) + "1700000200,,1,2\n", to: "fleet.csv")
        try daemon.configure(stream("key: {column: machine, most: 3}", first: 500))
        try await daemon.start()
        try await daemon.wait("the records") { try daemon.stream("fleet")?.recordsTotal == 600 }
        #expect(
            try daemon.stream("fleet")?.faults == [
                FaultCount(code: "too_many_keys", count: 200),
                FaultCount(code: "missing_value", count: 1),
            ])
        let path = daemon.folder.file("state/quarantine/fleet.ndjson")
        let first = try #require(
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").first)
        // First the place, then what is wrong with it.
        let order =
            /{"time":"[^"]+Z","source":"\/[^"]+\/fleet\.csv","line":5,"offset":\d+,"column":"machine",/
        #expect(first.prefixMatch(of: order) != nil, "\(first)")
        #expect(
            first.contains(
                #""code":"too_many_keys","reason":"column 'machine': expected at most 3 keys, "#
                    + #"found another","text":""#), "\(first)")
        try await daemon.wait("a model") { try daemon.stream("fleet")?.state == .watching }
        #expect(try keys(daemon).map(\.key) == ["a", "b", "c"])
    }

    @Test func killedAtAnyInstantEachKeyHasWhatAnUndisturbedRunHas() async throws {
        let begin = ContinuousClock.now
        var fleet = Fleet(["a", "b", "c", "d", "e", "f"])
        let beginning = Self.header + fleet.lines(steps: 120) { $0 == 2 && $1 == 100 }
        let keyed = "key: {column: machine, live: 3}"
        let scored = "flowguard_scored_records_total"
        func settle(_ daemon: DaemonProcess) async throws {
            try await daemon.wait("all scored") {
                try daemon.metric(scored, of: "fleet") == Double(fleet.rows)
            }
            _ = try await daemon.stop()
        }
        func daemon(_ text: String) throws -> DaemonProcess {
            let daemon = DaemonProcess(folder: try TemporaryDirectory())
            try daemon.folder.write(text, to: "fleet.csv")
            return daemon
        }
        var chance = Chance(seed: Soak.seed)
        // Killed while it learns, when its first model comes, and while the keys that wait are judged one by one.
        let killed = try daemon(beginning)
        try killed.configure(stream(keyed))
        var kills = 0
        for _ in 0..<8 {
            try killed.launch()
            try await Task.sleep(for: .milliseconds(chance.number(50...1_200)))
            killed.kill()
            kills += 1
        }
        try await killed.start()
        try await settle(killed)
        let calm = try daemon(beginning)
        try calm.configure(stream(keyed))
        try await calm.start()
        try await settle(calm)

        // No key has records enough for a model of its own, whose time would not be the same in both runs.
        try killed.configure(stream(keyed, first: 100_000))
        try calm.configure(stream(keyed, first: 100_000))
        let wanted = max(12, Soak.kills / 4)
        var text = ""
        while kills < wanted + 8 {
            if !killed.isRunning { try killed.launch() }
            let lines = fleet.lines(steps: chance.number(1...60)) { machine, step in
                (machine + step) % 37 == 0
            }
            text += lines
            let cut = lines.index(
                lines.startIndex, offsetBy: chance.number(0...max(0, lines.count - 1)))
            try killed.folder.append(String(lines[..<cut]), to: "fleet.csv")
            try await Task.sleep(for: .milliseconds(chance.number(0...60)))
            try killed.folder.append(String(lines[cut...]), to: "fleet.csv")
            try await Task.sleep(for: .milliseconds(chance.number(0...150)))
            killed.kill()
            kills += 1
        }
        try await killed.start()
        try calm.folder.append(text, to: "fleet.csv")
        try await calm.start()
        let total = Int64(fleet.rows)
        for daemon in [killed, calm] {
            try await daemon.wait("all records") {
                try daemon.stream("fleet")?.recordsTotal == total
            }
        }

        let what = "seed \(Soak.seed)"
        func outcome(_ anomaly: AnomalyMessage) -> String {
            "\(anomaly.offset) \(anomaly.key ?? "") \(anomaly.episode ?? 0) \(anomaly.summary)"
        }
        let found = try killed.everyAnomaly("fleet").map(outcome)
        let expected = try calm.everyAnomaly("fleet").map(outcome)
        #expect(Set(found).count == found.count, "found twice, \(what)")
        #expect(found.sorted() == expected.sorted(), "\(what)")
        #expect(found.count > wanted, "the run has found too little to show anything")
        #expect(try keys(killed).map(\.recordsTotal) == keys(calm).map(\.recordsTotal))
        #expect(try keys(killed).map(\.anomaliesTotal) == keys(calm).map(\.anomaliesTotal))
        for name in [scored, "flowguard_anomalies_total"] {
            #expect(
                try killed.metric(name, of: "fleet") == calm.metric(name, of: "fleet"), "\(what)")
        }
        try await killed.wait("the log") {
            try killed.logged().map(outcome).sorted() == expected.sorted()
        }
        Soak.report(
            "key soak: seed \(Soak.seed), \(kills) kills, 6 keys of which 3 are in memory, "
                + "\(found.count) anomalies of \(total) records, none lost, none twice, "
                + "\(ContinuousClock.now - begin)")
    }

    @Test func whatCannotBeAKeyGoesToTheQuarantine() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var lines = ""
        for step in 0..<50 {
            for key in ["a", "a\\u0000b", "", "\u{E9}", "e\u{301}", "../\\n", "%2F"] {
                lines +=
                    #"{"time":\#(1_700_000_000 + step),"machine":"\#(key)","flow":\#(step % 7)}"#
                lines += "\n"
            }
        }
        try daemon.folder.write(lines, to: "fleet.ndjson")
        try daemon.configure(
            stream("key: machine\n    missing_values: [NA]", source: "fleet.ndjson"))
        try await daemon.start()
        try await daemon.wait("all lines") {
            try daemon.stream("fleet").map { $0.recordsTotal + $0.faultsTotal } == 350
        }
        #expect(
            try daemon.stream("fleet")?.faults == [FaultCount(code: "bad_key", count: 150)])
        // Two spellings of a letter are one key.
        #expect(try keys(daemon).map(\.key) == ["%2F", "a", "\u{E9}"])
        #expect(try keys(daemon).map(\.recordsTotal) == [50, 50, 100])
        #expect(try daemon.get("/v1/streams/fleet%2F%252F").status == 200)
    }

    @Test func aKeyThatNoRecordHasIsToldAndCrashesNothing() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        func configure(_ key: String) throws {
            try daemon.configure(
                """
                  - name: fleet
                    source: {socket: fleet.sock}
                    format: csv
                    features: [flow, pressure]
                    \(key)
                """)
        }
        var fleet = Fleet(["a", "b"])
        try configure("fit: {every: never}")
        try await daemon.start()
        let text = Self.header + fleet.lines(steps: 30)
        do {
            let client = try await daemon.client(of: "fleet.sock")
            try client.send(text)
        }
        try await daemon.wait("records") { try daemon.stream("fleet")?.recordsTotal == 60 }
        try configure("key: machin")
        daemon.signal(SIGHUP)
        try await daemon.wait("the other configuration") {
            try daemon.stream("fleet")?.keys?.column == "machin"
        }
        let batches = { try daemon.metric("flowguard_batches_total", of: "fleet") ?? 0 }
        var before = 0.0
        do {
            let client = try await daemon.client(of: "fleet.sock")
            defer { withExtendedLifetime(client) {} }
            try client.send(text)
            try await daemon.wait("its lines in the quarantine") {
                try daemon.stream("fleet")?.faultsTotal == 60
            }
            before = try batches()
        }
        // What tells that the client has left is an empty batch, which makes nothing well.
        try await daemon.wait("its end") { try batches() > before }
        let refused = try #require(try daemon.stream("fleet"))
        #expect(refused.state == .failing)
        #expect(refused.lastError?.message.contains("machin") == true, "\(refused)")
        // The right name is all it takes.
        try configure("key: machine")
        daemon.signal(SIGHUP)
        try await daemon.wait("the right key") {
            try daemon.stream("fleet")?.keys?.column == "machine"
        }
        do {
            let client = try await daemon.client(of: "fleet.sock")
            try client.send(text)
        }
        try await daemon.wait("the keys") { try keys(daemon).map(\.recordsTotal) == [30, 30] }
        try await daemon.wait("the end of the message") {
            try daemon.stream("fleet").map { $0.recordsTotal == 120 && $0.lastError == nil }
        }
    }

    @Test func thresholdOfTheStreamHoldsForKeysThatBorrowItsModel() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var fleet = Fleet(["a", "b"])
        try daemon.folder.write(Self.header + fleet.lines(steps: 300), to: "fleet.csv")
        try daemon.configure(stream("key: machine"))
        try await daemon.start()
        try await daemon.wait("all scored") {
            try daemon.metric("flowguard_scored_records_total", of: "fleet") == 600
        }
        let reply = try daemon.request(
            "PUT", "/v1/streams/fleet/threshold", body: Array(#"{"log_likelihood":1000}"#.utf8))
        #expect(reply.status == 200)
        // It is shown before a record comes.
        let shown = try await daemon.wait("the threshold of a key") {
            let key = try daemon.detail("fleet%2Fa").status
            return key.threshold?.logLikelihood == 1000 ? key : nil
        }
        #expect(shown.asked.probability == nil)
        try daemon.folder.append(fleet.lines(steps: 40), to: "fleet.csv")
        // Below it is everything, and no budget holds it back.
        try await daemon.wait("alarms") {
            try daemon.anomalies("fleet%2Fa").count + daemon.anomalies("fleet%2Fb").count >= 80
        }
        try await daemon.wait("the records") { try daemon.stream("fleet")?.recordsTotal == 680 }
        #expect(try daemon.stream("fleet")?.suppressed == [])
    }

    @Test func commandsKnowWhatAKeyIs() throws {
        let runner = try CommandRunner()
        var fleet = Fleet(["a", "b", "c"])
        try runner.folder.write(Self.header + fleet.lines(steps: 200), to: "fleet.csv")
        try runner.folder.write("streams:\n" + stream("key: machine"), to: "f.yaml")
        let named = ["--config", "f.yaml", "--stream", "fleet"]
        let unaided = try runner.run(["check", "--source", "fleet.csv"])
        #expect(
            unaided.output.replacing("\n", with: " ").contains("key: judges each machine by"),
            "\(unaided.output)")
        let checked = try runner.run(["check", "--source", "fleet.csv"] + named)
        #expect(checked.code == 0, "\(checked.error)")
        #expect(checked.output.contains(/machine +key +a, b, c/), "\(checked.output)")
        for options in [named, ["--key", "machine"]] {
            let fitted = try runner.run(["fit", "-o", "m.model", "fleet.csv"] + options)
            #expect(fitted.code == 0, "\(fitted.error)")
            #expect(fitted.error.contains("features   flow, pressure; time in time"))
            #expect(!fitted.error.contains("categories"), "\(fitted.error)")
            // The steps back in time from machine to machine are no gaps.
            #expect(!fitted.error.contains("steps of time are longer"), "\(fitted.error)")
        }
    }

    @Test func scoreJudgesEachMachineOfATableByItsOwnPast() throws {
        let runner = try CommandRunner()
        var fleet = Fleet(["a", "b", "c"])
        try runner.folder.write(Self.header + fleet.lines(steps: 200), to: "fleet.csv")
        let fitted = try runner.run(["fit", "-o", "m.model", "--key", "machine", "fleet.csv"])
        #expect(fitted.code == 0, "\(fitted.error)")
        #expect(fitted.error.contains("looks back"), "its past matters: \(fitted.error)")
        let mixed = fleet.lines(steps: 40) { machine, step in machine == 1 && step > 230 }
        func scored(_ lines: String, _ more: [String] = []) throws -> [Substring] {
            let outcome = try runner.run(
                ["score", "--model", "m.model"] + more, input: Self.header + lines)
            #expect(outcome.code == 0 && outcome.error.isEmpty, "\(outcome.error)")
            return outcome.output.split(separator: "\n").dropFirst().map { $0 }
        }
        func ofMachine(_ name: String, _ lines: [Substring]) -> [Substring] {
            lines.filter { $0.split(separator: ",")[1] == name }
        }
        let together = try scored(mixed)
        #expect(together.count == 120)
        for machine in fleet.machines {
            let own = ofMachine(machine, mixed.split(separator: "\n"))
            #expect(
                try scored(own.map { $0 + "\n" }.joined()) == ofMachine(machine, together))
        }
        // Lines of no machine are one more series.
        let nameless = mixed.replacing(",c,", with: ",,")
        #expect(try scored(nameless).map { $0.replacing(",,", with: ",c,") } == together)

        let renamed = try runner.run(
            ["score", "--model", "m.model", "--key", "pump"],
            input: Self.header.replacing("machine", with: "pump") + mixed)
        #expect(renamed.output.split(separator: "\n").dropFirst().elementsEqual(together))
        let unknown = try runner.run(
            ["score", "--model", "m.model", "--key", "pump"], input: Self.header + mixed)
        #expect(unknown.code == 1)
        #expect(unknown.error.contains("expected the column 'pump', found 'time', 'machine'"))
        let keyless = try runner.run(
            ["score", "--model", "m.model"], input: "time,flow,pressure\n1700000000,10,50\n")
        #expect(keyless.code == 0)
        #expect(
            keyless.error == "note: standard input: scored as one series: it has no column "
                + "'machine', by which the model was fitted\n")
    }

    @Test func aReplayFindsWhatTheDaemonFinds() async throws {
        let runner = try CommandRunner()
        let daemon = DaemonProcess(folder: runner.folder)
        var fleet = Fleet(["a", "b", "\"c,d\""])
        try daemon.folder.write(Self.header + fleet.lines(steps: 200), to: "fleet.csv")
        try daemon.configure(
            """
              - name: fleet
                source: {file: fleet.csv}
                key: machine
                fit: {first_after_records: 600, every: never}
                alarm: {false_alarm_probability: 0.001, cooldown: 10s}
            """)
        try await daemon.start()
        // The daemon sees the 600th record before the 601st, as it would have, and fits there.
        try await daemon.wait("the records that waited") {
            try daemon.metric("flowguard_scored_records_total", of: "fleet") == 600
        }
        let more = fleet.lines(steps: 150) { machine, step in
            machine < 2 && (300..<303 + machine).contains(step)
        }
        try daemon.folder.append(more, to: "fleet.csv")
        try await daemon.wait("the others") {
            try daemon.metric("flowguard_scored_records_total", of: "fleet") == 1_050
        }
        let found = try daemon.anomalies("fleet").sorted { $0.id < $1.id }
        _ = try await daemon.stop()
        let outcome = try runner.run([
            "replay", "--config", "flowguard.yaml", "--stream", "fleet", "--records", "r.csv",
            "fleet.csv",
        ])
        #expect(outcome.code == 0, "\(outcome.error)")
        #expect(outcome.output.contains("keys          3, none judged by models of their own"))
        #expect(outcome.output.contains(/KEY +EPISODE/), "\(outcome.output)")
        #expect(found.count >= 7)
        let records = try runner.text("r.csv").split(separator: "\n")
        #expect(records[0] == "record,time,log_likelihood,p_value,anomaly,episode,key")
        #expect(records[3].hasSuffix(",\"c,d\""))
        // The records of a step follow one another.
        let replayed = records.dropFirst().filter { $0.split(separator: ",")[4] == "1" }.map {
            let cells = $0.split(separator: ",", maxSplits: 6).map(String.init)
            let step = ((Int(cells[0]) ?? 0) - 1) / 3
            return "\(cells[6]) \(step) \(cells[5])"
        }
        let told = found.map { anomaly in
            let time = anomaly.recordTime?.timeIntervalSince1970 ?? 0
            let key = anomaly.key == "c,d" ? "\"c,d\"" : anomaly.key ?? ""
            return "\(key) \(Int(time) - 1_700_000_000) \(anomaly.episode ?? 0)"
        }
        #expect(replayed.sorted() == told.sorted())
    }
}
