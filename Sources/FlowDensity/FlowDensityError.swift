/// Every error of FlowDensity, with its text.
public enum FlowDensityError: Error, Equatable, CustomStringConvertible {
    /// The bytes are not a tensor file written by this project.
    case notAModel(file: String, reason: String)
    /// The file ends before its header says it does.
    case cutShort(file: String, expectedBytes: Int, foundBytes: Int)
    /// The file was written in another version of the format.
    case otherFormatVersion(file: String, found: String, supported: String)
    /// The bytes do not have the checksum that the file carries.
    case checksumMismatch(file: String, stored: String, computed: String)
    /// The header describes tensors that do not fit the file.
    case badTensor(file: String, tensor: String, reason: String)
    /// A tensor that is needed is not in the file.
    case missingTensor(file: String, tensor: String)
    /// A metadata entry that is needed is not in the file.
    case missingMetadata(file: String, key: String)
    /// A metadata entry does not hold what it must.
    case badMetadata(file: String, key: String, found: String, expected: String)
    /// A fit needs rows to learn from and rows to judge by.
    case tooFewRows(set: String, needed: Int, found: Int)
    /// A training row holds a NaN or an infinity.
    case notFinite(set: String, row: Int, column: Int)
    /// The loss stopped being a finite number, also with the smallest step that was tried.
    case diverged(step: Int, lastFiniteLoss: Double?, restarts: Int)
    /// A fit is to go on from a flow of another shape or recipe.
    case otherFlow(property: String, found: String, expected: String)
    /// A fit is to go on from a flow that was never fitted.
    case notFitted

    /// The error in a sentence: subject, rule, what was found.
    public var description: String {
        switch self {
        case .notAModel(let file, let reason):
            "\(file) is not a flowguard model: \(reason)"
        case .cutShort(let file, let expected, let found):
            "\(file) is cut short: its header describes \(expected) bytes, found \(found)"
        case .otherFormatVersion(let file, let found, let supported):
            "\(file) has model format version \(found), this build reads versions \(supported)"
        case .checksumMismatch(let file, let stored, let computed):
            "\(file) is damaged: its checksum is \(stored), its bytes give \(computed)"
        case .badTensor(let file, let tensor, let reason):
            "\(file): tensor '\(tensor)': \(reason)"
        case .missingTensor(let file, let tensor):
            "\(file) has no tensor '\(tensor)'"
        case .missingMetadata(let file, let key):
            "\(file) has no metadata entry '\(key)'"
        case .badMetadata(let file, let key, let found, let expected):
            "\(file): metadata entry '\(key)': expected \(expected), found '\(found)'"
        case .tooFewRows(let set, let needed, let found):
            "a fit needs at least \(needed) \(set) \(needed == 1 ? "row" : "rows"), found \(found)"
        case .notFinite(let set, let row, let column):
            "a fit needs finite numbers: \(set) row \(row), column \(column) is not finite"
        case .diverged(let step, let lastFiniteLoss, let restarts):
            "training stopped at step \(step) after \(restarts) restarts with a smaller step: "
                + "the loss is not finite (last finite: "
                + (lastFiniteLoss.map { "\(Self.rounded($0)) nats per row" } ?? "none") + ")"
        case .otherFlow(let property, let found, let expected):
            "a fit goes on from a flow of the same shape: \(property): expected \(expected), "
                + "found \(found)"
        case .notFitted:
            "a fit goes on from a fitted flow, this one was never fitted"
        }
    }

    private static func rounded(_ value: Double) -> Double {
        (value * 100).rounded() / 100
    }
}
