import Detection
import FlowDensity
import Foundation
import Ingest
import Synchronization

/// One fit, without the daemon around it: records in, a model and a judgement out.
struct FitJob: Sendable {
    /// How it ended.
    enum Result: Sendable {
        case accepted(Detector, DriftState, reason: String, decision: GateDecision?)
        case rejected(Detector, decision: GateDecision)
        case failed(String)
        case cancelled
    }

    /// What the model learns from.
    var training: RecordBatch
    /// The newest records, which the model does not see: they decide between it and the serving one.
    var newest: RecordBatch
    /// Records just before the newest, for their context.
    var before: RecordBatch
    /// The serving model, if there is one of the same features.
    var champion: Detector?
    var options: DetectorOptions
    /// How long the fit may take.
    var timeLimit: Duration?
    /// The serving model's number.
    var championID: Int64?
    /// Which records these are.
    var selection: FitSelection

    /// Puts the records of each key together: the past of one is not that of another.
    mutating func group(by key: String) {
        training = training.grouped(byCategory: key)
        newest = newest.grouped(byCategory: key)
        before = RecordBatch(schema: training.schema)
    }

    /// Fits and judges.
    ///
    /// - Parameters:
    ///   - parallel: Splits the fit; the model does not depend on it.
    ///   - progress: Called often; `false` ends the fit.
    func run(parallel: ParallelFor, progress: (FitProgress) -> Bool) -> Result {
        var suffix = selection.note.map { "; " + $0 } ?? ""
        let detector: Detector
        let summary: FitSummary
        do {
            // Those of several keys are not in the order of their numbers.
            let isWhole =
                training.beginnings.isEmpty
                && selection.training.recordCount == Int64(training.rowCount)
            (detector, summary) = try Detector.fit(
                training, options: options,
                numbers: isWhole ? .ranges(selection.training) : .unknown,
                parallel: parallel, timeLimit: timeLimit, progress: progress)
        } catch {
            if case .cancelled = error { return .cancelled }
            return .failed("\(error)" + suffix)
        }
        if detector.isBlind(falseAlarmProbability: options.falseAlarmProbability) {
            suffix +=
                "; only what is very strange is found: "
                + detector.blindness(falseAlarmProbability: options.falseAlarmProbability)
        }
        guard let champion else {
            let reason = "the first model, from \(summary.rowCount) records" + suffix
            return .accepted(
                detector, detector.driftState(training: training), reason: reason, decision: nil)
        }
        var decision = FitGate.judge(
            challenger: detector, champion: champion, newest: newest, before: before,
            falseAlarmProbability: options.falseAlarmProbability)
        if !decision.isAccepted, selection.seenCount > 0 {
            decision.reason +=
                "; too few records are new: the serving model has learned from "
                + "\(selection.seenCount) of these"
        }
        decision.reason += suffix
        return decision.isAccepted
            ? .accepted(
                detector, detector.driftState(training: training), reason: decision.reason,
                decision: decision)
            : .rejected(detector, decision: decision)
    }
}

/// Lets one fit run at a time, in the order of asking.
///
/// Fits of several streams at once would take the cores from scoring and finish no sooner.
package actor FitTurns {
    /// Who asked, in order; the first has the turn.
    private var tickets: [Int] = []
    private var newest = 0

    package init() {}

    /// Waits for the turn; `pass` gives it on.
    ///
    /// - Parameter isWanted: Asked now and then; with `false` the waiting ends.
    /// - Returns: Whether the turn was taken.
    func take(while isWanted: @Sendable () -> Bool) async -> Bool {
        newest += 1
        let ticket = newest
        tickets.append(ticket)
        while isWanted() {
            if tickets.first == ticket { return true }
            try? await Task.sleep(for: .milliseconds(50))
        }
        tickets.removeAll { $0 == ticket }
        return false
    }

    /// Ends the turn.
    func pass() { tickets.removeFirst() }
}

