"""How well a detector does on parts of a test set: by collection, method, size or any column."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

import manifest
import metrics
from metrics import FAKE, REAL, Summary
from report import tables
from report.tables import Table
from utils import UserError

SMALL = 20
"""Groups of fewer rows are marked: their numbers are mostly luck."""

MOST = 200
"""Values of a column at the most: what has more is no group but a name of each row."""

SHOWN = ("auc", "accuracy", "recall", "false_positive_rate")
"""The metrics of each group."""

UNKNOWN = "(none)"
"""How a group is called whose rows leave the column empty."""


SIDE = "face_side"
"""Not a column but what `box` says: the root of its area in pixels, as the audit measures it."""


def refuse_unknown(wanted: Sequence[str], sets: Sequence[pd.DataFrame]) -> None:
    """Raise UserError where a column is in none of the sets of rows, or names each row apart."""
    filled = [_filled(rows) for rows in sets]
    known = list(dict.fromkeys(column for columns in filled for column in columns))
    # Where the boxes are found while testing, no row says them yet.
    if missing := [column for column in wanted if column not in [*known, SIDE]]:
        raise UserError(
            f"subgroups: no column {', '.join(missing)}; the rows say {', '.join(known)}"
        )
    for column in set(wanted) & set(known):
        most = max(rows[column].nunique() for rows in sets if column in rows)
        if most > MOST:
            raise UserError(
                f"subgroups: {column} has {most:,} values, more than {MOST}: choose a column of "
                "groups, as source"
            )


def filled_by(wanted: Sequence[str], rows: pd.DataFrame) -> list[str]:
    """Those of the columns by which these rows can be broken down."""
    return [column for column in wanted if column in [*_filled(rows), SIDE]]


def broken_down(
    frame: pd.DataFrame, wanted: Sequence[str], resamples: int, unit: str = "faces"
) -> list[Table]:
    """One table a column that the rows fill, one row a group; columns that they leave empty not.

    frame: as metrics.read_scores gives it, of faces, or as rules.to_videos does, of videos, whose
    faces have no one size. A method is measured against reals: it has only fakes.
    """
    filled = [*_filled(frame), *([SIDE] if unit == "faces" else [])]
    return [_table(frame, column, resamples, unit) for column in wanted if column in filled]


def groups(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The values of a column with their rows, in order of the values.

    For `method`: the fakes of each, and all reals of the sources that they come from; all reals
    where a fake's source is not known. For `face_side`, where it is no column: four groups of
    about as many faces, from the smallest to the largest; of as many as differ where most are of
    one size.
    """
    if column == SIDE and SIDE not in _filled(frame):
        yield from _by_side(frame)
        return
    if column != "method":
        for value, rows in frame.groupby(frame[column].astype(str)):
            yield str(value) or UNKNOWN, rows
        return
    reals, fakes = frame[frame["label"] == REAL], frame[frame["label"] == FAKE]
    for method, own in fakes.groupby(fakes["method"].astype(str)):
        sources = set(own["source"]) if "source" in own else {""}
        beside = reals if "" in sources else reals[reals["source"].isin(sources)]
        yield str(method) or UNKNOWN, pd.concat([beside, own])


def _of_size(frame: pd.DataFrame, resamples: int) -> Summary:
    """The numbers of a score that is the size of the face, of the faces whose size is known."""
    sides = _sides(frame)
    known = np.isfinite(sides)
    of_size = frame[known].assign(score=sides[known] / max(sides[known].max(initial=0), 1))
    return metrics.summarise(of_size, metrics.THRESHOLD, resamples)


def _sides(frame: pd.DataFrame) -> np.ndarray:
    """Root of the area of each box in pixels [n], NaN where none is known."""
    if "box" not in frame:
        return np.full(len(frame), np.nan)
    box = manifest.table(frame["box"].astype(str).to_numpy(object), 4)
    return np.sqrt((box[:, 2:] - box[:, :2]).clip(0).prod(axis=1))


def _by_side(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    sides = _sides(frame)
    known = np.isfinite(sides)
    if not known.any():
        yield UNKNOWN, frame
        return
    edges = np.unique(np.quantile(sides[known], [0.25, 0.5, 0.75]).round())
    group = np.searchsorted(edges, sides, side="right")
    words = [f"under {edges[0]:.0f} px"]
    words += [f"{low:.0f} to {high:.0f} px" for low, high in itertools.pairwise(edges)]
    words += [f"{edges[-1]:.0f} px and more"]
    for number, name in enumerate(words):
        if (own := known & (group == number)).any():
            yield name, frame[own]
    if not known.all():
        yield UNKNOWN, frame[~known]


def _filled(rows: pd.DataFrame) -> list[str]:
    """The columns that a set can be broken down by."""
    columns = [column for column in rows if column not in ("path", "score")]
    return [column for column in columns if (rows[column].astype(str) != "").any()]


def _table(frame: pd.DataFrame, column: str, resamples: int, unit: str) -> Table:
    by_side = column == SIDE and SIDE not in _filled(frame)
    rows: list[tuple[tables.Cell, ...]] = []
    for name, own in groups(frame, column):
        summary = metrics.summarise(own, metrics.THRESHOLD, resamples, unit)
        counts = (summary.n, summary.real, summary.fake)
        mark = "small" if summary.n < SMALL else ""
        alone = [tables.of(_of_size(own, resamples), "auc")] if by_side else []
        rows.append((name, *counts, *(tables.of(summary, key) for key in SHOWN), *alone, mark))
    counted = {"n": "n", "real": "Real", "fake": "Fake"}
    columns = {"value": column, **counted, **tables.named(SHOWN)}
    columns |= {"size_auc": "AUC of the size alone"} if by_side else {}
    columns["mark"] = ""
    notes = []
    if column == "method":
        notes.append("The fakes of each method, against the reals of the same collection.")
    if by_side:
        notes.append(
            "face_side: the root of the box's area. Size alone: had a face's size been its score. "
            f"Of all faces it has an AUC of {tables.of(_of_size(frame, resamples), 'auc')}."
        )
    if any(row[-1] for row in rows):
        notes.append(f"small: fewer than {SMALL} {unit}, so the numbers are mostly luck.")
    title = f"By {column}" + ("" if unit == "faces" else f": {unit}")
    return Table(columns, rows, title, notes)
