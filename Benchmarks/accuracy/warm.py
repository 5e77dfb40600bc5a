"""What refits cost and reach that go on from the model before, beside refits from nothing."""
import json
import resource
import subprocess
from pathlib import Path

import numpy as np

import datasets
import speed
from flowguard import csv
from metrics import auroc
from report import Section

REFITS = 20
CHAINED = ("mammography", "satellite")
GROWN = ("pendigits", "annthyroid", "mammography", "http", "shuttle")
NEW_SHARE = 0.2
ALPHA = 0.01
TRIMMED = 0.02  # of the normal rows, the least likely, as the gate between two models does
LOOK_BACK = 64  # rows that a series is given before those that are judged
PUMP_ROWS, PUMP_WINDOW, PUMP_STEP = 44_000, 10_000, 1_600


class Source:
    """Windows to fit to, one after the other, and what judges the model of each."""

    def __init__(self, name, rows, windows, judge, options=()):
        self.name, self.rows, self.windows, self.judge, self.options = name, rows, windows, judge, options


def judged(scores, y):
    """Mean log-likelihood of the normal rows, AUROC, and the share of normal rows with p of at most alpha."""
    normal = y == 0
    kept = np.sort(scores.log_likelihood[normal])[int(TRIMMED * normal.sum()):]
    area = auroc(y, scores.by_likelihood) if y.any() else np.nan
    return kept.mean(), area, (scores.p_value[normal] <= ALPHA).mean()


def table(run, name, refits):
    """A window over seven tenths of the normal rows, in an order of chance; the others judge every model."""
    t = datasets.table(run.data, name)
    normal = np.random.default_rng([run.seeds[0], 20261126]).permutation(np.flatnonzero(t.y == 0))
    normal = normal[:datasets.MAX_ROWS]
    count = int(0.7 * len(normal))
    window = int(0.6 * count)
    step = (count - window) // REFITS
    test = np.append(normal[count:], np.flatnonzero(t.y == 1))
    text, y = csv(t.x[test]), t.y[test]
    windows = [csv(t.x[normal[k * step:k * step + window]]) for k in range(refits + 1)]
    return Source(name, window, windows, lambda model, k: judged(run.flowguard.score(model, text), y))


def series(run, name, learned, seen, y, window, step, refits, options):
    """A window that moves along a series; the records just behind it judge."""
    def judge(model, k):
        start, end = window + k * step, window + (k + 1) * step
        scores = run.flowguard.score(model, seen(slice(start - LOOK_BACK, end)))
        return judged(scores.rows(slice(LOOK_BACK, None)), y[start:end])
    windows = [learned(slice(k * step, k * step + window)) for k in range(refits + 1)]
    return Source(name, window, windows, judge, options)


def pump(run, refits):
    """The sample pump: a healthy one teaches, the same one with faults is judged."""
    def made(faults):
        path, truth = (run.flowguard.folder / f"pump.{len(faults)}{end}" for end in (".csv", ".ndjson"))
        subprocess.run([Path(run.flowguard.program).with_name("flowguard-samples"), "generate", "pump", "--rows",
                        str(PUMP_ROWS), "--seed", "7", "--interval", "30", "--clean-rows", "11000", "--faults", faults,
                        "--output", path, "--truth", truth], check=True)
        head, *rows = path.read_text().splitlines()
        y = np.zeros(len(rows), int)
        for line in truth.read_text().splitlines():
            fault = json.loads(line)
            if fault["kind"] != "file":
                y[fault["start_row"]:fault["end_row"] + 1] = 1
        return (lambda part: "\n".join([head, *rows[part]]) + "\n"), y
    learned, _ = made("none")
    seen, y = made(",".join(["stuck", "drift", "spike"] * 10))
    return series(run, "sample pump", learned, seen, y, PUMP_WINDOW, PUMP_STEP, refits, ())


def stream(run, f, column, refits):
    window = len(f.y) // 2
    step = (len(f.y) - window) // (REFITS + 1)
    return series(run, f.name, f.csv, f.csv, f.y, window, step, refits, ("--time", column))


