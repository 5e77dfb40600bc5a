"""Recomputes the log-likelihoods of raw records from a detector's file with NumPy alone, in float64.

    python3 score_detector.py FLOW_READER MODEL ROWS

FLOW_READER is the folder of score_model.py; ROWS an NDJSON file, a record a line: "time" in epoch seconds, "values" and
"categories", each with null for what is missing.
Prints ln p(record) in nats and data units, one a line. No record may change a constant feature.
"""

import json
import sys

import discrete
import numpy as np

PERIOD = {"hour_of_day": 86400.0, "day_of_week": 604800.0}


def range_penalty(excess):
    near = np.minimum(excess, 10)
    return near + 0.5 * near**2 + 11 * (np.minimum(excess, 1e12) - near)


def runs(times, gap):
    """How many readings without a gap come before each, at most 64."""
    counts = np.zeros(len(times), dtype=int)
    for row in range(1, len(times)):
        if gap is None or not abs(times[row] - times[row - 1]) > gap:
            counts[row] = min(counts[row - 1] + 1, 64)
    return counts


def states(tensors, lengths, moving, readings, past, before, centers):
    """The parts of each state, [rows, windows * moving features + features], and ln |det| of one row."""
    whole, readings, past, centers = readings, readings[:, moving], past[:, moving], centers[moving]
    rows, width = readings.shape
    longest = lengths[-1]
    recovery = tensors["encoder.recovery"].reshape(len(lengths), longest, width)
    above, parts = readings.copy(), []
    for i, length in enumerate(lengths):
        means = np.empty_like(readings)
        for row in range(rows):
            known = min(length, before[row] + 1)
            mean = (readings[row] + past[row - known + 1 : row].sum(axis=0)) / known
            means[row] = mean if known == length else centers + recovery[i, known - 1] * (mean - centers)
        parts.append(above - means)
        above = means
    determinant = width * sum(np.log((w - 1) / w) for w in lengths)
    last = whole.copy()
    last[:, moving] = above
    return np.hstack(parts + [last]), determinant


def encode(tensors, header, times, values):
    """Standardised inputs, context, and what is taken away from the flow's density, as docs/maths.md describes."""
    lower, upper = tensors["encoder.lower"], tensors["encoder.upper"]
    center, scale = tensors["encoder.center"], tensors["encoder.scale"]
    active = lower != upper
    inside = np.clip(values, lower, upper)
    x = ((inside - center) / scale)[:, active]
    cost = range_penalty(np.abs(values - inside) / scale)[:, active].sum(axis=1)
    before = runs(times, header.get("gap_secs"))
    rows = len(x)
    columns = []
    for lag in range(1, header["lags"] + 1):
        known = x[np.arange(rows) - np.minimum(lag, before)]
        known[before == 0] = 0  # nothing came before
        columns.append(known)
    for name in header["calendar"]:
        phase = 2 * np.pi * times / PERIOD[name]
        columns += [np.sin(phase)[:, None], np.cos(phase)[:, None]]
    if not header.get("windows"):
        return x, columns, cost + np.log(scale[active]).sum()
    past = np.clip(inside, center - 4 * scale, center + 4 * scale)[:, active]
    moving = header.get("moving", list(range(active.sum())))
    state, determinant = states(tensors, header["windows"], moving, inside[:, active], past, before, center[active])
    part = {name: tensors["encoder.part." + name] for name in ("lower", "upper", "center", "scale")}
    clipped = np.clip(state, part["lower"], part["upper"])
    cost += range_penalty(np.abs(state - clipped) / part["scale"]).sum(axis=1)
    return (clipped - part["center"]) / part["scale"], columns, cost + np.log(part["scale"]).sum() - determinant


def main():
    sys.path.insert(0, sys.argv[1])
    from score_model import flow_log_likelihood, read_safetensors

    tensors, metadata = read_safetensors(sys.argv[2])
    with open(sys.argv[3]) as file:
        rows = [json.loads(line) for line in file]
    header = json.loads(metadata["detector"])
    times = np.array([row["time"] for row in rows], dtype=float)
    values = np.array([row["values"] for row in rows], dtype=float)
    gaps = np.isnan(values)
    values = discrete.filled(values, header, tensors["encoder.quantiles"])
    x, columns, cost = encode(tensors, header, times, values)
    codes = discrete.codes(header, gaps, [row["categories"] for row in rows])
    columns += discrete.context(header, codes)
    context = np.hstack(columns) if columns else None
    cost = cost - discrete.log_probability(header, codes)
    members = int(metadata["flow.members"])
    densities = [
        flow_log_likelihood(tensors, metadata, x, context, f"flow.{member}.")
        for member in range(members)
    ]
    for value in np.logaddexp.reduce(densities) - np.log(members) - cost:
        print(repr(float(value)))


if __name__ == "__main__":
    main()
