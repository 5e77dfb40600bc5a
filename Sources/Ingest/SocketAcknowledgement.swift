import Foundation
import NIOCore
import Synchronization

/// What a client that numbers its lines says first: `{"hello":"gateway-3","next":4712}`.
///
/// The lines after it have the numbers 4712, 4713 and so on. Without it they are numbered from 1, and nothing is known of
/// the client's earlier connections.
struct ClientGreeting: Equatable {
    /// The name by which the client is known over all its connections.
    let hello: String
    /// The number of its next line.
    let next: Int64

    /// The longest line that may be a greeting, and the longest name in it.
    static let maximumBytes = 1_024
    static let maximumNameBytes = 128
    /// The greatest number that every JSON reader holds exactly; counting on from it overflows nothing.
    private static let largestNext: Int64 = 1 << 53

    /// What is wrong with a greeting, as its client is told.
    struct Problem: Error, Equatable {
        let text: String

        /// A line that says so, and ends the connection.
        var answer: String {
            let json = (try? JSONEncoder().encode(["error": text])) ?? Data()
            return String(decoding: json, as: UTF8.self) + "\n"
        }
    }

    /// What there is to read of a greeting, well made or not.
    private struct Draft: Decodable {
        var hello: String?
        var next: Int64?

        private enum Keys: CodingKey { case hello, next }

        init(from decoder: any Decoder) throws {
            let object = try decoder.container(keyedBy: Keys.self)
            hello = try? object.decode(String.self, forKey: .hello)
            next = try? object.decode(Int64.self, forKey: .next)
        }
    }

    /// Reads a line; `nil` if it is no object with a text `hello`, so that it is a record.
    init?(_ line: some Collection<UInt8>) throws(Problem) {
        // Most first lines are records: only an object is looked at.
        guard line.first(where: { ![0x20, 0x09].contains($0) }) == UInt8(ascii: "{"),
            let draft = try? JSONDecoder().decode(Draft.self, from: Data(line)),
            let name = draft.hello
        else { return nil }
        guard !name.isEmpty, name.utf8.count <= Self.maximumNameBytes else {
            throw Problem(
                text: "greeting: expected a name of 1 to \(Self.maximumNameBytes) bytes as hello, "
                    + "found \(name.utf8.count)")
        }
        guard let next = draft.next, (1...Self.largestNext).contains(next) else {
            throw Problem(
                text: "greeting: expected the number of the next line as next, a whole number from "
                    + "1 to \(Self.largestNext), found \(draft.next.map { "\($0)" } ?? "none")")
        }
        (hello, self.next) = (name, next)
    }
}

extension SocketHub.Client {
    /// Takes in bytes, and finds the greeting among the first ones.
    ///
    /// - Returns: The greeting, with the bytes that complete it.
    /// - Throws: What is wrong with it.
    mutating func takeIn(
        _ bytes: UnsafeRawBufferPointer
    ) throws(ClientGreeting.Problem) -> ClientGreeting? {
        guard var held = greeting else {
            framer.append(bytes)
            return nil
        }
        held += bytes
        let end = held.firstIndex(of: 0x0A)
        guard end != nil || held.count > ClientGreeting.maximumBytes else {
            greeting = held
            return nil
        }
        greeting = nil
        var found: ClientGreeting?
        if let end, end <= ClientGreeting.maximumBytes { found = try ClientGreeting(held[..<end]) }
        if let found, let end {
            name = found.hello
            nextSequence = found.next
            held.removeSubrange(...end)
        }
        held.withUnsafeBytes { framer.append($0) }
        return found
    }

    /// Drops what came behind the last whole record: its client was cut off in it, and sends it again.
    mutating func dropCutLine() {
        greeting = nil
        framer.dropCutRecord()
    }
}

extension SocketHub {
    /// Notes that a batch is committed, and says so to its client.
    func acknowledge(_ batch: LineBatch) {
        guard let numbering = batch.numbering else { return }
        let last = numbering.first + Int64(batch.lines.count) - 1
        let id = batch.input
        let channel = state.withLock { state in
            if let client = numbering.client { state.committed.commit(client, through: last) }
            state.listeners[id]?.waiting = last
            return state.listeners[id]?.channel
        }
        channel?.eventLoop.execute { [self] in writeWaiting(to: id) }
    }

    /// Writes the newest acknowledgement that waits for a client; one that does not read gets it later, or a newer one.
    ///
    /// - Precondition: On the event loop of the client.
    func writeWaiting(to id: Int) {
        let (listener, isOver) = state.withLock { state in
            guard let listener = state.listeners[id], let waiting = listener.waiting,
                listener.channel.isWritable
            else { return (nil as Listener?, false) }
            state.listeners[id]?.waiting = nil
            let isOver = listener.end.map { waiting >= $0 } ?? false
            if isOver { state.listeners[id] = nil }
            return (listener, isOver)
        }
        guard let listener, let sequence = listener.waiting else { return }
        let text = ByteBuffer(string: "{\"ok\":\(sequence)}\n")
        listener.channel.writeAndFlush(text, promise: nil)
        if isOver { listener.channel.close(promise: nil) }
    }
}
