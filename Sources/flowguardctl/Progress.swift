import Foundation

/// Shows on standard error how far something is: a bar on a terminal, a line now and then elsewhere.
struct Progress {
    private let terminal = Terminal.error
    private let isQuiet: Bool
    private let start = ContinuousClock.now
    private var shownAt: ContinuousClock.Instant?
    private var toldTenth = -1
    private var toldPhase = ""
    private var isLineOpen = false

    /// - Parameter linesElsewhere: Whether plain lines are written where there is no terminal.
    init(linesElsewhere: Bool) {
        isQuiet = !Terminal.error.isInteractive && !linesElsewhere
    }

    /// Shows a state; more often than the eye follows costs nothing.
    ///
    /// - Parameters:
    ///   - fraction: The done share, 0 to 1; `nil` while it is not known.
    ///   - phase: What is being done, in a word or two.
    ///   - detail: More, when there is room.
    mutating func show(fraction: Double?, phase: String, detail: @autoclosure () -> String = "") {
        guard !isQuiet else { return }
        if terminal.isInteractive {
            let now = ContinuousClock.now
            if let shownAt, now - shownAt < .milliseconds(100), phase == toldPhase { return }
            shownAt = now
            toldPhase = phase
            draw(fraction: fraction, phase: phase, detail: detail())
            return
        }
        let tenth = Int((fraction ?? 0) * 10)
        guard phase != toldPhase || tenth > toldTenth else { return }
        toldPhase = phase
        toldTenth = tenth
        let share = fraction.map { " \(Int(100 * $0))%" } ?? ""
        let more = detail()
        StandardError.write("\(phase)\(share)\(more.isEmpty ? "" : ", \(more)")\n")
    }

    /// Removes the bar.
    mutating func finish() {
        guard isLineOpen else { return }
        StandardError.write("\r\u{1B}[K")
        isLineOpen = false
    }

    private mutating func draw(fraction: Double?, phase: String, detail: String) {
        let columns = 24
        var line = phase
        if let fraction {
            let bar = terminal.bar(fraction, columns: columns)
            let rest = String(
                repeating: terminal.isUnicode ? "░" : ".", count: max(0, columns - bar.count))
            let percent = String(format: "%3d%%", Int(100 * fraction))
            line = "\(bar)\(rest) \(percent)  \(phase)"
        }
        if !detail.isEmpty { line += ", \(detail)" }
        line = String(line.prefix(terminal.width - 1))
        StandardError.write("\r\(line)\u{1B}[K")
        isLineOpen = true
    }
}
