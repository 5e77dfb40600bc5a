// swift-tools-version: 6.2

import PackageDescription

// `make fuzz` builds this package's own code with libFuzzer's instrumentation, in a folder of its own.
let isFuzzing = Context.environment["FLOWGUARD_FUZZING"] != nil
let swiftFuzzFlags = isFuzzing ? ["-sanitize=fuzzer,address"] : []
let parserFuzzFlags = isFuzzing ? ["-fsanitize=fuzzer-no-link,address"] : []

var settings: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
if isFuzzing { settings.append(.unsafeFlags(swiftFuzzFlags)) }

// The kernels keep full speed in every build configuration: SwiftPM compiles C at -O0 in debug,
// which makes them 10 to 100 times slower and the numeric tests with them.
let kernelFlags: [CSetting] = [.unsafeFlags(["-O3", "-fno-math-errno", "-Wall", "-Werror"])]
let parserFlags: [CXXSetting] = [
    .unsafeFlags(["-O3", "-Wall", "-Werror"] + parserFuzzFlags)
]

let package = Package(
    name: "flowguard",
    products: [
        .library(name: "FlowDensity", targets: ["FlowDensity"]),
        .library(name: "Detection", targets: ["Detection"]),
        .library(name: "Ingest", targets: ["Ingest"]),
        .executable(name: "flowguardd", targets: ["flowguardd"]),
        .executable(name: "flowguardctl", targets: ["flowguardctl"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-numerics", from: "1.1.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .systemLibrary(
            name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "CFlowKernels", cSettings: kernelFlags),
        .target(
            name: "CParsers", cxxSettings: parserFlags,
            linkerSettings: [.linkedLibrary("simdjson")]),
        .target(
            name: "FlowDensity",
            dependencies: [
                "CFlowKernels", "COpenBLAS",
                .product(name: "RealModule", package: "swift-numerics"),
            ],
            swiftSettings: settings),
        .target(
            name: "Ingest",
            dependencies: [
                "CParsers", "CZlib", "CZstd",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .target(
            name: "Detection", dependencies: ["FlowDensity", "Ingest"], swiftSettings: settings),
        .target(
            name: "Store",
            dependencies: [.product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: settings),
        .target(name: "Control", swiftSettings: settings),
        .target(
            name: "Settings",
            dependencies: [
                "Detection", "FlowDensity", "Ingest", .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: settings),
        .target(
            name: "Streams",
            dependencies: [
                "Control", "Detection", "FlowDensity", "Ingest", "Settings", "Store",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "flowguardd",
            dependencies: [
                "Control", "Detection", "FlowDensity", "Ingest", "Settings", "Store", "Streams",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "flowguardctl",
            dependencies: [
                "Control", "Detection", "FlowDensity", "Ingest", "Settings", "Streams",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "flowguard-samples",
            dependencies: [
                .product(name: "ArgumentParser", package: "swift-argument-parser")
            ],
            path: "samples/tool", swiftSettings: settings),
        .executableTarget(
            name: "flowguard-densities",
            dependencies: [
                "FlowDensity", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "samples/densities", swiftSettings: settings),
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
        .testTarget(
            name: "FlowDensityTests", dependencies: ["FlowDensity", "TestSupport"],
            exclude: ["reference"], swiftSettings: settings),
        .testTarget(
            name: "IngestTests", dependencies: ["Ingest", "TestSupport"], swiftSettings: settings),
        .testTarget(
            name: "StoreTests",
            dependencies: ["Store", "TestSupport", .product(name: "GRDB", package: "GRDB.swift")],
            exclude: ["Fixtures"], swiftSettings: settings),
        .testTarget(
            name: "DetectionTests",
            dependencies: ["Detection", "FlowDensity", "Ingest", "TestSupport"],
            exclude: ["reference"], swiftSettings: settings),
        .testTarget(
            // Detection too: its types lie inside those of Settings, and a change of their layout
            // must build these tests anew.
            name: "SettingsTests", dependencies: ["Settings", "Detection", "TestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "StreamsTests",
            dependencies: [
                "Control", "Detection", "Ingest", "Settings", "Store", "Streams", "TestSupport",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "Control", "Store", "TestSupport", "flowguardd", "flowguardctl",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "SamplesTests", dependencies: ["flowguard-samples", "flowguard-densities"],
            swiftSettings: settings),
        .target(
            name: "FuzzTargets",
            dependencies: ["Control", "Detection", "FlowDensity", "Ingest", "Settings"],
            path: "Tests/Fuzz/targets", swiftSettings: settings),
        .testTarget(
            name: "FuzzTests",
            dependencies: ["Detection", "FuzzTargets", "Ingest", "Settings", "TestSupport"],
            path: "Tests/Fuzz/tests", swiftSettings: settings),
        .testTarget(name: "TidyTests", swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)

// With the plugin among the dependencies every build of the tests compiles its tools too, so only
// `make docs` asks for it.
if Context.environment["FLOWGUARD_DOCUMENTATION"] != nil {
    package.dependencies.append(
        .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"))
}

// libFuzzer is linked where it was asked for only: gold cannot, so lld does.
if isFuzzing {
    package.targets += [
        .target(name: "CLibFuzzer", path: "Tests/Fuzz/driver"),
        .executableTarget(
            name: "flowguard-fuzz", dependencies: ["CLibFuzzer", "FuzzTargets"],
            path: "Tests/Fuzz/tool", swiftSettings: settings,
            linkerSettings: [.unsafeFlags(swiftFuzzFlags + ["-use-ld=lld"])]),
    ]
}
