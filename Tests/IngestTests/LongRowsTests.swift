import Foundation
import Ingest
import Testing

/// Rows of one reading each become records of a grid, the same ones however they are cut into batches.
struct LongRowsTests {
    /// A record that was made: its time, its values, and the line that it begins with.
    struct Made: Equatable, CustomStringConvertible {
        var time: Double
        var values: [Double?]
        var line: Int64

        var description: String { "\(time)s \(values) line \(line)" }
    }

    /// Everything that came of some rows.
    struct Run {
        var made: [Made] = []
        var faults: [RowFault] = []
        var counts = PointCounts()
        var columns: [String] = []
        var lateRun = 0
    }

    private static func rows(
        _ series: [String] = ["sensor"], _ values: [String] = ["value"],
        every: Duration = .seconds(10),
        stale: Duration = .seconds(30), late: Duration = .zero
    ) -> LongRows {
        LongRows(series: series, values: values, every: every, staleAfter: stale, lateBy: late)
    }

    /// Puts rows together, with a restart from what a checkpoint holds at each cut.
    ///
    /// - Parameters:
    ///   - features: The columns; `nil`: all series.
    ///   - optional: Whether a record may lack any value.
    ///   - cuts: Before which lines.
    private func run(
        _ text: String, _ rows: LongRows, format: FormatOptions = .csv, features: [String]? = nil,
        optional: Bool = true, cuts: [Int] = []
    ) throws -> Run {
        let whole = try batch(text, format: format)
        var run = Run()
        var assembler = LongAssembler(rows.shape)
        if let features { assembler.settle(on: features) }
        var outcomes: [(LongAssembler.Outcome, LongAssembler)] = []
        let edges = [0] + cuts.sorted() + [whole.lines.count]
        for (start, end) in zip(edges, edges.dropFirst()) {
            var part = whole
            part.lines = Array(whole.lines[start..<end])
            var decoder = LongDecoder(rows, format: format, time: "time")
            outcomes.append(
                (
                    try assembler.take(
                        part, with: &decoder, as: rows, admitsNew: features == nil), assembler
                ))
            assembler = try JSONDecoder().decode(
                LongAssembler.self, from: JSONEncoder().encode(assembler))
        }
        run.columns = assembler.columns
        let schema = Schema(
            features: run.columns, optional: optional ? Set(run.columns) : [], time: "time")
        for (outcome, assembler) in outcomes {
            let decoded = assembler.records(of: outcome, as: rows, schema: schema)
            let origins = try #require(decoded.origins)
            #expect(origins.map(\.offset) == decoded.records.offsets)
            for row in 0..<decoded.records.rowCount {
                run.made.append(
                    Made(
                        time: decoded.records.times[row],
                        values: decoded.records.row(row).map { $0.isNaN ? nil : $0 },
                        line: origins[row].line))
            }
            run.faults += decoded.faults
        }
        run.counts = assembler.counts
        run.lateRun = assembler.lateRun
        return run
    }

    private static let header = "time,sensor,value\n"

    // MARK: The grid

