import Foundation
import TestSupport
import Testing

/// What the documents and samples tell a person to run, run.
@Suite struct DocumentRunTests {
    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// The indented lines below a heading of the README.
    private func commands(below heading: String) throws -> [String] {
        let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        let start = try #require(text.range(of: "\n## \(heading)\n"))
        let section = text[start.upperBound...].split(
            separator: "\n", omittingEmptySubsequences: false
        ).prefix { !$0.hasPrefix("## ") }
        return section.filter { $0.hasPrefix("    ") }.map { String($0.dropFirst(4)) }
    }

    @Test func theTenLinesOfTheReadmeDoWhatTheySay() throws {
        let lines = try commands(below: "Ten lines")
        #expect(lines.count == 10)
        let runner = try CommandRunner()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        // Built and found already.
        let script = lines.filter { !$0.hasPrefix("make ") && !$0.hasPrefix("export PATH") }
        process.arguments = ["-euc", script.joined(separator: "\n")]
        process.currentDirectoryURL = URL(fileURLWithPath: runner.folder.path)
        let programs = URL(fileURLWithPath: BuiltProgram.path("flowguardctl"))
            .deletingLastPathComponent().path
        process.environment = [
            "PATH": programs + ":"
                + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
        ]
        try runner.folder.write("", to: "output")
        try runner.folder.write("", to: "errors")
        process.standardOutput = FileHandle(forWritingAtPath: runner.folder.file("output"))
        process.standardError = FileHandle(forWritingAtPath: runner.folder.file("errors"))
        try process.run()
        process.waitUntilExit()
        let errors = try runner.text("errors")
        #expect(process.terminationStatus == 0, "\(errors)")
        let output = try runner.text("output").split(separator: "\n").map(String.init)
        let anomalies = try #require(output.compactMap { Int($0) }.first)
        // Five faults, 663 records of them: most are found, and little else.
        #expect((200...900).contains(anomalies), "\(anomalies)")
        #expect(output.contains { $0.hasPrefix("USAGE") })
    }

    @Test(arguments: [
        "samples/all-keys.yaml", "samples/file.yaml", "samples/host.yaml", "deploy/flowguard.yaml",
    ])
    func everyConfigurationThatIsShippedIsGood(path: String) throws {
        let file = root.appendingPathComponent(path).path
        let outcome = try CommandRunner().run(["check", file])
        #expect(outcome.code == 0, "\(outcome.error)")
        #expect(outcome.output.hasPrefix("\(file): good, "))
    }
}
