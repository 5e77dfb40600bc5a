import Detection
import FlowDensity
import Ingest

/// The detector whose file the checks damage, and which scores.
enum Reference {
    static let schema = Schema(
        features: ["a", "b", "d"], categories: ["c"], optional: ["b"], time: "time")

    /// Fitted once a process; the same records give the same one.
    static let detector = Result {
        let options = DetectorOptions(
            members: 1, seed: 1, lags: 0, windows: [2, 5], calendar: [.hourOfDay],
            missing: MissingPolicies(columns: ["b": .median]))
        return try Detector.fit(records(200), options: options).detector
    }

    /// The content of its file.
    static let file = Result {
        try TensorFile(decoding: detector.get().encoded(), name: "reference")
    }

    static func records(_ count: Int, of schema: Schema = schema) -> RecordBatch {
        var generator = SeededGenerator(seed: 7)
        var batch = RecordBatch(schema: schema)
        for row in 0..<count {
            let base = Double.random(in: -1...1, using: &generator)
            batch.append(
                schema.features.enumerated().map { index, name in
                    schema.optional.contains(name) && row % 9 == 0
                        ? .nan
                        : base * Double(index + 1) + .random(in: -0.1...0.1, using: &generator)
                },
                categories: schema.categories.map { name in
                    schema.optional.contains(name) && row % 7 == 0
                        ? nil : ["on", "off"][row / 5 % 2]
                },
                time: schema.time == nil ? .nan : 1_700_000_000 + 60 * Double(row))
        }
        return batch
    }
}

/// A container is refused with an error, or read; one that was read is written as it was.
enum ContainerCheck {
    static func run(_ input: [UInt8]) throws -> Bool {
        // Without the right checksum nothing behind it would ever be reached.
        for bytes in [input, sealed(input)] {
            guard let file = try? TensorFile(decoding: bytes, name: "in") else { continue }
            for tensor in file.tensors.values {
                try promise(
                    tensor.shape.reduce(1, *) == tensor.count, "a shape is not that of its tensor")
            }
            let written = file.encoded()
            let again = try TensorFile(decoding: written, name: "in")
            try promise(
                again.metadata == file.metadata && again.tensors == file.tensors,
                "a container changes as it is written and read")
            _ = try? FlowMixture<Float>(reading: file)
            _ = try? Detector(decoding: bytes, name: "in")
            return true
        }
        return false
    }

    /// The bytes with the length of the header and the checksum put right.
    ///
    /// The header ends at the first line break, as a header of one line has none.
    private static func sealed(_ input: [UInt8]) -> [UInt8] {
        let end = input.firstIndex(of: 0x0A) ?? input.count
        var bytes = (0..<8).map { UInt8(truncatingIfNeeded: end >> (8 * $0)) } + input[..<end]
        bytes += input[min(end + 1, input.count)...]
        let mark = Array("\"checksum\":\"fnv1a64:".utf8)
        let places = 8..<max(8, 8 + end - mark.count - 16)
        guard let place = places.first(where: { bytes[$0...].starts(with: mark) }) else {
            return bytes
        }
        let digits = (place + mark.count)..<(place + mark.count + 16)
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in 8..<bytes.count {
            let byte = digits.contains(index) ? 0x30 : bytes[index]
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        let text = String(hash, radix: 16)
        let padded = String(repeating: "0", count: 16 - text.count) + text
        bytes.replaceSubrange(digits, with: padded.utf8)
        return bytes
    }
}

/// A model file with anything in the place of what it holds is refused, or makes a detector that scores.
enum ModelCheck {
    static func run(_ choices: inout Choices) throws -> Bool {
        var file = try Reference.file.get()
        let flags = choices.byte()
        while !choices.rest.isEmpty { try change(&file, &choices) }
        guard let detector = try? Detector(decoding: file.encoded(), name: "in") else {
            return false
        }
        if flags & 1 != 0 {
            let written = detector.encoded()
            let again = try Detector(decoding: written, name: "in")
            try promise(again.encoded() == written, "a model changes as it is written and read")
        }
        var state = ContextState()
        let scores = detector.score(
            Reference.records(12, of: detector.schema), state: &state)
        try promise(
            scores.logLikelihood.allSatisfy { $0.isFinite }, "a log-likelihood is not finite")
        try promise(
            scores.pValue.allSatisfy { (0...1).contains($0) }, "a p-value is no probability")
        let threshold = detector.threshold(falseAlarmProbability: 1e-3)
        _ = detector.verdicts(scores, threshold: threshold)
        _ = detector.threshold(logLikelihood: -10)
        try promise(detector.sample(2, seed: 1).rowCount == 2, "too few records are drawn")
        return true
    }

