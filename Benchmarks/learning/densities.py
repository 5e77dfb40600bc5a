"""What is learned: densities whose entropy is known, and tables."""
import csv
import gzip
from dataclasses import dataclass
from math import lgamma, log, pi
from pathlib import Path

import numpy as np

ROWS = 10_000
# Of the standard deviation of a column: without it a column of a few values has no density.
TABLE_NOISE = 0.1


@dataclass
class Task:
    """Rows to learn from, to stop by and to judge by, standardised by the first; what is exact, where it is known."""
    name: str
    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    exact: np.ndarray | None = None  # ln p of each test row, in nats and standardised units


def log_mean_exp(values):
    top = values.max(axis=-1, keepdims=True)
    return (top + np.log(np.mean(np.exp(values - top), axis=-1, keepdims=True)))[..., 0]


def normal(x, mean, deviation):
    """ln of the normal density of each row with the same deviation in each direction."""
    d = x.shape[-1]
    return -0.5 * ((x - mean) ** 2).sum(-1) / deviation**2 - d * (log(deviation) + 0.5 * log(2 * pi))


class Moons:
    """Two half circles, with normal noise of deviation 0.1."""
    noise = 0.1

    def points(self, angle, upper):
        return np.where(upper[..., None], np.stack([np.cos(angle), np.sin(angle)], -1),
                        np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], -1))

    def draw(self, rng, n):
        middle = self.points(rng.uniform(0, pi, n), rng.random(n) < 0.5)
        return middle + self.noise * rng.standard_normal((n, 2))

    def log_density(self, x):
        # The integral over the angle by the midpoint rule: 2,000 steps, each a sixtieth of the noise.
        angle = (np.arange(2_000) + 0.5) * pi / 2_000
        centers = np.concatenate([self.points(angle, np.full(2_000, up)) for up in (True, False)])
        return np.concatenate([log_mean_exp(normal(part[:, None], centers, self.noise))
                               for part in np.array_split(x, max(1, len(x) // 200))])


class Checkerboard:
    """The black fields of a board of 4 by 4, each of side 1."""

    def draw(self, rng, n):
        row = rng.integers(0, 4, n)
        column = 2 * rng.integers(0, 2, n) + row % 2
        return np.stack([column, row], -1) + rng.random((n, 2))

    def log_density(self, x):
        return np.full(len(x), -log(8))


class EightGaussians:
    """Eight round normal densities on a circle of radius 2."""
    centers = 2 * np.stack([np.cos(np.arange(8) * pi / 4), np.sin(np.arange(8) * pi / 4)], -1)
    deviation = 0.2

    def draw(self, rng, n):
        return self.centers[rng.integers(0, 8, n)] + self.deviation * rng.standard_normal((n, 2))

    def log_density(self, x):
        return log_mean_exp(normal(x[:, None], self.centers, self.deviation))


class Copula:
    """Sixteen columns under a normal copula; every second margin log-normal, the others stretched by a cube."""
    d = 16

    def __init__(self):
        mix = np.random.default_rng(16).standard_normal((self.d, self.d)) * 0.5 + np.eye(self.d)
        cov = mix @ mix.T
        scale = np.sqrt(np.diag(cov))
        self.cov = cov / scale / scale[:, None]

    def draw(self, rng, n):
        z = rng.multivariate_normal(np.zeros(self.d), self.cov, n, method="cholesky")
        x = np.empty_like(z)
        x[:, ::2] = np.exp(0.5 * z[:, ::2])
        # z + z^3/10 is undone by Cardano's root.
        x[:, 1::2] = z[:, 1::2] + 0.1 * z[:, 1::2] ** 3
        return x

    def log_density(self, x):
        z = np.empty_like(x)
        z[:, ::2] = 2 * np.log(x[:, ::2])
        half = 5 * x[:, 1::2]
        root = np.sqrt(half**2 + (10 / 3) ** 3)
        z[:, 1::2] = np.cbrt(half + root) + np.cbrt(half - root)
        sign, log_det = np.linalg.slogdet(self.cov)
        quadratic = (z @ np.linalg.inv(self.cov) * z).sum(-1)
        slopes = (np.log(2 / x[:, ::2])).sum(-1) - np.log(1 + 0.3 * z[:, 1::2] ** 2).sum(-1)
        return -0.5 * (quadratic + log_det + self.d * log(2 * pi)) + slopes


class HeavyTails:
    """Three Student densities of 3 degrees of freedom in four dimensions."""
    d, freedom = 4, 3
    centers = np.array([[0, 0, 0, 0], [4, 4, 0, 0], [0, 4, -4, 4]], float)

    def draw(self, rng, n):
        t = rng.standard_normal((n, self.d)) / np.sqrt(rng.chisquare(self.freedom, (n, 1)) / self.freedom)
        return self.centers[rng.integers(0, 3, n)] + t

    def log_density(self, x):
        d, v = self.d, self.freedom
        squares = ((x[:, None] - self.centers) ** 2).sum(-1)
        constant = lgamma((v + d) / 2) - lgamma(v / 2) - d / 2 * log(v * pi)
        return log_mean_exp(constant - (v + d) / 2 * np.log1p(squares / v))


KNOWN = {"two moons": Moons, "checkerboard": Checkerboard, "eight Gaussians": EightGaussians,
         "copula, D = 16": Copula, "heavy tails": HeavyTails}


def task(name, train, held_out, test, exact=None):
    mean, scale = train.mean(0), train.std(0)
    parts = [((part - mean) / scale).astype(np.float32) for part in (train, held_out, test)]
    return Task(name, *parts, None if exact is None else exact + np.log(scale).sum())


def known(name):
    density, rng = KNOWN[name](), np.random.default_rng([7, len(name)])
    x = density.draw(rng, ROWS + 2_000 + 10_000)
    test = x[ROWS + 2_000:]
    return task(name, x[:ROWS], x[ROWS:ROWS + 2_000], test, density.log_density(test))


def table(path):
    """The normal rows of a table, with a little noise: 70 % to learn from, 10 % to stop by, 20 % to judge by."""
    with gzip.open(path, "rt") as f:
        rows = np.array([[float(cell) for cell in row] for row in list(csv.reader(f))[1:]])
    x = rows[rows[:, -1] == 0, :-1]
    rng = np.random.default_rng(7)
    x = x[rng.permutation(len(x))[:ROWS]]
    x = x[:, x.std(0) > 1e-9]
    x = (x - x.mean(0)) / x.std(0)
    x = x + TABLE_NOISE * rng.standard_normal(x.shape)
    a, b = int(0.7 * len(x)), int(0.8 * len(x))
    return task(Path(path).name.removesuffix(".csv.gz"), x[:a], x[a:b], x[b:])


def names(data):
    return list(KNOWN) + sorted(
        (p.name.removesuffix(".csv.gz") for p in Path(data, "tabular").glob("*.csv.gz")), key=str.lower)


def make(name, data):
    return known(name) if name in KNOWN else table(Path(data, "tabular", name + ".csv.gz"))
