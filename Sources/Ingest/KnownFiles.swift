import Glibc
import Synchronization

/// Which file, whatever its name.
package struct FileIdentity: Sendable, Hashable {
    let device: UInt64
    let inode: UInt64

    init(_ handle: FileFollower.Handle) { (device, inode) = (handle.device, handle.inode) }
    init(_ status: Descriptor.Status) { (device, inode) = (status.device, status.inode) }
    init(_ position: FilePosition) { (device, inode) = (position.device, position.inode) }
}

/// What the followers of one pattern's files know of each other: how far each file is read, and by whom.
///
/// A file keeps its identity when it is renamed, so none is read twice however names wander from one to the next.
final class KnownFiles: Sendable {
    let pattern: String
    private let state = Mutex(State())

    private struct State {
        /// How far each file was read.
        var positions: [FileIdentity: FilePosition] = [:]
        /// The follower that reads a file, or is about to.
        var holders: [FileIdentity: Int] = [:]
    }

    init(pattern: String) { self.pattern = pattern }

    /// Whether a file of this name has a follower of its own.
    func matches(_ path: String) -> Bool {
        FileSetSource.matches(path, pattern: pattern)
    }

    func position(of identity: FileIdentity) -> FilePosition? {
        state.withLock { $0.positions[identity] }
    }

    /// - Parameter position: `nil`: nothing is known of the file any more.
    func note(_ position: FilePosition?, of identity: FileIdentity) {
        state.withLock { $0.positions[identity] = position }
    }

    /// Whether another follower reads a file.
    func isHeld(_ identity: FileIdentity, exceptBy follower: Int? = nil) -> Bool {
        state.withLock { state in
            state.holders[identity].map { $0 != follower } ?? false
        }
    }

    /// Says which file a follower reads; it has none but that.
    func hold(_ identity: FileIdentity?, by follower: Int) {
        state.withLock { state in
            if let identity, state.holders[identity] == follower { return }
            for (held, holder) in state.holders where holder == follower {
                state.holders[held] = nil
            }
            if let identity { state.holders[identity] = follower }
        }
    }
}

/// The other followers, as one of them sees them.
struct Neighbours: Sendable {
    let files: KnownFiles
    /// The one that looks.
    let follower: Int

    /// Whether another one reads a file.
    func read(_ status: Descriptor.Status) -> Bool {
        files.isHeld(FileIdentity(status), exceptBy: follower)
    }

    /// Where a file is to be read on, if it is the one that was read.
    func position(
        in descriptor: Descriptor, _ status: Descriptor.Status, name: String
    ) throws(IngestError) -> FilePosition? {
        guard let position = files.position(of: FileIdentity(status)),
            try position.isIn(descriptor, status: status, name: name)
        else { return nil }
        return position
    }

    /// How many bytes of the file at a path nobody has read, or is about to.
    func unreadBytes(_ path: String, _ status: Descriptor.Status) throws(IngestError) -> Int64 {
        guard !read(status) else { return 0 }
        // A position elsewhere than at the end is not worth a look at the content.
        guard files.position(of: FileIdentity(status))?.offset == status.size,
            let descriptor = try Descriptor.open(path),
            try position(in: descriptor, status, name: path) != nil
        else { return status.size }
        return 0
    }
}
