import FlowDensity
import Ingest

/// Every error of the target, with its text.
public enum DetectionError: Error, Equatable, CustomStringConvertible {
    /// Fewer rows than a fit needs.
    case tooFewRows(found: Int, needed: Int)
    /// Every feature has one value only: there is nothing to learn.
    case everyFeatureConstant(features: [String])
    /// The records carry no feature at all.
    case noFeatures
    /// The training stopped without a usable flow.
    case training(FlowDensityError)
    /// The fit was cancelled by its caller.
    case cancelled
    /// A model file that this build cannot use.
    case modelFile(name: String, reason: String)
    /// A model file that is cut short, damaged or holds no flow.
    case unreadableModel(FlowDensityError)
    /// Records of other features than the model's.
    case schema(expected: [String], found: [String])
    /// The input's lines could not be decoded at all, for instance because of its header.
    case ingest(IngestError)
    /// A system call on a file of this target did not succeed.
    case file(path: String, operation: String, code: Int32, text: String)

    /// Subject, rule, what was found.
    public var description: String {
        switch self {
        case .tooFewRows(let found, let needed):
            return "a fit needs at least \(needed) usable rows, found \(found)"
        case .everyFeatureConstant(let features):
            return "every feature has a single value in the training rows "
                + "(\(features.prefix(8).joined(separator: ", "))): there is no density to learn"
        case .noFeatures:
            return "a model needs at least one numeric feature, found none"
        case .training(let error):
            return "training: \(error)"
        case .cancelled:
            return "the fit was cancelled"
        case .modelFile(let name, let reason):
            return "model \(name): \(reason)"
        case .unreadableModel(let error):
            return "model \(error)"
        case .schema(let expected, let found):
            return "the model reads the features \(expected.joined(separator: ", ")), "
                + "found \(found.joined(separator: ", "))"
        case .ingest(let error):
            return error.description
        case .file(let path, let operation, _, let text):
            return "\(path): \(operation): \(text)"
        }
    }
}
