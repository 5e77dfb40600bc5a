// A flow in a tensor file: sizes as metadata, parameters as named tensors.

extension Flow {
    /// Writes the flow into a tensor file, every name beginning with `prefix`.
    ///
    /// Tensors: `layers.<i>.<parameter>` with the flow's scalars, `layers.<i>.<index list>` as I64.
    /// Metadata: `family`, `features`, `context`, `coupling_layers`, `hidden_width`,
    /// `hidden_layers`, `log_scale_bound`, `conditioner_input_bound`, `norm_log_scale_bound`, and
    /// `layers`, the layers' names from the data to the latent space, with commas between.
    ///
    /// What departs from the first version's recipes is written as `law`, `partition`, `base`,
    /// `normalization`, `conditioner`, `spline_bins`, `spline_bound` and `window` (channels, length,
    /// scales and kernel width), and the file is then one of version 2.
    ///
    /// What the file held under the prefix before, such as a larger flow, is removed.
    public func write(into file: inout TensorFile, prefix: String = "flow.") {
        file.metadata = file.metadata.filter { !$0.key.hasPrefix(prefix) }
        file.tensors = file.tensors.filter { !$0.key.hasPrefix(prefix) }
        file.metadata[prefix + "family"] = options.family.rawValue
        file.metadata[prefix + "features"] = String(featureCount)
        file.metadata[prefix + "context"] = String(contextCount)
        file.metadata[prefix + "coupling_layers"] = String(options.couplingLayers)
        file.metadata[prefix + "hidden_width"] = String(options.hiddenWidth)
        file.metadata[prefix + "hidden_layers"] = String(options.hiddenLayers)
        file.metadata[prefix + "log_scale_bound"] = String(options.logScaleBound)
        file.metadata[prefix + "conditioner_input_bound"] = String(options.conditionerInputBound)
        file.metadata[prefix + "norm_log_scale_bound"] = String(
            Double(ActNorm<Scalar>.logScaleBound))
        let additions = options.additions
        for (key, value) in additions { file.metadata[prefix + key] = value }
        if !additions.isEmpty { file.formatVersion = max(file.formatVersion, 2) }
        file.metadata[prefix + "layers"] = architecture.layers.map(\.name).joined(separator: ",")
        for (index, layer) in architecture.layers.enumerated() {
            var offset = architecture.offsets[index]
            for parameter in layer.parameterShapes {
                file.tensors["\(prefix)layers.\(index).\(parameter.name)"] = Scalar._tensor(
                    Array(parameters[offset..<offset + parameter.count]), shape: parameter.shape)
                offset += parameter.count
            }
            for (name, indices) in layer.structure {
                file.tensors["\(prefix)layers.\(index).\(name)"] = TensorFile.Tensor(
                    indices.map(Int64.init), shape: [indices.count])
            }
        }
    }

    /// Reads the flow that `write(into:prefix:)` wrote; parameters of the other floating-point type
    /// are converted.
    ///
    /// - Throws: `missingMetadata`, `badMetadata`, `missingTensor` or `badTensor`.
    public init(reading file: TensorFile, prefix: String = "flow.") throws(FlowDensityError) {
        let reader = FlowReader(file: file, prefix: prefix)
        let options = try reader.options()
        let features = try reader.integer("features", 1...FlowReader.largestSide)
        let context = try reader.integer("context", 0...FlowReader.largestSide)
        if let problem = options.problem(featureCount: features) {
            throw .badMetadata(
                file: file.name, key: prefix + "features", found: String(features),
                expected: "what suits the other entries: \(problem)")
        }
        let architecture = Architecture<Scalar>(
            featureCount: features, contextCount: context, options: options)
        try reader.check(architecture)
        var parameters: [Scalar] = []
        for (index, layer) in architecture.layers.enumerated() {
            for parameter in layer.parameterShapes {
                parameters += try reader.parameters(
                    "layers.\(index).\(parameter.name)", shape: parameter.shape)
            }
        }
        self.init(architecture: architecture, options: options)
        self.parameters = parameters
        hasStarted = true
    }
}

extension FlowOptions {
    /// The entries of a model file by which the options depart from those of version 1.
    fileprivate var additions: [String: String] {
        let usual = FlowOptions()
        var entries: [String: String] = [:]
        entries["law"] = law?.rawValue
        entries["normalization"] = normalization?.rawValue
        if partition != usual.partition { entries["partition"] = partition.description }
        if base != usual.base { entries["base"] = base.rawValue }
        if conditioner != usual.conditioner { entries["conditioner"] = conditioner.rawValue }
        if effectiveLaw == .spline || splineBins != usual.splineBins {
            entries["spline_bins"] = String(splineBins)
        }
        if effectiveLaw == .spline || splineBound != usual.splineBound {
            entries["spline_bound"] = String(splineBound)
        }
        if let window {
            entries["window"] =
                "\(window.channels),\(window.length),\(window.scales),\(window.kernelWidth)"
        }
        return entries
    }
}

/// Reads sizes and tensors of a flow, none of them believed before it is checked.
private struct FlowReader {
    static let largestSide = 16_384
    /// A smaller bound could be 0 as a Float.
    static let leastBound = 1e-3
    /// Numbers a row that a layer may keep: a small file must not ask for all memory.
    static let largestRecord = 1 << 18

    let file: TensorFile
    let prefix: String

