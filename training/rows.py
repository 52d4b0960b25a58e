"""Which rows train and which validate, and what was left out of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

import dataset
import manifest
import splits
from failures import Failure, check_share
from fakes.donors import read_donors, upright
from flags import Config
from manifest import Manifest
from utils import UserError, sha256_file, sha256_text

UNKNOWN_PEOPLE = (
    "no row says identity, video or source_path: one person may be in training and in validation, "
    "and the validation then looks better than it is"
)


@dataclass(frozen=True)
class Rows:
    """Training and validation rows, and what a person should know about them."""

    train: pd.DataFrame
    valid: pd.DataFrame
    valid_name: str
    home: Path = Path()
    """The folder that paths are relative to."""
    left_out: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    random: bool = False
    """Whether the validation was split off at random."""
    pasted: pd.DataFrame | None = None
    """Rows of fakes.swap.donors, whose faces are pasted into others."""
    files: str = ""
    """Hash of the files that were read, as `files_of` gives it."""

    @property
    def used(self) -> pd.DataFrame:
        """All rows that the run looks at."""
        return pd.concat([self.train, self.valid, self.pasted])

    @property
    def unsafe_split(self) -> str:
        """What the manifest says of a validation that shares persons with training on purpose."""
        return splits.unsafe_split(self.train)


def read_rows(config: Config) -> Rows:
    """The rows of data.train, of what validates it, and of fakes.swap.donors; data.test is never
    read.

    Raises UserError where there is nothing to validate on, or where two that must not share a
    person, a video or a picture do.
    """
    if config.tmp_data:
        empty = pd.DataFrame(columns=[*manifest.COLUMNS, "file"])
        return Rows(empty, empty, "random pictures", files=files_of(config))
    if not config.data.train:
        raise UserError("data.train is empty: name a CSV or a folder, or set tmp_data")
    rows = replace(trained_and_validated(config), files=files_of(config))
    return _with_donors(rows, config) if config.fakes.donors else rows


def files_of(config: Config) -> str:
    """A hash of the CSVs that a training reads; of a folder, or of one that is gone, its name."""
    names = [config.data.train, config.data.valid, config.fakes.donors]
    return sha256_text(*(sha256_file(n) if n and Path(n).is_file() else n for n in names))


def _with_donors(rows: Rows, config: Config) -> Rows:
    """The same rows and those whose faces are pasted, of which none may be in the validation."""
    donors = read_donors(config.fakes.donors, config.data.fake_label)
    pasted = donors.split("", "train")
    if shared := splits.leaks(pasted, rows.valid):
        raise UserError(
            f"{config.fakes.donors} and the validation overlap:\n  " + "\n  ".join(shared)
        )
    if len(pasted) == 0:
        raise UserError(f"fakes.swap.donors {config.fakes.donors}: no row of it may train")
    return replace(
        rows,
        pasted=pasted,
        left_out=rows.left_out + _missing(donors, ("", "train")),
        notes=rows.notes + donors.warnings,
    )


def trained_and_validated(config: Config) -> Rows:
    """The same without the rows whose faces are pasted alone."""
    data = config.data
    whole = manifest.read(data.train, data.fake_label)
    if whole.has_splits and (whole.rows["split"] == "val").any():
        return _from(whole, whole.split("train"), whole.split("val"), _unused(config))
    # Rows that a manifest keeps for testing stay out of both.
    rows = whole.split("train") if whole.has_splits else whole.rows
    if data.random_split:
        shares = (1 - data.test_proportions, data.test_proportions)
        side = splits.random_split(rows, shares, ("train", "val"), config.seed)
        known = any((rows[c] != "").any() for c in ("identity", "video", "source_path", "media"))
        notes = () if known else (UNKNOWN_PEOPLE,)
        split = _from(whole, rows[side == "train"], rows[side == "val"], notes)
        return replace(split, random=True)
    if data.valid:
        other = manifest.read(data.valid, data.fake_label)
        valid = other.split("val") if other.has_splits else other.rows
        if shared := splits.leaks(rows, valid):
            raise UserError(f"{data.train} and {data.valid} overlap:\n  " + "\n  ".join(shared))
        both = _from(whole, rows, valid)
        return replace(
            both,
            valid_name=data.valid,
            left_out=both.left_out + _missing(other, ("val",)),
            notes=both.notes + other.warnings,
        )
    raise UserError(
        f"{data.train}: nothing to validate on: give it val rows, or set data.valid, or "
        "data.random_split: True"
    )


def _from(whole: Manifest, train: pd.DataFrame, valid: pd.DataFrame, notes: tuple = ()) -> Rows:
    return Rows(train, valid, whole.file, whole.home, _missing(whole), (*whole.warnings, *notes))


def _missing(whole: Manifest, used: tuple[str, ...] = ("train", "val")) -> tuple[Failure, ...]:
    """Files that are not there, of the splits that this training uses."""
    return whole.left_out(*used) if whole.has_splits else whole.left_out()


def _unused(config: Config) -> tuple[str, ...]:
    data = config.data
    named = {"data.random_split": data.random_split, "data.valid": data.valid}
    return tuple(
        f"{key} is set and not used: {data.train} has val rows of its own"
        for key, value in named.items()
        if value
    )


def find_their_faces(rows: Rows, config: Config, device: torch.device) -> Rows:
    """The same rows with their faces found; pictures that gave none are left out and named."""
    if config.tmp_data:
        return rows
    train, notes = rows.train, rows.notes
    if config.fakes.alone:
        train = train[train["label"] == manifest.REAL]
        notes += (f"fakes.alone: {len(rows.train) - len(train):,} forged rows do not train",)
    train, lost = dataset.locate_faces(train, config.data, config.face, device)
    valid, lost_too = dataset.locate_faces(rows.valid, config.data, config.face, device)
    left_out = (*rows.left_out, *lost, *lost_too)
    pasted = rows.pasted
    if pasted is not None:
        pasted, without = dataset.locate_faces(pasted, config.data, config.face, device)
        left_out += tuple(without)
        pasted, faceless = those_to_paste(pasted, config.fakes.donors)
        notes += faceless
    total = rows.used["path"].nunique() + len(rows.left_out)
    check_share(left_out, total, config.data.max_bad)
    require_classes(train, "training", fakes_on=config.fakes.type != "none")
    if config.fakes.type != "none" and not config.fakes.paired:
        require_mixture(train, config.fakes.probability)
    require_classes(valid, "validation", fakes_on=False)
    return replace(
        rows,
        train=train.assign(split="train"),
        valid=valid.assign(split="val"),
        pasted=None if pasted is None else pasted.assign(split="train"),
        left_out=left_out,
        notes=notes,
    )


def those_to_paste(rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that can give their face, and a note of those that cannot.

    Raises UserError where none can: fakes would silently be made in another way, or not at all.
    """
    landmarks = manifest.table(rows["file_landmarks"].to_numpy(), 10).reshape(-1, 5, 2)
    known = upright(landmarks)[1]
    if not known.any():
        found = "no face in its pictures"
        if len(rows):
            found = f"none of its {len(rows):,} faces has the five landmarks that it is pasted by"
        raise UserError(f"fakes.swap.donors {name}: {found}")
    without = int((~known).sum())
    note = f"{name}: {without:,} faces have no five landmarks of a face, and are not pasted"
    return rows[known].reset_index(drop=True), (note,) if without else ()


