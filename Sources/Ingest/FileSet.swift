import Glibc

/// All files that a pattern matches, each followed by a `FileFollower` of its own; stepped without waiting.
///
/// A file that was renamed to another name that the pattern matches is the same one: it goes on where it was. Copies are
/// other files, so the pattern should not match the names that `copytruncate` gives. Files take turns, a batch each.
package struct FileSet: Sendable {
    /// The most files at once; each keeps a descriptor open.
    package static let limit = 1_000
    /// How long a file that is deleted is kept open after its last change: its writer may have it open too.
    package static let deletedFor = Duration.seconds(300)
    /// Inputs of one file, before the numbers of the next one begin.
    private static let inputsOfFile = 1 << 32

    let pattern: String
    private let format: FormatOptions
    private let limits: BatchLimits
    private let retryDelay: Duration
    private let now: @Sendable () -> Duration
    private let neededColumns: @Sendable () -> Set<String>?
    private let known: KnownFiles
    private var followers: [Followed] = []
    /// Batches before the folder is listed again, unless nothing is to be read before.
    private var batchesUntilListing = 0
    private static let batchesBetweenListings = 64
    private var turn = 0
    private var nextNumber = 0
    /// How many bytes of all files are there and not delivered, each at its last look.
    package private(set) var backlogBytes: Int64 = 0
    /// Whether nothing of any file is left to deliver.
    package private(set) var isCaughtUp = false
    /// Whether nothing is due before something happens.
    package private(set) var isIdle = false
    /// What is wrong with one of the files.
    package private(set) var problem: IngestError?
    /// Why the folders cannot be looked through.
    private var listingProblem: IngestError?

    private struct Followed {
        let path: String
        let number: Int
        var follower: FileFollower
        /// Where the next batch begins, and where the one before did.
        var next: FilePosition?
        var before: FilePosition?
        /// Why the file cannot be read.
        var problem: IngestError?
        /// Why the consumer takes nothing of the file.
        var refusal: IngestError?
        /// When a file that was refused is offered again.
        var retryAt: ContinuousClock.Instant?
        /// Since when there has been nothing by that name.
        var absentSince: Duration?
    }

    package init(
        pattern: String, format: FormatOptions, resume: [FilePosition], limits: BatchLimits,
        retryDelay: Duration = .seconds(5),
        neededColumns: @escaping @Sendable () -> Set<String>? = { nil },
        now: @escaping @Sendable () -> Duration = FileFollower.systemTime
    ) {
        self.pattern = pattern
        self.format = format
        self.limits = limits
        self.retryDelay = retryDelay
        self.neededColumns = neededColumns
        self.now = now
        known = KnownFiles(pattern: pattern)
        for position in resume { known.note(position, of: FileIdentity(position)) }
        // Of a path, the file that was committed last; the ones before were left for it.
        var newest: [String: FilePosition] = [:]
        for position in resume where known.matches(position.path) {
            newest[position.path] = position
        }
        var listings = FolderListings()
        for (path, position) in newest.sorted(by: { $0.key < $1.key }) {
            guard followers.count < Self.limit else { break }
            if listings.leftAnything(of: position) { follow(path, resume: position) }
        }
    }

    /// The folders that files may appear in, and how the names begin that matter there.
    var places: WatchedPlaces {
        let base = pattern.lastIndex(of: "/").map { pattern[pattern.index(after: $0)...] }
        let literal = (base ?? pattern[...]).prefix { !"*?[".contains($0) }
        var places = FileFollower.places(of: pattern)
        for place in places.keys { places[place] = [String(literal)] }
        for followed in followers {
            places.merge(FileFollower.places(of: followed.path)) { $0.union($1) }
        }
        return places
    }

    /// Looks at the files in turn, and gives the next lines of one.
    package mutating func step() -> LineBatch? {
        batchesUntilListing -= 1
        if batchesUntilListing < 0 {
            findFiles()
            batchesUntilListing = Self.batchesBetweenListings
        }
        isIdle = true
        defer { sumUp() }
        for _ in followers.indices {
            turn = (turn + 1) % followers.count
            if let retryAt = followers[turn].retryAt {
                guard retryAt <= .now else { continue }
                followers[turn].retryAt = nil
            }
            let batch = look(at: turn)
            if !followers[turn].follower.isIdle, followers[turn].problem == nil { isIdle = false }
            if let batch {
                isIdle = false
                return batch
            }
        }
        batchesUntilListing = 0
        return nil
    }

    private mutating func look(at index: Int) -> LineBatch? {
        let number = followers[index].number
        defer {
            known.hold(followers[index].follower.identity, by: number)
            // Read to its end and deleted: its number may be another file's soon.
            if let gone = followers[index].follower.takeGone() { known.note(nil, of: gone) }
        }
        do throws(IngestError) {
            let batch = try followers[index].follower.step()
            followers[index].problem = nil
            if let batch, let resume = batch.resume {
                followers[index].before = followers[index].next
                followers[index].next = resume
                known.note(resume, of: FileIdentity(resume))
            }
            return batch
        } catch {
            followers[index].problem = error
            return nil
        }
    }

    private mutating func sumUp() {
        backlogBytes = followers.reduce(0) { $0 + $1.follower.backlogBytes }
        isCaughtUp =
            isIdle && listingProblem == nil
            && followers.allSatisfy { followed in
                followed.follower.isCaughtUp && followed.problem == nil && followed.refusal == nil
            }
        problem = followers.lazy.compactMap { $0.refusal ?? $0.problem }.first ?? listingProblem
    }

    // MARK: The consumer's word

    /// Takes note that a batch is committed: its file is taken again.
    package mutating func didCommit(_ batch: LineBatch) {
        guard let index = index(of: batch) else { return }
        followers[index].refusal = nil
        sumUp()
    }

    /// Takes a batch back that the consumer can make nothing of, and offers its file again after a while.
    ///
    /// - Returns: Whether the file was not known to be so.
    package mutating func refuse(_ batch: LineBatch, because error: IngestError) -> Bool {
        guard let index = index(of: batch) else { return true }
        let refused = followers[index]
        let isNew = refused.refusal != error
        if let resume = batch.resume {
            let identity = FileIdentity(resume)
            let before = refused.before.flatMap { FileIdentity($0) == identity ? $0 : nil }
            known.note(before, of: identity)
        }
        known.hold(nil, by: refused.number)
        followers[index] = followed(refused.path, resume: refused.before, identity: nil)
        followers[index].refusal = error
        followers[index].retryAt = .now + retryDelay
        sumUp()
        return isNew
    }

    private func index(of batch: LineBatch) -> Int? {
        let number = (batch.input - 1) / Self.inputsOfFile
        return followers.firstIndex { $0.number == number }
    }

    // MARK: Choosing

    private mutating func findFiles() {
        letGo()
        listingProblem = nil
        var matches = glob_t()
        defer { globfree(&matches) }
        guard glob(pattern, GLOB_NOSORT, nil, &matches) == 0 else {
            // It does not say why it has found nothing.
            let fixed = String(pattern.prefix { !"*?[".contains($0) })
            do throws(IngestError) {
                _ = try Descriptor.names(in: FileFollower.folder(of: fixed))
            } catch {
                listingProblem = error
            }
            return
        }
        let paths = (0..<Int(matches.gl_pathc)).compactMap { index in
            matches.gl_pathv[index].map { String(cString: $0) }
        }
        let followed = Set(followers.map(\.path))
        for path in paths.sorted() where !followed.contains(path) {
            guard followers.count < Self.limit else { break }
            let found: Descriptor.Status?
            do throws(IngestError) {
                found = try Descriptor.lookUp(path)
            } catch {
                listingProblem = listingProblem ?? error
                continue
            }
            guard let status = found, status.isRegular else { continue }
            let identity = FileIdentity(status)
            // A file that is followed under the name that it had before, or has a second one.
            guard !known.isHeld(identity) else { continue }
            follow(path, resume: nil, identity: identity)
        }
        forgetFiles(missingFrom: Set(paths))
    }

    /// Closes files that are deleted and read to their ends, and gives up names that lead nowhere.
    private mutating func letGo() {
        let now = now()
        for index in followers.indices {
            let isAbsent =
                followers[index].follower.identity == nil && followers[index].follower.isCaughtUp
                && Descriptor.isMissing(followers[index].path)
            // The clock may be set back.
            followers[index].absentSince =
                isAbsent ? min(followers[index].absentSince ?? now, now) : nil
        }
        let since = now - Self.deletedFor
        for followed in followers where followed.follower.isDeleted(since: since) {
            // Its number may be another file's soon.
            if let identity = followed.follower.identity { known.note(nil, of: identity) }
        }
        remove { followed in
            followed.absentSince.map { $0 <= since } ?? false
                || followed.follower.isDeleted(since: since)
        }
    }

    /// Files that are gone, and were read to the end, make room when it is needed: a writer may still have them open.
    private mutating func forgetFiles(missingFrom paths: Set<String>) {
        guard followers.count >= Self.limit else { return }
        remove { followed in
            !paths.contains(followed.path) && followed.follower.isCaughtUp
                && Descriptor.isMissing(followed.path)
        }
    }

    private mutating func remove(where isOver: (Followed) -> Bool) {
        for followed in followers where isOver(followed) { known.hold(nil, by: followed.number) }
        followers.removeAll(where: isOver)
        if turn >= followers.count { turn = 0 }
    }

    private mutating func follow(
        _ path: String, resume: FilePosition?, identity: FileIdentity? = nil
    ) {
        followers.append(followed(path, resume: resume, identity: identity))
    }

    /// - Parameter identity: The file that it begins with, if that is not the one of `resume`.
    private mutating func followed(
        _ path: String, resume: FilePosition?, identity: FileIdentity?
    ) -> Followed {
        let number = nextNumber
        nextNumber += 1
        known.hold(identity ?? resume.map { FileIdentity($0) }, by: number)
        return Followed(
            path: path, number: number,
            follower: FileFollower(
                path: path, format: format, resume: resume, limits: limits,
                firstInput: number * Self.inputsOfFile + 1,
                neighbours: Neighbours(files: known, follower: number),
                neededColumns: neededColumns, now: now),
            next: resume ?? identity.flatMap { known.position(of: $0) })
    }
}
