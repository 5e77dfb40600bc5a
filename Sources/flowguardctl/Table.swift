/// Columns of text, each as wide as its widest cell.
struct Table {
    /// Where a cell's text stands.
    enum Alignment {
        case left
        case right
    }

    /// A cell, and the ink that it gets after it was made as wide as its column.
    struct Cell {
        var text: String
        var ink: Ink

        init(_ text: String, _ ink: Ink = .plain) {
            self.text = printable(text)
            self.ink = ink
        }
    }

    private let headers: [(String, Alignment)]
    private var rows: [[Cell]] = []

    /// - Parameter headers: The columns; `""` has no title.
    init(_ headers: [(String, Alignment)]) {
        self.headers = headers
    }

    mutating func add(_ cells: [Cell]) {
        precondition(cells.count == headers.count, "a cell for each column")
        rows.append(cells)
    }

    /// The lines, each with its newline; the first column gives way when the terminal is too narrow.
    func lines(_ terminal: Terminal) -> String {
        var widths = headers.indices.map { column in
            ([headers[column].0.count] + rows.map { $0[column].text.count }).max() ?? 0
        }
        let total = widths.reduce(0, +) + 2 * (widths.count - 1)
        if total > terminal.width, let first = widths.first {
            widths[0] = max(min(first, 8), first - (total - terminal.width))
        }
        var text = ""
        if headers.contains(where: { !$0.0.isEmpty }) {
            let titles = headers.indices.map { pad(headers[$0].0, widths[$0], headers[$0].1) }
            text += terminal.paint(trimmed(titles.joined(separator: "  ")), .dim) + "\n"
        }
        for row in rows {
            var cells: [String] = []
            for column in row.indices {
                let isLast = row[(column + 1)...].allSatisfy(\.text.isEmpty)
                let shown = cut(row[column].text, widths[column])
                let padded =
                    isLast && headers[column].1 == .left
                    ? shown : pad(shown, widths[column], headers[column].1)
                cells.append(terminal.paint(padded, row[column].ink))
                if isLast { break }
            }
            text += trimmed(cells.joined(separator: "  ")) + "\n"
        }
        return text
    }

    private func pad(_ text: String, _ width: Int, _ alignment: Alignment) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return alignment == .left ? text + space : space + text
    }

    private func cut(_ text: String, _ width: Int) -> String {
        text.count <= width ? text : String(text.prefix(max(0, width - 2))) + ".."
    }

    private func trimmed(_ text: String) -> String {
        String(text.reversed().drop { $0 == " " }.reversed())
    }
}

/// Breaks a sentence into lines.
enum Paragraph {
    /// - Parameters:
    ///   - width: Columns of a line without its indent; a longer word stands out.
    ///   - indent: Spaces before each line but the first, which stands beside a label.
    static func wrap(_ text: String, width: Int, indent: Int) -> String {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, line.count + 1 + word.count > width {
                lines.append(line)
                line = String(word)
            } else {
                line += (line.isEmpty ? "" : " ") + word
            }
        }
        lines.append(line)
        return lines.joined(separator: "\n" + String(repeating: " ", count: indent))
    }
}
