import Foundation
import Testing

/// The documents agree with the code that they describe.
struct DocumentTests {
    let checkout = Checkout()

    private func documents() throws -> [Checkout.File] {
        try checkout.files(
            in: ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "samples"],
            extensions: ["md"])
    }

    @Test func namedFilesExist() throws {
        for document in try documents() {
            let named = try matches(
                "`((?:Sources|Tests|Benchmarks|samples|scripts|deploy|docs)/[A-Za-z0-9_./-]+)`",
                in: document.text)
            for path in named {
                #expect(checkout.has(path), "\(document.path) names \(path)")
            }
        }
    }

    @Test func linksLeadSomewhere() throws {
        for document in try documents() {
            let folder = (document.path as NSString).deletingLastPathComponent
            for link in try matches("\\]\\(([^)#]+)(?:#[^)]*)?\\)", in: document.text)
            where !link.contains("://") {
                let path = folder.isEmpty ? link : folder + "/" + link
                #expect(checkout.has(path), "\(document.path) links \(link)")
            }
        }
    }

    @Test func everyDecisionIsLinked() throws {
        let architecture = try checkout.file("docs/architecture.md").text
        let decisions = try checkout.names(in: "docs/decisions")
        #expect(!decisions.isEmpty)
        for name in decisions {
            let isLinked = architecture.contains("(decisions/\(name))")
            #expect(isLinked, "docs/architecture.md, \(name)")
            #expect(name.wholeMatch(of: /\d{4}-[a-z0-9-]+\.md/) != nil, "\(name)")
        }
    }

    @Test func everyTargetIsInTheArchitecture() throws {
        let architecture = try checkout.file("docs/architecture.md").text
        for target in try checkout.names(in: "Sources") {
            let isThere = architecture.contains("| `\(target)` |")
            #expect(isThere, "docs/architecture.md, \(target)")
        }
    }

    /// Keys as the table of docs/operating.md has them: `a`, `a.b`, `streams[].a.b`.
    private func documentedKeys() throws -> Set<String> {
        let rows = try matches(
            "^\\| `([a-z_.\\[\\]]+)` \\|", in: try checkout.file("docs/operating.md").text)
        return Set(
            rows.flatMap { $0.split(separator: ".") }.map {
                $0.replacingOccurrences(of: "[]", with: "")
            })
    }

    @Test func everyConfigurationKeyIsDocumented() throws {
        let sources = try checkout.files(in: ["Sources/Settings"], extensions: ["swift"])
        let lists = try sources.flatMap {
            try matches("(?:keys: |[kK]eys = )\\[([^\\]]*)\\]", in: $0.text)
        }
        let keys = Set(try lists.flatMap { try matches("\"([a-z_]+)\"", in: $0) })
        #expect(keys.contains("first_after_records"), "the pattern finds the keys")
        let documented = try documentedKeys()
        #expect(keys.subtracting(documented).sorted() == [], "not in docs/operating.md")
    }

    @Test func configurationsUseDocumentedKeys() throws {
        let documented = try documentedKeys()
        let configurations = try checkout.files(
            in: ["samples", "deploy"], extensions: ["yaml"])
        #expect(configurations.count >= 4)
        for configuration in configurations {
            let text = configuration.lines.map {
                $0.range(of: #"(^|\s)#"#, options: .regularExpression)
                    .map { [line = $0] range in String(line[..<range.lowerBound]) } ?? $0
            }.joined(separator: "\n")
            let keys = Set(try matches("(?:^|[\\s{,-])([a-z_]+):(?=\\s|$)", in: text))
            #expect(
                keys.subtracting(documented).sorted() == [],
                "\(configuration.path), not in docs/operating.md")
        }
    }

    @Test func everyMetricIsDocumented() throws {
        let sources = try checkout.files(in: ["Sources/flowguardd"], extensions: ["swift"])
        let pattern = "(flowguard_[a-z_]+[a-z])"
        let names = Set(try sources.flatMap { try matches("\"" + pattern, in: $0.text) })
        let documented = Set(
            try matches("`" + pattern, in: try checkout.file("docs/operating.md").text))
        #expect(names.subtracting(documented).sorted() == [], "not in docs/operating.md")
        #expect(documented.subtracting(names).sorted() == [], "not in Sources/flowguardd")
    }

    @Test func everyRouteIsDocumented() throws {
        let sources = try checkout.files(in: ["Sources/flowguardd"], extensions: ["swift"])
        var routes: Set<String> = []
        for source in sources {
            for route in source.text.matches(
                of: #/(router|streams)\.(get|put|post|delete)\("([^"]+)"\)/#)
            {
                let path = (route.1 == "streams" ? "/v1/streams/" : "") + route.3
                let pattern = path.replacing(":name", with: "NAME").replacing(":id", with: "ID")
                let answersTCP = source.path.hasSuffix("/ControlServer.swift") ? "yes" : "no"
                routes.insert("`\(route.2.uppercased()) \(pattern)` | \(answersTCP)")
            }
        }
        #expect(routes.count > 10, "the pattern finds the routes")
        let page = try checkout.file("docs/api.md").text
        let documented = Set(try matches("^\\| (`[A-Z]+ /[^`]*` \\| (?:yes|no)) \\|", in: page))
        #expect(routes.subtracting(documented).sorted() == [], "not in docs/api.md")
        #expect(documented.subtracting(routes).sorted() == [], "not in Sources/flowguardd")
    }

    @Test func messagesInTheDocumentsAreThoseOfTheCode() throws {
        let sources = try checkout.files(in: ["Sources"], extensions: ["swift"])
        let code = sources.map(\.text).joined(separator: "\n")
            .replacingOccurrences(of: #""\s*\+ ""#, with: "", options: .regularExpression)
        let operating = try checkout.file("docs/operating.md").text
        let rows = try matches("^\\| (`[^|]*) \\|", in: try section("Messages", of: operating))
        let messages = try rows.flatMap { try matches("`([^`]+)`", in: $0) }
        #expect(messages.count > 10)
        for piece in messages.flatMap({ $0.split(separator: "…") }) {
            let isThere = code.contains(piece)
            #expect(isThere, "docs/operating.md: \(piece)")
        }
    }

    private func section(_ title: String, of text: String) throws -> String {
        let start = try #require(text.range(of: "\n## \(title)\n"))
        let rest = text[start.upperBound...]
        return String(rest[..<(rest.range(of: "\n## ")?.lowerBound ?? rest.endIndex)])
    }

    @Test func unitsAndScriptsNameTheInstalledFiles() throws {
        let install = try checkout.file("scripts/install").text
        for unit in try checkout.names(in: "deploy") where unit.hasSuffix(".service") {
            let isThere = install.contains(unit)
            #expect(isThere, "scripts/install, \(unit)")
        }
        for script in try checkout.names(in: "scripts") {
            let path = checkout.root.appendingPathComponent("scripts/\(script)").path
            #expect(FileManager.default.isExecutableFile(atPath: path), "scripts/\(script)")
        }
    }
}
