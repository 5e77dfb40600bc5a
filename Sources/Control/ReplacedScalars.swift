extension String {
    /// The text with some of its Unicode scalars replaced, whatever stands beside them.
    ///
    /// `replacing` compares whole characters: it finds no `"` that a combining mark follows, and no line feed behind a carriage return. Where
    /// a scalar has a meaning for whoever reads the text, that is not enough.
    public func replacingScalars(_ replacements: [Unicode.Scalar: String]) -> String {
        guard unicodeScalars.contains(where: { replacements[$0] != nil }) else { return self }
        var replaced = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            if let replacement = replacements[scalar] {
                replaced.append(contentsOf: replacement.unicodeScalars)
            } else {
                replaced.append(scalar)
            }
        }
        return String(replaced)
    }
}
