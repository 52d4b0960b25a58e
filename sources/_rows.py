"""Rows of media: one a photo, a film or a folder of frames, in the columns of the manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import manifest
from failures import SHOWN, UNLABELLED, Failure
from sources._tree import PHOTO, Tree, kind_of
from utils import UserError

Row = dict[str, Any]


def medium(path: Path, label: int, **known: str) -> Row:
    """One row: `path`, `label`, its kind, and the columns that are known of it."""
    return {"path": str(path), "label": label, "kind": kind_of(path), **known}


class Unlabelled(Exception):
    """Nobody says what a medium is, or whom it shows; the message says why, in a few words."""


def rows_of(tree: Tree, row: Callable[[Path, str], Row]) -> tuple[list[Row], list[Failure]]:
    """The rows of a tree's media, and what is left out: refused, or `row` raised Unlabelled.

    `row` gets a file and its name in the tree. Raises UserError where two clips have one name:
    their frames would become one clip's.
    """
    rows, left_out = [], [*tree.refused]
    for file in tree.files:
        try:
            rows.append(row(file, tree.name(file)))
        except Unlabelled as error:
            left_out.append(Failure(str(file), UNLABELLED, str(error)))
    first: dict[str, str] = {}
    for found in rows:
        clip, path = found.get("video", ""), found["path"]
        if clip and found["kind"] != PHOTO and first.setdefault(clip, path) != path:
            raise UserError(
                f"{path}: has the name of {first[clip]}, so that the two would count as one "
                "clip: remove one of them"
            )
    return rows, left_out


def table(
    source: str,
    rows: Sequence[Row],
    left_out: Sequence[Failure] = (),
    notes: Sequence[str] = (),
    home: Path | str = "",
) -> pd.DataFrame:
    """The rows of a collection by path: manifest.COLUMNS as text (`label` int) and `kind`.

    attrs["left_out"]: media that cannot be used, list[failures.Failure]; attrs["notes"]: what
    the user should know of the collection, list[str]. Raises UserError where no row is left.
    """
    if not rows:
        why = "".join(f"\n  {f.path}: {f.reason}" for f in left_out[:SHOWN])
        raise UserError(f"{home}: {source}: holds no media that can be used{why}")
    frame = pd.DataFrame(sorted(rows, key=lambda row: row["path"])).fillna("")
    frame = frame.assign(source=source)
    frame = frame.reindex(columns=[*manifest.COLUMNS, "kind"], fill_value="")
    frame.attrs = {"left_out": list(left_out), "notes": list(notes)}
    return frame
