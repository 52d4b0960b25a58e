"""Two manifests: merged into one that leaks nobody, or what the second shares with the first."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import manifest
import splits
import utils
from audit.duplicates import group_names
from audit.measures import Measured, measured, one_line
from failures import SHOWN
from flags import Files, Merge, Overlap
from manifest import Manifest
from splits import PATHS
from utils import UserError


@dataclass(frozen=True)
class Pair:
    """Two manifests with their files read. group: look -> the name of those that look alike."""

    first: Manifest
    second: Manifest
    files: dict[str, Measured]
    groups: dict[int, str]

    def contents(self, rows: pd.DataFrame) -> list[str]:
        return [self.files[path].content for path in rows["path"]]

    def looks(self, rows: pd.DataFrame) -> list[str]:
        looks = [self.files[path].look for path in rows["path"]]
        return ["" if look is None else self.groups.get(look, "") for look in looks]


def merge(first: str, second: str, config: Merge) -> int:
    """Write one manifest of two; refuses contradicting labels and splits that leak."""
    out = Path(config.out)
    if out.suffix.lower() != ".csv":
        raise UserError(f"out {config.out!r}: name the new manifest, as --out data/both.csv")
    both = _read(first, second, config)
    one, other = _with_sources(both, config.apart)
    if both.first.has_splits != both.second.has_splits:
        without = second if both.first.has_splits else first
        raise UserError(f"{without}: has no splits, and the other has: split both, or none")
    if problems := _contradictions(both, one, other) + _leaks(both, one, other):
        raise UserError(
            f"{first} and {second} cannot be one manifest:\n  "
            + "\n  ".join(problems)
            + "\nremove these rows from one of them, or split both anew"
        )
    columns = list(dict.fromkeys([*one, *other]))
    new = other[~_is_there(both, one, other)]
    merged = pd.concat([one, new], ignore_index=True).reindex(columns=columns).fillna("")
    merged = _with_looks(both, merged, len(one))
    home = out.absolute().parent
    for column in PATHS:
        merged[column] = [_from(home, path) for path in merged[column]]
    manifest.write(out, merged)
    sources = ", ".join(sorted(filter(None, set(merged["source"]))))
    print(
        f"[+] Merged {out}\n Rows     : {len(one):,} of {first}, {len(new):,} of {second}"
        f"\n Twice    : {len(other) - len(new):,} rows of {second} were there already"
        f"\n Sources  : {sources}"
    )
    if shared := sorted(set(one["source"]) & set(other["source"])):
        print(
            f" Note: both hold {', '.join(shared)}: equal names in it are one person; where they "
            "are not, merge with --apart True"
        )
    return 0


def overlap(first: str, second: str, config: Overlap) -> int:
    """Print what rows of the second share with the first; 1 where they share anything."""
    if config.out:
        utils.refuse_over(config.out, (first, second))
    both = _read(first, second, config)
    one, other = both.first.rows, both.second.rows
    names = splits.names_of(one)
    kinds = {
        "picture (by content)": _in(both.contents(other), both.contents(one)),
        "near-duplicate": _in(both.looks(other), both.looks(one)),
    }
    labels = ("person", "clip", "near-duplicate group", "picture or original (by path)")
    for place, label in enumerate(labels):
        only = [names[i] if i == place else set() for i in range(len(names))]
        kinds[label] = splits.carrying(other, only)
    shares = np.any(list(kinds.values()), axis=0)
    print(f"[+] {int(shares.sum()):,} of {len(other):,} rows of {second} overlap with {first}")
    for label, found in kinds.items():
        examples = [one_line(path) for path in other["path"][found].head(SHOWN)]
        print(f" {label:<30}: {int(found.sum()):>7,} {', '.join(examples)}")
    if config.out:
        why = ["; ".join(k for k in kinds if kinds[k][i]) for i in np.flatnonzero(shares)]
        rows = other[shares].assign(why=why)
        text = manifest.as_csv(rows, Path(config.out).absolute().parent, ["path", "why"])
        utils.write_atomic(config.out, text)
        print(f" Written: {config.out}")
    return int(shares.any())


# --------------------------------------------------------------------------- small pieces


def _read(first: str, second: str, config: Files) -> Pair:
    """Both manifests, each one right in itself; pictures that cannot be read look like nothing."""
    one, other = (manifest.read(file, config.fake_label) for file in (first, second))
    distance = config.near_duplicates.distance
    paths = [*one.rows["path"], *other.rows["path"]]
    files = measured(paths, config.workers, looks=distance >= 0)
    looks = [m.look for m in files.values() if m.look is not None]
    groups = {}
    if looks:
        groups = dict(zip(looks, group_names(np.array(looks, np.uint64), distance), strict=True))
    return Pair(one, other, files, groups)


def _with_sources(both: Pair, apart: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that all name a source, as names of people and clips are told apart by it."""
    sides = []
    taken: set[str] = set()
    for whole in (both.first, both.second):
        path = Path(whole.file)
        own = path.absolute().parent.name if path.stem == "manifest" else path.stem
        rows, renamed = whole.rows, dict[str, str]()
        named = set(rows["source"])
        for source in sorted(named):
            name = source or own
            if (name in taken and (apart or not source)) or (not source and name in named):
                used = taken | named | set(renamed.values())
                name = next(n for i in range(2, 10**6) if (n := f"{name}_{i}") not in used)
            renamed[source] = name
        taken |= set(renamed.values())
        sides.append(rows.assign(source=rows["source"].map(renamed)))
    return sides[0], sides[1]


