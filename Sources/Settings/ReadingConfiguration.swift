import Foundation
import Ingest
import Yams

extension FlowguardConfiguration {
    /// The longest configuration file.
    public static let maximumBytes = 1 << 20

    /// Reads and checks a configuration file.
    ///
    /// Relative paths in it count from the folder of the file.
    public init(path: String) throws(ConfigurationError) {
        let text: String
        do {
            let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            defer { try? handle.close() }
            let data = try handle.read(upToCount: Self.maximumBytes + 1) ?? Data()
            guard data.count <= Self.maximumBytes else {
                throw ConfigurationError.tooLong(path: path, limit: Self.maximumBytes)
            }
            text = try Self.text(of: data, path: path)
        } catch let error as ConfigurationError {
            throw error
        } catch {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
                throw .missing(path: path)
            }
            throw isFolder.boolValue
                ? .folder(path: path) : .unreadable(path: path, reason: Self.reason(of: error))
        }
        try self.init(yaml: text, path: path)
    }

    /// Checks the text of a configuration file.
    ///
    /// - Parameters:
    ///   - yaml: The text.
    ///   - path: The file's name, for messages and as the base of relative paths.
    public init(yaml: String, path: String) throws(ConfigurationError) {
        var reader = ConfigurationReader(path: path)
        if let root = reader.compose(yaml) {
            let draft = Self(reading: root, path: path, with: &reader)
            if reader.problems.isEmpty, let draft {
                self = draft
                return
            }
        }
        throw .problems(
            reader.problems.enumerated().sorted {
                ($0.element.line, $0.element.column, $0.offset)
                    < ($1.element.line, $1.element.column, $1.offset)
            }.map(\.element))
    }

    /// The text of a file; a byte that belongs to no letter is told with its place.
    private static func text(of data: Data, path: String) throws(ConfigurationError) -> String {
        if let text = String(bytes: data, encoding: .utf8) { return text }
        var (line, column) = (1, 1)
        var decoder = UTF8()
        var bytes = data.makeIterator()
        while case .scalarValue(let scalar) = decoder.decode(&bytes) {
            (line, column) = scalar == "\n" ? (line + 1, 1) : (line, column + 1)
        }
        throw .problems([
            ConfigurationProblem(
                path: path, line: line, column: column,
                message: "expected UTF-8, found a byte of another encoding",
                hint: "save it as UTF-8")
        ])
    }

    private static func reason(of error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        let code = underlying?.domain == NSPOSIXErrorDomain ? underlying?.code : nil
        guard let code else { return "its mode forbids reading" }
        return String(cString: strerror(Int32(code)))
    }

    private init?(reading root: Node, path: String, with reader: inout ConfigurationReader) {
        let keys = ["state_directory", "runtime_directory", "log", "http", "streams"]
        guard let section = reader.section(root, "the configuration", keys: keys) else {
            return nil
        }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        self.path = path
        stateDirectory =
            section["state_directory"].flatMap { reader.path($0, "state_directory", in: folder) }
            ?? "/var/lib/flowguard"
        runtimeDirectory =
            section["runtime_directory"].flatMap {
                reader.path($0, "runtime_directory", in: folder)
            }
            ?? "/run/flowguard"
        log = LogConfiguration(anomalies: "/var/log/flowguard/anomalies.ndjson")
        if let node = section["log"], let log = reader.section(node, "log", keys: ["anomalies"]),
            let path = log["anomalies"].flatMap({ reader.path($0, "log.anomalies", in: folder) })
        {
            self.log.anomalies = path
        }
        http = nil
        if let node = section["http"] { http = reader.http(node) }
        streams = []
        if let node = section["streams"] {
            let nodes = reader.list(node, "streams", expected: "streams") ?? []
            if nodes.isEmpty, case .sequence = node {
                reader.report(
                    node, "streams: expected at least one stream, found an empty list",
                    hint: Self.smallestExample)
            }
            streams = reader.streams(nodes, in: folder)
        } else {
            reader.report(
                root, "the configuration has no streams: at least one is needed",
                hint: Self.smallestExample)
        }
        reader.checkSockets(streams, control: controlSocketPath, root: root, section: section)
        reader.checkLog(
            log.anomalies, streams, state: stateDirectory,
            at: section["log"]?.mapping?["anomalies"] ?? section["streams"] ?? root)
    }

    private static let smallestExample =
        "the smallest is streams: [{name: pump-7, source: {file: /var/log/pump-7.csv}}]"
}

