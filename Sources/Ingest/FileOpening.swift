import Glibc

/// Finding the file to read next, and what is left of one that was followed before.
extension FileFollower {
    /// The folder of the path, with a slash at its end.
    var folder: String { Self.folder(of: path) }

    /// The last part of the path.
    var base: String { Self.base(of: path) }

    static func folder(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[...$0]) } ?? "./"
    }

    static func base(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    }

    /// Where something happens when a file grows, is rotated, or is the target of another link.
    ///
    /// The names that matter begin as the file's own does before its first dot.
    static func places(of path: String) -> WatchedPlaces {
        func stem(_ path: String) -> String { String(base(of: path).prefix { $0 != "." }) }
        var places: WatchedPlaces = [folder(of: path): [stem(path)]]
        if Descriptor.status(path: path, followsLinks: false)?.kind == S_IFLNK,
            let target = realpath(path, nil)
        {
            let target = (String(cString: target), free(target)).0
            places[folder(of: target), default: []].insert(stem(target))
        }
        return places
    }

    /// Opens the file to read next: what is left of the one that `resume` knows, what was rotated
    /// away since the last one, else the path.
    ///
    /// - Parameters:
    ///   - lastHeader: The header of the file before, if one was read.
    ///   - left: The file before.
    mutating func openFile(
        lastHeader: [UInt8]?, after left: LeftFile?
    ) throws(IngestError) -> OpenFile? {
        var descriptor = try Descriptor.open(path)
        var status: Descriptor.Status?
        if let opened = descriptor {
            let found = try opened.status(name: path)
            guard found.isRegular else {
                throw .notARegularFile(path: path, found: found.kindText)
            }
            // Under the name that it had before, another one follows it.
            if neighbours?.read(found) == true { descriptor = nil } else { status = found }
        }
        var left = left
        if let resume {
            // Where nothing was read of a file, there is nothing to know it by.
            if resume.offset > 0 || resume.modifiedAt == nil,
                let file = try openKnown(resume, descriptor, status)
            {
                self.resume = nil
                return file
            }
            left = LeftFile(resume) ?? left
        }
        // The path was opened before: what is rotated away from now on is that file.
        let handle = descriptor.flatMap { descriptor in status.map { Handle(descriptor, $0) } }
        let lastHeader = resume?.header ?? lastHeader
        if let left,
            let missed = try openRotated(after: left, before: handle, lastHeader: lastHeader)
        {
            resume = nil
            return missed
        }
        guard let handle, let status else { return nil }
        resume = nil
        if let position = try neighbours?.position(in: handle.descriptor, status, name: path) {
            return try open(handle, at: position)
        }
        return OpenFile(
            handle: handle, framer: framer(inheritedHeader: lastHeader),
            modifiedAt: left?.modifiedAt)
    }

    /// The file of a position: what the path leads to, or what is left of it elsewhere.
    private mutating func openKnown(
        _ position: FilePosition, _ descriptor: Descriptor?, _ status: Descriptor.Status?
    ) throws(IngestError) -> OpenFile? {
        if let descriptor, let status,
            (status.device, status.inode) == (position.device, position.inode),
            try position.isIn(descriptor, status: status, name: path)
        {
            return try open(Handle(descriptor, status), at: position)
        }
        guard !hasLookedForRemains else { return nil }
        let remains = try openRemains(of: position)
        hasLookedForRemains = true
        return remains
    }

    mutating func open(
        _ handle: Handle, at position: FilePosition, isCopy: Bool = false
    ) throws(IngestError) -> OpenFile {
        let prefix = try handle.descriptor.bytes(
            Int(min(position.offset, Int64(FilePosition.prefixLimit))), at: 0, name: path)
        let tailLength = min(position.offset, Int64(LineFramer.tailLimit))
        let tail = try handle.descriptor.bytes(
            Int(tailLength), at: position.offset - tailLength, name: path)
        let first = try readHeader(handle.descriptor, before: position)
        return OpenFile(
            handle: handle, isCopy: isCopy,
            framer: framer(
                offset: position.offset, lineNumber: position.lineNumber, header: first.header,
                inheritedHeader: first.inheritedHeader, tail: tail),
            prefix: prefix, modifiedAt: position.modifiedAt)
    }

    /// Reads the lines before a position until one tells the header that holds behind it.
    private func readHeader(
        _ descriptor: Descriptor, before position: FilePosition
    ) throws(IngestError) -> LineFramer {
        var reader = LineFramer(
            format: format, limits: .init(lines: 1, bytes: 1), input: 0, name: path,
            inheritedHeader: position.inheritedHeader, neededColumns: neededColumns())
        while reader.needsHeader, reader.readOffset < position.offset {
            let count = Int(min(64 << 10, position.offset - reader.readOffset))
            let chunk = try descriptor.bytes(count, at: reader.readOffset, name: path)
            guard !chunk.isEmpty else { break }
            chunk.withUnsafeBytes { reader.append($0) }
            while reader.needsHeader, reader.takeBatch() != nil {}
        }
        return reader
    }

    /// What is left of the file of a position: by its inode under another name, or, if the file was emptied in place, a
    /// copy that holds what it held.
    private mutating func openRemains(of position: FilePosition) throws(IngestError) -> OpenFile? {
        // The fewer bytes there are to know the file by, the more its name has to say: inodes are
        // used again, and logs of one kind begin with the same header.
        let isWellKnown = position.prefixLength >= Self.copyPrefixMinimum
        let base = base
        let stem = position.prefixLength == 0 ? base : String(base.prefix { $0 != "." })
        func isMoved(_ status: Descriptor.Status) -> Bool {
            (status.device, status.inode) == (position.device, position.inode)
        }
        let candidates = try siblings { name, status in
            isMoved(status)
                ? isWellKnown || name.hasPrefix(stem)
                : isWellKnown && name.hasPrefix(base) && status.size >= position.offset
        }
        let moved = candidates.filter { isMoved($0.status) }
        for (name, status) in moved + candidates.filter({ !isMoved($0.status) })
        where neighbours?.read(status) != true {
            let opened = try isMoved(status) ? Descriptor.open(name) : Self.openCopy(name)
            guard let descriptor = opened,
                try position.isIn(descriptor, status: status, name: name)
            else { continue }
            return try open(
                Handle(descriptor, status), at: position, isCopy: !isMoved(status))
        }
        return nil
    }

    /// Opens what may be a copy by its name; one that may not be read is none.
    ///
    /// Whoever makes a backup that others may not read does not mean it for the follower.
    static func openCopy(_ path: String) throws(IngestError) -> Descriptor? {
        do throws(IngestError) {
            return try Descriptor.open(path)
        } catch {
            guard error.isRefusal else { throw error }
            return nil
        }
    }

    /// The other regular files in the folder that a condition chooses by name and status, by their
    /// paths, the largest first: of two copies of one file, the later one holds more.
    func siblings(
        where isChosen: (String, Descriptor.Status) -> Bool
    ) throws(IngestError) -> [(path: String, status: Descriptor.Status)] {
        let base = base
        var chosen: [(path: String, status: Descriptor.Status)] = []
        for name in try Descriptor.names(in: folder) where name != base {
            guard let status = Descriptor.status(path: folder + name, followsLinks: false),
                status.isRegular, isChosen(name, status)
            else { continue }
            chosen.append((folder + name, status))
        }
        return chosen.sorted { ($0.status.size, $1.path) > ($1.status.size, $0.path) }
    }
}