/// Which records of the window a fit learns from, and which ones judge between its model and the serving one.
package struct FitSelection {
    /// Running numbers of the records that the model learns from.
    package var training: [Range<Int64>]
    /// Those of the newest records, which it does not see.
    package var newest: [Range<Int64>]
    /// The records just before these, for their context.
    package var before: Range<Int64>
    /// How many of the newest the serving model has learned from, because there are too few others.
    package var seenCount: Int64 = 0
    /// Records there were when the choice was made.
    package var total: Int64
    /// Whether these are as many records as a fit can have.
    package var isWholeWindow: Bool
    /// What to tell about the choice.
    package var note: String?
    /// Records inside episodes that are taken as normal, because so many are that the stream has changed for good.
    package private(set) var adopted: RecordRanges = []
    /// The ends of what they lie in, whose records see the change itself.
    private var transitions: RecordRanges = []

    /// Above this share of excluded records the stream has changed for good, and those that last are learned.
    private static let mostExcludedShare = 0.2
    /// The share of the window that judges, and the fewest records, unless that were more than half of them.
    private static let judgingShare = 0.1
    private static let leastJudging: Int64 = 100
    /// A model that looks back sees a change of level for so many records after it.
    private static let lookback = Int64(DetectorOptions.maximumLags)

    /// Chooses among the newest records of a window.
    ///
    /// - Parameters:
    ///   - changed: How many records have come since the stream changed. The last quarter of these judges, so that the
    ///     model learns from the others; `nil`: it is not known to have changed, and the newest tenth of all judges.
    ///   - fittedThrough: The serving model has learned from records up to this number; `nil`: none serves.
    ///   - excluded: Records inside episodes.
    ///   - readmitted: Those among them that a person says are normal.
    ///   - withheld: Records that the user keeps out, whatever their share.
    package init(
        total: Int64, limit: Int, excluded: RecordRanges, readmitted: RecordRanges = [],
        withheld: RecordRanges, fittedThrough: Int64?, changed: Int64? = nil
    ) {
        let all = max(0, total - Int64(limit))..<total
        let free = [all].subtracting(withheld)
        let settled = Self.runs(readmitted).map { run in
            run.count > 2 * Self.lookback ? Self.settled(run, total: total) : run
        }
        let inside = excluded.subtracting(readmitted.common(with: settled))
        var usable = free.subtracting(inside)
        self.total = total
        isWholeWindow = all.count >= limit
        (training, newest, before) = (usable, [], total..<total)
        let insideCount = free.recordCount - usable.recordCount
        let most = Int64(Self.mostExcludedShare * Double(free.recordCount))
        if insideCount > most {
            adopt(inside.common(with: free), of: Self.runs(inside.clipped(to: all)), most: most)
            usable = usable.subtracting(transitions).union(adopted)
            training = usable
            let count = adopted.recordCount
            tell(
                "\(insideCount) of \(free.recordCount) records lay inside episodes: "
                    + (count == insideCount
                        ? "none lasts, and so many are how the stream is, so that all are learned"
                        : "\(count) of these, which last, are taken as the new normal, "
                            + "\(insideCount - count) stay out"))
        }
        let withheldCount = Int64(all.count) - free.recordCount
        if withheldCount > 0 { tell("\(withheldCount) records were kept out by the user") }
        guard let fittedThrough else { return }
        let wanted = min(Self.leastJudging, usable.recordCount / 2)
        let back = Self.start(ofNewest: wanted, in: usable) ?? total
        let tenth = Int64(Double(all.count) * Self.judgingShare)
        let split = min(total - min(tenth, changed.map { $0 / 4 } ?? tenth), back)
        // What the serving model has learned from would flatter it, as far as there is enough that it has not.
        let start = max(split, min(fittedThrough, back))
        training = usable.clipped(to: all.lowerBound..<split)
        newest = usable.clipped(to: start..<total)
        before = max(all.lowerBound, start - Int64(DetectorOptions.maximumLags))..<start
        seenCount = newest.clipped(to: start..<max(start, min(fittedThrough, total))).recordCount
    }

    /// Takes over what lasts, the longest first, until no more than so many records are out.
    ///
    /// Isolated faults stay out beside it: where they calibrate, the threshold goes out to them and the model is blind. Only where nothing
    /// lasts all are taken over.
    ///
    /// - Parameters:
    ///   - inside: Records inside episodes.
    ///   - runs: The runs that they make.
    private mutating func adopt(_ inside: RecordRanges, of runs: RecordRanges, most: Int64) {
        var outCount = inside.recordCount
        let counted = runs.map { ($0, count: inside.clipped(to: $0).recordCount) }
        for (run, _) in counted.sorted(by: { $0.count > $1.count }) where outCount > most {
            let settled = Self.settled(run, total: total)
            let taken = inside.clipped(to: settled)
            guard !taken.isEmpty else { continue }
            adopted = adopted.union(taken)
            transitions = transitions.union([run].subtracting([settled]))
            outCount -= taken.recordCount
        }
        // The serving model does not know the stream: without this it never would.
        if adopted.isEmpty { adopted = inside }
    }

    /// Ranges between which a model looks back from one into the other, as one.
    private static func runs(_ ranges: RecordRanges) -> RecordRanges {
        ranges.reduce(into: []) { runs, range in
            if let last = runs.last, range.lowerBound - last.upperBound <= lookback {
                runs[runs.count - 1] = last.lowerBound..<range.upperBound
            } else {
                runs.append(range)
            }
        }
    }

    /// A run without its ends, where a model that looks back sees two levels at once; empty for a short one.
    ///
    /// Of a run that goes on there is no end yet.
    private static func settled(_ run: Range<Int64>, total: Int64) -> Range<Int64> {
        let start = run.lowerBound + lookback
        let end = run.upperBound - (run.upperBound + lookback >= total ? 0 : lookback)
        return start..<max(start, end)
    }

    /// Adds to the note.
    mutating func tell(_ text: String) {
        note = note.map { $0 + "; " + text } ?? text
    }

    /// The number from which on there are so many; `nil` when there are fewer, or none is wanted.
    private static func start(ofNewest wanted: Int64, in parts: [Range<Int64>]) -> Int64? {
        guard wanted > 0 else { return nil }
        var missing = wanted
        for part in parts.reversed() {
            if Int64(part.count) >= missing { return part.upperBound - missing }
            missing -= Int64(part.count)
        }
        return nil
    }
}
