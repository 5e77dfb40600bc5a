import FlowDensity
import Foundation
import TestSupport
import Testing

@Suite struct TensorFileTests {
    private func example() -> TensorFile {
        var file = TensorFile()
        file.metadata["note"] = "a \"quoted\" name\nand ünïcode"
        file.tensors["b"] = .init([Double.pi, -0.0, Double.leastNonzeroMagnitude], shape: [3])
        file.tensors["a"] = .init([Float](repeating: 1.5, count: 6), shape: [2, 3])
        file.tensors["index"] = .init([Int64.min, -1, 7], shape: [3])
        file.tensors["nothing"] = .init([Double](), shape: [0, 4])
        file.tensors["number"] = .init([2.0], shape: [])
        return file
    }

    private func failure(_ bytes: [UInt8]) -> FlowDensityError? {
        do throws(FlowDensityError) {
            _ = try TensorFile(decoding: bytes, name: "m.safetensors")
            return nil
        } catch {
            return error
        }
    }

    @Test func whatIsWrittenIsRead() throws {
        let file = example()
        let bytes = file.encoded()
        let read = try TensorFile(decoding: bytes, name: "m.safetensors")
        #expect(read.metadata == file.metadata)
        #expect(read.tensors == file.tensors)
        #expect(read.encoded() == bytes)
        #expect(try read.tensor("b").doubles() == [Double.pi, -0.0, Double.leastNonzeroMagnitude])
        #expect(try read.tensor("a").floats() == [Float](repeating: 1.5, count: 6))
        #expect(try read.tensor("a").doubles() == [Double](repeating: 1.5, count: 6))
        #expect(try read.tensor("index").integers() == [Int64.min, -1, 7])
    }

    @Test func headerIsThatOfSafetensors() throws {
        var file = TensorFile()
        file.tensors["t"] = .init([Float(1)], shape: [1])
        let bytes = file.encoded()
        let length = Int(bytes[0]) + 256 * Int(bytes[1])
        #expect(bytes[2..<8].allSatisfy { $0 == 0 })
        #expect(length % 8 == 0)
        let text = String(decoding: bytes[8..<8 + length], as: UTF8.self)
        #expect(
            text.trimmingCharacters(in: .whitespaces)
                == #"{"__metadata__":{"checksum":"fnv1a64:16dd8a6f4d86f629","format":"flowguard","#
                + #""format_version":"1"},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#)
        #expect(Array(bytes[(8 + length)...]) == [0, 0, 0x80, 0x3F])
    }

