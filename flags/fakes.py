"""Self-made fakes: which recipe, and the settings of each."""

from typing import Literal

from pydantic import model_validator

from settings import PathText, Section, Share, described, refuse_if


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


class Blending(Section):
    """How a face is changed and blended in; the defaults are those of self-blended images."""

    ratios: list[Share]
    hull: Literal["random", "face", "brows", "inner", "lower"] = described(
        "random",
        "What is blended: chin to hairline (face) or to the brows, brows to mouth (inner), nose "
        "to chin (lower); random: one of them.",
    )
    shift: float = described(
        20.0, "Largest shift of each colour channel.", "levels of 255", ge=0, le=255
    )
    shift_chance: Share = described(0.3, "Chance that the channels are shifted.")
    brightness: Share = described(0.1, "Largest change of brightness.")
    contrast: Share = described(0.1, "Largest change of contrast.")
    hue: float = described(
        0.0,
        "Largest change of hue; the paper's 0.3 is below a grey level.",
        "degrees",
        ge=0,
        le=180,
    )
    saturation: Share = described(0.0, "Largest change of saturation; the paper's is 0.3 / 255.")
    sharpen: Share = described(0.5, "Chance of sharpening; else it is shrunk and grown back.")
    shrink: list[int] = described([2, 4], "Shrunk to one in so many pixels.", min_length=1)
    elastic_alpha: float = described(
        50.0, "Strength of the mask's elastic deformation.", "px of a face of 256 px", ge=0
    )
    elastic_sigma: float = described(7.0, "Its smoothness.", "px of a face of 256 px", gt=0, le=50)
    canvas: list[int] = described(
        [192, 256], "Sides of the context crop when its mask is made.", "px", min_length=2,
        max_length=2,
    )  # fmt: skip
    blur: list[int] = described(
        [5, 25], "Sides of the mask's two blurs, odd.", "px of the canvas", min_length=2,
        max_length=2,
    )  # fmt: skip
    blur_sigma: list[int] = described(
        [5, 45], "Sigma of the second blur.", "px of the canvas", min_length=2, max_length=2
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Blending":
        wrong, own = [], type(self).__name__.lower()
        bounds = {"canvas": (64, 1024), "blur": (1, 99), "blur_sigma": (1, 200)}
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                wrong.append(
                    f"fakes.{own}.{name} [{low}, {high}] wants [low, high] within {least}..{most}"
                )
        if any(side % 2 == 0 for side in self.blur):
            wrong.append(f"fakes.{own}.blur {self.blur}: both must be odd")
        if min(self.shrink) < 1:
            wrong.append(f"fakes.{own}.shrink {self.shrink}: each must be 1 or more")
        return refuse_if(wrong, self)


class Blend(Blending):
    """Self-blended images; the defaults are the paper's (Shiohara & Yamasaki 2022)."""

    ratios: list[Share] = described(
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0], "One of these is how much is blended in.", min_length=1
    )
    shift_x: Share = described(
        0.03, "Largest shift of the source sideways, in context crops of two box sides."
    )
    shift_y: Share = described(0.015, "The same up and down.")
    scale: float = described(
        0.95, "Smallest scale of the source; the largest is one over it.", gt=0, le=1
    )


class Swap(Blending):
    """Another person's face, blended in (Face X-ray); the mask and the changes are those of blend,
    whose jitter of place is not needed: two faces never fit to the pixel.
    """

    ratios: list[Share] = described(
        [0.75, 1.0, 1.0, 1.0], "One of these is how much is blended in.", min_length=1
    )
    affine: Share = described(
        0.5, "Chance that the face is sheared onto the landmarks too; else turned, scaled, moved."
    )
    match: list[Share] = described(
        [0.4, 1.0], "How much of the target's colours it takes over, from and to.", min_length=2,
        max_length=2,
    )  # fmt: skip
    cloned: Share = described(0.15, "Chance that it is cloned by its gradients (Perez 2003).")
    change: Share = described(0.5, "Chance that source or target changes as in blend.")
    detail: list[Share] = described(
        [0.0, 0.0], "How much of the target's strength of fine detail it takes over, from and to.",
        min_length=2, max_length=2,
    )  # fmt: skip
    donors: PathText = described(
        "",
        "CSV of pictures whose faces are pasted, as `python -m fakes.generated` writes one; they "
        "train as nothing else. Empty: the other reals of the table.",
    )
    donated: Share = described(
        1.0, "donors: chance that the face is one of them; else another real's of the table."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Swap":
        wrong = [
            f"fakes.swap.{name} {[low, high]} wants [low, high]"
            for name, (low, high) in {"match": self.match, "detail": self.detail}.items()
            if low > high
        ]
        return refuse_if(wrong, self)


Recipe = Literal["warp", "blend", "swap"]


class Fakes(Section):
    """Fakes made from real faces; `type` is a file of fakes/ and names its group of settings."""

    type: Literal["none", "warp", "blend", "swap", "both", "mixed"] = described(
        "none",
        "warp: face-warping artefacts (Li & Lyu 2018); blend: self-blended images (Shiohara & "
        "Yamasaki 2022); swap: another real person's face (Li et al. 2020); both: warp and blend "
        "by blend_share; mixed: those of mix.",
    )
    probability: Share = described(
        0.5, "Chance that a real training sample becomes a fake; not used with pairs."
    )
    pairs: bool = described(
        False,
        "True: each real trains beside a fake of itself, in one batch, both changed alike; False: "
        "it becomes one by chance.",
    )
    alone: bool = described(
        False, "True: forged rows of data.train do not train; those that validate still do."
    )
    blend_share: Share = described(0.5, "both: share of blend.")
    mix: list[Recipe] = described(
        ["blend", "swap"],
        "mixed: one of these at a time; one that is named twice comes twice as often.",
        min_length=1,
    )
    warp: Warp = described(Warp, "Settings of warp.")
    blend: Blend = described(Blend, "Settings of blend.")
    swap: Swap = described(Swap, "Settings of swap.")

    @model_validator(mode="after")
    def _some(self) -> "Fakes":
        wrong = ["fakes.alone leaves no fakes to train on: name a fakes.type"]
        return refuse_if(wrong if self.alone and self.type == "none" else [], self)

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that `type` may call."""
        if self.type == "none":
            return ()
        groups = {"both": ("warp", "blend"), "mixed": tuple(dict.fromkeys(self.mix))}
        return groups.get(self.type, (self.type,))

    @property
    def donors(self) -> str:
        """The CSV whose faces are pasted, where a recipe pastes any and one is named."""
        return self.swap.donors if "swap" in self.recipes else ""

    @property
    def paired(self) -> bool:
        """Whether each real comes with a fake of itself."""
        return self.pairs and self.type != "none"


class Generated(Section):
    """What fakes/generated.py reads."""

    count: int = described(2000, "Faces.", ge=1)
    out: str = described("data/generated", "Folder for them and their faces.csv.", min_length=1)
    seed: int = described(42, "Seed of the faces.", ge=0, lt=2**32)
    side: int = described(256, "Side of a picture.", "px", ge=64, le=1024)
    truncation: list[Share] = described(
        [0.5, 1.0], "How far from the average face, from and to; 1: as it is drawn.",
        min_length=2, max_length=2,
    )  # fmt: skip
    quality: list[int] = described(
        [70, 95], "JPEG quality, from and to.", min_length=2, max_length=2
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Generated":
        wrong = []
        if self.truncation[0] > self.truncation[1]:
            wrong.append(f"truncation {self.truncation} wants [low, high]")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            wrong.append(f"quality {self.quality} wants [low, high] within 1..100")
        return refuse_if(wrong, self)
