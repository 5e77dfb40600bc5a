import Detection
import FlowDensity
import Foundation
import Ingest
import Yams

extension ConfigurationReader {
    private static let streamKeys = [
        "name", "source", "history", "format", "delimiter", "decimal_mark", "comment", "columns",
        "missing_values", "max_line_bytes", "time", "long", "features", "categories", "key",
        "exclude", "missing", "context", "model", "fit", "alarm",
    ]

    /// All streams of the file, with their names and sockets checked against one another.
    mutating func streams(_ nodes: [Node], in folder: String) -> [StreamConfiguration] {
        var streams: [StreamConfiguration] = []
        for (index, node) in nodes.enumerated() {
            guard let stream = stream(node, number: index + 1, in: folder) else { continue }
            let nameNode = node.mapping?["name"] ?? node
            if streams.contains(where: { $0.name == stream.name }) {
                report(
                    nameNode, "stream '\(stream.name)' is there twice: names must differ",
                    hint: "rename one of the two")
            }
            if let path = stream.source.ownPath,
                let other = streams.first(where: { $0.source.ownPath == path })
            {
                report(
                    node.mapping?["source"] ?? node,
                    "stream '\(stream.name)': the \(stream.source.kind) \(path) is already that of "
                        + "stream '\(other.name)'",
                    hint: "give each stream a \(stream.source.kind) of its own")
            }
            streams.append(stream)
        }
        return streams
    }

    private mutating func stream(
        _ node: Node, number: Int, in folder: String
    ) -> StreamConfiguration? {
        let rawName = node.mapping?["name"]?.scalar?.string
        let place = rawName.map { "stream '\($0.prefix(60))'" } ?? "stream number \(number)"
        guard let section = section(node, place, keys: Self.streamKeys) else { return nil }
        let name = name(of: section)
        let source = source(of: section, in: folder)
        let history = history(of: section, in: folder)
        let (format, timeColumn) = format(of: section, source: source)
        checkHeader(section, source: source, format: format)
        let features = section["features"].flatMap {
            texts($0, "\(place): features", expected: "column names")
        }
        let exclude =
            section["exclude"].flatMap { texts($0, "\(place): exclude", expected: "column names") }
            ?? []
        let categories =
            section["categories"].flatMap {
                texts($0, "\(place): categories", expected: "column names")
            } ?? []
        checkColumns(
            section, features: features, categories: categories, exclude: exclude,
            time: timeColumn)
        let key = key(
            of: section, features: features, others: categories + exclude, time: timeColumn)
        let longRows = longRows(
            of: section, format: format, timeColumn: timeColumn, features: features)
        var options = detectorOptions(of: section)
        options.missing = missingPolicies(
            of: section,
            known: features.map { $0 + categories },
            neither: exclude + [timeColumn, key?.column].compactMap(\.self))
        let fit = fit(of: section)
        let alarm = alarm(of: section, features: features)
        guard let name, let source else { return nil }
        return StreamConfiguration(
            name: name, source: source, history: history, format: format, timeColumn: timeColumn,
            longRows: longRows, features: features,
            categories: categories + [key?.column].compactMap(\.self), key: key,
            exclude: exclude, detectorOptions: options, fit: fit, budget: alarm.budget,
            cooldown: alarm.cooldown, alarmRules: alarm.rules,
            maintenance: alarm.maintenance)
    }

