import NIOCore

/// Closes a connection whose client has stopped to read its reply.
///
/// A person who looks at a page of a long reply may take minutes; a client that is gone or means harm would keep its
/// connection for ever.
final class StalledReaderHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private static let limit = TimeAmount.minutes(10)
    private var closing: Scheduled<Void>?

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        closing?.cancel()
        closing = nil
        if !context.channel.isWritable {
            let channel = context.channel
            closing = context.eventLoop.scheduleTask(in: Self.limit) {
                channel.close(promise: nil)
            }
        }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        closing?.cancel()
        closing = nil
        context.fireChannelInactive()
    }
}
