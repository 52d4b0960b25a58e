"""Scores -> numbers: what a detector's fake scores are worth, with 95 % intervals.

    python metrics.py log/quickstart/test/scores.csv
    python metrics.py scores.csv --threshold 0.3 --bootstrap 5000
    python metrics.py scores.csv --rule mean

FAKE = 1 is the positive class; a score says how fake, 0..1. Everything here is computed over
the whole set at once, never averaged over batches.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import curves
import intervals
from curves import FAKE, REAL, ratio
from intervals import NONE, Interval
from utils import run_command

NAMES = {
    "loss": ("Loss", "mean cross-entropy, natural logarithm; lower is better"),
    "accuracy": ("Accuracy", "share that was called rightly"),
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
    "balanced_accuracy": ("Balanced acc.", "accuracy if there were as many reals as fakes"),
    "tpr_at_fpr_1": ("TPR at 1 % FPR", "fakes found where at most 1 % of the reals raise an alarm"),
    "tpr_at_fpr_5": ("TPR at 5 % FPR", "fakes found where at most 5 % of the reals raise an alarm"),
    "brier": ("Brier score", "mean squared distance of score and truth; 0.25 knows nothing"),
    "ece": ("ECE", "distance of scores from the share of fakes among their like; noise raises it"),
}
"""Key of each metric -> its name in tables and one line that says what it means."""

THRESHOLD = 0.5
"""The threshold of headline figures."""

AT_THRESHOLD = (
    "accuracy", "precision", "recall", "f1", "false_positive_rate", "balanced_accuracy",
)  # fmt: skip
"""The metrics that depend on a threshold; the others judge the order or size of the scores."""


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
    intervals: dict[str, Interval] = field(default_factory=dict)
    confusion: dict[str, int] = field(default_factory=dict)
    unit: str = "faces"
    """What n counts: faces or videos."""


# --------------------------------------------------------------------------------- inputs


def read_scores(path: Path | str) -> pd.DataFrame:
    """Read a scores.csv or video_scores.csv: `path` or `video`, `label` (0 real, 1 fake), `score`
    (0..1), and further columns as text.

    Raises ValueError that names the file and the first offending row.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if not isinstance(frame.index, pd.RangeIndex):  # pandas would shift the columns
            raise ValueError("the rows have more cells than the first line")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as scores: {error}") from None
    key = "video" if "video" in frame else "path"
    missing = {key, "label", "score"} - set(frame.columns)
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


UNITS = {
    "identity": "identity",
    "video": "video",
    "near_duplicate_group": "near-duplicate group",
    "media": "photograph",
    "path": "picture",
}
"""Columns that say what a row is of, the widest first -> the unit in words."""


def grouping(frame: pd.DataFrame) -> tuple[np.ndarray, str]:
    """What the bootstrap draws: each row's person where known, else its clip, else its picture.

    Rows that share any of these are one draw, as are a fake and its original; links chain. Returns
    integer codes, one a row, and the units' name: `identity`, or `identity, else video, else
    picture` of a table in which not all persons are known.
    """
    # Half a second, which a verdict does without.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(frame)
    starts, ends, nodes = [], [], rows
    unit = np.full(rows, "", dtype=object)
    for column, word in UNITS.items():
        names = _origin(frame, column)
        known = np.flatnonzero((names != "").to_numpy())
        codes, unique = pd.factorize(names.iloc[known])
        starts.append(known)
        ends.append(nodes + codes)
        nodes += len(unique)
        unit[known] = np.where(unit[known] == "", word, unit[known])
    start, end = np.concatenate(starts), np.concatenate(ends)
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(nodes, nodes))
    used = [word for word in UNITS.values() if (unit == word).any()]
    return connected_components(graph, directed=False)[1][:rows], ", else ".join(used)


def _origin(frame: pd.DataFrame, column: str) -> pd.Series:
    """Names in a column, of a fake those of its original; persons and clips within their source."""
    own = _texts(frame, column)
    linked = frame.get(f"source_{column}") if column in ("video", "path") else None
    if linked is not None:
        linked = _texts(frame, f"source_{column}")
        own = linked.where(linked != "", own)
    if column in ("identity", "video") and "source" in frame:
        own = (_texts(frame, "source") + "\x1f" + own).where(own != "", "")
    return own


