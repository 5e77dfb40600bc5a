import Foundation

/// The recent past that the density of a sensor stream knows beside the reading itself: trailing means of each feature.
///
/// With windows w₁ < … < w_k the state of a feature is its reading x and, for each window, the mean μᵢ of the wᵢ − 1 readings
/// before it. The flow reads the state as parts of different pace, the quick ones first:
///
///     mᵢ = (x + (wᵢ − 1) μᵢ) / wᵢ        part₀ = x − m₁        partᵢ = mᵢ − mᵢ₊₁        part_k = m_k
///
/// The parts are a linear bijection of (x, μ₁, …, μ_k) with the determinant `Π (wᵢ − 1) / wᵢ`, so the density of the state stays exact. A
/// reading that fits none of its neighbours stands out in the first part, a slow shift that no single reading shows in the last.
///
/// A feature that holds its reading for longer than the longest window in most rows (a set point, a limit) is read as it is: its parts would
/// be 0 but behind a change, and each change would make a whole window improbable that is normal.
struct StateWindows: Sendable, Hashable {
    /// Lengths in records, the record itself included; ascending, each 2 or more.
    let lengths: [Int]
    /// The features that have means, by their place among those that vary; ascending.
    let moving: [Int]
    /// How each part is standardised: of each window but the last part the moving features, then all of them.
    let parts: [Column]
    /// How far the mean of a window follows the mean of the readings there are, while it is not yet full:
    /// shape [windows, longest, moving features], the second index being that number less one.
    let recovery: [Double]
    /// The place of each feature among the moving ones; `nil`: it is none.
    private let ranks: [Int?]

    /// - Parameter width: Features that vary.
    init(lengths: [Int], moving: [Int], width: Int, parts: [Column], recovery: [Double]) {
        self.lengths = lengths
        self.moving = moving
        self.parts = parts
        self.recovery = recovery
        ranks = (0..<width).map { moving.firstIndex(of: $0) }
    }

    /// Numbers that the flow reads of so many features.
    static func inputCount(lengths: Int, moving: Int, width: Int) -> Int {
        lengths * moving + width
    }

    /// Where a part of feature `k` lies; `nil`: it has none.
    func input(of k: Int, part: Int) -> Int? {
        part == lengths.count ? levelInput(of: k) : ranks[k].map { part * moving.count + $0 }
    }

    /// Where the last part of feature `k` lies: its mean over the longest window, or its reading.
    func levelInput(of k: Int) -> Int { lengths.count * moving.count + k }

    /// Where the parts of feature `k` lie.
    func inputs(of k: Int) -> [Int] { (0..<partCount).compactMap { input(of: k, part: $0) } }

    /// Whether feature `k` has means.
    func isMoving(_ k: Int) -> Bool { ranks[k] != nil }

    /// Parts a feature.
    var partCount: Int { lengths.count + 1 }
    /// The number of readings that a full state needs.
    var longest: Int { lengths.last ?? 1 }

    /// `ln |∂ parts / ∂ (x, μ₁, …)|` of one feature, in nats.
    var logDeterminant: Double {
        lengths.reduce(0) { $0 + log(Double($1 - 1) / Double($1)) }
    }

    /// Learns how the means of windows that are not full continue, and how the parts are standardised.
    ///
    /// - Returns: `nil` where no feature moves.
    /// - Precondition: At least one row has its whole window.
    init?(lengths: [Int], fitting readings: Readings, centers: [Double]) {
        let longest = lengths.last ?? 1
        let settled = readings.rows.filter { readings.runs[$0] + 1 >= longest }
        let moving = Self.moving(readings, settled: settled, longest: longest)
        guard !moving.isEmpty else { return nil }
        let stride = max(1, settled.count / Self.recoveryRows)
        let sample = Swift.stride(from: 0, to: settled.count, by: stride).map { settled[$0] }
        var recovery: [Double] = []
        for length in lengths {
            for known in 1...longest {
                for k in moving {
                    guard known < length else {
                        recovery.append(1)
                        continue
                    }
                    var (product, square) = (0.0, 0.0)
                    for row in sample {
                        let part = readings.mean(k, at: row, length: known) - centers[k]
                        let whole = readings.mean(k, at: row, length: length) - centers[k]
                        product += part * whole
                        square += part * part
                    }
                    recovery.append(square > 0 ? min(max(product / square, 0), 1) : 1)
                }
            }
        }
        let bare = StateWindows(
            lengths: lengths, moving: moving, width: readings.width, parts: [], recovery: recovery)
        let inputCount = Self.inputCount(
            lengths: lengths.count, moving: moving.count, width: readings.width)
        var state = [Double](repeating: 0, count: inputCount)
        var columns = [[Double]](repeating: [], count: state.count)
        for row in settled {
            bare.state(
                of: readings, at: row, known: longest, centers: centers, into: &state)
            for (i, value) in state.enumerated() { columns[i].append(value) }
        }
        self.init(
            lengths: lengths, moving: moving, width: readings.width,
            parts: columns.map { Column(values: $0) }, recovery: recovery)
    }

