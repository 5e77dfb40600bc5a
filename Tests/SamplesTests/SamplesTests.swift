import Foundation
import Testing

/// The generator, the feeders and the comparison, run as programs.
struct SamplesTests {
    let tool: SamplesTool

    init() throws { tool = try SamplesTool() }

    struct Span: Decodable {
        var startRow: Int
        var endRow: Int
        var kind: String
    }

    private func generate(seed: Int, rows: Int = 6000) throws -> (rows: [[Double]], truth: [Span]) {
        let result = try tool.run(
            "generate", "pump", "--rows", "\(rows)", "--seed", "\(seed)", "--output", "\(seed).csv",
            "--truth", "\(seed).ndjson")
        try #require(result.status == 0, "\(result.errors)")
        let lines = try tool.text("\(seed).csv").split(separator: "\n").dropFirst()
        let values = lines.map { $0.split(separator: ",").dropFirst().compactMap { Double($0) } }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let spans = try tool.text("\(seed).ndjson").split(separator: "\n").map {
            try decoder.decode(Span.self, from: Data($0.utf8))
        }
        return (values, spans)
    }

    @Test func sameSeedGivesTheSameBytes() throws {
        defer { tool.remove() }
        for name in ["a", "b"] {
            let result = try tool.run(
                "generate", "pump", "--seed", "3", "--output", "\(name).csv",
                "--truth", "\(name).ndjson")
            #expect(result.status == 0)
        }
        #expect(try tool.text("a.csv") == tool.text("b.csv"))
        #expect(try tool.text("a.ndjson") == tool.text("b.ndjson"))
        let other = try tool.run("generate", "pump", "--seed", "4")
        #expect(try tool.text("a.csv") != other.output)
    }

    @Test func faultsLeaveTheRowsBeforeThemAlone() throws {
        defer { tool.remove() }
        let healthy = try tool.run("generate", "pump", "--seed", "5", "--faults", "none").output
        let faulty = try tool.run("generate", "pump", "--seed", "5").output
        let before = faulty.split(separator: "\n").prefix(3001)
        #expect(healthy.split(separator: "\n").prefix(3001).elementsEqual(before))
        #expect(healthy != faulty)
    }

    @Test(arguments: [1, 7, 11, 23])
    func crossSensorFaultsStayInsideEveryColumnsNormalRange(seed: Int) throws {
        defer { tool.remove() }
        let (rows, truth) = try generate(seed: seed)
        #expect(rows.count == 6000)
        #expect(rows.allSatisfy { $0.count == 8 })
        #expect(truth.map(\.kind) == ["file", "stuck", "drift", "leak", "blockage", "spike"])
        for span in truth where ["leak", "blockage"].contains(span.kind) {
            for column in 0..<8 {
                let normal = rows[..<3000].map { $0[column] }
                let low = try #require(normal.min())
                let high = try #require(normal.max())
                let inside = rows[span.startRow...span.endRow].allSatisfy {
                    (low...high).contains($0[column])
                }
                #expect(inside, "seed \(seed), \(span.kind), column \(column)")
            }
        }
        let stuck = try #require(truth.first { $0.kind == "stuck" })
        #expect(Set(rows[stuck.startRow...stuck.endRow].map { $0[2] }).count == 1)
    }

    @Test func leakBreaksTheRelationOfSpeedFlowAndPressure() throws {
        defer { tool.remove() }
        let (rows, truth) = try generate(seed: 7)
        let leak = try #require(truth.first { $0.kind == "leak" })
        // The pump's curve, H = 60·n² − 0.004·Q², ties three columns together.
        func gap(_ row: [Double]) -> Double {
            let speed = row[0] / 2950
            return abs(row[2] / 0.0981 - (60 * speed * speed - 0.004 * row[1] * row[1]))
        }
        let normal = rows[..<3000].map(gap).max() ?? 0
        #expect(rows[leak.startRow...leak.endRow].allSatisfy { gap($0) > normal })
    }

