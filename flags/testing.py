"""How a run is judged and what is shown of it: rule, comparison, heatmaps, experiment trackers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from settings import NumberOrText, OptionalText, PathText, Section, described, refuse_if

Rule = Literal["mean", "median", "trimmed", "top_third", "dfdc", "highest_frame", "highest_third"]
"""The names in rules.RULES."""

Tta = Literal["", "none", "flip", "crops10"]
"""Empty, or a name in scores.TTA."""


CamMethod = Literal[
    "GradCAM", "GradCAM++", "HiResCAM", "LayerCAM", "EigenCAM", "ScoreCAM", "AblationCAM"
]
"""The names in report.cams.METHODS."""


class Heatmaps(Section):
    count: int = described(12, "Pictures drawn: a third most wrong, most certain, random.", ge=1)
    path: PathText = described("", "One picture or a folder to explain instead of the test set.")
    method: CamMethod = described(
        "GradCAM",
        "How a layer's maps become one. EigenCAM is not about a class; ScoreCAM and AblationCAM "
        "run the network once a map: seconds to minutes a picture.",
    )


def _as_list(value: Any) -> Any:
    """One tag alone is a list of one, and none an empty one."""
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


Cards = Annotated[list[str], BeforeValidator(_as_list)]
"""Places in Markdown files, FILE.md#MARKER each."""

Tags = Annotated[list[NumberOrText], BeforeValidator(_as_list)]


class Tracking(Section):
    wandb: Literal["online", "offline", "off"] = described(
        "offline", "Weights & Biases: offline needs no account and no network."
    )
    tensorboard: Literal["on", "off"] = described("off", "TensorBoard files in the run folder.")
    project: str = described("deepfake-detection", "W&B project.")
    entity: OptionalText = described("", "W&B user or team; empty: your own default.")
    name: OptionalText = described("", "The run's name in W&B; empty: that of the run folder.")
    group: OptionalText = described("", "W&B group: runs that belong together.")
    tags: Tags = described([], "W&B tags to find runs by, as warp,lite0.")
    notes: OptionalText = described("", "A sentence about the run, for W&B.")
    artifact: Literal["none", "best", "last"] = described(
        "none", "Checkpoint that goes into the W&B run, with what describes it."
    )
    rows: int = described(
        1000, "Faces in a table of scores at the most; the worst mistakes come first.",
        ge=0, le=10_000,
    )  # fmt: skip
    timeout: int = described(20, "Longest wait for the W&B server at the start.", "seconds", ge=1)


Kinds = Annotated[
    list[Literal["jpeg", "h264", "blur", "noise", "resize", "brightness"]],
    BeforeValidator(_as_list),
]


class Perturb(Section):
    """What test.py --robustness does to the stored faces before the network's crop is cut."""

    kinds: Kinds = described(
        ["jpeg", "h264", "blur", "noise", "resize", "brightness"], "Kinds of change."
    )
    count: int = described(
        1000, "Faces, half of them fake as far as there are so many; 0: all.", ge=0
    )
    jpeg: list[int] = described([95, 80, 65, 50, 30], "JPEG qualities.", "1..100")
    h264: list[float] = described([18, 23, 28, 34, 40], "H.264 constant rate factors.", "0..51")
    blur: list[float] = described([0.5, 1, 1.5, 2, 3], "Sigmas of a Gaussian blur.", "px")
    noise: list[float] = described(
        [2.5, 5, 10, 15, 25], "Standard deviations of Gaussian noise.", "of 255"
    )
    resize: list[float] = described(
        [0.75, 0.5, 0.35, 0.25, 0.15], "Sides that a face is shrunk to, and grown again.", "share"
    )
    brightness: list[float] = described([0.4, 0.7, 1.3, 1.6, 2.0], "Factors of brightness.")

    @model_validator(mode="after")
    def _ranges(self) -> "Perturb":
        wrong = []
        for kind, (low, high) in RANGES.items():
            strengths = getattr(self, kind)
            if not strengths or not all(low <= strength <= high for strength in strengths):
                wrong.append(f"perturb.{kind} {strengths}: give values within {low:g}..{high:g}")
            elif len(set(strengths)) < len(strengths):
                wrong.append(f"perturb.{kind} {strengths}: name each strength once")
        if len(set(self.kinds)) < len(self.kinds):
            wrong.append(f"perturb.kinds {', '.join(self.kinds)}: name each kind once")
        return refuse_if(wrong, self)


RANGES = {
    "jpeg": (1, 100), "h264": (0, 51), "blur": (0, 50), "noise": (0, 255), "resize": (0.01, 1),
    "brightness": (0, 10),
}  # fmt: skip
"""The least and the largest strength of each kind of change."""


class Limits(Section):
    """How many validation faces, and films, may lie beyond the limits of a verdict."""

    alarms: float = described(
        0.05, "Of reals, beyond t_high, above which there are signs; of each source with 20 of "
        "them no more.", "share", gt=0, le=0.5,
    )  # fmt: skip
    misses: float = described(
        0.05, "Of fakes, beyond t_low, below which there are none.", "share", gt=0, le=0.5
    )


class Films(Section):
    """Films that calibrate.py makes of validation photographs, where validation has none."""

    frames: int = described(0, "Frames of each; 0: none are made.", ge=0, le=100)
    h264: list[float] = described(
        [18, 34], "Least and largest H.264 constant rate factor of a film.", "0..51"
    )
    resize: list[float] = described([0.4, 1.0], "Least and largest side it is shrunk to.", "share")
    motion: float = described(
        2.0,
        "Largest shift and growth of a frame, in % of the photograph, and turn, in degrees.",
        ge=0,
        le=20,
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Films":
        wrong = []
        for key in ("h264", "resize"):
            given, (low, high) = getattr(self, key), RANGES[key]
            if len(given) != 2 or not low <= given[0] <= given[1] <= high:
                wrong.append(f"films.{key} {given}: give a rising pair within {low:g}..{high:g}")
        return refuse_if(wrong, self)


class Compare(Section):
    """What test.py reads with --compare."""

    compare: list[str] = described([], "Folders of tested runs; the first is the reference.")
    out: str = described("./log/compare", "Folder for the comparison.", min_length=1)
    bootstrap: int = described(2000, "Resamples behind each 95 % interval; 0: none.", ge=0)

    @model_validator(mode="after")
    def _several(self) -> "Compare":
        if len(set(self.compare)) < 2 or len(set(self.compare)) < len(self.compare):
            named = ", ".join(self.compare) or "no run"
            raise ValueError(f"compare names {named}: give two runs or more, each once")
        return self
