"""What a detector loses where pictures get worse: one curve a kind, one table, the same faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

import intervals
import metrics
import utils
from report import tables
from report.figure import DASHES, FAKE_COLOUR, GREY, INK, REAL_COLOUR, STYLE, Plot, in_words, svg
from report.tables import Table, Value
from testing.perturb import KINDS
from thresholds import Thresholds

BESIDE = ("accuracy", "false_positive_rate")
"""The metrics at the threshold, beside AUC and its loss."""

AS_THEY_ARE = "unchanged"
"""The kind of the reference."""


@dataclass(frozen=True)
class Perturbed:
    """Scores [n] of the reference's rows, changed by one kind and strength; NaN: it failed."""

    kind: str
    strength: float
    scores: np.ndarray


@dataclass(frozen=True)
class Robustness:
    """One row a kind and strength: numbers with intervals; `loss` of AUC is against the same faces
    as they are, positive where the change costs something.
    """

    table: Table
    plot: Plot


def judged(
    frame: pd.DataFrame,
    changed: Sequence[Perturbed],
    limits: Thresholds,
    resamples: int,
) -> Robustness:
    """frame: the faces as they are, a table as metrics.read_scores gives it, a row for each score.

    limits: the checkpoint's thresholds; 0.5 stands in where it has none.
    """
    stored = bool(np.isfinite(limits.threshold))
    threshold = limits.threshold if stored else metrics.THRESHOLD
    same = Perturbed(AS_THEY_ARE, np.nan, frame["score"].to_numpy(float))
    rows = [_row(frame, one, threshold, resamples) for one in (same, *changed)]
    columns = {
        "kind": "Kind", "strength": "Strength", "n": "n", "auc": "AUC", "loss": "Loss of AUC",
        **tables.named(BESIDE),
    }  # fmt: skip
    where = f"the stored threshold {threshold:.4f}, from {limits.data}" if stored else "0.5"
    notes = [
        f"{_classes(frame)}, the same in every row; accuracy and false alarms at {where}.",
        "Strengths: " + "; ".join(f"{k}: {KINDS[k].unit}" for k in dict.fromkeys(_kinds(changed)))
        + ". H.264: the picture stands still for three frames, of which the last is taken; x264 "
        "without its macroblock tree.",
    ]  # fmt: skip
    if short := [row for row in rows if row[2] != len(frame)]:
        notes.append(f"{len(short)} rows have fewer faces: some could not be changed so.")
    table = Table(columns, rows, "Robustness", notes)
    return Robustness(table, curves_of(table))


def write(file: Path, robustness: Robustness) -> None:
    """robustness.csv: the table with every digit."""
    utils.write_atomic(file, tables.csv(tables.records(robustness.table)))


