/// What the first lines of an input say of its format.
///
/// A guess that a person can overrule: a header line is expected, and only what all first lines agree
/// on is taken for granted.
public struct DetectedFormat: Sendable, Hashable {
    /// How many of an input's first bytes are looked at.
    public static let startBytes = 64 << 10
    /// How many of its first lines.
    static let lineLimit = 100

    /// How its lines are read.
    public var options: FormatOptions
    /// Texts in columns of numbers that mean "no value" elsewhere, and are not among the usual ones.
    public var missing: [String] = []
    /// Numbers that stand where others are far away, and may mean "no value", such as -999.
    public var suspects: [String] = []
    /// Two orders of day and month that both fit the times, if neither can be told.
    public var ambiguousTime: [String] = []

    /// Looks at the first bytes of an input.
    ///
    /// - Parameters:
    ///   - start: The first bytes, not compressed, at most `startBytes`.
    ///   - name: The input's name, whose ending counts where the lines say nothing.
    public init(start: [UInt8], name: String) {
        options = (FormatName.named(by: name) ?? .csv).options
        let lines = Self.lines(of: start, as: FormatOptions(format: .ndjson))
        let content = lines.filter { $0.first != UInt8(ascii: "#") }
        guard let first = content.first else { return }
        if first.first(where: { $0 != 0x20 && $0 != 0x09 }) == UInt8(ascii: "{"),
            visitValues(of: first[...], format: .ndjson, { _ in })
        {
            options = FormatOptions(format: .ndjson)
        } else if content.prefix(20).allSatisfy({
            visitValues(of: $0[...], format: .influx) { _ in }
        }) {
            options = FormatOptions(format: .influx)
            options.time.unit = Self.unit(of: content)
        } else {
            let comment = content.count < lines.count ? UInt8(ascii: "#") : nil
            lookAtCells(findCut(in: start, comment: comment))
        }
    }

    /// Whole lines that are not empty, the header included, without their breaks.
    private static func lines(of start: [UInt8], as format: FormatOptions) -> [[UInt8]] {
        var framer = LineFramer(
            format: format, limits: BatchLimits(lines: lineLimit, bytes: startBytes), input: 0,
            name: "")
        start.withUnsafeBytes { framer.append($0) }
        // A line that is cut off says too little, unless it is all that there is.
        let isCut = start.count >= startBytes && framer.hasCompleteLine
        guard let batch = framer.takeBatch(atEnd: !isCut) else { return [] }
        return [batch.header].compactMap(\.self)
            + batch.lines.indices.map { Array(batch.content(ofLine: $0)) }
    }

    /// The unit of the timestamps of points, by their digits; `nil` for nanoseconds, the default.
    private static func unit(of lines: [[UInt8]]) -> TimeUnit? {
        var digits: [Int] = []
        for line in lines {
            visitValues(of: line[...], format: .influx) { value in
                if value.type == .time { digits.append(value.bytes.count) }
            }
        }
        switch digits.max() ?? 19 {
        case ...11: return .s
        case ...14: return .ms
        case ...17: return .us
        default: return nil
        }
    }

    // MARK: - CSV

    /// Ways to cut a line into cells; of two that do as well, the first is meant.
    private static let cuts: [(delimiter: String, mark: String)] = [
        (",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", "."), ("|", ","),
    ]

    /// Delimiter and decimal mark: every line has as many cells, and most of these are numbers or times.
    ///
    /// - Returns: The header and the lines, cut so.
    private mutating func findCut(in start: [UInt8], comment: UInt8?) -> [[[UInt8]]] {
        if options.format != .csv { options = FormatOptions(format: .csv) }
        options.comment = comment
        var best = Self.lines(of: start, as: options).map {
            CSV.cells(of: $0, delimiter: options.delimiter)
        }
        var bestShare = -1.0
        let time = TimeParser()
        for cut in Self.cuts {
            var cutOptions = options
            cutOptions.delimiter = Array(cut.delimiter.utf8)[0]
            cutOptions.decimalMark = Array(cut.mark.utf8)[0]
            let rows = Self.lines(of: start, as: cutOptions).map {
                CSV.cells(of: $0, delimiter: cutOptions.delimiter)
            }
            guard let width = rows.first?.count, width > 1 else { continue }
            let whole = rows.filter { $0.count == width }
            guard 10 * whole.count >= 9 * rows.count else { continue }
            let cells = whole.dropFirst().joined()
            let known = cells.count {
                $0.isEmpty || CSV.isNumber($0, cutOptions.decimalMark)
                    || ($0.count >= 8 && $0.withUnsafeBufferPointer(time.parse) != nil)
            }
            let share = Double(known) / Double(max(1, cells.count))
            if share > bestShare { (options, best, bestShare) = (cutOptions, rows, share) }
        }
        return best
    }

