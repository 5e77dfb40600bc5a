"""Recomputes log-likelihoods from a model file with NumPy alone, in float64.

    python3 score_model.py MODEL ROWS [CONTEXT]

MODEL is a safetensors file with a flow, ROWS and CONTEXT are text files of numbers, a row a line.
Prints ln p(row | context) in nats, one a line. `flow_log_likelihood` is the flow alone.
"""

import json
import sys

import numpy as np

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}


def read_safetensors(path):
    """The tensors (floating-point ones as float64) and the metadata of a file."""
    with open(path, "rb") as file:
        data = file.read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = values if entry["dtype"] == "I64" else values.astype(np.float64)
    return tensors, metadata


def bounded(raw, bound):
    return bound * np.tanh(raw / bound)


def conditioner(layer, count, inputs):
    """A multilayer perceptron with ReLU and `count` hidden layers."""
    for index in range(count + 1):
        inputs = inputs @ layer[f"dense.{index}.weight"].T + layer[f"dense.{index}.bias"]
        if index < count:
            inputs = np.maximum(inputs, 0)
    return inputs


def flow_log_likelihood(tensors, metadata, x, context=None, prefix="flow."):
    """ln p(x | context) of each row of x, shape [N, D], by the flow whose names begin with prefix."""
    x = np.array(x, np.float64)
    input_bound = float(metadata[prefix + "conditioner_input_bound"])
    scale_bound = float(metadata[prefix + "log_scale_bound"])
    norm_bound = float(metadata[prefix + "norm_log_scale_bound"])
    hidden_layers = int(metadata[prefix + "hidden_layers"])
    columns = int(metadata[prefix + "context"])
    if columns:
        context = np.clip(np.asarray(context, np.float64), -input_bound, input_bound)
    else:
        context = np.zeros((len(x), 0))
    log_det = np.zeros(len(x))

    for index, name in enumerate(metadata[prefix + "layers"].split(",")):
        start = f"{prefix}layers.{index}."
        layer = {key[len(start) :]: tensors[key] for key in tensors if key.startswith(start)}
        if name == "actnorm" or name == "diagonal_scaling":
            s = bounded(layer["log_scale"], norm_bound)
            x = x * np.exp(s) + layer.get("shift", 0)
            log_det += s.sum()
        elif name == "invertible_linear":
            count = x.shape[1]
            s = bounded(layer["log_scale"], norm_bound)
            upper = np.diag(np.exp(s))
            upper[np.triu_indices(count, 1)] = layer["upper"]
            lower = np.eye(count)
            lower[np.tril_indices(count, -1)] = layer["lower"]
            x = (x @ upper.T @ lower.T)[:, layer["permutation"]]
            log_det += s.sum()
        else:
            read, changed = layer["passed_through"], layer["transformed"]
            seen = np.clip(x[:, read], -input_bound, input_bound)
            numbers = conditioner(layer, hidden_layers, np.hstack([seen, context]))
            x = x.copy()
            if name == "additive_coupling":
                x[:, changed] += numbers
            elif name == "affine_coupling":
                s = bounded(numbers[:, : len(changed)], scale_bound)
                x[:, changed] = x[:, changed] * np.exp(s) + numbers[:, len(changed) :]
                log_det += s.sum(axis=1)
            else:
                raise ValueError(f"unknown layer {name!r}")

    return log_det - 0.5 * (x**2).sum(axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)


def main():
    tensors, metadata = read_safetensors(sys.argv[1])
    rows = np.loadtxt(sys.argv[2], ndmin=2)
    context = np.loadtxt(sys.argv[3], ndmin=2) if len(sys.argv) > 3 else None
    for value in flow_log_likelihood(tensors, metadata, rows, context):
        print(repr(float(value)))


if __name__ == "__main__":
    main()
