"""Measures of ranking and of calibration."""
import numpy as np
from scipy import stats


def auroc(y, s):
    """Area under the ROC curve; ties count one half."""
    n1 = int(y.sum())
    ranks = stats.rankdata(s)
    return float((ranks[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(y) - n1)))


def aucpr(y, s):
    """Average precision, tied scores taken together."""
    order = np.argsort(-s, kind="stable")
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    hits = np.cumsum(y[order])[last]
    return float(np.sum(np.diff(np.append(0, hits / y.sum())) * hits / (last + 1)))


def counts(y, p):
    """Hits, correct rejections, false alarms, misses."""
    return np.array([((y == a) & (p == b)).sum() for a, b in ((1, 1), (0, 0), (0, 1), (1, 0))])


def rates(c):
    """F1, false-alarm rate and miss rate in percent."""
    tp, tn, fp, fn = (float(v) for v in c)
    f1 = tp / (tp + (fn + fp) / 2) if tp + fn + fp else 0.0
    return f1, 100 * fp / max(fp + tn, 1), 100 * fn / max(fn + tp, 1)


def binomial_interval(n, alpha, level=0.99):
    """Shares of n records between which the true probability alpha lies at this level, exact."""
    n = max(round(n), 1)
    return tuple(stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], n, alpha) / n)


def conformal_interval(n, alpha, n_cal, level=0.99):
    """As above for a p-value that is a rank among n_cal records: their draw, too, is random.

    The probability that a new record falls below the k-th of n_cal is Beta(k, n_cal + 1 - k), with
    k = alpha (n_cal + 1); the count among n new records is beta-binomial.
    """
    n = max(round(n), 1)
    k = alpha * (n_cal + 1)
    return tuple(stats.betabinom.ppf([(1 - level) / 2, (1 + level) / 2], n, k, n_cal + 1 - k) / n)


def effective_size(indicator):
    """How many independent records a correlated 0/1 series is worth.

    n / tau, with the integrated autocorrelation time tau = 1 + 2 sum rho(k) cut off where the sum of two neighbouring
    autocorrelations is no longer positive (Geyer's initial positive sequence), at most n / 10 lags.
    """
    n = len(indicator)
    c = indicator - indicator.mean()
    if not c.any():
        return n
    power = np.abs(np.fft.rfft(c, 2 * n)) ** 2
    rho = np.fft.irfft(power)[: max(n // 10, 3)]
    rho = rho / rho[0]
    pairs = rho[1:-1:2] + rho[2::2]
    stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    return n / max(1 + 2 * pairs[:stop].sum(), 1)
