"""How a run is judged and what is shown of it: rule, comparison, heatmaps, experiment trackers."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from settings import NumberOrText, OptionalText, PathText, Section, described

Rule = Literal["mean", "median", "trimmed", "top_third", "dfdc", "highest_frame"]
"""The names in rules.RULES."""


class Heatmaps(Section):
    count: int = described(12, "Pictures drawn: a third most wrong, most certain, random.", ge=1)
    path: PathText = described("", "One picture or a folder to explain instead of the test set.")
    method: Literal[
        "GradCAM", "GradCAM++", "HiResCAM", "LayerCAM", "EigenCAM", "ScoreCAM", "AblationCAM"
    ] = described(
        "GradCAM",
        "How a layer's maps become one. EigenCAM is not about a class; ScoreCAM and AblationCAM "
        "run the network once a map: seconds to minutes a picture.",
    )  # fmt: skip


def _as_list(value: Any) -> Any:
    """One tag alone is a list of one, and none an empty one."""
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


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
