import Foundation
import Synchronization

/// Commits of streams that wait at the same time, taken into one transaction.
///
/// Each commit waits until the disk has it. Of a thousand streams one after the other would wait for the disk a thousand
/// times a second; so whoever comes while another one writes joins those who wait, and the next to write does it for all
/// of them. Each is told only when what it gave is on the disk.
///
/// A transaction that does not succeed because of what one stream gave is rolled back, and made again stream by stream: no stream
/// suffers from another's error.
final class CommitGroup: Sendable {
    /// What a stream gave, with its keys, and what came of it.
    private final class Request: Sendable {
        let commits: [StreamCommit]
        let outcome = Mutex<Result<[[Int64]], StoreError>?>(nil)

        init(_ commits: [StreamCommit]) { self.commits = commits }
    }

    /// At most so many requests are in one transaction, so that its first does not wait for long.
    private static let limit = 256

    private let waiting = Mutex<[Request]>([])
    /// Whoever has it writes.
    private let turn = Mutex<Void>(())

    /// Stores what a stream gives, alone or together with others.
    ///
    /// - Parameters:
    ///   - commits: Those of a stream and of its keys, which belong together.
    ///   - write: Makes one transaction of what several streams gave; gives the numbers of the anomalies of each commit.
    /// - Returns: The anomalies' numbers of each commit, in their order.
    func commit(
        _ commits: [StreamCommit], write: ([[StreamCommit]]) throws(StoreError) -> [[[Int64]]]
    ) throws(StoreError) -> [[Int64]] {
        let request = Request(commits)
        waiting.withLock { $0.append(request) }
        while true {
            if let outcome = request.outcome.withLock(\.self) { return try outcome.get() }
            turn.withLock { _ in
                guard request.outcome.withLock({ $0 == nil }) else { return }
                let group = waiting.withLock { waiting in
                    let group = Array(waiting.prefix(Self.limit))
                    waiting.removeFirst(group.count)
                    return group
                }
                Self.write(group, write)
            }
        }
    }

    private static func write(
        _ group: [Request], _ write: ([[StreamCommit]]) throws(StoreError) -> [[[Int64]]]
    ) {
        do throws(StoreError) {
            let numbers = try write(group.map(\.commits))
            for (request, numbers) in zip(group, numbers) {
                request.outcome.withLock { $0 = .success(numbers) }
            }
        } catch {
            if group.count > 1, error.isOfOneCommit {
                writeEach(group, write)
            } else {
                for request in group { request.outcome.withLock { $0 = .failure(error) } }
            }
        }
    }

    /// Makes a transaction of what each stream gave, until one fails for what is nobody's: then all that are left fail with it,
    /// instead of waiting for it one after the other.
    private static func writeEach(
        _ group: [Request], _ write: ([[StreamCommit]]) throws(StoreError) -> [[[Int64]]]
    ) {
        var common: StoreError?
        for request in group {
            if let common {
                request.outcome.withLock { $0 = .failure(common) }
                continue
            }
            self.write([request], write)
            if case .failure(let error)? = request.outcome.withLock(\.self), !error.isOfOneCommit {
                common = error
            }
        }
    }
}

extension StoreError {
    /// Whether another commit may well succeed: the disk, the file and its lock are not the cause.
    fileprivate var isOfOneCommit: Bool {
        switch self {
        case .diskFull, .busy, .damaged, .notWritable, .notADatabase: false
        default: true
        }
    }
}
