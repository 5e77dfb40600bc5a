import Settings
import Testing

/// The key `key` of a stream.
struct KeyConfigurationTests {
    private func stream(_ lines: String) throws -> StreamConfiguration {
        let configuration = try FlowguardConfiguration(
            yaml: "streams:\n  - name: p\n    source: {file: a.csv}\n" + lines, path: "f.yaml")
        return try #require(configuration.streams.first)
    }

    private func problems(_ lines: String) -> String {
        let error = #expect(throws: ConfigurationError.self) { try stream(lines) }
        return error?.report ?? ""
    }

    @Test func aNameIsEnough() throws {
        let short = try stream("    key: machine\n    categories: [mode]\n")
        #expect(short.key == KeyConfiguration(column: "machine"))
        #expect(short.key?.live == 500)
        #expect(short.key?.most == 10_000)
        #expect(short.categories == ["mode", "machine"])
        let full = try stream("    key: {column: machine, most: 40, live: 10}\n")
        #expect(full.key?.live == 10)
        #expect(full.key?.most == 40)
        #expect(try stream("    key: {column: machine, most: 40}\n").key?.live == 40)
        #expect(try stream("").key == nil)
    }

    @Test func aKeysPartHasAllButTheKey() throws {
        let whole = try stream(
            "    key: machine\n    categories: [mode]\n    history: [b.csv]\n"
                + "    alarm: {false_alarms_per_day: 5}\n")
        let own = whole.ofKey("7/a")
        #expect(own.name == "p/7/a")
        #expect(KeyedName.split(own.name) == ("p", "7/a"))
        #expect(own.key == nil)
        #expect(own.categories == ["mode"])
        #expect(own.history.isEmpty)
        #expect(own.budget == whole.budget)
        #expect(KeyedName.split("p") == ("p", nil))
        #expect(KeyedName.join("p", "7/a") == own.name)
        #expect(KeyedName.join("p", nil) == "p")
    }

    @Test(arguments: ["b", "a/b", "/", " ", "\u{301}x", "\u{200D}", "\u{FE0F}/"])
    func aNameOfStreamAndKeyPartsAgain(key: String) {
        let name = KeyedName.split(KeyedName.join("pumps", key))
        #expect(name.stream == "pumps")
        #expect(name.key.map { Array($0.utf8) } == Array(key.utf8))
        #expect(KeyedName.split("pumps").key == nil)
    }

    @Test func aColumnInTwoRolesIsTold() {
        #expect(
            problems("    key: machine\n    features: [flow, machine]\n") == """
                error: f.yaml:4:10: stream 'p': key: 'machine' is the key and a feature
                hint:  remove it from one of the two
                """)
        #expect(
            problems("    key: t\n    time: {column: t}\n").contains(
                "key: 't' is the key and the time column"))
        #expect(
            problems("    key: m\n    categories: [m]\n").contains(
                "key: 'm' is the key and a category or left out"))
    }

    @Test func whatIsMissingOrTooMuchIsTold() {
        #expect(
            problems("    key: {live: 5}\n") == """
                error: f.yaml:4:10: stream 'p': key: column is missing
                hint:  add column: and its name
                """)
        #expect(
            problems("    key: {column: m, live: 0}\n").contains(
                "stream 'p': key.live: expected a whole number from 1 to 10000, found 0"))
        #expect(
            problems(
                "    key: machine\n    time: {column: t}\n"
                    + "    long: {series: s, value: v, every: 1s}\n"
            ).contains("remove key, or long"))
    }
}
