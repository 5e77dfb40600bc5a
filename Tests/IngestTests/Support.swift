import Dispatch
import Glibc
import Ingest
import Synchronization

/// A seeded generator that is good enough to choose test inputs by (splitmix64).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The lines of a text, framed as one input.
func batch(
    _ text: String, format: FormatOptions, name: String = "in.csv"
) throws -> LineBatch {
    try batch(Array(text.utf8), format: format, name: name)
}

func batch(
    _ bytes: [UInt8], format: FormatOptions, name: String = "in.csv"
) throws -> LineBatch {
    struct NoBatch: Error {}
    var framer = LineFramer(format: format, input: 1, name: name)
    bytes.withUnsafeBytes { framer.append($0) }
    guard let batch = framer.takeBatch(atEnd: true) else { throw NoBatch() }
    return batch
}

extension LineBatch {
    /// The lines as texts.
    var texts: [String] {
        lines.indices.map { String(decoding: content(ofLine: $0), as: UTF8.self) }
    }
}

extension FormatOptions {
    static let csv = FormatOptions(format: .csv)
    static let ndjson = FormatOptions(format: .ndjson)
    static let influx = FormatOptions(format: .influx)

    func with(_ change: (inout FormatOptions) -> Void) -> FormatOptions {
        var copy = self
        change(&copy)
        return copy
    }
}

extension RecordBatch {
    var matrix: [[Double]] {
        (0..<rowCount).map { Array(row($0)) }
    }
}

/// Takes batches until the condition holds or a minute is over.
func collect(
    _ source: some LineSource, until isEnough: ([LineBatch]) -> Bool
) async throws -> [LineBatch] {
    var batches: [LineBatch] = []
    let deadline = ContinuousClock.now + .seconds(300)
    while !isEnough(batches), ContinuousClock.now < deadline {
        guard let batch = try await source.next() else { break }
        batches.append(batch)
    }
    return batches
}

/// Steps until there is nothing more, and gives the batches.
func drain(_ follower: inout FileFollower) throws -> [LineBatch] {
    var batches: [LineBatch] = []
    repeat {
        while let batch = try follower.step() { batches.append(batch) }
    } while !follower.isIdle
    return batches
}

/// The lines of some batches as texts.
func texts(_ batches: [LineBatch]) -> [String] {
    batches.flatMap(\.texts)
}

/// A clock that stands until it is moved.
final class TestClock: Sendable {
    private let moved = Mutex(Duration.zero)

    var time: Duration { moved.withLock { $0 } }

    func advance(by duration: Duration) { moved.withLock { $0 += duration } }
}

/// Does what blocks on another thread: those of the tasks are few.
func beside<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(returning: work()) }
    }
}
