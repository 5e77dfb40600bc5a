/// What lies in folders, each listed once: for whoever asks about many files of one folder.
struct FolderListings {
    private struct Listing {
        /// Ascending by their bytes.
        var names: [String]
        var identities: Set<FileIdentity> = []

        init(_ folder: String) throws(IngestError) {
            names = try Descriptor.names(in: folder)
            names.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            for name in names {
                if let status = Descriptor.status(path: folder + name, followsLinks: false) {
                    identities.insert(FileIdentity(status))
                }
            }
        }

        /// Whether there is a name that a rotation gives to a file.
        ///
        /// - Complexity: O(log n) with the number of names, and those that begin as the file's does.
        func holdsRotated(_ base: String) -> Bool {
            let stem = base.lastIndex(of: ".").map {
                $0 > base.startIndex ? base[..<$0] : base[...]
            }
            let start = (stem ?? base[...]).utf8
            var (low, high) = (0, names.count)
            while low < high {
                let middle = (low + high) / 2
                if names[middle].utf8.lexicographicallyPrecedes(start) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            return names[low...].prefix { $0.utf8.starts(with: start) }
                .contains { FileFollower.isRotated($0, of: base) }
        }
    }

    /// `nil`: it cannot be listed.
    private var listings: [String: Listing?] = [:]

    /// Whether there is anything to follow after a position: the path, its file by another name, or what was rotated away.
    mutating func leftAnything(of position: FilePosition) -> Bool {
        guard Descriptor.status(path: position.path, followsLinks: false) == nil else {
            return true
        }
        let folder = FileFollower.folder(of: position.path)
        let listing = listings[folder] ?? (try? Listing(folder))
        listings[folder] = .some(listing)
        // A folder that cannot be listed tells nothing: whoever follows the path says why.
        guard let listing else { return true }
        return listing.identities.contains(FileIdentity(position))
            || listing.holdsRotated(FileFollower.base(of: position.path))
    }
}