    @Test func aFileCutAtAnyByteIsAnError() {
        let bytes = example().encoded()
        for count in 0..<bytes.count {
            #expect(failure(Array(bytes.prefix(count))) != nil, "cut at \(count)")
        }
        #expect(
            failure(Array(bytes.prefix(bytes.count - 1)))?.description
                == "m.safetensors is cut short: its header describes \(bytes.count) bytes, "
                + "found \(bytes.count - 1)")
        #expect(
            failure([])?.description
                == "m.safetensors is not a flowguard model: it has 0 bytes, a model begins with 8 "
                + "bytes of header length")
    }

    @Test func aFlippedBitIsAnError() {
        let bytes = example().encoded()
        for index in bytes.indices {
            for bit in [0, 3, 7] {
                var damaged = bytes
                damaged[index] ^= UInt8(1 << bit)
                #expect(failure(damaged) != nil, "byte \(index), bit \(bit)")
            }
        }
        var damaged = bytes
        damaged[bytes.count - 1] ^= 1
        let text = failure(damaged)?.description ?? ""
        #expect(text.hasPrefix("m.safetensors is damaged: its checksum is "))
    }

    @Test func anotherFormatVersionIsNamed() {
        var bytes = example().encoded()
        let pattern = Array(#""format_version":"1""#.utf8)
        let place = bytes.indices.first { bytes[$0...].starts(with: pattern) }
        bytes[(place ?? 0) + pattern.count - 2] = UInt8(ascii: "7")
        #expect(
            failure(bytes)?.description
                == "m.safetensors has model format version 7, this build reads versions 1 to 2")
    }

    @Test func otherFilesAreRefusedWithTheirReason() {
        func bytes(header: String, data: [UInt8] = []) -> [UInt8] {
            let header = Array(header.utf8)
            return withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header
                + data
        }
        let prefix = "m.safetensors is not a flowguard model: "
        let metadata =
            #""__metadata__":{"format":"flowguard","format_version":"1","checksum":"fnv1a64:0000000000000000"}"#
        #expect(
            failure(Array("time,value\n1,2\n3,4\n".utf8))?.description
                == prefix
                + "its header would have 7809653161889458548 bytes, expected 2 to 16777216")
        #expect(
            failure(bytes(header: "[1,2]"))?.description
                == prefix + "its header is not a JSON object")
        #expect(
            failure(bytes(header: #"{"a":1}"#))?.description
                == prefix + "its header is not a JSON object of tensors and metadata")
        #expect(
            failure(bytes(header: "{}"))?.description
                == prefix + "its metadata names no format 'flowguard'")
        #expect(
            failure(bytes(header: "{\(metadata)}", data: [1]))?.description
                == prefix + "1 bytes follow its tensors")
        #expect(
            failure(
                bytes(
                    header:
                        #"{\#(metadata),"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#)
            )?.description
                == "m.safetensors: tensor 't': its data_offsets are not a begin and an end")
        #expect(
            failure(
                bytes(header: #"{"__metadata__":{"format":"flowguard","format_version":"1"}}"#))?
                .description == prefix + "its metadata holds no checksum")
        let entry = #"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#
        let overlapping = bytes(
            header: #"{\#(metadata),"t":\#(entry),"u":\#(entry)}"#, data: [0, 0, 0, 0])
        #expect(
            failure(overlapping)?.description.hasSuffix(
                "its bytes begin at 0, those before it end at 4") == true)
        let deep = String(repeating: "[", count: 100_000)
        #expect(failure(bytes(header: "{\"a\":" + deep)) != nil)
    }

    @Test(arguments: [
        (#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, "shape [2] needs 8 bytes, found 4"),
        (
            #"{"dtype":"F16","shape":[2],"data_offsets":[0,4]}"#,
            "expected dtype F32, F64 or I64, found 'F16'"
        ),
        (
            #"{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}"#,
            "its shape [4611686018427387904, 8] is no shape"
        ),
        (
            #"{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}"#,
            "its shape [-1, -1] is no shape"
        ),
    ])
    func aTensorThatDoesNotFitItsBytesIsAnError(entry: String, reason: String) {
        // The checksum of a file that somebody else wrote on purpose is right.
        var header = Array(
            (#"{"__metadata__":{"format":"flowguard","format_version":"1","#
                + #""checksum":"fnv1a64:0000000000000000"},"t":\#(entry)}"#).utf8)
        let data: [UInt8] = [0, 0, 0, 0]
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in header + data { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let digits =
            String(repeating: "0", count: 16 - String(hash, radix: 16).count)
            + String(hash, radix: 16)
        header = Array(
            String(decoding: header, as: UTF8.self).replacingOccurrences(
                of: "0000000000000000", with: digits
            ).utf8)
        let bytes =
            withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + data
        #expect(failure(bytes)?.description == "m.safetensors: tensor 't': \(reason)")
    }

    @Test(arguments: FlowVariant.all)
    func aFlowIsReadBackBitForBit(variant: FlowVariant) throws {
        for (features, context) in [(1, 0), (1, 2), (2, 0), (5, 3)] {
            let flow = variant.disturbed(
                Float.self, features: features, context: context, seed: 3)
            var file = TensorFile()
            flow.write(into: &file)
            let bytes = file.encoded()
            let read = try Flow<Float>(reading: TensorFile(decoding: bytes, name: "m"))
            #expect(read.parameters == flow.parameters)
            #expect(read.options == flow.options)
            #expect(read.featureCount == flow.featureCount && read.contextCount == context)
            var again = TensorFile()
            read.write(into: &again)
            #expect(again.encoded() == bytes)
            let wide = try Flow<Double>(reading: file)
            #expect(wide.parameters == flow.parameters.map(Double.init))
        }
    }

    @Test func aFileHasTheLowestVersionThatHoldsItsFlow() throws {
        for variant in FlowVariant.all {
            let flow = variant.disturbed(Float.self, features: 3, seed: 3)
            var file = TensorFile()
            flow.write(into: &file)
            let isPlain = FlowFamily.allCases.map(\.rawValue).contains(variant.name)
            #expect(file.formatVersion == (isPlain ? 1 : 2), "\(variant.name)")
            let decoded = try TensorFile(decoding: file.encoded(), name: "m")
            #expect(decoded.formatVersion == file.formatVersion)
        }
    }

    @Test func aFlowTakesThePlaceOfALargerOne() throws {
        let large = FlowVariant("", .realnvp) {
            $0.law = .spline
            $0.base = .logistic
            $0.couplingLayers = 6
        }.disturbed(Float.self, features: 3, seed: 3)
        let small = FlowVariant("", .nice).disturbed(Float.self, features: 3, seed: 4)
        var file = TensorFile()
        file.metadata["note"] = "not the flow's"
        large.write(into: &file)
        small.write(into: &file)
        var fresh = TensorFile()
        fresh.metadata["note"] = "not the flow's"
        small.write(into: &fresh)
        #expect(file.metadata == fresh.metadata && file.tensors == fresh.tensors)
    }

    /// Files that a build of the first format version wrote, and what it scored.
    @Test(arguments: [
        (
            "nice",
            [-3.145288902505027, -6.034950414859339, -6.994348313683622, -195.76358504435223]
        ),
        (
            "realnvp",
            [-3.5417023714055538, -7.782589542351753, -6.351066252849009, -138.50882605257232]
        ),
        (
            "glow",
            [-3.8327699549596668, -6.055904845485366, -8.773205055727459, -280.48730252173874]
        ),
    ])
    func aFileOfTheFirstVersionGivesTheSameDensity(family: String, scores: [Double]) throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("reference/version1/\(family).safetensors")
        let file = try TensorFile(
            decoding: [UInt8](Data(contentsOf: path)), name: path.lastPathComponent)
        #expect(file.formatVersion == 1)
        let flow = try Flow<Double>(reading: file)
        let found = flow.logLikelihood(
            Matrix(
                rowCount: 4, columnCount: 3,
                storage: [0, 0, 0, 1, -2, 0.5, -0.25, 0.75, 3, 20, -1, 2]),
            context: Matrix(rowCount: 4, columnCount: 1, storage: [0, 1, -1, 0.5]))
        for (score, exact) in zip(found, scores) {
            expectClose(score, exact, relative: 1e-13, absolute: 1e-12, family)
        }
    }

    @Test func aGivenPartitionIsWrittenAndRead() throws {
        var options = FlowOptions()
        options.partition = .given([[0, 2], [1], [2, 1, 3]])
        let flow = Flow<Float>.realNVP(features: 4, options: options)
        var file = TensorFile()
        flow.write(into: &file)
        #expect(file.metadata["flow.partition"] == "0,2;1;2,1,3")
        #expect(try Flow<Float>(reading: file).options == flow.options)
    }

    @Test func entriesThatDoNotFitTheFlowAreErrors() throws {
        let flow = FlowVariant.windows[0].disturbed(Float.self, features: 0, seed: 3)
        var file = TensorFile()
        flow.write(into: &file)
        func failure(_ key: String, _ value: String) -> String? {
            var changed = file
            changed.metadata["flow." + key] = value
            do throws(FlowDensityError) {
                _ = try Flow<Float>(reading: changed)
                return nil
            } catch {
                return error.description
            }
        }
        #expect(failure("window", "3,8,2,3") == nil)
        #expect(
            failure("window", "3,8,2")
                == "the model: metadata entry 'flow.window': expected channels, length, scales and "
                + "kernel width, such as 4,32,2,3, found '3,8,2'")
        #expect(
            failure("window", "3,8,5,3")
                == "the model: metadata entry 'flow.features': expected what suits the other "
                + "entries: a window's length, 8, can be halved once for each scale, 5, found '24'")
        #expect(
            failure("base", "cauchy")
                == "the model: metadata entry 'flow.base': expected normal, logistic, found 'cauchy'"
        )
        #expect(
            failure("partition", "0;x")
                == "the model: metadata entry 'flow.partition': expected alternating, halves, "
                + "parity, or lists such as 0,1;2,3, found '0;x'")
        #expect(failure("law", "spline") != nil)
        #expect(failure("normalization", "batchnorm") != nil)
        #expect(failure("conditioner", "residual") != nil)
        #expect(failure("partition", "99") != nil)
        #expect(failure("spline_bins", "1") != nil)
        #expect(failure("spline_bound", "-1") != nil)
    }

    @Test func aFlowThatDoesNotFitItsSizesIsAnError() throws {
        let flow = disturbedFlow(Float.self, family: .realnvp, features: 3, seed: 3)
        var file = TensorFile()
        flow.write(into: &file)
        func failure(_ change: (inout TensorFile) -> Void) -> String? {
            var changed = file
            change(&changed)
            do throws(FlowDensityError) {
                _ = try Flow<Float>(reading: changed)
                return nil
            } catch {
                return error.description
            }
        }
        #expect(failure { _ in } == nil)
        #expect(
            failure { $0.metadata["flow.family"] = "maf" }
                == "the model: metadata entry 'flow.family': expected nice, realnvp, glow, found 'maf'"
        )
        #expect(
            failure { $0.metadata["flow.features"] = nil }
                == "the model has no metadata entry 'flow.features'")
        #expect(
            failure { $0.metadata["flow.features"] = "-1" }
                == "the model: metadata entry 'flow.features': expected a whole number from 1 to "
                + "16384, found '-1'")
        #expect(
            failure { $0.metadata["flow.log_scale_bound"] = "nan" }
                == "the model: metadata entry 'flow.log_scale_bound': expected a number from "
                + "0.001 to 1e6, found 'nan'")
        #expect(
            failure { $0.tensors["flow.layers.0.shift"] = nil }
                == "the model has no tensor 'flow.layers.0.shift'")
        #expect(
            failure { $0.tensors["flow.layers.0.shift"] = .init([Float(0)], shape: [1]) }
                == "the model: tensor 'flow.layers.0.shift': expected floating-point numbers of "
                + "shape [3], found F32 of shape [1]")
        #expect(
            failure { $0.tensors["flow.layers.0.shift"] = .init([0, .nan, Float(0)], shape: [3]) }
                == "the model: tensor 'flow.layers.0.shift': a parameter is not finite")
        #expect(
            failure { $0.tensors["flow.layers.1.transformed"] = .init([Int64(0)], shape: [1]) }
                == "the model: tensor 'flow.layers.1.transformed': expected the indices of this "
                + "build's recipe")
        #expect(failure { $0.metadata["flow.features"] = "16384" } != nil)
    }

    @Test func aTensorOfAnotherTypeIsAnError() {
        let tensor = TensorFile.Tensor([Int64(1)], shape: [1])
        #expect(throws: FlowDensityError.self) { try tensor.doubles() }
        #expect(throws: FlowDensityError.self) { try tensor.floats() }
        #expect(throws: FlowDensityError.self) {
            try TensorFile.Tensor([1.0], shape: [1]).integers()
        }
    }
}
