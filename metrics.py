"""Scores -> numbers: what a detector's fake scores are worth, with 95 % intervals.

    python metrics.py log/quickstart/test/scores.csv
    python metrics.py scores.csv --threshold 0.3 --bootstrap 5000

FAKE = 1 is the positive class; a score says how fake, 0..1. Everything here is computed over
the whole set at once (never averaged over batches) and needs NumPy alone.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REAL, FAKE = 0, 1

NAMES = {
    "loss": ("Loss", "mean cross-entropy, natural logarithm; lower is better"),
    "accuracy": ("Accuracy", "share of faces called rightly"),
    "precision": ("Precision", "of those called fake, the share that is fake"),
    "recall": ("Recall", "of the fakes, the share that was found"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "false_positive_rate": ("False alarms", "of the reals, the share called fake"),
    "auc": ("AUC", "chance that a fake scores above a real; 0.5 is guessing"),
    "eer": ("EER", "error rate where false alarms and misses are equal"),
    "average_precision": ("Average precision", "area under precision over recall"),
    "log_loss": (
        "Log loss",
        "cross-entropy of the scores as probabilities; ln 2 = 0.693 knows nothing",
    ),
}
"""Key of each metric -> its name in tables and one line that says what it means."""

THRESHOLD = 0.5
"""The threshold of headline figures."""

AT_THRESHOLD = ("accuracy", "precision", "recall", "f1", "false_positive_rate")
"""The metrics that depend on a threshold; the others judge the order or size of the scores."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds fitted on validation scores, and the name of the data they come from.

    `threshold` is where false alarms and misses are equal; `t_low`: 5 % of the fakes score
    below; `t_high`: 5 % of the reals score above. Between the two, or where they cross, a score
    is inconclusive.
    """

    threshold: float
    t_low: float
    t_high: float
    data: str
    unit: str = "face"
    """What was scored: single faces, whole tracks or clips."""
    temperature: float = 1.0
    """What logits are divided by before they are read as probabilities; 1: not calibrated."""


NO_THRESHOLDS = Thresholds(float("nan"), float("nan"), float("nan"), "no validation yet")


@dataclass(frozen=True)
class Summary:
    """The numbers of one set: values at `threshold`, and their 95 % intervals by group."""

    n: int
    real: int
    fake: int
    groups: int
    grouped_by: str
    threshold: float
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    confusion: dict[str, int] = field(default_factory=dict)


# --------------------------------------------------------------------------------- inputs


def read_scores(path: Path | str) -> pd.DataFrame:
    """Read a scores.csv: the manifest's keys, `label` (0 real, 1 fake) and `score` (0..1).

    Raises ValueError that names the file and the first offending row.
    """
    text = dict.fromkeys(
        ("path", "split", "video", "identity", "source", "method", "source_path"), str
    )
    try:
        frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"score": [""]})
        if not isinstance(frame.index, pd.RangeIndex):  # pandas would shift the columns
            raise ValueError("the rows have more cells than the first line")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as scores: {error}") from None
    missing = {"path", "label", "score"} - set(frame.columns)
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; has {', '.join(frame)}")
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(float)
    label = pd.to_numeric(frame["label"], errors="coerce").to_numpy(float)
    bad = ~(np.isin(label, (REAL, FAKE)) & (score >= 0) & (score <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{path}: row {row + 2}: label {str(frame['label'][row])!r}, score "
            f"{str(frame['score'][row])!r}; a label is 0 or 1, a score within 0..1"
        )
    if len(frame) == 0:
        raise ValueError(f"{path}: holds no scores")
    return frame.assign(label=label.astype(int), score=score)


def grouping(frame: pd.DataFrame) -> tuple[np.ndarray, str]:
    """The unit that the bootstrap draws: a person where known, else a video, else a picture.

    Returns integer codes, one a row, and the name of the unit.
    """
    for column in ("identity", "video"):
        if column in frame and (frame[column].astype(str) != "").all():
            source = frame["source"].astype(str) if "source" in frame else ""
            return pd.factorize(source + "\x1f" + frame[column].astype(str))[0], column
    origin = frame["path"].astype(str)
    if "source_path" in frame:  # a fake and its original are one draw
        linked = frame["source_path"].astype(str)
        origin = linked.where(linked != "", origin)
    return pd.factorize(origin)[0], "picture"


# ----------------------------------------------------------------------------------- work


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.5,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of NAMES over one set.

    labels: [n] of 0 and 1. scores: [n] within 0..1. weights: [n], how often each row counts
    (the bootstrap's draws). A metric that is undefined (AUC of one class, precision where nothing
    was called fake) is NaN, never a made-up number.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(float)
    fake = labels == FAKE
    called = scores >= threshold
    tp, fp = weights[fake & called].sum(), weights[~fake & called].sum()
    fn, tn = weights[fake & ~called].sum(), weights[~fake & ~called].sum()
    # Scores are stored as float64; clip at its smallest step from 0 and 1, as scikit-learn does.
    clipped = np.clip(scores, np.finfo(float).eps, 1 - np.finfo(float).eps)
    losses = -np.where(fake, np.log(clipped), np.log1p(-clipped))
    loss = _ratio((weights * losses).sum(), weights.sum())
    false_alarms, hits, steps = _curve(fake, scores, weights)
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    return {
        "loss": loss,
        "accuracy": _ratio(tp + tn, weights.sum()),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "false_positive_rate": _ratio(fp, fp + tn),
        "auc": _auc(false_alarms, hits),
        "eer": _eer(false_alarms, hits, steps)[0],
        "average_precision": _average_precision(false_alarms, hits),
        "log_loss": loss,
    }


def called(score: float, threshold: float = THRESHOLD) -> str:
    """`FAKE` from the threshold on, `REAL` below it."""
    return "FAKE" if score >= threshold else "REAL"


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> dict[str, int]:
    """Counts tn, fp, fn, tp; a score at or above the threshold is called fake."""
    fake, called = labels == FAKE, scores >= threshold
    return {
        "tn": int((~fake & ~called).sum()),
        "fp": int((~fake & called).sum()),
        "fn": int((fake & ~called).sum()),
        "tp": int((fake & called).sum()),
    }


def roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-alarm rate, hit rate and threshold at each distinct score, from (0, 0) to (1, 1)."""
    false_alarms, hits, steps = _curve(labels == FAKE, scores, np.ones(len(labels)))
    if false_alarms[-1] == 0 or hits[-1] == 0:
        raise ValueError("a ROC curve needs reals and fakes")
    return false_alarms / false_alarms[-1], hits / hits[-1], steps


