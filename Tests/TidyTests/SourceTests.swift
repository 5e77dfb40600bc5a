import Foundation
import Testing

/// House rules that the compiler does not know, by reading the sources.
struct SourceTests {
    let checkout = Checkout()

    private func swift() throws -> [Checkout.File] {
        try checkout.files(
            in: ["Package.swift", "Sources", "Tests", "samples"], extensions: ["swift"])
    }

    /// Where the text stands in code, outside of the places that may have it.
    private func places(
        of texts: [String], in files: [Checkout.File], exceptUnder allowed: [String] = []
    ) -> [String] {
        files.filter { file in !allowed.contains { file.path.hasPrefix($0) } }.flatMap { file in
            file.codeLines.filter { line in texts.contains { line.text.contains($0) } }
                .map { "\(file.path):\($0.number)" }
        }
    }

    @Test(arguments: [
        ("GRDB", ["Sources/Store/"]),
        ("Yams", ["Sources/Settings/"]),
        ("Hummingbird", ["Sources/flowguardd/"]),
        ("HummingbirdCore", ["Sources/flowguardd/"]),
        ("HTTPTypes", ["Sources/flowguardd/"]),
        ("NIOCore", ["Sources/Ingest/", "Sources/flowguardd/", "Sources/flowguardctl/"]),
        ("NIOPosix", ["Sources/Ingest/", "Sources/flowguardctl/"]),
        ("NIOHTTP1", ["Sources/flowguardctl/"]),
        ("RealModule", ["Sources/FlowDensity/"]),
        ("ArgumentParser", ["Sources/flowguardd/", "Sources/flowguardctl/", "samples/"]),
        ("ServiceLifecycle", ["Sources/flowguardd/"]),
        ("Logging", ["Sources/Streams/", "Sources/flowguardd/"]),
        ("COpenBLAS", ["Sources/FlowDensity/"]),
        ("CFlowKernels", ["Sources/FlowDensity/"]),
        ("CParsers", ["Sources/Ingest/"]),
        ("CZlib", ["Sources/Ingest/"]),
        ("CZstd", ["Sources/Ingest/"]),
    ])
    func outsideCodeEntersWhereTheDecisionSays(module: String, allowed: [String]) throws {
        let files = try checkout.files(in: ["Sources", "samples"], extensions: ["swift"])
        let found = files.filter { file in !allowed.contains { file.path.hasPrefix($0) } }
            .filter { file in
                file.codeLines.contains { $0.text.hasSuffix("import \(module)") }
            }
        #expect(found.map(\.path) == [])
    }

    @Test func blasIsCalledInOneFile() throws {
        let found = places(
            of: ["cblas_"], in: try swift(),
            exceptUnder: ["Sources/FlowDensity/LinearAlgebra.swift", "Tests/TidyTests/"])
        #expect(found == [])
    }

    @Test func mathematicsKnowsNoFilesClocksLogsOrTasks() throws {
        let files = try checkout.files(in: ["Sources/FlowDensity"], extensions: ["swift"])
        let found = places(
            of: [
                "FileHandle", "FileManager", "Date(", "ContinuousClock", "Logger(", "Task {",
                "DispatchQueue", "Thread(",
            ], in: files)
        #expect(found == [])
    }

    @Test func onlyTheCommandLineToolsPrint() throws {
        let files = try checkout.files(in: ["Sources", "samples"], extensions: ["swift"])
        let found = places(
            of: [" print(", "debugPrint(", "dump("], in: files,
            exceptUnder: ["Sources/flowguardctl/", "samples/"])
        #expect(found == [])
    }

    @Test func nothingCrashesOnPurposeOrHidesErrors() throws {
        let found = places(
            of: ["try!", "fatalError(", " assert(", "assertionFailure(", "#if TESTING"],
            in: try swift(), exceptUnder: ["Tests/TidyTests/"])
        #expect(found == [])
    }

    @Test func testsUseWhatIsPublicOrOfThePackage() throws {
        let found = places(of: ["@testable"], in: try swift(), exceptUnder: ["Tests/TidyTests/"])
        #expect(found == [])
    }

    @Test func nothingIsLeftForLater() throws {
        let files = try checkout.files(
            in: [
                "Package.swift", "Sources", "Tests", "Benchmarks", "samples", "scripts", "deploy",
                "docs",
            ],
            extensions: ["swift", "c", "h", "cpp", "py", "md", "yaml", "service", ""])
        let found = files.filter { !$0.path.hasPrefix("Tests/TidyTests/") }.flatMap { file in
            file.lines.enumerated().filter { line in
                ["TODO", "FIXME", "XXX:"].contains { line.element.contains($0) }
            }.map { "\(file.path):\($0.offset + 1)" }
        }
        #expect(found == [])
    }

    @Test func filesHoldOneConcept() throws {
        let files = try checkout.files(
            in: ["Sources", "Tests", "Benchmarks", "samples"],
            extensions: ["swift", "c", "h", "cpp", "py"])
        let long = files.filter { $0.lines.count > 601 }.map { "\($0.path): \($0.lines.count - 1)" }
        #expect(long == [], "no file over 600 lines")
    }

    @Test func noPlaceholderOrHeaderIsLeft() throws {
        let files = try swift()
        let placeholders = files.filter { $0.path.hasSuffix("/Placeholder.swift") }.map(\.path)
        #expect(placeholders == [])
        let headers = files.filter { $0.lines.first?.hasPrefix("//===") == true }.map(\.path)
        #expect(headers == [])
    }

    @Test func nothingNamesTheMachineItWasWrittenOn() throws {
        let files = try checkout.files(
            in: [
                "Package.swift", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
                "Sources", "Tests", "Benchmarks", "samples", "scripts", "deploy", "docs", ".ci/run",
            ], extensions: ["swift", "c", "h", "cpp", "py", "md", "yaml", "json", "service", ""])
        let pattern = #"(?:^|[\s"'=:`(])(/(?:work|root|home/\w|tmp/fg)\b)"#
        let found = try files.filter { !$0.path.hasPrefix("Tests/TidyTests/") }.flatMap { file in
            try file.lines.enumerated().filter { try !matches(pattern, in: $0.element).isEmpty }
                .map { "\(file.path):\($0.offset + 1)" }
        }
        #expect(found == [])
    }
}
