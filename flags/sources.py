"""The collections: what prepare.py takes of each; a group bears the name of its source."""

import re
from typing import Literal

from pydantic import model_validator

from settings import PathText, Section, described

Compression = Literal["raw", "c23", "c40"]
"""FaceForensics++'s H.264 quantiser: raw is lossless, c23 looks clean, c40 does not."""

PATTERN_GROUPS = ("identity", "source_identity", "video", "source_video", "method")
"""Columns that a pattern of folder may read from a path."""


class FaceForensics(Section):
    methods: list[
        Literal["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"]
    ] = described(
        ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"],
        "Manipulations to take.",
        min_length=1,
    )
    quality: list[Compression] = described(
        ["c23"], "Compressions to take: raw, c23, c40.", min_length=1
    )
    splits: PathText = described(
        "", "Folder of the official train.json, val.json, test.json; empty: no official split."
    )


class Dfd(Section):
    quality: list[Compression] = described(
        ["c23"], "Compressions to take: raw, c23, c40.", min_length=1
    )


class CelebDf(Section):
    official_test: bool = described(
        True, "Clips of List_of_testing_videos.txt are the test split; False: no official split."
    )


class DeepfakeTimit(Section):
    quality: list[Literal["lower", "higher"]] = described(
        ["higher"], "Fakes to take: lower (64 px), higher (128 px).", min_length=1
    )
    vidtimit: PathText = described("", "Folder of VidTIMIT, the reals; empty: fakes only.")


class Folder(Section):
    name: str = described("folder", "What the manifest calls this collection.", min_length=1)
    label: Literal["", "real", "fake"] = described(
        "", "Label of all media; empty: the folders real/ and fake/ say it."
    )
    pattern: str = described(
        "",
        "Regular expression that finds people and clips in a path below the root, as "
        r"'(?P<video>\w+/(?P<identity>[a-z]+)_\d+)/'.",
    )

    @model_validator(mode="after")
    def _pattern_names_people(self) -> "Folder":
        try:
            groups = re.compile(self.pattern).groupindex
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"folder.pattern is no regular expression: {error}") from None
        strange = sorted(set(groups) - set(PATTERN_GROUPS))
        if strange:
            raise ValueError(
                f"folder.pattern has the group {strange[0]}; known are {', '.join(PATTERN_GROUPS)}"
            )
        if self.pattern and "identity" not in groups:
            raise ValueError(r"folder.pattern has no group for people: write (?P<identity>\w+)")
        return self


class Unsplash(Section):
    links: PathText = described("", "CSV of fetch.unsplash; empty: links.csv in the root.")
