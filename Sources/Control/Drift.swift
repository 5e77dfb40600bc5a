import Foundation

/// How far the newest records of a stream have moved from those that its model learned from.
public struct DriftMessage: Sendable, Hashable, Codable {
    /// One feature.
    public struct Feature: Sendable, Hashable, Codable {
        /// Its name.
        public var name: String
        /// Its population stability index.
        public var stabilityIndex: Double
        /// Whether that is a big change.
        public var isBig: Bool

        /// Makes a feature.
        public init(name: String, stabilityIndex: Double, isBig: Bool) {
            self.name = name
            self.stabilityIndex = stabilityIndex
            self.isBig = isBig
        }
    }

    /// The features, the one that has moved furthest first; empty while too few records were seen.
    public var features: [Feature]
    /// The logarithm of the odds against chance that the scores have changed, in nats; 0: nothing speaks for it.
    public var scoreEvidenceNats: Double
    /// Whether that is enough: a million to one.
    public var scoresChanged: Bool
    /// Records since the scores began to differ.
    public var scoresChangedRecords: Int64
    /// How many more records must come before the features are told; 0: they are.
    public var featureRecordsMissing: Int64?
    /// Whether too little was seen to say that the scores have not changed.
    public var isTooEarlyForScores: Bool?

    /// Makes a message.
    public init(
        features: [Feature], scoreEvidenceNats: Double, scoresChanged: Bool,
        scoresChangedRecords: Int64, featureRecordsMissing: Int64? = nil,
        isTooEarlyForScores: Bool? = nil
    ) {
        self.features = features
        self.scoreEvidenceNats = scoreEvidenceNats
        self.scoresChanged = scoresChanged
        self.scoresChangedRecords = scoresChangedRecords
        self.featureRecordsMissing = featureRecordsMissing
        self.isTooEarlyForScores = isTooEarlyForScores
    }
}
