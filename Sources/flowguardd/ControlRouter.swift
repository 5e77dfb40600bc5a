import Control
import HTTPTypes
import Hummingbird

/// The routes of a listener, which knows the methods of each path: HEAD is answered where GET is, others are refused as such.
final class ControlRouter: RouterMethods {
    typealias Context = ControlContext

    private let router = Router(
        context: ControlContext.self, options: .autoGenerateHeadEndpoints)
    private var paths: [(path: RouterPath, methods: [HTTPRequest.Method])] = []

    private static let refusedMethods: [HTTPRequest.Method] = [
        .get, .head, .post, .put, .delete, .patch, .options,
    ]

    init() {
        router.add(middleware: FailureMiddleware())
    }

    func on<Responder: HTTPResponder>(
        _ path: RouterPath, method: HTTPRequest.Method, responder: Responder
    ) -> Self where Responder.Context == Context {
        router.on(path, method: method, responder: responder)
        if let known = paths.firstIndex(where: { $0.path == path }) {
            paths[known].methods.append(method)
        } else {
            paths.append((path, [method]))
        }
        return self
    }

    func add(middleware: any MiddlewareProtocol<Request, Response, Context>) -> Self {
        router.add(middleware: middleware)
        return self
    }

    /// All routes, with a refusal for every other method.
    func complete() -> Router<ControlContext> {
        for (path, methods) in paths {
            let known = methods + (methods.contains(.get) ? [.head] : [])
            let allowed = known.map(\.rawValue).sorted().joined(separator: ", ")
            for method in Self.refusedMethods where !known.contains(method) {
                router.on(path, method: method) { _, _ -> Response in
                    throw HTTPFailure(
                        .methodNotAllowed, "this path has no method \(method.rawValue)",
                        hint: "it has \(allowed)", headers: [.allow: allowed])
                }
            }
        }
        return router
    }
}