def _texts(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column as text; empty where there is none, and where tables without it were joined."""
    if column not in frame:
        return pd.Series("", index=frame.index)
    return frame[column].fillna("").astype(str)


# ----------------------------------------------------------------------------------- work


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float = THRESHOLD,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of NAMES over one set.

    labels: [n] of 0 and 1. scores: [n] within 0..1. weights: [n], how often each row counts
    (the bootstrap's draws). A metric that is undefined (AUC of one class, precision where nothing
    was called fake) is NaN, never a made-up number.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(float)
    values = measured(labels, scores, threshold)(weights)
    return {name: float(value) for name, value in values.items()}


def measured(
    labels: np.ndarray, scores: np.ndarray, threshold: float = THRESHOLD
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """evaluate() for many weights: a function from weights [..., n] to values [...].

    What no weight changes is done once, the sorting above all.
    """
    fake, scores, order = curves.ranked(labels, scores)
    # Scores are stored as float64; clip at its smallest step from 0 and 1, as scikit-learn does.
    clipped = np.clip(scores, np.finfo(float).eps, 1 - np.finfo(float).eps)
    losses = -np.where(fake, np.log(clipped), np.log1p(-clipped))
    squares = (scores - fake) ** 2

    def values(weights: np.ndarray) -> dict[str, np.ndarray]:
        weights = np.take(weights, order, axis=-1)
        false_alarms, hits, steps = curves.cumulated(fake, scores, weights)
        reals, fakes, total = false_alarms[..., -1], hits[..., -1], weights.sum(axis=-1)
        # Scores fall, so what is called fake are the first so many steps of the curve.
        last = int((steps >= threshold)[1:].sum())
        fp, tp = false_alarms[..., last], hits[..., last]
        loss = ratio((weights * losses).sum(axis=-1), total)
        recall, false_alarm = ratio(tp, fakes), ratio(fp, reals)
        return {
            "loss": loss,
            "accuracy": ratio(tp + reals - fp, total),
            "precision": ratio(tp, tp + fp),
            "recall": recall,
            "f1": ratio(2 * tp, tp + fp + fakes),
            "false_positive_rate": false_alarm,
            "auc": curves.auc(false_alarms, hits),
            "eer": curves.equal_error(false_alarms, hits, steps)[0],
            "average_precision": curves.average_precision(false_alarms, hits),
            "log_loss": loss,
            "balanced_accuracy": (recall + 1 - false_alarm) / 2,
            "tpr_at_fpr_1": curves.hit_rate_at(0.01, false_alarms, hits),
            "tpr_at_fpr_5": curves.hit_rate_at(0.05, false_alarms, hits),
            "brier": ratio((weights * squares).sum(axis=-1), total),
            "ece": curves.calibration_error(fake, scores, weights),
        }

    return values


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


def bootstrap(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    threshold: float = THRESHOLD,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """95 % percentile intervals, drawing whole groups (persons) with replacement.

    A draw in which a metric is undefined does not count for it. Where all draws are equal (no
    false alarm among 16 reals, say) they say nothing about how wrong the number may be: rates then
    get the exact binomial interval for that many groups, other metrics none (NaN). Fewer than two
    groups give NaN, and so does the calibration error: noise raises it, and draws hold more noise
    than the set, so that hardly an interval of a calibrated detector would hold the truth.
    """
    if resamples == 0:
        return {}
    if len(np.unique(groups)) < 2:
        return dict.fromkeys(NAMES, NONE)
    drawn = intervals.bootstrap(measured(labels, scores, threshold), groups, resamples, seed)
    fake, called = labels == FAKE, scores >= threshold
    rates = {
        "accuracy": (np.ones(len(fake), bool), fake == called),
        "precision": (called, fake),
        "recall": (fake, called),
        "false_positive_rate": (~fake, called),
    }
    result = {}
    for name, values in drawn.items():
        result[name] = intervals.percentile(values)
        if intervals.are_equal(values):
            result[name] = intervals.exact(*rates[name], groups) if name in rates else NONE
    return result | {"ece": NONE}


def summarise(
    frame: pd.DataFrame, threshold: float = THRESHOLD, resamples: int = 2000, unit: str = "faces"
) -> Summary:
    """The numbers of a table of faces or videos, as read_scores or rules.to_videos returns it."""
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    groups, drawn = grouping(frame)
    return Summary(
        n=len(frame),
        real=int((labels == REAL).sum()),
        fake=int((labels == FAKE).sum()),
        groups=len(np.unique(groups)),
        grouped_by=drawn,
        threshold=threshold,
        values=evaluate(labels, scores, threshold),
        intervals=bootstrap(labels, scores, groups, threshold, resamples),
        confusion=confusion(labels, scores, threshold),
        unit=unit,
    )


# -------------------------------------------------------------------------------- outputs


def block(summary: Summary, heading: str = "Test result") -> str:
    """The console block of a test: the four figures of old first, then what the field needs."""
    lines = [f"[+] {heading}"]
    for key, (name, _) in NAMES.items():
        lines.append(f" {name:<17} : {show(summary.values[key]):<10}{interval(summary, key)}")
    tn, fp, fn, tp = (summary.confusion[key] for key in ("tn", "fp", "fn", "tp"))
    lines += [
        f" Confusion         : real called real {tn}, real called fake {fp}, "
        f"fake called real {fn}, fake called fake {tp}",
        f" n                 : {summary.n:,} {summary.unit} ({summary.real:,} real, "
        f"{summary.fake:,} fake), threshold {summary.threshold:.6g}",
    ]
    if summary.intervals:
        lines.append(
            f" 95 % intervals    : bootstrap over {summary.groups:,} groups by {summary.grouped_by}"
        )
    return "\n".join(lines)


def show(value: float) -> str:
    """A metric as text; an undefined one says so."""
    return "undefined" if np.isnan(value) else f"{value:.8f}"


def interval(summary: Summary, key: str) -> str:
    """A metric's interval as text, or why there is none."""
    if not summary.intervals:
        return ""
    low, high = summary.intervals[key]
    if np.isnan(low):
        why = "noise alone raises it" if key == "ece" else "too few groups, or all draws equal"
        return f"  [no interval: {why}]"
    return f"  [{low:.4f}, {high:.4f}]"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Print the metrics of a scores.csv.")
    parser.add_argument("scores", help="scores.csv or video_scores.csv as test.py writes it")
    parser.add_argument("--threshold", type=float, default=0.5, help="called fake from here on")
    parser.add_argument("--bootstrap", type=int, default=2000, help="resamples; 0: no intervals")
    named = "mean, median, trimmed, top_third, dfdc, highest_frame or highest_third"
    parser.add_argument("--rule", help=f"judge videos: {named}")
    given = parser.parse_args(argv)
    if not 0 <= given.threshold <= 1:
        parser.error(f"--threshold {given.threshold:g}: give a score, 0 to 1")
    if given.bootstrap < 0:
        parser.error(f"--bootstrap {given.bootstrap}: give a number of resamples, or 0 for none")
    try:
        frame = read_scores(given.scores)
        unit = "faces" if "path" in frame else "videos"
        if given.rule:
            frame, unit = _videos(frame, given.rule), "videos"
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    heading = f"Test result, videos by {given.rule}" if given.rule else "Test result"
    print(block(summarise(frame, given.threshold, given.bootstrap, unit), heading))
    return 0


def _videos(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The videos that a rule gives a score; the others are named, on standard error."""
    import rules  # behind it stands PyTorch, which a table of numbers can do without

    if rule not in rules.RULES:
        raise ValueError(f"--rule {rule!r} is unknown: choose {', '.join(rules.RULES)}")
    videos, failures = rules.to_videos(frame, rule)
    for failure in failures:
        print(f"left out: {failure.path}: {failure.reason}", file=sys.stderr)
    if len(videos) == 0:
        raise ValueError("no videos to judge: their rows need a name in the column `video`")
    return videos


if __name__ == "__main__":
    run_command(main)
