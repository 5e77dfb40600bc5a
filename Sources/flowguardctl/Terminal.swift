import Foundation

/// How text stands out, as an SGR code.
enum Ink: String {
    case plain = "0"
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
    case alarm = "1;31"

    /// How strange is how red.
    init(pValue: Double) {
        self = pValue < 1e-6 ? .alarm : pValue < 1e-4 ? .red : .yellow
    }
}

/// What the place where text goes can show.
struct Terminal {
    /// Whether a person looks on.
    let isInteractive: Bool
    /// Whether colours are wanted.
    let hasColor: Bool
    /// Whether more than ASCII can be shown.
    let isUnicode: Bool
    /// Columns; 80 where it is not known.
    let width: Int

    static let output = Terminal(descriptor: STDOUT_FILENO)
    static let error = Terminal(descriptor: STDERR_FILENO)

    private init(descriptor: Int32) {
        let environment = ProcessInfo.processInfo.environment
        isInteractive = isatty(descriptor) == 1
        let refusesColor = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
        hasColor = isInteractive && !refusesColor && environment["TERM"] != "dumb"
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }
            .first { !$0.isEmpty }
        isUnicode = locale?.uppercased().contains("UTF") ?? false
        var size = winsize()
        if isInteractive, ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col >= 20 {
            width = Int(size.ws_col)
        } else {
            width = 80
        }
    }

    /// The text in this ink, where there is colour.
    func paint(_ text: String, _ ink: Ink) -> String {
        guard hasColor, ink != .plain, !text.isEmpty else { return text }
        return "\u{1B}[\(ink.rawValue)m\(text)\u{1B}[0m"
    }

    /// A bar of at most this many columns, filled by a share from 0 to 1.
    func bar(_ share: Double, columns: Int) -> String {
        let bounded = share.isFinite ? min(max(share, 0), 1) : 0
        guard isUnicode else {
            return String(repeating: "#", count: Int((bounded * Double(columns)).rounded()))
        }
        let eighths = Int((bounded * Double(columns) * 8).rounded())
        let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
    }
}

/// Text from outside, fit for a terminal: no control characters get through.
func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
    else { return text }
    return String(
        String.UnicodeScalarView(
            text.unicodeScalars.map {
                $0.properties.generalCategory == .control ? "\u{FFFD}" : $0
            }))
}
