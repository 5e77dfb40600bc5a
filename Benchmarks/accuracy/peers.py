"""Baselines of scikit-learn: each is fitted to normal rows and says how strange other rows are.

Columns are standardised by the training rows first.
"""
import warnings

import numpy as np
from scipy.stats import f as f_distribution
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore", module="sklearn")


def knn(a, b, seed):
    return NearestNeighbors(n_neighbors=5).fit(a).kneighbors(b)[0][:, -1]


def lof(a, b, seed):
    return -LocalOutlierFactor(n_neighbors=20, novelty=True).fit(a).score_samples(b)


def forest(a, b, seed):
    return -IsolationForest(n_estimators=100, random_state=seed).fit(a).score_samples(b)


def mixture(a, b, seed):
    components = max(1, min(5, len(a) // (2 * a.shape[1])))
    return -GaussianMixture(components, reg_covar=1e-4, random_state=seed).fit(a).score_samples(b)


def precision(a):
    """Mean and inverse covariance of one Gaussian."""
    covariance = np.cov(a, rowvar=False).reshape(a.shape[1], -1)
    return a.mean(0), np.linalg.pinv(covariance + 1e-6 * np.eye(a.shape[1]))


def gaussian(a, b, seed):
    mean, inverse = precision(a)
    return np.einsum("ij,jk,ik->i", b - mean, inverse, b - mean)


# PCA with all components, each scaled by its deviation, is the Mahalanobis distance.
TABULAR = {"kNN": knn, "isolation forest": forest, "PCA (Mahalanobis)": gaussian,
           "Gaussian mixture": mixture, "LOF": lof}


def strangeness(name, train, test, seed):
    scaler = StandardScaler().fit(train)
    return np.asarray(TABULAR[name](scaler.transform(train), scaler.transform(test), seed), float)


def trailing_median(p, n):
    """Of 0/1 over the last n rows; the first n - 1 rows are 0."""
    out = np.zeros(len(p), int)
    out[n - 1:] = np.median(np.lib.stride_tricks.sliding_window_view(p, n), axis=1) == 1
    return out


def trailing_mean(x, n):
    total = np.cumsum(np.vstack([np.zeros((1, x.shape[1])), x]), axis=0)
    first = np.maximum(np.arange(len(x)) + 1 - n, 0)
    last = np.arange(len(x)) + 1
    return (total[last] - total[first]) / (last - first)[:, None]


def sensors_forest(a, b):
    """As in the notebook behind SKAB's leaderboard: trailing median of 3 verdicts."""
    m = IsolationForest(random_state=0, contamination=0.0005).fit(a)
    return trailing_median((m.predict(b) == -1).astype(int), 3), -m.score_samples(b)


def t_squared_limit(n, m, share=0.999):
    return m * (n - 1) * (n + 1) / (n * (n - m)) * f_distribution.ppf(share, m, n - m)


def sensors_t2(a, b):
    """Hotelling's T²: alarm at twice the limit of a trailing median of 5."""
    keep = a.std(0) > 0
    a, b = a[:, keep], b[:, keep]
    mean, deviation = a.mean(0), a.std(0)
    a, b = (a - mean) / deviation, (b - mean) / deviation
    t2 = np.einsum("ij,jk,ik->i", b, np.linalg.inv(np.cov(a, rowvar=False)), b)
    smooth = np.full(len(t2), -np.inf)
    smooth[4:] = np.median(np.lib.stride_tricks.sliding_window_view(t2, 5), axis=1)
    return (smooth > 2 * t_squared_limit(*a.shape)).astype(int), t2


def sensors_t2q(a, b):
    """T² of the components that hold 85 % of the variance, and the squared residual Q.

    Each is divided by its limit (T²: F distribution, Q: Jackson and Mudholkar; both at 0.999); the larger of the two
    is the score. Alarm as T² alone: twice the limit, a trailing median of 5.
    """
    keep = a.std(0) > 0
    scaler = StandardScaler().fit(a[:, keep])
    a, b = scaler.transform(a[:, keep]), scaler.transform(b[:, keep])
    variance, axes = np.linalg.eigh(np.cov(a, rowvar=False))
    variance, axes = variance[::-1], axes[:, ::-1]
    k = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.85)) + 1
    z = b @ axes
    t2 = (z[:, :k] ** 2 / variance[:k]).sum(1) / t_squared_limit(len(a), k)
    th = [(variance[k:] ** i).sum() for i in (1, 2, 3)]
    h = 1 - 2 * th[0] * th[2] / (3 * th[1] ** 2)
    root = 3.09 * np.sqrt(2 * th[1] * h * h) / th[0] + 1 + th[1] * h * (h - 1) / th[0] ** 2
    limit = th[0] * root ** (1 / h)
    score = np.maximum(t2, (z[:, k:] ** 2).sum(1) / limit)
    smooth = np.full(len(score), -np.inf)
    smooth[4:] = np.median(np.lib.stride_tricks.sliding_window_view(score, 5), axis=1)
    return (smooth > 2).astype(int), score


def cross_fitted(method):
    """Alarm beyond the most extreme training row, each half of the training rows scored by the other."""
    def detect(a, b):
        scaler = StandardScaler().fit(a)
        a, b = scaler.transform(a), scaler.transform(b)
        half = len(a) // 2
        limit = max(method(a[half:], a[:half], 0).max(), method(a[:half], a[half:], 0).max())
        score = method(a, b, 0)
        return trailing_median((score > limit).astype(int), 5), score
    return detect


def on_means(detect, n=5):
    """On trailing means of n rows; the training rows precede the test rows."""
    def smoothed(a, b):
        m = trailing_mean(np.vstack([a, b]), n)
        return detect(m[: len(a)], m[len(a):])
    return smoothed


SENSORS = {"T²": sensors_t2, "T²+Q (PCA)": sensors_t2q, "isolation forest": sensors_forest,
           "kNN": cross_fitted(knn), "Gaussian mixture": cross_fitted(mixture)}
SENSORS |= {name + ", means of 5 rows": on_means(SENSORS[name]) for name in ("T²", "kNN", "Gaussian mixture")}
