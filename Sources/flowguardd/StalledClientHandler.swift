import NIOCore

/// Closes a connection whose client has asked nothing, or has stopped to read its reply.
///
/// A person who looks at a page of a long reply may take minutes; a client that is gone or means harm would keep its
/// connection for ever. Connections are few, so one on which no request has come is closed soon.
final class StalledClientHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private static let readingLimit = TimeAmount.minutes(10)
    private static let firstRequestLimit = TimeAmount.seconds(10)
    private var closing: Scheduled<Void>?
    private var isFirst = true

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { close(context, in: Self.firstRequestLimit) }
    }

    func channelActive(context: ChannelHandlerContext) {
        close(context, in: Self.firstRequestLimit)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isFirst {
            isFirst = false
            keep()
        }
        context.fireChannelRead(data)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        keep()
        if !context.channel.isWritable { close(context, in: Self.readingLimit) }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        keep()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        keep()
    }

    private func close(_ context: ChannelHandlerContext, in limit: TimeAmount) {
        keep()
        let channel = context.channel
        closing = context.eventLoop.scheduleTask(in: limit) { channel.close(promise: nil) }
    }

    private func keep() {
        closing?.cancel()
        closing = nil
    }
}
