import Control
import Foundation
import Logging
import Streams

/// Writes each log event as one line to standard error, in the form that the journal understands.
///
/// Under systemd the line begins with the syslog priority, `<6>`, and has no time of its own. Elsewhere it begins with the
/// time and the level. Metadata follows the constant message as `key=value`.
struct ServiceLog: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private let isJournal: Bool

    /// Makes a handler; `isJournal` puts the syslog priority before each line.
    init(level: Logger.Level, isJournal: Bool) {
        logLevel = level
        self.isJournal = isJournal
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() {
            all.merge(provided) { _, new in new }
        }
        if let given = event.metadata { all.merge(given) { _, new in new } }
        if let error = event.error { all["error"] = "\(error)" }
        var line =
            isJournal
            ? "<\(Self.priority(of: event.level))>" : "\(Self.timestamp()) \(event.level.rawValue) "
        line += event.message.description
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            line += " \(key)=\(Self.quoted(value.description))"
        }
        line = String(line.prefix(8_192)) + "\n"
        // A standard error that is closed or full is no reason to stop working.
        _ = StateDirectory.writeAll(Array(Self.singleLine(line).utf8), to: STDERR_FILENO)
    }

    private static func priority(of level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: return 7
        case .info: return 6
        case .notice: return 5
        case .warning: return 4
        case .error: return 3
        case .critical: return 2
        }
    }

    private static func timestamp() -> String {
        Date().instantText
    }

    private static func quoted(_ text: String) -> String {
        let isPlain =
            !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3D }
        return isPlain ? text : "\"" + text.replacingScalars(["\"": "\\\""]) + "\""
    }

    /// Control characters but the final newline become spaces.
    private static func singleLine(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.dropLast().map {
                    $0.value < 0x20 || $0.value == 0x7F ? " " : $0
                }
                    + ["\n"]))
    }
}