    /// Texts that mean "no value" to somebody.
    private static let missingTexts: Set<String> = [
        "-", "--", "?", "n/a", "N/A", "#N/A", "NULL", "Null", "None", "none", "NAN", "na", "\\N",
        "missing", "NIL", "nil", "-nan", "***", "---", "bad", "Bad", "BAD",
    ]
    /// Patterns of times that are not ISO 8601.
    private static let patterns = [
        "%d.%m.%Y %T", "%d.%m.%Y %R", "%d.%m.%Y %T.%f", "%d.%m.%Y", "%d/%m/%Y %T", "%m/%d/%Y %T",
        "%d/%m/%Y %R", "%m/%d/%Y %R", "%d/%m/%Y", "%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p",
        "%d/%m/%Y %I:%M:%S %p", "%d-%m-%Y %T", "%d-%m-%Y %R", "%d-%b-%Y %T", "%d %b %Y %T",
        "%b %d, %Y %T", "%d/%b/%Y:%T %z", "%a %b %d %T %Y", "%Y.%m.%d %T", "%Y%m%d %T",
    ]

    /// The patterns that read a text which is no time without one.
    static func patterns(of cell: [UInt8]) -> [String] {
        patterns.filter { pattern in
            var format = TimeFormat()
            format.pattern = pattern
            return cell.withUnsafeBufferPointer(TimeParser(format).parse) != nil
        }
    }

    /// Markers of missing values, and how times are written.
    private mutating func lookAtCells(_ rows: [[[UInt8]]]) {
        guard let names = rows.first else { return }
        let body = rows.dropFirst().filter { $0.count == names.count }
        for (index, name) in names.enumerated() {
            let cells = body.map { $0[index] }
            let title = String(decoding: name, as: UTF8.self).lowercased()
            if SchemaInference.timeNames.contains(title), !cells.isEmpty {
                findPattern(of: cells)
            } else {
                findMissing(in: cells)
            }
        }
    }

    private mutating func findMissing(in cells: [[UInt8]]) {
        let numbers = cells.compactMap { CSV.number($0, options.decimalMark) }.filter(\.isFinite)
        guard 2 * numbers.count >= cells.count, !numbers.isEmpty else { return }
        for cell in cells where !CSV.isNumber(cell, options.decimalMark) {
            let text = String(decoding: cell, as: UTF8.self)
            if Self.missingTexts.contains(text), !missing.contains(text) { missing.append(text) }
        }
        let sentinels: Set<Double> = [-99, -999, -9999, -99999, 9999, 99999, 999999]
        let others = numbers.filter { !sentinels.contains($0) }
        guard let least = others.min(), let most = others.max() else { return }
        let width = max(most - least, abs(most), 1)
        for cell in cells {
            guard let value = CSV.number(cell, options.decimalMark), sentinels.contains(value),
                value < least - 2 * width || value > most + 2 * width
            else { continue }
            let text = String(decoding: cell, as: UTF8.self)
            if !suspects.contains(text) { suspects.append(text) }
        }
    }

    private mutating func findPattern(of cells: [[UInt8]]) {
        let cells = cells.filter { cell in
            !options.missingValues.contains { $0.utf8.elementsEqual(cell) }
        }
        func fits(_ format: TimeFormat) -> Bool {
            let parser = TimeParser(format)
            return cells.allSatisfy { $0.withUnsafeBufferPointer(parser.parse) != nil }
        }
        guard options.time.pattern == nil, !cells.isEmpty, !fits(TimeFormat()) else { return }
        let found = Self.patterns.filter { pattern in
            var format = TimeFormat()
            format.pattern = pattern
            return fits(format)
        }
        if found.count == 1 {
            options.time.pattern = found[0]
        } else {
            ambiguousTime = found
        }
    }
}
