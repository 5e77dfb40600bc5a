// swift-tools-version: 6.2

import PackageDescription

let package = Package(
    name: "flowguard-benchmarks",
    dependencies: [.package(name: "flowguard", path: "..")],
    targets: [
        .target(
            name: "CSpeedLimits", path: "speed/limits",
            cSettings: [.unsafeFlags(["-O3", "-Wall", "-Werror"])],
            linkerSettings: [.linkedLibrary("openblas")]),
        .executableTarget(
            name: "flowguard-speed",
            dependencies: [
                "CSpeedLimits",
                .product(name: "FlowDensity", package: "flowguard"),
                .product(name: "Detection", package: "flowguard"),
            ],
            path: "speed/tool"),
        .executableTarget(
            name: "flowguard-learning",
            dependencies: [.product(name: "FlowDensity", package: "flowguard")],
            path: "learning/tool"),
        .target(
            name: "CSimdjsonAlone", path: "ingest/simdjson",
            cxxSettings: [.unsafeFlags(["-O3", "-Wall", "-Werror"])],
            linkerSettings: [.linkedLibrary("simdjson")]),
        .executableTarget(
            name: "flowguard-decode",
            dependencies: [
                "CSimdjsonAlone", .product(name: "Ingest", package: "flowguard"),
            ],
            path: "ingest/tool"),
    ],
    swiftLanguageModes: [.v6]
)
