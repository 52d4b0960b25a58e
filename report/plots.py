"""Plots of a test and of a training run, from plain arrays to SVG text.

Each SVG carries a <title> that says the plot's numbers in words: the page uses it as the
picture's alternative text. The same input gives the same bytes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

import curves
import metrics
import utils
from report.figure import (
    DASHES,
    FAINT,
    FAKE_COLOUR,
    GREY,
    INK,
    LINE_DASHES,
    LINES,
    REAL_COLOUR,
    STYLE,
    TRAIN_COLOUR,
    VALID_COLOUR,
    WIDE,
    Plot,
    figure_of_words,
    in_words,
    panel,
    png,
    square,
    subtitle,
    svg,
)

NO_EPOCH = "No epoch has been finished yet."
"""What stands for the learning curves of a run that has just begun."""

COLUMNS = ("epoch", "train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "lr")
"""What a row of a training log holds."""


@matplotlib.rc_context(STYLE)
def roc(labels: ArrayLike, scores: ArrayLike, unit: str = "face") -> Plot:
    """ROC curve as SVG text, with the area under it and the equal error rate.

    labels: [N] of 0 (real) and 1 (fake). scores: [N], fake score in 0..1. unit: of what.
    With one class only, the picture says in words that there is no such curve.
    """
    truth, fake_score = _checked(labels, scores)
    heading = "ROC curve" if unit == "face" else f"ROC curve of {unit}s"
    if missing := _missing_class(truth, unit):
        return in_words(heading, missing)
    false_alarms, found, _ = curves.roc(truth, fake_score)
    values = metrics.evaluate(truth, fake_score)
    auc, eer = values["auc"], values["eer"]
    numbers = f"area under the curve {auc:.3f} · equal error rate {eer:.1%}"
    figure, axes = _roc_axes(heading, f"{numbers} · {_counts(truth)}")
    axes.plot(false_alarms, found, color=INK, linewidth=1.8, zorder=3, clip_on=False)
    axes.plot(eer, 1 - eer, "o", color=VALID_COLOUR, zorder=4, clip_on=False)
    axes.text(eer + 0.03, 0.95 - eer, "equal error rate", fontsize=8)
    return svg(figure, f"{heading}: {numbers}; {_counts(truth)}.")


@matplotlib.rc_context(STYLE)
def rocs(named: Sequence[tuple[str, ArrayLike, ArrayLike]]) -> Plot:
    """ROC curves of several sets or detectors as SVG text: names, labels and scores as for roc().

    One that has no curve is left out of the picture and said so below it.
    """
    words = []
    room = 0.17 * len(named)
    figure, axes = _roc_axes("ROC curves", "area under the curve beside each name", room)
    for number, (name, labels, scores) in enumerate(named):
        truth, fake_score = _checked(labels, scores)
        if _missing_class(truth):
            words.append(f"{name}: no curve, for it needs reals and fakes")
            continue
        false_alarms, found, _ = curves.roc(truth, fake_score)
        words.append(f"{name}: {metrics.evaluate(truth, fake_score)['auc']:.3f}")
        style: dict[str, Any] = {
            "color": LINES[number % len(LINES)],
            "linestyle": LINE_DASHES[number % len(LINE_DASHES)],
        }
        label = " " + words[-1].replace("$", r"\$")  # no formula, and shown if it begins with _
        axes.plot(false_alarms, found, linewidth=1.8, label=label, clip_on=False, **style)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", handlelength=4)
    return svg(figure, f"ROC curves, area under each: {'; '.join(words)}.")


@matplotlib.rc_context(STYLE)
def reliability(labels: ArrayLike, scores: ArrayLike) -> Plot:
    """Of the faces with about one score, how many are fake, as SVG text; arguments as for roc().

    The reliability diagram of Guo et al. (ICML 2017), for the class FAKE; on the diagonal a score
    is the share of fakes. Areas of the circles are shares of the faces.
    """
    truth, fake_score = _checked(labels, scores)
    if truth.size == 0:
        return in_words("Reliability", _missing_class(truth))
    count, mean, fakes = curves.reliability(truth, fake_score)
    error = metrics.evaluate(truth, fake_score)["ece"]
    numbers = f"expected calibration error {error:.3f} · {curves.BINS} bins · {_counts(truth)}"
    figure, axes = square("Reliability", numbers)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=DASHES)
    axes.text(0.3, 0.24, "score = share of fakes", color=GREY, fontsize=8)
    seen = count > 0
    axes.plot(mean[seen], fakes[seen], color=INK, linewidth=1, zorder=3, clip_on=False)
    areas = 12 + 400 * count[seen] / truth.size
    axes.scatter(
        mean[seen], fakes[seen], areas, REAL_COLOUR, edgecolors="white", zorder=4, clip_on=False
    )
    axes.set_xlabel("mean score of the bin (%)")
    axes.set_ylabel("share of fakes in the bin (%)")
    return svg(figure, f"Reliability: {numbers}.")


@matplotlib.rc_context(STYLE)
def precision_recall(labels: ArrayLike, scores: ArrayLike) -> Plot:
    """Precision-recall curve as SVG text, with the average precision; arguments as for roc()."""
    truth, fake_score = _checked(labels, scores)
    if missing := _missing_class(truth):
        return in_words("Precision and recall", missing)
    precision, recall, _ = curves.precision_recall(truth, fake_score)
    area = metrics.evaluate(truth, fake_score)["average_precision"]
    numbers = f"average precision {area:.3f} · {_counts(truth)}"
    figure, axes = square("Precision and recall", numbers)
    base = float(truth.mean())
    axes.axhline(base, color=FAINT, linewidth=1, linestyle=DASHES)
    height = base - 0.045 if base > 0.1 else base + 0.02
    axes.text(0.02, height, f"calling every face fake: {base:.0%}", color=GREY, fontsize=8)
    # Between two thresholds nothing is known but the step; a slanted line would flatter.
    steps = (np.append(0, recall), np.append(precision[0], precision))
    axes.plot(*steps, color=INK, linewidth=1.8, drawstyle="steps-pre", zorder=3, clip_on=False)
    axes.set_xlabel("recall: share of fakes called fake (%)")
    axes.set_ylabel("precision: share of fakes among those called fake (%)")
    return svg(figure, f"Precision-recall curve: {numbers}.")


@matplotlib.rc_context(STYLE)
def histogram(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> Plot:
    """How the scores of reals and of fakes are spread, as SVG text; arguments as for roc().

    threshold: in 0..1; a score at or above it is called fake.
    Each class is shown in shares of itself, so that few reals beside many fakes stay visible.
    """
    truth, fake_score = _checked(labels, scores)
    if truth.size == 0:
        return in_words("Scores", _missing_class(truth))
    figure, axes = panel("Scores")
    called = []
    # The hatch tells the classes apart on a black-and-white print; hatched SVG knows no alpha.
    fake = ("fake", metrics.FAKE, FAKE_COLOUR, "#F0C7A6", "////")
    real = ("real", metrics.REAL, REAL_COLOUR, "#0072B259", "")
    for name, label, colour, tint, hatch in (fake, real):
        own = fake_score[truth == label]
        if own.size == 0:
            called.append(f"no {name}s in this test")
            continue
        called.append(f"{np.sum(own >= threshold):,} of {own.size:,} {name}s called fake")
        counts, edges = np.histogram(own, bins=20, range=(0, 1))
        bars = axes.stairs(100 * counts / own.size, edges, fill=True, hatch=hatch, linewidth=1.4)
        bars.set(facecolor=tint, edgecolor=colour, label=f"{name} ({own.size:,})")
    subtitle(figure, f"from {threshold:.3g} on: " + " · ".join(called))
    axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=DASHES)
    top = axes.get_xaxis_transform()
    axes.text(threshold, 0.99, f" {threshold:.3g}", transform=top, va="top")
    axes.set(xlim=(0, 1), ylim=(0, 1.12 * axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    axes.set(xlabel="fake score (0: surely real, 1: surely fake)", ylabel="share of the class (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return svg(figure, f"Histogram of the scores: from {threshold:.3g} on, {', '.join(called)}.")


@matplotlib.rc_context(STYLE)
def confusion(tn: int, fp: int, fn: int, tp: int) -> Plot:
    """The four counts as SVG text, one row a true class, with each row's shares.

    tn: reals called real; fp: reals called fake; fn: fakes called real; tp: fakes called fake.
    """
    figure, axes = panel("Confusion matrix")
    subtitle(figure, f"{tn + tp:,} of {tn + fp + fn + tp:,} right")
    rows = (("real", REAL_COLOUR, (tn, fp)), ("fake", FAKE_COLOUR, (fn, tp)))
    for row, (name, colour, counts) in enumerate(rows):
        own = sum(counts)
        for column, count in enumerate(counts):
            share = count / own if own else 0.0
            tint = (*to_rgb(colour), 0.05 + 0.35 * share)
            axes.add_patch(Rectangle((column, row), 1, 1, fc=tint, ec="white", linewidth=3))
            axes.text(column + 0.5, row + 0.44, f"{count:,}", fontsize=22, ha="center", va="center")
            below = f"{share:.1%} of the {name}s" if own else f"no {name}s in this test"
            axes.text(column + 0.5, row + 0.70, below, fontsize=8, ha="center", va="center")
    axes.set(xlim=(0, 2), ylim=(2, 0), xlabel="what the detector said", ylabel="what is true")
    axes.set_aspect("equal")
    axes.set_xticks([0.5, 1.5], ["called real", "called fake"])
    axes.set_yticks([0.5, 1.5], ["real", "fake"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    words = f"of {tn + fp} reals {fp} called fake, of {fn + tp} fakes {tp} called fake"
    return svg(figure, f"Confusion matrix: {words}.")


@matplotlib.rc_context(STYLE)
def learning_curves(
    rows: Sequence[Mapping[str, Any]], best_epoch: int, none: str = NO_EPOCH
) -> Plot:
    """Loss and accuracy over the epochs as SVG text; the best epoch is marked.

    rows: one an epoch, with epoch, train_loss, valid_loss, train_accuracy, valid_accuracy
    (shares, 0..1) and lr; a value that is missing, None, empty or NaN leaves a gap.
    best_epoch: that of best.pth, by `saving.best`. none: what stands there without any row.
    """
    figure, words = _learning_figure(rows, best_epoch, none)
    return svg(figure, f"Learning curves. {words}")


@matplotlib.rc_context(STYLE)
def save_learning_curves(
    rows: Sequence[Mapping[str, Any]], best_epoch: int, path: Path | str
) -> None:
    """Write learning_curves() to `path` as PNG, 1360 x 560 px."""
    utils.write_atomic(path, png(_learning_figure(rows, best_epoch)[0]))


# --------------------------------------------------------------------------- small pieces


def _learning_figure(
    rows: Sequence[Mapping[str, Any]], best_epoch: int, none: str = NO_EPOCH
) -> tuple[Figure, str]:
    """The figure of learning_curves() and what it says, in words."""
    if not rows:
        return figure_of_words("Learning curves", none, WIDE[0]), none
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in COLUMNS}
    epochs = columns["epoch"]
    size = 3 if len(rows) <= 40 else 0
    best = next(iter(np.flatnonzero(epochs == best_epoch).tolist()), None)
    words = _learning_words(columns, best)

    figure = Figure(figsize=WIDE, layout="constrained")
    figure.suptitle(words, x=0.01, ha="left", fontsize=9)
    panels = (("loss", 1, "loss (cross-entropy, nats)"), ("accuracy", 100, "accuracy (%)"))
    for axes, (quantity, scale, label) in zip(figure.subplots(1, 2), panels, strict=True):
        train, valid = (scale * columns[f"{split}_{quantity}"] for split in ("train", "valid"))
        axes.plot(epochs, train, "--s", color=TRAIN_COLOUR, markersize=size, label="training")
        axes.plot(epochs, valid, "-o", color=VALID_COLOUR, markersize=size, label="validation")
        if best is not None:
            axes.axvline(epochs[best], color=INK, linewidth=0.8, linestyle=":", label="best epoch")
            axes.plot(epochs[best], valid[best], "o", markersize=8, mfc="none", mec=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        axes.set(xlabel="epoch", ylabel=label)
    figure.axes[0].legend()
    return figure, words


def _learning_words(columns: Mapping[str, NDArray[Any]], best: int | None) -> str:
    epochs, rates = columns["epoch"], columns["lr"][np.isfinite(columns["lr"])]
    words = "No validation loss was measured."
    if best is not None and math.isfinite(columns["valid_loss"][best]):
        words = f"Best epoch {epochs[best]:g} of {epochs[-1]:g}: "
        words += f"validation loss {columns['valid_loss'][best]:.4f}"
        if math.isfinite(accuracy := columns["valid_accuracy"][best]):
            words += f", accuracy {accuracy:.1%}"
        words += "."
    if rates.size:
        last = f" to {rates[-1]:.1e}" if rates[-1] != rates[0] else ""
        words += f" Learning rate {rates[0]:.1e}{last}."
    return words


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as arrays [N]; ValueError where they cannot be a test's labels and scores."""
    truth, fake_score = np.asarray(labels), np.asarray(scores, dtype=float)
    if truth.ndim != 1 or truth.shape != fake_score.shape:
        shapes = f"labels {truth.shape} and scores {fake_score.shape}"
        raise ValueError(f"{shapes}: give two lists of one length")
    if not np.isin(truth, (metrics.REAL, metrics.FAKE)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    if not ((fake_score >= 0) & (fake_score <= 1)).all():
        raise ValueError("scores must lie within 0..1: leave out the pictures that failed")
    return truth, fake_score


def _roc_axes(heading: str, numbers: str, room: float = 0.0) -> tuple[Figure, Axes]:
    figure, axes = square(heading, numbers, room)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=DASHES)
    axes.text(0.62, 0.55, "guessing", color=GREY, fontsize=8)
    axes.set_xlabel("false alarms: share of reals called fake (%)")
    axes.set_ylabel("fakes found: share of fakes called fake (%)")
    return figure, axes


def _missing_class(truth: NDArray[Any], unit: str = "face") -> str:
    """Why there is no curve, or nothing."""
    if truth.size == 0:
        return "There are no scores to show."
    if truth.min() == truth.max():
        name, other = ("fake", "real") if truth[0] == metrics.FAKE else ("real", "fake")
        return f"No curve: every {unit} ({truth.size:,}) is {name}, and a curve needs {other}s too."
    return ""


def _counts(truth: NDArray[Any]) -> str:
    return f"{np.sum(truth == metrics.REAL):,} real, {np.sum(truth == metrics.FAKE):,} fake"


def _number(value: Any) -> float:
    """A cell of a log as a number; an empty one as NaN."""
    return math.nan if value is None or value == "" else float(value)
