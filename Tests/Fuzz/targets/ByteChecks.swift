import Control
import Foundation
import Ingest

/// A good pattern reads a text as a finite time, or not at all.
enum TimeCheck {
    private static let zoned = {
        var format = TimeFormat()
        format.zone = "Europe/Berlin"
        return TimeParser(format)
    }()

    static func run(_ choices: inout Choices) throws -> Bool {
        let flags = choices.byte()
        let pattern = choices.text()
        let text = Array(choices.rest)
        var format = TimeFormat()
        if flags & 1 != 0 { format.unit = TimeUnit.allCases[flags / 2 % 4] }
        var parser = flags & 16 == 0 ? TimeParser(format) : zoned
        if !pattern.isEmpty {
            guard TimeFormat.problem(inPattern: pattern) == nil else { return false }
            format.pattern = pattern
            parser = TimeParser(format)
        }
        guard let seconds = text.withUnsafeBufferPointer(parser.parse) else { return false }
        try promise(seconds.isFinite, "a time is \(seconds)")
        return true
    }
}

/// What was compressed comes out the same however its bytes arrive, or is refused either way.
enum CompressedCheck {
    /// A small file may unpack to gigabytes: so many bytes are looked at.
    private static let lookedAt = 1 << 20

    private struct Unpacked {
        var count = 0
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var error: IngestError?

        mutating func add(_ bytes: ArraySlice<UInt8>) {
            let wanted = bytes.prefix(lookedAt - count)
            for byte in wanted { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
            count += wanted.count
        }
    }

    static func run(_ choices: inout Choices) throws -> Bool {
        let seed = choices.byte()
        let pieces = Cuts.pieces(choices.rest, seed: seed)
        let whole = try unpack([choices.rest], roomBytes: 64 << 10)
        let cut = try unpack(pieces, roomBytes: 256 + 8 * seed)
        guard whole.count < lookedAt, cut.count < lookedAt else { return true }
        try promise(
            (whole.error == nil) == (cut.error == nil), "damage depends on how the bytes came")
        guard whole.error == nil else { return false }
        try promise(
            whole.count == cut.count && whole.hash == cut.hash, "bytes depend on how they came")
        return true
    }

    /// Reads from a pipe into which a piece is written as soon as those before it are used up.
    private static func unpack(_ pieces: [ArraySlice<UInt8>], roomBytes: Int) throws -> Unpacked {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw BrokenPromise("no pipe") }
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        var writer: Int32? = ends[1]
        defer {
            close(ends[0])
            if let writer { close(writer) }
        }
        var input = InputBytes(descriptor: ends[0], name: "in")
        var room = [UInt8](repeating: 0, count: roomBytes)
        var unpacked = Unpacked()
        var rest = pieces[...]
        var idle = 0
        do throws(IngestError) {
            while !input.isAtEnd, unpacked.count < lookedAt {
                let got = try read(&input, &room)
                unpacked.add(room[..<got])
                guard got == 0, !input.isReady else {
                    idle = got == 0 ? idle + 1 : 0
                    if idle > 1_000 { break }
                    continue
                }
                if let piece = rest.popFirst() {
                    let count = piece.withUnsafeBytes { write(ends[1], $0.baseAddress, $0.count) }
                    // A pipe holds less than all at once.
                    if count < piece.count { rest = [piece.dropFirst(max(0, count))] + rest }
                } else if let open = writer {
                    close(open)
                    writer = nil
                }
            }
        } catch {
            unpacked.error = error
        }
        try promise(idle <= 1_000, "bytes are ready for ever and never come")
        return unpacked
    }

    private static func read(
        _ input: inout InputBytes, _ room: inout [UInt8]
    ) throws(IngestError) -> Int {
        try room.withUnsafeMutableBytes { bytes in
            Result { () throws(IngestError) in try input.read(into: bytes) }
        }.get()
    }
}

/// A batch that is read from the spool is the one that was written.
enum SpoolCheck {
    static func run(_ input: [UInt8]) throws -> Bool {
        guard let batch = SpoolFrame.decode(input) else { return false }
        for index in batch.lines.indices { _ = batch.content(ofLine: index) }
        let written = SpoolFrame.encode(batch)
        guard let again = SpoolFrame.decode(written) else {
            throw BrokenPromise("a frame that was written cannot be read")
        }
        try promise(
            again.bytes == batch.bytes && again.lines == batch.lines && again.input == batch.input
                && again.inputName == batch.inputName && again.header == batch.header
                && again.isLast == batch.isLast && again.numbering == batch.numbering,
            "a frame changes as it is written and read")
        return true
    }
}

/// A message that is read and written again is the same message; a path holds one name.
enum ControlCheck {
    static func run(_ choices: inout Choices) throws -> Bool {
        let kind = choices.byte()
        let body = Data(choices.rest)
        switch kind % 8 {
        case 0: return try check(ThresholdUpdate.self, body)
        case 1: return try check(LabelUpdate.self, body)
        case 2: return try check(ThresholdReport.self, body)
        case 3: return try check(StatusReport.self, body)
        case 4: return try check(StreamDetail.self, body)
        case 5: return try check(ModelList.self, body)
        case 6: return (try? ControlJSON.decode(AnomalyMessage.self, from: body)) != nil
        default:
            let name = String(decoding: choices.rest, as: UTF8.self)
            let part = Route.stream(name).dropFirst("/v1/streams/".count)
            try promise(
                !part.contains { "/?# \r\n".contains($0) }, "a name leaves its part of the path")
            try promise(String(part).removingPercentEncoding == name, "a path changes a name")
            return true
        }
    }

    private static func check<Message: Codable>(_: Message.Type, _ body: Data) throws -> Bool {
        guard let message = try? ControlJSON.decode(Message.self, from: body) else { return false }
        let written = try ControlJSON.encode(message)
        let again = try ControlJSON.decode(Message.self, from: written)
        try promise(
            try ControlJSON.encode(again) == written,
            "a message changes as it is written and read: \(String(decoding: written, as: UTF8.self))"
        )
        return true
    }
}
