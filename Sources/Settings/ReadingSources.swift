import Ingest
import Yams

extension ConfigurationReader {
    private static let sourceKinds = ["file", "directory", "socket", "datagram", "pipe", "stdin"]
    private static let socketKeys = ["acknowledge", "overflow", "overflow_bytes"]
    private static let sourceHint = "add source: {file: PATH} or source: {socket: PATH}"

    /// Where a stream's records come from.
    mutating func source(of section: Section, in folder: String) -> SourceConfiguration? {
        let place = "\(section.place): source"
        guard let node = section["source"] else {
            report(section.node, "\(section.place) has no source", hint: Self.sourceHint)
            return nil
        }
        let problemsBefore = problems.count
        guard
            let source = self.section(
                node, "source of \(section.place)", keys: Self.sourceKinds + Self.socketKeys)
        else { return nil }
        let kinds = Self.sourceKinds.filter { source[$0] != nil }
        guard let kind = kinds.first, let value = source[kind] else {
            if problems.count == problemsBefore {
                report(
                    node,
                    "\(place): expected one of \(Self.sourceKinds.joined(separator: ", ")), found none",
                    hint: Self.sourceHint)
            }
            return nil
        }
        guard kinds.count == 1 else {
            report(
                node,
                "\(place): expected one of \(Self.sourceKinds.joined(separator: ", ")), found "
                    + kinds.joined(separator: " and "))
            return nil
        }
        for key in Self.socketKeys where kind != "socket" {
            if let node = source[key] {
                report(
                    node, "\(place).\(key) is for sockets, the source is a \(kind)",
                    hint: "remove \(key)")
            }
        }
        if kind == "stdin" {
            _ = choice(value, "\(place).stdin", of: Switch.self)
            return .standardInput
        }
        guard let path = path(value, "\(place).\(kind)", in: folder) else { return nil }
        switch kind {
        case "directory": return .directory(path)
        case "pipe": return .pipe(path)
        case "datagram":
            checkLength(of: path, value, "\(place).datagram")
            return .datagram(path)
        case "socket":
            checkLength(of: path, value, "\(place).socket")
            return .socket(socket(source, path: path, place))
        default: return .file(path)
        }
    }

    private enum Switch: String, CaseIterable {
        case yes = "true"
    }

    private mutating func checkLength(of path: String, _ node: Node, _ key: String) {
        guard path.utf8.count > SocketSource.pathLimit else { return }
        report(
            node,
            "\(key): a socket's path has at most \(SocketSource.pathLimit) bytes, \(path) has "
                + "\(path.utf8.count)",
            hint: "choose a shorter path")
    }

    private mutating func socket(
        _ section: Section, path: String, _ place: String
    ) -> SocketConfiguration {
        var socket = SocketConfiguration(path: path)
        if let node = section["acknowledge"],
            let answer = boolean(node, "\(place).acknowledge")
        {
            socket.acknowledge = answer
        }
        if let node = section["overflow"],
            let policy = choice(node, "\(place).overflow", of: SocketConfiguration.Overflow.self)
        {
            socket.overflow = policy
            if policy == .dropOldest, socket.acknowledge {
                report(
                    node,
                    "\(place): acknowledge promises what overflow: drop_oldest breaks: expected block "
                        + "or spill",
                    hint: "remove one of the two")
            }
        }
        if let node = section["overflow_bytes"] {
            if socket.overflow != .spill {
                report(
                    node, "\(place).overflow_bytes is for overflow: spill",
                    hint: "remove overflow_bytes, or set overflow: spill")
            }
            if let bytes = integer(
                node, "\(place).overflow_bytes", in: (1 << 20)...(1 << 40))
            {
                socket.overflowBytes = bytes
            }
        }
        return socket
    }

    mutating func boolean(_ node: Node, _ key: String) -> Bool? {
        guard let text = text(node, key, expected: "true or false") else { return nil }
        guard text == "true" || text == "false" else {
            report(node, "\(key): expected true or false, found '\(text.prefix(60))'")
            return nil
        }
        return text == "true"
    }

    /// What the format must have because the source gives no header, or none of its own to each file.
    mutating func checkHeader(
        _ section: Section, source: SourceConfiguration?, format: FormatOptions
    ) {
        guard case .datagram = source, format.format == .csv, format.columns == nil else { return }
        report(
            section["source"] ?? section.node,
            "\(section.place): csv over datagrams has no header: expected the names under columns",
            hint: "add columns: [...], or set format: ndjson")
    }
}
