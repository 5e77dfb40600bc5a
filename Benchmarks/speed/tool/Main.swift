import Foundation

/// One side of the comparison: answers a request a line, a JSON object each, until the input ends.
///
/// `Benchmarks/speed/worker.py` speaks the same language for the peers.
@main enum Main {
    static func main() throws {
        let threads = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 1
        let encoder = JSONEncoder()
        var subject = Subject(threads: threads)
        while let line = readLine() {
            let request = try JSONDecoder().decode(Request.self, from: Data(line.utf8))
            let reply = try subject.answer(request)
            try FileHandle.standardOutput.write(contentsOf: encoder.encode(reply) + [0x0a])
        }
    }
}

/// What the driver asks for.
struct Request: Decodable {
    /// load, likelihoods, score, latency, train, peak, gemm, gemmTrain or memory.
    var op: String
    var features: Int?
    var layers: Int?
    var width: Int?
    /// A file of float32: the weights of all couplings, in the order of the model file.
    var weights: String?
    /// A file of float32: rows.
    var rows: String?
    /// Where `likelihoods` writes float64.
    var into: String?
    /// Rows of a call or of a step.
    var batch: Int?
    /// How long to measure.
    var seconds: Double?
}

/// What was measured.
struct Reply: Encodable {
    /// Rows, or records one by one, or floating-point operations.
    var count = 0.0
    /// Calls or steps.
    var calls = 0
    var cpuSeconds = 0.0
    var wallSeconds = 0.0
    /// Of one record, in microseconds of CPU time.
    var p50 = 0.0
    var p99 = 0.0
    /// Calls of the allocator during the measurement.
    var allocations = 0
    /// The process's highest memory so far.
    var peakBytes = 0
    /// What the side says of itself.
    var note = ""
}

/// CPU time of all threads, wall time and allocations, from a moment on.
struct Meter {
    private let cpu = Meter.cpuTime()
    private let wall = Meter.time(CLOCK_MONOTONIC)
    private let allocations = allocationCount()

    static func cpuTime() -> Double { time(CLOCK_PROCESS_CPUTIME_ID) }

    static func time(_ clock: clockid_t) -> Double {
        var now = timespec()
        clock_gettime(clock, &now)
        return Double(now.tv_sec) + 1e-9 * Double(now.tv_nsec)
    }

    var elapsed: Double { Meter.time(CLOCK_MONOTONIC) - wall }

    func read(into reply: inout Reply) {
        reply.allocations = allocationCount() - allocations
        reply.cpuSeconds = Meter.cpuTime() - cpu
        reply.wallSeconds = elapsed
    }
}
