"""Tabular sets: ranking of held-out rows, and what anomalies among the training rows cost."""
import numpy as np

import datasets
import peers
from flowguard import csv
from metrics import aucpr, auroc
from report import Section

# Means over the 15 sets under the dte split (Livernoche et al., ICLR 2024, from their table).
PUBLISHED = {"kNN": 93.76, "DTE-NP": 93.58}
US = "flowguard"


def product_scores(run, train, test, seed):
    model, _ = run.flowguard.fit(csv(train), "--seed", seed)
    return run.flowguard.score(model, csv(test))


def methods(run, train, test, seed):
    """The scores of everyone on one split, higher where stranger."""
    ours = product_scores(run, train, test, seed)
    scores = {US: ours.by_likelihood, US + " by p-value": ours.by_p_value}
    return scores | {name: peers.strangeness(name, train, test, seed) for name in peers.TABULAR}


def judged(run, t, how, seed):
    """Training rows, test rows, labels and everyone's scores: worked out once a run."""
    def work_out():
        train, test, y = datasets.split(t, how, seed)
        return train, test, y, methods(run, train, test, seed)
    return run.once((t.name, how, seed), work_out)


def means(figures, sets, place=0):
    return float(np.mean([figures[s][place] for s in sets]))


def rank(run, how, tables):
    """AUROC and AUCPR in percent of each method on each set, mean over the seeds."""
    figures = {}  # method -> set -> (AUROC, AUCPR)
    for t in tables:
        found = {}
        for seed in run.seeds:
            _, _, y, scores = judged(run, t, how, seed)
            for who, score in scores.items():
                found.setdefault(who, []).append((100 * auroc(y, score), 100 * aucpr(y, score)))
            run.progress(f"{how} {t.name} seed {seed}: {found[US][-1][0]:.2f}")
        for who, values in found.items():
            figures.setdefault(who, {})[t.name] = np.mean(values, axis=0)
    return figures


def note_peers_ahead(s, figures, names, points):
    """Names the sets where the best peer is ahead by more than so many points."""
    for n in names:
        who, f = max(((p, figures[p][n][0]) for p in peers.TABULAR), key=lambda v: v[1])
        if f - figures[US][n][0] > points:
            s.notes.append(f"{n}: {f - figures[US][n][0]:.1f} points below {who}")


def ranking(run, how):
    about = {"dte": "the split behind the published table: the first half of the normal rows trains",
             "random": "a random half of the normal rows trains"}[how]
    s = Section(f"tabular-{how}", f"Tabular sets, {how} split",
                f"AUROC and AUCPR in percent, mean over {run.seed_text}; {about}.")
    tables = run.tables()
    figures = rank(run, how, tables)
    large = [t.name for t in tables if len(t.y) >= datasets.MIN_ROWS]
    rows = [[who, means(f, run.sets), means(f, run.sets, 1)]
            + ([means(f, large), means(f, large, 1)] if large else [None, None]) for who, f in figures.items()]
    is_whole = len(run.sets) == len(datasets.table_names(run.data))
    if how == "dte" and is_whole:
        rows += [[f"{m} (published)", v, None, None, None] for m, v in PUBLISHED.items()]
    s.table("Means", ["method", f"AUROC, {len(run.sets)} sets", "AUCPR", f"AUROC, {len(large)} of 1,000 rows and more",
                      "AUCPR"], rows)
    s.table("AUROC of each set", ["set", *figures],
            [[n] + [float(f[n][0]) for f in figures.values()] for n in run.sets], detail=True)
    ours = means(figures[US], run.sets)
    best = max((means(figures[p], run.sets), p) for p in peers.TABULAR)
    if how == "dte" and is_whole:
        best = max(best, *((v, m + " as published") for m, v in PUBLISHED.items()))
    s.goal(f"above the best peer, {best[1]}: {best[0]:.2f}", f"{ours:.2f}", ours > best[0])
    note_peers_ahead(s, figures, run.sets, points=1)
    return s


def losses(run, tables):
    """AUROC of each method on each set without and with anomalies among the training rows, mean over the seeds."""
    found = {}  # method -> set -> [(clean, contaminated)]
    for t in tables:
        for seed in run.seeds:
            train, test, y, clean = judged(run, t, "random", seed)
            anomalies = np.flatnonzero(y == 1)
            count = max(1, round(0.05 * anomalies.size))
            moved = np.random.default_rng([seed, 5]).choice(anomalies, count, replace=False)
            kept = np.setdiff1d(np.arange(len(y)), moved)
            order = np.random.default_rng([seed, 6]).permutation(len(train) + len(moved))
            dirty = np.vstack([train, test[moved]])[order]
            for who, score in methods(run, dirty, test[kept], seed).items():
                pair = 100 * auroc(y[kept], clean[who][kept]), 100 * auroc(y[kept], score)
                found.setdefault(who, {}).setdefault(t.name, []).append(pair)
            run.progress("contaminated {} seed {}: {:.2f} to {:.2f}".format(t.name, seed, *found[US][t.name][-1]))
    return {who: {n: np.mean(v, axis=0) for n, v in sets.items()} for who, sets in found.items()}


def contamination(run):
    s = Section("contamination", "Anomalies among the training rows",
                "5 % of the anomalies (at least one) train as if they were normal, under the random split; AUROC in "
                f"percent on the other rows, mean over {run.seed_text}. The same rows are scored without and "
                "with them.")
    mean = losses(run, run.tables())
    loss = {who: means(f, run.sets) - means(f, run.sets, 1) for who, f in mean.items()}
    s.table("Means", ["method", "clean", "contaminated", "loss"],
            [[who, means(f, run.sets), means(f, run.sets, 1), loss[who]] for who, f in mean.items()])
    s.table("Loss of each set", ["set", *mean],
            [[n] + [float(f[n][0] - f[n][1]) for f in mean.values()] for n in run.sets], detail=True)
    s.goal("loses at most 2 points", f"{loss[US]:.2f}", loss[US] <= 2)
    for n in run.sets:
        lost = mean[US][n][0] - mean[US][n][1]
        if lost > 2:
            s.notes.append(f"{n}: loses {lost:.1f} points (kNN {mean['kNN'][n][0] - mean['kNN'][n][1]:.1f})")
    return s