    /// The features that change within the longest window in at least half of the rows.
    private static func moving(_ readings: Readings, settled: [Int], longest: Int) -> [Int] {
        let width = readings.width
        var repeats = [Int](repeating: 0, count: width)
        var held = [Int](repeating: 0, count: width)
        for row in readings.runs.indices {
            for k in 0..<width {
                let isRepeat =
                    readings.runs[row] > 0
                    && readings.values[row * width + k] == readings.values[(row - 1) * width + k]
                repeats[k] = isRepeat ? repeats[k] + 1 : 0
                if repeats[k] + 1 >= longest, readings.rows.contains(row) { held[k] += 1 }
            }
        }
        return (0..<width).filter { 2 * held[$0] <= settled.count }
    }

    /// Rows that the recovery is learned from at most.
    private static let recoveryRows = 2_000

    /// The parts of every feature at a row, in data units, as the flow reads them.
    ///
    /// The mean of a window that is not full is the best linear guess from the readings there are: at the first reading of a stream
    /// most of the way to the feature's centre where readings are independent, and none of it where they barely move.
    ///
    /// - Parameter known: The readings there are, this one included.
    func state(
        of readings: Readings, at row: Int, known: Int, centers: [Double],
        into state: inout [Double]
    ) {
        let width = readings.width
        for k in 0..<width {
            var above = readings.values[row * width + k]
            for (i, length) in lengths.enumerated() {
                guard let rank = ranks[k] else { break }
                var mean = readings.mean(k, at: row, length: min(length, known))
                if known < length {
                    let slope = recovery[(i * longest + known - 1) * moving.count + rank]
                    mean = centers[k] + slope * (mean - centers[k])
                }
                state[i * moving.count + rank] = above - mean
                above = mean
            }
            state[levelInput(of: k)] = above
        }
    }

    /// How many windows are full with so many readings.
    func fullCount(known: Int) -> Int { lengths.count { $0 <= known } }

    /// The numbers of readings with which so many windows are full.
    func known(fullCount: Int) -> Range<Int> {
        (fullCount == 0 ? 1 : lengths[fullCount - 1])..<lengths[fullCount]
    }

    /// What the parts of feature `k` change by when its reading alone changes by `change`.
    func stateChange(_ change: Double, of k: Int, part: Int) -> Double {
        guard isMoving(k) else { return change }
        let above = part == 0 ? 1 : 1 / Double(lengths[part - 1])
        let below = part == lengths.count ? 0 : 1 / Double(lengths[part])
        return change * (above - below)
    }
}

/// Readings in time order with those before them, pulled into the range of the training rows.
struct Readings: Sendable {
    /// Features a reading.
    let width: Int
    /// Readings from before the batch.
    let earlier: Int
    /// Shape [earlier + batch, width], data units.
    let values: [Double]
    /// The same as later readings see them: wild ones tamed.
    let past: [Double]
    /// How many readings without a gap come before each one, at most `DetectorOptions.maximumLags`.
    let runs: [Int]

    init(
        width: Int, earlier: Int, values: [Double], past: [Double], times: [Double],
        gapSecs: Double?, beginnings: [Int]
    ) {
        self.width = width
        self.earlier = earlier
        self.values = values
        self.past = past
        runs = Self.runs(times: times, gapSecs: gapSecs, beginnings: beginnings)
    }

    /// How many readings without a gap come before each, at most `DetectorOptions.maximumLags`.
    ///
    /// - Parameter beginnings: Readings with which another series begins.
    static func runs(times: [Double], gapSecs: Double?, beginnings: [Int]) -> [Int] {
        var runs = [Int](repeating: 0, count: times.count)
        let beginnings = Set(beginnings)
        for row in times.indices.dropFirst()
        where !beginnings.contains(row)
            && !isGap(from: times[row - 1], to: times[row], gapSecs: gapSecs)
        {
            runs[row] = min(runs[row - 1] + 1, DetectorOptions.maximumLags)
        }
        return runs
    }

    /// The rows of the batch, as indices of `runs`.
    var rows: Range<Int> { earlier..<runs.count }

    /// The mean of the newest `length` readings of a feature.
    ///
    /// It is summed anew for each row, so that a record has the same score in any batch.
    func mean(_ k: Int, at row: Int, length: Int) -> Double {
        var sum = values[row * width + k]
        for back in 1..<max(length, 1) { sum += past[(row - back) * width + k] }
        return sum / Double(length)
    }

    static func isGap(from earlier: Double, to later: Double, gapSecs: Double?) -> Bool {
        guard let gapSecs else { return false }
        return abs(later - earlier) > gapSecs
    }

    /// The least step of time that is a gap; `nil` where times say nothing of it.
    ///
    /// Ten usual steps, and twice what one step in a thousand exceeds: an irregular stream is not made of gaps.
    static func gapSecs(times: [Double]) -> Double? {
        let steps = zip(times, times.dropFirst()).map { $1 - $0 }
            .filter { $0.isFinite && $0 > 0 }.sorted()
        guard steps.count >= 20 else { return nil }
        return max(10 * steps[steps.count / 2], 2 * steps[steps.count - 1 - steps.count / 1_000])
    }
}