extension ConfigurationReader {
    /// The root node, or `nil` with the problem reported.
    mutating func compose(_ yaml: String) -> Node? {
        do {
            if let root = try Yams.compose(yaml: yaml, .default, .default, .utf8) { return root }
            report(
                line: 1, column: 1, "the file is empty: at least one stream is needed",
                hint: "see the example configurations")
        } catch let error as YamlError {
            report(error)
        } catch {
            report(line: 1, column: 1, "YAML: \(error)")
        }
        return nil
    }

    private mutating func report(_ error: YamlError) {
        switch error {
        case .scanner(let context, let problem, let mark, _),
            .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let detail = context.map { " \($0.text) that begins in line \($0.mark.line)" } ?? ""
            report(
                line: mark.line, column: mark.column,
                "not YAML: \(problem)\(detail.isEmpty ? "" : ",")\(detail)",
                hint: "check the indentation, the quotes and the brackets here and just above")
        case .reader(let problem, let offset, _, let yaml):
            // The offset counts characters, of which CR and LF together are one; columns count scalars, as those of marks.
            let before = yaml.prefix(offset ?? 0).unicodeScalars
            report(
                line: before.count { $0 == "\n" } + 1,
                column: before.reversed().prefix { $0 != "\n" }.count + 1, "not YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.map { "'\($0)'" }.joined(separator: ", ")
            report(
                line: context.mark.line, column: context.mark.column,
                "a key may stand only once in a mapping, found twice: \(keys)")
        default:
            report(line: 1, column: 1, "not YAML: \(error)")
        }
    }

    /// An absolute path.
    mutating func path(_ node: Node, _ key: String, in folder: String) -> String? {
        text(node, key, expected: "a path").map {
            URL(fileURLWithPath: $0, relativeTo: URL(fileURLWithPath: folder + "/"))
                .standardizedFileURL.path
        }
    }

    /// The `http` section.
    fileprivate mutating func http(_ node: Node) -> HTTPConfiguration? {
        guard let section = section(node, "http", keys: ["listen"]) else { return nil }
        let expected = "an address and a port such as 127.0.0.1:9469"
        guard let listen = section["listen"] else {
            report(node, "http: expected the key 'listen' with \(expected)")
            return nil
        }
        guard let text = text(listen, "http.listen", expected: expected) else { return nil }
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let port = UInt16(text[text.index(after: colon)...])
        else {
            report(listen, "http.listen: expected \(expected), found '\(text)'")
            return nil
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        return HTTPConfiguration(host: host, port: Int(port))
    }

    /// The anomaly log: no file that the daemon reads or keeps otherwise.
    fileprivate mutating func checkLog(
        _ log: String, _ streams: [StreamConfiguration], state: String, at node: Node
    ) {
        func resolved(_ path: String) -> String {
            URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        }
        let file = resolved(log)
        func isLog(_ path: String) -> Bool {
            path == log || resolved(path) == file
                || FileSetSource.matches(log, pattern: path)
        }
        for stream in streams {
            let isInFolder =
                if case .directory(let folder) = stream.source {
                    resolved(folder) == URL(fileURLWithPath: file).deletingLastPathComponent().path
                } else { false }
            if isInFolder || isLog(stream.source.path) {
                report(
                    node,
                    "log.anomalies: \(log) is in the source of stream '\(stream.name)', which would "
                        + "read what is written about it",
                    hint: "choose another file for the log")
            } else if stream.history.contains(where: isLog) {
                report(
                    node, "log.anomalies: \(log) is in the history of stream '\(stream.name)'",
                    hint: "choose another file for the log")
            }
        }
        let kept = resolved(state) + "/"
        let isKept = ["flowguard.sqlite", "models/", "windows/", "quarantine/", "spool/"].contains {
            file.hasPrefix(kept + $0)
        }
        if isKept {
            report(
                node, "log.anomalies: \(log) is among the files of the state directory",
                hint: "choose another file for the log")
        }
    }

    /// Socket paths: short enough, and each of one stream only.
    fileprivate mutating func checkSockets(
        _ streams: [StreamConfiguration], control: String, root: Node, section: Section
    ) {
        if control.utf8.count > SocketSource.pathLimit {
            report(
                section["runtime_directory"] ?? root,
                "runtime_directory: a socket's path has at most \(SocketSource.pathLimit) bytes, "
                    + "\(control) has \(control.utf8.count)",
                hint: "choose a shorter folder")
        }
        for stream in streams where stream.source.ownPath == control {
            report(
                section["streams"] ?? root,
                "stream '\(stream.name)': its socket \(control) is the control socket",
                hint: "give the stream a socket of its own")
        }
    }
}
