"""Asks all sides in turn, round after round, and keeps the median of each cell."""
import statistics
import tempfile
from pathlib import Path

import numpy as np

from flow import make_rows, make_weights, reference
from sides import OURS, Side

SCORE_BATCHES = (1, 16, 256, 4096, 65536)
TRAIN_BATCHES = (256, 2048)
GEMM_TILES = (60, 240, 256)
# Float's rounding through ten layers of a hundred terms.
AGREEMENT_NATS = 1e-3


class Disagreement(Exception):
    """A side computes something else."""


def rate(reply, threads):
    """Per second of the process's CPU time with one thread, else by the wall."""
    return reply["count"] / reply["cpuSeconds" if threads == 1 else "wallSeconds"] if reply["count"] else None


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


class Measurement:
    """All figures of one shape and one number of threads: self.figures[side][cell]."""

    def __init__(self, shape, threads, names, program, rounds, seconds, tell):
        self.shape, self.threads, self.rounds, self.seconds, self.tell = shape, threads, rounds, seconds, tell
        self.figures = {name: {} for name in names}
        self.sides = [Side(name, program, threads) for name in names]
        self.ours = next(side for side in self.sides if side.name == OURS)

    def run(self):
        with tempfile.TemporaryDirectory(prefix="flowguard-speed-") as folder:
            self.load(Path(folder))
            self.measure()
        for side in self.sides:
            self.figures[side.name]["peak_bytes"] = side.ask("memory")["peakBytes"]
            side.close()
        return self.figures

    def measure(self):
        for batch in SCORE_BATCHES:
            self.in_turn("score", batch)
        for batch in TRAIN_BATCHES:
            self.in_turn("train", batch)
        if self.threads == 1:
            self.latency()
        self.limits()

    def load(self, folder):
        weights, rows = make_weights(self.shape), make_rows(self.shape)
        np.concatenate([w.ravel() for w in weights]).tofile(folder / "weights")
        rows.tofile(folder / "rows")
        truth = reference(self.shape, weights, rows)
        for side in self.sides:
            reply = side.ask(
                "load", features=self.shape.features, layers=self.shape.layers, width=self.shape.width,
                weights=str(folder / "weights"), rows=str(folder / "rows"))
            side.ask("likelihoods", into=str(folder / side.name))
            off = float(np.abs(np.fromfile(folder / side.name) - truth).max())
            self.figures[side.name]["off"] = off
            if off > AGREEMENT_NATS:
                raise Disagreement(f"{side.name}, {self.shape.name}: off by {off:.2g} nats")
            self.figures[side.name]["note"] = reply.get("note", "")

    def in_turn(self, op, batch):
        found = {side.name: [] for side in self.sides}
        for side in self.sides:  # compiles and warms up
            side.ask(op, batch=batch, seconds=0.01)
        for _ in range(self.rounds):
            for side in self.sides:
                reply = side.ask(op, batch=batch, seconds=self.seconds)
                found[side.name].append(rate(reply, self.threads))
                if side is self.ours:
                    self.figures[OURS][f"{op}_{batch}_allocations"] = reply["allocations"] / reply["calls"]
        for name, rates in found.items():
            self.figures[name][f"{op}_{batch}"] = median(rates)
        self.tell(f"{self.shape.name}, {self.threads} threads, {op} {batch}: " + ", ".join(
            f"{name} {figure[f'{op}_{batch}'] / 1000:.1f}k" for name, figure in self.figures.items()
            if figure[f"{op}_{batch}"]))

    def latency(self):
        for side in self.sides:
            side.ask("latency", seconds=0.01)
        found = {side.name: [] for side in self.sides}
        for _ in range(self.rounds):
            for side in self.sides:
                found[side.name].append(side.ask("latency", seconds=self.seconds))
        for name, replies in found.items():
            for figure in ("p50", "p99"):
                self.figures[name][figure] = median(reply[figure] for reply in replies)

    def limits(self):
        """The core's peak, and OpenBLAS's products alone on tiles of their best size."""
        figures, rounds = self.figures[OURS], range(max(3, self.rounds))
        figures["peak"] = median(rate(self.ours.ask("peak", seconds=0.1), 1) for _ in rounds)
        for op in ("gemm", "gemmTrain"):
            figures[op] = max(
                median(rate(self.ours.ask(op, batch=tile, seconds=self.seconds), 1) for _ in rounds)
                for tile in GEMM_TILES)


class TrainMeasurement(Measurement):
    """Training steps alone: of all that torch.compile compiles, the two functions that count."""

    def measure(self):
        for batch in TRAIN_BATCHES:
            self.in_turn("train", batch)
        self.limits()
