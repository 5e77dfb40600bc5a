import Glibc
import Ingest
import Testing
import TestSupport

@Suite struct DescriptorSourceTests {
    /// A pipe whose ends are closed with it.
    private final class Pipe: Sendable {
        let reading: Int32
        let writing: Int32

        init() throws {
            struct NoPipe: Error {}
            var ends: [Int32] = [0, 0]
            guard pipe(&ends) == 0 else { throw NoPipe() }
            (reading, writing) = (ends[0], ends[1])
        }

        deinit {
            close(reading)
            close(writing)
        }

        func write(_ text: String) {
            let bytes = Array(text.utf8)
            #expect(Glibc.write(writing, bytes, bytes.count) == bytes.count)
        }
    }

    @Test func fileIsReadToItsEndInFullBatches() async throws {
        let directory = try TemporaryDirectory()
        let rows = (0..<40_000).map { "\($0),\($0 * 2)" }
        let path = try directory.write("a,b\n" + rows.joined(separator: "\n"), to: "in.csv")
        let descriptor = open(path, O_RDONLY)
        defer { close(descriptor) }
        let source = DescriptorSource(descriptor: descriptor, name: "standard input", format: .csv)
        let batches = try await collect(source) { $0.last?.isLast == true }
        #expect(batches.map(\.lines.count) == [16_384, 16_384, 7_232])
        #expect(batches.map { $0.header == nil } == [false, true, true])
        #expect(batches.flatMap(\.texts) == rows)
        #expect(batches.map(\.inputName) == ["standard input", "standard input", "standard input"])
        #expect(try await source.next() == nil)
        #expect(source.isCaughtUp())
    }

    @Test func loneLineIsDeliveredWhileTheWriterWaits() async throws {
        let pipe = try Pipe()
        let source = DescriptorSource(descriptor: pipe.reading, name: "in", format: .ndjson)
        pipe.write("{}\n{\"half\":")
        #expect(try await source.next()?.texts == ["{}"])
        pipe.write("1}\n")
        #expect(try await source.next()?.texts == ["{\"half\":1}"])
    }

    @Test func stopEndsAWaitingSource() async throws {
        let pipe = try Pipe()
        let source = DescriptorSource(descriptor: pipe.reading, name: "in", format: .ndjson)
        async let waiting = source.next()
        source.stop()
        #expect(try await waiting == nil)
    }

    @Test func emptyInputIsOneLastBatchWithoutLines() async throws {
        let descriptor = open("/dev/null", O_RDONLY)
        defer { close(descriptor) }
        let source = DescriptorSource(descriptor: descriptor, name: "in", format: .csv)
        let batch = try #require(try await source.next())
        #expect(batch.lines.isEmpty && batch.isLast)
        #expect(try await source.next() == nil)
    }

    @Test func descriptorThatCannotBeReadThrows() async throws {
        let descriptor = open("/", O_RDONLY)
        defer { close(descriptor) }
        let source = DescriptorSource(descriptor: descriptor, name: "in", format: .csv)
        await #expect(throws: IngestError.cannotRead(input: "in", errno: EISDIR)) {
            try await source.next()
        }
    }

    @Test func anotherSourceGoesOnWhereTheFirstWasStopped() async throws {
        let pipe = try Pipe()
        let inputs = HeldInputs()
        func source(_ format: FormatOptions) -> DescriptorSource {
            DescriptorSource(
                descriptor: pipe.reading, name: "standard input", format: format, after: inputs)
        }
        let first = source(.csv)
        pipe.write("a,b\n1,2\n3,")
        #expect(try await first.next()?.texts == ["1,2"])
        first.stop()
        #expect(try await first.next() == nil)
        first.handOver(to: inputs)
        let second = source(.csv)
        pipe.write("4\n5,6\n")
        let batch = try #require(try await second.next())
        #expect(batch.texts.first == "3,4")
        #expect(batch.header == Array("a,b".utf8))
        second.stop()
        while try await second.next() != nil {}
        second.handOver(to: inputs)
        // Columns that are named now need no header.
        let third = source(FormatOptions.csv.with { $0.columns = ["c", "d"] })
        pipe.write("7,8\n")
        let last = try #require(try await third.next())
        #expect(last.texts == ["7,8"])
        #expect(last.header == nil)
    }
}
