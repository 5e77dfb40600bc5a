import Control
import Foundation

/// A drawing as an SVG document; places and sizes are in pixels, from the upper left corner.
struct SVG {
    private let width: Double
    private let height: Double
    private var body = ""

    /// An empty drawing on white.
    init(width: Double, height: Double) {
        self.width = width
        self.height = height
    }

    /// The text of the file.
    var document: String {
        let size = "\(Self.number(width)) \(Self.number(height))"
        return """
            <?xml version="1.0" encoding="UTF-8"?>
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(size)" \
            width="\(Self.number(width))" height="\(Self.number(height))" \
            font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif">
            <rect width="100%" height="100%" fill="#ffffff"/>
            \(body)</svg>

            """
    }

    /// A filled rectangle.
    mutating func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, fill: String,
        opacity: Double = 1
    ) {
        body +=
            "<rect x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" "
            + "width=\"\(Self.number(width))\" height=\"\(Self.number(height))\" "
            + "fill=\"\(fill)\"\(opacity < 1 ? " fill-opacity=\"\(opacity)\"" : "")/>\n"
    }

    /// A straight line.
    mutating func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, color: String, width: Double = 1
    ) {
        body +=
            "<line x1=\"\(Self.number(x1))\" y1=\"\(Self.number(y1))\" "
            + "x2=\"\(Self.number(x2))\" y2=\"\(Self.number(y2))\" "
            + "stroke=\"\(color)\" stroke-width=\"\(Self.number(width))\"/>\n"
    }

    /// A path of SVG commands, not filled.
    mutating func path(_ commands: String, color: String, width: Double, dashes: String? = nil) {
        guard !commands.isEmpty else { return }
        let style = dashes.map { " stroke-dasharray=\"\($0)\"" } ?? ""
        body +=
            "<path d=\"\(commands)\" fill=\"none\" stroke=\"\(color)\" "
            + "stroke-width=\"\(Self.number(width))\"\(style)/>\n"
    }

    /// Text with its baseline at a place.
    ///
    /// - Parameters:
    ///   - anchor: Which end of the text is there: `start`, `middle` or `end`.
    ///   - isUpright: Turned so that it reads upwards.
    mutating func text(
        _ x: Double, _ y: Double, _ text: String, size: Double, color: String,
        anchor: String = "start", isBold: Bool = false, isUpright: Bool = false
    ) {
        let place = "\(Self.number(x)) \(Self.number(y))"
        body +=
            "<text x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" "
            + "font-size=\"\(Self.number(size))\" fill=\"\(color)\" text-anchor=\"\(anchor)\""
            + (isBold ? " font-weight=\"bold\"" : "")
            + (isUpright ? " transform=\"rotate(-90 \(place))\"" : "")
            + ">\(Self.escaped(text))</text>\n"
    }

    /// A number with at most two digits behind the point.
    static func number(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        let text = String(format: "%.2f", Double(hundredths) / 100)
        let cut = text.reversed().drop { $0 == "0" }
        return String((cut.first == "." ? cut.dropFirst() : cut).reversed())
    }

    private static func escaped(_ text: String) -> String {
        printable(text).replacingScalars(["&": "&amp;", "<": "&lt;", ">": "&gt;"])
    }
}
