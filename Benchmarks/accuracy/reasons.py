"""Reasons of anomalies: faults are planted in known columns, and the column named first is compared."""
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

import datasets
import peers
from flowguard import csv
from report import Section

SHIFT = 5
COLUMNS, SINGLE, DOUBLE = 6, 40, 20  # columns tried a set, faults of one column, of two
BUDGET = 0.1  # the largest that fit takes: nearly every fault is an anomaly then, and has reasons


@dataclass
class Faults:
    """Rows with planted faults beside the rows as they were."""
    rows: np.ndarray
    original: np.ndarray
    planted: list  # the columns of each
    deviation: np.ndarray  # of each column given the others


def grid(column):
    """The step that all values are multiples of, 0 without one: to six decimals."""
    for digits in range(7):
        whole = np.round(column * 10**digits)
        if np.allclose(whole, column * 10**digits, rtol=0, atol=1e-6):
            step = np.gcd.reduce(np.diff(np.unique(whole)).astype(np.int64))
            return step / 10**digits
    return 0.0


def conditional(train, rows, j):
    """Mean of column j given the others for these rows, and its deviation, by boosted trees.

    The trees are fitted to half of the training rows; the deviation is that of the residuals on the other half.
    """
    others = np.arange(train.shape[1]) != j
    half = len(train) // 2
    trees = HistGradientBoostingRegressor(max_iter=100, min_samples_leaf=10, random_state=0)
    trees.fit(train[:half][:, others], train[:half, j])
    residual = train[half:, j] - trees.predict(train[half:][:, others])
    return trees.predict(rows[:, others]), float(np.sqrt(np.mean(residual**2)))


def plant(train, normal, seed):
    """Faults of 5 deviations: x_j becomes E[x_j | others] ± 5 sigma_j, put back on the column's grid.

    The sign is random, but never the one that would leave the value where it was.
    """
    rng = np.random.default_rng([seed, 11])
    usable = [j for j in range(train.shape[1]) if np.unique(train[:, j]).size > 1]
    columns = rng.choice(usable, min(COLUMNS, len(usable)), replace=False)
    rows = normal[rng.choice(len(normal), min(SINGLE + DOUBLE, len(normal)), replace=False)]
    faults = Faults(rows.copy(), rows, [], np.zeros(train.shape[1]))
    expected = {}
    for j in columns:
        expected[j], faults.deviation[j] = conditional(train, rows, j)
    for i in range(len(rows)):
        count = 1 if i < SINGLE or len(columns) < 2 else 2
        chosen = rng.choice(columns, count, replace=False)
        for j in chosen:
            step = grid(train[:, j])
            shift = max(SHIFT * faults.deviation[j], step)
            options = [expected[j][i] + sign * shift for sign in rng.permutation([-1, 1])]
            if step:
                options = [train[0, j] + round((v - train[0, j]) / step) * step for v in options]
            far = [v for v in options if abs(v - rows[i, j]) >= shift / 2]
            faults.rows[i, j] = far[0] if far else max(options, key=lambda v: abs(v - rows[i, j]))
        faults.planted.append(set(int(j) for j in chosen))
    return faults


# Each peer: rows by columns, what it blames each column for, and the value that it expected. Standardised columns.

def knn(a, b):
    near = NearestNeighbors(n_neighbors=5).fit(a).kneighbors(b)[1]
    expected = a[near].mean(1)
    return np.abs(b - expected), expected


def gaussian(a, b):
    mean, inverse = peers.precision(a)
    pull, own = (b - mean) @ inverse, np.diag(inverse)
    return pull**2 / (2 * own), b - pull / own


def by_replacing(score, b, candidates):
    """The gain of the best candidate in each column's place; candidates are [option, row, column]."""
    gain, expected = np.full(b.shape, -np.inf), b.copy()
    for option in candidates:
        for j in range(b.shape[1]):
            tried = b.copy()
            tried[:, j] = option[:, j]
            g = score(tried) - score(b)
            better = g > gain[:, j]
            gain[better, j], expected[better, j] = g[better], option[better, j]
    return gain, expected


