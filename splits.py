"""Which rows must stay together, and splits that share no person, no clip and no picture."""

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from failures import SHOWN
from flags import Split
from metrics import FAKE
from utils import UserError, sha256_text

SPLITS = ("train", "val", "test")

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

EVERYWHERE = ("near_duplicate_group", *PATHS)
"""Columns whose names mean the same in every source: a hash, a file. The others are scoped."""

UNSAFE, WITHIN_PERSON = "unsafe_split", "within_person"
"""Column and value that say: persons stand in train and in val, on purpose."""

UNSAFE_NOTE = (
    f"{UNSAFE} {WITHIN_PERSON}: the same persons are in train and in val, so the validation's "
    "numbers are inflated, and the thresholds and the best epoch that it chooses with them: "
    "compare with nothing but the notebooks, and split by --split.rule ratio otherwise"
)

NINE_TO_ONE = (0.9, 0.1)
"""Training and validation beside the last persons, as the DFDC notebooks have it."""

FAR_OFF = 0.05
"""A split that misses its share of the rows by more is said."""

# --------------------------------------------------------------------- what stays together


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


def names_in_clips(rows: pd.DataFrame) -> list[str]:
    """Of each face of a clip a name by clip, frame and track, which is the same on every machine:
    its file is named by where the clip lies, and when it was stored. Empty of photos.
    """
    if "video" not in rows or "frame" not in rows:
        return [""] * len(rows)
    tracks = rows["track"].astype(str) if "track" in rows else [""] * len(rows)
    found = zip(_names(rows, "video"), rows["frame"].astype(str), tracks, strict=True)
    return ["/".join(one) if one[0] and one[1] else "" for one in found]


def _lasting_names(rows: pd.DataFrame) -> list[str]:
    """Of each row its name in its clip, else its path within the set."""
    paths = [path.replace("\\", "/") for path in rows["path"].tolist()]
    common = len(common_folder(paths))
    return [clip or path[common:] for clip, path in zip(names_in_clips(rows), paths, strict=True)]


# ---------------------------------------------------------------------------------- rules


