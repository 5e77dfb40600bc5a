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


def slide(weight, bias, maps):
    """A dense layer over the positions of maps [N, T, channels], with zeros around them."""
    if weight.ndim == 2:
        weight = weight[:, None]
    margin = weight.shape[1] // 2
    padded = np.pad(maps, ((0, 0), (margin, margin), (0, 0)))
    length = maps.shape[1]
    windows = [padded[:, k : k + length] @ weight[:, k].T for k in range(weight.shape[1])]
    return sum(windows) + bias


def conditioner(layer, residual, maps):
    """The network of a coupling: dense layers with ReLU, plain or in residual blocks of two."""
    count = sum(key.startswith("dense.") and key.endswith(".weight") for key in layer)
    dense = lambda index, x: slide(layer[f"dense.{index}.weight"], layer[f"dense.{index}.bias"], x)
    hidden = np.maximum(dense(0, maps), 0)
    for index in range(1, count - 1, 2 if residual else 1):
        if residual:
            inner = np.maximum(dense(index, hidden), 0)
            hidden = np.maximum(hidden + dense(index + 1, inner), 0)
        else:
            hidden = np.maximum(dense(index, hidden), 0)
    return dense(count - 1, hidden)


def spline(x, numbers, bound):
    """The rational-quadratic spline of `numbers`, shape [..., 3 bins - 1]: z and ln dz/dx."""
    bins = (numbers.shape[-1] + 1) // 3
    least = 1e-3

    def knots(raw):
        share = np.exp(raw - raw.max(-1, keepdims=True))
        share = least + (1 - bins * least) * share / share.sum(-1, keepdims=True)
        edges = np.cumsum(2 * bound * share, -1) - bound
        return np.concatenate([np.full(edges.shape[:-1] + (1,), -bound), edges], -1)

    edges, values = knots(numbers[..., :bins]), knots(numbers[..., bins : 2 * bins])
    shift = np.log(np.expm1(1 - least))
    ends = np.ones(x.shape + (1,))
    slopes = np.concatenate(
        [ends, least + np.logaddexp(0, numbers[..., 2 * bins :] + shift), ends], -1
    )
    place = np.clip((x[..., None] >= edges).sum(-1) - 1, 0, bins - 1)
    at = lambda table, k: np.take_along_axis(table, k[..., None], -1)[..., 0]
    left, right = at(slopes, place), at(slopes, place + 1)
    width = at(edges, place + 1) - at(edges, place)
    height = at(values, place + 1) - at(values, place)
    inside = np.abs(x) < bound
    xi = np.clip((x - at(edges, place)) / width, 0, 1)
    s, bend = height / width, xi * (1 - xi)
    below = s + (right + left - 2 * s) * bend
    z = at(values, place) + height * (s * xi**2 + left * bend) / below
    log_slope = np.log(s**2 * (right * xi**2 + 2 * s * bend + left * (1 - xi) ** 2) / below**2)
    return np.where(inside, z, x), np.where(inside, log_slope, 0)


def flow_log_likelihood(tensors, metadata, x, context=None, prefix="flow."):
    """ln p(x | context) of each row of x, shape [N, D], by the flow whose names begin with prefix."""
    x = np.array(x, np.float64)
    input_bound = float(metadata[prefix + "conditioner_input_bound"])
    scale_bound = float(metadata[prefix + "log_scale_bound"])
    norm_bound = float(metadata[prefix + "norm_log_scale_bound"])
    residual = metadata.get(prefix + "conditioner") == "residual"
    columns = int(metadata[prefix + "context"])
    if columns:
        context = np.clip(np.asarray(context, np.float64), -input_bound, input_bound)
    else:
        context = np.zeros((len(x), 0))
    log_det = np.zeros(len(x))

    for index, name in enumerate(metadata[prefix + "layers"].split(",")):
        start = f"{prefix}layers.{index}."
        layer = {key[len(start) :]: tensors[key] for key in tensors if key.startswith(start)}
        channels, positions = layer.get("shape", (None, 1))
        if name in ("actnorm", "diagonal_scaling", "batchnorm"):
            if name == "batchnorm":
                s = -0.5 * np.log(np.maximum(layer["running_variance"], 0) + 1e-5)
                shift = -layer["running_mean"] * np.exp(s)
            else:
                s = bounded(layer["log_scale"], norm_bound)
                shift = layer.get("shift", np.zeros_like(s))
            count = len(s) * positions
            x[:, :count] = x[:, :count] * np.exp(s).repeat(positions) + shift.repeat(positions)
            log_det += positions * s.sum()
        elif name == "invertible_linear":
            side = len(layer["log_scale"])
            s = bounded(layer["log_scale"], norm_bound)
            upper = np.diag(np.exp(s))
            upper[np.triu_indices(side, 1)] = layer["upper"]
            lower = np.eye(side)
            lower[np.tril_indices(side, -1)] = layer["lower"]
            count = side * positions
            maps = x[:, :count].reshape(len(x), side, positions)
            mapped = np.einsum("ij,njt->nit", lower @ upper, maps)[:, layer["permutation"]]
            x[:, :count] = mapped.reshape(len(x), count)
            log_det += positions * s.sum()
        elif name == "squeeze":
            count = channels * positions
            maps = x[:, :count].reshape(len(x), channels, positions // 2, 2)
            x[:, :count] = maps.transpose(0, 3, 1, 2).reshape(len(x), count)
        else:
            read, changed = layer["passed_through"], layer["transformed"]
            positions = int(layer.get("positions", [1])[0])
            seen = np.clip(x[:, read], -input_bound, input_bound).reshape(len(x), positions, -1)
            known = np.repeat(context[:, None], positions, 1)
            numbers = conditioner(layer, residual, np.concatenate([seen, known], 2))
            # Number after number of each position's features, to feature after feature.
            each = len(changed) // positions
            numbers = numbers.reshape(len(x), positions, -1, each).transpose(0, 1, 3, 2)
            numbers = numbers.reshape(len(x), len(changed), -1)
            old = x[:, changed]
            s = np.zeros_like(old)
            if name == "additive_coupling":
                new = old + numbers[..., 0]
            elif name == "multiplicative_coupling":
                s = bounded(numbers[..., 0], scale_bound)
                new = old * np.exp(s)
            elif name == "affine_coupling":
                s = bounded(numbers[..., 0], scale_bound)
                new = old * np.exp(s) + numbers[..., 1]
            elif name == "spline_coupling":
                new, s = spline(old, numbers, float(metadata[prefix + "spline_bound"]))
            else:
                raise ValueError(f"unknown layer {name!r}")
            x[:, changed] = new
            log_det += s.sum(axis=1)

    if metadata.get(prefix + "base") == "logistic":
        return log_det - np.logaddexp(0, x).sum(axis=1) - np.logaddexp(0, -x).sum(axis=1)
    return log_det - 0.5 * (x**2).sum(axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)


def main():
    tensors, metadata = read_safetensors(sys.argv[1])
    rows = np.loadtxt(sys.argv[2], ndmin=2)
    context = np.loadtxt(sys.argv[3], ndmin=2) if len(sys.argv) > 3 else None
    for value in flow_log_likelihood(tensors, metadata, rows, context):
        print(repr(float(value)))


if __name__ == "__main__":
    main()
