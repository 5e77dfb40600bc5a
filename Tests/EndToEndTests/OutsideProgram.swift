import Foundation
import TestSupport

/// A program that is not ours, such as a sender; ended with the value, by its own process number.
final class OutsideProgram {
    private let process = Process()
    private let folder: TemporaryDirectory
    private let name: String

    /// Where a program is, or `nil`.
    static func path(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        // An ordinary user's PATH lacks those of daemons.
        return (folders.map(String.init) + ["/usr/sbin", "/usr/local/sbin"])
            .map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Starts a program in a folder, where its messages go too.
    ///
    /// - Parameters:
    ///   - name: Its name; it is looked for where programs are.
    ///   - input: What it reads; nothing by default.
    init(
        _ name: String, _ arguments: [String], in folder: TemporaryDirectory, input: Any? = nil
    ) throws {
        guard let path = Self.path(name) else {
            throw WaitedInVain(description: "\(name) is not there")
        }
        self.folder = folder
        self.name = name
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
        try folder.append("", to: "\(name).messages")
        let messages = try FileHandle(
            forWritingTo: URL(fileURLWithPath: folder.file("\(name).messages")))
        try messages.seekToEnd()
        process.standardOutput = messages
        process.standardError = messages
        process.standardInput = input ?? FileHandle.nullDevice
        try Self.withoutBlockedSignals { try process.run() }
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// A program inherits what the thread that starts it blocks, and would never hear of SIGTERM.
    private static func withoutBlockedSignals(_ body: () throws -> Void) rethrows {
        var none = sigset_t()
        var before = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }

    var isRunning: Bool { process.isRunning }

    /// What it, and others of its name in the folder, have said.
    var messages: String {
        (try? String(contentsOfFile: folder.file("\(name).messages"), encoding: .utf8)) ?? ""
    }

    /// Asks it to end by SIGTERM.
    ///
    /// - Returns: Its exit code.
    /// - Throws: When it does not end.
    @discardableResult
    func stop() async throws -> Int32 {
        if process.isRunning { kill(process.processIdentifier, SIGTERM) }
        return try await exitCode()
    }

    /// Waits until it ends by itself.
    ///
    /// - Throws: When it does not, or not with exit code 0.
    func finish() async throws {
        let code = try await exitCode()
        guard code == 0 else {
            throw WaitedInVain(description: "\(name) ended with \(code): \(messages)")
        }
    }

    private func exitCode() async throws -> Int32 {
        let end = ContinuousClock.now + .seconds(120)
        while process.isRunning {
            guard ContinuousClock.now < end else {
                throw WaitedInVain(description: "\(name) does not end: \(messages)")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        return process.terminationStatus
    }

    /// Runs a program to its end; it reads the text.
    static func run(
        _ name: String, _ arguments: [String], in folder: TemporaryDirectory, input: String = ""
    ) async throws {
        let file = "input-\(UUID().uuidString)"
        try folder.write(input, to: file)
        let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: folder.file(file)))
        try await OutsideProgram(name, arguments, in: folder, input: handle).finish()
    }
}

/// The examples of docs/operating.md that show how other programs send.
struct SenderGuide {
    private let section: String

    init() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(
            contentsOf: root.appendingPathComponent("docs/operating.md"), encoding: .utf8)
        guard let start = text.range(of: "\n## Senders\n") else {
            throw WaitedInVain(description: "docs/operating.md has no section on senders")
        }
        let rest = text[start.upperBound...]
        section = String(rest[..<(rest.range(of: "\n## ")?.lowerBound ?? rest.endIndex)])
    }

    /// The indented block that holds a text, without its indentation, with other texts in place of some of its own.
    ///
    /// - Parameters:
    ///   - mark: What stands in this block, and in none before it.
    ///   - replacing: What is different on the machine of a test: paths, ports, and what takes long.
    func example(_ mark: String, replacing: KeyValuePairs<String, String> = [:]) throws -> String {
        var blocks: [[Substring]] = []
        var isInBlock = false
        for line in section.split(separator: "\n", omittingEmptySubsequences: false) {
            // An empty line within a block does not end it: what follows may go on.
            if line.isEmpty, isInBlock {
                blocks[blocks.count - 1].append("")
                continue
            }
            let belongs = line.hasPrefix("    ")
            if belongs, !isInBlock { blocks.append([]) }
            isInBlock = belongs
            if belongs { blocks[blocks.count - 1].append(line.dropFirst(4)) }
        }
        let texts = blocks.map { $0.joined(separator: "\n") }
        guard var text = texts.first(where: { $0.contains(mark) }) else {
            throw WaitedInVain(description: "docs/operating.md has no example with '\(mark)'")
        }
        for (old, new) in replacing {
            guard text.contains(old) else {
                throw WaitedInVain(description: "the example with '\(mark)' has no '\(old)'")
            }
            text = text.replacingOccurrences(of: old, with: new)
        }
        return text + "\n"
    }
}
