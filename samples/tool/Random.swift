import Glibc

/// A seeded stream of random numbers (splitmix64): the same seed gives the same series on every host.
struct Random: RandomNumberGenerator {
    private var state: UInt64
    private var spare: Double?

    /// A stream of its own for each purpose, so that drawing more of one leaves the others alone.
    init(seed: UInt64, purpose: UInt64) {
        state = seed &* 0x9E37_79B9_7F4A_7C15 &+ purpose &* 0xD1B5_4A32_D192_ED03
        _ = next()
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Uniform in the range.
    mutating func uniform(_ range: ClosedRange<Double>) -> Double {
        range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
    }

    /// Standard normal, by the polar method.
    mutating func normal() -> Double {
        if let value = spare {
            spare = nil
            return value
        }
        while true {
            let u = 2 * uniform() - 1
            let v = 2 * uniform() - 1
            let s = u * u + v * v
            guard s > 0, s < 1 else { continue }
            let factor = (-2 * log(s) / s).squareRoot()
            spare = v * factor
            return u * factor
        }
    }
}

/// A quantity that wanders about zero and forgets within `timeConstantSecs` (Ornstein-Uhlenbeck).
struct Wandering {
    private var value: Double
    private let memory: Double
    private let kick: Double

    /// Starts somewhere in its stationary spread, `deviation`.
    init(
        deviation: Double, timeConstantSecs: Double, intervalSecs: Double,
        using random: inout Random
    ) {
        memory = exp(-intervalSecs / timeConstantSecs)
        kick = deviation * (1 - memory * memory).squareRoot()
        value = deviation * random.normal()
    }

    mutating func next(using random: inout Random) -> Double {
        value = memory * value + kick * random.normal()
        return value
    }
}