def _with_looks(both: Pair, merged: pd.DataFrame, first: int) -> pd.DataFrame:
    """The rows with one near_duplicate_group for what looks alike in both, the first `first` rows
    and the others; groups that a manifest named and that meet so become one.
    """
    looks = both.looks(merged)
    shared = set(looks[:first]) & set(looks[first:]) - {""}
    if not shared:
        return merged
    given = merged.get("near_duplicate_group", pd.Series("", index=merged.index)).tolist()
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    pairs = [(n, k if k in shared else "") for n, k in zip(given, looks, strict=True)]
    for name, look in pairs:
        if name and look:  # the smaller name stays, whatever the order
            low, high = sorted((find(name), find(look)))
            parent[high] = low
    return merged.assign(near_duplicate_group=[find(n or k) if n or k else "" for n, k in pairs])


def _contradictions(both: Pair, one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    label = dict(zip(both.contents(one), one["label"], strict=True))
    wrong = [
        path
        for path, content, its in zip(
            other["path"], both.contents(other), other["label"], strict=True
        )
        if content and label.get(content, its) != its
    ]
    what = "picture that one calls real and the other fake"
    return [one_line(splits.count(what, wrong))] if wrong else []


def _leaks(both: Pair, one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """What a split of the one shares with another split of the other."""
    found = []
    for a in manifest.SPLITS:
        for b in manifest.SPLITS:
            left, right = one[one["split"] == a], other[other["split"] == b]
            if a == b or left.empty or right.empty:
                continue
            where = f"{a} of {both.first.file} and {b} of {both.second.file}"
            found += [f"{where}: {leak}" for leak in splits.leaks(left, right)]
            for names, what in ((both.contents, "picture (by content)"), (both.looks, "look")):
                shared = right["path"][_in(names(right), names(left))].tolist()
                if shared:
                    text = splits.count(f"{what} on both sides", shared)
                    found.append(one_line(f"{where}: {text}"))
    return found


def _is_there(both: Pair, one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """Which rows of the other are faces of the one: the same bytes, the same box."""
    known = {pair for pair in zip(both.contents(one), one["box"], strict=True) if pair[0]}
    paths = set(zip(one["path"], one["box"], strict=True))
    keys = zip(both.contents(other), other["path"], other["box"], strict=True)
    return np.array([(c, box) in known or (path, box) in paths for c, path, box in keys], bool)


def _in(names: list[str], others: list[str]) -> np.ndarray:
    known = set(others) - {""}
    return np.array([name in known for name in names], bool)


def _from(home: Path, path: str) -> str:
    """A path as seen from a folder: `../a/faces/x.jpg`, so that both may move together."""
    try:
        return Path(os.path.relpath(path, home)).as_posix() if path else ""
    except ValueError:  # another drive of Windows
        return path
