"""W&B's interactive charts of a test: the table behind each, and which column goes where.

W&B's own functions for them need scikit-learn; here the numbers are those of the report.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

import curves
from metrics import FAKE, REAL, confusion

LARGEST = 10_000
"""Rows of a table that W&B draws; of longer curves and histograms every so manieth is taken."""

CURVE = "wandb/area-under-curve/v0"
MATRIX = "wandb/confusion_matrix/v1"
HISTOGRAM = "wandb/histogram/v0"


@dataclass(frozen=True)
class Chart:
    """preset: W&B's name of the kind of chart. fields: role -> column. words: title and axes."""

    preset: str
    columns: list[int | str]
    rows: list[list[float | str]]
    fields: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)


def charts(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Chart]:
    """ROC, precision-recall, confusion matrix and one histogram a class; curves need both classes.

    labels: [n], 0 or 1. scores: [n], 0..1. threshold: 0..1, called fake from here on.
    """
    drawn = {}
    if 0 < labels.sum() < len(labels):
        false_alarms, found, _ = curves.roc(labels, scores)
        precision, recall, _ = curves.precision_recall(labels, scores)
        alarms = ("false alarms", false_alarms), ("fakes found", found)
        drawn["roc"] = _curve("ROC curve", *alarms)
        drawn["precision_recall"] = _curve(
            "Precision and recall", ("recall", recall), ("precision", precision)
        )
    count = confusion(labels, scores, threshold)
    drawn["confusion"] = Chart(
        MATRIX,
        ["Actual", "Predicted", "nPredictions"],
        [
            ["real", "real", count["tn"]],
            ["real", "fake", count["fp"]],
            ["fake", "real", count["fn"]],
            ["fake", "fake", count["tp"]],
        ],
        {name: name for name in ("Actual", "Predicted", "nPredictions")},
        {"title": f"Confusion matrix at {threshold:.3g}"},
    )
    for name, label in (("real", REAL), ("fake", FAKE)):
        own = np.sort(scores[labels == label])
        drawn[f"scores_{name}"] = Chart(
            HISTOGRAM,
            ["score"],
            [[value] for value in own[_thinned(len(own))].tolist()],
            {"value": "score"},
            {"title": f"Scores of {len(own):,} {name}s"},
        )
    return drawn


def _curve(title: str, x: tuple[str, np.ndarray], y: tuple[str, np.ndarray]) -> Chart:
    part = _thinned(len(x[1]))
    points: Iterable[tuple[float, float]] = zip(
        x[1][part].tolist(), y[1][part].tolist(), strict=True
    )
    return Chart(
        CURVE,
        ["x", "y", "class"],
        [[across, up, "fake"] for across, up in points],
        {"x": "x", "y": "y", "class": "class"},
        {"title": title, "x-axis-title": x[0], "y-axis-title": y[0]},
    )


def _thinned(count: int) -> np.ndarray:
    """Indices of at most LARGEST of `count` points, evenly, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, LARGEST)).round().astype(int)
