"""Labels and scores -> ROC, precision and recall, calibration: plain arrays in, plain arrays out.

Weights say how often each row counts. They may be [n], or [draws, n] for many draws of a bootstrap
at once: everything runs along the last axis. What is undefined is NaN.
"""

from typing import Any

import numpy as np

REAL, FAKE = 0, 1

LEAST = 20
"""A temperature is fitted on so many reals and so many fakes at the least."""

TEMPERATURES = (0.05, 20.0)
"""Between these it is looked for."""

BINS = 15
"""Equal-width bins of the calibration error, as in Guo et al. (ICML 2017)."""

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


# --------------------------------------------------------------------------------- curves


def roc(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """False-alarm rate, hit rate and threshold at each distinct score, from (0, 0) to (1, 1)."""
    false_alarms, hits, steps = _of(labels, scores)
    if false_alarms[-1] == 0 or hits[-1] == 0:
        raise ValueError("a ROC curve needs reals and fakes")
    return false_alarms / false_alarms[-1], hits / hits[-1], steps


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """Precision, recall and threshold at each distinct score, recall rising."""
    false_alarms, hits, steps = _of(labels, scores)
    if hits[-1] == 0:
        raise ValueError("a precision-recall curve needs fakes")
    return hits[1:] / (hits[1:] + false_alarms[1:]), hits[1:] / hits[-1], steps[1:]


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = BINS) -> Curve:
    """What share of each bin is fake: rows [bins], mean score [bins] and share of fakes [bins].

    Bins are of equal width and closed above, as Guo et al.'s; an empty one is NaN.
    """
    places = np.searchsorted(_edges(bins), scores)
    count = np.bincount(places, minlength=bins)
    score = np.bincount(places, scores, bins)
    fakes = np.bincount(places, labels == FAKE, bins)
    return count, ratio(score, count), ratio(fakes, count)


# -------------------------------------------------------------------------------- numbers


