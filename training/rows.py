"""Which rows train and which validate, what was left out of them, and how the console says so."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

import dataset
import manifest
import utils
from dataset import Failure
from flags import Config
from utils import UserError


@dataclass(frozen=True)
class Rows:
    """Training and validation rows, and what a person should know about them."""

    train: pd.DataFrame
    valid: pd.DataFrame
    valid_name: str
    left_out: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def read_rows(config: Config) -> Rows:
    """The rows of data.train and of what validates it; data.test is never read.

    Raises UserError where there is nothing to validate on, or where the two share a person, a
    video or a picture.
    """
    data = config.data
    if config.tmp_data:
        empty = pd.DataFrame(columns=[*manifest.COLUMNS, "file"])
        return Rows(empty, empty, "random pictures")
    if not data.train:
        raise UserError("data.train is empty: name a CSV or a folder, or set tmp_data")
    whole = manifest.read(data.train, data.fake_label)
    if data.random_split:
        # Rows that the manifest keeps for testing stay out of both.
        rows = whole.split("train", "val") if whole.has_splits else whole.rows
        shares = (1 - data.test_proportions, data.test_proportions)
        side = manifest.random_split(rows, shares, ("train", "val"), config.seed)
        train, valid = (rows[side == name] for name in ("train", "val"))
        return Rows(train, valid, data.train, notes=whole.warnings)
    if whole.has_splits and (whole.rows["split"] == "val").any():
        return Rows(whole.split("train"), whole.split("val"), data.train, notes=whole.warnings)
    if data.valid:
        other = manifest.read(data.valid, data.fake_label)
        train = whole.split("train") if whole.has_splits else whole.rows
        valid = other.split("val") if other.has_splits else other.rows
        if shared := manifest.leaks(train, valid):
            raise UserError(f"{data.train} and {data.valid} overlap:\n  " + "\n  ".join(shared))
        return Rows(train, valid, data.valid, notes=whole.warnings + other.warnings)
    raise UserError(
        f"{data.train}: nothing to validate on: give it val rows, or set data.valid, or "
        "data.random_split: True"
    )


def find_their_faces(rows: Rows, config: Config, device: torch.device) -> Rows:
    """The same rows with their faces found; pictures that gave none are left out and named."""
    if config.tmp_data:
        return rows
    train, lost = dataset.locate_faces(rows.train, config.data, config.face, device)
    valid, lost_too = dataset.locate_faces(rows.valid, config.data, config.face, device)
    require_classes(train, "training", fakes_on=config.fakes.type != "none")
    require_classes(valid, "validation", fakes_on=False)
    return replace(
        rows,
        train=train.assign(split="train"),
        valid=valid.assign(split="val"),
        left_out=(*lost, *lost_too),
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
            "train with --fakes.type warp, which makes fakes of them"
            if name == "training" and which == "reals"
            else "add the other class (prepare.py writes fakes for validation and test)"
        )
        raise UserError(f"the {name} set has {which} only ({len(rows)} rows): {remedy}")


def write_left_out(run: Path, failures: Iterable[Failure]) -> None:
    """left_out.csv of a run: every picture that gave no sample, and why."""
    if listed := [vars(failure) for failure in failures]:
        table = pd.DataFrame(listed)
        utils.write_atomic(run / "left_out.csv", table.to_csv(index=False, lineterminator="\n"))


def data_block(config: Config, rows: Rows) -> str:
    """The console's `[+] Data` block."""
    if config.tmp_data:
        return (
            f"[+] Data\n Random pictures : {config.tmp_data}\n Batch size : {config.batch_size}\n"
        )
    data, train, valid = config.data, rows.train, rows.valid
    lines = [
        "[+] Data",
        f" Train path : {data.train}",
        f" Test path : {data.test}",
        f" Batch size : {config.batch_size}",
        f" Valid proportions : {len(valid) / (len(train) + len(valid)):.3g}",
    ]
    for name, part in (("train", train), ("valid", valid)):
        fakes = int((part["label"] == manifest.FAKE).sum())
        lines.append(
            f" The number of {name} samples : {len(part):,} ({len(part) - fakes:,} real, "
            f"{fakes:,} fake)"
        )
    if config.fakes.type != "none":
        lines.append(
            f" Fakes : {config.fakes.type}, made of a real training sample with p = "
            f"{config.fakes.probability:g}"
        )
    if data.repeat > 1:
        lines.append(f" Passes in an epoch : {data.repeat}")
    if rows.left_out:
        file = Path(config.prefix) / "left_out.csv"
        lines.append(f" Left out : {len(rows.left_out)} pictures, listed in {file}")
    lines += [f" WARNING: {note}" for note in rows.notes]
    return "\n".join(lines) + "\n"
