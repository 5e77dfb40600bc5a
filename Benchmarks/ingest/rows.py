"""The records: eight sensors, each with four decimals, in every format."""
import numpy as np

FEATURES = [f"x{i}" for i in range(8)]
FORMATS = ["csv", "ndjson", "influx"]


def numbers(count, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 8))
    x[:, 1] += 0.8 * x[:, 0]
    x[:, 3] = 50 + 10 * (x[:, 2] + 0.3 * x[:, 3])
    x[:, 5] = 1000 + 100 * x[:, 5]
    return x.round(4)


def write(x, form, path, header=True):
    with open(path, "w") as f:
        if form == "csv" and header:
            f.write(",".join(FEATURES) + "\n")
        for begin in range(0, len(x), 50_000):
            f.write("".join(lines(x[begin:begin + 50_000].tolist(), form)))


def lines(rows, form):
    if form == "csv":
        return [",".join(map(repr, row)) + "\n" for row in rows]
    if form == "ndjson":
        pattern = "{" + ",".join(f'"{name}":%r' for name in FEATURES) + "}\n"
    else:
        pattern = "machine,site=north " + ",".join(f"{name}=%r" for name in FEATURES) + "\n"
    return [pattern % tuple(row) for row in rows]
