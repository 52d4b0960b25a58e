"""Real faces that are pasted into the pictures of others: who is drawn for whom."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import manifest
from faces.image import UnreadableImage
from fakes import Donor, Draw, NoFake
from fakes.outline import LIKENESS, MEAN_FACE
from manifest import Manifest
from utils import UserError

LOOKED_AT, AMONG = 60, 8
"""So many faces are drawn by chance, and the donor is one of so many of them that are held most
alike: the very nearest of all would be the same few again and again."""


@dataclass(frozen=True)
class Donors:
    """The real faces of a table. rows [n]: their numbers in it. shapes [n, 5], complex: where
    the landmarks of each stand when it is brought onto an average face. groups [all]: rows of one
    number are of one person, as far as anybody knows. landmarks [all, 5, 2]. read: the picture of
    a row.
    """

    rows: np.ndarray
    shapes: np.ndarray
    groups: np.ndarray
    landmarks: np.ndarray
    read: Callable[[int], np.ndarray]

    def of(self, row: int) -> Draw:
        """How somebody else is drawn whose face is held like that of this row."""
        return partial(self._drawn, row)

    def _drawn(self, row: int, random: np.random.Generator) -> Donor:
        """Raises NoFake where there is nobody else, or their picture cannot be read."""
        shape, known = upright(self.landmarks[row : row + 1])
        if not known.any():
            raise NoFake("the landmarks are not those of a face")
        some = random.integers(0, max(len(self.rows), 1), min(LOOKED_AT, 9 * len(self.rows)))
        others = [i for i in np.unique(some) if self.groups[self.rows[i]] != self.groups[row]]
        if not others:
            raise NoFake("there is no other person's real face with landmarks to paste")
        apart = np.abs(self.shapes[others] - shape).sum(1)
        nearest = np.argsort(apart, kind="stable")[:AMONG]
        chosen = int(self.rows[others[nearest[random.integers(len(nearest))]]])
        try:
            return Donor(self.read(chosen), self.landmarks[chosen], chosen)
        except UnreadableImage as error:
            raise NoFake(f"the face to paste cannot be read: {error}") from error


@dataclass(frozen=True)
class Either:
    """Two tables of donors: one of `first` with a chance of `share`, else one of `second`."""

    first: Donors
    second: Donors
    share: float

    def of(self, row: int) -> Draw:
        """As of Donors; `row` is the same face in both."""
        return partial(self._drawn, row)

    def _drawn(self, row: int, random: np.random.Generator) -> Donor:
        return (self.first if random.random() < self.share else self.second).of(row)(random)


def read_donors(file: str, fake_label: int | str | None = None) -> Manifest:
    """The rows of fakes.swap.donors. Raises UserError, which says how to get a missing one."""
    if not Path(file).exists():
        raise UserError(
            f"fakes.swap.donors {file}: no such CSV or folder. Faces of nobody are drawn by `make "
            'generator`, then `python -m fakes.generated`; --fakes.swap.donors "" pastes those of '
            "the other reals"
        )
    try:
        return manifest.read(file)  # its own header says more than a setting of other rows
    except UserError as own:
        if fake_label is None:
            raise
        try:
            return manifest.read(file, fake_label)
        except UserError:
            raise own from None


def donors(
    landmarks: np.ndarray,
    groups: np.ndarray,
    real: np.ndarray,
    read: Callable[[int], np.ndarray],
) -> Donors:
    """The rows that can give their face: real ones, whose landmarks are those of a face.

    landmarks: [n, 5, 2], NaN where there are none. groups: int [n], equal for rows of one person,
    clip or picture (metrics.grouping). real: bool [n].
    """
    shapes, known = upright(landmarks)
    rows = np.flatnonzero(known & real)
    return Donors(rows, shapes[rows].astype(np.complex64), groups, landmarks, read)


def upright(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [n, 5, 2] brought onto an average face, complex [n, 5], and which are a face's.

    The same turn and scale as fakes.outline.similarity gives, for many at once.
    """
    z = landmarks[..., 0] + 1j * landmarks[..., 1]
    z = z - z.mean(1, keepdims=True)
    w = np.asarray(MEAN_FACE) @ [1, 1j]
    w = w - w.mean()
    onto = z.conj() @ w
    length = (np.abs(z) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.abs(onto) / np.sqrt(length * np.vdot(w, w).real)
        shapes = z * (onto / length)[:, None]
    return shapes, np.isfinite(alike) & (alike >= LIKENESS)
