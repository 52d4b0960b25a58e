"""How far a face's features lie from those of validation reals: what the network has not seen.

A score of a face unlike all that the network learned from says little. Distances are Mahalanobis'
in the network's last features (Lee et al., NeurIPS 2018), under the covariance of probabilistic
PCA (Tipping & Bishop 1999): the largest directions each by its own variance, all others by one,
so that few faces suffice and what leaves the usual directions counts.
"""

import base64
from typing import Any

import numpy as np

LEAST = 20
"""Fewer reals say too little of what is usual: nothing is stored."""

MOST = 1000
"""So many reals are looked at: a second of work, and more would move little."""

DIRECTIONS = 32
FOLDS = 5
SHARE = 0.99
"""Of the reals that are nearer than `limit`."""

Stored = dict[str, Any]
"""The checkpoint's key `features`: plain values and base64 of float32, so that any file holds it.

mean: [d]. basis: [k, d], orthonormal rows. variances: [k], largest first. rest: variance of each
other direction. limit: the distance that 1 % of reals exceed. n: reals. data: their name.
"""


def fit(features: np.ndarray, data: str) -> Stored | None:
    """What is usual, from features [n, d] of validation reals; None where they are too few.

    The limit comes from reals that the rest was not fitted on, block by block: rows that follow
    one another are mostly of one person, whose other faces would make them look near.
    """
    features = features[np.isfinite(features).all(axis=1)].astype(np.float64)
    n = len(features)
    if n < LEAST or features.shape[1] < 2:
        return None
    held_out = []
    for part in np.array_split(np.arange(n), FOLDS):
        others = np.delete(features, part, axis=0)
        held_out.append(_distances(*_fitted(others), features[part]))
    limit = float(np.quantile(np.concatenate(held_out), SHARE))
    mean, basis, variances, rest = _fitted(features)
    return {
        "mean": _text(mean),
        "basis": _text(basis),
        "variances": _text(variances),
        "rest": rest,
        "limit": limit,
        "n": n,
        "data": data,
    }


def distances(stored: Stored, features: np.ndarray) -> np.ndarray:
    """Distance [m] of features [m, d], to be held against `stored["limit"]`.

    Raises ValueError where what is stored is damaged or of another network.
    """
    mean, variances = _values(stored["mean"]), _values(stored["variances"])
    basis = _values(stored["basis"]).reshape(len(variances), -1)
    if basis.shape[1] != len(mean) or features.shape[1] != len(mean):
        raise ValueError(f"features of {features.shape[1]} values, stored are {len(mean)}")
    return _distances(mean, basis, variances, float(stored["rest"]), features.astype(np.float64))


def _fitted(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    n, d = features.shape
    mean = features.mean(axis=0)
    _, values, directions = np.linalg.svd(features - mean, full_matrices=False)
    # A direction needs a few faces to be known by; each fold has at least 16.
    k = min(DIRECTIONS, n // 4, d - 1)
    variances = values**2 / (n - 1)
    tiny = float(1e-6 * variances.sum() / d + 1e-12)
    rest = max(float(variances[k:].sum() / (d - k)), tiny)
    return mean, directions[:k], np.maximum(variances[:k], rest), rest


def _distances(
    mean: np.ndarray, basis: np.ndarray, variances: np.ndarray, rest: float, features: np.ndarray
) -> np.ndarray:
    centred = features - mean
    along = centred @ basis.T
    outside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    # In parts of the number of features: near 1 for the usual, whatever the network.
    return np.sqrt(((along**2 / variances).sum(axis=1) + outside / rest) / features.shape[1])


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def _values(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
