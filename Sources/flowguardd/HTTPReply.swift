import Control
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Streams
import Synchronization

/// What a request cannot have, with its HTTP status.
struct HTTPFailure: Error {
    var status: HTTPResponse.Status
    var reply: ErrorReply
    /// Beside those of every reply.
    var headers: HTTPFields

    init(
        _ status: HTTPResponse.Status, _ error: String, hint: String? = nil,
        headers: HTTPFields = [:]
    ) {
        self.status = status
        self.headers = headers
        reply = ErrorReply(error: error, hint: hint)
    }
}

/// Replies in the forms of the control API.
enum HTTPReply {
    /// A message as JSON.
    static func json(
        _ message: some Encodable, status: HTTPResponse.Status = .ok
    ) throws -> Response {
        var bytes = try Array(ControlJSON.encode(message))
        bytes.append(UInt8(ascii: "\n"))
        return Self.bytes(bytes, type: "application/json", status: status)
    }

    /// Bytes as they are.
    static func bytes(
        _ bytes: [UInt8], type: String, status: HTTPResponse.Status = .ok
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    /// What went wrong, as JSON.
    static func failure(_ error: any Error) -> Response {
        let failure: HTTPFailure
        switch error {
        case let error as HTTPFailure:
            failure = error
        case let error as RequestError:
            let status: HTTPResponse.Status
            switch error {
            case .unknownModel, .unknownAnomaly: status = .notFound
            case .stopping: status = .serviceUnavailable
            case .noModel, .prunedModel, .otherFeatures, .noRecords, .notOpen, .featuresAwaited,
                .notLabelled, .tooManyLabels, .borrowedModel:
                status = .conflict
            }
            failure = HTTPFailure(status, error.description, hint: error.hint)
        case let error as HTTPError:
            failure = HTTPFailure(
                error.status,
                error.status == .notFound
                    ? "there is nothing at this path"
                    : error.body ?? error.status.reasonPhrase)
        default:
            failure = HTTPFailure(.internalServerError, "\(error)")
        }
        var reply =
            (try? json(failure.reply, status: failure.status)) ?? Response(status: failure.status)
        reply.headers.append(contentsOf: failure.headers)
        return reply
    }
}

/// Turns every error into a reply of the control API's form.
struct FailureMiddleware: RouterMiddleware {
    typealias Context = ControlContext

    func handle(
        _ request: Request, context: Context,
        next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            await context.body.drop(request.body)
            let reply = HTTPReply.failure(error)
            return request.method == .head ? reply.createHeadResponse() : reply
        }
    }
}

extension Request {
    /// Throws if the query has another key: a misspelt one would be without effect.
    func requireKeys(_ known: [String]) throws(HTTPFailure) {
        for (key, _) in uri.queryParameters where !known.contains(String(key)) {
            throw HTTPFailure(
                .badRequest,
                "expected \(known.joined(separator: ", ")) in the query, found "
                    + "'\(key.prefix(40))'")
        }
    }
}

/// Whether somebody reads the body of a request: what nobody reads is dropped before a refusal, which a client that
/// still sends does not see.
final class RequestBodyState: Sendable {
    /// Beyond this a connection is given up.
    static let maximumDroppedBytes = 1 << 30

    private let isTaken = Mutex(false)

    /// Somebody reads it from here on.
    func take() { isTaken.withLock { $0 = true } }

    /// Reads the body to its end if nobody has begun to.
    func drop(_ body: RequestBody) async {
        let wasTaken = isTaken.withLock { isTaken in
            defer { isTaken = true }
            return isTaken
        }
        guard !wasTaken else { return }
        var count = 0
        do {
            for try await part in body {
                count += part.readableBytes
                if count > Self.maximumDroppedBytes { break }
            }
        } catch {
            // The client has left: nobody waits for the reply.
        }
    }
}

/// Who asks: the process at the other end of a Unix socket.
struct PeerCredentials: Sendable {
    /// Laid out like `struct ucred`.
    private struct Layout: Sendable {
        var processID: Int32 = 0
        var userID: UInt32 = 0
        var groupID: UInt32 = 0
    }

    var processID: Int32
    var userID: UInt32
    var groupID: UInt32

    /// SO_PEERCRED of Linux.
    private static let option = NIOBSDSocket.Option(rawValue: 17)

    /// `nil` for a connection that is no Unix socket.
    static func read(from channel: any Channel) async -> PeerCredentials? {
        guard let provider = channel as? any SocketOptionProvider,
            let found: Layout = try? await provider.unsafeGetSocketOption(
                level: .socket, name: option
            ).get(), found.processID > 0
        else { return nil }
        return PeerCredentials(
            processID: found.processID, userID: found.userID, groupID: found.groupID)
    }
}

/// A request's surroundings, with its connection.
struct ControlContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    let body = RequestBodyState()

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// Runs work that waits for a disk or a core on a thread where it is in nobody's way.
func offload<Result: Sendable>(
    _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async {
            continuation.resume(with: Swift.Result { try body() })
        }
    }
}
