import ArgumentParser

/// Sample telemetry with known faults, feeders that replay it, and the comparison with the truth.
@main
struct FlowguardSamples: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flowguard-samples",
        abstract: "Sample streams for flowguard: generate, feed, compare.",
        discussion: """
            The generator is seeded: the same seed gives the same bytes. The truth file says which \
            rows hold which fault.

            EXAMPLES
              flowguard-samples generate pump --rows 6000 --seed 7 \\
                  --output pump.csv --truth pump.truth.ndjson
              flowguard-samples feed file pump.csv --output growing.csv --rows-per-second 50
              flowguard-samples feed socket pump.csv --socket /run/flowguard/pump.sock
              flowguard-samples feed host --socket /run/flowguard/host.sock
              flowguardctl tail -n 1000 --json | \\
                  flowguard-samples compare --truth pump.truth.ndjson
            """,
        subcommands: [Generate.self, Feed.self, Compare.self])
}

/// The three feeders.
struct Feed: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring records to the daemon: a growing file, a socket, this host's readings.",
        subcommands: [FeedFile.self, FeedSocket.self, FeedHost.self])
}
