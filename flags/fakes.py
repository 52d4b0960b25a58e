"""Self-made fakes: which recipe, and the settings of each."""

from typing import Literal

from pydantic import model_validator

from settings import Section, Share, described, refuse_if


class Warp(Section):
    """Face-warping artefacts: the face region resized, blurred, resized back."""

    scale_min: float = described(0.7, "Smallest resize of the face region.", gt=0)
    scale_max: float = described(1.5, "Largest resize of the face region.", gt=0)
    kernel: int = described(5, "Side of the Gaussian blur's kernel, odd.", "px", ge=1)
    detector: Literal["stored", "haar"] = described(
        "stored", "Face region: the stored box of the row, or a Haar cascade's."
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
        return refuse_if(wrong, self)


class Fakes(Section):
    """Fakes made from real faces; `type` is a file of fakes/ and names its group of settings."""

    type: Literal["none", "warp"] = described(
        "none", "warp: face-warping artefacts (Li & Lyu 2018)."
    )
    probability: Share = described(0.5, "Chance that a real training sample becomes a fake.")
    warp: Warp = described(Warp, "Settings of warp.")