def precision_recall(
    labels: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and threshold at each distinct score, recall rising."""
    false_alarms, hits, steps = _curve(labels == FAKE, scores, np.ones(len(labels)))
    if hits[-1] == 0:
        raise ValueError("a precision-recall curve needs fakes")
    return hits[1:] / (hits[1:] + false_alarms[1:]), hits[1:] / hits[-1], steps[1:]


def fit_thresholds(labels: np.ndarray, scores: np.ndarray, data: str) -> Thresholds:
    """Fit the thresholds on validation scores; NaN where a class is missing."""
    fakes, reals = scores[labels == FAKE], scores[labels == REAL]
    if len(fakes) == 0 or len(reals) == 0:
        return Thresholds(float("nan"), float("nan"), float("nan"), data)
    curve = _curve(labels == FAKE, scores, np.ones(len(labels)))
    return Thresholds(
        threshold=_eer(*curve)[1],
        t_low=float(np.quantile(fakes, 0.05)),
        t_high=float(np.quantile(reals, 0.95)),
        data=data,
    )


def bootstrap(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals, drawing whole groups (persons) with replacement.

    Rows of one person are alike, so drawing rows would promise more certainty than there is.
    A draw in which a metric is undefined does not count for it. Where all draws are equal (no
    false alarm among 16 reals, say) they say nothing about how wrong the number may be: rates then
    get the exact binomial interval for that many groups (Clopper & Pearson 1934), other metrics
    none (NaN). Fewer than two groups give NaN.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    if resamples == 0:
        return {}
    if count < 2:
        return dict.fromkeys(NAMES, (float("nan"), float("nan")))
    random = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in NAMES}
    exact = _exact_rates(labels == FAKE, scores >= threshold, codes)
    order = np.argsort(-scores, kind="stable")  # sorted once, so that each draw sorts nothing
    labels, scores, codes = labels[order], scores[order], codes[order]
    for _ in range(resamples):
        times = np.bincount(random.integers(0, count, count), minlength=count)
        for name, value in evaluate(labels, scores, threshold, times[codes]).items():
            draws[name].append(value)
    result = {}
    for name, values in draws.items():
        defined = np.asarray(values)[np.isfinite(values)]
        low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (np.nan, np.nan)
        if high - low < 1e-12:  # equal but for the order of summation
            low, high = exact.get(name, (np.nan, np.nan))
        result[name] = (float(low), float(high))
    return result


def summarise(frame: pd.DataFrame, threshold: float = 0.5, resamples: int = 2000) -> Summary:
    """The numbers of a scores table; `frame` as read_scores returns it."""
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    groups, unit = grouping(frame)
    return Summary(
        n=len(frame),
        real=int((labels == REAL).sum()),
        fake=int((labels == FAKE).sum()),
        groups=len(np.unique(groups)),
        grouped_by=unit,
        threshold=threshold,
        values=evaluate(labels, scores, threshold),
        intervals=bootstrap(labels, scores, groups, threshold, resamples),
        confusion=confusion(labels, scores, threshold),
    )


# -------------------------------------------------------------------------------- outputs


def block(summary: Summary) -> str:
    """The console block of a test: the four figures of old first, then what the field needs."""
    lines = ["[+] Test result"]
    for key, (name, _) in NAMES.items():
        lines.append(f" {name:<17} : {show(summary.values[key]):<10}{_interval(summary, key)}")
    tn, fp, fn, tp = (summary.confusion[key] for key in ("tn", "fp", "fn", "tp"))
    lines += [
        f" Confusion         : real called real {tn}, real called fake {fp}, "
        f"fake called real {fn}, fake called fake {tp}",
        f" n                 : {summary.n:,} faces ({summary.real:,} real, {summary.fake:,} fake)"
        f", threshold {summary.threshold:.6g}",
    ]
    if summary.intervals:
        lines.append(
            f" 95 % intervals    : bootstrap over {summary.groups:,} groups by {summary.grouped_by}"
        )
    return "\n".join(lines)


def show(value: float) -> str:
    """A metric as text; an undefined one says so."""
    return "undefined" if np.isnan(value) else f"{value:.8f}"


def _interval(summary: Summary, key: str) -> str:
    if not summary.intervals:
        return ""
    low, high = summary.intervals[key]
    return (
        "  [no interval: too few groups, or all draws equal]"
        if np.isnan(low)
        else (f"  [{low:.4f}, {high:.4f}]")
    )


def _exact_rates(
    fake: np.ndarray, called: np.ndarray, codes: np.ndarray
) -> dict[str, tuple[float, float]]:
    """95 % Clopper-Pearson intervals of the rates that are 0 or 1, counting groups, not rows."""
    of = {
        "accuracy": (np.ones(len(fake), bool), fake == called),
        "precision": (called, fake),
        "recall": (fake, called),
        "false_positive_rate": (~fake, called),
    }
    result = {}
    for name, (among, hit) in of.items():
        groups = len(np.unique(codes[among]))
        if groups and (hit[among].all() or not hit[among].any()):
            bound = 0.025 ** (1 / groups)
            result[name] = (bound, 1.0) if hit[among].all() else (0.0, 1 - bound)
    return result


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _curve(
    fake: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cumulated weight of reals and fakes at or above each distinct score, highest first."""
    if len(scores) == 0:
        return np.zeros(1), np.zeros(1), np.array([np.inf])
    if np.any(scores[1:] > scores[:-1]):
        order = np.argsort(-scores, kind="stable")
        fake, scores, weights = fake[order], scores[order], weights[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # ties move together
    hits = np.cumsum(np.where(fake, weights, 0.0))[ends]
    false_alarms = np.cumsum(np.where(fake, 0.0, weights))[ends]
    return np.append(0, false_alarms), np.append(0, hits), np.append(np.inf, scores[ends])


def _auc(false_alarms: np.ndarray, hits: np.ndarray) -> float:
    area = np.trapezoid(hits, false_alarms)
    return _ratio(area, false_alarms[-1] * hits[-1])


def _eer(false_alarms: np.ndarray, hits: np.ndarray, steps: np.ndarray) -> tuple[float, float]:
    """The equal error rate and its threshold, linear between the two points that enclose it."""
    if false_alarms[-1] == 0 or hits[-1] == 0:
        return float("nan"), float("nan")
    alarm = false_alarms / false_alarms[-1]
    miss = 1 - hits / hits[-1]
    after = int(np.argmax(alarm >= miss))  # alarm rises and miss falls, so one crossing
    before = after - 1
    gap_before, gap_after = miss[before] - alarm[before], alarm[after] - miss[after]
    part = gap_before / (gap_before + gap_after)
    rate = alarm[before] + part * (alarm[after] - alarm[before])
    upper = steps[before] if np.isfinite(steps[before]) else 1.0
    return float(rate), float(upper + part * (steps[after] - upper))


def _average_precision(false_alarms: np.ndarray, hits: np.ndarray) -> float:
    if hits[-1] == 0:
        return float("nan")
    gained = np.diff(hits)
    called = hits[1:] + false_alarms[1:]
    precision = np.divide(hits[1:], called, out=np.zeros_like(called), where=called > 0)
    return float((gained * precision).sum() / hits[-1])


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Print the metrics of a scores.csv.")
    parser.add_argument("scores", help="scores.csv as test.py writes it")
    parser.add_argument("--threshold", type=float, default=0.5, help="called fake from here on")
    parser.add_argument("--bootstrap", type=int, default=2000, help="resamples; 0: no intervals")
    given = parser.parse_args(argv)
    if not 0 <= given.threshold <= 1:
        parser.error(f"--threshold {given.threshold:g}: give a score, 0 to 1")
    if given.bootstrap < 0:
        parser.error(f"--bootstrap {given.bootstrap}: give a number of resamples, or 0 for none")
    try:
        frame = read_scores(given.scores)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(block(summarise(frame, given.threshold, given.bootstrap)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
