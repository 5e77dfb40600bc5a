import FlowDensity
import Foundation
import Ingest

/// Everything needed to score, in one safetensors file: flows, encoder, calibration, schema, options.
///
/// Tensors of the encoder, in schema order: `encoder.center`, `encoder.scale`, `encoder.lower`, `encoder.upper`,
/// `encoder.step` [features], `encoder.quantiles` [features, ranks]; with windows the same of each part, `encoder.part.…`
/// [parts · active features], and `encoder.recovery` [windows, longest, active features]; where some features hold their readings, of these the
/// last part alone, and no recovery. Of the calibration: `calibration.scores` [rows],
/// ascending; with windows also `calibration.beginning.0` and so on, of records with so many windows full. The rest, with the counts of the discrete columns, is JSON in the metadata under `detector`, its version under `detector_version`.
extension Detector {
    private struct Header: Codable {
        var schema: Schema
        var options: DetectorOptions
        var summary: FitSummary
        var lags: Int
        var windows: [Int]?
        /// By their place among the features that vary; `nil`: all.
        var moving: [Int]?
        var calendar: [CalendarFeature]
        var timeZone: String?
        var gapSecs: Double?
        var discrete: [DiscreteColumn]?
        var constantPenalty: Double
        var low: TailHeader
        var high: TailHeader
        var beginnings: [TailHeader]?
        var repeats: Repeats?
        var lineage: Lineage?

        private enum CodingKeys: String, CodingKey {
            case schema, options, summary, lags, windows, calendar, discrete, lineage, repeats,
                moving
            case timeZone = "time_zone"
            case gapSecs = "gap_secs"
            case constantPenalty = "constant_penalty_nats"
            case low = "low_tail"
            case high = "high_tail"
            case beginnings = "beginning_tails"
        }
    }

    private struct TailHeader: Codable {
        var count: Int
        var shape: Double
        var scale: Double

        init(_ tail: ScoreTail) {
            count = tail.tailCount
            shape = tail.shape
            scale = tail.scale
        }

        func tail(_ sorted: [Double]) -> ScoreTail {
            ScoreTail(
                sorted: sorted, tailCount: min(max(count, 0), sorted.count - 1), shape: shape,
                scale: scale)
        }
    }

    /// The version that is written: with windows and discrete columns; 4 where some features have no windows.
    ///
    /// Version 2, which is read too, had several flows, `flow.0.` and so on; 1 had one, `flow.`.
    private var formatVersion: Int { encoder.windows.map(hasHeld) == true ? 4 : 3 }
    private static let readVersions = 2...4

    private func hasHeld(_ windows: StateWindows) -> Bool {
        windows.moving.count < encoder.active.count
    }

