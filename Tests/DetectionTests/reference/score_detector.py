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


def encode(tensors, header, times, values):
    """Standardised features, context and penalties, as docs/decisions/0005 describes."""
    lower, upper = tensors["encoder.lower"], tensors["encoder.upper"]
    center, scale = tensors["encoder.center"], tensors["encoder.scale"]
    active = lower != upper
    inside = np.clip(values, lower, upper)
    x = ((inside - center) / scale)[:, active]
    penalty = range_penalty(np.abs(values - inside) / scale)[:, active].sum(axis=1)
    rows = len(x)
    columns = []
    for lag in range(1, header["lags"] + 1):
        earlier = np.maximum(np.arange(rows) - lag, 0)
        known = x[earlier]
        known[0] = 0  # nothing came before the first record
        columns.append(known)
    for name in header["calendar"]:
        phase = 2 * np.pi * times / PERIOD[name]
        columns += [np.sin(phase)[:, None], np.cos(phase)[:, None]]
    return x, columns, penalty + np.log(scale[active]).sum()


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
