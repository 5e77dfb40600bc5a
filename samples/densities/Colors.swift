/// From dark blue over green to yellow, in even steps of lightness (close to matplotlib's viridis).
enum Colors {
    /// White, for the space between panels.
    static let blank: UInt8 = 255

    /// 255 colours and white.
    static let palette: [(UInt8, UInt8, UInt8)] = {
        let stops: [(Double, Double, Double)] = [
            (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
            (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
        ]
        let colors = (0..<255).map { index -> (UInt8, UInt8, UInt8) in
            let place = Double(index) / 254 * Double(stops.count - 1)
            let lower = min(Int(place), stops.count - 2)
            let share = place - Double(lower)
            func mixed(_ a: Double, _ b: Double) -> UInt8 { UInt8((a + share * (b - a)).rounded()) }
            let (a, b) = (stops[lower], stops[lower + 1])
            return (mixed(a.0, b.0), mixed(a.1, b.1), mixed(a.2, b.2))
        }
        return colors + [(255, 255, 255)]
    }()

    /// The colour of a share of the largest value; its root, so that thin tails are seen.
    static func index(of share: Double) -> UInt8 {
        UInt8((254 * min(max(share, 0), 1).squareRoot()).rounded())
    }
}
