import Foundation

/// Numbers as people read them, and as machines do.
enum NumberText {
    /// At most six significant digits, without trailing zeros: `4.3`, `1234.5`, `3.1e-07`.
    static func short(_ value: Double) -> String {
        String(format: "%.6g", value)
    }

    /// One decimal for nats in a sentence.
    static func nats(_ value: Double) -> String {
        String(format: "%.1f", value)
    }

    /// Appends a log-likelihood to the precision that is promised across batch sizes and programs.
    static func append(logLikelihood value: Double, to output: inout [UInt8]) {
        let scaled = (value * 1e5).rounded()
        guard abs(scaled) < 1e15 else {
            output.append(contentsOf: String(value).utf8)
            return
        }
        append(fixed: Int64(scaled), decimals: 5, to: &output)
    }

    /// Appends a p-value with five significant digits.
    static func append(pValue value: Double, to output: inout [UInt8]) {
        if value >= 1e-3, value <= 1 {
            append(fixed: Int64((value * 1e7).rounded()), decimals: 7, to: &output)
        } else {
            output.append(contentsOf: String(format: "%.4e", value).utf8)
        }
    }

    /// Appends `value / 10^decimals` without its trailing zeros: a million numbers a second and more, where
    /// formatting through `String` manages a fifth of that.
    private static func append(fixed value: Int64, decimals: Int, to output: inout [UInt8]) {
        if value < 0 { output.append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        var digits: [20 of UInt8] = .init(repeating: UInt8(ascii: "0"))
        var count = 0
        while rest > 0 || count <= decimals {
            digits[count] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
            count += 1
        }
        var last = 0
        while last < decimals, digits[last] == UInt8(ascii: "0") { last += 1 }
        var i = count - 1
        while i >= last {
            if i == decimals - 1 { output.append(UInt8(ascii: ".")) }
            output.append(digits[i])
            i -= 1
        }
    }
}
