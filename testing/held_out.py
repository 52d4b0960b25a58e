"""Leave one out: which rows train and which test where a source, or a method, is never seen."""

import difflib
from dataclasses import dataclass

import numpy as np
import pandas as pd

import splits
from failures import SHOWN
from manifest import FAKE, REAL
from utils import UserError


@dataclass(frozen=True)
class HeldOut:
    """What is left out, and the rows of both sides.

    train: rows of train and val (or without splits, as the manifest). valid: of another manifest.
    test: all rows of a source, whatever their split; of a method its fakes, and reals of the test
    split of the sources that they come from. linked: rows that share a person, a clip or a picture
    with the other side, and are on none.
    """

    name: str
    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame
    linked: int


def names(rows: pd.DataFrame, by: str, only: list[str]) -> list[str]:
    """The sources or methods to leave out, in order: all, or those that are asked for.

    Raises UserError where there are none to choose among, or an unknown one is asked for.
    """
    named = rows if by == "source" else rows[rows["label"] == FAKE]
    known = sorted(set(named[by].tolist()) - {""})
    if len(known) < 2:
        has = f"only {known[0]}" if known else "none"
        raise UserError(
            f"by {by}: the column `{by}` of data.train names {has}: to leave one out it takes two"
        )
    for name in only:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"only: no {by} {name!r} in data.train; {remedy}")
    return [name for name in known if name in only or not only]


def held_out(rows: pd.DataFrame, valid: pd.DataFrame, by: str, name: str) -> HeldOut:
    """Leave the source or the method `name` out of a manifest's rows, and of another's to validate.

    Raises UserError where nothing would be left to train on or to test.
    """
    # A column that one of the two has not would be NaN, which is a name to whoever asks for names.
    whole = pd.concat([rows, valid], ignore_index=True).fillna("")
    of_valid = np.arange(len(whole)) >= len(rows)
    held = (whole[by] == name).to_numpy() & ((by == "source") | (whole["label"] == FAKE).to_numpy())
    group = splits.groups(whole)
    keeps = ~held & (whole["split"] != "test").to_numpy()
    if by == "source":
        tests, linked = held, keeps & np.isin(group, group[held])
        keeps &= ~linked
    else:
        # Reals of the method's sources serve both sides: those of the test split are the test's.
        if not (whole["split"] == "test").any():
            raise UserError(
                "by method: data.train has no test rows: reals to test on must be others than "
                "those to train on: split it by prepare.py"
            )
        linked = held & np.isin(group, group[keeps])
        of_sources = whole["source"].isin(set(whole["source"][held])).to_numpy()
        reals = of_sources & (whole["label"] == REAL).to_numpy()
        tests = (held & ~linked) | (reals & (whole["split"] == "test").to_numpy())
    if not (tests & held).any():
        raise UserError(f"{by} {name}: each of its rows shares a person or a clip with training")
    if not keeps.any():
        raise UserError(f"{by} {name}: nothing is left to train on without it")
    return HeldOut(
        name,
        whole[keeps & ~of_valid].reset_index(drop=True),
        whole[keeps & of_valid].reset_index(drop=True),
        whole[tests].assign(split="").reset_index(drop=True),
        int(linked.sum()),
    )


def sentence(held: HeldOut) -> str:
    """What the console says of both sides."""
    counts = held.test["label"].value_counts()
    kinds = ", ".join(
        f"{counts.get(label, 0):,} {word}" for label, word in ((REAL, "real"), (FAKE, "fake"))
    )
    others = sorted(set(held.train["source"]) - {""})
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    linked = f"; {held.linked:,} rows linked with both sides are on none" if held.linked else ""
    return (
        f"{held.name}: {len(held.train) + len(held.valid):,} rows of "
        f"{', '.join(others[:SHOWN]) or 'no named source'}{more} train and validate, "
        f"{len(held.test):,} test ({kinds}){linked}"
    )
