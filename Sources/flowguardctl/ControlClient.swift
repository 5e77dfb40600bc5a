import ArgumentParser
import Control
import Foundation
import Ingest
import NIOCore
import NIOHTTP1
import NIOPosix

/// Where the daemon listens.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The daemon's control socket; else $FLOWGUARD_SOCKET, else /run/flowguard/control.sock.",
            valueName: "path"))
    var socket: String?

    /// A client of that socket.
    var client: ControlClient {
        let variable = ProcessInfo.processInfo.environment["FLOWGUARD_SOCKET"]
        let named = socket ?? variable.flatMap { $0.isEmpty ? nil : $0 }
        return ControlClient(socketPath: named ?? "/run/flowguard/control.sock")
    }
}

/// The stream that a command is about.
struct StreamArgument: ParsableArguments {
    @Argument(help: "The stream.")
    var stream: String

    func validate() throws { try StreamName.validate(stream) }
}

/// The name of a stream, or of a key of one as `STREAM/KEY`.
enum StreamName {
    /// Throws if it is empty: the path of a request would name something else.
    static func validate(_ name: String, _ place: String = "STREAM") throws(ValidationError) {
        guard !name.isEmpty else {
            throw ValidationError("\(place): expected a name, found ''")
        }
    }

    /// As a shell takes it: a key may be any text.
    static func quoted(_ name: String) -> String {
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                return true
            default: return "._-/:@%+".utf8.contains(byte)
            }
        }
        return isPlain ? name : "'" + name.replacingScalars(["'": "'\\''"]) + "'"
    }
}

/// What is done with what a path names.
enum ControlMethod {
    case get
    case post
    case put
    case delete

    fileprivate var http: HTTPMethod {
        switch self {
        case .get: .GET
        case .post: .POST
        case .put: .PUT
        case .delete: .DELETE
        }
    }

    /// How long the daemon may take to begin its answer: what it only tells it has at hand, as a rule; a change may wait for a
    /// batch or a fit.
    fileprivate var answerLimit: Duration { .seconds(self == .get ? 20 : 60) }
}

/// Speaks HTTP/1.1 with the daemon over its Unix socket, a connection a request.
struct ControlClient: Sendable {
    /// The socket.
    let socketPath: String

    private typealias Connection = NIOAsyncChannel<
        HTTPClientResponsePart, HTTPClientRequestPart
    >

    /// A message that the daemon holds.
    func get<Message: Decodable>(
        _ type: Message.Type, _ path: String
    ) async throws -> Message {
        try decode(type, from: try await bytes(.get, path))
    }

    /// A message that answers a change.
    func send<Message: Decodable>(
        _ method: ControlMethod, _ path: String, body: (any Encodable)? = nil,
        reply: Message.Type
    ) async throws -> Message {
        try decode(reply, from: try await bytes(method, path, body: body))
    }

    /// The whole body of an answer.
    func bytes(
        _ method: ControlMethod, _ path: String, body: (any Encodable)? = nil
    ) async throws -> Data {
        var data = Data()
        try await stream(method, path, body: body) { data.append(contentsOf: $0) }
        return data
    }

    /// The message that an answer holds.
    func decode<Message: Decodable>(_ type: Message.Type, from data: Data) throws -> Message {
        do {
            return try ControlJSON.decode(type, from: data)
        } catch {
            throw CommandFailure(
                "\(socketPath): expected a \(Message.self) of flowguardd "
                    + "\(FlowguardVersion.current), found another answer",
                hint: "install flowguardd and flowguardctl of one version")
        }
    }

