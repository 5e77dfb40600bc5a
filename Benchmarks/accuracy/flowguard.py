"""The programs under test, called as a user calls them."""
import hashlib
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Scores:
    """What `score` says of each row."""
    log_likelihood: np.ndarray
    p_value: np.ndarray
    anomaly: np.ndarray

    def rows(self, which):
        return Scores(self.log_likelihood[which], self.p_value[which], self.anomaly[which])

    @property
    def by_likelihood(self):
        """Higher is stranger."""
        return -self.log_likelihood

    @property
    def by_p_value(self):
        """Higher is stranger: a lower p-value, and among equal ones a lower log-likelihood."""
        keys = np.column_stack([self.p_value, self.log_likelihood])
        _, place = np.unique(keys, axis=0, return_inverse=True)
        return -place.reshape(-1).astype(float)


class CommandError(Exception):
    """The program ended with another exit code than 0."""


class Flowguard:
    """Calls flowguardctl; a model is fitted once for the same records and options."""

    def __init__(self, programs):
        self.program = str(Path(programs, "flowguardctl"))
        self.scratch = tempfile.TemporaryDirectory(prefix="flowguard-accuracy-")
        self.folder = Path(self.scratch.name)

    def run(self, *arguments, text=""):
        done = subprocess.run([self.program, *map(str, arguments)], input=text, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().replace("\n", "; ")
            raise CommandError(f"flowguardctl {arguments[0]}: exit code {done.returncode}: {said[-300:]}")
        return done.stdout

    def has(self, command):
        return f"\n  {command} " in self.run("--help")

    def fit(self, text, *options):
        """A model of these records: its path, and what `fit --json` tells."""
        key = hashlib.sha256("\0".join([text, *map(str, options)]).encode()).hexdigest()[:24]
        model, told = self.folder / (key + ".model"), self.folder / (key + ".json")
        if not told.exists():
            told.write_text(self.run("fit", "--output", model, "--json", *options, text=text))
        return model, json.loads(told.read_text())

    def score(self, model, text):
        out = self.run("score", "--model", model, "--output-format", "csv", text=text)
        last = [line.rsplit(",", 3)[1:] for line in out.splitlines()[1:]]
        a = np.array([[float(c) for c in row] for row in last])
        return Scores(a[:, 0], a[:, 1], a[:, 2].astype(int))

    def explain(self, model, text, *options):
        """One object a row; an anomaly has its features."""
        out = self.run("score", "--model", model, "--explain", *options, text=text)
        return [json.loads(line) for line in out.splitlines()]

    def read_only(self, model, text):
        """As `explain`, without the reasons."""
        out = self.run("score", "--model", model, "--output-format", "ndjson", text=text)
        return [json.loads(line) for line in out.splitlines()]

    def seconds(self, function, *arguments):
        start = time.monotonic()
        function(*arguments)
        return time.monotonic() - start


def csv(x):
    """Rows as a CSV text with the columns x0, x1, ...; numbers with the fewest digits that read back the same."""
    number = lambda v: repr(v) if v != int(v) or abs(v) >= 1e15 else str(int(v))
    lines = [",".join(f"x{i}" for i in range(x.shape[1]))]
    return "\n".join(lines + [",".join(map(number, row)) for row in x.tolist()]) + "\n"
