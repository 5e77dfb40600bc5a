import Foundation

/// A line of a truth file: the whole file (kind `file`, always the first), or one fault.
struct TruthSpan: Codable, Equatable {
    /// First data row, counted from 0.
    var startRow: Int
    /// Last data row.
    var endRow: Int
    /// Time of the first row, ISO 8601.
    var start: String
    /// Time of the last row.
    var end: String
    /// `file`, or the kind of fault.
    var kind: String
    /// Columns that the fault touches.
    var columns: [String]

    enum CodingKeys: String, CodingKey {
        case startRow = "start_row"
        case endRow = "end_row"
        case start, end, kind, columns
    }

    static let fileKind = "file"

    init(rows: Range<Int>, of pump: Pump, kind: String, columns: [String]) {
        startRow = rows.lowerBound
        endRow = rows.upperBound - 1
        start = pump.time(ofRow: startRow).description
        end = pump.time(ofRow: endRow).description
        self.kind = kind
        self.columns = columns
    }

    /// The line, keys in the order above.
    var line: String {
        let names = columns.map { "\"\($0)\"" }.joined(separator: ",")
        return "{\"start_row\":\(startRow),\"end_row\":\(endRow),\"start\":\"\(start)\","
            + "\"end\":\"\(end)\",\"kind\":\"\(kind)\",\"columns\":[\(names)]}\n"
    }
}

/// What a generated file really holds: its extent, and the faults in order.
struct Truth: Equatable {
    var file: TruthSpan
    var faults: [TruthSpan]
    var firstTime: Timestamp
    var intervalSecs: Double

    init(path: String) throws {
        var spans: [TruthSpan] = []
        for (number, line) in try readLines(path: path).enumerated() where !line.isEmpty {
            do {
                spans.append(try JSONDecoder().decode(TruthSpan.self, from: Data(line)))
            } catch {
                throw SamplesError.badLine(
                    path: path, line: number + 1,
                    rule: "expected {start_row, end_row, start, end, kind, columns}")
            }
        }
        guard let file = spans.first, file.kind == TruthSpan.fileKind,
            let first = Timestamp(file.start), let last = Timestamp(file.end)
        else {
            throw SamplesError.badLine(
                path: path, line: 1, rule: "expected a span of kind 'file' with ISO 8601 times")
        }
        self.file = file
        faults = Array(spans.dropFirst())
        firstTime = first
        let steps = max(1, file.endRow - file.startRow)
        intervalSecs = Double(last.milliseconds - first.milliseconds) / 1000 / Double(steps)
    }

    /// The data row at a time, or nil outside the file.
    func row(at time: Timestamp) -> Int? {
        guard intervalSecs > 0 else { return nil }
        let offset = Double(time.milliseconds - firstTime.milliseconds) / 1000 / intervalSecs
        let row = Int(offset.rounded()) + file.startRow
        return (file.startRow...file.endRow).contains(row) ? row : nil
    }
}