def processor_seconds():
    """Of the programs that were called: what else runs on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fit(run, text, *options):
    """A model, what `fit` tells, and the processor seconds that it took."""
    start = processor_seconds()
    model, told = run.flowguard.fit(text, "--threads", 1, "--seed", run.seeds[0], *options)
    return model, told, processor_seconds() - start


def chain(run, source, warm):
    """Means over the refits: seconds, steps, likelihood, AUROC, alarms; and how many went on from the one before."""
    found, former, warm_count = [], None, 0
    for k, text in enumerate(source.windows):
        begin = ("--from", former) if warm and former else ()
        former, told, took = fit(run, text, *source.options, *begin)
        warm_count += told["warm"]
        if k:
            found.append((took, told["steps"], *source.judge(former, k)))
        run.progress(f"warm {source.name} {k}: {'warm' if told['warm'] else 'cold'}, {took:.1f} s")
    found = np.array(found)
    return dict(zip(("secs", "steps", "nats", "auroc", "alarms"), found.mean(axis=0)),
                auroc=np.nan if np.isnan(found[:, 3]).all() else np.nanmean(found[:, 3]),
                last=found[-5:, 2].mean(), warm=warm_count)


def grown(run, name, x, anomalies):
    """One refit when a fifth of the rows is new: from nothing, and from the model of the others."""
    x = x[np.random.default_rng([run.seeds[0], 20261127]).permutation(len(x))][:datasets.MAX_ROWS]
    count = int(0.7 * len(x))
    text, y = csv(np.vstack([x[count:], anomalies])), np.repeat([0, 1], [len(x) - count, len(anomalies)])
    former, _, _ = fit(run, csv(x[:int(count / (1 + NEW_SHARE))]))
    rows = []
    for how, begin in (("cold", ()), ("warm", ("--from", former))):
        model, told, took = fit(run, csv(x[:count]), *begin)
        nats, area, alarms = judged(run.flowguard.score(model, text), y)
        rows.append([name, told["cold_reason"] if "cold_reason" in told else how, count, told["steps"],
                     f"{took:.2f}", f"{nats:.3f}", "" if np.isnan(area) else f"{100 * area:.2f}",
                     f"{100 * alarms:.2f}"])
        run.progress(f"warm, {name} grown: {how}, {took:.1f} s")
    return rows


def refits(run):
    count = 2 if run.is_quick else REFITS
    s = Section("warm", "Refits that go on from the model before",
                "From nothing (cold) and with `--from` (warm): processor seconds of one thread; nats a normal record "
                f"that no fit saw, without the least likely {TRIMMED:.0%}; AUROC of the labelled ones; the share of "
                f"those normal records with p of at most {ALPHA:g}, in percent.")
    sources = [table(run, n, count) for n in run.some(CHAINED, 1)]
    if not run.is_quick:
        sources += [pump(run, count), stream(run, datasets.skab_normal(run.data), "datetime", count)]
        sources += [stream(run, f, "timestamp", count) for f in datasets.nab(run.data)
                    if f.name.startswith(("machine", "nyc"))]
    rows, gains = [], []
    for source in sources:
        cold, warm = chain(run, source, False), chain(run, source, True)
        gains.append((source.name, warm["steps"] / cold["steps"], warm["nats"] - cold["nats"]))
        for how, r in (("cold", cold), ("warm", warm)):
            area = "" if np.isnan(r["auroc"]) else f"{100 * r['auroc']:.2f}"
            rows.append([source.name, how, source.rows, r["warm"], f"{r['steps']:.0f}", f"{r['secs']:.2f}",
                         f"{r['nats']:.3f}", f"{r['last']:.3f}", area, f"{100 * r['alarms']:.2f}"])
    s.table(f"{count} refits in a row, each to a window that has moved on; means over all, and over the last five. Each "
            "tenth fit of a warm chain begins from nothing by itself",
            ["source", "fits", "rows", "warm", "steps", "s", "nats", "nats, last 5", "AUROC", "p <= 0.01"], rows)
    rows = []
    if not run.is_quick:
        rows += grown(run, "made up, 16 columns", speed.records(), np.empty((0, speed.COLUMNS)))
    for name in run.some(GROWN, 1):
        t = datasets.table(run.data, name)
        rows += grown(run, name, t.x[t.y == 0], t.x[t.y == 1])
    s.table(f"One refit when {NEW_SHARE:.0%} more rows have come",
            ["set", "fit", "rows", "steps", "s", "nats", "AUROC", "p <= 0.01"], rows)
    worst = max(gains, key=lambda g: g[1])
    s.goal("a warm chain takes at most half of the steps", f"{worst[1]:.2f} ({worst[0]})", worst[1] <= 0.5)
    least = min(gains, key=lambda g: g[2])
    s.goal("its records are as likely, within 0.02 nats", f"{least[2]:+.3f} ({least[0]})", least[2] >= -0.02)
    return s