    /// The model file's bytes; the same detector always gives the same bytes.
    public func encoded() -> [UInt8] {
        var file = TensorFile()
        flows.write(into: &file)
        Self.write(encoder.columns, as: "encoder.", into: &file)
        if let windows = encoder.windows {
            Self.write(windows.parts, as: "encoder.part.", into: &file)
            file.tensors["encoder.recovery"] = TensorFile.Tensor(
                windows.recovery,
                shape: [windows.lengths.count, windows.longest, windows.moving.count])
        }
        file.tensors["calibration.scores"] = TensorFile.Tensor(
            calibration.low.sorted, shape: [calibration.low.sorted.count])
        let header = Header(
            schema: encoder.schema, options: options, summary: summary, lags: encoder.context.lags,
            windows: encoder.windows?.lengths,
            moving: encoder.windows.flatMap { hasHeld($0) ? $0.moving : nil },
            calendar: encoder.context.calendar,
            timeZone: encoder.context.timeZone, gapSecs: encoder.context.gapSecs,
            discrete: encoder.discrete.columns,
            constantPenalty: constantPenalty,
            low: TailHeader(calibration.low), high: TailHeader(calibration.high),
            beginnings: beginnings.isEmpty ? nil : beginnings.map { TailHeader($0) },
            repeats: repeats, lineage: lineage)
        for (i, tail) in beginnings.enumerated() {
            file.tensors["calibration.beginning.\(i)"] = TensorFile.Tensor(
                tail.sorted, shape: [tail.sorted.count])
        }
        let json = JSONEncoder()
        json.outputFormatting = [.sortedKeys]
        // Numbers, strings and arrays only: encoding them cannot be refused.
        let text = (try? json.encode(header)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        file.metadata["detector_version"] = String(formatVersion)
        file.metadata["detector"] = text
        return file.encoded()
    }

    /// Restores a detector.
    ///
    /// - Parameters:
    ///   - bytes: The file's content.
    ///   - name: Its path, for the error's text.
    /// - Throws: `modelFile` when it is cut short, damaged, no detector or of another version.
    public init(decoding bytes: [UInt8], name: String) throws(DetectionError) {
        do {
            let file = try TensorFile(decoding: bytes, name: name)
            guard let version = file.metadata["detector_version"] else {
                throw DetectionError.modelFile(
                    name: name, reason: "it is a tensor file but holds no detector")
            }
            guard Self.readVersions.contains(where: { String($0) == version }) else {
                throw DetectionError.modelFile(
                    name: name,
                    reason: "it has detector version \(version), "
                        + "this build reads versions \(Self.readVersions.lowerBound) "
                        + "to \(Self.readVersions.upperBound)")
            }
            let header = try JSONDecoder().decode(
                Header.self, from: Data((file.metadata["detector"] ?? "").utf8))
            let encoder = try Self.encoder(in: file, header: header, name: name)
            let flows = try FlowMixture<Float>(reading: file)
            let scores = try file.tensor("calibration.scores").doubles()
            guard !scores.isEmpty, scores.allSatisfy(\.isFinite),
                flows.featureCount == encoder.inputCount,
                flows.contextCount == encoder.contextCount
            else {
                throw DetectionError.modelFile(
                    name: name, reason: "its flows, encoder and calibration do not fit together")
            }
            let calibration = Calibration(
                low: header.low.tail(scores),
                high: header.high.tail(scores.reversed().map { -$0 }))
            let tails = header.beginnings ?? []
            let beginnings = try tails.enumerated().map { i, tail in
                let sorted = try file.tensor("calibration.beginning.\(i)").doubles()
                guard !sorted.isEmpty, sorted.allSatisfy(\.isFinite) else {
                    throw DetectionError.modelFile(
                        name: name, reason: "its calibration of beginnings holds no numbers")
                }
                return tail.tail(sorted)
            }
            guard beginnings.count == encoder.windows?.lengths.count ?? 0 else {
                throw DetectionError.modelFile(
                    name: name, reason: "its windows and their calibration do not fit together")
            }
            guard header.repeats?.isSound(featureCount: encoder.active.count) ?? true else {
                throw DetectionError.modelFile(
                    name: name, reason: "its runs of equal readings are out of their bounds")
            }
            guard header.lineage?.isSound ?? true else {
                throw DetectionError.modelFile(
                    name: name, reason: "the blocks of its records are out of their bounds")
            }
            self.init(
                options: header.options, summary: header.summary, encoder: encoder, flows: flows,
                calibration: calibration, beginnings: beginnings, repeats: header.repeats,
                constantPenalty: header.constantPenalty, lineage: header.lineage)
        } catch let error as DetectionError {
            throw error
        } catch let error as FlowDensityError {
            throw .unreadableModel(error)
        } catch {
            throw .modelFile(name: name, reason: "its 'detector' metadata cannot be read: \(error)")
        }
    }

    private static func write(
        _ columns: [Column], as prefix: String, into file: inout TensorFile
    ) {
        func tensor(_ name: String, _ value: (Column) -> Double) {
            file.tensors[prefix + name] = TensorFile.Tensor(
                columns.map(value), shape: [columns.count])
        }
        tensor("center", \.center)
        tensor("scale", \.scale)
        tensor("lower", \.lower)
        tensor("upper", \.upper)
        tensor("step", \.step)
        file.tensors[prefix + "quantiles"] = TensorFile.Tensor(
            columns.flatMap(\.quantiles), shape: [columns.count, Column.quantileCount])
    }

    private static func encoder(
        in file: TensorFile, header: Header, name: String
    ) throws -> Encoder {
        let columns = try columns(
            "encoder.", count: header.schema.features.count, in: file, name: name)
        var context = ContextPlan()
        context.lags = header.lags
        context.calendar = header.calendar
        context.timeZone = header.timeZone
        context.gapSecs = header.gapSecs
        let missing = header.options.missing ?? MissingPolicies()
        guard let discrete = DiscreteDensity(restoring: header.discrete ?? [], of: header.schema)
        else {
            throw DetectionError.modelFile(
                name: name, reason: "its discrete columns do not fit its schema or one another")
        }
        let bare = Encoder(
            schema: header.schema, columns: columns, context: context, windows: nil,
            missing: missing, discrete: discrete)
        let lengths = header.windows ?? []
        guard (0...DetectorOptions.maximumLags).contains(header.lags),
            lengths.allSatisfy({ (2...DetectorOptions.maximumLags).contains($0) }),
            lengths.count <= DetectorOptions.maximumWindows,
            zip(lengths, lengths.dropFirst()).allSatisfy({ $0 < $1 }), header.gapSecs ?? 1 > 0
        else {
            throw DetectionError.modelFile(
                name: name, reason: "the encoder's lags, windows or gap are out of their bounds")
        }
        guard let longest = lengths.last else { return bare }
        let width = bare.active.count
        let moving = header.moving ?? Array(0..<width)
        guard moving.allSatisfy({ (0..<width).contains($0) }),
            zip(moving, moving.dropFirst()).allSatisfy({ $0 < $1 })
        else {
            throw DetectionError.modelFile(
                name: name, reason: "the features with windows are out of their bounds")
        }
        let count = StateWindows.inputCount(
            lengths: lengths.count, moving: moving.count, width: width)
        let parts = try self.columns("encoder.part.", count: count, in: file, name: name)
        let recovery = try numbers(
            "encoder.recovery", count: lengths.count * longest * moving.count, in: file, name: name)
        return Encoder(
            schema: header.schema, columns: columns, context: context,
            windows: StateWindows(
                lengths: lengths, moving: moving, width: width, parts: parts, recovery: recovery),
            missing: missing, discrete: discrete)
    }

    private static func columns(
        _ prefix: String, count: Int, in file: TensorFile, name: String
    ) throws -> [Column] {
        func column(_ tensor: String, _ length: Int) throws -> [Double] {
            try numbers(prefix + tensor, count: length, in: file, name: name)
        }
        let ranks = Column.quantileCount
        let (center, scale) = (try column("center", count), try column("scale", count))
        let (lower, upper) = (try column("lower", count), try column("upper", count))
        let (step, quantiles) = (try column("step", count), try column("quantiles", count * ranks))
        guard scale.allSatisfy({ $0 > 0 }), step.allSatisfy({ $0 >= 0 }),
            zip(lower, upper).allSatisfy({ $0 <= $1 })
        else {
            throw DetectionError.modelFile(
                name: name, reason: "the encoder's scales, steps or ranges are out of their bounds")
        }
        return (0..<count).map {
            Column(
                center: center[$0], scale: scale[$0], lower: lower[$0], upper: upper[$0],
                step: step[$0], quantiles: Array(quantiles[($0 * ranks)..<(($0 + 1) * ranks)]))
        }
    }

    private static func numbers(
        _ tensor: String, count: Int, in file: TensorFile, name: String
    ) throws -> [Double] {
        let values = try file.tensor(tensor).doubles()
        guard values.count == count, values.allSatisfy(\.isFinite) else {
            throw DetectionError.modelFile(
                name: name, reason: "tensor '\(tensor)': expected \(count) finite numbers")
        }
        return values
    }
}
