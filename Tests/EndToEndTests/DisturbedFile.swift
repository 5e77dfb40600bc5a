import Foundation
import TestSupport

/// A file that is written, rotated, copied, emptied and deleted, and the truth about what it held.
struct DisturbedFile {
    let folder: TemporaryDirectory
    let name: String
    /// Everything that was ever written, in its order, as one file would hold it.
    private(set) var truth = PumpData.header
    /// Where each record began in the file that held it, by the record's time.
    private(set) var offsets: [Int: Int64] = [:]
    /// Records, and lines that are none.
    private(set) var recordCount = 0
    private(set) var badLines: [String] = []
    /// What was done to the file, and how often.
    private(set) var deeds: [String: Int] = [:]
    private var data = PumpData()
    private var size: Int64 = 0
    private var rotation = 0

    var path: String { folder.file(name) }

    init(in folder: TemporaryDirectory, name: String, afterRows rows: Int) {
        self.folder = folder
        self.name = name
        _ = data.lines(rows)
    }

    /// The same in its order, for a run that failed.
    private(set) var history: [String] = []

    private mutating func note(_ deed: String) {
        deeds[deed, default: 0] += 1
        tell("\(deed) at record \(recordCount)")
    }

    mutating func tell(_ what: String) { history.append(what) }

    // MARK: Writing

    /// The next lines: some records are faults that only their combination shows, some lines are no records.
    private mutating func lines(_ count: Int, by chance: inout Chance) -> [String] {
        (0..<count).map { _ in
            if chance.happens(0.01) {
                let line = "bad-\(badLines.count),x,y,z\n"
                badLines.append(line)
                return line
            }
            let isFault = chance.happens(0.02)
            recordCount += 1
            return data.lines(1) { _ in isFault }
        }
    }

    /// Remembers where lines lie that were, or will be, written to the file.
    private mutating func account(for lines: [String], from start: Int64) {
        var offset = start
        for line in lines {
            truth += line
            if let time = line.split(separator: ",").first.flatMap({ Int($0) }) {
                offsets[time] = offset
            }
            offset += Int64(line.utf8.count)
        }
    }

    private func write(_ text: Substring, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw WaitedInVain(description: "open \(path): \(errno)") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw WaitedInVain(description: "write \(path): \(errno)")
        }
    }

    /// Appends lines in as many writes as `cuts` says, with a pause between each two.
    mutating func append(
        _ count: Int, cuts: Int = 0, by chance: inout Chance,
        pause: (Int) async throws -> Void
    ) async throws {
        if size == 0, !hasNoHeader {
            try write(Substring(PumpData.header), to: path)
            size = Int64(PumpData.header.utf8.count)
        }
        let lines = lines(count, by: &chance)
        account(for: lines, from: size)
        let text = lines.joined()
        size += Int64(text.utf8.count)
        note(cuts > 0 ? "lines in pieces" : "appends")
        var rest = Substring(text)
        for _ in 0..<cuts where rest.count > 1 {
            let piece = rest.prefix(chance.number(1...(rest.count - 1)))
            rest = rest.dropFirst(piece.count)
            try write(piece, to: path)
            try await pause(chance.number(0...30))
        }
        try write(rest, to: path)
    }

    // MARK: Rotating

    /// Whether the file goes on under the header of the one before, because its writer never closed it.
    private var hasNoHeader = false

    private mutating func nextName() -> String {
        rotation += 1
        return path + ".\(rotation)"
    }

    /// Renames the file; its writer adds some lines before it opens a new one.
    mutating func rename(lateLines: Int, by chance: inout Chance) throws {
        guard size > 0 else { return }
        let other = nextName()
        guard Foundation.rename(path, other) == 0 else { return }
        note(lateLines > 0 ? "renames with late lines" : "renames")
        let late = lines(lateLines, by: &chance)
        account(for: late, from: size)
        try write(Substring(late.joined()), to: other)
        size = 0
        hasNoHeader = false
    }

    /// Copies the file and empties it; a writer that never noticed goes on without a header.
    mutating func copyAndTruncate(keepsHeader: Bool) throws {
        // Less than this is no copy that anybody could tell from another file.
        guard size > 1_024 else { return }
        try FileManager.default.copyItem(atPath: path, toPath: nextName())
        Foundation.truncate(path, 0)
        note("copies with truncation")
        size = 0
        hasNoHeader = !keepsHeader
    }

    /// Empties the file.
    ///
    /// What was not read yet is lost, so everything must have been.
    mutating func truncate() {
        guard size > 0 else { return }
        Foundation.truncate(path, 0)
        note("truncations")
        size = 0
        hasNoHeader = false
    }

    /// Deletes the file.
    ///
    /// What was not read yet is lost, so everything must have been.
    mutating func delete() {
        guard size > 0 else { return }
        unlink(path)
        note("deletions")
        size = 0
        hasNoHeader = false
    }
}
