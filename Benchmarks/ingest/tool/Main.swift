import CSimdjsonAlone
import Foundation
import Ingest

/// Decodes a file as the daemon does, or as the bare parser below its NDJSON decoder would; prints how long it took.
///
/// Arguments: product or simdjson, the format, the file, the columns.
@main enum Main {
    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count > 3, let format = RecordFormat(rawValue: arguments[1]) else {
            throw BadArguments()
        }
        let columns = Array(arguments[3...])
        let cpu = clock()
        let wall = ContinuousClock.now
        let rows =
            arguments[0] == "simdjson"
            ? Int(fg_simdjson_rows(arguments[2], columns.map { strdup($0) }, Int32(columns.count)))
            : try await decodedRows(of: arguments[2], format, columns)
        let took = ContinuousClock.now - wall
        let seconds = Double(clock() - cpu) / Double(CLOCKS_PER_SEC)
        print(#"{"rows":\#(rows),"cpuSeconds":\#(seconds),"wallSeconds":\#(took / .seconds(1))}"#)
    }

    private static func decodedRows(
        of path: String, _ format: RecordFormat, _ columns: [String]
    ) async throws -> Int {
        let options = FormatOptions(format: format)
        let source = try FileSequence([path], format: options)
        var decoder = RecordDecoder(format: options, schema: Schema(features: columns, time: nil))
        var rows = 0
        while let batch = try await source.next() {
            rows += try decoder.decode(batch).records.rowCount
        }
        return rows
    }
}

/// Not what `Benchmarks/ingest/run` would say.
struct BadArguments: Error {}
