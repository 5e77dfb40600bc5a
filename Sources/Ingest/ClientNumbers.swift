/// The greatest number that is committed of each client with a name.
public struct ClientNumbers: Sendable, Codable, Equatable {
    /// So many clients are remembered; then the one that sent nothing for longest is forgotten.
    public static let limit = 1_000

    /// The client that sent last is the last one.
    private var names: [String] = []
    private var numbers: [String: Int64] = [:]

    /// No client.
    public init() {}

    /// `nil` for a client that is not known.
    public func committed(_ client: String) -> Int64? { numbers[client] }

    /// Notes that a client's lines are committed up to a number.
    public mutating func commit(_ client: String, through number: Int64) {
        if names.last != client {
            if numbers[client] != nil { names.removeAll { $0 == client } }
            names.append(client)
        }
        numbers[client] = max(number, numbers[client] ?? 0)
        if names.count > Self.limit { numbers[names.removeFirst()] = nil }
    }
}
