import CParsers

/// Complete lines of one input: a file from its creation to its end, one socket client, a pipe.
public struct LineBatch: Sendable {
    /// Where a line lies in the batch and in its input.
    public struct Line: Sendable, Hashable {
        /// The index of its first byte in `bytes`.
        public var start: Int
        /// Its length in bytes, without line feed and carriage return.
        public var count: Int
        /// The offset of its first byte in the input.
        public var offset: Int64
        /// Its number in the input; the first physical line is 1.
        public var number: Int64
        /// Whether it is longer than `FormatOptions.maxLineBytes`.
        ///
        /// The content is then cut to its first bytes and never decoded.
        public var isOversize: Bool

        /// A line's place.
        public init(
            start: Int, count: Int, offset: Int64, number: Int64, isOversize: Bool = false
        ) {
            self.start = start
            self.count = count
            self.offset = offset
            self.number = number
            self.isOversize = isOversize
        }
    }

    /// How a client numbers its lines; empty lines, a header and the greeting have no number.
    public struct Numbering: Sendable, Hashable, Codable {
        /// The name that the client goes by over all its connections; `nil`: each connection is one of its own.
        public var client: String?
        /// The number of the batch's first line.
        public var first: Int64

        /// A numbering.
        public init(client: String?, first: Int64) {
            self.client = client
            self.first = first
        }
    }

    /// The bytes that the lines lie in.
    public var bytes: [UInt8]
    /// The lines, in the input's order.
    ///
    /// The header and empty lines are not among them.
    public var lines: [Line]
    /// Tells the inputs of one source apart: a new one for each client and each file incarnation.
    public var input: Int
    /// The input's name in messages: a path, `client 3 (uid 1000)`, `standard input`.
    public var inputName: String
    /// The CSV header line, in the first batch of an input and after a resume.
    public var header: [UInt8]?
    /// Whether the input's first line is among the lines though it could be a header: it names none of the columns that are
    /// known, which those of the header before are.
    public var hasStrayStart = false
    /// Whether the input ended with this batch: the client is gone, the file rotated away.
    public var isLast: Bool
    /// Where to go on once this batch is committed; files only.
    public var resume: FilePosition?
    /// The numbers of the lines; sockets that acknowledge only.
    public var numbering: Numbering?
    /// Where to go on in the spool once this batch is committed; only if it came from there.
    public var spool: SpoolPosition?

    /// A batch of lines.
    public init(
        bytes: [UInt8], lines: [Line], input: Int, inputName: String, header: [UInt8]? = nil,
        isLast: Bool = false, resume: FilePosition? = nil
    ) {
        self.bytes = bytes
        self.lines = lines
        self.input = input
        self.inputName = inputName
        self.header = header
        self.isLast = isLast
        self.resume = resume
    }

    /// The bytes of a line.
    ///
    /// - Parameter index: An index into `lines`.
    public func content(ofLine index: Int) -> ArraySlice<UInt8> {
        let line = lines[index]
        return bytes[line.start..<(line.start + line.count)]
    }

    /// Whether a text that is not empty is anywhere in the bytes.
    ///
    /// Unsafe for `memmem`: whole batches are searched for what few of them hold.
    package func holds(_ text: String) -> Bool {
        bytes.withUnsafeBufferPointer { bytes in
            Array(text.utf8).withUnsafeBufferPointer { text in
                fg_holds(
                    bytes.baseAddress, Int64(bytes.count), text.baseAddress, Int64(text.count))
            }
        }
    }
}
