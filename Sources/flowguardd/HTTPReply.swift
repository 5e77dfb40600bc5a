import Control
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Streams

/// What a request cannot have, with its HTTP status.
struct HTTPFailure: Error {
    var status: HTTPResponse.Status
    var reply: ErrorReply

    init(_ status: HTTPResponse.Status, _ error: String, hint: String? = nil) {
        self.status = status
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
                    ? "there is nothing at this path for this method"
                    : error.body ?? error.status.reasonPhrase)
        default:
            failure = HTTPFailure(.internalServerError, "\(error)")
        }
        let reply = try? json(failure.reply, status: failure.status)
        return reply ?? Response(status: failure.status)
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
            return HTTPReply.failure(error)
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
