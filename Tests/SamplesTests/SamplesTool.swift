import Foundation

/// The built tool, run as a person runs it.
struct SamplesTool {
    /// What came of a run.
    struct Result {
        var status: Int32
        var output: String
        var errors: String
    }

    /// A folder of its own for the files of one test.
    let folder: URL
    private let name: String

    /// - Parameter name: Which of the built programs.
    init(_ name: String = "flowguard-samples") throws {
        self.name = name
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("flowguard-samples-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    /// Takes the files away again.
    func remove() {
        try? FileManager.default.removeItem(at: folder)
    }

    /// Runs the tool in the folder, with text on its standard input.
    func run(_ arguments: String..., input: String = "") throws -> Result {
        let inputFile = folder.appendingPathComponent("input-\(UUID().uuidString)")
        let outputFile = folder.appendingPathComponent("output-\(UUID().uuidString)")
        let errorFile = folder.appendingPathComponent("errors-\(UUID().uuidString)")
        try Data(input.utf8).write(to: inputFile)
        try Data().write(to: outputFile)
        try Data().write(to: errorFile)
        let process = Process()
        process.executableURL = try executable()
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardInput = try FileHandle(forReadingFrom: inputFile)
        process.standardOutput = try FileHandle(forWritingTo: outputFile)
        process.standardError = try FileHandle(forWritingTo: errorFile)
        try process.run()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus,
            output: String(decoding: try Data(contentsOf: outputFile), as: UTF8.self),
            errors: String(decoding: try Data(contentsOf: errorFile), as: UTF8.self))
    }

    func text(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: folder.appendingPathComponent(name)), as: UTF8.self)
    }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }

    /// The tool lies beside the test bundle, which is the running program or is loaded by it.
    private func executable() throws -> URL {
        let loaded = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
            .split(separator: "\n").compactMap { $0.split(separator: " ").last.map(String.init) }
        for path in [CommandLine.arguments[0]] + loaded where path.contains(".xctest") {
            let tool = URL(fileURLWithPath: path).deletingLastPathComponent()
                .appendingPathComponent(name)
            if FileManager.default.isExecutableFile(atPath: tool.path) { return tool }
        }
        throw CocoaError(.fileNoSuchFile)
    }
}
