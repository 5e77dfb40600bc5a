import Foundation

/// The files of this checkout, as the house rules read them.
struct Checkout {
    /// One text file, by its path from the root of the package.
    struct File {
        var path: String
        var lines: [String]

        var text: String { lines.joined(separator: "\n") }

        /// Lines without those that only comment, with their 1-based numbers.
        var codeLines: [(number: Int, text: String)] {
            lines.enumerated().map { (number: $0.offset + 1, text: $0.element) }
                .filter { !$0.text.trimmingCharacters(in: .whitespaces).hasPrefix("//") }
        }
    }

    /// The folder with Package.swift.
    let root: URL

    init() {
        root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    /// Whether a file or folder is there.
    func has(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
    }

    /// One file.
    func file(_ path: String) throws -> File {
        let text = String(
            decoding: try Data(contentsOf: root.appendingPathComponent(path)), as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return File(path: path, lines: lines.map(String.init))
    }

    private func isRegular(_ path: String) -> Bool {
        let attributes = try? FileManager.default.attributesOfItem(
            atPath: root.appendingPathComponent(path).path)
        return attributes?[.type] as? FileAttributeType == .typeRegular
    }

    /// All files under the given folders and files, hidden ones left out, with one of the extensions.
    func files(in places: [String], extensions: [String]) throws -> [File] {
        var found: [File] = []
        for place in places {
            if isRegular(place) { found.append(try file(place)) }
            guard has(place), !isRegular(place) else { continue }
            for name in try FileManager.default.subpathsOfDirectory(
                atPath: root.appendingPathComponent(place).path
            ).sorted() {
                let path = place + "/" + name
                let isWanted = extensions.contains((name as NSString).pathExtension)
                if isWanted, isRegular(path) { found.append(try file(path)) }
            }
        }
        return found
    }

    /// Names directly in a folder.
    func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(
            atPath: root.appendingPathComponent(folder).path
        ).filter { !$0.hasPrefix(".") }.sorted()
    }
}

/// All matches of a pattern's first group.
func matches(_ pattern: String, in text: String) throws -> [String] {
    let expression = try NSRegularExpression(pattern: pattern, options: [.anchorsMatchLines])
    let whole = NSRange(text.startIndex..., in: text)
    return expression.matches(in: text, range: whole).compactMap {
        Range($0.range(at: 1), in: text).map { String(text[$0]) }
    }
}
