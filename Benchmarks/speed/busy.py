"""What is left of each side's rate at two threads while one other process keeps a core busy."""
import os
import subprocess
import sys
from contextlib import contextmanager

from measure import Measurement, median, rate
from report import goal, table, thousands
from sides import OURS

THREADS = 2
CELLS = [("score", 256), ("score", 4096), ("train", 2048)]
# Three that would run share two cores, and two of them are the side's.
FAIR_SHARE, WANTED_SHARE = 2 / 3, 0.6


def stay_on_two_cores():
    """For this process and those it starts: where there are more, a busy process would take none from the others."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


@contextmanager
def busy_process():
    process = subprocess.Popen(
        [sys.executable, "-c", "print('busy', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class BusyMeasurement(Measurement):
    """The rates alone and beside a busy process, one right after the other."""

    def measure(self):
        for op, batch in CELLS:
            alone, beside = ({side.name: [] for side in self.sides} for _ in range(2))
            for side in self.sides:  # compiles and warms up
                side.ask(op, batch=batch, seconds=0.01)
            for _ in range(self.rounds):
                for side in self.sides:
                    alone[side.name].append(self.rate_of(side, op, batch))
                    with busy_process():
                        beside[side.name].append(self.rate_of(side, op, batch))
            for name, figures in self.figures.items():
                figures[f"{op}_{batch}"] = median(alone[name])
                figures[f"{op}_{batch}_busy"] = median(beside[name])
            self.tell(f"{self.shape.name}, {op} {batch}, share left beside a busy process: " + ", ".join(
                f"{name} {share(figures, op, batch):.3f}" for name, figures in self.figures.items()
                if figures[f"{op}_{batch}"]))

    def rate_of(self, side, op, batch):
        return rate(side.ask(op, batch=batch, seconds=self.seconds), self.threads)


def share(figures, op, batch):
    return figures[f"{op}_{batch}_busy"] / figures[f"{op}_{batch}"]


def text(about, results):
    """`results[shape]` are the figures of a measurement."""
    names = list(next(iter(results.values())))
    rows, goals = [], []
    for op, batch in CELLS:
        for shape, figures in results.items():
            rows.append([f"{op} {batch:,}", shape.name] + [
                f"{share(figures[name], op, batch):.2g} ({thousands(figures[name][f'{op}_{batch}'])} → "
                f"{thousands(figures[name][f'{op}_{batch}_busy'])})" if figures[name][f"{op}_{batch}"] else "-"
                for name in names])
        lowest = min(share(figures[OURS], op, batch) for figures in results.values())
        goals.append(goal(f"share left, {op} {batch:,}, lowest of the shapes", lowest, WANTED_SHARE))
    return "\n".join([
        f"**Share of the undisturbed rate** at {THREADS} threads beside one busy process; fair is {FAIR_SHARE:.2f}. In brackets "
        "thousand rows a second by the wall, alone and beside it\n",
        table(["", "shape"] + names, rows), table(["goal", "reached", "wanted", ""], goals), f"{about}\n"])
