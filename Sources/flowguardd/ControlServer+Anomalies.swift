import Control
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import ServiceLifecycle
import Settings
import Store
import Streams

extension ControlServer {
    /// Rows that are read from the store at once.
    private static let pageRows = 500
    /// Rows of a reply that does not go on.
    private static let maximumRows = 100_000

    /// Anomalies as NDJSON: those after a number, or the newest, and on request those to come.
    ///
    /// - Parameter worker: Of its stream, with those of its keys; `nil`: of all streams.
    func anomalies(of worker: StreamWorker?, _ request: Request) async throws -> Response {
        let (stream, withKeys) = (worker?.name, worker?.configuration.key != nil)
        let query = try AnomalyQuery(request)
        guard let place = (query.follow ? followers : readers).enter() else {
            throw HTTPFailure(
                .serviceUnavailable,
                "too many clients \(query.follow ? "follow" : "read anomalies") already",
                hint: "end one of them" + (query.follow ? ", or ask without follow" : ""))
        }
        let start = try await offload { () -> (rows: [AnomalyRow], last: Int64) in
            if let after = query.after { return ([], after) }
            let newest = anomalyLog.newestID
            let rows = try store.latestAnomalies(
                stream: stream, withKeys: withKeys, count: query.latest ?? (query.follow ? 0 : 100))
            return (rows, max(newest, rows.last?.id ?? 0))
        }
        let headers: HTTPFields = [.contentType: "application/x-ndjson"]
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                defer { place.leave() }
                try await writer.write(Self.buffer(start.rows))
                var last = start.last
                var count = 0
                if query.after != nil || query.follow {
                    var goesOn = true
                    while goesOn {
                        last = try await copy(
                            stream: stream, withKeys: withKeys, after: last, count: &count,
                            limit: query.follow ? Int.max : Self.maximumRows, to: &writer)
                        goesOn = query.follow
                        if goesOn { goesOn = try await waitForMore(after: last, &writer) }
                    }
                }
                try await writer.finish(nil)
            })
    }

    /// Writes all that there are after a number; returns the newest number seen.
    private func copy(
        stream: String?, withKeys: Bool, after: Int64, count: inout Int, limit: Int,
        to writer: inout any ResponseBodyWriter
    ) async throws -> Int64 {
        var last = after
        let newest = anomalyLog.newestID
        while count < limit {
            let next = last
            let rows = try await offload {
                try store.anomalies(
                    stream: stream, withKeys: withKeys, after: next, limit: Self.pageRows)
            }
            guard let end = rows.last else { return max(last, newest) }
            try await writer.write(Self.buffer(rows))
            count += rows.count
            last = end.id
        }
        return last
    }

    /// Waits for a newer number; `false` when the daemon stops.
    ///
    /// An empty line now and then finds out whether the client is still there.
    private func waitForMore(
        after last: Int64, _ writer: inout any ResponseBodyWriter
    ) async throws -> Bool {
        var pauses = 0
        while anomalyLog.newestID <= last {
            if Task.isShuttingDownGracefully || Task.isCancelled { return false }
            try await Task.sleep(for: .milliseconds(100))
            pauses += 1
            if pauses % 100 == 0 { try await writer.write(ByteBuffer(string: "\n")) }
        }
        return !Task.isShuttingDownGracefully
    }

    private static func buffer(_ rows: [AnomalyRow]) -> ByteBuffer {
        var buffer = ByteBuffer()
        for row in rows {
            buffer.writeBytes(AnomalyMessage(row).line)
            buffer.writeInteger(UInt8(ascii: "\n"))
        }
        return buffer
    }
}

extension AnomalyQuery {
    /// Reads `after`, `latest` (or `last`) and `follow`; anything else in them is refused.
    init(_ request: Request) throws {
        try request.requireKeys(["after", "latest", "last", "follow"])
        func number(_ key: String) throws -> Int64? {
            guard let text = request.uri.queryParameters[Substring(key)] else { return nil }
            guard let value = Int64(text), value >= 0, value <= 1 << 53 else {
                throw HTTPFailure(
                    .badRequest, "\(key): expected a number from 0 on, found '\(text.prefix(40))'")
            }
            return value
        }
        let latest = try number("latest") ?? number("last")
        var follow = false
        if let text = request.uri.queryParameters["follow"] {
            guard let value = Bool(String(text)) else {
                throw HTTPFailure(
                    .badRequest, "follow: expected true or false, found '\(text.prefix(40))'")
            }
            follow = value
        }
        self.init(
            after: try number("after"), latest: latest.map { Int(min($0, 100_000)) },
            follow: follow)
    }
}
