import Control
import Foundation
import Store
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(20))) struct DaemonFitTests {
    @Test func aFitIsJudgedOnUsableRecordsWhileAnEpisodeGoesOn() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        // The newest tenth lies inside one episode, and is less than a fifth of all.
        try daemon.folder.append(data.lines(500) + data.lines(150) { _ in true }, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 1_250 }
        #expect(try daemon.stream()?.openEpisode != nil)
        let fit = try await daemon.retrain()
        let message = try #require(fit.message)
        #expect(["accepted", "rejected"].contains(fit.state), "\(message)")
        #expect(message.contains("on the newest 1"), "\(message)")
    }

    @Test func ofAFileThatIsThereTheFirstModelLearnsTheBeginning() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        let text = data.lines(3_000) {
            (1_000..<1_200).contains($0) || (2_000..<2_200).contains($0)
        }
        try daemon.folder.write(PumpData.header + text, to: "pump.csv")
        try daemon.configure(DaemonLifeTests.pump.replacing("every: never", with: "every: 1h"))
        try await daemon.start()
        // What came after its records is judged, not learned; and since there is so much of that, the next fit comes at once.
        try await daemon.wait("a second fit") { try daemon.stream()?.lastFit?.id == 2 }
        #expect(daemon.errorText.contains("the first model, from 500 records"))
        #expect(try daemon.stream()?.lastFit?.trigger == "growth")
        let rows = Set(
            try daemon.anomalies().compactMap { $0.recordTime?.timeIntervalSince1970 }
                .map { Int($0) - 1_700_000_000 })
        #expect(rows.intersection(1_000..<1_200).count > 150, "\(rows.count)")
        #expect(rows.intersection(2_000..<2_200).count > 150, "\(rows.count)")
        #expect(rows.count < 480, "\(rows.count)")
    }

    @Test func aFitRightAfterTheFirstSaysThatThereIsLittleNew() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        let fit = try await daemon.retrain()
        #expect(fit.state == "rejected")
        #expect(
            fit.message?.hasSuffix(
                "; too few records are new: the serving model has learned from 100 of these")
                == true, "\(fit)")
    }

    @Test func aFitWhoseModelCannotBeStoredFails() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        try daemon.folder.append(data.lines(400), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 1_000 }
        let models = daemon.folder.file("state/models/pump")
        rename(models, models + ".aside")
        try daemon.folder.write("a file", to: "state/models/pump")
        let fit = try await daemon.retrain()
        #expect(fit.state == "failed")
        #expect(
            fit.message == "its model cannot be stored: \(models): make folder: Not a directory")
        #expect(fit.model == nil)
        let stream = try #require(try daemon.stream())
        #expect(stream.model?.id == 1)
        #expect(stream.lastError?.message == fit.message)

        unlink(models)
        rename(models + ".aside", models)
        let next = try await daemon.retrain()
        #expect(["accepted", "rejected"].contains(next.state), "\(next)")
        // The fit that failed took one number, however often it tried.
        #expect(next.model == 3)
    }

    @Test func aModelOfTheDaemonCanBeGoneOnFromWithoutIt() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        let path = daemon.folder.file("state/models/pump/1.safetensors")
        let command = try CommandRunner()
        try daemon.folder.write(PumpData.header + data.lines(700), to: "more.csv")
        let outcome = try command.run([
            "fit", "--output", "m.model", "--from", path, daemon.folder.file("more.csv"),
        ])
        #expect(outcome.code == 0, "\(outcome.error)")
        #expect(outcome.error.contains("\nbegan      from the flows of the former model\n"))
    }

    @Test func aFitWithoutUsableRecordsTellsThatTheUserKeepsThemOut() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        try daemon.configure(
            DaemonLifeTests.pump.replacing(
                "every: never}",
                with:
                    "every: never, exclude: [{from: 2000-01-01T00:00:00Z, to: 2100-01-01T00:00:00Z}]}"
            ))
        daemon.signal(SIGHUP)
        try await daemon.wait("the reload") { daemon.errorText.contains("configuration reloaded") }
        let fit = try await daemon.retrain()
        #expect(fit.state == "failed")
        #expect(
            fit.message?.hasSuffix("; 600 records were kept out by the user") == true, "\(fit)")
    }

    @Test func aStreamThatHasNotReadItsStateHasNoCounters() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        #expect(try daemon.metric("flowguard_records_total") == 600)
        #expect(try await daemon.stop().code == 0)
        let windows = daemon.folder.file("state/windows")
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: windows).first)
        rename(windows + "/" + name, windows + "/aside")
        mkdir(windows + "/" + name, 0o755)
        try await daemon.start()
        let failing = "flowguard_stream_state{stream=\"pump\",state=\"failing\"} 1\n"
        try await daemon.wait("the problem") { try daemon.get("/metrics").text.contains(failing) }
        for name in ["records", "scored_records", "anomalies", "lost_lines", "batches"] {
            #expect(try daemon.metric("flowguard_\(name)_total") == nil, "\(name)")
        }
        rmdir(windows + "/" + name)
        rename(windows + "/aside", windows + "/" + name)
        let records = try await daemon.wait("the state") {
            try daemon.metric("flowguard_records_total")
        }
        #expect(records == 600)
    }

    @Test func damagedRecordsOfTheWindowAreLeftOutAndTold() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        _ = try await daemon.startWithModel()
        #expect(try await daemon.stop().code == 0)
        let windows = daemon.folder.file("state/windows")
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: windows).first)
        let file = try FileHandle(
            forUpdating: URL(fileURLWithPath: windows + "/" + name))
        // A row of the pump has 48 bytes: this is in the 100th and the 101st.
        try file.seek(toOffset: 4_096 + 100 * 48 - 8)
        try file.write(contentsOf: Data(repeating: 0x5A, count: 16))
        try file.close()
        try await daemon.start()
        try await daemon.wait("the model") { try daemon.stream()?.state == .watching }
        let fit = try await daemon.retrain()
        #expect(
            fit.message?.contains("; 2 records of the training window are damaged or missing")
                == true,
            "\(fit)")
    }

    @Test func aModelPutIntoServiceDuringAFitStays() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        _ = try await daemon.retrain()
        let serving = try #require(try daemon.stream()?.model?.id)
        let other: Int64 = serving == 1 ? 2 : 1
        try daemon.folder.append(data.lines(20_000), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 20_600 }
        #expect(try daemon.request("POST", "/v1/streams/pump/retrain").status == 202)
        try await daemon.wait("a running fit") { try daemon.stream()?.fit?.state == "running" }
        let reply = try daemon.request("POST", "/v1/streams/pump/models/\(other)/activate")
        #expect(reply.status == 200)
        #expect(try daemon.stream()?.fit != nil, "the fit was still under way")
        let fit = try await daemon.wait("the end of the fit") {
            try daemon.stream().flatMap { $0.fit == nil ? $0.lastFit : nil }
        }
        #expect(fit.state == "rejected")
        #expect(
            fit.message == "another model was put into service while this one was fitted",
            "\(fit)")
        #expect(try daemon.stream()?.model?.id == other)
    }

    /// Batches of a file are decoded and scored ahead, under the model and with the past that they then turn out to have.
    @Test func recordsOfManyBatchesHaveTheScoresOfTheirModels() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        _ = try await daemon.retrain()
        let first = try #require(try daemon.stream()?.model?.id)
        let second: Int64 = first == 1 ? 2 : 1
        func append(_ count: Int) throws {
            try daemon.folder.append(data.lines(count) { $0 % 400 == 0 }, to: "pump.csv")
        }
        try append(50_000)
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 50_600 }
        // The change comes before, within or behind these batches.
        try append(100_000)
        let reply = try daemon.request("POST", "/v1/streams/pump/models/\(second)/activate")
        #expect(reply.status == 200)
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 150_600 }
        try append(50_000)
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 200_600 }
        let anomalies = try daemon.anomalies()
        #expect(anomalies.count > 400)
        for model in [first, second] {
            let outcome = try CommandRunner().run([
                "score", "--model", daemon.folder.file("state/models/pump/\(model).safetensors"),
                "--output-format", "scores", daemon.folder.file("pump.csv"),
            ])
            let scores = outcome.output.split(separator: "\n").map { Double($0) ?? .nan }
            #expect(scores.count == 200_600)
            let own = anomalies.filter { $0.model == model }
            #expect(own.count > 10, "\(own.count) of model \(model)")
            for anomaly in own {
                let row = Int(try #require(anomaly.recordTime).timeIntervalSince1970)
                let score = scores[row - 1_700_000_000]
                #expect(abs(score - anomaly.logLikelihood) < 1e-3, "row \(row)")
            }
        }
    }

    @Test func constantRecordsHoldTheSourceUntilThereIsSomethingToLearn() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(
            PumpData.header + (0..<100).map { "\($0),1,2,3\n" }.joined(), to: "pump.csv")
        try daemon.configure(
            """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 100, window_records: 1000}
            """)
        try await daemon.start()
        let failed = try await daemon.wait("a failed fit") {
            try daemon.stream().flatMap { $0.lastFit?.state == "failed" ? $0.lastError : nil }
        }
        #expect(failed.message.contains("every feature has a single value"))
        try daemon.folder.append(data.lines(30_000), to: "pump.csv")
        try await daemon.wait("a full window") {
            try daemon.stream().map { $0.recordsTotal >= 1_000 }
        }
        #expect(try await daemon.retrain().state == "accepted")
        try await daemon.wait("all records") { try daemon.stream()?.recordsTotal == 30_100 }
        #expect(try daemon.stream()?.unscoredTotal == 0)
        #expect(try daemon.metric("flowguard_scored_records_total") == 30_100)
    }

    @Test func aModelThatCannotBeReadIsFittedAnewAtOnce() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        #expect(try await daemon.stop().code == 0)
        let model = daemon.folder.file("state/models/pump/1.safetensors")
        let aside = daemon.folder.file("aside")
        try FileManager.default.moveItem(atPath: model, toPath: aside)
        try daemon.folder.append(data.lines(50) { $0 == 620 }, to: "pump.csv")
        try await daemon.start()
        try await daemon.wait("the next model") { try daemon.stream()?.model?.id == 2 }
        #expect(daemon.errorText.contains("serving model cannot be read"))
        // What has waited for it is scored, and nothing is wrong any more.
        try await daemon.wait("the scores") {
            try daemon.metric("flowguard_scored_records_total") == 650
        }
        try await daemon.wait("the end of the message") { try daemon.stream()?.lastError == nil }
        #expect(
            try daemon.anomalies().contains {
                $0.recordTime == Date(timeIntervalSince1970: 1_700_000_620)
            })
    }

    @Test func aFitOfATimeThatIsStillToComeHoldsUpNoOther() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        #expect(try await daemon.stop().code == 0)
        // As if the clock had been three days ahead.
        let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
        var checkpoint = try #require(try store.checkpoint(stream: "pump"))
        var state = try #require(
            JSONSerialization.jsonObject(with: Data(checkpoint.state)) as? [String: Any])
        state["lastFitAt"] = Date().timeIntervalSince1970 + 3 * 86_400
        checkpoint.state = try Array(JSONSerialization.data(withJSONObject: state))
        _ = try store.commit(StreamCommit(stream: "pump", checkpoint: checkpoint))
        try store.close()
        try daemon.configure(DaemonLifeTests.pump.replacing("every: never", with: "every: 1h"))
        try daemon.folder.append(data.lines(200), to: "pump.csv")
        try await daemon.start()
        let fit = try await daemon.wait("a fit") {
            try daemon.stream()?.lastFit.flatMap { $0.id == 2 ? $0 : nil }
        }
        #expect(fit.trigger == "periodic")
    }

    @Test func aStopAndAReloadDoNotWaitForTheFitOfAnotherStream() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        let long = PumpData.header + data.lines(40_000)
        try daemon.folder.write(long, to: "pump.csv")
        try daemon.folder.write(long, to: "other.csv")
        let pump = """
              - name: pump
                source: {file: pump.csv}
                fit: {first_after_records: 40000}
            """
        let other = """

              - name: other
                source: {file: other.csv}
                fit: {first_after_records: 40000}
            """
        try daemon.configure(pump + other)
        try await daemon.start()
        let waiting = try await daemon.wait("a fit that waits for another") { () -> String? in
            let fits = try daemon.status().streams.map { ($0.name, $0.fit?.state) }
            guard fits.contains(where: { $0.1 == "running" }) else { return nil }
            return fits.first { $0.1 == "queued" }?.0
        }
        // The stream that waits goes; the other's fit goes on.
        try daemon.configure(waiting == "pump" ? other : pump)
        daemon.signal(SIGHUP)
        try await daemon.wait("the end of a stream") { try daemon.stream(waiting) == nil }
        #expect(try daemon.status().streams.first?.fit?.state == "running")
        #expect(try await daemon.stop().took < .seconds(30))
        let store = try StateStore(path: daemon.folder.file("state/flowguard.sqlite"))
        for name in ["pump", "other"] {
            #expect(try store.fits(stream: name, limit: 1).first?.state == .cancelled, "\(name)")
        }
    }

    @Test func aFitThatAReloadCutsOffBeginsAnew() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        try daemon.folder.append(data.lines(20_000), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 20_600 }
        let cut = try ControlJSON.decode(
            RetrainReply.self, from: daemon.request("POST", "/v1/streams/pump/retrain").body
        ).fit
        try await daemon.wait("a running fit") { try daemon.stream()?.fit?.state == "running" }
        try daemon.configure(
            DaemonLifeTests.pump.replacing(
                "false_alarm_probability: 0.0001", with: "false_alarm_probability: 0.0002"))
        daemon.signal(SIGHUP)
        let next = try await daemon.wait("another fit's end") {
            try daemon.detail().fits.first { $0.id > cut && $0.isEnded }
        }
        #expect(next.trigger == "requested")
        #expect(["accepted", "rejected"].contains(next.state), "\(next)")
        let first = try #require(try daemon.detail().fits.first { $0.id == cut })
        #expect(first.state == "cancelled")
        #expect(first.message == "the configuration was reloaded")
        // It was asked for once.
        #expect(try daemon.detail().fits.count { $0.id > cut } == 1)
    }

    /// What is measured is what there was of late: neither another model nor the way back begins anew, a person's choice does.
    @Test func alarmsAreMeasuredOverWhateverModelsServed() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = try await daemon.startWithModel()
        #expect(try daemon.stream()?.measured?.records == 600)
        try daemon.folder.append(data.lines(1_400) { $0 % 100 == 50 }, to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 2_000 }
        let before = try #require(try daemon.stream()?.measured)
        #expect(before.records == 2_000)
        #expect(before.share > 0)
        let rate = try #require(before.perDay) / before.share
        #expect(abs(try #require(before.days) * rate - 2_000) < 1)
        _ = try await daemon.retrain()
        for model in [2, 1, 2] {
            let path = "/v1/streams/pump/models/\(model)/activate"
            #expect(try daemon.request("POST", path).status == 200)
            let after = try #require(try daemon.stream()?.measured)
            #expect((after.records, after.share) == (before.records, before.share), "\(model)")
        }
        for (body, isOther) in [
            (#"{"false_alarms_per_day":3}"#, true), (#"{"false_alarms_per_day":3}"#, false),
            (#"{"reset":true}"#, true),
        ] {
            let total = try #require(try daemon.stream()?.recordsTotal) + 100
            try daemon.folder.append(data.lines(100), to: "pump.csv")
            try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == total }
            let path = "/v1/streams/pump/threshold"
            #expect(try daemon.request("PUT", path, body: Array(body.utf8)).status == 200)
            #expect((try daemon.stream()?.measured == nil) == isOther, "\(body)")
        }
    }

    @Test func theNextFitIsToldByItsTimeAndByTheRecordsThatItWaitsFor() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        try daemon.folder.write(PumpData.header + data.lines(600), to: "pump.csv")
        try daemon.configure(
            DaemonLifeTests.pump.replacing("every: never", with: "every: 1h")
                .replacing("first_after_records: 500", with: "first_after_records: 600"))
        try await daemon.start()
        let early = try await daemon.wait("a model") {
            try daemon.stream().flatMap { $0.state == .watching ? $0 : nil }
        }
        #expect(early.nextFitRecords == 100)
        #expect(try #require(early.nextFitAt).timeIntervalSinceNow > 3_500)
        try daemon.folder.append(data.lines(40), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 640 }
        #expect(try daemon.stream()?.nextFitRecords == 60)
        try daemon.folder.append(data.lines(60), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 700 }
        #expect(try daemon.stream()?.nextFitRecords == nil)
        #expect(try daemon.stream()?.nextFitAt != nil)

        // Once its time has come, it waits for records alone.
        _ = try await daemon.retrain()
        try daemon.configure(DaemonLifeTests.pump.replacing("every: never", with: "every: 1s"))
        daemon.signal(SIGHUP)
        let late = try await daemon.wait("the time of a fit") {
            try daemon.stream().flatMap {
                $0.nextFitRecords != nil && $0.nextFitAt == nil ? $0 : nil
            }
        }
        #expect(late.nextFitRecords == 100)
        #expect(late.fit == nil)
    }

    @Test func wrongTimesNeitherEndTheDaemonNorTheDetection() async throws {
        let daemon = DaemonProcess(folder: try TemporaryDirectory())
        var data = PumpData()
        // Nothing can be told from these times, and one of them lies a thousand years ahead.
        let lines = data.lines(600).split(separator: "\n").enumerated().map { index, line in
            let rest = line.drop { $0 != "," }
            return "\(index % 2 == 0 ? "0" : "1e-300")\(rest)\n"
        }
        try daemon.folder.write(PumpData.header + lines.prefix(500).joined(), to: "pump.csv")
        try daemon.configure(
            "  - {name: pump, source: {file: pump.csv}, fit: {first_after_records: 500}}")
        try await daemon.start()
        try await daemon.wait("a model") { try daemon.stream()?.state == .watching }
        #expect(
            try daemon.stream()?.threshold?.reason
                == "2 false alarms a day at one record a second, the rate is not measured yet")
        let reply = try daemon.request(
            "PUT", "/v1/streams/pump/threshold",
            body: Array(#"{"false_alarms_per_day":100000}"#.utf8))
        #expect(
            try ControlJSON.decode(ThresholdReport.self, from: reply.body).current?.reason
                == "set by hand: 100000 false alarms a day at one record a second, the rate is not "
                + "measured yet, held to 0.1 of the records")
        #expect(
            try daemon.request(
                "PUT", "/v1/streams/pump/threshold", body: Array(#"{"reset":true}"#.utf8)
            ).status == 200)
        let fault = "33000000000,10,90,0\n"
        try daemon.folder.append(fault + lines.suffix(100).joined(), to: "pump.csv")
        try await daemon.wait("the records") { try daemon.stream()?.recordsTotal == 601 }
        #expect(try daemon.stream()?.anomaliesTotal ?? 0 >= 1)
        #expect(try daemon.stream()?.openEpisode == nil, "the next record ends the episode")

        for (body, problem) in [
            ("1e19", "expected at most 1000000, found 1e+19"),
            ("1000001", "expected at most 1000000, found 1000001.0"),
            ("0", "expected a number above 0, found 0.0"),
        ] {
            let reply = try daemon.request(
                "PUT", "/v1/streams/pump/threshold",
                body: Array("{\"false_alarms_per_day\":\(body)}".utf8))
            #expect(reply.status == 400)
            #expect(reply.text == "{\"error\":\"false_alarms_per_day: \(problem)\"}\n")
        }
        #expect(daemon.isRunning)
    }
}
