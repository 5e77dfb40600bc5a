extension Flow {
    /// A NICE flow: additive couplings, at the end a diagonal scaling.
    public static func nice(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.nice, features, context, options, seed)
    }

    /// A RealNVP flow: affine couplings with ActNorm before each, or batch normalization after each.
    public static func realNVP(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.realnvp, features, context, options, seed)
    }

    /// A Glow flow: steps of ActNorm, invertible linear map and affine coupling.
    public static func glow(
        features: Int, context: Int = 0, options: FlowOptions = .init(), seed: UInt64 = 0
    ) -> Flow {
        make(.glow, features, context, options, seed)
    }

    private static func make(
        _ family: FlowFamily, _ features: Int, _ context: Int, _ options: FlowOptions,
        _ seed: UInt64
    ) -> Flow {
        var options = options
        options.family = family
        var generator = SeededGenerator(seed: seed)
        return Flow(
            featureCount: features, contextCount: context, options: options, using: &generator)
    }
}