    /// Puts something else in the place of an entry, of a value in the detector's JSON, or of a tensor.
    private static func change(_ file: inout TensorFile, _ choices: inout Choices) throws {
        let kind = choices.byte() % 4
        switch kind {
        case 0:
            let keys = file.metadata.keys.sorted()
            guard !keys.isEmpty else { return }
            file.metadata[choices.element(of: keys)] = choices.text()
        case 1:
            let json = Array((file.metadata["detector"] ?? "").utf8)
            let values = scalars(of: json)
            guard !values.isEmpty else { return }
            let range = values[choices.word() % values.count]
            let text = choices.text()
            file.metadata["detector"] = String(
                decoding: json[..<range.lowerBound] + text.utf8 + json[range.upperBound...],
                as: UTF8.self)
        default:
            let names = file.tensors.keys.sorted()
            guard !names.isEmpty else { return }
            let name = choices.element(of: names)
            let tensor = try file.tensor(name)
            let number = choices.element(of: numbers)
            if kind == 3 {
                // Another shape of the same or another size.
                let count = choices.byte() % 4 == 0 ? tensor.count : choices.word() % 512
                file.tensors[name] = TensorFile.Tensor(
                    [Double](repeating: number, count: count), shape: [count])
            } else if tensor.count > 0 {
                file.tensors[name] = try replaced(tensor, choices.word() % tensor.count, number)
            }
        }
    }

    private static let numbers: [Double] = [
        0, 1, -1, 0.5, 1e-30, 1e30, -1e30, 1e300, -1e300, .leastNonzeroMagnitude, .infinity,
        -.infinity, .nan, 2, 64,
        -0.0,
    ]

    private static func replaced(
        _ tensor: TensorFile.Tensor, _ index: Int, _ number: Double
    ) throws -> TensorFile.Tensor {
        switch tensor.elementType {
        case .int64:
            var values = try tensor.integers()
            values[index] = Int64(exactly: number) ?? .max
            return TensorFile.Tensor(values, shape: tensor.shape)
        case .float32:
            var values = try tensor.floats()
            values[index] = Float(number)
            return TensorFile.Tensor(values, shape: tensor.shape)
        case .float64:
            var values = try tensor.doubles()
            values[index] = number
            return TensorFile.Tensor(values, shape: tensor.shape)
        }
    }

    /// Where texts, numbers and words stand in JSON that is well formed, keys among the texts.
    private static func scalars(of json: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var at = 0
        while at < json.count {
            let start = at
            if json[at] == UInt8(ascii: "\"") {
                at += 1
                while at < json.count, json[at] != UInt8(ascii: "\"") {
                    at += json[at] == UInt8(ascii: "\\") ? 2 : 1
                }
                at = min(at + 1, json.count)
                found.append(start..<at)
            } else if "{}[],: ".utf8.contains(json[at]) {
                at += 1
            } else {
                while at < json.count, !"{}[],: \"".utf8.contains(json[at]) { at += 1 }
                found.append(start..<at)
            }
        }
        return found
    }
}

/// A body gives as many scored lines and faults in pieces as it gives as a whole.
enum ScoreCheck {
    private struct Counts: Equatable {
        var scored = 0
        var faults = 0
        var isRefused = false
    }

    static func run(_ choices: inout Choices) throws -> Bool {
        let detector = try Reference.detector.get()
        let flags = choices.byte()
        let seed = choices.byte()
        var format = FormatOptions(format: RecordFormat.allCases[flags % 3])
        format.maxLineBytes = 1 << 12
        let outputs = BatchScorer.Output.allCases.filter {
            $0 != .influx || format.format == .influx
        }
        let output = outputs[flags / 4 % outputs.count]
        let whole = try counts(
            [choices.rest], BatchLimits(lines: 4_096, bytes: 1 << 20), detector, format, output)
        let cut = try counts(
            Cuts.pieces(choices.rest, seed: seed),
            BatchLimits(lines: 1 + seed % 5, bytes: 1 + seed),
            detector, format, output)
        try promise(whole == cut, "scores depend on how the lines came: \(whole), \(cut)")
        return whole.scored > 0
    }

    private static func counts(
        _ pieces: [ArraySlice<UInt8>], _ limits: BatchLimits, _ detector: Detector,
        _ format: FormatOptions, _ output: BatchScorer.Output
    ) throws -> Counts {
        var framer = LineFramer(format: format, limits: limits, input: 1, name: "the request")
        var scorer = BatchScorer(
            detector: detector, threshold: detector.threshold(falseAlarmProbability: 0.01),
            format: format, output: output, explains: output == .ndjson)
        var counts = Counts()
        var rest = pieces[...]
        var isAtEnd = false
        while !isAtEnd {
            if !framer.hasCompleteLine { rest.popFirst()?.withUnsafeBytes { framer.append($0) } }
            let isDrained = rest.isEmpty && !framer.hasCompleteLine
            guard let batch = framer.takeBatch(atEnd: isDrained) else { continue }
            isAtEnd = batch.isLast
            do {
                let result = try scorer.process(batch)
                counts.scored += result.scoredCount
                counts.faults += result.faults.count
            } catch {
                return Counts(isRefused: true)
            }
        }
        return counts
    }
}
