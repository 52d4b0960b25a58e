"""The faces: where they are, how they are cut out, what the network is shown."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from settings import PathText, Section, Share, described, not_a_bool


def _as_margin(value: Any) -> Any:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    if not re.fullmatch(r"\d+(\.\d+)?(px|%)?", text):
        raise ValueError("give pixels (50 or 50px) or a share of the box (30%)")
    return text if text.endswith(("px", "%")) else f"{text}px"


Margin = Annotated[str, BeforeValidator(_as_margin)]
"""Context around the face box, on each side: `30%` of the box or `50px` of the stored crop."""


def parse_margin(margin: str) -> tuple[float, str]:
    """`"30%"` -> (30.0, "%"), `"50px"` -> (50.0, "px")."""
    unit = "%" if margin.endswith("%") else "px"
    return float(margin.removesuffix(unit)), unit


def _as_one_or_more(value: Any) -> Any:
    """One text alone, several as a list: a single manifest is written as it always was."""
    several = value if isinstance(value, list) else ["" if value is None else value]
    if twice := sorted({str(name) for name in several if several.count(name) > 1}):
        raise ValueError(f"names {', '.join(twice)} twice: each collection counts once")
    if len(several) > 1 and "" in several:
        raise ValueError("names a CSV or folder that is empty: remove it")
    return several if len(several) > 1 else several[0] if several else ""


OneOrMore = Annotated[str | list[str], BeforeValidator(_as_one_or_more)]
"""One path or several; `--data.test a.csv --data.test b.csv` on the command line."""


class Data(Section):
    train: PathText = described("", "CSV of faces, or a folder with real/ and fake/, to train on.")
    valid: PathText = described(
        "", "CSV or folder to validate on, where data.train has no val rows."
    )
    test: OneOrMore = described("", "CSVs or folders for test.py; train.py never reads them.")
    random_split: bool = described(False, "Take test_proportions of data.train as validation.")
    test_proportions: float = described(
        0.2, "Share of data.train held out by random_split.", gt=0, lt=1
    )
    crop: bool = described(True, "Find faces once and cut them out; False takes pictures whole.")
    num_classes: Annotated[Literal[1, 2], BeforeValidator(not_a_bool)] = described(
        2, "2: softmax over real and fake; 1: one sigmoid."
    )
    fake_label: int | str | None = described(
        None, "Which value of the label column means fake, where the CSV does not say."
    )
    repeat: int = described(1, "Passes over the training rows in one epoch (small sets).", ge=1)
    balance: Literal["none", "class", "source", "source_root"] = described(
        "none",
        "Batches hold reals and fakes (class), or those of each source, equally often; "
        "source_root: by the square root of how many there are.",
    )
    memory: Literal["none", "ram", "file"] = described(
        "none", "Decoded pictures are kept in memory, or in a memory-mapped file in data.cache."
    )
    max_bad: Share = described(0.05, "Share of unreadable pictures above which a run stops.")
    cache: PathText = described("data/cache", "Folder for the face crops that data.crop finds.")

    @property
    def balance_power(self) -> float:
        """What the size of a cell counts for in batches: 0 all alike, 1 as they are."""
        return {"none": 1.0, "source_root": 0.5}.get(self.balance, 0.0)

    @property
    def tests(self) -> list[str]:
        """The CSVs and folders of `test`, one after another."""
        several = self.test if isinstance(self.test, list) else [self.test]
        return [name for name in several if name]


class Face(Section):
    """The crop recipe: travels in the checkpoint, so that test and predict cut alike."""

    detector: Literal["mtcnn", "haar"] = described("mtcnn", "Face detector.")
    thresholds: list[Share] = described(
        [0.6, 0.7, 0.7], "MTCNN's thresholds for its three stages.", min_length=3, max_length=3
    )
    confidence: Share = described(0.95, "Faces that MTCNN is less sure of are not kept.")
    min_size: int = described(
        20, "About the smallest face looked for, in the picture that is searched.", "px", ge=10
    )
    smallest: float = described(
        0.0,
        "The same as a share of the picture's longer side; the larger of the two counts.",
        ge=0,
        lt=1,
    )
    detect_size: int = described(
        1024, "Pictures with a longer side are shrunk to it for detection only.", "px", ge=64
    )
    select: Literal["largest", "all"] = described(
        "largest", "Keep a picture's largest face, or all."
    )
    no_face: Literal["drop", "whole"] = described(
        "drop", "A picture without a face is left out, or taken whole."
    )
    grow: float = described(
        2.0, "Side of the stored context crop, in sides of the face box.", ge=1, le=4
    )
    max_size: int = described(
        512, "Longest side of the stored crop; larger ones are shrunk.", "px", ge=64
    )
    trim: float = described(
        0.0,
        "How much of each edge of a picture no crop shows, as a share of its shorter side: where "
        "captions or watermarks of one class stand. Stored faces are read as they are.",
        ge=0,
        le=0.25,
    )
    format: Literal["jpg", "png"] = described(
        "jpg", "Stored crop: JPEG 95 with 4:4:4 colour, or PNG, four times larger and slower."
    )
    margin: Margin = described(
        "30%", "Context that the network sees around the box, each side.", "% of box, or px"
    )
    pad: Literal["none", "reflect", "black"] = described(
        "none",
        "Crops that stick out of the picture are moved inside (none), or filled up with what lies "
        "at its edge, mirrored, or with black.",
    )
    align: bool = described(
        False, "Turn the network's crop until the eyes are level; needs the five points."
    )

    @model_validator(mode="after")
    def _points_to_align_by(self) -> "Face":
        if self.align and self.detector == "haar":
            raise ValueError(
                "face.align needs the five points, which haar does not give: use mtcnn"
            )
        if self.align and self.no_face == "whole":
            raise ValueError(
                "face.align needs the five points, face.no_face: whole keeps pictures without "
                "them: set face.no_face to drop"
            )
        return self

    @model_validator(mode="after")
    def _margin_inside_the_stored_crop(self) -> "Face":
        if self.margin.endswith("%"):
            needed = 1 + 2 * float(self.margin[:-1]) / 100
            if needed > self.grow + 1e-9:
                raise ValueError(
                    f"face.margin {self.margin} looks beyond the stored crop: "
                    f"set face.grow to {needed:g} or more"
                )
        return self


class InputSize(Section):
    height: int = described(224, "Height of the network's input.", "px", ge=16)
    width: int = described(224, "Width of the network's input.", "px", ge=16)
