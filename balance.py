"""As many fakes as reals: fakes are left out by chance, whole videos first, methods alike."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metrics import FAKE, REAL
from splits import common_folder, scoped
from utils import sha256_text


def balance(rows: pd.DataFrame, how: str, seed: int) -> tuple[pd.DataFrame, int, list[str]]:
    """The rows that stay, in order, the number of fakes that were dropped, and notes.

    how: `none`, `overall` or `person` (fakes to the number of the reals of the same `identity`;
    a person without reals keeps no fake). Rows that have splits are balanced within each. Methods
    keep their proportions; of a method whole videos stay, and at most one is cut. Reals stay.
    """
    if how not in ("none", "overall", "person"):
        raise ValueError(f"unknown balance {how!r}")
    if how == "none" or len(rows) == 0:
        return rows, 0, []
    person = scoped(rows, "identity").tolist() if how == "person" else [""] * len(rows)
    table = pd.DataFrame({
        "split": rows["split"].tolist(),
        "person": person,
        "method": rows["method"].tolist(),
        "fake": (rows["label"] == FAKE).tolist(),
        "clip": _clips(rows),
    })  # fmt: skip
    kept = np.ones(len(rows), bool)
    alone, short = set(), 0
    for (split, name), part in table.groupby(["split", "person"]):
        fakes = part[part["fake"]]
        reals = len(part) - len(fakes)
        short += max(reals - len(fakes), 0)
        if reals == 0 and len(fakes) and how == "person":
            alone.add(name)
        kept[fakes.index] = False
        kept[_chosen(fakes, reals, f"{seed}/{split}/{name}")] = True
    notes = []
    if alone:
        shown = ", ".join(sorted(alone)[:5]) + (" ..." if len(alone) > 5 else "")
        notes.append(f"{len(alone):,} persons have fakes and no real: no fake is kept ({shown})")
    if short:
        notes.append(f"there are {short:,} reals more than fakes to match them: reals all stay")
    if how == "person" and (table["person"] == "").any():
        notes.append("rows without an identity were balanced together, as one person")
    if (rows["label"] != REAL).all():
        notes.append("there are no reals: no fake is kept")
    return rows[kept], int((~kept).sum()), notes


def _chosen(fakes: pd.DataFrame, wanted: int, seed: str) -> list[int]:
    """Positions of so many of the fakes (columns method, clip): all where there are no more."""
    if wanted >= len(fakes):
        return fakes.index.tolist()
    chosen: list[int] = []
    methods = fakes.groupby("method", sort=True)
    sizes = methods.size()
    counts = _proportional(sizes.tolist(), wanted, [sha256_text(seed, m) for m in sizes.index])
    for (_, part), count in zip(methods, counts, strict=True):
        clips = [(sha256_text(seed, clip), its.index) for clip, its in part.groupby("clip")]
        left = []
        for key, clip in sorted(clips, key=lambda pair: pair[0]):
            if len(clip) <= count:
                chosen += clip.tolist()
                count -= len(clip)
            else:
                left.append((len(clip), key, clip))
        if count:  # no whole clip fits: the shortest loses least
            size, _, clip = min(left, key=lambda item: item[:2])
            chosen += clip[np.arange(count) * size // count].tolist()
    return chosen


def _proportional(sizes: Sequence[int], wanted: int, ties: Sequence[str]) -> list[int]:
    """`wanted`, less than the sum of sizes, dealt in their proportion: largest remainders first."""
    total = sum(sizes)
    counts = [size * wanted // total for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: (-(sizes[i] * wanted % total), ties[i]))
    for i in order[: wanted - sum(counts)]:
        counts[i] += 1
    return counts


def _clips(rows: pd.DataFrame) -> list[str]:
    """What stays whole: a row's video, else the picture itself."""
    paths = [path.replace("\\", "/") for path in rows["path"].tolist()]
    common = len(common_folder(paths))
    videos = scoped(rows, "video").tolist()
    return [f"video {v}" if v else p[common:] for v, p in zip(videos, paths, strict=True)]
