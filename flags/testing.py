"""What is shown of a run: heatmaps and experiment trackers."""

from typing import Literal

from settings import PathText, Section, described


class Heatmaps(Section):
    count: int = described(12, "Pictures drawn: a third most wrong, most certain, random.", ge=1)
    path: PathText = described("", "One picture or a folder to explain instead of the test set.")


class Tracking(Section):
    wandb: Literal["online", "offline", "off"] = described(
        "offline", "Weights & Biases: offline needs no account and no network."
    )
    tensorboard: Literal["on", "off"] = described("off", "TensorBoard files in the run folder.")
    project: str = described("deepfake-detection", "W&B project.")
    timeout: int = described(20, "Longest wait for the W&B server at the start.", "seconds", ge=1)
