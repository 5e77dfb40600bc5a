import CSpeedLimits
import Detection
import FlowDensity
import Foundation

func allocationCount() -> Int { fg_allocation_count() }

/// flowguard's side: a RealNVP flow of the request's shape with the driver's weights.
struct Subject {
    private let parallel: ParallelFor
    private var flow = Flow<Float>.realNVP(features: 2)
    private var rows = Matrix<Float>(rowCount: 0, columnCount: 2)
    private var limits = GEMMs(features: 2, layers: 1, width: 1)

    init(threads: Int) {
        parallel = .threads(threads)
    }

    mutating func answer(_ request: Request) throws -> Reply {
        let seconds = request.seconds ?? 0.2
        let batch = request.batch ?? 1
        switch request.op {
        case "load": return try load(request)
        case "likelihoods": return try likelihoods(into: request.into ?? "/dev/null")
        case "score": return score(batch, seconds)
        case "latency": return latency(seconds)
        case "train": return try train(batch, seconds)
        case "peak": return peak(seconds)
        case "gemm": return limits.measure(rows: batch, seconds: seconds, isTraining: false)
        case "gemmTrain": return limits.measure(rows: batch, seconds: seconds, isTraining: true)
        case "memory": return memory()
        default: throw UnknownRequest(op: request.op)
        }
    }

    private mutating func load(_ request: Request) throws -> Reply {
        let (features, layers) = (request.features ?? 2, request.layers ?? 1)
        var options = FlowOptions()
        options.couplingLayers = layers
        // As the peers have it: nothing but couplings, over halves in turn, that see all there is.
        options.conditionerInputBound = 1e6
        options.partition = .halves
        options.normalization = FlowNormalization.none
        options.hiddenWidth = request.width ?? 1
        flow = .realNVP(features: features, options: options)
        flow.parameters = try floats(request.weights ?? "")
        let table = try floats(request.rows ?? "")
        rows = Matrix(
            rowCount: table.count / features, columnCount: features, storage: table)
        limits = GEMMs(features: features, layers: layers, width: options.hiddenWidth)
        var reply = Reply()
        reply.count = Double(flow.parameters.count)
        reply.note = "OpenBLAS \(BLASCore.prepare())"
        return reply
    }

    private func likelihoods(into path: String) throws -> Reply {
        let scores = flow.logLikelihood(rows, parallel: parallel)
        try scores.withUnsafeBytes { try Data($0).write(to: URL(fileURLWithPath: path)) }
        var reply = Reply()
        reply.count = Double(scores.count)
        return reply
    }

    private func score(_ batch: Int, _ seconds: Double) -> Reply {
        let table = repeated(batch)
        var scores = [Double](repeating: 0, count: batch)
        // The first calls make what later ones find: packed weights, workspaces, threads.
        for _ in 0..<3 { flow.logLikelihood(table, parallel: parallel, into: &scores) }
        var reply = Reply()
        let meter = Meter()
        repeat {
            flow.logLikelihood(table, parallel: parallel, into: &scores)
            reply.calls += 1
        } while meter.elapsed < seconds
        meter.read(into: &reply)
        reply.count = Double(reply.calls * batch)
        return reply
    }

    private func latency(_ seconds: Double) -> Reply {
        let records = (0..<min(rows.rowCount, 256)).map { rows.rows($0..<$0 + 1) }
        var score = [0.0]
        var taken = [Double](repeating: 0, count: 200_000)
        for record in records { flow.logLikelihood(record, parallel: parallel, into: &score) }
        var reply = Reply()
        let meter = Meter()
        while meter.elapsed < seconds && reply.calls < taken.count {
            let before = Meter.time(CLOCK_THREAD_CPUTIME_ID)
            flow.logLikelihood(
                records[reply.calls % records.count], parallel: parallel, into: &score)
            taken[reply.calls] = Meter.time(CLOCK_THREAD_CPUTIME_ID) - before
            reply.calls += 1
        }
        meter.read(into: &reply)
        let sorted = taken.prefix(reply.calls).sorted()
        reply.count = Double(reply.calls)
        reply.p50 = 1e6 * sorted[sorted.count / 2]
        reply.p99 = 1e6 * sorted[sorted.count * 99 / 100]
        return reply
    }

    private func train(_ batch: Int, _ seconds: Double) throws -> Reply {
        var options = TrainingOptions()
        options.maximumSteps = 1_000_000
        options.evaluateEverySteps = .max
        options.batchSize = batch
        options.learningRate = 1e-4
        var fitted = flow
        var generator = SeededGenerator(seed: 1)
        var reply = Reply()
        var meter: Meter?
        let warmUp = 3
        _ = try fitted.fit(
            repeated(max(batch, rows.rowCount)), heldOut: rows.rows(0..<1), options: options,
            using: &generator, parallel: parallel
        ) { report in
            if let meter {
                reply.calls += 1
                if meter.elapsed < seconds { return true }
                meter.read(into: &reply)
                return false
            }
            if report.step == warmUp { meter = Meter() }
            return true
        }
        reply.count = Double(reply.calls * batch)
        return reply
    }

    private func peak(_ seconds: Double) -> Reply {
        var reply = Reply()
        var sink: Float = 0
        _ = fg_fma_rounds(10_000, &sink)
        let meter = Meter()
        repeat { reply.count += fg_fma_rounds(10_000, &sink) } while meter.elapsed < seconds
        meter.read(into: &reply)
        reply.note = String(cString: fg_fma_level())
        return reply
    }

    private func memory() -> Reply {
        var usage = rusage()
        getrusage(numericCast(RUSAGE_SELF.rawValue), &usage)
        var reply = Reply()
        reply.peakBytes = usage.ru_maxrss * 1024
        return reply
    }

    /// So many rows, those of the file again and again.
    private func repeated(_ count: Int) -> Matrix<Float> {
        rows.selectingRows((0..<count).map { $0 % rows.rowCount })
    }

    private func floats(_ path: String) throws -> [Float] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}

struct UnknownRequest: Error, CustomStringConvertible {
    var op: String
    var description: String { "expected load, score, latency or another request, found '\(op)'" }
}