def with_splits(rows: pd.DataFrame, how: Split, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The rows with their `split`, numbered anew, without those that would leak; and notes.

    An unsafe rule stamps the column UNSAFE on every row: manifest.read warns of it for ever.
    """
    rows = rows.reset_index(drop=True)
    split, notes = assign(rows, how.rule, how.shares, seed, how.persons)
    rows = rows.loc[split.index].assign(split=split).reset_index(drop=True)
    if how.rule == "unsafe_within_person":
        rows[UNSAFE] = WITHIN_PERSON
    return rows, notes


def assign(
    rows: pd.DataFrame, rule: str, shares: Sequence[float], seed: int, persons: int = 1
) -> tuple[pd.Series, list[str]]:
    """Split names by one of flags.Split's rules, and what the user should know of them.

    shares: of train, val and test, summing to 1. persons: how many of the last persons by name
    are the test of `last_persons` and `unsafe_within_person`. The answer's index is that of the
    rows (each number once), without the rows that `official` drops because they would leak.
    Raises UserError where the rows cannot be split so.
    """
    if rule == "ratio":
        split = random_split(rows, shares, SPLITS, seed)
        return split, [*_unknown_people(rows), *_far_off(split, shares)]
    if rule == "official":
        return _official(rows, shares, seed)
    if rule not in ("last_persons", "unsafe_within_person"):
        raise ValueError(f"unknown rule {rule!r}")
    test, notes = _last_persons(rows, persons)
    split = pd.Series("test", index=rows.index)
    if rule == "last_persons":
        split[~test] = random_split(rows[~test], NINE_TO_ONE, SPLITS[:2], seed)
        alone = [] if (split == "val").any() else ["no row is val: the others all hang together"]
        return split, [*notes, *alone]
    split[~test] = _within_person(rows[~test], seed)
    return split, [UNSAFE_NOTE, *notes]


def _last_persons(rows: pd.DataFrame, persons: int) -> tuple[np.ndarray, list[str]]:
    """Which rows [n] show the last persons by name, or are linked with them."""
    names = scoped(rows, "identity")
    people = sorted(set(names) - {""}, key=_natural)
    if len(people) <= persons:
        raise UserError(
            f"split.persons {persons}: the rows name {len(people)} persons, and others must be "
            "left to train on: lower it, or split by --split.rule ratio"
        )
    group, last = groups(rows), names.isin(people[-persons:]).to_numpy()
    test = np.isin(group, group[last])
    if test.all():
        raise UserError(
            f"split.persons {persons}: all rows are linked with these persons (by fakes that show "
            "two people, clips or near-duplicates): nothing is left to train on; split by "
            "--split.rule ratio, or leave out fakes that link people"
        )
    others = names[test].nunique() - persons
    linked = f"test has {others:,} more persons than the last {persons:,}: fakes link them"
    return test, [linked] if others > 0 else []


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts id2 before id10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part)) if i % 2 else (1, part) for i, part in enumerate(parts)]


def _within_person(rows: pd.DataFrame, seed: int) -> pd.Series:
    """9:1 of each person's reals and of their fakes, picture by picture: leaks persons."""
    table = pd.DataFrame({"person": _names(rows, "identity"), "label": rows["label"].tolist()})
    table["hash"] = [sha256_text(seed, name) for name in _lasting_names(rows)]
    place = table.groupby(["person", "label"])["hash"].rank(method="first")
    of = table.groupby(["person", "label"])["hash"].transform("size")
    # Of two pictures one validates; of one, none.
    taken = np.where(of > 1, np.maximum(1, (of * NINE_TO_ONE[1]).round()), 0)
    if not (place <= taken).any():
        raise UserError(
            "split.rule unsafe_within_person: no person has two pictures of one kind, so none is "
            "left to validate on: split by --split.rule last_persons"
        )
    return pd.Series(np.where(place <= taken, "val", "train"), index=rows.index)


def _official(rows: pd.DataFrame, shares: Sequence[float], seed: int) -> tuple[pd.Series, list]:
    """The collection's own split; what it leaves open is filled, what would leak is dropped."""
    split, notes = rows["split"].copy(), []
    if (split == "").all():
        raise UserError(
            "split.rule official: the collection gives no split (or its files are not there): "
            "split by --split.rule ratio"
        )
    if not (split == "test").any():
        notes.append("the official split has no test rows: test on another collection")
    dropped = _drop(rows, split, "test", ("train", "val", ""), notes)
    split[dropped] = "dropped"
    if (split == "val").any():
        dropped = _drop(rows, split, "val", ("train", ""), notes)
        split[dropped] = "dropped"
        split[split == ""] = "train"
    elif len(rest := rows[split.isin(["train", ""])]):
        part = shares[1] / (shares[0] + shares[1])
        split[rest.index] = random_split(rest, (1 - part, part), SPLITS[:2], seed)
        val = (split[rest.index] == "val").mean()
        notes.append(f"the official split has no val rows: {val:.0%} of the others are val")
    if not (split == "train").any():
        raise UserError(
            "split.rule official: no row is left to train on\n  "
            + "\n  ".join(notes)
            + "\ntrain on another collection, or split by --split.rule ratio"
        )
    if rows["label"][split == "train"].nunique() == 1:
        notes.append("train has one class only")
    return split[split != "dropped"], notes


def _drop(
    rows: pd.DataFrame, split: pd.Series, kept: str, others: Sequence[str], notes: list[str]
) -> np.ndarray:
    """Which rows [n] of the other splits share a name with those of `kept`; notes get a line."""
    found = split.isin(others).to_numpy() & carrying(rows, names_of(rows[split == kept]))
    if found.any():
        fakes = int((rows["label"][found] == FAKE).sum())
        notes.append(
            f"dropped {found.sum():,} rows ({fakes:,} fake) that share a person, clip or picture "
            f"with the official {kept} rows"
        )
    return found


def _unknown_people(rows: pd.DataFrame) -> list[str]:
    if any((rows[column] != "").any() for column in ("identity", "video") if column in rows):
        return []
    return ["no row says who it shows: one person may stand on two sides of the split"]


def _far_off(split: pd.Series, shares: Sequence[float]) -> list[str]:
    found = split.value_counts(normalize=True)
    return [
        f"{name} has {found.get(name, 0):.0%} of the rows, not {share:.0%}: linked rows stay "
        "together"
        for name, share in zip(SPLITS, shares, strict=True)
        if abs(found.get(name, 0) - share) > FAR_OFF
    ]


def random_split(
    rows: pd.DataFrame, shares: Sequence[float], names: Sequence[str], seed: int
) -> pd.Series:
    """Split names for the rows: by group, stratified by label, the same on every machine.

    shares: one per name, summing to 1. Whole groups go, large ones first and then in an order
    that is a hash of (seed, group's first name by `_lasting_names`), to the split that is furthest
    below its share of the group's classes. The last groups of a class go to splits that have
    none of it yet, so that few people still make a training and a validation set.
    """
    group = groups(rows)
    first: dict[int, str] = {}
    for number, name in zip(group.tolist(), _lasting_names(rows), strict=True):
        first[number] = min(name, first.get(number, name))
    table = pd.DataFrame({"group": group, "fake": rows["label"].to_numpy() == FAKE})
    sizes = table.groupby("group")["fake"].agg(fake="sum", n="size")
    sizes["hash"] = [sha256_text(seed, first[number]) for number in sizes.index]
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


# ---------------------------------------------------------------------------------- leaks


def leaks(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """What two sets of rows share that they must not: people, clips, pictures, originals."""
    return shared(names_of(first), names_of(second))


def unsafe_split(rows: pd.DataFrame) -> str:
    """WITHIN_PERSON where the rows say that their train and val share persons, else empty."""
    return WITHIN_PERSON if UNSAFE in rows and (rows[UNSAFE] == WITHIN_PERSON).any() else ""


def leaks_and_unsafe(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """What each two splits share, and notes; of train and val it is a note where UNSAFE says so."""
    unsafe = bool(unsafe_split(rows))
    present = [name for name in SPLITS if (rows["split"] == name).any()]
    sides = {name: names_of(rows[rows["split"] == name]) for name in present}
    leaking: list[str] = []
    notes = [UNSAFE_NOTE] if unsafe else []
    for first, second in combinations(present, 2):
        found = [f"{first} and {second}: {it}" for it in shared(sides[first], sides[second])]
        (notes if unsafe and "test" not in (first, second) else leaking).extend(found)
    return leaking, notes


def names_of(rows: pd.DataFrame) -> list[set[str]]:
    """The names that rows carry, for each group of LINKS."""
    return [
        {name for column in columns for name in _names(rows, column)} - {""} for columns in LINKS
    ]


def carrying(rows: pd.DataFrame, names: list[set[str]]) -> np.ndarray:
    """Which rows, [n] bool, carry one of these names (of names_of)."""
    found = np.zeros(len(rows), bool)
    for columns, known in zip(LINKS, names, strict=True):
        for column in columns:
            if own := _names(rows, column):
                found |= np.array([name in known for name in own])
    return found


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
    if column in EVERYWHERE:
        return names
    sources = rows["source"].tolist()
    return [f"{source}/{name}" if name else "" for source, name in zip(sources, names, strict=True)]


def count(what: str, examples: list[str]) -> str:
    more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return f"{len(examples)} x {what}: {', '.join(map(str, examples[:SHOWN]))}{more}"


def common_folder(paths: list[str]) -> str:
    """What all paths begin with up to a folder, so that a moved set is split the same way."""
    first, last = min(paths), max(paths)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
