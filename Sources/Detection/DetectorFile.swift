import FlowDensity
import Foundation
import Ingest

/// Everything needed to score, in one safetensors file: flows, encoder, calibration, schema, options.
///
/// Tensors of the encoder, in schema order: `encoder.center`, `encoder.scale`, `encoder.lower`, `encoder.upper`,
/// `encoder.step` [features], `encoder.quantiles` [features, ranks]. Of the calibration: `calibration.scores` [rows],
/// ascending. The rest, with the counts of the discrete columns, is JSON in the metadata under `detector`, its version under
/// `detector_version`.
extension Detector {
    private struct Header: Codable {
        var schema: Schema
        var options: DetectorOptions
        var summary: FitSummary
        var lags: Int
        var calendar: [CalendarFeature]
        var discrete: [DiscreteColumn]?
        var constantPenalty: Double
        var low: TailHeader
        var high: TailHeader

        private enum CodingKeys: String, CodingKey {
            case schema, options, summary, lags, calendar, discrete
            case constantPenalty = "constant_penalty_nats"
            case low = "low_tail"
            case high = "high_tail"
        }
    }

    private struct TailHeader: Codable {
        var count: Int
        var shape: Double
        var scale: Double
    }

    /// The version that is written: with discrete columns.
    ///
    /// Version 2, which is read too, had several flows, `flow.0.` and so on; 1 had one, `flow.`.
    private static let formatVersion = 3
    private static let readVersions = 2...3

    /// The model file's bytes; the same detector always gives the same bytes.
    public func encoded() -> [UInt8] {
        var file = TensorFile()
        flows.write(into: &file)
        let columns = encoder.columns
        func column(_ name: String, _ value: (Column) -> Double) {
            file.tensors["encoder." + name] = TensorFile.Tensor(
                columns.map(value), shape: [columns.count])
        }
        column("center", \.center)
        column("scale", \.scale)
        column("lower", \.lower)
        column("upper", \.upper)
        column("step", \.step)
        file.tensors["encoder.quantiles"] = TensorFile.Tensor(
            columns.flatMap(\.quantiles), shape: [columns.count, Column.quantileCount])
        file.tensors["calibration.scores"] = TensorFile.Tensor(
            calibration.low.sorted, shape: [calibration.low.sorted.count])
        let header = Header(
            schema: encoder.schema, options: options, summary: summary, lags: encoder.lags,
            calendar: encoder.calendar, discrete: encoder.discrete.columns,
            constantPenalty: constantPenalty,
            low: TailHeader(
                count: calibration.low.tailCount, shape: calibration.low.shape,
                scale: calibration.low.scale),
            high: TailHeader(
                count: calibration.high.tailCount, shape: calibration.high.shape,
                scale: calibration.high.scale))
        let json = JSONEncoder()
        json.outputFormatting = [.sortedKeys]
        // Numbers, strings and arrays only: encoding them cannot be refused.
        let text = (try? json.encode(header)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        file.metadata["detector_version"] = String(Self.formatVersion)
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
                    reason: "it has detector version \(version), this build reads versions "
                        + "\(Self.readVersions.lowerBound) to \(Self.readVersions.upperBound)")
            }
            let header = try JSONDecoder().decode(
                Header.self, from: Data((file.metadata["detector"] ?? "").utf8))
            let encoder = try Self.encoder(in: file, header: header, name: name)
            let flows = try FlowMixture<Float>(reading: file)
            let scores = try file.tensor("calibration.scores").doubles()
            guard !scores.isEmpty, scores.allSatisfy(\.isFinite),
                flows.featureCount == encoder.active.count,
                flows.contextCount == encoder.contextCount
            else {
                throw DetectionError.modelFile(
                    name: name, reason: "its flows, encoder and calibration do not fit together")
            }
            let calibration = Calibration(
                low: ScoreTail(
                    sorted: scores, tailCount: min(max(header.low.count, 0), scores.count - 1),
                    shape: header.low.shape, scale: header.low.scale),
                high: ScoreTail(
                    sorted: scores.reversed().map { -$0 },
                    tailCount: min(max(header.high.count, 0), scores.count - 1),
                    shape: header.high.shape, scale: header.high.scale))
            self.init(
                options: header.options, summary: header.summary, encoder: encoder, flows: flows,
                calibration: calibration, constantPenalty: header.constantPenalty)
        } catch let error as DetectionError {
            throw error
        } catch let error as FlowDensityError {
            throw .unreadableModel(error)
        } catch {
            throw .modelFile(name: name, reason: "its 'detector' metadata cannot be read: \(error)")
        }
    }

    private static func encoder(
        in file: TensorFile, header: Header, name: String
    ) throws -> Encoder {
        let count = header.schema.features.count
        func column(_ tensor: String, _ length: Int) throws -> [Double] {
            let values = try file.tensor("encoder." + tensor).doubles()
            guard values.count == length, values.allSatisfy(\.isFinite) else {
                throw DetectionError.modelFile(
                    name: name,
                    reason: "tensor 'encoder.\(tensor)': expected \(length) finite numbers")
            }
            return values
        }
        let ranks = Column.quantileCount
        let (center, scale) = (try column("center", count), try column("scale", count))
        let (lower, upper) = (try column("lower", count), try column("upper", count))
        let (step, quantiles) = (try column("step", count), try column("quantiles", count * ranks))
        guard scale.allSatisfy({ $0 > 0 }), step.allSatisfy({ $0 >= 0 }),
            zip(lower, upper).allSatisfy({ $0 <= $1 }),
            (0...DetectorOptions.maximumLags).contains(header.lags)
        else {
            throw DetectionError.modelFile(
                name: name,
                reason: "the encoder's scales, steps, ranges or lags are out of their bounds")
        }
        let columns = (0..<count).map {
            Column(
                center: center[$0], scale: scale[$0], lower: lower[$0], upper: upper[$0],
                step: step[$0], quantiles: Array(quantiles[($0 * ranks)..<(($0 + 1) * ranks)]))
        }
        guard let discrete = DiscreteDensity(restoring: header.discrete ?? [], of: header.schema)
        else {
            throw DetectionError.modelFile(
                name: name, reason: "its discrete columns do not fit its schema or one another")
        }
        return Encoder(
            schema: header.schema, columns: columns, lags: header.lags, calendar: header.calendar,
            missing: header.options.missing ?? MissingPolicies(), discrete: discrete)
    }
}
