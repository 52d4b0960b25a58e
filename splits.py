"""Which rows must stay together, and splits that share no person, no clip and no picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from failures import SHOWN
from metrics import FAKE
from utils import sha256_text

PATHS = ("path", "source_path", "media")
"""Columns that hold paths."""

LINKS = (
    ("identity", "source_identity"),
    ("video", "source_video"),
    ("near_duplicate_group",),
    PATHS,
)
"""Rows that carry one name in any column of a group stay together: one person, one clip, a fake
and its original (or the person whose face was put on another), faces of one picture."""


def groups(rows: pd.DataFrame) -> np.ndarray:
    """Integer group of each row, [n]: rows that must never stand on two sides of a split.

    Linked are rows that carry one name in any group of LINKS; links chain.
    """
    parent = np.arange(len(rows))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return int(i)

    def link(*columns: pd.Series) -> None:
        """Link the rows that carry one name, in whichever of the columns."""
        first: dict[str, int] = {}
        for column in columns:
            for i, name in enumerate(column):
                if name:
                    parent[find(i)] = find(first.setdefault(name, i))

    for columns in LINKS:
        link(*(_names(rows, column) for column in columns if column in rows))
    return np.array([find(i) for i in range(len(rows))])


def scoped(rows: pd.DataFrame, column: str) -> pd.Series:
    """Names of a column within their source ("id0" of two collections are two people)."""
    return (rows["source"] + "/" + rows[column]).where(rows[column] != "", "")


def random_split(
    rows: pd.DataFrame, shares: Sequence[float], names: Sequence[str], seed: int
) -> pd.Series:
    """Split names for the rows: by group, stratified by label, the same on every machine.

    shares: one per name, summing to 1. Whole groups go, large ones first and then in an order
    that is a hash of (seed, group's first path within the set), to the split that is furthest
    below its share of the group's classes. The last groups of a class go to splits that have
    none of it yet, so that few people still make a training and a validation set.
    """
    group = groups(rows)
    paths = rows["path"].str.replace("\\", "/")
    common = _common_folder(paths)
    table = pd.DataFrame({"group": group, "fake": rows["label"] == FAKE, "path": paths})
    sizes = table.groupby("group").agg(
        fake=("fake", "sum"), n=("fake", "size"), key=("path", "min")
    )
    hashes = [sha256_text(seed, key[len(common) :]) for key in sizes["key"]]
    # Large groups first: what is left to even out the shares at the end is small.
    order = sizes.assign(hash=hashes).sort_values(["n", "hash"], ascending=[False, True])
    totals = np.array([sizes["n"].sum() - sizes["fake"].sum(), sizes["fake"].sum()], float)
    wanted = np.outer(shares, totals)
    have = np.zeros_like(wanted)
    amounts = np.stack([order["n"] - order["fake"], order["fake"]], axis=1).astype(float)
    groups_left = (amounts > 0).sum(axis=0)
    chosen: dict[int, str] = {}
    for index, amount in zip(order.index, amounts, strict=True):
        lack = ((wanted - have) / np.maximum(totals, 1) * amount).sum(axis=1)
        without = (have == 0) & (wanted > 0)
        in_need = (without & (amount > 0) & (groups_left <= without.sum(axis=0))).any(axis=1)
        best = int(np.argmax(np.where(in_need, lack, -np.inf) if in_need.any() else lack))
        have[best] += amount
        groups_left -= amount > 0
        chosen[int(index)] = names[best]
    return pd.Series([chosen[g] for g in group], index=rows.index)


def leaks(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """What two sets of rows share that they must not: people, clips, pictures, originals."""
    found = []
    for columns in LINKS:
        sides = [
            {name for column in columns if column in rows for name in _names(rows, column)} - {""}
            for rows in (first, second)
        ]
        if shared := sorted(sides[0] & sides[1]):
            what = columns[0].replace("_", " ")
            what = "picture, or a fake's original," if columns == PATHS else what
            found.append(count(f"{what} on both sides", shared))
    return found


def _names(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows[column] if column in PATHS else scoped(rows, column)


def count(what: str, examples: list[str]) -> str:
    more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return f"{len(examples)} x {what}: {', '.join(map(str, examples[:SHOWN]))}{more}"


def _common_folder(paths: pd.Series) -> str:
    """What all paths begin with up to a folder, so that a moved set is split the same way."""
    first, last = min(paths), max(paths)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
