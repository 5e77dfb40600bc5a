import ArgumentParser
import Control
import Detection
import FlowDensity
import Foundation
import Ingest

/// Draws records from a model.
struct SampleCommand: Command {
    /// The form of the output.
    enum Output: String, ExpressibleByArgument, CaseIterable {
        case csv
        case ndjson
    }

    static let configuration = CommandConfiguration(
        commandName: "sample",
        abstract: "Draw records from a model: what it holds to be normal.",
        discussion: """
            EXAMPLES
              flowguardctl sample --model pump.model -n 1000 > like-normal.csv
              flowguardctl sample --stream pump-7 -n 10 --seed 7 --output-format ndjson
            """)

    @OptionGroup var model: ModelOptions

    @Option(
        name: [.customShort("n"), .customLong("count")], parsing: .unconditional,
        help: ArgumentHelp("How many records.", valueName: "count"))
    var count: Int

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Seed of the random numbers.", valueName: "number"))
    var seed: UInt64 = 0

    @Option(help: ArgumentHelp("The form of the output.", valueName: "format"))
    var outputFormat = Output.csv

    @OptionGroup var connection: ConnectionOptions

    private static let limit = 10_000_000

    func validate() throws {
        guard count >= 1, count <= Self.limit else {
            throw ValidationError("-n: expected a number from 1 to \(Self.limit), found \(count)")
        }
    }

    func execute() async throws {
        BLASCore.prepare()
        let detector = try await model.load(connection.client).detector
        let drawn = detector.sample(count, seed: seed)
        let names = detector.schema.columns
        var output: [UInt8] = []
        if outputFormat == .csv {
            output += (names.map(CSVText.cell).joined(separator: ",") + "\n").utf8
        }
        let keys = try names.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
        for row in 0..<drawn.rowCount {
            let numbers = drawn.row(row).map { $0.isNaN ? nil : String(format: "%.9g", $0) }
            let texts = drawn.categories.row(row)
            switch outputFormat {
            case .csv:
                let cells = numbers.map { $0 ?? "" } + texts.map { CSVText.cell($0 ?? "") }
                output += (cells.joined(separator: ",") + "\n").utf8
            case .ndjson:
                let strings = try texts.map { text in
                    try text.map {
                        String(decoding: try JSONEncoder().encode($0), as: UTF8.self)
                    }
                }
                let pairs = zip(keys, numbers + strings).map { "\($0):\($1 ?? "null")" }
                output += ("{" + pairs.joined(separator: ",") + "}\n").utf8
            }
            if output.count >= 1 << 20 {
                try StandardOutput.write(output)
                output.removeAll(keepingCapacity: true)
            }
        }
        try StandardOutput.write(output)
    }
}

/// Texts in CSV.
enum CSVText {
    /// A text as a cell of RFC 4180.
    static func cell(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { [",", "\"", "\r", "\n"].contains($0) }) else {
            return text
        }
        return "\"" + text.replacingScalars(["\"": "\"\""]) + "\""
    }
}
