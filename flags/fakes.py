"""Self-made fakes: which recipe, and the settings of each."""

from typing import Literal

from pydantic import model_validator

from settings import Section, Share, described, refuse_if


class Warp(Section):
    """Face-warping artefacts: the face region resampled, blurred, put back."""

    scale_min: float = described(0.7, "Smallest resize of the face region.", gt=0)
    scale_max: float = described(1.5, "Largest resize of the face region.", gt=0, le=8)
    kernel: int = described(5, "Side of the Gaussian blur's kernel, odd.", "px", ge=1)
    detector: Literal["stored", "haar"] = described(
        "stored", "Face region: the stored box of the row, or a Haar cascade's."
    )
    align: bool = described(
        False,
        "True: the face is turned upright into a square by its landmarks, and back (Li & Lyu); "
        "False: its box is resized (KAIST).",
    )
    size_unit: Literal["px", "face"] = described(
        "px",
        "align: side of the square; px: size_min to size_max; face: scale_min to scale_max of "
        "the face's own.",
    )
    size_min: int = described(64, "align: smallest side of the square.", "px", ge=8)
    size_max: int = described(127, "align: largest side of the square.", "px", le=2048)
    hull: Share = described(
        0.0, "Chance that only the convex hull of brows and mouth is kept; Li & Lyu: 0.5."
    )
    feather: float = described(
        0.0, "Soft edge, fading inwards, as a share of the region's side; 0: hard.", ge=0, le=0.5
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Warp":
        wrong = []
        if self.kernel % 2 == 0:
            wrong.append(f"fakes.warp.kernel {self.kernel} must be odd: use {self.kernel + 1}")
        if self.scale_min > self.scale_max:
            wrong.append(
                f"fakes.warp.scale_min {self.scale_min:g} is larger than fakes.warp.scale_max "
                f"{self.scale_max:g}: swap them"
            )
        if self.size_min > self.size_max:
            wrong.append(
                f"fakes.warp.size_min {self.size_min} is larger than fakes.warp.size_max "
                f"{self.size_max}: swap them"
            )
        if self.align and self.detector == "haar":
            wrong.append(
                "fakes.warp.detector haar finds a box and no landmarks, and fakes.warp.align needs "
                "those of the row: set fakes.warp.detector to stored"
            )
        return refuse_if(wrong, self)


class Fakes(Section):
    """Fakes made from real faces; `type` is a file of fakes/ and names its group of settings."""

    type: Literal["none", "warp"] = described(
        "none", "warp: face-warping artefacts (Li & Lyu 2018)."
    )
    probability: Share = described(0.5, "Chance that a real training sample becomes a fake.")
    warp: Warp = described(Warp, "Settings of warp.")
