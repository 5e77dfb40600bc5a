/// A row that is a window of a multichannel signal: feature `c · length + t` is channel `c` at time
/// `t`, the channels one after the other.
///
/// Over windows the families are those of the papers, with time in the place of the two sides of an
/// image: conditioners are convolutions, the features of a channel share their normalization and
/// linear map, and of each scale half of the channels leave for the latent space.
public struct WindowShape: Sendable, Hashable {
    /// The number of channels.
    public var channels: Int
    /// The number of times.
    public var length: Int
    /// The number of scales: at each the window is squeezed to half its length and twice its channels;
    /// the default is 2.
    public var scales: Int
    /// The times that a layer of a conditioner sees at once, an odd number; the default is 3.
    public var kernelWidth: Int

    /// A window's shape.
    public init(channels: Int, length: Int, scales: Int = 2, kernelWidth: Int = 3) {
        self.channels = channels
        self.length = length
        self.scales = scales
        self.kernelWidth = kernelWidth
    }

    /// The features of a row.
    public var featureCount: Int { channels * length }

    /// What is wrong with the shape, or nil: sides are positive, `length` can be halved `scales`
    /// times, and `kernelWidth` is odd.
    public var problem: String? {
        if !(1...16_384).contains(channels) || !(1...16_384).contains(length) {
            return "a window has 1 to 16384 channels and times, found \(channels) and \(length)"
        }
        if !(1...14).contains(scales) || length % (1 << scales) != 0 {
            return "a window's length, \(length), can be halved once for each scale, \(scales)"
        }
        if !(1...255).contains(kernelWidth) || kernelWidth % 2 == 0 {
            return "a conditioner sees an odd number of times at once, found \(kernelWidth)"
        }
        return nil
    }
}
