import Control
import Foundation
import Testing

/// What the commands make of the daemon's answers.
struct CommandDaemonTests {
    let runner: CommandRunner

    init() throws {
        runner = try CommandRunner()
    }

    private typealias Answer = FakeDaemon.Answer

    /// Runs the command against a daemon that gives these answers.
    private func run(
        _ arguments: [String], input: String = "", _ answers: [String: [Answer]]
    ) throws -> (outcome: CommandOutcome, requests: [FakeDaemon.Request]) {
        let daemon = try FakeDaemon(folder: runner.folder, answers)
        defer { daemon.stop() }
        let outcome = try runner.run(
            arguments, input: input, environment: ["FLOWGUARD_SOCKET": daemon.path])
        return (outcome, daemon.requests)
    }

    @Test func statusIsALineAStreamAndWhatNeedsAttention() throws {
        let (outcome, _) = try run(
            ["status"], ["GET /v1/status": [try Answer(CommandStatusExample.report())]])
        #expect(outcome.code == 0)
        #expect(outcome.output.split(separator: "\n").allSatisfy { $0.count <= 80 })
        #expect(!outcome.output.contains("\u{1B}"))
        try Golden.expect(outcome.output, "status")
    }

    @Test func driftSaysWhatIsKnownAndDoesNotContradictItself() throws {
        let steady = DriftMessage.Feature(name: "flow", stabilityIndex: 0.04, isBig: false)
        let moved = DriftMessage.Feature(name: "flow", stabilityIndex: 0.4, isBig: true)
        func line(
            _ features: [DriftMessage.Feature], changed: Bool = false, missing: Int64 = 0,
            isTooEarly: Bool = false
        ) throws -> String {
            var detail = CommandStatusExample.detail()
            detail.status.drift = DriftMessage(
                features: features, scoreEvidenceNats: 0, scoresChanged: changed,
                scoresChangedRecords: 30, featureRecordsMissing: missing,
                isTooEarlyForScores: isTooEarly)
            let (outcome, _) = try run(
                ["status", "pump-7"], ["GET /v1/streams/pump-7": [try Answer(detail)]])
            let text = outcome.output.replacing(#/\n {14}/#, with: " ")
            return try #require(text.firstMatch(of: #/(?m)^drift +(.*)$/#)).1.description
        }
        let most = "flow moved most, PSI 0.04 (0.25 is a big change)"
        #expect(try line([steady]) == "none; \(most); the scores are steady")
        #expect(
            try line([steady], isTooEarly: true) == "\(most); too early to tell of the scores")
        #expect(
            try line([steady], changed: true)
                == "the scores have changed in the last 30 records; \(most)")
        #expect(
            try line([moved], isTooEarly: true)
                == "flow has moved: PSI 0.40 (0.25 is a big change); too early to tell of the scores"
        )
        #expect(
            try line([], missing: 1_200)
                == "too early to tell of the features, 1,200 records to go; the scores are steady")
        #expect(
            try line([], changed: true, missing: 7)
                == "the scores have changed in the last 30 records; "
                + "too early to tell of the features, 7 records to go")
    }

    @Test func statusOfOneStreamIsInDetail() throws {
        let (outcome, _) = try run(
            ["status", "pump-7"],
            ["GET /v1/streams/pump-7": [try Answer(CommandStatusExample.detail())]])
        #expect(outcome.code == 0)
        #expect(outcome.output.split(separator: "\n").allSatisfy { $0.count <= 80 })
        try Golden.expect(outcome.output, "status-stream")
    }

    @Test func historyThatIsReadIsToldWithWhatIsLeft() throws {
        var detail = CommandStatusExample.detail()
        detail.status.learning = LearningProgress(
            have: 900, need: 2_000, etaSecs: nil,
            history: HistoryMessage(
                file: "/var/archive/pump-7-1.csv", filesDone: 3, files: 7, bytesDone: 120_000_000,
                bytes: 2_100_000_000, records: 1_234_567, etaSecs: 100))
        let (outcome, _) = try run(
            ["status", "pump-7"], ["GET /v1/streams/pump-7": [try Answer(detail)]])
        #expect(
            outcome.output.contains(
                """
                learning      reads history, 120 MB of 2.1 GB, 3 of 7 files done, 1,234,567
                              records, about 2 min to go

                """))
    }

    @Test(
        arguments: [
            (nil, 87, "after 87 more records"),
            (1_215, 1, "in 20 min at the earliest, after 1 more record"),
            (1_215, nil, "in 20 min"), (0, nil, "now"),
        ] as [(Double?, Int64?, String)])
    func nextFitIsToldByWhatItWaitsFor(seconds: Double?, records: Int64?, text: String) throws {
        var detail = CommandStatusExample.detail()
        detail.status.nextFitAt = seconds.map { CommandStatusExample.ago(-$0) }
        detail.status.nextFitRecords = records
        let (outcome, _) = try run(
            ["status", "pump-7"], ["GET /v1/streams/pump-7": [try Answer(detail)]])
        #expect(outcome.output.contains("\nnext fit      \(text)\n"), "\(outcome.output)")
    }

    @Test func alarmsOfLessThanADayAreCounted() throws {
        var report = CommandStatusExample.report()
        report.streams = [CommandStatusExample.watching()]
        report.streams[0].measured = MeasuredAlarms(
            perDay: 24, share: 1.0 / 3_600, records: 3_600, days: 1.0 / 24)
        let (outcome, _) = try run(["status"], ["GET /v1/status": [try Answer(report)]])
        #expect(outcome.output.contains("  1 in 60 min  "), "\(outcome.output)")
    }

    /// After `history`, or a first fit that failed, there are more records than are needed.
    @Test func recordsEnoughForTheFirstModelSayWhatTheFitWaitsFor() throws {
        func told(_ change: (inout StreamStatus) -> Void) throws -> String {
            var report = CommandStatusExample.report()
            report.streams = report.streams.filter { $0.state == .learning }
            report.streams[0].learning = LearningProgress(have: 6_500, need: 2_000, etaSecs: 0)
            change(&report.streams[0])
            return try run(["status"], ["GET /v1/status": [try Answer(report)]]).outcome.output
        }
        let next = try told { _ in }
        #expect(!next.contains("%"), "\(next)")
        #expect(
            next.hasSuffix("learn: host: 6,500 records for the first model, the fit comes next\n"))
        let failed = try told { $0.nextFitRecords = 1_625 }
        #expect(
            failed.hasSuffix(
                "6,500 records for the first model, the next fit after 1,625 more\n       records\n"
            ), "\(failed)")
    }

    @Test func jsonIsTheDaemonsOwn() throws {
        let answer = try Answer(CommandStatusExample.report())
        let (outcome, _) = try run(["status", "--json"], ["GET /v1/status": [answer]])
        #expect(outcome.output == String(decoding: answer.body, as: UTF8.self) + "\n")
    }

    @Test func refusalOfTheDaemonIsToldWithItsHint() throws {
        let refusal = try Answer(
            ErrorReply(error: "there is no stream 'x'", hint: "the streams are: pump-7"),
            status: 404)
        let (outcome, _) = try run(["status", "x"], ["GET /v1/streams/x": [refusal]])
        #expect(outcome.code == 1)
        #expect(
            outcome.error == "error: there is no stream 'x'\nhint:  the streams are: pump-7\n")
    }

    @Test func answerOfAnotherVersionIsNamed() throws {
        let (outcome, _) = try run(
            ["status"], ["GET /v1/status": [Answer(body: Data(#"{"flow":1}"#.utf8))]])
        #expect(outcome.code == 1)
        #expect(
            outcome.error.hasSuffix(
                """
                : expected a StatusReport of flowguardd \(FlowguardVersion.current), found another \
                answer
                hint:  install flowguardd and flowguardctl of one version

                """))
    }

    private func anomalies() -> Data {
        var lines = Data()
        for (id, episode, pValue) in [(4_711, 88, 3.1e-7), (4_712, 88, 2e-5), (4_713, 89, 4e-4)] {
            var message = CommandMessageTests.message
            message.id = Int64(id)
            message.episode = Int64(episode)
            message.beginsEpisode = id == 4_712 ? nil : true
            message.pValue = pValue
            lines += Data(message.line) + Data("\n".utf8)
            // What keeps the connection open is no anomaly.
            lines += Data("\n".utf8)
        }
        return lines
    }

    @Test func tailIsALineAnAnomalyAndMarksEpisodes() throws {
        let (outcome, _) = try run(
            ["tail", "pump-7", "-n", "3"],
            ["GET /v1/streams/pump-7/anomalies?latest=3": [Answer(body: anomalies())]])
        #expect(outcome.code == 0)
        try Golden.expect(outcome.output, "tail")
    }

    @Test func tailThatBeginsWithinAnEpisodeSaysSo() throws {
        let lines = anomalies().split(separator: UInt8(ascii: "\n"))
        let rest = Data(lines[1...].joined(separator: Data("\n".utf8)))
        let (outcome, _) = try run(
            ["tail", "-n", "2"], ["GET /v1/anomalies?latest=2": [Answer(body: rest)]])
        let marks = outcome.output.split(separator: "\n").map {
            $0.firstMatch(of: #/  ([!|]) \[episode (\d+)\] /#).map { "\($0.1)\($0.2)" }
        }
        #expect(marks == ["|88", "!89"], "\(outcome.output)")
    }

    @Test func tailAsJSONIsTheLogsLines() throws {
        let (outcome, _) = try run(
            ["tail", "--json"], ["GET /v1/anomalies?latest=10": [Answer(body: anomalies())]])
        let expected = String(decoding: anomalies(), as: UTF8.self)
            .replacing("\n\n", with: "\n")
        #expect(outcome.output == expected)
    }

    @Test(.timeLimit(.minutes(5)))
    func followedTailGoesOnAfterTheDaemonComesBack() throws {
        let lines = anomalies().split(separator: UInt8(ascii: "\n"))
        let first = lines[0] + Data("\n".utf8)
        let second = lines[1] + Data("\n".utf8)
        let daemon = try FakeDaemon(
            folder: runner.folder,
            [
                "GET /v1/anomalies?latest=1&follow=true": [Answer(body: Data(first))],
                "GET /v1/anomalies?after=4711&follow=true": [Answer(body: Data(second))],
            ])
        defer { daemon.stop() }
        let process = runner.process(
            ["tail", "-f", "-n", "1", "--json"], environment: ["FLOWGUARD_SOCKET": daemon.path])
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        var text = Data()
        while text.count(where: { $0 == UInt8(ascii: "\n") }) < 2 {
            text += output.fileHandleForReading.availableData
        }
        process.terminate()
        process.waitUntilExit()
        #expect(text == Data(first + second))
    }

    @Test func explainShowsValuesBesideExpectedOnes() throws {
        let answer = Answer(body: Data(CommandMessageTests.message.line))
        let (outcome, _) = try run(["explain", "4711"], ["GET /v1/anomalies/4711": [answer]])
        #expect(outcome.code == 0)
        try Golden.expect(outcome.output, "explain")
    }

    @Test func labelIsSentAndToldWithItsLike() throws {
        var reply = LabelReply(
            anomaly: 4_711, stream: "pump-7", label: "false-alarm", note: "cleaning", episode: 88,
            episodeAnomalies: 14, likeInEpisode: 12,
            like: "anomalies that are due to pressure at most 6 above the expected value alone")
        let path = "/v1/anomalies/4711/label"
        let (alarm, sent) = try run(
            ["label", "4711", "false-alarm", "--note", "cleaning"],
            ["PUT \(path)": [try Answer(reply)]]
        )
        #expect(
            alarm.output == """
                anomaly 4711 of pump-7 is a false alarm. No alarm any more: anomalies that are
                due to pressure at most 6 above the expected value alone.
                12 of the 14 anomalies of episode 88 are like it; their records enter the next
                fit.

                """)
        #expect(
            sent == [
                .init(line: "PUT \(path)", body: #"{"label":"false-alarm","note":"cleaning"}"#)
            ])
        reply.label = "true"
        #expect(
            try run(["label", "4711", "true"], ["PUT \(path)": [try Answer(reply)]]).outcome.output
                == """
                anomaly 4711 of pump-7 is a true alarm. The records of episode 88 stay out of
                the fits.

                """)
        reply.label = nil
        #expect(
            try run(["label", "4711", "--undo"], ["DELETE \(path)": [try Answer(reply)]]).outcome
                .output == "anomaly 4711 of pump-7 is not labelled any more.\n")
        #expect(
            try run(["label", "4711"], [:]).outcome.error.hasPrefix(
                "error: expected one of false-alarm, true and --undo, found none"))
    }

    @Test func labelledAnomalyIsMarked() throws {
        var message = CommandMessageTests.message
        message.label = "false-alarm"
        message.note = "cleaning"
        let answer = Answer(body: Data(message.line))
        let explained = try run(["explain", "4711"], ["GET /v1/anomalies/4711": [answer]]).outcome
        #expect(explained.output.contains("\nlabel       a false alarm: cleaning\n"))
        let tail = try run(["tail"], ["GET /v1/anomalies?latest=10": [answer]]).outcome
        #expect(tail.output.contains("[false alarm] [episode 88] pressure 9.1"))
    }

    private func fit(_ state: String, ended: Bool) -> FitMessage {
        FitMessage(
            id: 41, state: state, trigger: "requested", queuedAt: CommandStatusExample.ago(10),
            startedAt: CommandStatusExample.ago(9),
            endedAt: ended ? CommandStatusExample.ago(0) : nil, message: "told why")
    }

    private func detail(_ fit: FitMessage, fraction: Double?) throws -> Answer {
        var detail = CommandStatusExample.detail()
        detail.fits = [fit]
        detail.status.fit = fraction.map {
            FitProgressMessage(
                id: 41, state: "running", phase: "training", step: 1, stepLimit: 2, fraction: $0)
        }
        return try Answer(detail)
    }

    @Test(arguments: [("accepted", 0), ("rejected", 0), ("failed", 1), ("interrupted", 1)])
    func retrainWaitsForTheOutcome(state: String, code: Int32) throws {
        let (outcome, _) = try run(
            ["retrain", "pump-7", "--wait"],
            [
                "POST /v1/streams/pump-7/retrain": [
                    try Answer(
                        RetrainReply(stream: "pump-7", fit: 41, wasUnderway: false), status: 202)
                ],
                "GET /v1/streams/pump-7": [
                    try detail(fit("running", ended: false), fraction: 0.3),
                    try detail(fit("running", ended: false), fraction: 0.8),
                    try detail(fit(state, ended: true), fraction: nil),
                ],
            ])
        #expect(outcome.code == code)
        #expect(outcome.output.hasPrefix("pump-7: fit 41 \(state) "))
        #expect(outcome.output.hasSuffix(" ago after 9 s: told why\n"))
        #expect(outcome.error == "training 30%\ntraining 80%\n")
    }

    @Test func retrainWithoutWaitingNamesTheFit() throws {
        let reply = RetrainReply(stream: "pump-7", fit: 41, wasUnderway: true)
        let answers = ["POST /v1/streams/pump-7/retrain": [try Answer(reply, status: 202)]]
        #expect(
            try run(["retrain", "pump-7"], answers).outcome.output
                == "pump-7: fit 41 was already under way; see flowguardctl status pump-7\n")
        #expect(
            try run(["retrain", "pump-7", "--json"], answers).outcome.output
                == #"{"fit":41,"stream":"pump-7","was_underway":true}"# + "\n")
    }

    @Test(arguments: [
        (["set", "pump-7", "--log-likelihood", "-25.5"], #"{"log_likelihood":-25.5}"#),
        (["set", "pump-7", "--false-alarms-per-day", "3"], #"{"false_alarms_per_day":3}"#),
        (
            ["set", "pump-7", "--false-alarm-probability", "1e-5"],
            #"{"false_alarm_probability":1e-05}"#
        ),
        (["reset", "pump-7"], #"{"reset":true}"#),
    ])
    func thresholdChangeIsSentAndShown(arguments: [String], body: String) throws {
        let report = ThresholdReport(
            stream: "pump-7", current: CommandStatusExample.threshold(),
            asked: AlarmRate(perDay: 2, probability: 2.3e-6),
            measured: MeasuredAlarms(
                perDay: 3.14, share: 3.6e-6, records: 1_234_000, days: 1.43),
            earlier: [CommandStatusExample.threshold()])
        let (outcome, requests) = try run(
            ["threshold"] + arguments,
            ["PUT /v1/streams/pump-7/threshold": [try Answer(report)]])
        #expect(outcome.code == 0)
        #expect(requests == [.init(line: "PUT /v1/streams/pump-7/threshold", body: body)])
        try Golden.expect(outcome.output, "threshold")
    }

    @Test func noAlarmsAreNone() throws {
        let report = ThresholdReport(
            stream: "pump-7", current: nil, asked: AlarmRate(perDay: 2, probability: 2.3e-6),
            measured: MeasuredAlarms(perDay: 0, share: 0, records: 600), earlier: [])
        let (outcome, _) = try run(
            ["threshold", "show", "pump-7"],
            ["GET /v1/streams/pump-7/threshold": [try Answer(report)]])
        #expect(
            outcome.output.contains("\nmeasured  0 a day, 0 of the records over 600 records\n"),
            "\(outcome.output)")
    }

    @Test func modelsAreListedShownAndActivated() throws {
        var rejected = CommandStatusExample.model(id: 13)
        rejected.state = "rejected"
        rejected.reason = "it does not explain the newest data better: -3.4000 against -3.2500 nats"
        rejected.fittedAt = Date(timeIntervalSince1970: 1_795_472_645)
        rejected.file = nil
        var serving = CommandStatusExample.model()
        serving.fittedAt = Date(timeIntervalSince1970: 1_795_400_000)
        serving.activatedAt = serving.fittedAt
        let list = ModelList(stream: "pump-7", models: [rejected, serving])
        let answers = [
            "GET /v1/streams/pump-7/models": [try Answer(list)],
            "GET /v1/streams/pump-7": [try Answer(CommandStatusExample.detail())],
            "GET /v1/streams/pump-7/models/12": [try Answer(serving)],
            "POST /v1/streams/pump-7/models/12/activate": [try Answer(serving)],
        ]
        try Golden.expect(try run(["model", "list", "pump-7"], answers).outcome.output, "models")
        try Golden.expect(try run(["model", "show", "pump-7"], answers).outcome.output, "model")
        #expect(
            try run(["model", "activate", "pump-7", "12"], answers).outcome.output
                == "pump-7: model 12 serves\n")
    }

    @Test func exportedModelScoresAsTheStreamDoes() throws {
        _ = try runner.run(["fit", "-o", "m.model"], input: CommandRecords.csv(600))
        let file = try runner.bytes("m.model")
        var detail = CommandStatusExample.detail()
        detail.status.threshold?.kind = "manual"
        detail.status.threshold?.logLikelihood = 1_000
        detail.status.threshold?.upperLogLikelihood = nil
        let answers = [
            "GET /v1/streams/pump-7": [try Answer(detail)],
            "GET /v1/streams/pump-7/models/12/file": [Answer(body: file)],
        ]
        let (export, _) = try run(["model", "export", "pump-7", "-o", "copy.model"], answers)
        #expect(export.code == 0)
        #expect(export.error.hasPrefix("copy.model: model 12 of pump-7, "))
        #expect(try runner.bytes("copy.model") == file)
        let input = CommandRecords.csv(5)
        let alone = try runner.run(["score", "--model", "copy.model"], input: input)
        let (stream, _) = try run(
            ["score", "--stream", "pump-7", "--fail-on-anomaly"], input: input, answers)
        // The daemon's threshold takes every record for an anomaly.
        #expect(stream.code == 2)
        #expect(
            stream.output.split(separator: "\n").dropFirst().map { $0.dropLast() }
                == alone.output.split(separator: "\n").dropFirst().map { $0.dropLast() })
        #expect(stream.output.split(separator: "\n").dropFirst().allSatisfy { $0.hasSuffix(",1") })
    }

    @Test func streamWithoutAModelIsNamed() throws {
        var detail = CommandStatusExample.detail()
        detail.status.model = nil
        let (outcome, _) = try run(
            ["score", "--stream", "pump-7"], input: "a\n1\n",
            ["GET /v1/streams/pump-7": [try Answer(detail)]])
        #expect(outcome.code == 1)
        #expect(
            outcome.error == """
                error: stream 'pump-7' has no model yet
                hint:  flowguardctl status pump-7 tells how far it is

                """)
        let (ofKey, _) = try run(
            ["model", "show", "pumps/b b"],
            ["GET /v1/streams/pumps%2Fb%20b": [try Answer(detail)]])
        #expect(
            ofKey.error.hasSuffix(
                "\nhint:  flowguardctl status 'pumps/b b' tells how far it is\n"))
    }
}
