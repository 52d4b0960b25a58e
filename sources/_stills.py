"""Folders of real photographs whose names say who is on them."""

import re
from pathlib import Path

import pandas as pd

from manifest import REAL
from sources import _rows, _tree
from sources._rows import Row, Unlabelled

LEADING = re.compile(r"[^\W\d_]{2,}|[^\W\d_]?\d+")
"""A name's first letters, or its first digits with at most one letter before them (m01, f12)."""


def by_leading_name(source: str, root: str) -> pd.DataFrame:
    """Rows of the photos below `root`: REAL, identity from the name's beginning, else its own.

    Letters before a number name a person (anna1.jpg, anna2.jpg), as digits before a letter do.
    """
    home = _tree.collection(root)
    rows, left_out = _rows.rows_of(_tree.walk(home), _row)
    people = {row["identity"] for row in rows}
    notes = []
    if len(rows) > 1 and len(people) == 1:
        notes.append(f"by their names all photos show one person, {min(people)}")
    return _rows.table(source, rows, left_out, notes, home)


def _row(file: Path, name: str) -> Row:
    if _tree.kind_of(file) != _tree.PHOTO:
        raise Unlabelled("no photograph")
    match = LEADING.match(file.stem)
    return _rows.medium(file, REAL, identity=match.group().lower() if match else name)
