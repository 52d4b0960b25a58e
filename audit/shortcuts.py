"""Does one measure alone tell real from fake? An AUC each, overall and by split, and the remedy."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

import curves
from audit.measures import MEASURES
from metrics import FAKE, REAL

CHANCE = 3.0
"""Standard errors that an AUC must be away from .5 to be more than chance: a check asks some
sixty times, and of sixteen faces an AUC of .60 says nothing."""

MARK = (
    "look for a caption, a watermark or a frame there, and cut the edge off all pictures "
    "(face.trim): a network learns it"
)

ADVICE = {
    "file_size": "encode both classes alike (--face.format, one encoder), or keep them PNG",
    "area": "store both classes from originals of one size, or shrink the larger ones first",
    "aspect": "crop to the face (data.crop True), so that all pictures are square",
    "jpeg_quality": "encode both classes anew with one quality (prepare.py does), and train with "
    "augment's compression: the blocks of the first encoding stay visible",
    "is_jpeg": "store both classes in one format (--face.format)",
    "bytes_per_pixel": "encode both classes alike; if they are, the fakes are smoother: see that "
    "the detector holds up when reals are blurred or compressed",
    "face_side": "choose reals and fakes with faces of one size, or set face.max_size so that the "
    "larger ones are shrunk",
    "face_share": "crop to the face (data.crop True): fakes are framed more tightly or more widely",
    "media_area": "take reals and fakes of one resolution, or shrink the larger originals first",
    "corner_top_left": MARK,
    "corner_top_right": MARK,
    "corner_bottom_left": MARK,
    "corner_bottom_right": MARK,
    "source": "add reals and fakes of each source, or balance by source (data.balance source): a "
    "network may learn the collection instead of the forgery",
}


NAMES = {**MEASURES, "source": "collection (source)"}


@dataclass(frozen=True)
class Shortcut:
    """How well one measure tells real from fake. auc: the larger of AUC and 1 - AUC, .5..1.

    split, source: of which rows; empty for all. more: the class with the larger values.
    certain: beyond chance.
    """

    measure: str
    split: str
    source: str
    auc: float
    reals: int
    fakes: int
    more: str
    certain: bool


NO_SOURCE = "(no source)"
"""What the rows without one are called beside the sources."""


def find(table: pd.DataFrame, splits: list[str]) -> list[Shortcut]:
    """All measures of `measures.table` over all rows, then in each split and of each source.

    A part without reals or without fakes tells nothing and is not in the answer.
    """
    table = table.assign(source_fakes=_share_of_fakes(table))
    sources = sorted(set(table["source"]))
    columns = {name: name for name in MEASURES}
    parts = [("", "", table)] + [(name, "", table[table["split"] == name]) for name in splits]
    if len(sources) > 1:
        columns["source"] = "source_fakes"
        parts += [("", name or NO_SOURCE, table[table["source"] == name]) for name in sources]
    found = [
        _shortcut(name, split, source, part["label"].to_numpy(int), part[column].to_numpy(float))
        for name, column in columns.items()
        for split, source, part in parts
        if name != "source" or not source
    ]
    return [shortcut for shortcut in found if shortcut is not None]


def to_warn_of(found: list[Shortcut], warn_from: float) -> list[Shortcut]:
    """The shortcuts: of a measure the one of all rows, else each split's and source's."""
    certain = [s for s in found if s.auc >= warn_from and s.certain]
    whole = {s.measure for s in certain if not s.split and not s.source}
    return [s for s in certain if s.measure not in whole or not (s.split or s.source)]


def _shortcut(
    name: str, split: str, source: str, labels: np.ndarray, values: np.ndarray
) -> Shortcut | None:
    labels, values = labels[np.isfinite(values)], values[np.isfinite(values)]
    reals, fakes = int((labels == REAL).sum()), int((labels == FAKE).sum())
    if min(reals, fakes) == 0:
        return None
    fake, ordered, _ = curves.ranked(labels, values)
    auc = float(curves.auc(*curves.cumulated(fake, ordered, np.ones(len(ordered)))[:2]))
    # Hanley and McNeil (1982), of no difference: the error of a rank sum.
    error = np.sqrt((reals + fakes + 1) / (12 * reals * fakes))
    certain = bool(abs(auc - 0.5) > CHANCE * error)
    more = "fakes" if auc >= 0.5 else "reals"
    return Shortcut(name, split, source, max(auc, 1 - auc), reals, fakes, more, certain)


def _share_of_fakes(table: pd.DataFrame) -> pd.Series:
    """How fake a face is by nothing but its collection."""
    return (table["label"] == FAKE).groupby(table["source"]).transform("mean")


def sentence(shortcut: Shortcut) -> str:
    """A warning in plain words, with what to do."""
    where = f" in {shortcut.split or shortcut.source}" if shortcut.split or shortcut.source else ""
    more = f", larger for {shortcut.more}" if shortcut.measure != "source" else ""
    return (
        f"{NAMES[shortcut.measure]} alone tells real from fake{where}: AUC {shortcut.auc:.2f} "
        f"({shortcut.reals:,} real, {shortcut.fakes:,} fake{more}); {ADVICE[shortcut.measure]}"
    )
