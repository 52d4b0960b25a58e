"""What prepare.py takes of a collection: which frames, which faces, how split and balanced."""

from typing import Literal

from pydantic import model_validator

from settings import Section, described


class Frames(Section):
    """Which frames of a clip are taken: one of the three rules."""

    count: int = described(32, "Frames of a clip, evenly spread over its time.", ge=1)
    every: int = described(0, "Instead: every k-th frame; 0: not.", ge=0)
    rate: float = described(0.0, "Instead: so many a second; 0: not.", "1/s", ge=0)
    detect_size: int = described(
        640, "Frames with a longer side are shrunk to it for detection only.", "px", ge=64
    )
    search_every: int = described(
        8,
        "Frames from one search for faces to the next at the most; between them known faces are "
        "followed. 1 searches each frame, as a GPU does.",
        ge=1,
    )
    resize: Literal["none", "by_width"] = described(
        "none", "by_width: DeepFake-Detect's rule, narrow frames grow and wide ones shrink."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> "Frames":
        if self.every and self.rate:
            raise ValueError("frames.every and frames.rate are two rules: set one of them to 0")
        return self
