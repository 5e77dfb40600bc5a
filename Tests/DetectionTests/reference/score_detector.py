"""Recomputes the log-likelihoods of raw records from a detector's file with NumPy alone, in float64.

    python3 score_detector.py FLOW_READER MODEL ROWS

FLOW_READER is the folder of score_model.py; ROWS a text file: epoch seconds (or nan) and the features, a record a line.
Prints ln p(record) in nats and data units, one a line. No record may change a constant feature.
"""

import json
import sys

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
    context = np.hstack(columns) if columns else None
    return x, context, penalty + np.log(scale[active]).sum()


def main():
    sys.path.insert(0, sys.argv[1])
    from score_model import flow_log_likelihood, read_safetensors

    tensors, metadata = read_safetensors(sys.argv[2])
    rows = np.loadtxt(sys.argv[3], ndmin=2)
    header = json.loads(metadata["detector"])
    x, context, cost = encode(tensors, header, rows[:, 0], rows[:, 1:])
    members = int(metadata["flow.members"])
    densities = [
        flow_log_likelihood(tensors, metadata, x, context, f"flow.{member}.")
        for member in range(members)
    ]
    for value in np.logaddexp.reduce(densities) - np.log(members) - cost:
        print(repr(float(value)))


if __name__ == "__main__":
    main()