def require_mixture(rows: pd.DataFrame, probability: float) -> None:
    """With a chance of 0 or 1 the fakes that are made may leave one class only."""
    fakes_too = bool((rows["label"] == manifest.FAKE).any())
    if probability == 1 or (probability == 0 and not fakes_too):
        seen = "fakes" if probability else "reals"
        raise UserError(
            f"fakes.probability {probability:g} lets the network see {seen} only: set it between "
            "0 and 1"
        )


def require_classes(rows: pd.DataFrame, name: str, fakes_on: bool) -> None:
    """A set without samples or with one class only cannot serve, unless fakes are made of it."""
    if len(rows) == 0:
        raise UserError(f"the {name} set is empty")
    present = set(rows["label"])
    if present == {manifest.REAL} and fakes_on:
        return
    if len(present) == 1:
        which = "fakes" if present == {manifest.FAKE} else "reals"
        remedy = (
            "train with --fakes.type warp or blend, which make fakes of them"
            if name == "training" and which == "reals"
            else "add the other class (prepare.py writes fakes for validation and test)"
        )
        raise UserError(f"the {name} set has {which} only ({len(rows)} rows): {remedy}")


def samples(rows: Rows, config: Config) -> tuple[Dataset, Dataset]:
    """The training and the validation set."""
    if config.tmp_data:
        return (
            dataset.RandomFaces(config.tmp_data, config.seed),
            dataset.RandomFaces(config.tmp_data, config.seed + 1),
        )
    training = dataset.training_set(rows.train, config, rows.pasted)
    return training, dataset.evaluation_set(rows.valid, config, keep=True)


def labels_of(samples: Dataset) -> np.ndarray:
    """The label of each row of a set, before fakes are made of any."""
    return samples.labels  # type: ignore[attr-defined]
