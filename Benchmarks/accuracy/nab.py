"""NAB: single readings over weeks with labelled windows, walked through as the daemon would have done."""
import csv

import numpy as np

import datasets
import peers
from flowguard import CommandError
from report import Section

BUDGET = 2  # false alarms a day
FIRST_FIT, REFIT = 2_000, 1_000
HELD_OUT = 4  # a quarter of the past calibrates a peer


def replay(run, f):
    """Places of the anomalies in the file; the labels stay away from it."""
    history, config, judged = (run.flowguard.folder / (f.name + end) for end in (".csv", ".yaml", ".records.csv"))
    history.write_text(f.csv())
    config.write_text(f"""\
state_directory: {run.flowguard.folder}
streams:
  - name: {f.name}
    source: {{file: {history}}}
    time: {{column: timestamp}}
    fit: {{every: {"never" if run.is_quick else "1h"}}}
    alarm: {{false_alarms_per_day: {BUDGET}}}
""")
    run.flowguard.run("replay", "--config", config, "--stream", f.name, "--records", judged, history)
    with open(judged, newline="") as lines:
        anomaly = [record["anomaly"] == "1" for record in csv.DictReader(lines)]
    if len(anomaly) != len(f.y):
        raise CommandError(f"flowguardctl replay: {len(anomaly)} records of {f.name}, expected {len(f.y)}")
    return np.flatnonzero(anomaly)


def step(f):
    """The usual time between records, in seconds."""
    return float(np.median(np.diff(datasets.seconds(f))))


def embedded(f):
    """The reading, the three before it, and the time of day as a point on a circle."""
    x = f.x[:, 0]
    lags = [x[np.maximum(np.arange(len(x)) - k, 0)] for k in range(4)]
    angle = 2 * np.pi * (datasets.seconds(f) % 86_400) / 86_400
    return np.column_stack([*lags, np.sin(angle), np.cos(angle)])


def walk_forward(method, f, probability):
    """Alarms of a peer that is fitted to its past again and again.

    Three quarters of the past are fitted, drawn at random; the threshold is the conformal one of the other quarter.
    What came before the first fit is judged by it.
    """
    x, y = embedded(f), np.zeros(len(f.y), int)
    start = 0
    for fit in range(FIRST_FIT, len(x), REFIT):
        order = np.random.default_rng(fit).permutation(fit)
        held, kept = order[: fit // HELD_OUT], order[fit // HELD_OUT:]
        stop = min(fit + REFIT, len(x))
        score = peers.strangeness(method, x[kept], np.vstack([x[held], x[start:stop]]), 0)
        held_scores, new = np.sort(score[: len(held)]), score[len(held):]
        rank = len(held) - (np.searchsorted(held_scores, new, side="left"))
        y[start:stop] = (1 + rank) / (len(held) + 1) <= probability
        start = stop
    return np.flatnonzero(y)


def judge(f, alarms):
    """Windows hit, windows, false records a day, false runs of neighbouring records a day."""
    spans = datasets.windows(f.y)
    hit = sum(any(a <= i <= b for i in alarms) for a, b in spans)
    days = (f.y == 0).sum() * step(f) / 86_400
    false = np.array([i for i in alarms if f.y[i] == 0], int)
    runs = 1 + int((np.diff(false) > 1).sum()) if len(false) else 0
    return hit, len(spans), len(false) / days, runs / days


def streams(run):
    s = Section("nab", "NAB, four streams",
                f"`replay` with `alarm: {{false_alarms_per_day: {BUDGET}}}` and defaults else: labelled windows "
                "with at least one alarm, and alarms outside of them a day, as records and as runs of neighbouring "
                "records: a run is an episode, which is told once. The peers see the reading, the three before it and the "
                f"time of day; they are fitted to their whole past every {REFIT:,} records from {FIRST_FIT:,} on, and "
                "alarm at the conformal rank that the budget asks for. Windows are days long: alarms at random hit "
                "most of them, so the false alarms are what tells methods apart.")
    rows, totals = [], {}
    has_replay = run.flowguard.has("replay")
    for f in run.some(datasets.nab(run.data), 1):
        per_day = 86_400 / step(f)
        found = {"flowguard": replay(run, f)} if has_replay else {}
        found |= {who: walk_forward(who, f, BUDGET / per_day) for who in peers.TABULAR if who != "LOF"}
        found["alarms at random"] = np.flatnonzero(np.random.default_rng(0).random(len(f.y)) < BUDGET / per_day)
        for who, alarms in found.items():
            hit, count, records, runs = judge(f, alarms)
            rows.append([f.name, who, f"{hit} of {count}", records, runs])
            totals.setdefault(who, []).append((hit, count, records, runs))
        run.progress(f"nab {f.name}: {rows[-1][2]}")
    figures = ["windows hit", "false records a day", "false runs a day"]
    s.table("All streams", ["method", *figures, "most false records a day"],
            [[who, f"{sum(v[0] for v in t)} of {sum(v[1] for v in t)}", float(np.mean([v[2] for v in t])),
              float(np.mean([v[3] for v in t])), float(max(v[2] for v in t))] for who, t in totals.items()])
    s.table("Each stream", ["stream", "method", *figures], rows, detail=True)
    claim = f"every window hit, at no more than {BUDGET} false alarms a day"
    if ours := totals.get("flowguard"):
        hit, count, _, _ = map(sum, zip(*ours))
        most, runs = max(v[2] for v in ours), max(v[3] for v in ours)
        s.goal(claim, f"{hit} of {count}, at most {most:.2f} records or {runs:.2f} runs of them a day",
               hit == count and runs <= BUDGET)
    else:
        s.goal(claim, "flowguardctl has no replay", None)
    return s
