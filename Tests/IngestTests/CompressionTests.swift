import Foundation
import Ingest
import TestSupport
import Testing

/// Files that gzip and zstd have compressed, whole and not.
@Suite struct CompressionTests {
    let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
    }

    /// Lines that do not compress to nothing.
    static let text: String = {
        var generator = SplitMix(seed: 3)
        return "a,b\n"
            + (0..<40_000).map { "\($0),\(generator.next() % 100_000)\n" }.joined()
    }()

    /// Has a program of the system compress a file.
    private func compress(_ name: String, with program: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program, "-q", "-f", folder.file(name)]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }

    private func archive(_ ending: String, of text: String = text) throws -> Data {
        try folder.write(text, to: "x.csv")
        try compress("x.csv", with: ending == "gz" ? "gzip" : "zstd")
        return try Data(contentsOf: URL(fileURLWithPath: folder.file("x.csv.\(ending)")))
    }

    private func read(_ data: Data) async throws -> [String] {
        let path = folder.file("archive")
        try data.write(to: URL(fileURLWithPath: path))
        let source = try FileSequence([path], format: .csv)
        var lines: [String] = []
        while let batch = try await source.next() { lines += batch.texts }
        return lines
    }

    /// What is given of an archive that is not whole, and why there is no more.
    private func readPart(_ data: Data) async throws -> ([String], IngestError?) {
        let path = folder.file("archive")
        try data.write(to: URL(fileURLWithPath: path))
        var lines: [String] = []
        do throws(IngestError) {
            let source = try FileSequence([path], format: nil)
            while let batch = try await source.next() { lines += batch.texts }
        } catch {
            return (lines, error)
        }
        return (lines, nil)
    }

    @Test(arguments: ["gz", "zst"], [10_000, 100_000])
    func recordsBeforeTheDamageAreGiven(ending: String, place: Int) async throws {
        let data = try archive(ending)
        let (cut, reason) = try await readPart(data.prefix(place))
        #expect(cut == Array(lines.prefix(cut.count)))
        guard case .truncated? = reason else {
            Issue.record("\(String(describing: reason))")
            return
        }
        // zstd gives whole blocks of 128 KiB.
        #expect(cut.count > (ending == "gz" ? place / 20 : place < 50_000 ? -1 : 10_000))
        var damaged = data
        for index in place..<(place + 100) { damaged[index] = 0xFF }
        let (given, cause) = try await readPart(damaged)
        guard case .corrupt? = cause else {
            Issue.record("\(String(describing: cause))")
            return
        }
        // What is damaged may look well for a while.
        #expect(given.count >= cut.count - 2_000)
        let sure = max(0, cut.count - 2_000)
        #expect(given.prefix(sure) == lines.prefix(sure))
    }

    private var lines: [String] {
        Self.text.split(separator: "\n").dropFirst().map(String.init)
    }

    @Test(arguments: ["gz", "zst"])
    func archivesAreReadAsTheirContent(ending: String) async throws {
        let data = try archive(ending)
        #expect(data.count < Self.text.utf8.count / 2)
        #expect(try await read(data) == lines)
    }

    @Test(arguments: ["gz", "zst"])
    func archivesOneBehindTheOtherAreOne(ending: String) async throws {
        let half = Self.text.index(Self.text.startIndex, offsetBy: 100_001)
        let data =
            try archive(ending, of: String(Self.text[..<half]))
            + archive(ending, of: String(Self.text[half...]))
        #expect(try await read(data) == lines)
    }

    @Test func zerosBehindGzipAreNoError() async throws {
        #expect(try await read(archive("gz") + Data(count: 1_000)) == lines)
    }

    @Test(arguments: ["gz", "zst"])
    func anArchiveThatIsCutOffIsToldWithItsOffset(ending: String) async throws {
        let data = try archive(ending).prefix(50_000)
        await #expect(
            throws: IngestError.truncated(
                input: folder.file("archive"), by: ending == "gz" ? "gzip" : "zstd",
                offset: 50_000)
        ) { try await read(data) }
    }

    @Test(arguments: ["gz", "zst"])
    func aDamagedArchiveIsToldWithItsOffset(ending: String) async throws {
        var data = try archive(ending)
        for index in 60_000..<60_100 { data[index] = 0xFF }
        do {
            _ = try await read(data)
            Issue.record("it was read")
        } catch IngestError.corrupt(let input, _, let offset, let reason) {
            #expect(input == folder.file("archive"))
            // What is damaged may be told by the checksum at the end.
            #expect(offset >= 60_000 && offset <= Int64(data.count))
            #expect(!reason.isEmpty)
        }
    }

    @Test func otherTextBehindGzipIsAnError() async throws {
        let data = try archive("gz")
        await #expect(throws: IngestError.self) { try await read(data + Data("rest".utf8)) }
    }

    @Test func whatIsNotUnpackedIsNamed() async throws {
        let data = Data([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00, 1, 2, 3])
        await #expect(throws: IngestError.compressed(path: folder.file("archive"), by: "xz")) {
            try await read(data)
        }
    }

    @Test func bytesOfAPipeAreUnpackedAsTheyCome() async throws {
        let data = try archive("gz")
        let pipe = Pipe()
        let source = DescriptorSource(
            descriptor: pipe.fileHandleForReading.fileDescriptor, name: "pipe", format: .csv)
        let writer = Thread {
            // The first bytes one by one: they tell that it is gzip.
            for index in 0..<8 { pipe.fileHandleForWriting.write(data[index..<(index + 1)]) }
            pipe.fileHandleForWriting.write(data[8...])
            try? pipe.fileHandleForWriting.close()
        }
        writer.start()
        var found: [String] = []
        while let batch = try await source.next() { found += batch.texts }
        #expect(found == lines)
        #expect(source.offset == Int64(data.count))
    }

    @Test func aBombStaysWithinTheLimits() async throws {
        // 200 MB of one line, in 200 kB.
        let data = try archive(
            "gz", of: "a,b\n" + String(repeating: "0", count: 200_000_000) + "\n1,2\n")
        #expect(data.count < 1_000_000)
        let path = folder.file("archive")
        try data.write(to: URL(fileURLWithPath: path))
        let source = try FileSequence([path], format: .csv)
        var lines: [LineBatch.Line] = []
        var largest = 0
        while let batch = try await source.next() {
            lines += batch.lines
            largest = max(largest, batch.bytes.count)
        }
        #expect(lines.map(\.isOversize) == [true, false])
        #expect(largest < 4 << 20)
    }
}
