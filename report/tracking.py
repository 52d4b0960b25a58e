"""Experiment trackers: Weights & Biases and TensorBoard behind one small interface.

Trackers only watch: whatever goes wrong in one is said once, that tracker is switched off, and
the run goes on. W&B's key comes from WANDB_API_KEY or `wandb login`, never from a setting.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

import flags
from metrics import FAKE, THRESHOLD, Summary
from report.page import Heatmap, Mistake
from report.tensorboard_tracker import TensorBoardTracker
from report.wandb_tracker import (
    RUN_ID,
    WandbTracker,
    Which,
    in_a_sweep,
    new_run_id,
    one_line,
    own_run_id,
)
from settings import load

Say = Callable[[str], None]

SHOWN = ("path", "label", "score", "source", "method", "identity", "video", "frame")
"""Columns of scores.csv that a tracker's table shows, where they hold something."""


class Tracker(Protocol):
    """What a command tells a tracker; any method may raise, `Trackers` guards it.

    A name with a slash, as `test/roc`, stands in the section before the slash.
    """

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """The numbers of one epoch, under their own names (`train_loss`, `valid_loss`, `lr`)."""

    def summary(self, values: dict[str, float | int]) -> None:
        """Numbers of the whole run (`best_epoch`, `test/auc`)."""

    def picture(self, name: str, path: Path) -> None:
        """A picture file, shown under `name` beside the epoch that was logged last."""

    def plots(self, name: str, labels: np.ndarray, scores: np.ndarray, threshold: float) -> None:
        """ROC, precision-recall, confusion matrix and histogram of the scores, below `name`.

        labels: [n], 0 or 1. scores: [n], 0..1. threshold: 0..1, called fake from here on.
        """

    def heatmaps(self, name: str, entries: Sequence[Heatmap]) -> None:
        """Drawn explanations with their captions, below `name` by their group."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table; a cell that is a Path is a picture file, None an empty cell."""

    def artifact(self, checkpoint: Path) -> None:
        """A checkpoint file, with what describes it."""

    def close(self) -> None:
        """Write everything out; the tracker takes no more calls."""


# ---------------------------------------------------------------------------------- start


def start(
    settings: flags.Tracking,
    run_dir: Path,
    name: str,
    config: dict[str, Any],
    say: Say,
    resume: bool = False,
) -> "Trackers":
    """Open the trackers of a training, with all their files under `run_dir`.

    name: the run's name in W&B where tracking.name is empty. config: the resolved configuration,
    as plain values. say: takes each sentence meant for a person. resume: continue the run that
    `run_dir` holds. Raises nothing of a tracker's own: one that does not open is said and left
    out. In a sweep W&B itself gives a run its id, name, project and entity.
    """
    trackers, folder = Trackers(say, settings), run_dir.resolve()
    named = settings.name or ("" if in_a_sweep() else name)

    def open_wandb() -> Tracker:
        which = Which(own_run_id(folder, say, resume), named, config, "train", resume)
        return WandbTracker(settings, folder, which, say)

    if settings.wandb != "off":
        trackers.add("W&B", "wandb", open_wandb)
    if settings.tensorboard == "on":
        trackers.add(
            "TensorBoard",
            "tensorboard",
            lambda: TensorBoardTracker(folder / "tensorboard", config, resume),
        )
    return trackers


def join(
    settings: flags.Tracking,
    run_dir: Path,
    checkpoint: Path,
    epoch: int,
    config: dict[str, Any],
    say: Say,
) -> "Trackers":
    """Open the trackers of a test, whose results belong to the run that trained `checkpoint`.

    W&B: where the checkpoint is one of `run_dir` and the training was tracked, the test goes on
    in the training's run (its id is in `run_dir`/wandb_run_id, its project in config.yaml). An
    offline test is one more offline part, and `wandb sync` joins parts of one id. Where there is
    no such run, as the training was not tracked or the weights come from elsewhere, `offline`
    (the default) starts none, and `online` starts one of its own, of job type `test`.
    TensorBoard: the same files as the training's; of a foreign checkpoint, in `run_dir`/test.
    epoch: the checkpoint's, at which TensorBoard shows the results. Other arguments as for start().
    """
    trackers, folder = Trackers(say, settings), run_dir.resolve()
    own = checkpoint.resolve().parent.parent == folder
    trained = own and (folder / RUN_ID).is_file()

    def open_wandb() -> Tracker:
        if not trained:
            which = Which(new_run_id(), settings.name or folder.name, config, "test")
            return WandbTracker(settings, folder, which, say)
        where = load(flags.Config, str(folder / "config.yaml")).tracking
        run_id = (folder / RUN_ID).read_text(encoding="utf-8").strip()
        which = Which(run_id, resume=True, step=epochs(folder) + 1)
        there = settings.model_copy(update={"project": where.project, "entity": where.entity})
        return WandbTracker(there, folder, which, say)

    if settings.wandb == "online" or (settings.wandb == "offline" and trained):
        trackers.add("W&B", "wandb", open_wandb)
    if settings.tensorboard == "on":
        events = (folder if own else folder / "test") / "tensorboard"
        trackers.add(
            "TensorBoard", "tensorboard", lambda: TensorBoardTracker(events, {}, epoch=epoch)
        )
    return trackers


