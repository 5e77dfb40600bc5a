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
struct StateWindows: Sendable, Hashable {
    /// Lengths in records, the record itself included; ascending, each 2 or more.
    let lengths: [Int]
    /// How each part is standardised, shape [windows + 1, features].
    let parts: [Column]
    /// How far the mean of a window follows the mean of the readings there are, while it is not yet full:
    /// shape [windows, longest, features], the second index being that number less one.
    let recovery: [Double]

    init(lengths: [Int], parts: [Column], recovery: [Double]) {
        self.lengths = lengths
        self.parts = parts
        self.recovery = recovery
    }

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
    /// - Precondition: At least one row has its whole window.
    init(lengths: [Int], fitting readings: Readings, centers: [Double]) {
        let longest = lengths.last ?? 1
        let settled = readings.rows.filter { readings.runs[$0] + 1 >= longest }
        let stride = max(1, settled.count / Self.recoveryRows)
        let sample = Swift.stride(from: 0, to: settled.count, by: stride).map { settled[$0] }
        var recovery: [Double] = []
        for length in lengths {
            for known in 1...longest {
                for k in 0..<readings.width {
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
        let bare = StateWindows(lengths: lengths, parts: [], recovery: recovery)
        var state = [Double](repeating: 0, count: (lengths.count + 1) * readings.width)
        var columns = [[Double]](repeating: [], count: state.count)
        for row in settled {
            bare.state(
                of: readings, at: row, known: longest, centers: centers, into: &state)
            for (i, value) in state.enumerated() { columns[i].append(value) }
        }
        self.init(lengths: lengths, parts: columns.map { Column(values: $0) }, recovery: recovery)
    }

    /// Rows that the recovery is learned from at most.
    private static let recoveryRows = 2_000

    /// The parts of every feature at a row, in data units, shape [windows + 1, features].
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
                var mean = readings.mean(k, at: row, length: min(length, known))
                if known < length {
                    let slope = recovery[(i * longest + known - 1) * width + k]
                    mean = centers[k] + slope * (mean - centers[k])
                }
                state[i * width + k] = above - mean
                above = mean
            }
            state[lengths.count * width + k] = above
        }
    }

    /// How many windows are full with so many readings.
    func fullCount(known: Int) -> Int { lengths.count { $0 <= known } }

    /// The numbers of readings with which so many windows are full.
    func known(fullCount: Int) -> Range<Int> {
        (fullCount == 0 ? 1 : lengths[fullCount - 1])..<lengths[fullCount]
    }

    /// What the parts of feature `k` change by when its reading alone changes by `change`.
    func stateChange(_ change: Double, part: Int) -> Double {
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
