import Foundation
import NIOCore
import Synchronization

/// What a client that numbers its lines says first: `{"hello":"gateway-3","next":4712}`.
///
/// The lines after it have the numbers 4712, 4713 and so on. Without it they are numbered from 1, and nothing is known of
/// the client's earlier connections.
struct ClientGreeting: Decodable, Equatable {
    /// The name by which the client is known over all its connections.
    let hello: String
    /// The number of its next line.
    let next: Int64

    /// The longest line that may be a greeting, and the longest name in it.
    static let maximumBytes = 1_024
    static let maximumNameBytes = 128
    /// The greatest number that every JSON reader holds exactly; counting on from it overflows nothing.
    private static let largestNext: Int64 = 1 << 53
    private static let start = Array("{\"hello\"".utf8)

    /// Reads a line; `nil` if it is none, so that it is a record.
    init?(_ line: some Collection<UInt8>) {
        guard line.starts(with: Self.start),
            let greeting = try? JSONDecoder().decode(Self.self, from: Data(line)),
            !greeting.hello.isEmpty, greeting.hello.utf8.count <= Self.maximumNameBytes,
            greeting.next > 0, greeting.next <= Self.largestNext
        else { return nil }
        self = greeting
    }
}

extension SocketHub.Client {
    /// Takes in bytes, and finds the greeting among the first ones.
    ///
    /// - Returns: The greeting, with the bytes that complete it.
    mutating func takeIn(_ bytes: UnsafeRawBufferPointer) -> ClientGreeting? {
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
        let found = end.flatMap { ClientGreeting(held[..<$0]) }
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
