import Foundation
import TestSupport
import Testing

/// What came of a run of flowguardctl.
struct CommandOutcome {
    var code: Int32
    var output: String
    var error: String
}

/// Runs flowguardctl in a folder of its own, without colours and without a daemon unless one is named.
struct CommandRunner {
    let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
    }

    /// A process that is not started; its environment is the same on every machine.
    func process(_ arguments: [String], environment: [String: String] = [:]) -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: BuiltProgram.path("flowguardctl"))
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        process.environment = [
            "PATH": path, "COLUMNS": "80", "LANG": "C",
            "FLOWGUARD_SOCKET": folder.file("no.sock"),
        ].merging(environment) { $1 }
        return process
    }

    /// Runs the command to its end.
    ///
    /// - Parameter input: What it reads on standard input.
    func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> CommandOutcome {
        let name = UUID().uuidString
        let process = process(arguments, environment: environment)
        try folder.write(input, to: name + ".in")
        try folder.write("", to: name + ".out")
        try folder.write("", to: name + ".err")
        process.standardInput = try FileHandle(
            forReadingFrom: URL(fileURLWithPath: folder.file(name + ".in")))
        process.standardOutput = try FileHandle(
            forWritingTo: URL(fileURLWithPath: folder.file(name + ".out")))
        process.standardError = try FileHandle(
            forWritingTo: URL(fileURLWithPath: folder.file(name + ".err")))
        try process.run()
        process.waitUntilExit()
        return CommandOutcome(
            code: process.terminationStatus, output: try text(name + ".out"),
            error: try text(name + ".err"))
    }

    func text(_ name: String) throws -> String {
        try String(contentsOfFile: folder.file(name), encoding: .utf8)
    }

    func bytes(_ name: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: folder.file(name)))
    }
}

/// Texts that are kept in `Golden`.
enum Golden {
    /// Compares with the kept text; where there is none it is written, and the test fails.
    static func expect(
        _ text: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Golden/\(name).txt")
        guard FileManager.default.fileExists(atPath: file.path) else {
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
            Issue.record(
                "recorded Golden/\(name).txt: read it, commit it, run again",
                sourceLocation: sourceLocation)
            return
        }
        let kept = try String(contentsOf: file, encoding: .utf8)
        #expect(text == kept, sourceLocation: sourceLocation)
    }
}

/// Records of three readings, of which the third follows from the first two.
enum CommandRecords {
    static let header = "time,load,flow,pressure,note"

    /// Lines with a header; the same for the same count.
    static func csv(_ count: Int) -> String {
        ([header] + (0..<count).map(line)).joined(separator: "\n") + "\n"
    }

    /// One line of data.
    static func line(_ index: Int) -> String {
        var state = UInt64(index) &+ 1
        func noise() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let mixed = (state ^ (state >> 29)) &* 0xBF58_476D_1CE4_E5B9
            return Double((mixed ^ (mixed >> 32)) >> 11) / Double(1 << 53) - 0.5
        }
        let load = 50 + 20 * noise()
        let flow = 10 + 5 * noise()
        let pressure = 0.1 * load + 0.2 * flow + 0.3 * noise()
        return String(
            format: "2026-03-02T13:%02d:%02dZ,%.3f,%.3f,%.3f,x%d", index / 60 % 60, index % 60,
            load, flow, pressure, index % 7)
    }

    /// Each reading is in its range, the three together are not.
    static let anomaly = "2026-03-02T14:00:00Z,58.000,12.000,5.200,odd"
}