@matplotlib.rc_context(STYLE)
def curves_of(table: Table) -> Plot:
    """AUC over the strength, a panel a kind, with its interval; dashed: the faces as they are."""
    reference, others = table.rows[0], table.rows[1:]
    at_first = reference[3]
    assert isinstance(at_first, Value)
    kinds = list(dict.fromkeys(str(row[0]) for row in others))
    if not kinds or np.isnan(at_first.value):
        why = "No curve: an AUC needs reals and fakes." if kinds else "No kind was asked for."
        return in_words("Robustness", why)
    rows = -(-len(kinds) // 3)
    figure = Figure(figsize=(8.5, 0.5 + 2.5 * rows), layout="constrained")
    figure.suptitle("Robustness", x=0.01, ha="left", fontsize=11, fontweight="bold")
    ends = [_ends(row[3])[0] for row in others]
    lowest = min((end for end in ends if np.isfinite(end)), default=0.5)
    words = [f"as they are {at_first.text}"]
    for number, kind in enumerate(kinds):
        axes = figure.add_subplot(rows, min(3, len(kinds)), number + 1)
        own = [row for row in others if row[0] == kind]
        words.append(_panel(axes, kind, own, at_first.value))
        axes.set_ylim(max(0.0, min(0.45, lowest - 0.03)), 1.005)
        if number % 3 == 0:
            axes.set_ylabel("AUC (%)")
    return svg(figure, f"Robustness, area under the ROC curve: {'; '.join(words)}.")


# --------------------------------------------------------------------------- small pieces


def _row(
    frame: pd.DataFrame, one: Perturbed, threshold: float, resamples: int
) -> tuple[tables.Cell, ...]:
    known = np.isfinite(one.scores)
    before, after = frame[known], frame[known].assign(score=one.scores[known])
    summary = metrics.summarise(after, threshold, resamples)
    auc = tables.of(summary, "auc")
    if one.kind == AS_THEY_ARE:
        loss = Value(0.0 * auc.value, signed=True)  # of no AUC there is no loss either
    else:
        loss = _loss(before, after, resamples)
    strength = "" if np.isnan(one.strength) else f"{one.strength:g}"
    cells = (auc, loss, *(tables.of(summary, key) for key in BESIDE))
    return (one.kind, strength, int(known.sum()), *cells)


def _loss(before: pd.DataFrame, after: pd.DataFrame, resamples: int) -> Value:
    """How much AUC is lost, its interval by draws that are the same on both sides."""
    labels, groups = before["label"].to_numpy(int), metrics.grouping(before)[0]
    sides = [metrics.measured(labels, frame["score"].to_numpy(float)) for frame in (before, after)]
    whole = [side(np.ones(len(labels)))["auc"] for side in sides]
    value = Value(float(whole[0] - whole[1]), signed=True)
    if resamples == 0 or len(np.unique(groups)) < 2:
        return value

    def lost(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"auc": sides[0](weights)["auc"] - sides[1](weights)["auc"]}

    drawn = intervals.bootstrap(lost, groups, resamples)["auc"]
    low, high = intervals.NONE if intervals.are_equal(drawn) else intervals.percentile(drawn)
    return replace(value, low=low, high=high)


def _panel(axes: Axes, kind: str, rows: Sequence[Sequence[tables.Cell]], reference: float) -> str:
    """One kind's curve; returns it in words. Strengths stand side by side, the mildest left."""
    neutral = KINDS[kind].neutral
    rows = sorted(rows, key=lambda row: (_away(kind, row), float(str(row[1]))))
    if len({float(str(row[1])) > neutral for row in rows}) == 2:  # both ways, as brightness
        rows = sorted(rows, key=lambda row: float(str(row[1])))
    values = [row[3] for row in rows if isinstance(row[3], Value)]
    places, names = np.arange(len(values)), [str(row[1]) for row in rows]
    ends = np.array([_ends(value) for value in values])
    axes.axhline(reference, color=GREY, linewidth=1, linestyle=DASHES)
    axes.fill_between(places, ends[:, 0], ends[:, 1], color=REAL_COLOUR, alpha=0.18, linewidth=0)
    heights = [value.value for value in values]
    axes.plot(places, heights, "-o", color=REAL_COLOUR, markersize=4, linewidth=1.6)
    if np.isnan(heights).all():
        axes.text(
            0.5, 0.5, "no AUC", transform=axes.transAxes, ha="center", fontsize=7.5,
            color=FAKE_COLOUR,
        )  # fmt: skip
    else:
        worst = int(np.nanargmin(heights))
        axes.annotate(
            f"{heights[worst]:.3f}", (worst, heights[worst]), (0, -12),
            textcoords="offset points", ha="center", fontsize=7.5, color=FAKE_COLOUR,
        )  # fmt: skip
    axes.set_xticks(places, names)
    axes.set_xlim(-0.3, len(values) - 0.7)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, ""))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
    axes.set_title(kind, fontsize=9, loc="left", color=INK)
    axes.set_xlabel(KINDS[kind].unit, fontsize=7.5)
    return f"{kind} " + ", ".join(f"{n}: {v.text}" for n, v in zip(names, values, strict=True))


def _away(kind: str, row: Sequence[tables.Cell]) -> float:
    return abs(float(str(row[1])) - KINDS[kind].neutral)


def _ends(cell: tables.Cell) -> tuple[float, float]:
    """An interval to draw; of a number without one the number itself."""
    assert isinstance(cell, Value)
    if np.isnan(cell.low) or np.isnan(cell.high):
        return cell.value, cell.value
    return cell.low, cell.high


def _classes(frame: pd.DataFrame) -> str:
    reals, fakes = ((frame["label"] == of).sum() for of in (metrics.REAL, metrics.FAKE))
    return f"{len(frame):,} faces ({reals:,} real, {fakes:,} fake)"


def _kinds(changed: Sequence[Perturbed]) -> list[str]:
    return [one.kind for one in changed]
