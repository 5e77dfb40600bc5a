import Foundation

/// A client that numbers its lines, and sends again what was not acknowledged.
final class NumberedClient {
    private struct Answer: Decodable {
        var ok: Int
    }

    let name: String
    private let path: String
    private var socket: StreamSocket?
    /// Every line that it has, acknowledged or not.
    private(set) var lines: [String] = []
    private(set) var acknowledged = 0
    /// Lines that were sent again.
    private(set) var resent = 0
    private(set) var connections = 0
    private var sent = 0
    private var mostSent = 0
    private var heard: [UInt8] = []

    init(name: String, path: String) {
        self.name = name
        self.path = path
    }

    var isDone: Bool { acknowledged == lines.count }

    func add(_ new: [String]) { lines += new }

    /// Ends the connection, perhaps in the middle of a line.
    func disconnect(inLine: Bool) {
        if inLine, sent < lines.count { try? socket?.send(String(lines[sent].prefix(9))) }
        socket = nil
    }

    /// Connects if it has to, sends some lines, and hears what is acknowledged.
    ///
    /// A connection that breaks is forgotten: what is not acknowledged is sent again over the next one.
    func work(sending count: Int) {
        do {
            if socket == nil { try connect() }
            let end = min(lines.count, sent + count)
            if end > sent {
                let text = lines[sent..<end].map { $0 + "\n" }.joined()
                resent += max(0, min(end, mostSent) - sent)
                sent = end
                mostSent = max(mostSent, sent)
                try socket?.send(text)
            }
            try hear()
        } catch {
            socket = nil
        }
    }

    private func connect() throws {
        let new = try StreamSocket(path: path)
        sent = acknowledged
        heard = []
        connections += 1
        try new.send("{\"hello\":\"\(name)\",\"next\":\(acknowledged + 1)}\n")
        socket = new
    }

    private func hear() throws {
        guard let socket else { return }
        heard += try socket.receiveNow()
        while let end = heard.firstIndex(of: UInt8(ascii: "\n")) {
            let answer = try JSONDecoder().decode(Answer.self, from: Data(heard[..<end]))
            guard answer.ok <= mostSent else {
                throw WaitedInVain(description: "\(answer.ok) acknowledged, \(mostSent) sent")
            }
            acknowledged = max(acknowledged, answer.ok)
            heard.removeSubrange(...end)
        }
    }
}