    /// Gives the body of an answer piece by piece, as it arrives.
    func stream(
        _ method: ControlMethod, _ path: String, body: (any Encodable)? = nil,
        _ receive: (ArraySlice<UInt8>) async throws -> Void
    ) async throws {
        let connection = try await connect()
        // Set until the answer has begun.
        var answerDue: ContinuousClock.Instant? = .now + method.answerLimit
        var lost: CommandFailure {
            answerDue.map { .now >= $0 } == true ? silent(method.answerLimit) : brokenOff
        }
        do {
            try await connection.executeThenClose { inbound, outbound in
                try await send(method, path, body: body, to: outbound)
                // The socket is closed under a daemon that does not begin to answer.
                let channel = connection.channel
                let limit = channel.eventLoop.scheduleTask(
                    in: TimeAmount(method.answerLimit)
                ) {
                    channel.close(promise: nil)
                }
                defer { limit.cancel() }
                var status: HTTPResponseStatus?
                var refusal: [UInt8] = []
                for try await part in inbound {
                    switch part {
                    case .head(let head):
                        limit.cancel()
                        answerDue = nil
                        status = head.status
                    case .body(let buffer):
                        if status == .ok || status == .accepted || status == .created {
                            try await receive(Array(buffer.readableBytesView)[...])
                        } else {
                            refusal += buffer.readableBytesView
                        }
                    case .end:
                        try requireSuccess(status, refusal)
                        return
                    }
                }
                throw lost
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch is IOError {
            throw lost
        } catch is ChannelError {
            throw lost
        } catch is HTTPParserError {
            throw CommandFailure(
                "\(socketPath): expected the control socket of flowguardd, found another program",
                hint: "name the socket with --socket", status: .unavailable)
        }
    }

    private func send(
        _ method: ControlMethod, _ path: String, body: (any Encodable)?,
        to outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>
    ) async throws {
        var head = HTTPRequestHead(version: .http1_1, method: method.http, uri: path)
        head.headers.add(name: "Host", value: "flowguardd")
        head.headers.add(name: "User-Agent", value: "flowguardctl/\(FlowguardVersion.current)")
        head.headers.add(name: "Connection", value: "close")
        let content = try body.map { try ControlJSON.encode($0) }
        if let content {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: String(content.count))
        } else if method != .get {
            head.headers.add(name: "Content-Length", value: "0")
        }
        var parts: [HTTPClientRequestPart] = [.head(head)]
        if let content { parts.append(.body(.byteBuffer(ByteBuffer(bytes: content)))) }
        parts.append(.end(nil))
        // In one write: a daemon that has read the head of a GET may answer and close already.
        do {
            try await outbound.write(contentsOf: parts)
        } catch is ChannelError {
            // Whether there is an answer shows when it is read.
        }
    }

    private func requireSuccess(
        _ status: HTTPResponseStatus?, _ refusal: [UInt8]
    ) throws(CommandFailure) {
        guard let status, status.code >= 300 else { return }
        if let reply = try? ControlJSON.decode(ErrorReply.self, from: Data(refusal)) {
            throw CommandFailure(
                printable(reply.error), hint: reply.hint.map(printable),
                status: status.code == 503 ? .unavailable : .failed)
        }
        throw CommandFailure("\(socketPath): the daemon answered \(status.code)")
    }

    private func silent(_ limit: Duration) -> CommandFailure {
        CommandFailure(
            "\(socketPath): the daemon gave no answer for \(limit.components.seconds) s",
            hint: "it is busy or stuck: look at its log: journalctl -u flowguardd",
            status: .unavailable)
    }

    private var brokenOff: CommandFailure {
        CommandFailure(
            "\(socketPath): the daemon ended the connection before its answer was complete",
            hint: "look at its log: journalctl -u flowguardd", status: .unavailable)
    }

    private func connect() async throws -> Connection {
        do {
            return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(unixDomainSocketPath: socketPath) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        return try Connection(wrappingChannelSynchronously: channel)
                    }
                }
        } catch let error as IOError {
            throw unreachable(error.errnoCode)
        } catch SocketAddressError.unixDomainSocketPathTooLong {
            throw CommandFailure(
                "\(socketPath): a socket's path has at most \(SocketSource.pathLimit) bytes, "
                    + "found \(socketPath.utf8.count)", status: .unavailable)
        } catch let error as NIOConnectionError {
            throw CommandFailure(
                "\(socketPath): the daemon is not reachable: \(error)", status: .unavailable)
        }
    }

    private func unreachable(_ number: Int32) -> CommandFailure {
        let hint: String
        switch number {
        case EACCES, EPERM:
            hint = "run as root or as a member of the group flowguard"
        case ENOENT:
            hint =
                "is the daemon running? systemctl status flowguardd; "
                + "another socket is named with --socket"
        default:
            hint = "is the daemon running? systemctl status flowguardd"
        }
        return CommandFailure(
            "the daemon is not reachable at \(socketPath): \(Descriptor.text(number))",
            hint: hint, status: .unavailable)
    }
}
