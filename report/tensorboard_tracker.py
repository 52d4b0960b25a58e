"""TensorBoard: scalars, pictures, curves, histograms, tables as text, and a row of HPARAMS."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faces.image import decode_image, read_image
from metrics import FAKE, REAL, confusion
from report import plots
from report.page import Heatmap
from report.wandb_tracker import description


class TensorBoardTracker:
    """TensorBoard's files in `folder`.

    `train_loss` becomes `loss/train`: TensorBoard makes a section of what stands before the slash,
    so training and validation lie side by side, and a card overlays one curve for each run of
    `--logdir log`. The tab Custom Scalars shows both in one chart, the tab HPARAMS one row a run:
    the settings that decide what is learned, and its numbers, those of tests too.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], resume: bool = False, epoch: int = 0
    ) -> None:
        """config: the resolved configuration, empty for a test. epoch: the one that is shown."""
        from torch.utils.tensorboard import SummaryWriter

        self.open = lambda purge_step: SummaryWriter(str(folder), purge_step=purge_step)
        self.writer: Any = self.open(None)
        self.resume, self.epoch, self.trains = resume, epoch, bool(config)
        if config:
            names = ("loss", "accuracy", "precision", "recall")
            both = {name: ["Multiline", [f"{name}/train", f"{name}/valid"]] for name in names}
            self.writer.add_custom_scalars({"training and validation": both})
            self.writer.add_text("config", _code(config))
            self._session(0, hyperparameters(config))

    def log(self, epoch: int, values: dict[str, float]) -> None:
        if self.resume:
            # What earlier files hold from this epoch on comes again: TensorBoard forgets it.
            self.writer.close()
            self.writer = self.open(epoch)
            self.resume = False
        self.epoch = epoch
        for name, value in values.items():
            part, _, rest = name.partition("_")
            if name != "epoch":
                tag = f"{rest}/{part}" if part in ("train", "valid") else name
                self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def summary(self, values: dict[str, float | int]) -> None:
        self.writer.add_text("summary", _code(values), self.epoch)
        for name, value in values.items():
            if not name.endswith(("_low", "_high")):  # an interval's ends are no curves
                self.writer.add_scalar(name, value, self.epoch)

    def picture(self, name: str, path: Path) -> None:
        self.writer.add_image(name, read_image(path), self.epoch, dataformats="HWC")

    def plots(self, name: str, labels: np.ndarray, scores: np.ndarray, threshold: float) -> None:
        # A name of its own: of two things under one name TensorBoard shows one.
        self.writer.add_pr_curve(f"{name}/pr_curve", labels == FAKE, scores, self.epoch)
        for kind, label in (("real", REAL), ("fake", FAKE)):
            if (own := scores[labels == label]).size:
                self.writer.add_histogram(f"{name}/scores/{kind}", own, self.epoch)
        drawn = {
            "roc": plots.roc(labels, scores),
            "precision_recall": plots.precision_recall(labels, scores),
            "histogram": plots.histogram(labels, scores, threshold),
            "confusion": plots.confusion(**confusion(labels, scores, threshold)),
        }
        for key, plot in drawn.items():
            picture = decode_image(plot.png())
            self.writer.add_image(f"{name}/{key}", picture, self.epoch, dataformats="HWC")

    def heatmaps(self, name: str, entries: Sequence[Heatmap]) -> None:
        # TensorBoard knows no captions: ours are drawn into the picture.
        for number, entry in enumerate(entries, 1):
            self.picture(f"{name}/{number:02d} {entry.group}", Path(entry.picture))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        self.writer.add_text(name, text, self.epoch)

    def artifact(self, checkpoint: Path) -> None:
        """TensorBoard holds no files: what describes the checkpoint, as text."""
        text = _code({"file": checkpoint.name, **description(checkpoint)})
        self.writer.add_text("checkpoint", text, self.epoch)

    def close(self) -> None:
        if self.trains and sys.exc_info()[0] is None:
            self._session(1, {})
        self.writer.close()

    def _session(self, end: int, values: dict[str, Any]) -> None:
        """Begin (0) or end (1) the run's row of HPARAMS.

        SummaryWriter.add_hparams would make a second run of it; this one's own numbers are its
        metrics. Nor is there a list of the columns, which TensorBoard would take from one run only.
        """
        from torch.utils.tensorboard.summary import hparams

        self.writer.file_writer.add_summary(hparams(values, {})[1 + end])


def hyperparameters(config: dict[str, Any]) -> dict[str, float | str]:
    """The settings that decide what is learned, dotted, as numbers and text."""
    from settings import flat
    from training.resume import FREE_TO_CHANGE  # as in description(): timm imports wandb

    free = tuple(f"{key}." for key in FREE_TO_CHANGE)
    deciding = {k: v for k, v in flat(config).items() if not f"{k}.".startswith(free)}
    # TensorBoard compares numbers and text; True is a number to it.
    return {
        key: value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        for key, value in deciding.items()
    }


def _cell(value: Any) -> str:
    """A value as a cell of Markdown."""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = value.name if isinstance(value, Path) else "" if value is None else str(value)
    return text.replace("|", "\\|")


def _code(values: dict[str, Any]) -> str:
    """Values as the Markdown code block that TensorBoard shows."""
    return "    " + json.dumps(values, indent=2, default=str).replace("\n", "\n    ")
