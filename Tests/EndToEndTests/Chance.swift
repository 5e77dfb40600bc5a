/// Choices by a seed, so that a run that failed can be made again.
struct Chance: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Whether something of this probability happens.
    mutating func happens(_ probability: Double) -> Bool {
        Double.random(in: 0..<1, using: &self) < probability
    }

    mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    /// One of several, each as likely as its weight says.
    mutating func one<Value>(of choices: [(weight: Int, value: Value)]) -> Value? {
        var left = number(1...max(1, choices.reduce(0) { $0 + $1.weight }))
        for choice in choices {
            left -= choice.weight
            if left <= 0 { return choice.value }
        }
        return choices.last?.value
    }
}