    @Test func impossiblePlansAreRefusedWithTheReason() throws {
        defer { tool.remove() }
        let short = try tool.run("generate", "pump", "--rows", "900")
        #expect(short.status == 1)
        #expect(
            short.errors == """
                Error: 5 faults need 2250 rows after the clean part, found 450: raise --rows or \
                lower --clean-rows

                """)
        let unknown = try tool.run("generate", "pump", "--faults", "leek")
        #expect(unknown.status == 64)
        #expect(
            unknown.errors.contains(
                "--faults: expected some of stuck, drift, leak, blockage, spike; found 'leek'"))
    }

    @Test func growingFileEndsAsTheSample() throws {
        defer { tool.remove() }
        _ = try generate(seed: 2, rows: 5000)
        for (skip, count) in [(0, 3000), (3000, 2000)] {
            let fed = try tool.run(
                "feed", "file", "2.csv", "--output", "grown.csv", "--skip", "\(skip)", "--rows",
                "\(count)")
            #expect(fed.status == 0)
        }
        #expect(try tool.text("grown.csv") == tool.text("2.csv"))
    }

    @Test func missingSocketIsNamed() throws {
        defer { tool.remove() }
        try tool.write("time,a\n2026-03-02T13:00:00Z,1\n", to: "s.csv")
        let result = try tool.run("feed", "socket", "s.csv", "--socket", "none.sock")
        #expect(result.status == 1)
        #expect(result.errors == "Error: none.sock: cannot connect: No such file or directory\n")
    }

    @Test func hostReadingsAreTenNumbersAndATime() throws {
        defer { tool.remove() }
        let result = try tool.run("feed", "host", "--rows", "2", "--interval", "0.05")
        #expect(result.status == 0)
        let lines = result.output.split(separator: "\n")
        #expect(lines.count == 2)
        for line in lines {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            let members = try #require(object)
            #expect(members.count == 11)
            #expect(members["time"] is String)
            #expect((members["memory_available_mib"] as? Double ?? 0) > 0)
            #expect(members.filter { $0.key != "time" }.allSatisfy { $0.value is Double })
        }
    }

    @Test func comparisonCountsWhatWasCaughtAndWhatWasNot() throws {
        defer { tool.remove() }
        let span = { (first: Int, last: Int, kind: String) in
            let time = { (row: Int) in "2026-03-02T13:0\(row / 60):\(row % 60 + 100)Z" }
            let cut = { (text: String) in text.replacingOccurrences(of: ":1", with: ":") }
            return "{\"start_row\":\(first),\"end_row\":\(last),\"start\":\"\(cut(time(first)))\","
                + "\"end\":\"\(cut(time(last)))\",\"kind\":\"\(kind)\",\"columns\":[]}\n"
        }
        try tool.write(
            span(0, 299, "file") + span(100, 119, "leak") + span(200, 219, "drift"),
            to: "t.ndjson")
        let anomaly = { (time: String, score: Double, feature: String) in
            "{\"record_time\":\"\(time)\",\"log_likelihood\":\(score),"
                + "\"features\":[{\"name\":\"\(feature)\",\"value\":1}]}\n"
        }
        let found =
            anomaly("2026-03-02T13:00:05Z", -9, "early") + anomaly("2026-03-02T13:01:00Z", -9, "x")
            + anomaly("2026-03-02T13:01:43.000Z", -20, "flow")
            + anomaly("2026-03-02T13:01:44.000Z", -40, "pressure")
            + anomaly("2026-03-02T13:02:05Z", -9, "recovering")
        let result = try tool.run(
            "compare", "--truth", "t.ndjson", "--first-row", "50", "--recovery-rows", "10",
            "--require", "leak", input: found)
        #expect(result.status == 0, "\(result.errors)")
        #expect(
            result.output == """
                  FAULT     RECORDS       CAUGHT  AFTER  ALARMS  STRONGEST IN
                  leak      100-119       yes     3      2       pressure
                  drift     200-219       NO      -      0       -

                False alarms: 1 in 190 records without a fault, 52.6 in 10,000

                """)
        let strict = try tool.run(
            "compare", "--truth", "t.ndjson", "--require", "leak,drift", input: found)
        #expect(strict.status == 1)
        #expect(strict.errors == "Error: not caught: drift\n")
        let bad = try tool.run("compare", "--truth", "t.ndjson", input: "{}\n")
        #expect(bad.errors.hasPrefix("Error: -:1: expected an anomaly with record_time"))
    }
}
