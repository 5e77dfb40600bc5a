import Glibc

/// Which file, whatever its name.
package struct FileIdentity: Sendable, Hashable {
    let device: UInt64
    let inode: UInt64

    init(_ handle: FileFollower.Handle) { (device, inode) = (handle.device, handle.inode) }
    init(_ status: Descriptor.Status) { (device, inode) = (status.device, status.inode) }
    init(_ position: FilePosition) { (device, inode) = (position.device, position.inode) }
}

/// All files that a pattern matches, each followed by a `FileFollower` of its own; stepped without waiting.
///
/// A file that was renamed to another name that the pattern matches is the same one: it goes on where it was. Copies are
/// other files, so the pattern should not match the names that `copytruncate` gives. Files take turns, a batch each.
struct FileSet {
    /// The most files at once; each keeps a descriptor open.
    static let limit = 1_000
    /// Inputs of one file, before the numbers of the next one begin.
    private static let inputsOfFile = 1 << 32

    let pattern: String
    private let format: FormatOptions
    private let limits: BatchLimits
    private var followers: [Followed] = []
    /// Batches before the folder is listed again, unless nothing is to be read before.
    private var batchesUntilListing = 0
    private static let batchesBetweenListings = 64
    private var turn = 0
    private var nextNumber = 0
    /// Where each file was committed, or given, last.
    private var positions: [FileIdentity: FilePosition] = [:]
    private(set) var backlogBytes: Int64 = 0
    private(set) var isCaughtUp = false
    /// Whether nothing is due before something happens.
    private(set) var isIdle = false
    /// What is wrong with one of the files.
    private(set) var problem: IngestError?

    private struct Followed {
        let path: String
        var follower: FileFollower
        /// The file that it goes on in, until it has looked for it.
        var expected: FileIdentity?

        var identity: FileIdentity? { expected ?? follower.identity }
    }

    init(pattern: String, format: FormatOptions, resume: [FilePosition], limits: BatchLimits) {
        self.pattern = pattern
        self.format = format
        self.limits = limits
        for position in resume { positions[FileIdentity(position)] = position }
        for position in resume.sorted(by: { $0.path < $1.path }) {
            // Also one whose file is not there now: what is left of it may lie under another name.
            follow(position.path, resume: position)
        }
    }

    /// The folders that files may appear in.
    var folders: Set<String> {
        followers.reduce(into: FileFollower.folders(of: pattern)) {
            $0.formUnion(FileFollower.folders(of: $1.path))
        }
    }

    /// Looks at the files in turn, and gives the next lines of one.
    mutating func step() -> LineBatch? {
        batchesUntilListing -= 1
        if batchesUntilListing < 0 {
            findFiles()
            batchesUntilListing = Self.batchesBetweenListings
        }
        problem = nil
        backlogBytes = 0
        isCaughtUp = true
        isIdle = true
        for _ in followers.indices {
            turn = (turn + 1) % followers.count
            do throws(IngestError) {
                let batch = try followers[turn].follower.step()
                followers[turn].expected = nil
                let follower = followers[turn].follower
                backlogBytes += follower.backlogBytes
                if !follower.isCaughtUp { isCaughtUp = false }
                if !follower.isIdle { isIdle = false }
                guard let batch else { continue }
                if let resume = batch.resume { positions[FileIdentity(resume)] = resume }
                (isCaughtUp, isIdle) = (false, false)
                return batch
            } catch {
                problem = error
                isCaughtUp = false
            }
        }
        batchesUntilListing = 0
        return nil
    }

    private mutating func findFiles() {
        var matches = glob_t()
        defer { globfree(&matches) }
        guard glob(pattern, GLOB_NOSORT, nil, &matches) == 0 else { return }
        let paths = (0..<Int(matches.gl_pathc)).compactMap { index in
            matches.gl_pathv[index].map { String(cString: $0) }
        }
        let followed = Set(followers.map(\.path))
        let open = Set(followers.compactMap(\.identity))
        for path in paths.sorted() where !followed.contains(path) {
            guard followers.count < Self.limit else { break }
            guard let status = Descriptor.status(path: path), status.isRegular else { continue }
            let identity = FileIdentity(status)
            // A file that is followed under the name that it had before.
            guard !open.contains(identity) else { continue }
            var known = positions[identity]
            known?.path = path
            follow(path, resume: known)
        }
        forgetFiles(missingFrom: Set(paths))
    }

    /// Files that are gone, and were read to the end, make room when it is needed: a writer may still have them open.
    private mutating func forgetFiles(missingFrom paths: Set<String>) {
        guard followers.count >= Self.limit else { return }
        followers.removeAll { followed in
            !paths.contains(followed.path) && followed.follower.isCaughtUp
                && Descriptor.status(path: followed.path) == nil
        }
        if turn >= followers.count { turn = 0 }
    }

    private mutating func follow(_ path: String, resume: FilePosition?) {
        guard !followers.contains(where: { $0.path == path }) else { return }
        let first = nextNumber * Self.inputsOfFile + 1
        nextNumber += 1
        followers.append(
            Followed(
                path: path,
                follower: FileFollower(
                    path: path, format: format, resume: resume, limits: limits,
                    firstInput: first),
                expected: resume.map { FileIdentity($0) }))
    }
}