    func options() throws(FlowDensityError) -> FlowOptions {
        var options = FlowOptions()
        options.family = try choice("family", file.metadataValue(prefix + "family"))
        options.couplingLayers = try integer("coupling_layers", 1...1024)
        options.hiddenWidth = try integer("hidden_width", 1...Self.largestSide)
        options.hiddenLayers = try integer("hidden_layers", 1...64)
        options.logScaleBound = try positive("log_scale_bound")
        options.conditionerInputBound = try positive("conditioner_input_bound")
        options.law = try optionalChoice("law")
        options.normalization = try optionalChoice("normalization")
        options.base = try optionalChoice("base") ?? options.base
        options.conditioner = try optionalChoice("conditioner") ?? options.conditioner
        if has("spline_bins") { options.splineBins = try integer("spline_bins", 2...256) }
        if has("spline_bound") { options.splineBound = try positive("spline_bound") }
        if let text = file.metadata[prefix + "partition"] {
            guard let partition = FeaturePartition(text) else {
                throw .badMetadata(
                    file: file.name, key: prefix + "partition", found: text,
                    expected: "alternating, halves, parity, or lists such as 0,1;2,3")
            }
            options.partition = partition
        }
        if let text = file.metadata[prefix + "window"] {
            let sides = text.split(separator: ",").compactMap { Int($0) }
            guard sides.count == 4, text.split(separator: ",").count == 4 else {
                throw .badMetadata(
                    file: file.name, key: prefix + "window", found: text,
                    expected: "channels, length, scales and kernel width, such as 4,32,2,3")
            }
            options.window = WindowShape(
                channels: sides[0], length: sides[1], scales: sides[2], kernelWidth: sides[3])
        }
        return options
    }

    private func has(_ key: String) -> Bool { file.metadata[prefix + key] != nil }

    private func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ key: String, _ text: String
    ) throws(FlowDensityError) -> Choice {
        guard let known = Choice(rawValue: text) else {
            throw .badMetadata(
                file: file.name, key: prefix + key, found: text,
                expected: Choice.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return known
    }

    private func optionalChoice<Choice: RawRepresentable<String> & CaseIterable>(
        _ key: String
    ) throws(FlowDensityError) -> Choice? {
        guard let text = file.metadata[prefix + key] else { return nil }
        return try choice(key, text)
    }

    func integer(_ key: String, _ range: ClosedRange<Int>) throws(FlowDensityError) -> Int {
        let text = try file.metadataValue(prefix + key)
        guard let value = Int(text), range.contains(value) else {
            throw .badMetadata(
                file: file.name, key: prefix + key, found: text,
                expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private func positive(_ key: String) throws(FlowDensityError) -> Double {
        let text = try file.metadataValue(prefix + key)
        guard let value = Double(text), value >= Self.leastBound, value <= 1e6 else {
            throw .badMetadata(
                file: file.name, key: prefix + key, found: text,
                expected: "a number from \(Self.leastBound) to 1e6")
        }
        return value
    }

    /// The layers that the file names, and their index lists, must be those of the recipe.
    func check<Scalar>(_ architecture: Architecture<Scalar>) throws(FlowDensityError) {
        let record = architecture.layers.map(\.recordCount).max() ?? 0
        guard record <= Self.largestRecord else {
            throw .badMetadata(
                file: file.name, key: prefix + "hidden_width",
                found: String(architecture.featureCount),
                expected:
                    "a flow that keeps at most \(Self.largestRecord) numbers a row, found \(record)"
            )
        }
        let names = architecture.layers.map(\.name).joined(separator: ",")
        let found = try file.metadataValue(prefix + "layers")
        guard found == names else {
            throw .badMetadata(
                file: file.name, key: prefix + "layers", found: found, expected: "'\(names)'")
        }
        let bound = try positive("norm_log_scale_bound")
        guard bound == Double(ActNorm<Scalar>.logScaleBound) else {
            throw .badMetadata(
                file: file.name, key: prefix + "norm_log_scale_bound", found: String(bound),
                expected: String(Double(ActNorm<Scalar>.logScaleBound)))
        }
        for (index, layer) in architecture.layers.enumerated() {
            for (name, indices) in layer.structure {
                let name = "\(prefix)layers.\(index).\(name)"
                let tensor = try file.tensor(name)
                guard tensor.elementType == .int64, tensor.shape == [indices.count],
                    try tensor.integers() == indices.map(Int64.init)
                else {
                    throw .badTensor(
                        file: file.name, tensor: name,
                        reason: "expected the indices of this build's recipe")
                }
            }
        }
    }

    func parameters<Scalar: FlowScalar>(
        _ name: String, shape: [Int]
    ) throws(FlowDensityError) -> [Scalar] {
        let tensor = try file.tensor(prefix + name)
        guard tensor.shape == shape, tensor.elementType != .int64 else {
            throw .badTensor(
                file: file.name, tensor: prefix + name,
                reason: "expected floating-point numbers of shape \(shape), "
                    + "found \(tensor.elementType.rawValue) of shape \(tensor.shape)")
        }
        let values = try tensor.doubles().map { Scalar($0) }
        guard values.allSatisfy(\.isFinite) else {
            throw .badTensor(
                file: file.name, tensor: prefix + name, reason: "a parameter is not finite")
        }
        return values
    }
}
