import RealModule

/// A random number generator with a seed: the same seed gives the same numbers on every machine.
///
/// xoshiro256**, its state filled by splitmix64.
///
/// Source: Blackman, Vigna, "Scrambled linear pseudorandom number generators", 2021,
/// <https://arxiv.org/abs/1805.01407>.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    /// Starts the sequence of a seed; any seed will do, zero too.
    public init(seed: UInt64) {
        var mixer = seed
        func splitmix() -> UInt64 {
            mixer &+= 0x9E37_79B9_7F4A_7C15
            var mixed = mixer
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
        state = (splitmix(), splitmix(), splitmix(), splitmix())
    }

    /// Starts one of many independent sequences of a seed, such as that of a shard of a step.
    package init(seed: UInt64, stream: UInt64) {
        var base = SeededGenerator(seed: seed)
        self.init(seed: base.next() ^ (stream &* 0xD1B5_4A32_D192_ED03 &+ 0x8CB9_2BA7_2F3D_8DD7))
    }

    /// The next 64 random bits.
    public mutating func next() -> UInt64 {
        let multiplied = state.1 &* 5
        let result = ((multiplied << 7) | (multiplied >> 57)) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = (state.3 << 45) | (state.3 >> 19)
        return result
    }
}

extension RandomNumberGenerator {
    /// A number from the uniform distribution over `[0, 1)`, of 53 random bits.
    public mutating func nextUniform() -> Double {
        Double(next() >> 11) * 0x1p-53
    }

    /// Two independent numbers from the standard normal distribution (Marsaglia's polar method).
    public mutating func nextNormalPair() -> (Double, Double) {
        while true {
            let first = 2 * nextUniform() - 1
            let second = 2 * nextUniform() - 1
            let squared = first * first + second * second
            if squared > 0 && squared < 1 {
                let scale = (-2 * Double.log(squared) / squared).squareRoot()
                return (first * scale, second * scale)
            }
        }
    }

    /// Fills a buffer with independent standard normal numbers.
    package mutating func fillNormal<Scalar: FlowScalar>(
        _ values: UnsafeMutableBufferPointer<Scalar>
    ) {
        var index = 0
        while index < values.count {
            let (first, second) = nextNormalPair()
            values[index] = Scalar(first)
            if index + 1 < values.count { values[index + 1] = Scalar(second) }
            index += 2
        }
    }
}
