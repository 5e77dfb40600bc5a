"""SKAB valve1: a water circuit with faults, by the protocol behind its leaderboard, without looking ahead."""
import numpy as np

import datasets
import peers
from metrics import auroc, counts, rates
from report import Section

# F1, FAR, MAR on valve1, computed from the predictions that SKAB stores.
PUBLISHED = {"T²+Q": (0.760, 23.89, 26.09), "MSET": (0.779, 38.53, 14.98), "T²": (0.646, 19.94, 44.05),
             "isolation forest": (0.206, 1.14, 88.38)}


def valve1(run):
    s = Section("skab", "SKAB valve1",
                "The first 400 rows of each file train, without labels; the others are judged in order, with the "
                "training rows as their past. F1, false-alarm rate and miss rate from counts summed over the files; "
                "AUROC in percent is the mean over the files.")
    rows = datasets.SKAB_TRAIN_ROWS
    total, ranks = {}, {}
    for f in run.some(datasets.skab(run.data), 2):
        y = f.y[rows:]
        model, _ = run.flowguard.fit(f.csv(slice(rows)), "--time", "datetime", "--seed", run.seeds[0])
        ours = run.flowguard.score(model, f.csv()).rows(slice(rows, None))
        found = {"flowguard": (ours.anomaly, ours.by_likelihood),
                 "flowguard by p-value": (ours.anomaly, ours.by_p_value)}
        found |= {name: detect(f.x[:rows], f.x[rows:]) for name, detect in peers.SENSORS.items()}
        found["always an alarm"] = np.ones(len(y), int), np.zeros(len(y))
        for who, (p, score) in found.items():
            total.setdefault(who, []).append(counts(y, p))
            ranks.setdefault(who, []).append(100 * auroc(y, score))
        run.progress(f"valve1/{f.name}: {ranks['flowguard'][-1]:.2f}")
    table = []
    for who in total:
        f1, far, mar = rates(np.sum(total[who], axis=0))
        table.append([who, f"{f1:.3f}", far, mar, float(np.mean(ranks[who]))])
    table += [[f"{m} (published)", f"{v[0]:.3f}", v[1], v[2], None] for m, v in PUBLISHED.items()]
    s.table("All files", ["method", "F1", "FAR %", "MAR %", "AUROC"], table)
    s.table("AUROC of each file", ["file", *ranks],
            [[f.name] + [v[i] for v in ranks.values()] for i, f in enumerate(run.some(datasets.skab(run.data), 2))],
            detail=True)
    f1, far, _ = rates(np.sum(total["flowguard"], axis=0))
    rank = float(np.mean(ranks["flowguard"]))
    s.goal("mean AUROC above 85", f"{rank:.2f}", rank > 85)
    s.goal("F1 above 0.76 at FAR of at most 24 %", f"{f1:.3f} at {far:.1f} %", f1 > 0.76 and far <= 24)
    return s
