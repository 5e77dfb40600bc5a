"""The development data and the published protocols by which it is split."""
import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MIN_ROWS, MAX_ROWS = 1_000, 50_000
SKAB_TRAIN_ROWS = 400
SKAB_SENSORS = ["Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature",
                "Thermocouple", "Voltage", "Volume Flow RateRMS"]


@dataclass
class Table:
    """A tabular set: rows, and 1 where a row is an anomaly."""
    name: str
    x: np.ndarray
    y: np.ndarray


@dataclass
class Stream:
    """Readings of sensors in time order; the cells are kept as they are written."""
    name: str
    header: list
    cells: list
    x: np.ndarray
    y: np.ndarray  # all zeros where the file has no labels

    def csv(self, rows=slice(None)):
        """A CSV text of these rows: a slice or a mask."""
        cells = self.cells[rows] if isinstance(rows, slice) else [r for r, k in zip(self.cells, rows) if k]
        return "\n".join([",".join(self.header)] + [",".join(r) for r in cells]) + "\n"


def table_names(data):
    return sorted((p.name.removesuffix(".csv.gz") for p in Path(data, "tabular").glob("*.csv.gz")),
                  key=str.lower)


def table(data, name):
    with gzip.open(Path(data, "tabular", name + ".csv.gz"), "rt") as f:
        columns = f.readline().strip().split(",")
        if columns[-1] != "label":
            raise ValueError(f"{name}: expected the last column to be 'label', found '{columns[-1]}'")
        a = np.loadtxt(f, delimiter=",", ndmin=2)
    return Table(name, a[:, :-1], a[:, -1].astype(int))


def split(t, how, seed):
    """Normal rows to train on, rows to test on, and their labels.

    dte: the split behind the published table (vicliv/DTE), draw by draw. Fewer than 1,000 rows are resampled
    with replacement to 1,000, of more than 50,000 that many are drawn; then the first half of the normal rows, in
    file order, trains. random: a random half of the normal rows trains, and nothing is resampled.
    """
    x, y = t.x, t.y
    rng = np.random.RandomState(seed) if how == "dte" else np.random.default_rng([seed, 20231205])
    if how == "dte" and len(y) < MIN_ROWS:
        drawn = rng.choice(np.arange(len(y)), MIN_ROWS, replace=True)
        x, y = x[drawn], y[drawn]
    elif len(y) > MAX_ROWS:
        drawn = rng.choice(np.arange(len(y)), MAX_ROWS, replace=False)
        x, y = x[drawn], y[drawn]
    normal = np.flatnonzero(y == 0)
    if how == "random":
        normal = rng.permutation(normal)
    half = round(0.5 * normal.size)
    test = np.append(normal[half:], np.flatnonzero(y == 1))
    return x[normal[:half]], x[test], y[test]


def stream(path, values, label=None, time=0):
    """A gzip CSV file of readings; only the time and the values are kept in the cells."""
    with gzip.open(path, "rt", newline="") as f:
        head, *rows = csv.reader(f)
    places = [time] + [head.index(v) for v in values]
    x = np.array([[float(r[p]) for p in places[1:]] for r in rows])
    y = np.array([int(float(r[head.index(label)])) for r in rows]) if label else np.zeros(len(rows), int)
    name = path.name.removesuffix(".csv.gz")
    return Stream(name, [head[p] for p in places], [[r[p] for p in places] for r in rows], x, y)


def skab(data):
    folder = Path(data, "sensors", "skab", "valve1")
    files = sorted(folder.glob("*.csv.gz"), key=lambda p: int(p.name.split(".")[0]))
    return [stream(p, SKAB_SENSORS, "anomaly") for p in files]


def skab_normal(data):
    return stream(Path(data, "sensors", "skab", "anomaly-free.csv.gz"), SKAB_SENSORS)


def nab(data):
    files = sorted(Path(data, "sensors", "nab").glob("*.csv.gz"))
    return [stream(p, ["value"], "label") for p in files]


def seconds(s):
    """The times of a stream's records, in seconds."""
    stamps = [r[0].replace(" ", "T").removesuffix("Z") for r in s.cells]
    return np.array(stamps, dtype="datetime64[ms]").astype(float) / 1e3


def windows(y):
    """First and last row of each run of ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], y, [0]])))
    return list(zip(edges[::2], edges[1::2] - 1))