def epochs(run_dir: Path) -> int:
    """Epochs that a run has finished: the rows of its metrics.csv."""
    file = run_dir / "metrics.csv"
    return len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0


# ----------------------------------------------------------------------------------- tell


class Trackers:
    """Trackers that cannot stop a run: one that raises is said, switched off and counted.

    failed: trackers switched off, with their errors. missed: calls that they did not record.
    """

    def __init__(self, say: Say, settings: flags.Tracking) -> None:
        self.say, self.settings = say, settings
        self.active: dict[str, Tracker] = {}
        self.failed: dict[str, str] = {}
        self.missed: Counter[str] = Counter()

    def add(self, name: str, package: str, open_tracker: Callable[[], Tracker]) -> None:
        """Open a tracker; `package` is what pip installs where it is missing."""
        try:
            self.active[name] = open_tracker()
        except ImportError as error:
            self._switch_off(name, error, f"; to have it: pip install {package}")
        except Exception as error:
            self._switch_off(name, error)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        self._tell(lambda tracker: tracker.log(epoch, values))

    def summary(self, values: dict[str, float | int]) -> None:
        self._tell(lambda tracker: tracker.summary(values))

    def picture(self, name: str, path: Path) -> None:
        self._tell(lambda tracker: tracker.picture(name, path))

    def test(
        self,
        summary: Summary,
        frame: pd.DataFrame,
        heatmaps: Sequence[Heatmap] = (),
        mistakes: Sequence[Mistake] = (),
        name: str = "",
    ) -> None:
        """All that a test found, under `test/`, or `test/NAME/` where several sets are tested.

        summary: the numbers. frame: what was scored, as metrics.read_scores returns it. mistakes:
        as pictures.worst_mistakes returns them; their pictures stand in the table of scores, of
        which tracking.rows are shown, and how many were left out is said.
        """
        place, limit = f"test/{name}" if name else "test", self.settings.rows

        def tell(tracker: Tracker) -> None:
            columns, rows = scores_table(frame, mistakes)
            labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
            tracker.summary(numbers(place, summary))
            tracker.plots(place, labels, scores, summary.threshold)
            tracker.table(f"{place}/scores", columns, rows[:limit])
            tracker.heatmaps(f"{place}/heatmaps", heatmaps)

        if self.active and len(frame) > limit:
            self.say(f"{place}/scores: trackers show {limit:,} of {len(frame):,} (tracking.rows)")
        self._tell(tell)

    def artifact(self, checkpoints: Path) -> None:
        """The checkpoint that tracking.artifact names, of the folder `checkpoints`; or none."""
        if (kind := self.settings.artifact) != "none":
            self._tell(lambda tracker: tracker.artifact(checkpoints / f"{kind}.pth"))

    def close(self) -> None:
        for name, count in self.missed.items():
            self.say(f"{name} did not record {count} calls, as it was switched off.")
        self._tell(lambda tracker: tracker.close())
        self.active.clear()
        self.missed.clear()

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.active.items()):
            try:
                call(tracker)
            except Exception as error:
                self._switch_off(name, error)
                with contextlib.suppress(Exception):  # the error is said; this saves what it has
                    tracker.close()
        self.missed.update(self.failed.keys())

    def _switch_off(self, name: str, error: Exception, remedy: str = "") -> None:
        self.active.pop(name, None)
        self.failed[name] = reason = one_line(error)
        self.say(f"{name} is off for the rest of this run, which goes on: {reason}{remedy}")


def numbers(place: str, summary: Summary) -> dict[str, float | int]:
    """Each number below `place`, with the ends of its 95 % interval as KEY_low and KEY_high."""
    values: dict[str, float | int] = {"n": summary.n, "real": summary.real, "fake": summary.fake}
    for key, value in summary.values.items():
        values[key] = value
        if key in summary.intervals:
            values[f"{key}_low"], values[f"{key}_high"] = summary.intervals[key]
    return {f"{place}/{key}": value for key, value in values.items()}


def scores_table(
    frame: pd.DataFrame, mistakes: Sequence[Mistake]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of what was scored: mistakes first, the furthest from the truth first."""
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    wrong = (scores >= THRESHOLD) != (labels == FAKE)
    order = np.lexsort((-np.abs(scores - labels), ~wrong)).tolist()
    pictures = {row: Path(one.picture) for row, one in zip(order, mistakes, strict=False)}
    columns = [c for c in SHOWN if c in frame and (frame[c].astype(str) != "").any()]
    cells = frame[columns].to_numpy(object).tolist()
    return [*columns, "face"], [[*cells[row], pictures.get(row)] for row in order]
