import ArgumentParser
import Control
import Foundation

/// The keys of a stream.
struct KeysCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "List the keys of a stream: the machines that its records mix.",
        discussion: """
            Each key is judged with a past of its own, by a model of its own once it has records \
            enough for one. Every command that takes a stream takes STREAM/KEY too.

            EXAMPLES
              flowguardctl keys pumps
              flowguardctl status pumps/7
              flowguardctl tail pumps/7 -f
            """)

    @OptionGroup var target: StreamArgument

    @Flag(help: "One JSON document.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let client = connection.client
        let data = try await client.bytes(.get, Route.keys(target.stream))
        if json { return try StandardOutput.write(document: data) }
        let list = try client.decode(KeyList.self, from: data)
        try StandardOutput.write(Self.text(list, terminal: .output, now: Date()))
    }

    static func text(_ list: KeyList, terminal: Terminal, now: Date) -> String {
        guard let column = list.column else {
            return
                "\(printable(list.stream)) has no key: all its records are judged as one series\n"
        }
        guard !list.keys.isEmpty else {
            return
                "\(printable(list.stream)) has had no record with a key in \(printable(column))\n"
        }
        var table = Table([
            (printable(column).uppercased(), .left), ("RECORDS", .right), ("ANOMALIES", .right),
            ("LAST SEEN", .right), ("MODEL", .right),
        ])
        for key in list.keys {
            table.add([
                Table.Cell(printable(key.key), .bold),
                Table.Cell(Format.count(key.recordsTotal)),
                Table.Cell(Format.count(key.anomaliesTotal)),
                Table.Cell("\(Format.age(now.timeIntervalSince(key.lastSeenAt))) ago"),
                Table.Cell(
                    key.model.map { "\($0)" } ?? "stream's", key.model == nil ? .dim : .plain),
            ])
        }
        return table.lines(terminal)
    }
}
