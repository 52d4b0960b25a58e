"""How well a detector does on parts of a test set: by collection, by method, by any column."""

from collections.abc import Iterator, Sequence

import pandas as pd

import metrics
from metrics import FAKE, REAL
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


def refuse_unknown(wanted: Sequence[str], sets: Sequence[pd.DataFrame]) -> None:
    """Raise UserError where a column is in none of the sets of rows, or names each row apart."""
    filled = [_filled(rows) for rows in sets]
    known = list(dict.fromkeys(column for columns in filled for column in columns))
    if missing := [column for column in wanted if column not in known]:
        raise UserError(
            f"subgroups: no column {', '.join(missing)}; the rows say {', '.join(known)}"
        )
    for column in wanted:
        most = max(rows[column].nunique() for rows in sets if column in rows)
        if most > MOST:
            raise UserError(
                f"subgroups: {column} has {most:,} values, more than {MOST}: choose a column of "
                "groups, as source"
            )


def broken_down(frame: pd.DataFrame, wanted: Sequence[str], resamples: int) -> list[Table]:
    """One table a column that the faces fill, one row a group; columns that they leave empty not.

    frame: as metrics.read_scores gives it. A method is measured against reals: it has only fakes.
    """
    filled = _filled(frame)
    return [_table(frame, column, resamples) for column in wanted if column in filled]


def groups(frame: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The values of a column with their rows, in order of the values.

    For `method`: the fakes of each, and all reals of the sources that they come from; all reals
    where a fake's source is not known.
    """
    if column != "method":
        for value, rows in frame.groupby(frame[column].astype(str)):
            yield str(value) or UNKNOWN, rows
        return
    reals, fakes = frame[frame["label"] == REAL], frame[frame["label"] == FAKE]
    for method, own in fakes.groupby(fakes["method"].astype(str)):
        sources = set(own["source"]) if "source" in own else {""}
        beside = reals if "" in sources else reals[reals["source"].isin(sources)]
        yield str(method) or UNKNOWN, pd.concat([beside, own])


def _filled(rows: pd.DataFrame) -> list[str]:
    """The columns that a set can be broken down by."""
    columns = [column for column in rows if column not in ("path", "score")]
    return [column for column in columns if (rows[column].astype(str) != "").any()]


def _table(frame: pd.DataFrame, column: str, resamples: int) -> Table:
    rows: list[tuple[tables.Cell, ...]] = []
    for name, own in groups(frame, column):
        summary = metrics.summarise(own, metrics.THRESHOLD, resamples)
        counts = (summary.n, summary.real, summary.fake)
        mark = "small" if summary.n < SMALL else ""
        rows.append((name, *counts, *(tables.of(summary, key) for key in SHOWN), mark))
    counted = {"n": "n", "real": "Real", "fake": "Fake"}
    columns = {"value": column, **counted, **tables.named(SHOWN), "mark": ""}
    notes = []
    if column == "method":
        notes.append("The fakes of each method, against the reals of the same collection.")
    if any(row[-1] for row in rows):
        notes.append(f"small: fewer than {SMALL} faces, so the numbers are mostly luck.")
    return Table(columns, rows, f"By {column}", notes)