def mixture(a, b):
    m = GaussianMixture(max(1, min(5, len(a) // (2 * a.shape[1]))), reg_covar=1e-4, random_state=0).fit(a)
    candidates = [b - (b - mean) @ p / np.diag(p) for mean, p in zip(m.means_, m.precisions_)]
    return by_replacing(m.score_samples, b, candidates)


def forest(a, b):
    m = IsolationForest(random_state=0).fit(a)
    return by_replacing(m.score_samples, b, [np.broadcast_to(np.median(a, 0), b.shape)])


PEERS = {"kNN": knn, "isolation forest": forest, "PCA (one Gaussian)": gaussian, "Gaussian mixture": mixture}


def judge(train, faults, who, named, expected, common):
    """Of the faults that have reasons: planted column first, both of two first, and how near the expected value is.

    The faults in common are those that flowguard has reasons for.
    """
    has = [i for i, n in enumerate(named) if n is not None]
    first = {i: named[i][0] in faults.planted[i] for i in has}
    both = [set(named[i][:2]) == faults.planted[i] for i in has if len(faults.planted[i]) == 2]
    gaps = []
    for i in has:
        if len(faults.planted[i]) == 1:
            (j,) = faults.planted[i]
            x, sigma = faults.original[i, j], max(faults.deviation[j], 1e-12)
            gaps.append((abs(expected[i][j] - x) / sigma, abs(train[:, j].mean() - x) / sigma))
    return dict(who=who, faults=len(named), has=len(has), first=sum(first.values()), common=len(common),
                first_common=sum(first[i] for i in common), two=len(both), both=sum(both),
                gaps=np.array(gaps).reshape(-1, 2))


def ours(run, train, faults, seed):
    """Columns by contribution and the expected value of each; p-values of all."""
    model, _ = run.flowguard.fit(csv(train), "--seed", seed, "--false-alarm-probability", BUDGET)
    named, expected, p = [], [], []
    for line in run.flowguard.explain(model, csv(faults.rows)):
        features = line.get("features")
        order = [int(f["name"][1:]) for f in features] if features else None
        named.append(order)
        expected.append({j: f["expected"] for j, f in zip(order, features)} if features else {})
        p.append(line["p_value"])
    return named, expected, np.array(p)


def share(part, whole):
    return 100 * part / whole if whole else float("nan")


def nearer(gaps):
    return share((gaps[:, 0] < gaps[:, 1]).sum(), len(gaps))


def distances(gaps):
    """Medians over the faults: of the expected value from the original, and of the column's mean."""
    return np.median(gaps, axis=0).tolist() if len(gaps) else [float("nan")] * 2


def reasons(run):
    seed = run.seeds[0]
    s = Section("reasons", "Reasons",
                "Faults are planted in held-out normal rows of the random split: in one column or two, the value "
                f"becomes the conditional mean given the other columns plus or minus {SHIFT} conditional deviations "
                "(boosted trees on half of the training rows, residuals of the other half), put back on the column's "
                "grid. Who calls the planted column first, and how far the expected value is from the original, in "
                "conditional deviations (mean of the sets' medians). An anomaly of the default budget has p of at most "
                f"0.001; reasons are read at a budget of {BUDGET:g}, so that weaker faults have them too. The peers, "
                "which have reasons for any row, are compared on the same faults; 'of all' takes one without reasons "
                "for a miss.")
    judged, rows = {}, []
    for name in run.sets:
        train, test, y = datasets.split(datasets.table(run.data, name), "random", seed)
        faults = plant(train, test[y == 0], seed)
        named, expected, p = ours(run, train, faults, seed)
        common = [i for i, n in enumerate(named) if n is not None]
        verdicts = [judge(train, faults, "flowguard", named, expected, common)]
        scaler = StandardScaler().fit(train)
        for who, explain in PEERS.items():
            blame, value = explain(scaler.transform(train), scaler.transform(faults.rows))
            order = list(np.argsort(-blame, 1))
            verdicts.append(judge(train, faults, who, order, scaler.inverse_transform(value), common))
        for v in verdicts:
            judged.setdefault(v["who"], {})[name] = v
        us = verdicts[0]
        first = [share(v["first_common"], len(common)) for v in verdicts]
        rows.append([name, us["faults"], int((p <= 0.001).sum()), us["has"], *first,
                     nearer(us["gaps"]), *distances(us["gaps"])])
        run.progress(f"reasons {name}: first in {rows[-1][4]:.0f} % of {us['has']} of {us['faults']}")
    total = []
    for who, sets in judged.items():
        v = list(sets.values())
        add = lambda key: sum(w[key] for w in v)
        gaps = np.vstack([w["gaps"] for w in v])
        total.append([who, add("faults"), add("has"), share(add("first_common"), add("common")),
                      share(add("first"), add("faults")), share(add("both"), add("two")), nearer(gaps),
                      *np.nanmean([distances(w["gaps"]) for w in v], axis=0).tolist()])
    s.table("All sets", ["method", "faults", "with reasons", "planted first %", "of all faults %", "both of two %",
                         "nearer than the mean %", "distance", "of the mean"], total)
    s.table("Each set", ["set", "faults", "p <= 0.001", "with reasons", "first %", *(f"{p} %" for p in PEERS),
                         "nearer %", "distance", "of the mean"], rows, detail=True)
    us = total[0]
    s.goal("planted column first in at least 90 % of the faults",
           f"{us[3]:.1f} % of {us[2]} with reasons; {us[4]:.1f} % of all", us[3] >= 90)
    near = sum(r[-2] < r[-1] for r in rows)
    s.goal("expected value nearer to the original than the column's mean",
           f"in {us[6]:.1f} % of the faults; by the median in {near} of {len(rows)} sets",
           us[6] > 50 and near == len(rows))
    for r in rows:
        if r[4] < 90:
            best = max(zip(PEERS, r[5:5 + len(PEERS)]), key=lambda v: v[1])
            s.notes.append(f"{r[0]}: planted column first in {r[4]:.0f} % (best peer, {best[0]}: {best[1]:.0f} %)")
    s.notes.append(f"{sum(r[2] for r in rows)} of the {us[1]} faults are anomalies at the default budget")
    timing(run, s)
    return s


def timing(run, s):
    """How long reasons take at 16 features."""
    seed = run.seeds[0]
    train, test, y = datasets.split(datasets.table(run.data, "pendigits"), "random", seed)
    model, _ = run.flowguard.fit(csv(train), "--seed", seed, "--false-alarm-probability", BUDGET)
    text = csv(np.vstack([test[y == 1]] * 4))
    with_reasons = min(run.flowguard.seconds(run.flowguard.explain, model, text) for _ in range(3))
    without = min(run.flowguard.seconds(run.flowguard.read_only, model, text) for _ in range(3))
    count = sum(line["anomaly"] for line in run.flowguard.explain(model, text))
    each = 1e3 * (with_reasons - without) / max(count, 1)
    s.goal("less than 5 ms an anomaly at 16 features (pendigits)", f"{each:.2f} ms, mean of {count}", each < 5)
