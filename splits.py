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
    parent = list(range(len(rows)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for columns in LINKS:
        first: dict[str, int] = {}
        for column in columns:
            for i, name in enumerate(_names(rows, column)):
                if name:
                    parent[find(i)] = find(first.setdefault(name, i))
    return np.array([find(i) for i in range(len(rows))])


def scoped(rows: pd.DataFrame, column: str) -> pd.Series:
    """Names of a column within their source ("id0" of two collections are two people)."""
    return pd.Series(_names(rows, column), index=rows.index, dtype="str")


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
    paths = [path.replace("\\", "/") for path in rows["path"].tolist()]
    common = len(_common_folder(paths))
    first: dict[int, str] = {}
    for number, path in zip(group.tolist(), paths, strict=True):
        first[number] = min(path, first.get(number, path))
    table = pd.DataFrame({"group": group, "fake": rows["label"].to_numpy() == FAKE})
    sizes = table.groupby("group")["fake"].agg(fake="sum", n="size")
    sizes["hash"] = [sha256_text(seed, first[number][common:]) for number in sizes.index]
    # Large groups first: what is left to even out the shares at the end is small.
    order = sizes.sort_values(["n", "hash"], ascending=[False, True])
    amounts = np.stack([order["n"] - order["fake"], order["fake"]], axis=1)
    chosen = dict(zip(order.index, _dealt(amounts, shares), strict=True))
    return pd.Series([names[chosen[number]] for number in group.tolist()], index=rows.index)


def _dealt(amounts: np.ndarray, shares: Sequence[float]) -> list[int]:
    """Which split each group goes to, one after the other; amounts: its reals and fakes, [n, 2].

    Plain numbers: there may be a million groups, and NumPy is slow at four at a time.
    """
    totals = amounts.sum(axis=0).astype(float).tolist()
    groups_left = (amounts > 0).sum(axis=0).tolist()
    wanted = [[share * total for total in totals] for share in shares]
    have = [[0, 0] for _ in shares]
    scale = [max(total, 1) for total in totals]
    dealt = []
    for amount in amounts.tolist():
        lack = [
            (want[0] - has[0]) / scale[0] * amount[0] + (want[1] - has[1]) / scale[1] * amount[1]
            for want, has in zip(wanted, have, strict=True)
        ]
        without = [
            [has[c] == 0 < want[c] for c in (0, 1)] for want, has in zip(wanted, have, strict=True)
        ]
        scarce = [
            amount[c] > 0 and groups_left[c] <= sum(split[c] for split in without) for c in (0, 1)
        ]
        in_need = [(split[0] and scarce[0]) or (split[1] and scarce[1]) for split in without]
        best = max(range(len(shares)), key=list(zip(in_need, lack, strict=True)).__getitem__)
        for c in (0, 1):
            have[best][c] += amount[c]
            groups_left[c] -= amount[c] > 0
        dealt.append(best)
    return dealt


def leaks(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """What two sets of rows share that they must not: people, clips, pictures, originals."""
    return shared(names_of(first), names_of(second))


def names_of(rows: pd.DataFrame) -> list[set[str]]:
    """The names that rows carry, for each group of LINKS."""
    return [
        {name for column in columns for name in _names(rows, column)} - {""} for columns in LINKS
    ]


def shared(first: list[set[str]], second: list[set[str]]) -> list[str]:
    """The same as `leaks`, of the names of two sets of rows."""
    found = []
    for columns, *sides in zip(LINKS, first, second, strict=True):
        if both := sorted(sides[0] & sides[1]):
            what = columns[0].replace("_", " ")
            what = "picture, or a fake's original," if columns == PATHS else what
            found.append(count(f"{what} on both sides", both))
    return found


def _names(rows: pd.DataFrame, column: str) -> list[str]:
    """The column as links go by it. A list: its texts come ten times as fast as a Series'."""
    if column not in rows:
        return []
    names = rows[column].tolist()
    if column in PATHS:
        return names
    sources = rows["source"].tolist()
    return [f"{source}/{name}" if name else "" for source, name in zip(sources, names, strict=True)]


def count(what: str, examples: list[str]) -> str:
    more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return f"{len(examples)} x {what}: {', '.join(map(str, examples[:SHOWN]))}{more}"


def _common_folder(paths: list[str]) -> str:
    """What all paths begin with up to a folder, so that a moved set is split the same way."""
    first, last = min(paths), max(paths)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