def cumulated(fake: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> Curve:
    """Cumulated weight of reals and of fakes at or above each distinct score, highest first.

    fake: [n] bool. scores: [n], falling. weights: [..., n]. Returns false alarms and hits,
    [..., k + 1], and the k distinct scores behind an infinite one.
    """
    if len(scores) == 0:
        nothing = np.zeros((*weights.shape[:-1], 1))
        return nothing, nothing, np.array([np.inf])
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # ties move together
    false_alarms, hits = (np.zeros((*weights.shape[:-1], len(scores) + 1)) for _ in range(2))
    np.cumsum(weights * (~fake).astype(float), axis=-1, out=false_alarms[..., 1:])
    np.cumsum(weights * fake.astype(float), axis=-1, out=hits[..., 1:])
    if len(ends) < len(scores):
        steps = np.append(0, ends + 1)
        false_alarms, hits = (np.take(side, steps, axis=-1) for side in (false_alarms, hits))
    return false_alarms, hits, np.append(np.inf, scores[ends])


def auc(false_alarms: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Area under the ROC; the arguments are those of cumulated(), here and below."""
    area = np.trapezoid(hits, false_alarms, axis=-1)
    return ratio(area, false_alarms[..., -1] * hits[..., -1])


def equal_error(
    false_alarms: np.ndarray, hits: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The equal error rate and its threshold, linear between the two points that enclose it."""
    alarm = ratio(false_alarms, false_alarms[..., -1:])
    miss = 1 - ratio(hits, hits[..., -1:])
    after = np.argmax(alarm >= miss, axis=-1)  # alarm rises and miss falls, so one crossing
    before = after - 1
    gap_before = _at(miss, before) - _at(alarm, before)
    gap_after = _at(alarm, after) - _at(miss, after)
    part = ratio(gap_before, gap_before + gap_after)
    rate = _at(alarm, before) + part * (_at(alarm, after) - _at(alarm, before))
    upper = np.where(np.isfinite(steps[before]), steps[before], 1.0)
    return rate, upper + part * (steps[after] - upper)


def average_precision(false_alarms: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Area under precision over recall, as steps."""
    called = hits[..., 1:] + false_alarms[..., 1:]
    precision = hits[..., 1:] / np.maximum(called, np.finfo(float).tiny)  # of none called: 0 hits
    return ratio((np.diff(hits, axis=-1) * precision).sum(axis=-1), hits[..., -1])


def hit_rate_at(rate: float, false_alarms: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The highest hit rate of a threshold with at most this rate of false alarms.

    A step of the curve and nothing between two: no threshold gives what lies between.
    """
    alarm = ratio(false_alarms, false_alarms[..., -1:])
    last = (alarm <= rate).sum(axis=-1) - 1
    found = ratio(_at(hits, last), hits[..., -1])
    return np.where(false_alarms[..., -1] > 0, found, np.nan)


def calibration_error(fake: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error: |mean score - share of fakes|, averaged over reliability()'s
    bins by their weight. Guo et al.'s with the fake score as the confidence in FAKE.
    """
    if len(scores) == 0:
        return np.full(weights.shape[:-1], np.nan)
    # Scores fall, so bins are runs, and each begins behind those that score above its upper edge.
    starts = np.unique(np.append(0, np.searchsorted(-scores, -_edges(BINS))))
    gaps = np.add.reduceat(weights * (fake - scores), starts[starts < len(scores)], axis=-1)
    return ratio(np.abs(gaps).sum(axis=-1), weights.sum(axis=-1))


def ratio(part: Any, whole: Any) -> np.ndarray:
    """A part of a whole; of nothing it is undefined, NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)


# ---------------------------------------------------------------------------- calibration


def fit_temperature(labels: np.ndarray, scores: np.ndarray) -> tuple[float, str]:
    """The temperature that makes scores the best probabilities, and how it came about, in words.

    One scalar, the least mean cross-entropy of `tempered` (Guo et al., ICML 2017). Where none can
    be fitted it is 1, and the words say why. labels: [n]. scores: [n], of rows that nothing was
    trained on.
    """
    from scipy.optimize import minimize_scalar  # half a second, which a verdict has no use for

    fake = labels == FAKE
    for name, count in (("reals", int((~fake).sum())), ("fakes", int(fake.sum()))):
        if count < LEAST:
            return 1.0, f"not fitted: {count} {name}, and it takes {LEAST} of each class"

    def loss(log_temperature: float) -> float:
        margins = np.where(fake, 1, -1) * _logits(scores) / np.exp(log_temperature)
        return float(np.logaddexp(0, -margins).mean())

    # In 1 / temperature the loss is convex, so there is one lowest point, here or at an end.
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    if found.x < low + 1e-3:
        return 1.0, "not fitted: hardly a row is on the wrong side of 0.5, so sharper looks better"
    if found.x > high - 1e-3:
        return 1.0, "not fitted: these scores tell fake from real no better than guessing"
    return float(np.exp(found.x)), f"fitted: log loss {loss(0.0):.4f} -> {found.fun:.4f}"


def tempered(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Scores [n] whose logits are divided by a temperature; their order stays."""
    if temperature == 1:
        return scores
    from scipy.special import expit

    return expit(_logits(scores) / temperature)


# --------------------------------------------------------------------------- small pieces


def _logits(scores: np.ndarray) -> np.ndarray:
    from scipy.special import logit

    step = np.finfo(float).eps  # a score of 0 or 1 has no logit: the next one's, as in metrics.py
    return logit(np.clip(scores, step, 1 - step))


def ranked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows are fake, [n], and their scores, [n], falling; and the order that sorted them."""
    order = np.argsort(-scores, kind="stable")
    return labels[order] == FAKE, scores[order], order


def _of(labels: np.ndarray, scores: np.ndarray) -> Curve:
    fake, scores, _ = ranked(labels, scores)
    return cumulated(fake, scores, np.ones(len(scores)))


def _edges(bins: int) -> np.ndarray:
    """Where one of the equal bins of 0..1 ends and the next begins."""
    return np.linspace(0, 1, bins + 1)[1:-1]


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One value a draw, along the last axis."""
    return np.take_along_axis(values, np.asarray(index)[..., None], axis=-1)[..., 0]
