import ArgumentParser
import Control
import Foundation

/// The models of a stream.
struct ModelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "model",
        abstract: "List, show, activate or export a stream's models.",
        discussion: """
            EXAMPLES
              flowguardctl model list pump-7
              flowguardctl model activate pump-7 12
              flowguardctl model export pump-7 --output pump-7.model
            """,
        subcommands: [ListModels.self, ShowModel.self, ActivateModel.self, ExportModel.self])

    static var _errorLabel: String { ErrorLabel.text }
}

/// All models of a stream.
struct ListModels: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "The models of a stream, newest first.",
        discussion: """
            EXAMPLES
              flowguardctl model list pump-7
              flowguardctl model list pump-7 --json
            """)

    @OptionGroup var target: StreamArgument

    @Flag(help: "One JSON document.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let client = connection.client
        let data = try await client.bytes(.get, Route.models(target.stream))
        if json { return try StandardOutput.write(document: data) }
        let list = try client.decode(ModelList.self, from: data)
        try StandardOutput.write(ModelView(terminal: .output).text(list))
    }
}

/// One model.
struct ShowModel: Command {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "One model of a stream, the serving one by default.",
        discussion: """
            EXAMPLES
              flowguardctl model show pump-7
              flowguardctl model show pump-7 12 --json
            """)

    @OptionGroup var target: StreamArgument

    @Argument(help: "The model's number; the serving one by default.")
    var model: Int64?

    @Flag(help: "One JSON document.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let client = connection.client
        let id = try await client.model(target.stream, model)
        let data = try await client.bytes(.get, Route.model(target.stream, String(id)))
        if json { return try StandardOutput.write(document: data) }
        let message = try client.decode(ModelMessage.self, from: data)
        try StandardOutput.write(ModelView(terminal: .output).text(message))
    }
}

/// Puts a model into service.
struct ActivateModel: Command {
    static let configuration = CommandConfiguration(
        commandName: "activate", abstract: "Let a model serve, for instance an earlier one.",
        discussion: """
            EXAMPLES
              flowguardctl model activate pump-7 12
            """)

    @OptionGroup var target: StreamArgument

    @Argument(help: "The model's number, from model list.")
    var model: Int64

    @Flag(help: "One JSON document: the model.")
    var json = false

    @OptionGroup var connection: ConnectionOptions

    func execute() async throws {
        let message = try await connection.client.send(
            .post, Route.activate(target.stream, String(model)), reply: ModelMessage.self)
        if json { return try StandardOutput.write(json: ControlJSON.encode(message)) }
        try StandardOutput.write("\(printable(message.stream)): model \(message.id) serves\n")
    }
}

/// Copies a model's file.
struct ExportModel: Command {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write a model to a file, the serving one by default.",
        discussion: """
            The file is a safetensors container with everything that score --model needs.

            EXAMPLES
              flowguardctl model export pump-7 --output pump-7.model
              flowguardctl model export pump-7 12 --output pump-7.12.model
            """)

    @OptionGroup var target: StreamArgument

    @Argument(help: "The model's number; the serving one by default.")
    var model: Int64?

    @Option(
        name: [.short, .long],
        help: ArgumentHelp(
            "The file; /dev/stdout and named pipes take it too.", valueName: "file"))
    var output: String

    @OptionGroup var connection: ConnectionOptions

    func validate() throws { try WholeFile.validateName(output, of: "--output") }

    func execute() async throws {
        try WholeFile.requireWritable(output)
        let client = connection.client
        let id = try await client.model(target.stream, model)
        let data = try await client.bytes(.get, Route.modelFile(target.stream, String(id)))
        try WholeFile.write(Array(data), to: output)
        StandardError.write(
            "\(output): model \(id) of \(target.stream), \(Format.bytes(data.count))\n")
    }
}

extension ControlClient {
    /// The number of a model: the one given, else that of the serving one.
    func model(_ stream: String, _ given: Int64?) async throws -> Int64 {
        if let given { return given }
        let detail = try await get(StreamDetail.self, Route.stream(stream))
        guard let model = detail.status.model else {
            throw CommandFailure(
                "stream '\(stream)' has no model yet",
                hint: "flowguardctl status \(StreamName.quoted(stream)) tells how far it is")
        }
        return model.id
    }
}

/// Models as text.
struct ModelView {
    let terminal: Terminal

    func text(_ list: ModelList) -> String {
        guard !list.models.isEmpty else {
            return "\(printable(list.stream)) has no models yet\n"
        }
        var table = Table([
            ("MODEL", .right), ("STATE", .left), ("FAMILY", .left), ("FITTED", .left),
            ("RECORDS", .right), ("NATS", .right), ("SIZE", .right),
        ])
        for model in list.models {
            let isServing = model.state == "serving"
            table.add([
                Table.Cell("\(model.id)"),
                Table.Cell(model.state, isServing ? .green : .plain),
                Table.Cell(model.family), Table.Cell(Format.time(model.fittedAt)),
                Table.Cell(Format.count(model.recordCount)),
                Table.Cell(Format.nats(model.heldOutLogLikelihood)),
                Table.Cell(model.file == nil ? "pruned" : Format.bytes(model.fileBytes)),
            ])
        }
        var text = table.lines(terminal)
        let reasons = list.models.prefix(8).filter { !$0.reason.isEmpty }
        if !reasons.isEmpty { text += "\n" }
        for model in reasons {
            let label = "\(model.id) \(model.state): "
            text +=
                label
                + Paragraph.wrap(
                    printable(model.reason), width: terminal.width - label.count,
                    indent: label.count) + "\n"
        }
        return text
    }

    func text(_ model: ModelMessage) -> String {
        let facts: [(String, String?)] = [
            ("state", "\(model.state): \(model.reason)"),
            ("family", "\(model.family), \(Format.plural(model.parameterCount, "parameter"))"),
            (
                "fitted",
                "\(Format.time(model.fittedAt)) on \(Format.plural(model.recordCount, "record"))"
            ),
            ("held out", "\(Format.nats(model.heldOutLogLikelihood)) nats a record"),
            ("activated", model.activatedAt.map(Format.time)),
            ("retired", model.retiredAt.map(Format.time)),
            ("file", model.file.map { "\($0), \(Format.bytes(model.fileBytes))" } ?? "pruned"),
        ]
        var text = terminal.paint("model \(model.id) of \(printable(model.stream))", .bold) + "\n\n"
        for (label, value) in facts {
            guard let value else { continue }
            text +=
                terminal.paint(label.padding(toLength: 11, withPad: " ", startingAt: 0), .dim)
                + Paragraph.wrap(printable(value), width: terminal.width - 11, indent: 11) + "\n"
        }
        return text
    }
}
