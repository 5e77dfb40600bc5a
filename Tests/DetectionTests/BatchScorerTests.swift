import Detection
import Foundation
import Ingest
import Testing

@Suite struct BatchScorerTests {
    private func batch(_ lines: [String], header: String?) -> LineBatch {
        var bytes: [UInt8] = []
        var places: [LineBatch.Line] = []
        for (i, line) in lines.enumerated() {
            places.append(
                LineBatch.Line(
                    start: bytes.count, count: line.utf8.count, offset: Int64(bytes.count),
                    number: Int64(i + 2), isOversize: false))
            bytes += Array(line.utf8) + [0x0A]
        }
        return LineBatch(
            bytes: bytes, lines: places, input: 1, inputName: "test",
            header: header.map { Array($0.utf8) }, isLast: false, resume: nil)
    }

    private func run(
        _ lines: [String], header: String? = nil, format: RecordFormat,
        output: BatchScorer.Output, explains: Bool = false
    ) throws -> (text: [String], result: BatchScorer.Result) {
        let detector = try Fixture.machineDetector.get()
        var scorer = BatchScorer(
            detector: detector, threshold: detector.threshold(falseAlarmProbability: 1e-3),
            format: FormatOptions(format: format), output: output, explains: explains)
        let result = try scorer.process(batch(lines, header: header))
        let text = String(decoding: result.output, as: UTF8.self)
        return (
            text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init), result
        )
    }

    private let header = "name,power,\"load\",speed,level,mode"
    private let lines = [
        "\"a, b\",70.1,20,50,10,3", "x,73,20,50,10,3", "x,n/a,20,50,10,3", "x,70,20,50,10,3",
    ]

    @Test func csvKeepsEveryColumnAndLineAndAddsTheScores() throws {
        let (text, result) = try run(lines, header: header, format: .csv, output: .csv)
        #expect(text.count == 6 && text[5].isEmpty)
        #expect(text[0] == header + ",log_likelihood,p_value,anomaly")
        for i in 0..<4 { #expect(text[i + 1].hasPrefix(lines[i] + ",")) }
        #expect(text[1].hasSuffix(",0"))
        #expect(text[2].hasSuffix(",1"))
        #expect(text[3] == lines[2] + ",,,")
        #expect(result.anomalyCount == 1 && result.scoredCount == 3 && result.faults.count == 1)
        #expect(result.faults[0].column == "power")
    }

    @Test func whatTheOutputAddsStandsInForTheInputsOwn() throws {
        let twice = "anomaly," + header + ",p_value"
        let rows = lines.map { "7," + $0 + ",\"8, 9\"" }
        let (once, _) = try run(lines, header: header, format: .csv, output: .csv)
        let (again, _) = try run(rows, header: twice, format: .csv, output: .csv)
        #expect(again[0] == once[0].replacing("\"", with: ""))
        #expect(again.dropFirst() == once.dropFirst())
        let json = [
            #"{"anomaly":1,"speed":50,"load":20,"power":70,"mode":3,"level":10,"reason":"x"}"#,
            #"{"speed":50,"p_v\u0061lue":2}"#,
        ]
        let (members, _) = try run(json, format: .ndjson, output: .ndjson)
        #expect(
            members[0].hasPrefix(
                #"{"speed":50,"load":20,"power":70,"mode":3,"level":10,"log_likelihood":-"#),
            "\(members[0])")
        #expect(members[0].hasSuffix(#""anomaly":false}"#))
        #expect(members[1].hasPrefix(#"{"speed":50,"log_likelihood":null,"p_value":null,"#))
        let points = [
            #"m,anomaly=a,t=b anomaly="x, y",speed=50,load=20,power=70,p_value=1,mode=3,level=10 9"#,
            #"m,t=b anomaly=1"#,
        ]
        let (kept, _) = try run(points, format: .influx, output: .influx)
        #expect(
            kept[0].hasPrefix(
                "m,t=b speed=50,load=20,power=70,mode=3,level=10,log_likelihood=-"), "\(kept[0])")
        #expect(kept[0].hasSuffix(",anomaly=false 9"))
        #expect(kept[1] == points[1])
    }

    @Test func aLineOfTooManyOrTooFewCellsLeavesTheScoresInTheirColumns() throws {
        let rows = ["x", "a,1,2,3,4,5,6,7", "\"a,1"]
        let (text, result) = try run(rows, header: header, format: .csv, output: .csv)
        #expect(text[1] == "x,,,,,,,,")
        #expect(text[2] == "a,1,2,3,4,5,,,")
        #expect(text[3] == "\"a,1\",,,,,,,,")
        #expect(result.faults.count == 3)
    }

    @Test func scoresAloneLeaveAnUnscoredLineEmpty() throws {
        let (text, _) = try run(lines, header: header, format: .csv, output: .scores)
        #expect(text.count == 5 && text[2].isEmpty)
        let likelihoods = try [0, 1, 3].map { try #require(Double(text[$0])) }
        #expect(likelihoods[1] < likelihoods[0] - 3)
    }

    @Test func ndjsonOutputIsValidAndCarriesTheInputsKeys() throws {
        let (text, _) = try run(lines, header: header, format: .csv, output: .ndjson)
        let objects = try text.dropLast().map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(objects[0]["name"] as? String == "a, b")
        #expect(objects[0]["power"] as? Double == 70.1)
        #expect(objects[1]["anomaly"] as? Bool == true)
        #expect(objects[2]["log_likelihood"] is NSNull)
        #expect((objects[2]["reason"] as? String)?.contains("power") == true)
        let json = [
            #"{"speed":50,"load":20,"power":70,"mode":3,"level":10,"note":"}"}"#, "{}", "garbage",
        ]
        let (kept, result) = try run(json, format: .ndjson, output: .ndjson)
        #expect(
            kept[0].hasPrefix(#"{"speed":50,"load":20,"power":70,"mode":3,"level":10,"note":"}","#))
        for line in kept.dropLast() {
            _ = try JSONSerialization.jsonObject(with: Data(line.utf8))
        }
        #expect(result.scoredCount == 1 && result.faults.count == 2)
    }

    @Test func anomaliesAreExplainedAsInTheLogAndOtherRecordsAreAsBefore() throws {
        struct Told: Decodable {
            var name: String
            var value: Double
            var expected: Double
            var contribution: Double
        }
        struct Line: Decodable {
            var threshold: Double?
            var tail: String?
            var features: [Told]?
            var summary: String?
        }
        let rows = lines + ["x,70,20,50,10,4"]
        let (plain, _) = try run(rows, header: header, format: .csv, output: .ndjson)
        let (text, _) = try run(
            rows, header: header, format: .csv, output: .ndjson, explains: true)
        #expect(text.count == plain.count)
        for i in [0, 2, 3, 5] { #expect(text[i] == plain[i]) }
        #expect(text[1].hasPrefix(plain[1].dropLast() + ",\"threshold\":"))
        let line = try JSONDecoder().decode(Line.self, from: Data(text[1].utf8))
        let detector = try Fixture.machineDetector.get()
        var state = ContextState()
        var records = RecordBatch(schema: detector.schema)
        records.append([50, 20, 73, 3, 10], time: .nan, lineIndex: 0, offset: 0)
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        let verdict = try #require(
            detector.verdicts(detector.score(records, state: &state), threshold: threshold).first)
        #expect(line.summary == verdict.summary)
        #expect(line.tail == "low")
        #expect(abs((line.threshold ?? 0) - threshold.logLikelihood) < 6e-6)
        let features = try #require(line.features)
        #expect(features.map(\.name) == verdict.features.map(\.name))
        #expect(features[0].name == "power" && features[0].value == 73)
        for (told, known) in zip(features, verdict.features) {
            #expect(known.value == .number(told.value))
            #expect(abs(told.value - told.expected - (known.change ?? 0)) < 1e-3)
            #expect(abs(told.contribution - known.contribution) < 6e-6)
        }
        let changed = try JSONDecoder().decode(Line.self, from: Data(text[4].utf8))
        #expect(changed.features?.first?.name == "mode")
    }

    @Test func ndjsonInputAsCSVKeepsEveryKey() throws {
        let json = [
            #"{"note":"a, \"b\"","speed":50,"load":20,"power":70,"mode":3,"level":1.0e1,"tags":[1,{"x":2}]}"#,
            #"{"speed":50,"load":null,"note":"c","late":true}"#, "garbage",
        ]
        let (text, result) = try run(json, format: .ndjson, output: .csv)
        #expect(
            text[0] == "note,speed,load,power,mode,level,tags,late,log_likelihood,p_value,anomaly")
        #expect(text[1].hasPrefix(#""a, ""b""",50,20,70,3,1.0e1,"[1,{""x"":2}]",,-"#))
        #expect(text[2] == "c,50,,,,,,true,,,")
        #expect(text[3] == ",,,,,,,,,,")
        #expect(result.scoredCount == 1 && result.faults.count == 2)
    }

    @Test func keysOfLaterBatchesThatCSVHasNoColumnForAreTold() throws {
        let detector = try Fixture.machineDetector.get()
        func scorer(_ output: BatchScorer.Output) -> BatchScorer {
            BatchScorer(
                detector: detector, threshold: detector.threshold(falseAlarmProbability: 1e-3),
                format: FormatOptions(format: .ndjson), output: output)
        }
        let known = #"{"speed":50,"load":20,"power":70,"mode":3,"level":10"#
        var csv = scorer(.csv)
        _ = try csv.process(batch([known + "}"], header: nil))
        #expect(csv.withoutColumn.isEmpty)
        let later = batch([known + #","zone":1,"note":"x"}"#, known + #","zone":2}"#], header: nil)
        let result = try csv.process(later)
        #expect(csv.withoutColumn == ["note", "zone"])
        #expect(result.scoredCount == 2)
        var json = scorer(.ndjson)
        _ = try json.process(batch([known + "}"], header: nil))
        _ = try json.process(later)
        #expect(json.withoutColumn.isEmpty)
    }

    @Test func keysThatBecomeColumnsAreBounded() throws {
        let wide = "{" + (0..<10_000).map { "\"k\($0)\":1" }.joined(separator: ",") + "}"
        let (text, _) = try run([wide, "{}"], format: .ndjson, output: .csv)
        // The limit, the model's five features and the three scores.
        #expect(text[0].split(separator: ",").count == 4_096 + 5 + 3)
        #expect(text[2].count == 4_096 + 5 + 2)
    }

    @Test func ndjsonLineThatCannotBeScoredKeepsItsMembers() throws {
        let (text, _) = try run(
            [#"{"note":"x","speed":"fast"}"#, "{\"a\":"], format: .ndjson, output: .ndjson)
        #expect(text[0].hasPrefix(#"{"note":"x","speed":"fast","log_likelihood":null,"#))
        #expect(text[1].hasPrefix(#"{"log_likelihood":null,"#))
    }

    @Test func missingColumnIsAnErrorThatNamesIt() throws {
        let detector = try Fixture.machineDetector.get()
        var scorer = BatchScorer(
            detector: detector, threshold: detector.threshold(falseAlarmProbability: 1e-3),
            format: FormatOptions(format: .csv), output: .csv)
        let error = #expect(throws: DetectionError.self) {
            try scorer.process(batch(["1,2"], header: "speed,load"))
        }
        #expect(error?.description.contains("power") == true)
    }

    @Test func numbersInTheOutputAreTheScoresToFiveDecimals() throws {
        let detector = try Fixture.machineDetector.get()
        let records = Fixture.machine(200, seed: 50)
        let rows = (0..<200).map { row in
            (0..<5).map { String(records.values[row * 5 + $0]) }.joined(separator: ",")
        }
        let (text, _) = try run(
            rows, header: "speed,load,power,mode,level", format: .csv, output: .csv)
        var state = ContextState()
        let scores = detector.score(records, state: &state)
        for row in 0..<200 {
            let cells = text[row + 1].split(separator: ",")
            let value = try #require(Double(cells[5]))
            #expect(abs(value - scores.logLikelihood[row]) < 6e-6)
            let pValue = try #require(Double(cells[6]))
            #expect(abs(pValue - scores.pValue[row]) <= 1e-4 * scores.pValue[row])
        }
    }
}
