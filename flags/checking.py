"""Splits, balance, and what is asked of manifests: check, merge, overlap."""

from typing import Literal

from pydantic import model_validator

from settings import PathText, Section, Share, described

Rule = Literal["auto", "ratio", "last_persons", "official", "unsafe_within_person"]


class Split(Section):
    """Who goes to train, val and test."""

    rule: Rule = described(
        "auto",
        "auto: official where the collection has one, else ratio; ratio: split.shares, by persons "
        "and linked clips; last_persons: the last split.persons by name are test, the others 9:1 "
        "by person; official: the collection's own; unsafe_within_person: 9:1 of each person's "
        "pictures, which inflates the validation.",
    )
    shares: list[float] = described(
        [0.8, 0.1, 0.1], "Shares of train, val and test; 0,0,1: to be tested on alone.",
        min_length=3, max_length=3,
    )  # fmt: skip
    persons: int = described(1, "Persons that last_persons and unsafe_within_person test on.", ge=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Split":
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"split.shares {self.shares} must sum to 1, as [.8, .1, .1]")
        if self.shares[0] == 0 and self.shares[2] < 1:
            raise ValueError(f"split.shares {self.shares}: train needs a share above 0")
        if self.shares[2] == 1 and self.rule not in ("auto", "ratio"):
            raise ValueError(f"split.rule {self.rule}: split.shares 0,0,1 leaves nothing to split")
        return self


class Balance(Section):
    """How many fakes stay."""

    how: Literal["none", "overall", "person"] = described(
        "none", "Fakes are undersampled to the number of reals: over all, or of each person."
    )


class NearDuplicates(Section):
    """Which pictures look alike."""

    distance: int = described(
        4, "Perceptual hashes that differ in so many bits are one picture; -1: not looked for.",
        "bits of 64", ge=-1, le=12,
    )  # fmt: skip
    per_track: int = described(
        2, "Faces of each track of a video that are looked at; 0: all.", ge=0
    )


class Files(Section):
    """What all that reads manifests and their pictures shares."""

    fake_label: int | str | None = described(
        None, "Which value of the label column means fake, where the CSV does not say."
    )
    near_duplicates: NearDuplicates = described(NearDuplicates, "Pictures that look alike.")
    workers: int = described(2, "Pictures read at a time.", ge=1, le=64)


class Check(Files):
    """What `prepare.py check` reads."""

    out: PathText = described("", "Folder for check.json and check.csv; empty: the manifest's.")
    warn_from: Share = described(
        0.6, "AUC from which a measure that tells real from fake alone is a shortcut.", ge=0.5
    )


class Merge(Files):
    """What `prepare.py merge` reads."""

    out: PathText = described("", "The new manifest, a .csv.")
    apart: bool = described(
        False, "Sources of one name are two collections: the second's get another name."
    )


class Overlap(Files):
    """What `prepare.py overlap` reads."""

    out: PathText = described("", "CSV to write the overlapping rows to; empty: none.")
