"""How long a fit takes."""
import numpy as np

from flowguard import csv
from report import Section

ROWS, COLUMNS, LIMIT = 10_000, 16, 30


def records():
    """Three clusters in five dimensions, seen by 16 sensors, some of them not linear."""
    rng = np.random.default_rng(17)
    hidden = rng.normal(size=(ROWS, 5)) + rng.normal(scale=3, size=(3, 5))[rng.integers(3, size=ROWS)]
    seen = hidden @ rng.normal(size=(5, COLUMNS))
    seen[:, ::4] = np.exp(seen[:, ::4] / 4)
    return np.round(seen + 0.1 * rng.normal(size=seen.shape), 4)


def fit_time(run):
    s = Section("speed", "Time of a fit",
                f"`flowguardctl fit` on {ROWS:,} rows of {COLUMNS} columns that are made up, all threads.")
    text = csv(records())
    found = run.flowguard.seconds(run.flowguard.fit, text)
    s.goal(f"at most {LIMIT} s", f"{found:.1f} s", found <= LIMIT)
    return s
