import Ingest

/// The parts of flowguard that take bytes from outside, each as a check that a fuzzer and a test call.
///
/// A check throws `BrokenPromise` where the part does other than its documentation says; a trap, a hang, a
/// leak or memory without bound the fuzzer finds by itself.
package enum FuzzTarget: String, CaseIterable, Sendable {
    /// Lines of CSV, quoted cells with line breaks included.
    case csv
    /// Lines of NDJSON.
    case ndjson
    /// Points of line protocol.
    case influx
    /// Times and the patterns that they are written by.
    case time
    /// What gzip or zstd has compressed.
    case compressed
    /// What the first lines say of a format and its columns.
    case detection
    /// The container of model files.
    case container
    /// What a model file holds: encoder, flows, calibration.
    case model
    /// The configuration file.
    case configuration
    /// Bodies of the control API, in both directions.
    case control
    /// Lines that are scored for a request.
    case score
    /// Batches that waited in the spool.
    case spool
    /// The ring file of a training window.
    case window

    /// Feeds an input to the part.
    ///
    /// - Returns: Whether the part took it for good, wholly or in part.
    /// - Throws: `BrokenPromise`, or an error of the system that the check ran into.
    @discardableResult
    package func check(_ input: [UInt8]) throws -> Bool {
        var choices = Choices(input)
        switch self {
        case .csv: return try RecordCheck.run(.csv, &choices)
        case .ndjson: return try RecordCheck.run(.ndjson, &choices)
        case .influx: return try RecordCheck.run(.influx, &choices)
        case .time: return try TimeCheck.run(&choices)
        case .compressed: return try CompressedCheck.run(&choices)
        case .detection: return try RecordCheck.runDetected(&choices)
        case .container: return try ContainerCheck.run(input)
        case .model: return try ModelCheck.run(&choices)
        case .configuration: return try ConfigurationCheck.run(input)
        case .control: return try ControlCheck.run(&choices)
        case .score: return try ScoreCheck.run(&choices)
        case .spool: return try SpoolCheck.run(input)
        case .window: return try WindowCheck.run(&choices)
        }
    }
}

/// What a part of the program did that its documentation rules out.
package struct BrokenPromise: Error, CustomStringConvertible {
    /// What it did.
    package let description: String

    init(_ description: String) { self.description = description }
}

/// Throws if a promise is broken.
func promise(_ isKept: Bool, _ description: @autoclosure () -> String) throws(BrokenPromise) {
    guard isKept else { throw BrokenPromise(description()) }
}

/// An input, whose first bytes choose how the others are fed; behind its end all choices are 0.
struct Choices {
    /// What was not taken yet.
    private(set) var rest: ArraySlice<UInt8>

    init(_ input: [UInt8]) { rest = input[...] }

    mutating func byte() -> Int { Int(rest.popFirst() ?? 0) }

    mutating func word() -> Int { byte() << 8 | byte() }

    /// The next bytes, as many as the next byte says and there are.
    mutating func text() -> String {
        let taken = rest.prefix(byte())
        rest = rest.dropFirst(taken.count)
        return String(decoding: taken, as: UTF8.self)
    }

    /// One of some elements.
    mutating func element<Element>(of all: [Element]) -> Element { all[byte() % all.count] }
}

/// The lengths that an input is cut into, by a seed: mostly short ones.
struct Cuts {
    private var state: UInt64

    init(seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let high = Int(state >> 33)
        return high % 8 == 0 ? 1 + high / 8 % 300 : 1 + high / 8 % 9
    }

    /// The pieces of some bytes, none of them empty.
    static func pieces(_ bytes: ArraySlice<UInt8>, seed: Int) -> [ArraySlice<UInt8>] {
        var cuts = Cuts(seed: seed)
        var pieces: [ArraySlice<UInt8>] = []
        var rest = bytes
        while !rest.isEmpty {
            let piece = rest.prefix(cuts.next())
            pieces.append(piece)
            rest = rest.dropFirst(piece.count)
        }
        return pieces
    }
}
