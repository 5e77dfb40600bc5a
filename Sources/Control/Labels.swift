import Foundation

/// What is said of an anomaly: the body of `PUT /v1/anomalies/{id}/label`.
public struct LabelUpdate: Sendable, Hashable, Codable {
    /// `false-alarm` or `true`.
    public var label: String
    /// In the person's own words.
    public var note: String?

    /// The longest note, in bytes.
    public static let mostNoteBytes = 2_000

    /// Makes an update.
    public init(label: String, note: String?) {
        self.label = label
        self.note = note
    }
}

/// What a label brought about; the answer to `PUT` and `DELETE /v1/anomalies/{id}/label`.
public struct LabelReply: Sendable, Hashable, Codable {
    /// The anomaly.
    public var anomaly: Int64
    /// Its stream.
    public var stream: String
    /// `false-alarm` or `true`; `nil`: it has none any more.
    public var label: String?
    /// In the person's own words.
    public var note: String?
    /// The episode that the anomaly is in.
    public var episode: Int64?
    /// Anomalies of that episode.
    public var episodeAnomalies: Int
    /// Those among them that are like this one, itself included.
    public var likeInEpisode: Int
    /// Which anomalies are its like, in words.
    public var like: String

    /// Makes a reply.
    public init(
        anomaly: Int64, stream: String, label: String?, note: String?, episode: Int64?,
        episodeAnomalies: Int, likeInEpisode: Int, like: String
    ) {
        self.anomaly = anomaly
        self.stream = stream
        self.label = label
        self.note = note
        self.episode = episode
        self.episodeAnomalies = episodeAnomalies
        self.likeInEpisode = likeInEpisode
        self.like = like
    }
}

/// How many anomalies of a stream a person has judged.
public struct LabelCounts: Sendable, Hashable, Codable {
    /// Labelled `false-alarm`.
    public var falseAlarms: Int
    /// Labelled `true`.
    public var confirmed: Int

    /// Makes counts.
    public init(falseAlarms: Int, confirmed: Int) {
        self.falseAlarms = falseAlarms
        self.confirmed = confirmed
    }
}
