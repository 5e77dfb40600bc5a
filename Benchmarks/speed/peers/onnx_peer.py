"""ONNX Runtime: the hand-written graph, Gemm nodes with constant weights. It does not train."""
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from flow import LOG_SCALE_BOUND


class Peer:
    def __init__(self, shape, weights, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.graph(shape, weights), options, providers=["CPUExecutionProvider"])

    def graph(self, shape, weights):
        nodes, constants = [], []

        def constant(name, value):
            constants.append(numpy_helper.from_array(np.asarray(value), name))
            return name

        def node(kind, inputs, outputs, **options):
            nodes.append(helper.make_node(kind, inputs, outputs, **options))
            return outputs[0]

        middle = (shape.features + 1) // 2
        constant("split", np.array([middle, shape.features - middle], np.int64))
        constant("columns", np.array([1], np.int64))
        constant("bound", np.float32(LOG_SCALE_BOUND))
        constant("inverse", np.float32(1 / LOG_SCALE_BOUND))
        constant("half", np.float32(-0.5))
        constant("constant", np.float32(-0.5 * shape.features * 1.8378770664093453))
        nodes.append(helper.make_node("Split", ["x", "split"], ["a", "b"], axis=1))
        parts, sums = ["a", "b"], []
        for layer in range(shape.layers):
            reads, changes = layer % 2, 1 - layer % 2
            h = parts[reads]
            for index in range(3):
                tag = f"{layer}.{index}"
                w = constant("w" + tag, weights[6 * layer + 2 * index])
                b = constant("c" + tag, weights[6 * layer + 2 * index + 1])
                h = node("Gemm", [h, w, b], ["g" + tag], transB=1)
                if index < 2:
                    h = node("Relu", [h], ["r" + tag])
            tag = str(layer)
            count = shape.sides(layer)[2][1] // 2
            sizes = constant("n" + tag, np.array([count, count], np.int64))
            nodes.append(helper.make_node("Split", [h, sizes], ["s" + tag, "t" + tag], axis=1))
            bent = node("Tanh", [node("Mul", ["s" + tag, "inverse"], ["m" + tag])], ["h" + tag])
            log_scale = node("Mul", [bent, "bound"], ["l" + tag])
            scaled = node("Mul", [parts[changes], node("Exp", [log_scale], ["e" + tag])], ["p" + tag])
            parts[changes] = node("Add", [scaled, "t" + tag], ["z" + tag])
            sums.append(node("ReduceSum", [log_scale, "columns"], ["d" + tag], keepdims=0))
        for place, part in enumerate(parts):
            squares = node("ReduceSumSquare", [part, "columns"], [f"q{place}"], keepdims=0)
            sums.append(node("Mul", [squares, "half"], [f"u{place}"]))
        node("Add", [node("Sum", sums, ["sum"]), "constant"], ["y"])
        graph = helper.make_graph(
            nodes, "flow", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, shape.features])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        return model.SerializeToString()

    def scorer(self, rows):
        return lambda: self.session.run(None, {"x": rows})[0]

    def one_record(self):
        return lambda row: float(self.session.run(None, {"x": row})[0][0])
