import Ingest

/// Lines in pieces give the records and faults that they give as a whole, and each line gives one of the two.
enum RecordCheck {
    /// The fixed names that inputs are written with.
    private static let schema = Schema(
        features: ["a", "b"], categories: ["c"], optional: ["b", "c"], time: "time")

    /// Checks lines of a format: by fixed columns, or by those that they are found to have.
    static func run(_ format: RecordFormat, _ choices: inout Choices) throws -> Bool {
        let flags = choices.byte()
        let seed = choices.byte()
        var options = FormatOptions(format: format)
        options.maxLineBytes = flags & 1 == 0 ? 64 : 1 << 16
        if flags & 2 != 0 { options.time.unit = .ms }
        if flags & 4 != 0 {
            options.delimiter = UInt8(ascii: ";")
            options.decimalMark = UInt8(ascii: ",")
        }
        if flags & 8 != 0 { options.comment = UInt8(ascii: "#") }
        if flags & 16 != 0 { options.columns = ["time", "a", "b", "c"] }
        let isInferred = flags & 32 != 0
        return try check(
            choices.rest, options, isInferred ? nil : schema, seed: seed, giveBack: flags & 64 != 0)
    }

    /// Checks lines of the format that they seem to have.
    static func runDetected(_ choices: inout Choices) throws -> Bool {
        let flags = choices.byte()
        let seed = choices.byte()
        let names = ["in", "in.tsv", "in.jsonl.gz", "in.lp"]
        let start = Array(choices.rest.prefix(DetectedFormat.startBytes))
        let detected = DetectedFormat(start: start, name: names[flags % names.count])
        return try check(choices.rest, detected.options, nil, seed: seed, giveBack: false)
    }

    private static func check(
        _ bytes: ArraySlice<UInt8>, _ format: FormatOptions, _ schema: Schema?, seed: Int,
        giveBack: Bool
    ) throws -> Bool {
        let whole = try Framed(
            [bytes], format, BatchLimits(lines: 1 << 20, bytes: 1 << 30), giveBack: false)
        let cut = try Framed(
            Cuts.pieces(bytes, seed: seed), format,
            BatchLimits(lines: 1 + seed % 5, bytes: 1 + seed * 2), giveBack: giveBack)
        try promise(whole.lines == cut.lines, "lines depend on how their bytes came")
        try promise(whole.header == cut.header, "the header depends on how its bytes came")

        var schema = schema
        if schema == nil, let first = whole.batches.first {
            schema = try? SchemaInference.infer(first, format: format, features: nil, time: nil)
                .schema
            try? SchemaInference.inferEach(first, format: format, time: nil) { _, _ in true }
        }
        guard let schema else { return false }
        let expected = Decoded(whole.batches, format, schema)
        let found = Decoded(cut.batches, format, schema)
        try promise(
            (expected.error == nil) == (found.error == nil), "a header is good only in pieces")
        guard expected.error == nil else { return false }
        try promise(expected.records == found.records, "records depend on how their bytes came")
        try promise(expected.faults == found.faults, "faults depend on how their bytes came")
        try promise(
            expected.records.count + expected.faults.count == whole.lines.count,
            "\(whole.lines.count) lines became \(expected.records.count) records and "
                + "\(expected.faults.count) faults")
        for record in expected.records { try record.check(schema) }
        for fault in expected.faults {
            try promise(
                fault.reason.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F },
                "a reason holds control characters")
        }
        return !expected.records.isEmpty
    }
}

/// The lines of an input, from its pieces.
private struct Framed {
    struct Line: Equatable {
        var content: [UInt8]
        var offset: Int64
        var number: Int64
        var isOversize: Bool
    }

    var batches: [LineBatch] = []
    var lines: [Line] = []
    var header: [UInt8]?

    /// - Parameter giveBack: Whether a half line is given back after each piece, and comes again with the next.
    init(
        _ pieces: [ArraySlice<UInt8>], _ format: FormatOptions, _ limits: BatchLimits,
        giveBack: Bool
    ) throws {
        var framer = LineFramer(format: format, limits: limits, input: 1, name: "in")
        let all = pieces.flatMap { $0 }
        var end = 0
        for piece in pieces {
            end += piece.count
            all[Int(framer.readOffset)..<end].withUnsafeBytes { framer.append($0) }
            try take(&framer, atEnd: false)
            if giveBack {
                framer.dropHalfLine()
                try promise(
                    framer.readOffset <= Int64(end), "more bytes are given back than had come")
            }
        }
        all[Int(framer.readOffset)...].withUnsafeBytes { framer.append($0) }
        try take(&framer, atEnd: true)
        try promise(framer.consumedOffset == Int64(all.count), "bytes are left at the end")
    }

    private mutating func take(_ framer: inout LineFramer, atEnd: Bool) throws {
        while framer.hasCompleteLine || atEnd {
            let before = framer.consumedOffset
            let batch = framer.takeBatch(atEnd: atEnd)
            if let batch {
                for (index, line) in batch.lines.enumerated() {
                    lines.append(
                        .init(
                            content: Array(batch.content(ofLine: index)), offset: line.offset,
                            number: line.number, isOversize: line.isOversize))
                }
                header = batch.header ?? header
                batches.append(batch)
                if batch.isLast { return }
            }
            try promise(
                framer.consumedOffset > before || batch?.lines.isEmpty == false,
                "a whole line is neither taken nor dropped")
        }
    }
}

/// What lines became.
private struct Decoded {
    struct Row: Equatable {
        var values: [UInt64]
        var time: UInt64
        var offset: Int64
        var categories: [String?]

        func check(_ schema: Schema) throws {
            for (name, bits) in zip(schema.features, values) {
                let value = Double(bitPattern: bits)
                try promise(
                    value.isFinite || (value.isNaN && schema.optional.contains(name)),
                    "a feature is \(value)")
            }
            try promise(
                schema.time == nil || Double(bitPattern: time).isFinite, "a time is not finite")
            for (name, text) in zip(schema.categories, categories) {
                try promise(
                    text != nil || schema.optional.contains(name), "a category is missing")
                try promise(
                    text?.utf8.count ?? 0 <= CategoryTable.textLimitBytes, "a text is too long")
            }
        }
    }

    struct Fault: Equatable {
        var number: Int64
        var offset: Int64
        var column: String?
        var columnNumber: Int?
        var code: FaultCode
        var reason: String
    }

    var records: [Row] = []
    var faults: [Fault] = []
    var error: IngestError?

    init(_ batches: [LineBatch], _ format: FormatOptions, _ schema: Schema) {
        var decoder = RecordDecoder(format: format, schema: schema)
        do throws(IngestError) {
            for batch in batches {
                let decoded = try decoder.decode(batch)
                for row in 0..<decoded.records.rowCount {
                    records.append(
                        .init(
                            values: decoded.records.row(row).map(\.bitPattern),
                            time: decoded.records.times[row].bitPattern,
                            offset: decoded.records.offsets[row],
                            categories: decoded.records.categories.row(row)))
                }
                for fault in decoded.faults {
                    faults.append(
                        .init(
                            number: fault.lineNumber, offset: fault.offset, column: fault.column,
                            columnNumber: fault.columnNumber, code: fault.code,
                            reason: fault.reason))
                }
            }
        } catch {
            self.error = error
        }
    }
}
