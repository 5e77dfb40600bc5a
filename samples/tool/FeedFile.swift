import ArgumentParser

/// The part of a sample file that a feeder sends.
struct SampleRows: ParsableArguments {
    @Argument(help: "The sample file, CSV with a header line.")
    var sample: String

    @Option(name: .customLong("skip"), help: "Data rows to leave out at the start.")
    var skipRows = 0

    @Option(help: "Data rows to send. (default: all that are left)")
    var rows: Int?

    @Option(
        name: .customLong("rows-per-second"),
        help: "How fast; 0 is as fast as the other side reads.")
    var rowsPerSecond = 0.0

    func validate() throws {
        guard skipRows >= 0, (rows ?? 0) >= 0, rowsPerSecond >= 0 else {
            throw ValidationError("--skip, --rows and --rows-per-second: expected 0 or more")
        }
    }

    /// The header line and the wanted data lines.
    func read() throws(SamplesError) -> (header: ArraySlice<UInt8>, lines: [ArraySlice<UInt8>]) {
        let all = try readLines(path: sample).filter { !$0.isEmpty }
        guard let header = all.first else {
            throw .badSample(path: sample, rule: "expected a header line, found an empty file")
        }
        let rest = all.dropFirst(1 + skipRows)
        return (header, Array(rest.prefix(rows ?? .max)))
    }

    /// Runs the body for pieces of the lines, paced.
    ///
    /// A tenth of a second's worth of rows goes out at once; with no pace, 500 rows do.
    func paced(
        _ lines: [ArraySlice<UInt8>], _ body: (ArraySlice<ArraySlice<UInt8>>) throws -> Void
    ) throws {
        let piece = rowsPerSecond == 0 ? 500 : max(1, Int(rowsPerSecond / 10))
        for begin in stride(from: 0, to: lines.count, by: piece) {
            let part = lines[begin..<min(lines.count, begin + piece)]
            try body(part)
            if rowsPerSecond > 0, part.endIndex < lines.count {
                pause(secs: Double(part.count) / rowsPerSecond)
            }
        }
    }
}

/// Appends the rows of a sample to a file, as a logging machine would.
struct FeedFile: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "file",
        abstract: "Append a sample's rows to a growing file.",
        discussion: """
            The header line is written where the file is new or empty.

            EXAMPLE
              flowguard-samples feed file pump.csv --output growing.csv --rows-per-second 50
            """)

    @OptionGroup var part: SampleRows

    @Option(help: "The file that grows.")
    var output: String

    func run() throws {
        let sample = try part.read()
        let isNew = (try? readLines(path: output).first?.isEmpty) ?? true
        var file = try Output(path: output, append: true)
        if isNew { try file.write(sample.header + [0x0A]) }
        try part.paced(sample.lines) { lines in
            for line in lines { try file.write(line + [0x0A]) }
            try file.flush()
        }
    }
}
