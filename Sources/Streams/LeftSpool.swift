import Foundation
import Ingest
import Settings
import Store

/// Lines of clients that wait on disk for a stream that nobody reads them for: it is not configured any more, or has another
/// kind of source.
package struct LeftSpool: Sendable, Hashable, CustomStringConvertible {
    /// The folder.
    package var path: String
    /// The stream that it is of.
    package var stream: String
    /// What lies in it and was not committed.
    package var bytes: Int64

    package var description: String {
        "\(path): \(bytes) bytes of lines wait for the socket of stream '\(stream)', which is not "
            + "in the configuration: put it back to have them read, or remove the folder"
    }
}

extension StateDirectory {
    /// The spools that no stream of a configuration reads.
    ///
    /// - Parameter removesEmpty: Whether those with nothing left in them are removed; no other stream may begin meanwhile.
    /// - Throws: When the store cannot say how far they were read.
    package func leftSpools(
        of streams: [StreamConfiguration], store: StateStore, removesEmpty: Bool = false
    ) throws -> [LeftSpool] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: spoolFolder)
        let read = Set(
            streams.compactMap { stream in
                if case .socket = stream.source { stream.name } else { nil }
            })
        var left: [LeftSpool] = []
        for name in (names ?? []).sorted() where !read.contains(name) {
            let path = spoolFolder + "/" + name
            let checkpoint = try store.checkpoint(stream: name)
            let state = checkpoint.flatMap { try? WorkerState(stored: $0.state) }
            let bytes = Spool.unreadBytes(in: path, behind: state?.spool)
            if bytes > 0 {
                left.append(LeftSpool(path: path, stream: name, bytes: bytes))
            } else if removesEmpty {
                Spool.remove(path)
            }
        }
        return left
    }

    /// What to tell of files of spools that were damaged, and are kept.
    package func damagedSpoolWarnings() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: spoolFolder)) ?? []
        return names.sorted().flatMap { Spool.damagedFiles(in: spoolFolder + "/" + $0) }.map {
            "\($0): the spool is damaged: the lines before the damage were taken, those behind it are "
                + "lost unless they can be read out of this file: remove it when it is of no use"
        }
    }
}
