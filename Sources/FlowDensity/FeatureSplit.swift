/// A partition of the features into those that a coupling layer reads and those that it changes.
public struct FeatureSplit: Sendable, Hashable {
    /// The features that pass through unchanged and that the conditioner reads (I₁).
    public let passedThrough: [Int]
    /// The features that are changed (I₂).
    public let transformed: [Int]

    /// A partition given by its parts.
    ///
    /// - Precondition: Each feature is in one part, and one feature at least is transformed.
    public init(passedThrough: [Int], transformed: [Int]) {
        precondition(
            (passedThrough + transformed).sorted()
                == Array(0..<passedThrough.count + transformed.count) && !transformed.isEmpty,
            "a feature split holds each feature once and transforms at least one")
        self.passedThrough = passedThrough
        self.transformed = transformed
    }

    /// The number of features.
    public var featureCount: Int { passedThrough.count + transformed.count }

    /// The split of the n-th coupling layer of a flow: first half by second half and the other way
    /// round, then odd features by even ones and the other way round, and so on.
    ///
    /// One feature alone is always transformed; its conditioner sees the context alone.
    public static func alternating(featureCount: Int, layer: Int) -> FeatureSplit {
        layer % 4 < 2
            ? halves(featureCount: featureCount, layer: layer)
            : parity(featureCount: featureCount, layer: layer)
    }

    /// The first half is read and the second changed in even layers, the other way round in odd ones.
    public static func halves(featureCount: Int, layer: Int) -> FeatureSplit {
        reading(featureCount: featureCount, layer: layer) { $0 < (featureCount + 1) / 2 }
    }

    /// Every second feature is read and the others changed; the other way round in odd layers.
    public static func parity(featureCount: Int, layer: Int) -> FeatureSplit {
        reading(featureCount: featureCount, layer: layer) { $0 % 2 == 0 }
    }

    /// Of a window, every second time is read and the others changed; the other way round in odd layers.
    ///
    /// RealNVP's checkerboard, of a signal; all channels alike, position after position.
    public static func checkerboard(channels: Int, length: Int, layer: Int) -> FeatureSplit {
        precondition(length % 2 == 0, "a checkerboard needs an even number of times")
        func features(_ parity: Int) -> [Int] {
            (0..<length / 2).flatMap { pair in
                (0..<channels).map { $0 * length + 2 * pair + parity }
            }
        }
        return FeatureSplit(
            passedThrough: features(layer % 2), transformed: features(1 - layer % 2))
    }

    /// Of a window, half of the channels is read and the other changed; in odd layers the other way round.
    ///
    /// RealNVP's channel-wise mask; all times alike, position after position.
    public static func channels(_ channels: Int, length: Int, layer: Int) -> FeatureSplit {
        precondition(channels >= 2, "channels can be parted when there are two")
        func features(_ range: Range<Int>) -> [Int] {
            (0..<length).flatMap { time in range.map { $0 * length + time } }
        }
        let lower = features(0..<(channels + 1) / 2)
        let upper = features((channels + 1) / 2..<channels)
        return layer % 2 == 0
            ? FeatureSplit(passedThrough: lower, transformed: upper)
            : FeatureSplit(passedThrough: upper, transformed: lower)
    }

    private static func reading(
        featureCount: Int, layer: Int, _ isFirst: (Int) -> Bool
    ) -> FeatureSplit {
        precondition(featureCount >= 1, "a flow has at least one feature")
        let features = Array(0..<featureCount)
        guard featureCount > 1 else { return FeatureSplit(passedThrough: [], transformed: [0]) }
        let first = features.filter(isFirst)
        let second = features.filter { !isFirst($0) }
        return layer % 2 == 0
            ? FeatureSplit(passedThrough: first, transformed: second)
            : FeatureSplit(passedThrough: second, transformed: first)
    }
}

/// How the coupling layers of a flow part the features.
public enum FeaturePartition: Sendable, Hashable {
    /// Halves, then parity, in turn: each feature meets each other in some layer.
    case alternating
    /// The first half and the second, in turn (RealNVP's channel-wise mask of a row).
    case halves
    /// Every second feature and the others, in turn (NICE; RealNVP's checkerboard of a row).
    case parity
    /// The features that each layer passes through, layer by layer, from the first again after the
    /// last; all others are transformed.
    case given([[Int]])

    /// The split of the n-th coupling layer.
    ///
    /// - Precondition: `isValid(featureCount:couplingLayers:)`.
    public func split(featureCount: Int, layer: Int) -> FeatureSplit {
        switch self {
        case .alternating: return .alternating(featureCount: featureCount, layer: layer)
        case .halves: return .halves(featureCount: featureCount, layer: layer)
        case .parity: return .parity(featureCount: featureCount, layer: layer)
        case .given(let lists):
            let passedThrough = lists[layer % lists.count]
            let isPassed = Set(passedThrough)
            return FeatureSplit(
                passedThrough: passedThrough,
                transformed: (0..<featureCount).filter { !isPassed.contains($0) })
        }
    }

    /// Whether a flow of so many coupling layers can part rows of `featureCount` features so: it has
    /// a layer for each given list; each list names features of the row, each once, and leaves one at
    /// least to transform; each feature is transformed by some layer.
    public func isValid(featureCount: Int, couplingLayers: Int) -> Bool {
        guard case .given(let lists) = self else { return true }
        guard !lists.isEmpty, lists.count <= couplingLayers else { return false }
        var isTransformed = [Bool](repeating: false, count: featureCount)
        /// The last list, counted from 1, that named each feature.
        var lastList = [Int](repeating: 0, count: featureCount)
        for (number, list) in zip(1..., lists) {
            guard list.count < featureCount else { return false }
            for feature in list {
                guard lastList.indices.contains(feature), lastList[feature] != number else {
                    return false
                }
                lastList[feature] = number
            }
            for feature in lastList.indices where lastList[feature] != number {
                isTransformed[feature] = true
            }
        }
        return isTransformed.allSatisfy { $0 }
    }
}

extension FeaturePartition: LosslessStringConvertible {
    /// Reads what `description` writes: a name, or the lists of a given partition.
    public init?(_ description: String) {
        switch description {
        case "alternating": self = .alternating
        case "halves": self = .halves
        case "parity": self = .parity
        default:
            var lists: [[Int]] = []
            for part in description.split(separator: ";", omittingEmptySubsequences: false) {
                let features = part.split(separator: ",").map { Int($0) }
                let known = features.compactMap { $0 }
                guard known.count == features.count else { return nil }
                lists.append(known)
            }
            self = .given(lists)
        }
    }

    /// The name, or the passed-through features of each layer as `0,1;2,3`.
    public var description: String {
        switch self {
        case .alternating: "alternating"
        case .halves: "halves"
        case .parity: "parity"
        case .given(let lists):
            lists.map { $0.map(String.init).joined(separator: ",") }.joined(separator: ";")
        }
    }
}
