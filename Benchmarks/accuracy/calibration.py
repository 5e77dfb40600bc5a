"""Whether a p-value is what it says: the share of normal records at or below alpha."""
import numpy as np

import datasets
import peers
from flowguard import csv
from metrics import binomial_interval, conformal_interval, effective_size
from report import Section

ALPHAS = (0.1, 0.01, 0.001)
PEERS = ("kNN", "isolation forest", "PCA (Mahalanobis)", "Gaussian mixture")


def conformal(name, train, test, seed):
    """A peer's p-values: ranks among a third of the training rows that it was not fitted to."""
    order = np.random.default_rng([seed, 7]).permutation(len(train))
    third = len(train) // 3
    kept, held = train[order[third:]], train[order[:third]]
    score = peers.strangeness(name, kept, np.vstack([held, test]), seed)
    held, score = np.sort(score[:third]), score[third:]
    return (1 + third - np.searchsorted(held, score, side="left")) / (third + 1), third


class Tally:
    """How often the share lay within either interval."""

    def __init__(self):
        self.checked = {a: 0 for a in ALPHAS}
        self.binomial = {a: 0 for a in ALPHAS}
        self.conformal = {a: 0 for a in ALPHAS}

    def add(self, p, n_cal, correlated=False):
        """The cells of a table's row: the share, and for each interval its ends and whether they hold it."""
        cells = []
        for alpha in ALPHAS:
            hit = (p <= alpha).astype(float)
            n = effective_size(hit) if correlated else len(p)
            if n * alpha < 1:
                cells += ["", ""]
                continue
            exact, ranks = binomial_interval(n, alpha), conformal_interval(n, alpha, n_cal)
            inside = [low - 1e-12 <= hit.mean() <= high + 1e-12 for low, high in (exact, ranks)]
            self.checked[alpha] += 1
            self.binomial[alpha] += inside[0]
            self.conformal[alpha] += inside[1]
            mark = "" if inside[0] else (" *" if inside[1] else " **")
            ends = " ".join(f"{100 * low:.2f}-{100 * high:.2f}" for low, high in (exact, ranks))
            cells += [f"{100 * hit.mean():.2f}{mark}", ends]
        return cells

    def row(self, who):
        both = self.binomial, self.conformal
        return [who] + [f"{found[a]} of {self.checked[a]}" for a in ALPHAS for found in both]

    @property
    def missed(self):
        return sum(self.checked.values()) - sum(self.binomial.values())


def calibration(run):
    s = Section("calibration", "Calibration",
                "Share of held-out normal records with p of at most alpha, in percent, where n x alpha is at least 1. "
                "Two 99 % intervals stand beside it: the binomial one of alpha, which the goal names, and the "
                "beta-binomial one, which counts that the calibration records, too, are a draw: a correct conformal "
                "p-value lies within the second in 99 % of the draws, and within the first less often. * outside the "
                "first, ** outside both.")
    head = ["", "records", "calibrated by"] + [t for a in ALPHAS for t in (f"{a:g}", "intervals")]
    tallies, rows = {"flowguard, tabular": Tally()}, []
    for name in run.sets:
        t = datasets.table(run.data, name)
        for seed in run.seeds:
            train, test, y = datasets.split(t, "random", seed)
            normal = test[y == 0]
            model, told = run.flowguard.fit(csv(train), "--seed", seed)
            p = run.flowguard.score(model, csv(normal)).p_value
            n_cal = told["calibration_records"]
            cells = tallies["flowguard, tabular"].add(p, n_cal)
            if seed == run.seeds[0]:
                rows.append([name, len(p), n_cal] + cells)
            for who in PEERS:
                q, third = conformal(who, train, normal, seed)
                tallies.setdefault(f"{who}, tabular", Tally()).add(q, third)
        run.progress(f"calibration {name}: {rows[-1][3]} % of 10 %")
    s.table(f"Tabular sets: the held-out normal rows of the random split, seed {run.seeds[0]}", head, rows,
            detail=True)
    streams = streams_of(run)
    if streams:
        tallies["flowguard, sensors"], sensor_rows = Tally(), []
        for f, options in streams:
            half, normal = len(f.y) // 2, f.y == 0
            first = np.arange(len(f.y)) < half
            model, told = run.flowguard.fit(f.csv(first & normal), *options, "--seed", run.seeds[0])
            p = run.flowguard.score(model, f.csv()).p_value[~first & normal]
            n_cal = told["calibration_records"]
            size = effective_size((p <= ALPHAS[0]).astype(float))
            sensor_rows.append([f.name, f"{len(p)} ({size:.0f})", n_cal]
                               + tallies["flowguard, sensors"].add(p, n_cal, correlated=True))
            for who in PEERS:
                q, third = conformal(who, f.x[first & normal], f.x[~first & normal], run.seeds[0])
                tallies.setdefault(f"{who}, sensors", Tally()).add(q, third, correlated=True)
            run.progress(f"calibration {f.name}: {sensor_rows[-1][3]} % of 10 %")
        s.table("Sensor streams: the first half trains, the unlabelled part of the second half is judged. In "
                "brackets the effective number of records: n / (1 + 2 sum of autocorrelations of the exceedance at "
                "0.1, Geyer's initial positive sequence); each interval takes the one of its own alpha",
                head, sensor_rows)
    s.table(f"How often the share is within the interval (binomial, beta-binomial), {run.seed_text}",
            ["method", *(f"{a:g}{t}" for a in ALPHAS for t in ("", " b.-b."))],
            [t.row(who) for who, t in tallies.items()])
    for kind in ("tabular", "sensors"):
        if t := tallies.get(f"flowguard, {kind}"):
            checked = sum(t.checked.values())
            s.goal(f"{kind}: every share within the binomial interval",
                   f"{checked - t.missed} of {checked}; {sum(t.conformal.values())} within the beta-binomial one",
                   t.missed == 0)
    return s


def streams_of(run):
    streams = [(datasets.skab_normal(run.data), ("--time", "datetime"))]
    streams += [(f, ("--time", "timestamp")) for f in datasets.nab(run.data)]
    return run.some(streams, 1)