    private mutating func name(of section: Section) -> String? {
        let expected = "1 to 64 letters, digits, '.', '_' or '-', not beginning with '.'"
        guard let node = section["name"] else {
            report(
                section.node, "\(section.place) has no name",
                hint: "add name: followed by \(expected)")
            return nil
        }
        guard let name = text(node, "\(section.place): name", expected: expected) else {
            return nil
        }
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                return true
            default: return false
            }
        }
        guard isPlain, name.utf8.count <= 64, !name.hasPrefix(".") else {
            report(node, "\(section.place): name: expected \(expected), found '\(name.prefix(80))'")
            return nil
        }
        return name
    }

    /// Paths and patterns, made absolute.
    private mutating func history(of section: Section, in folder: String) -> [String] {
        let key = "\(section.place): history"
        guard let node = section["history"] else { return [] }
        var paths: [String] = []
        for node in list(node, key, expected: "paths such as /var/archive/pump-7-*.csv") ?? [] {
            guard let path = path(node, key, in: folder) else { continue }
            if [".xz", ".bz2", ".zip"].contains(where: path.lowercased().hasSuffix) {
                report(
                    node, "\(key): of compressed files only .gz and .zst are read: \(path)",
                    hint: "unpack them, and name the unpacked files")
            }
            paths.append(path)
        }
        return paths
    }

    private mutating func detectorOptions(of section: Section) -> DetectorOptions {
        var options = DetectorOptions()
        if let node = section["model"],
            let model = self.section(
                node, "model of \(section.place)",
                keys: ["family", "members", "coupling_layers", "hidden_width", "seed"])
        {
            let place = "\(section.place): model"
            if let node = model["family"],
                let family = choice(node, "\(place).family", of: FlowFamily.self)
            {
                options.family = family
            }
            if let node = model["members"] {
                options.members = integer(
                    node, "\(place).members", in: 1...DetectorOptions.maximumMembers)
            }
            if let node = model["coupling_layers"] {
                options.couplingLayers = integer(
                    node, "\(place).coupling_layers",
                    in: 1...DetectorOptions.maximumCouplingLayers)
            }
            if let node = model["hidden_width"] {
                options.hiddenWidth = integer(
                    node, "\(place).hidden_width", in: 1...DetectorOptions.maximumHiddenWidth)
            }
            if let node = model["seed"], let seed = integer(node, "\(place).seed", in: 0...Int.max)
            {
                options.seed = UInt64(seed)
            }
        }
        if let node = section["context"],
            let context = self.section(
                node, "context of \(section.place)",
                keys: ["calendar", "lags", "time_zone", "windows"])
        {
            let place = "\(section.place): context"
            if let node = context["lags"] {
                options.lags = integer(
                    node, "\(place).lags", in: 0...DetectorOptions.maximumLags)
            }
            if let node = context["calendar"] {
                let nodes = list(node, "\(place).calendar", expected: "calendar readings") ?? []
                options.calendar = nodes.compactMap {
                    choice($0, "\(place).calendar", of: CalendarFeature.self)
                }
            }
            if let node = context["windows"] { options.windows = windows(node, in: place) }
            if let node = context["time_zone"] {
                options.timeZone = timeZone(node, "\(place).time_zone")
            }
        }
        return options
    }

    /// Lengths of trailing windows, ascending whatever their order in the file.
    private mutating func windows(_ node: Node, in place: String) -> [Int] {
        let nodes = list(node, "\(place).windows", expected: "lengths in records") ?? []
        if nodes.count > DetectorOptions.maximumWindows {
            report(
                node,
                "\(place).windows: expected at most \(DetectorOptions.maximumWindows), "
                    + "found \(nodes.count)")
        }
        let lengths = nodes.compactMap {
            integer($0, "\(place).windows", in: 2...DetectorOptions.maximumLags)
        }
        return Set(lengths).sorted()
    }

    mutating func timeZone(_ node: Node, _ place: String) -> String? {
        guard let name = text(node, place, expected: "the name of a time zone") else { return nil }
        guard TimeZone(identifier: name) != nil else {
            report(
                node,
                "\(place): expected a name of the time-zone database such as Europe/Berlin, "
                    + "found '\(name)'")
            return nil
        }
        return name
    }

    private mutating func fit(of section: Section) -> FitConfiguration {
        var fit = FitConfiguration.standard
        guard let node = section["fit"],
            let part = self.section(
                node, "fit of \(section.place)",
                keys: ["first_after_records", "every", "window_records", "time_limit", "exclude"])
        else { return fit }
        let place = "\(section.place): fit"
        let least = Detector.minimumRows
        if let node = part["window_records"],
            let value = integer(node, "\(place).window_records", in: least...10_000_000)
        {
            fit.windowRecords = value
            fit.firstAfterRecords = min(fit.firstAfterRecords, value)
        }
        if let node = part["first_after_records"],
            let value = integer(node, "\(place).first_after_records", in: least...10_000_000)
        {
            fit.firstAfterRecords = value
            if value > fit.windowRecords {
                report(
                    node,
                    "\(place).first_after_records: expected at most window_records "
                        + "(\(fit.windowRecords)), found \(value)",
                    hint: "raise window_records, or lower first_after_records")
            }
        }
        if let node = part["every"],
            let value = duration(
                node, "\(place).every", from: .seconds(1), to: .seconds(366 * 86_400), orNever: true
            )
        {
            fit.every = value
        }
        if let node = part["time_limit"] {
            fit.timeLimit =
                duration(
                    node, "\(place).time_limit", from: .seconds(1), to: .seconds(86_400),
                    orNever: true) ?? nil
        }
        if let node = part["exclude"] { fit.exclude = windows(node, "\(place).exclude") }
        return fit
    }
}
