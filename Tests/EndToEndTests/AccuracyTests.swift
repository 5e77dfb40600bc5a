import Foundation
import TestSupport
import Testing

/// The accuracy benchmark runs; what it finds is in docs/accuracy.md.
struct AccuracyTests {
    private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    private static let data =
        ProcessInfo.processInfo.environment["FLOWGUARD_DATA"]
        ?? root.deletingLastPathComponent().appendingPathComponent("shared/data").path

    /// Tests use no network: the peers must have been installed by a run before.
    private static var isReady: Bool {
        let folder = "Benchmarks/accuracy/requirements.txt"
        let wanted = try? Data(contentsOf: root.appendingPathComponent(folder))
        let installed = try? Data(
            contentsOf: root.appendingPathComponent(".build/accuracy-venv/installed.txt"))
        return FileManager.default.fileExists(atPath: data + "/tabular") && wanted == installed
            && FileManager.default.fileExists(
                atPath: root.appendingPathComponent(".build/release/flowguardctl").path)
    }

    private func run(
        _ arguments: [String], data: String, in folder: TemporaryDirectory
    ) throws -> (code: Int32, output: String) {
        let output = try folder.write("", to: "output")
        let process = Process()
        process.executableURL = Self.root.appendingPathComponent("Benchmarks/accuracy/run")
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging([
            "FLOWGUARD_DATA": data, "PYTHONIOENCODING": "utf-8",
        ]) { $1 }
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
        process.standardError = FileHandle.standardError
        try process.run()
        process.waitUntilExit()
        return (
            process.terminationStatus, try String(contentsOfFile: output, encoding: .utf8)
        )
    }

    @Test func withoutDataItSaysSoAndIsNoFailure() throws {
        let folder = try TemporaryDirectory()
        let nowhere = folder.file("nowhere")
        let (code, output) = try run([], data: nowhere, in: folder)
        #expect(code == 0)
        #expect(output.hasPrefix("accuracy: skipped: no data: "))
        #expect(output.contains(nowhere))
    }

    @Test(.enabled(if: isReady, "needs the data and the peers of `make accuracy`"))
    func everyTableIsMeasuredBesideItsGoal() throws {
        let folder = try TemporaryDirectory()
        let path = try folder.write(
            "Words.\n\n<!-- skab: begin -->\nold\n<!-- skab: end -->\n\nMore words.\n",
            to: "accuracy.md")
        let (code, output) = try run(
            ["--quick", "--silent", "--markdown", path], data: Self.data, in: folder)
        #expect(code == 0)
        let document = try String(contentsOfFile: path, encoding: .utf8)
        for title in [
            "Tabular sets, dte split", "Tabular sets, random split",
            "Anomalies among the training rows", "SKAB valve1", "NAB, four streams",
            "Calibration", "Reasons", "Time of a fit",
        ] {
            #expect(output.contains("\n\(title)\n"), "\(title)")
            #expect(document.contains("\n## \(title)\n"), "\(title)")
        }
        #expect(document.hasPrefix("Words.\n\n<!-- skab: begin -->\n## SKAB valve1\n"))
        #expect(document.contains("<!-- skab: end -->\n\nMore words.\n"))
        #expect(!document.contains("\nold\n"))
        #expect(document.contains("| flowguard | "))
        let goals = output.components(separatedBy: "\nAll goals\n").last ?? ""
        #expect(goals.split(separator: "\n").count >= 12)
    }
}
