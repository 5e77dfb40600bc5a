import Synchronization

/// An input that one source has begun and another one goes on with.
struct HeldInput: Sendable {
    var bytes: InputBytes
    var framer: LineFramer
    /// Keeps the descriptor open, where it is not the caller's.
    var descriptor: Descriptor?
    /// The number of the input.
    var number: Int
}

/// Inputs that cannot be opened again where they were: standard input, and named pipes with a writer.
///
/// When a stream begins anew, with another configuration, its new source goes on where the old one stopped: under the same
/// header, and with the half line that had come.
public final class HeldInputs: Sendable {
    private let inputs = Mutex<[String: HeldInput]>([:])

    /// None.
    public init() {}

    func keep(_ input: HeldInput, of source: String) { inputs.withLock { $0[source] = input } }

    func take(_ source: String) -> HeldInput? {
        inputs.withLock { $0.removeValue(forKey: source) }
    }

    /// Closes what no source will ask for.
    ///
    /// - Parameter sources: The names of the sources that there are.
    public func forget(except sources: some Sequence<String>) {
        let sources = Set(sources)
        inputs.withLock { inputs in inputs = inputs.filter { sources.contains($0.key) } }
    }
}