    @Test func theNewestValueInAStepCountsAndIsCarriedUntilItIsStale() throws {
        let found = try run(
            Self.header + """
                1001,a,1
                1002,b,5
                1008,a,2
                1004,a,9
                1012,a,3
                1023,a,4
                1031,a,5
                1041,a,6
                1051,a,7

                """, Self.rows())
        #expect(
            found.made == [
                // 1008 is newer than 1004, though it came before.
                Made(time: 1000, values: [2, 5], line: 2),
                Made(time: 1010, values: [3, 5], line: 6),
                // At 1030 b is 28 s old, at 1040 38 s.
                Made(time: 1020, values: [4, 5], line: 7),
                Made(time: 1030, values: [5, nil], line: 8),
                Made(time: 1040, values: [6, nil], line: 9),
            ])
        #expect(found.columns == ["a", "b"])
        #expect(found.counts == PointCounts())
        #expect(found.faults.isEmpty)
    }

    @Test func aSilentSourceGivesNoRecords() throws {
        let found = try run(
            Self.header + """
                1001,a,1
                1002,b,1
                1101,a,2
                1102,b,2
                1111,a,3

                """, Self.rows())
        #expect(found.made.map(\.time) == [1000, 1100])
        #expect(found.made.map(\.values) == [[1, 1], [2, 2]])
    }

    @Test func stepsBeginBefore1970Too() throws {
        let found = try run(
            Self.header + "-15,a,1\n-10,a,2\n-1,a,3\n0,a,4\n10,a,5\n", Self.rows())
        #expect(found.made.map(\.time) == [-20, -10, 0])
        #expect(found.made.map(\.values) == [[1], [3], [4]])
    }

    @Test func fractionsOfASecondAreKeptApart() throws {
        let text = (0..<40).map { "\(1_700_000_000 + Double($0) / 10),a,\($0)\n" }.joined()
        let found = try run(Self.header + text, Self.rows(every: .milliseconds(100)))
        #expect(found.made.map { $0.values[0] } == (0..<39).map { Double($0) })
        #expect(found.made[3].time == 1_700_000_000.3)
    }

    @Test func latePointsAndThoseOfTheSameTimeAreCounted() throws {
        let text =
            Self.header + """
                1001,a,1
                1011,a,2
                1009,a,9
                1011,a,8
                1013,b,3
                1021,a,4

                """
        let strict = try run(text, Self.rows())
        #expect(strict.made.map(\.values) == [[1, nil], [2, 3]])
        #expect((strict.counts.late, strict.counts.duplicate) == (1, 1))
        // Five seconds are waited for: a record comes later, and has what came late.
        let lenient = try run(text + "1025,a,5\n", Self.rows(late: .seconds(5)))
        #expect(lenient.made.map(\.values) == [[9, nil], [2, 3]])
        #expect((lenient.counts.late, lenient.counts.duplicate) == (0, 1))
    }

    // MARK: Wrong times

    @Test func aSingleWrongTimeClosesNothing() throws {
        let found = try run(
            Self.header + """
                1001,a,1
                1002,a,2
                9999999,a,99
                1003,a,3
                1011,a,4
                1021,a,5

                """, Self.rows())
        #expect(found.made.map(\.values) == [[3], [4]])
        let fault = try #require(found.faults.first)
        #expect(found.faults.count == 1)
        #expect((fault.code, fault.lineNumber) == (.badTime, 4))
        #expect(fault.origin?.offset == fault.offset)
        #expect(
            fault.reason == "expected a time near those of the rows around it, "
                + "found 1970-04-26T17:46:39Z")
    }

    @Test func afterAGapTheTimesAreBelieved() throws {
        let found = try run(
            Self.header + "1001,a,1\n1002,a,2\n5001,a,3\n5011,a,4\n9001,a,5\n9011,a,6\n9021,a,7\n",
            Self.rows())
        #expect(found.made.map(\.time) == [1000, 5000, 5010, 9000, 9010])
        #expect(found.faults.isEmpty)
    }

    @Test func afterAClockThatWasADayAheadTheGridBeginsAnew() throws {
        let ahead = (0..<3).map { "\(1_000_000 + 10 * $0),a,\($0)\n" }.joined()
        let back = (0..<1_100).map { "\(500_000 + 10 * $0),a,\($0)\n" }.joined()
        let found = try run(Self.header + ahead + back, Self.rows())
        #expect(found.counts.late == 999)
        // The step that was open is given, and then the rows from the thousandth on.
        #expect(found.made.map(\.time).prefix(4) == [1_000_000, 1_000_010, 1_000_020, 509_990])
        #expect(found.made.count == 3 + 100)
        #expect(found.lateRun == 0)
        // An hour is no reason: such rows are late.
        let hour = (0..<300).map { "\(996_400 + 10 * $0),a,\($0)\n" }.joined()
        let late = try run(Self.header + ahead + hour, Self.rows())
        #expect((late.counts.late, late.lateRun) == (300, 300))
    }

    @Test func timesThatNoGridHoldsAreFaults() throws {
        var format = FormatOptions.influx
        format.time.unit = .s
        let found = try run(
            "m v=1 9000000000000000000\nm v=1 -9000000000000000000\nm v=1 1001\nm v=2 1011\n",
            Self.rows([], []), format: format)
        #expect(found.faults.map(\.code) == [.badTime, .badTime])
        #expect(found.faults[0].reason.hasPrefix("column 'time': expected a time before"))
        #expect(found.made.map(\.values) == [[1]])
    }

    // MARK: Formats

    @Test func measurementsTagsAndFieldsNameTheColumns() throws {
        let found = try run(
            """
            cpu,cpu=cpu0,host=h usage=1,state="on" 1001000000000
            cpu,cpu=cpu1,host=h usage=2 1002000000000
            mem,host=h used=7i,ok=true 1003000000000
            cpu,cpu=cpu0,host=h usage="many" 1004000000000
            mem,host=h used=8i
            mem,host=h used=9i 1005000000000
            nonsense
            mem used=1i 1011000000000

            """, Self.rows(["cpu"], []), format: .influx,
            features: ["cpu.cpu0.usage", "cpu.cpu1.usage", "mem.used"])
        #expect(found.made == [Made(time: 1000, values: [1, 2, 9], line: 1)])
        #expect(found.faults.map(\.lineNumber) == [4, 5, 7])
        #expect(found.faults.map(\.code) == [.notANumber, .missingColumn, .badSyntax])
        #expect(
            found.faults[0].reason
                == "column 'cpu.cpu0.usage': expected a number, found the string 'many'")
    }

    @Test func whatStandsForNoValueIsNone() throws {
        var format = FormatOptions.influx
        format.missingValues = ["-999", "NA"]
        let found = try run(
            "m a=1,b=-999 1001000000000\nm a=\"NA\",b=2 1002000000000\nm a=3 1011000000000\n",
            Self.rows([], []), format: format, features: ["m.a", "m.b"])
        #expect(found.faults.isEmpty)
        #expect(found.made.map(\.values) == [[1, 2]])
    }

    @Test func onlyTheFieldsThatAreNamedAreRead() throws {
        let found = try run(
            "a x=1,y=2 1001000000000\nb x=3,z=4 1002000000000\na x=1 1011000000000\n",
            Self.rows([], ["x"]), format: .influx)
        #expect(found.columns == ["a.x", "b.x"])
    }

    @Test func severalValuesOfARowHaveTheirColumnsName() throws {
        let found = try run(
            """
            {"time":1001,"site":{"id":"n"},"room":"r1","t":20.5,"h":40}
            {"time":1002,"site":{"id":"n"},"room":"r2","t":21}
            {"time":1003,"site":{"id":"n"},"room":"r3"}
            {"time":1004,"site":{"id":"n"},"t":5}
            {"time":1011,"site":{"id":"n"},"room":"r1","t":1}

            """, Self.rows(["site.id", "room"], ["t", "h"]), format: .ndjson)
        #expect(found.columns == ["n.r1.t", "n.r1.h", "n.r2.t"])
        #expect(found.made.map(\.values) == [[20.5, 40, 21]])
        #expect(found.faults.map(\.code) == [.missingValue, .missingColumn])
        #expect(
            found.faults[0].reason
                == "column 't, h': expected a value in one of them, found none")
    }

    @Test func badRowsAreFaultsWithTheirPlace() throws {
        let found = try run(
            Self.header + "1001,a,1\n1002,a,x\n1003,,1\nnoon,a,1\n1004,a\n1005,a,\n1011,a,2\n",
            Self.rows())
        #expect(found.faults.map(\.lineNumber) == [3, 4, 5, 6, 7])
        #expect(
            found.faults.map(\.code) == [
                .notANumber, .missingValue, .badTime, .raggedRow, .missingValue,
            ])
        #expect(found.faults[0].columnNumber == 8)
        #expect(found.made.map(\.values) == [[1]])
    }

    // MARK: Columns

    @Test func seriesThatAreNoColumnsAreCountedAndMoveNothing() throws {
        let found = try run(
            Self.header + "1001,a,1\n1002,new,5\n5000,new,5\n5001,new,6\n1003,a,2\n1011,a,3\n",
            Self.rows(), features: ["a", "b"])
        #expect(found.made.map(\.values) == [[2, nil]])
        #expect(found.counts.unknown == 3)
    }

    @Test func aRecordThatLacksAValueIsAFault() throws {
        let found = try run(
            Self.header + "1001,a,1\n1011,a,2\n1012,b,2\n1021,a,3\n", Self.rows(),
            features: ["a", "b"], optional: false)
        #expect(found.made == [Made(time: 1010, values: [2, 2], line: 3)])
        let fault = try #require(found.faults.first)
        #expect((fault.code, fault.column, fault.lineNumber) == (.incompleteStep, "b", 2))
        #expect(
            fault.reason == "the step from 1970-01-01T00:16:40Z: expected values of 'b' that are "
                + "at most 30 s old, found none")
    }

    @Test func seriesAreBounded() throws {
        let text = (0..<(LongAssembler.seriesLimit + 5)).map { "1001,s\($0),1\n" }.joined()
        let whole = try batch(Self.header + text, format: .csv)
        var assembler = LongAssembler(Self.rows().shape)
        var decoder = LongDecoder(Self.rows(), format: .csv, time: "time")
        _ = try assembler.take(whole, with: &decoder, as: Self.rows(), admitsNew: true)
        #expect(assembler.columns.count == LongAssembler.seriesLimit)
        #expect(assembler.hasLeftOut)
        #expect(assembler.counts.unknown == 5)
    }

    @Test func excludedSeriesTakeNoPlaces() throws {
        let limit = LongAssembler.seriesLimit
        let text = (0..<(limit + 5)).map { "1001,s\($0),1\n" }.joined()
        var assembler = LongAssembler(Self.rows().shape)
        var decoder = LongDecoder(Self.rows(), format: .csv, time: "time")
        _ = try assembler.take(
            batch(Self.header + text, format: .csv), with: &decoder, as: Self.rows(),
            admitsNew: true, except: Set((0..<5).map { "s\($0)" }))
        #expect(assembler.columns == (5..<(limit + 5)).map { "s\($0)" })
        #expect(!assembler.hasLeftOut)
        #expect(assembler.counts.unknown == 5)
    }

    @Test func otherColumnsKeepTheValuesThatTheyShare() throws {
        let rows = Self.rows()
        var assembler = LongAssembler(rows.shape)
        var decoder = LongDecoder(rows, format: .csv, time: "time")
        _ = try assembler.take(
            batch(Self.header + "1001,a,1\n1002,b,2\n1003,c,3\n1011,b,4\n", format: .csv),
            with: &decoder, as: rows, admitsNew: true)
        assembler.settle(on: ["c", "b", "d"])
        let outcome = try assembler.take(
            batch(Self.header + "1012,a,9\n1021,d,5\n", format: .csv), with: &decoder, as: rows,
            admitsNew: false)
        let made = assembler.records(
            of: outcome, as: rows,
            schema: Schema(features: ["b", "c", "d"], optional: ["d"], time: "time"))
        #expect(made.records.values.prefix(2) == [4, 3])
        #expect(made.records.values[2].isNaN)
        #expect(assembler.counts.unknown == 1)
    }

    @Test func aHeaderWithoutTheColumnsIsRefused() throws {
        var assembler = LongAssembler(Self.rows().shape)
        var decoder = LongDecoder(Self.rows(), format: .csv, time: "time")
        let wide = try batch("time,flow\n1,2\n", format: .csv)
        #expect(
            throws: IngestError.missingColumns(
                input: "in.csv", missing: ["value", "sensor"], present: ["time", "flow"])
        ) {
            try assembler.take(wide, with: &decoder, as: Self.rows(), admitsNew: true)
        }
        #expect(assembler == LongAssembler(Self.rows().shape))
    }

    // MARK: Against a plain model

    /// Rows that come mostly in order, some late, some twice, some bad.
    private struct Stream {
        var text = LongRowsTests.header
        var points: [(time: Int, series: String, value: Double)] = []
        var lines: [Int64] = []

        init(seed: UInt64, count: Int) {
            var random = SplitMix(seed: seed)
            var now = 1_700_000_000_000
            for index in 0..<count {
                now += Int.random(in: 0...4_000, using: &random)
                var time =
                    now
                    - (Bool.random(using: &random) ? Int.random(in: 0...9_000, using: &random) : 0)
                if let last = points.last, Int.random(in: 0..<6, using: &random) == 0 {
                    time = last.time
                }
                let series = ["a", "b", "c", "d"][Int.random(in: 0..<4, using: &random)]
                if Int.random(in: 0..<15, using: &random) == 0 {
                    text += "\(Double(time) / 1_000),\(series),bad\n"
                    continue
                }
                points.append((time, series, Double(index)))
                lines.append(Int64(text.filter { $0 == "\n" }.count + 1))
                text += "\(Double(time) / 1_000),\(series),\(index)\n"
            }
        }

        /// What should come of them, the slow way: all points are kept and looked at for each record.
        func expected(every: Int, stale: Int, late: Int) -> (made: [Made], counts: PointCounts) {
            var counts = PointCounts()
            var accepted: [Int] = []
            var closed = Int.min
            var newest = Int.min
            var lastLineClosed: [Int: Int] = [:]
            for (index, point) in points.enumerated() {
                let step = point.time / every * every
                guard step >= closed else {
                    counts.late += 1
                    continue
                }
                let same = accepted.map { points[$0] }.filter {
                    $0.series == point.series && $0.time / every * every == step
                }
                if same.map(\.time).max() == point.time { counts.duplicate += 1 }
                accepted.append(index)
                lastLineClosed[step] = lastLineClosed[step] ?? index
                newest = max(newest, point.time)
                closed = max(closed, (newest - late) / every * every)
            }
            let made = lastLineClosed.keys.filter { $0 < closed }.sorted().map { step in
                let end = step + every
                let values = ["a", "b", "c", "d"].map { series -> Double? in
                    let own = accepted.filter {
                        points[$0].series == series && points[$0].time < end
                    }
                    guard let time = own.map({ points[$0].time }).max(), end - time <= stale,
                        let first = own.first(where: { points[$0].time == time })
                    else { return nil }
                    return points[first].value
                }
                return Made(
                    time: Double(step) / 1_000, values: values,
                    line: lines[lastLineClosed[step] ?? 0])
            }
            return (made, counts)
        }
    }

    @Test(arguments: 0..<30)
    func anyCutGivesTheRecordsOfAPlainModel(seed: Int) throws {
        let stream = Stream(seed: UInt64(seed), count: 80)
        let every = [1, 5, 10][seed % 3]
        let stale = every * [1, 2, 5][seed / 3 % 3]
        let late = [0, 3, 12][seed % 4 % 3]
        let rows = Self.rows(
            every: .seconds(every), stale: .seconds(max(stale, 10)), late: .seconds(late))
        let features = ["a", "b", "c", "d"]
        let truth = stream.expected(
            every: every * 1_000, stale: max(stale, 10) * 1_000, late: late * 1_000)
        #expect(!truth.made.isEmpty)
        let whole = try run(stream.text, rows, features: features)
        #expect(whole.made == truth.made, "seed \(seed)")
        #expect(whole.counts == truth.counts, "seed \(seed)")
        #expect(whole.faults.allSatisfy { $0.code == .notANumber })
        for cut in 0...80 {
            let found = try run(stream.text, rows, features: features, cuts: [cut])
            #expect(found.made == truth.made, "seed \(seed), cut before line \(cut)")
            #expect(found.counts == truth.counts, "seed \(seed), cut before line \(cut)")
            #expect(found.faults.map(\.lineNumber) == whole.faults.map(\.lineNumber))
        }
        let everywhere = try run(stream.text, rows, features: features, cuts: Array(1..<80))
        #expect(everywhere.made == truth.made, "seed \(seed), cut everywhere")
    }
}
